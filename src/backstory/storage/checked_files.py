"""Files against what the log says of them: what was checked once is checked again only after the file has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from backstory.storage.disk import storage_errors

WAY_OUT = "run `backstory verify`; the page on recovering after a crash says how to restore what it names"
"""What messages about damaged files end with."""


class CheckedFiles:
    """Remembers which files had which digest, and in what state they were then."""

    def __init__(self) -> None:
        """Begin with no file checked."""
        self._known: dict[tuple[Path, str], tuple[int, ...]] = {}

    def fits(self, path: Path, digest: str, digest_of: Callable[[], str] | None = None) -> bool:
        """Say whether a file has a digest, in hex.

        Args:
            path: The file.
            digest: The digest.
            digest_of: Computes the file's; None for the SHA-256 of its bytes.

        Raises:
            StorageError: It is missing, or cannot be read.
        """
        with storage_errors("reading", path):
            state = _state(path.stat())  # before the bytes: a change meanwhile is one of the state
            if self._known.get((path, digest)) == state:
                return True
            fits = (digest_of or (lambda: file_digest(path)))() == digest
        if fits:
            self._known[path, digest] = state
        return fits


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
