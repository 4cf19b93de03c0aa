"""Reading the log: entries that are proven to be under the published checkpoint."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from backstory.errors import NotFoundError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.storage.disk import read_file
from backstory.storage.layout import Layout
from backstory.storage.log_file import read_log_file
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.hashing import hash_leaf
from backstory.tlog.note import VerifierKey, require_key
from backstory.tlog.proof import tile_inclusion_proof, verify_inclusion
from backstory.tlog.tile import TILE_WIDTH, TilePath, decode_bundle, tile_at

_CACHED_ENTRIES = 4_096


class LogReader:
    """The log of one archive as its published checkpoint describes it."""

    def __init__(self, layout: Layout, vkey: str | None) -> None:
        """Read the log of an archive.

        Args:
            layout: Where the archive is.
            vkey: Public key pinned from outside; None to use the archive's own, which authenticates nothing.

        Raises:
            VerificationError: The pinned key is not the archive's.
            InputError: The pinned key is malformed.
            FormatError: The archive's own key is malformed.
        """
        if vkey is not None:
            require_key(vkey)
        if vkey is not None and vkey.strip() != layout.config.vkey:
            raise VerificationError(
                "opening archive: its public key is not the pinned one; it may have been swapped",
                origin=layout.config.origin,
            )
        self.key = VerifierKey.parse(layout.config.vkey)
        self.authenticated = vkey is not None
        self._layout = layout
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._checked: tuple[bytes, Checkpoint] | None = None

    def checkpoint(self) -> Checkpoint:
        """Return the published checkpoint after checking its signature; see `signed_checkpoint`."""
        return self.signed_checkpoint()[1]

    def signed_checkpoint(self) -> tuple[bytes, Checkpoint]:
        """Return the published checkpoint as signed and as what it says, after checking its signature.

        Raises:
            VerificationError: The signature does not verify.
            FormatError: It is malformed.
        """
        note = read_file(self._layout.log / "checkpoint")
        checked = self._checked
        if checked is None or checked[0] != note:
            checked = self._checked = (note, open_checkpoint(note, self._layout.config.origin, [self.key]))
        return checked

    def read_tile(self, tile: TilePath) -> bytes:
        """Return the bytes of a tile or entry bundle; of the full one where a partial is gone."""
        return read_log_file(self._layout.log, tile)

    def proof(self, index: int, checkpoint: Checkpoint) -> list[bytes]:
        """Return the inclusion proof of an entry under a checkpoint."""
        return tile_inclusion_proof(self.read_tile, index, checkpoint.size)

    def entry_bytes(self, index: int) -> bytes:
        """Return an entry after proving that it is under the published checkpoint.

        Raises:
            NotFoundError: The log has no such entry.
            VerificationError: It is not the entry the checkpoint commits to.
        """
        cached = self._cache.get(index)
        if cached is not None:
            return cached
        checkpoint = self.checkpoint()
        if not 0 <= index < checkpoint.size:
            raise NotFoundError(f"log: expected an index below {checkpoint.size}, got {index}")
        bundle = tile_at(checkpoint.size, None, index // TILE_WIDTH)
        entry = decode_bundle(self.read_tile(bundle), bundle.width)[index % TILE_WIDTH]
        verify_inclusion(hash_leaf(entry), index, checkpoint.size, self.proof(index, checkpoint), checkpoint.root)
        self._cache[index] = entry
        if len(self._cache) > _CACHED_ENTRIES:
            self._cache.popitem(last=False)
        return entry

    def entry(self, index: int) -> JsonObject:
        """Return an entry as a document, proven as `entry_bytes` says."""
        return canonical.parse_object(self.entry_bytes(index), f"entry {index}")

    def entries(self, first: int, end: int) -> Iterator[tuple[int, JsonObject]]:
        """Iterate over entries `first` to `end`, exclusive, each proven."""
        for index in range(first, end):
            yield index, self.entry(index)
