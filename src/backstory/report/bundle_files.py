"""The files of a bundle as they go into its zip file, one after another, and the list of them for its manifest."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from backstory.errors import LimitError
from backstory.records.canonical import JsonValue
from backstory.records.limits import BUNDLE_FILES_MAX
from backstory.verify.bundle_zip import REGULAR_FILE

_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the zip file, which has none earlier: the same bundle is the same bytes."""
_PIECE = 1 << 20


class BundleFiles:
    """The zip file of a bundle that is being written."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        """Write into a zip file that is open and empty."""
        self._archive = archive
        self._files: dict[str, JsonValue] = {}

    @property
    def listed(self) -> list[JsonValue]:
        """What the manifest says of the files that were written so far, by name."""
        return [self._files[name] for name in sorted(self._files)]

    def add_all(self, files: Mapping[str, bytes]) -> None:
        """Write files in order of their names."""
        for name in sorted(files):
            self.add(name, files[name])

    def add(self, name: str, data: bytes) -> None:
        """Write a file.

        Raises:
            LimitError: There are as many as a bundle may have.
        """
        self._add_pieces(name, [data], len(data))

    def add_file(self, name: str, file: BinaryIO) -> None:
        """Write what is in a file, from its beginning.

        Raises:
            LimitError: There are as many as a bundle may have.
        """
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        self._add_pieces(name, iter(lambda: file.read(_PIECE), b""), size)

    def _add_pieces(self, name: str, pieces: Iterable[bytes], size: int) -> None:
        if len(self._files) >= BUNDLE_FILES_MAX - 2:
            raise LimitError(f"bundle: expected at most {BUNDLE_FILES_MAX:,} files; ask for less")
        member = zipfile.ZipInfo(name, _EARLIEST)
        member.external_attr, member.create_system = REGULAR_FILE, 3
        member.compress_type, member.file_size = zipfile.ZIP_DEFLATED, size
        digest = hashlib.sha256()
        with self._archive.open(member, "w") as target:
            for piece in pieces:
                digest.update(piece)
                target.write(piece)
        self._files[name] = {"name": name, "sha256": digest.hexdigest(), "size": str(size)}
