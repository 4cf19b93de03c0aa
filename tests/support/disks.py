"""Disks that do as a test says: that are full in some folders, whose flushes fail, whose writes wait.

WiredDisk      a disk with switches; its append files obey them too
"""

from __future__ import annotations

import threading
from pathlib import Path

from tests.support.ledgers import QuickDisk

from backstory.errors import StorageError
from backstory.storage.disk import AppendFile


class WiredFile(AppendFile):
    """A file of a `WiredDisk`."""

    def __init__(self, path: Path, disk: WiredDisk) -> None:
        """Append to a file as the disk's switches say."""
        super().__init__(path)
        self._disk = disk

    def append(self, data: bytes) -> None:
        """Append, or wait, or find no space."""
        self._disk.writes_go_on.wait()
        self._disk.insist_space(self._path)
        super().append(data)

    def sync(self) -> None:
        """Count, and fail as often as it was said."""
        self._disk.syncs += 1
        if self._disk.failing_syncs > 0:
            self._disk.failing_syncs -= 1
            raise StorageError("syncing: Input/output error", errno=5)
        super().sync()


class WiredDisk(QuickDisk):
    """A disk with switches.

    Attributes:
        full: Nothing can be written below these folders.
        is_fixed: Nothing but appending works: no file can be made.
        failing_syncs: How many of the next flushes of append files fail.
        syncs: How often append files were flushed.
        writes_go_on: Appending waits for this; set at first.
    """

    def __init__(self) -> None:
        """Make a disk on which all is well."""
        self.full: set[Path] = set()
        self.is_fixed = False
        self.failing_syncs = 0
        self.syncs = 0
        self.writes_go_on = threading.Event()
        self.writes_go_on.set()

    def insist_space(self, path: Path) -> None:
        """Raise as a full disk does, if a path is on one."""
        if self.full.intersection(path.parents):
            raise StorageError("writing: No space left on device", errno=28)

    def write_with(self, path, fill, *, mode=0o644, replace=True):
        """Write, or find no space."""
        self.insist_space(path)
        if self.is_fixed:
            raise StorageError("writing: Input/output error", errno=5)
        super().write_with(path, fill, mode=mode, replace=replace)

    def append_to(self, path: Path) -> AppendFile:
        """Open a file that obeys the switches."""
        return WiredFile(path, self)
