"""The entries of a log that was checked: read again bundle by bundle, never held all at once.

Of each bundle its digest is kept, of each entry its index under its type: 8 bytes. What is read again is what was
checked, or it is an error.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from hashlib import sha256
from heapq import merge
from pathlib import Path

import msgspec

from backstory.errors import VerificationError
from backstory.records.canonical import JsonObject
from backstory.storage.log_file import read_log_file
from backstory.tlog.hashing import hash_leaf
from backstory.tlog.tile import TILE_WIDTH, decode_bundle, tile_at


class Entries:
    """Entries of a log by index and by type."""

    def __init__(self, folder: Path, size: int) -> None:
        """Begin with nothing known of a log of this size."""
        self._folder = folder
        self._size = size
        self._digests: list[bytes] = []
        self._by_type: dict[str, array[int]] = {}
        self._bad: set[int] = set()
        self._bundle: tuple[int, list[bytes]] = (-1, [])
        self.is_whole = True

    def __len__(self) -> int:
        """Return how many entries the log has, read or not."""
        return self._size

    def add(self, digest: bytes, types: list[str | None]) -> None:
        """Add a bundle that was read.

        Args:
            digest: SHA-256 of its bytes.
            types: Types of its entries; None for one that is no evidence.
        """
        first = len(self._digests) * TILE_WIDTH
        self._digests.append(digest)
        for at, type_ in enumerate(types):
            if type_ is None:
                self.forget([first + at])
            else:
                self._by_type.setdefault(type_, array("Q")).append(first + at)

    def add_unreadable(self) -> None:
        """Add a bundle that could not be read."""
        self._digests.append(b"")
        self.is_whole = False

    def forget(self, indexes: Iterable[int]) -> None:
        """Leave out entries that are no evidence."""
        self._bad.update(indexes)
        self.is_whole = self.is_whole and not self._bad

    def documents(self, *types: str) -> Iterator[tuple[int, JsonObject]]:
        """Yield indexes and documents of the entries of some types, or of all without one, in order.

        Raises:
            VerificationError: A file of the log changed since it was checked.
        """
        wanted = types or tuple(self._by_type)
        for index in merge(*(self._by_type[type_] for type_ in wanted if type_ in self._by_type)):
            if index not in self._bad:
                yield index, self._read(index)

    def document(self, index: int) -> JsonObject | None:
        """Return one entry; None if it is not there or no evidence.

        Raises:
            VerificationError: The file changed since it was checked.
        """
        number = index // TILE_WIDTH
        if index in self._bad or not 0 <= index < self._size or not self._digests[number]:
            return None
        return self._read(index)

    def leaf_hashes(self, number: int) -> list[bytes]:
        """Return the leaf hashes of the entries of a bundle; none if it could not be read or holds a changed one.

        Raises:
            VerificationError: The file changed since it was checked.
        """
        if not self._digests[number] or any(index // TILE_WIDTH == number for index in self._bad):
            return []
        return [hash_leaf(entry) for entry in self._read_bundle(number)]

    def _read(self, index: int) -> JsonObject:
        number, at = divmod(index, TILE_WIDTH)
        return msgspec.json.decode(self._read_bundle(number)[at], type=dict)

    def _read_bundle(self, number: int) -> list[bytes]:
        if self._bundle[0] != number:
            tile = tile_at(self._size, None, number)
            data = read_log_file(self._folder, tile)
            if sha256(data).digest() != self._digests[number]:
                raise VerificationError(f"log: {tile.path} changed while it was verified")
            self._bundle = (number, decode_bundle(data, tile.width))
        return self._bundle[1]
