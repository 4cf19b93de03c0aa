"""A disk whose power can be cut: what an archive's directory could look like when the machine comes back.

PowerDisk   really writes, and knows what of it a power cut could still undo
survivor    what could be left of a file's bytes that were written and not yet synced

A name is durable once its directory was synced, a file's bytes once the file was: until then the name may be missing or
still be there, and the bytes may be dropped, torn at any byte, or have holes of zeros where a later sector reached the
platter before an earlier one. A file whose sync failed stays so for ever: the kernel may have dropped what it could not
write, and says nothing the next time. SQLite writes its files itself and is trusted: they are taken as they are.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backstory.errors import StorageError
from backstory.storage.disk import AppendFile, Disk

SECTOR = 512
_FOLDER = -1
"""Stands for a directory where a file has its inode."""


def survivor(data: bytes, durable: int, draw: random.Random) -> bytes:
    """Return a file's bytes as a power cut could leave them, of which the first `durable` are safe."""
    tail = bytearray(data[durable:])
    outcome = draw.choice(["dropped", "torn", "whole", "holes", "holes"])
    if outcome == "dropped":
        tail.clear()
    elif outcome == "torn":
        del tail[draw.randint(0, len(tail)) :]
    elif outcome == "holes":
        for start in range(-(durable % SECTOR), len(tail), SECTOR):
            if draw.random() < 0.4:
                begin, end = max(start, 0), min(start + SECTOR, len(tail))
                tail[begin:end] = bytes(end - begin)
    return data[:durable] + bytes(tail)


class PowerFile(AppendFile):
    """A file that only grows, on a disk whose power can be cut."""

    def __init__(self, path: Path, disk: PowerDisk) -> None:
        """Append to an existing file; made by `PowerDisk.append_to`."""
        super().__init__(path)
        self._disk = disk

    def append(self, data: bytes) -> None:
        """Append bytes, which a cut may tear."""
        with self._disk.effect():
            super().append(data)

    def sync(self) -> None:
        """Make the bytes safe, or fail as planned."""
        with self._disk.effect():
            self._disk.settle(os.fstat(self._descriptor))


class PowerDisk(Disk):
    """Writes below one directory; `cut` copies that directory as a power cut at this moment could leave it.

    Attributes:
        on_effect: Called before and after every effect, while no other happens.
        syncs_to_fail: How many of the next syncs of growing files fail.
    """

    def __init__(self, root: Path, shadow: Path) -> None:
        """Take what is below `root` as durable; `shadow` is an empty directory on the same file system."""
        self._root = root
        self._shadow = shadow
        self._lock = threading.RLock()
        self._safe: dict[int, int] = {}
        self._lost: set[int] = set()
        self._names: dict[Path, dict[str, int]] = {}
        self._depth = 0
        self.on_effect: Callable[[], None] = lambda: None
        self.syncs_to_fail = 0
        for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            for path in folder.iterdir():
                if path.is_file():
                    self._hold(path)
            self._names[folder] = _names(folder)

    @contextmanager
    def effect(self) -> Iterator[None]:
        """Let one effect happen, with a moment to cut the power before and after."""
        with self._lock:
            self._moment()
            yield
            self._moment()

    def settle(self, status: os.stat_result) -> None:
        """Make a growing file's bytes safe, or fail and never again make any of it safe.

        Raises:
            StorageError: It failed, as planned.
        """
        if self.syncs_to_fail:
            self.syncs_to_fail -= 1
            self._lost.add(status.st_ino)
            raise StorageError("syncing: failed as planned", errno=5)
        if status.st_ino not in self._lost:
            self._safe[status.st_ino] = status.st_size

    def append_to(self, path: Path) -> AppendFile:
        """Open an existing file to append to it."""
        return PowerFile(path, self)

    def sync(self, path: Path) -> None:
        """Make a file's bytes safe, or a directory's names."""
        with self.effect():
            if path.is_dir():
                for child in path.iterdir():
                    if child.is_file():
                        self._hold(child, safe=False)
                self._names[path] = _names(path)
            else:
                self._hold(path)

    def remove(self, path: Path) -> None:
        """Remove a file, which a cut may undo."""
        with self.effect():
            super().remove(path)

    def cut(self, copy: Path, draw: random.Random) -> None:
        """Write to `copy` what a power cut at this moment could leave."""
        with self._lock:
            self._leave(self._root, copy, draw)

    def _moment(self) -> None:
        if self._depth == 0:  # what is done at a moment has no moments of its own
            self._depth += 1
            try:
                self.on_effect()
            finally:
                self._depth -= 1

    def _hold(self, path: Path, *, safe: bool = True) -> None:
        """Keep a file's bytes, and its inode from being used again, whatever becomes of its names."""
        status = path.stat()
        kept = self._shadow / str(status.st_ino)
        if not kept.exists():
            os.link(path, kept)
        if safe:
            self._safe[status.st_ino] = status.st_size

    def _leave(self, folder: Path, copy: Path, draw: random.Random) -> None:
        copy.mkdir()
        durable, present = self._names.get(folder, {}), _names(folder)
        for name in sorted({*durable, *present}):
            choices = [names.get(name) for names in (durable, present)]
            kept = choices[1] if ".sqlite" in name else draw.choice(choices)
            if kept == _FOLDER:
                self._leave(folder / name, copy / name, draw)
            elif kept is not None:
                self._leave_file(kept, folder / name, copy / name, draw)

    def _leave_file(self, inode: int, path: Path, copy: Path, draw: random.Random) -> None:
        shadow = self._shadow / str(inode)
        original = shadow if shadow.exists() else path
        data = original.read_bytes()
        copy.write_bytes(data if ".sqlite" in path.name else survivor(data, self._safe.get(inode, 0), draw))
        shutil.copymode(original, copy)


def _names(folder: Path) -> dict[str, int]:
    """Return what is in a directory: the inode of each file."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: _FOLDER if entry.is_dir() else entry.inode() for entry in entries}
