"""Durable writes: every byte of an archive reaches the disk through a `Disk`.

A file is written under a temporary name, fsynced, moved to its final name, and its directory is fsynced; a crash leaves
the old state or the new one. Tests inject a `Disk` that fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from backstory.errors import BusyError, ConflictError, StorageError

TEMPORARY_PREFIX = ".new-"


@contextlib.contextmanager
def storage_errors(action: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `StorageError` that says what was being done to which file."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{action} {path.name}: {error.strerror or type(error).__name__} (in {path.parent})", errno=error.errno
        ) from error


class AppendFile:
    """A file that only grows; what is appended is durable after `sync`.

    Attributes:
        size: How many bytes it has.
        is_whole: Whether it holds what was appended and nothing else; if not, it is of no more use.
    """

    def __init__(self, path: Path) -> None:
        """Append to an existing file; made by `Disk.append_to`."""
        self._path = path
        self.is_whole = True
        with storage_errors("opening", path):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
            self.size = os.fstat(self._descriptor).st_size

    def append(self, data: bytes) -> None:
        """Append bytes, which then survive the death of the process.

        Raises:
            StorageError: They could not be written; the file is as it was, or not whole.
        """
        written = 0
        with storage_errors("appending to", self._path):
            try:
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
            except BaseException:
                self.is_whole = False
                os.ftruncate(self._descriptor, self.size)
                self.is_whole = True
                raise
        self.size += len(data)

    def sync(self) -> None:
        """Flush what was appended to the device.

        Raises:
            StorageError: That failed, and the kernel may have dropped it: a later sync proves nothing about it.
        """
        with storage_errors("syncing", self._path):
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file; once is enough, twice does no harm.

        What was not synced may be lost, and this does not say so.
        """
        # Forgotten first: whoever closed it and was interrupted would write into what takes its number next.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)


class Disk:
    """The operations on files that must survive a crash."""

    def write(self, path: Path, data: bytes, *, mode: int = 0o644, replace: bool = True) -> None:
        """Make a file with these bytes durable under its final name; see `write_with`."""
        self.write_with(path, lambda temporary: temporary.write_bytes(data), mode=mode, replace=replace)

    def write_with(
        self, path: Path, fill: Callable[[Path], object], *, mode: int = 0o644, replace: bool = True
    ) -> None:
        """Let a function write a temporary file, then make it durable under its final name.

        Args:
            path: The final name.
            fill: Is given the temporary path.
            mode: Permissions of the file.
            replace: Whether a file of that name gives way.

        Raises:
            ConflictError: There is a file of that name and it must stay.
            StorageError: The bytes could not be made durable. The final name leads to what it did before, or, where
                only the directory could not be flushed, to the whole new bytes; never to a part of them.
        """
        temporary = temporary_path(path.parent)
        with storage_errors("writing", path):
            try:
                os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode | stat.S_IWUSR))
                fill(temporary)
                if not mode & stat.S_IWUSR:  # not before: only root may fill a file that nobody may write
                    temporary.chmod(stat.S_IMODE(temporary.stat().st_mode) & mode)
                self.sync(temporary)
                _publish(temporary, path, replace=replace)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            self.sync_directory(path.parent)

    def rewrite(self, path: Path, data: bytes, *, mode: int) -> None:
        """Put a file in the place of another, with its time: times must not tell what was rewritten together.

        Where there is no other it is made; see `write_with`.
        """
        modified = path.stat().st_mtime_ns if path.is_file() else None

        def fill(temporary: Path) -> None:
            temporary.write_bytes(data)
            if modified is not None:
                os.utime(temporary, ns=(modified, modified))

        self.write_with(path, fill, mode=mode)

    def append_to(self, path: Path) -> AppendFile:
        """Open an existing file to append to it.

        Raises:
            StorageError: It cannot be opened.
        """
        return AppendFile(path)

    def sync(self, path: Path) -> None:
        """Flush a file's bytes to the device."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Flush a directory's names to the device."""
        self.sync(path)

    def remove(self, path: Path) -> None:
        """Remove a file if it is there."""
        with storage_errors("removing", path):
            path.unlink(missing_ok=True)

    def make_directory(self, path: Path, *, mode: int = 0o755) -> None:
        """Create a directory and its parents where missing, each name durable before something is put below it."""
        if path.is_dir():
            return
        self.make_directory(path.parent)
        with storage_errors("creating", path):
            path.mkdir(exist_ok=True, mode=mode)
            try:
                self.sync_directory(path.parent)
            except OSError:
                with contextlib.suppress(OSError):  # or the next call would take it for durable
                    path.rmdir()
                raise


def _publish(temporary: Path, path: Path, *, replace: bool) -> None:
    """Give a file its final name in one step, which of two processes at most one can do unless it may replace."""
    if replace:
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise ConflictError(f"writing {path.name}: another process was first (in {path.parent})") from error
    temporary.unlink()


def temporary_path(folder: Path) -> Path:
    """Return a name in a folder that nobody uses and that readers pass over."""
    return folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"


def save_file(data: bytes, path: str | Path, what: str, *, overwrite: bool) -> Path:
    """Write what somebody is given, where they want it, and return its path.

    Args:
        data: The bytes.
        path: The file.
        what: What it is, for the error message.
        overwrite: Whether a file that is there gives way.

    Raises:
        ConflictError: There is something at `path`, and it must stay.
        StorageError: It cannot be written.
    """
    file = Path(path)
    if not overwrite and file.exists():
        raise ConflictError(f"{what}: expected nothing at {file}; overwrite=True replaces it")
    Disk().write(file, data)
    return file


@contextlib.contextmanager
def hold_directory(folder: Path, busy: str, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold a directory against other processes; the kernel lets go when this one dies.

    Args:
        folder: The directory.
        busy: Message of the error where another process holds it.
        wait: Whether to wait for it then, as for what is held for a moment.
        shared: Whether others may hold it beside this one who share it too.

    Raises:
        BusyError: Another process holds it, and this one is not to wait.
        StorageError: It cannot be opened or locked.
    """
    with storage_errors("locking", folder):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        with storage_errors("locking", folder):
            how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            try:
                fcntl.flock(descriptor, how | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise BusyError(busy) from error
        yield
    finally:
        os.close(descriptor)


def read_buffer(path: Path) -> pa.Buffer:
    """Return a file's bytes in Arrow's memory, which is used again sooner than Python's.

    Raises:
        StorageError: It cannot be read.
    """
    with storage_errors("reading", path), pa.OSFile(str(path)) as file:
        return file.read_buffer()


def read_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        StorageError: It cannot be read.
    """
    with storage_errors("reading", path):
        return path.read_bytes()
