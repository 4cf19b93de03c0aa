"""Content-addressed bytes: model artifacts, contexts, schemas, snapshots, edge tables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from backstory.errors import StorageError, VerificationError
from backstory.records.identity import check_digest
from backstory.storage.checked_files import CheckedFiles, file_digest
from backstory.storage.disk import TEMPORARY_PREFIX, Disk, read_file, storage_errors, temporary_path

BLOB_MODE = 0o444


class BlobStore:
    """Immutable files named by their SHA-256, as `ab/cdef…`."""

    def __init__(self, root: Path, disk: Disk) -> None:
        """Keep blobs below `root`."""
        self._root = root
        self._disk = disk
        self._checked = CheckedFiles()

    def path(self, digest: str) -> Path:
        """Return where a blob is or would be."""
        check_digest(digest, "blob")
        return self._root / digest[:2] / digest[2:]

    def put(self, data: bytes) -> str:
        """Store bytes durably and return their digest; nothing is written if they are there already.

        What was written is read back: what the digest is going to be signed as was on disk then.

        Raises:
            StorageError: They could not be written, or others were read back.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self.path(digest)
        if not path.exists():
            self._disk.make_directory(path.parent)
            self._disk.write(path, data, mode=BLOB_MODE)
            with storage_errors("reading", path):
                is_sound = file_digest(path) == digest
            if not is_sound:
                self._disk.remove(path)  # or it would be taken for what its name says from now on
                raise StorageError(f"writing blob {digest}: other bytes were read back")
        return digest

    def put_with(self, fill: Callable[[Path], object]) -> str:
        """Store what a function writes into a file, for content too large to hold twice.

        Args:
            fill: Is given a path that does not exist yet, and writes the content there.

        Returns:
            The digest of what it wrote.

        Raises:
            StorageError: It could not be written.
        """
        self._disk.make_directory(self._root)
        staging = temporary_path(self._root)
        try:
            with storage_errors("writing", staging):
                fill(staging)
                staging.chmod(BLOB_MODE)
                digest = file_digest(staging)
            path = self.path(digest)
            if not path.exists():
                self._disk.make_directory(path.parent)
                self._disk.write_with(path, staging.replace)
        finally:
            staging.unlink(missing_ok=True)
        return digest

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes after checking them against their name.

        Raises:
            StorageError: It is missing, or cannot be read.
            VerificationError: The bytes are not the ones the name promises.
        """
        path = self.path(digest)
        if not path.exists():
            raise StorageError(f"blob {digest}: expected a file at {path}")
        data = read_file(path)
        if hashlib.sha256(data).hexdigest() != digest:
            raise VerificationError(f"reading blob: content does not match its name {digest}")
        return data

    def checked_path(self, digest: str) -> Path:
        """Return the path of a blob whose bytes were checked since the file last changed.

        Raises:
            StorageError: It is missing, or cannot be read.
            VerificationError: The bytes are not the ones the name promises.
        """
        path = self.path(digest)
        if not path.exists():
            raise StorageError(f"blob {digest}: expected a file at {path}")
        if not self._checked.fits(path, digest):
            raise VerificationError(f"reading blob: content does not match its name {digest}")
        return path

    def paths(self) -> Iterator[Path]:
        """Iterate over every file below the store's directory, temporary ones left out."""
        for path in sorted(self._root.rglob("*")):
            if path.is_file() and not path.name.startswith(TEMPORARY_PREFIX):
                yield path
