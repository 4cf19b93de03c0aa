"""The operator's copies of what was promised: a file a stream, appended to and never flushed.

Nothing depends on them: whoever was handed a promise has it. Bytes: docs/format.md section 15.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from backstory.errors import StorageError
from backstory.storage.disk import Disk, read_file, storage_errors

KEPT_SIZE = 8 << 20
"""A file above this many bytes gives way to a new one; the one before it is kept too, and no other."""
KEPT_SECONDS_MIN = 86_400
FOLDER = "promises"
_OLD = ".old"


class PromiseStore:
    """What was promised of the streams of one archive."""

    def __init__(self, archive: Path, disk: Disk) -> None:
        """Keep promises of an archive; its folder is made when the first is kept."""
        self._root = archive / FOLDER
        self._disk = disk

    def append(self, stream: str, line: bytes) -> None:
        """Keep what was promised of a stream; it survives the death of the process, perhaps not a power cut.

        Raises:
            StorageError: It could not be kept.
        """
        path = self._root / stream
        if not path.exists():
            self._disk.make_directory(self._root)
            self._disk.write(path, b"")
        file = self._disk.append_to(path)
        try:
            file.append(line)
        finally:
            file.close()
        if file.size > KEPT_SIZE:
            with storage_errors("renaming", path):
                path.replace(path.with_suffix(_OLD))

    def names(self) -> list[str]:
        """Return the names of the files that are kept."""
        with storage_errors("listing", self._root), contextlib.suppress(FileNotFoundError):
            return sorted(path.name for path in self._root.iterdir() if not path.name.startswith("."))
        return []

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the whole lines of a file, oldest first, none of one that is gone; the tail that a crash left is none.

        Raises:
            StorageError: It cannot be read.
        """
        path = self._root / name
        try:
            data = read_file(path)
        except StorageError:
            if path.exists():
                raise
            return
        yield from data.split(b"\n")[:-1]

    def lines_of(self, stream: str) -> Iterator[bytes]:
        """Yield all that is kept of a stream, newest file first.

        Raises:
            StorageError: A file cannot be read.
        """
        for name in (stream, stream + _OLD):
            yield from self.lines(name)

    def remove_stale(self, now_ns: int, delay: int) -> None:
        """Remove what was not appended to for longer than the delay promised, and a day at least.

        Raises:
            StorageError: Something could not be removed.
        """
        for name in self.names():
            path = self._root / name
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime_ns < now_ns - max(delay, KEPT_SECONDS_MIN) * 10**9:
                    self._disk.remove(path)


def stream_of(name: str) -> str:
    """Return the stream that a file of kept promises is of."""
    return name.removesuffix(_OLD)
