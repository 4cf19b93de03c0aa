"""Copies of an archive that may be changed: a true one of the original, then quick ones that share what is not changed.

The original is only ever read. Files that never change are shared by hard links between copies, so a copy's file is
changed by `put` alone, which leaves the others theirs.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath

from backstory.errors import StorageError
from backstory.storage.disk import TEMPORARY_PREFIX, Disk, storage_errors
from backstory.storage.layout import LOCK_NAME, MASTER_NAME, Layout, read_layout
from backstory.storage.world import World


class _ScratchDisk(Disk):
    """Flushes nothing: what a crash takes of a copy is made again."""

    def sync(self, path: Path) -> None:
        """Do nothing."""


SCRATCH = World(disk=_ScratchDisk())
"""The world of copies."""
_SHARED = frozenset({"blobs", "segments"})
"""Directories whose files are large and never written in place."""


def copy_archive(source: Path, target: Path, left_out: frozenset[str] = frozenset()) -> bool:
    """Copy an archive while no commit is under way, with its lock store, vault, keys and master keys wherever they are.

    Args:
        source: The archive.
        target: Directory that does not exist yet.
        left_out: Names of files that are not copied.

    Returns:
        Whether the copy is as the original is. False where lock store, vault or keys are elsewhere: they are in the
        copy then, and its `backstory.toml`, which says so, is not the one that the log names.

    Raises:
        StorageError: Something cannot be read or written.
    """
    layout = read_layout(source)
    with storage_errors("copying", source), _no_commit(layout):
        _copy_tree(source, target, left_out)
        moved = {}
        for name, home in (("lock", LOCK_NAME), ("vault", "vault"), ("keys", "keys"), ("master", MASTER_NAME)):
            where = PurePath(getattr(layout.config, name))
            if where.is_absolute() or ".." in where.parts:
                moved[name] = home
                original: Path = getattr(layout, name)
                if original.is_file():
                    _copy_file(original, target / home)
                elif original.is_dir():
                    _copy_tree(original, target / home, left_out)
        if moved:
            put(target / "backstory.toml", replace(layout.config, **moved).encode())
    return not moved


def link_copy(source: Path, target: Path) -> None:
    """Copy a copy; what is large and never written in place is shared by both.

    Raises:
        StorageError: Something cannot be read or written.
    """
    with storage_errors("copying", source):
        for path in _files_of(source):
            name = path.relative_to(source)
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if name.parts[0] in _SHARED:
                os.link(path, target / name)
            else:
                shutil.copy2(path, target / name)
        for folder in source.rglob("*"):
            if folder.is_dir():
                (target / folder.relative_to(source)).mkdir(parents=True, exist_ok=True)


def put(path: Path, data: bytes) -> None:
    """Let a name in a copy lead to other bytes; other copies that share the file keep theirs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def put_back(kept: Path, path: Path) -> None:
    """Replace a file or directory of a copy by another copy's."""
    if path.is_dir():
        shutil.rmtree(path)
        shutil.copytree(kept, path)
    else:
        put(path, kept.read_bytes())


def differences(one: Path, other: Path) -> list[str]:
    """Return the files that two copies do not have alike, by their names."""
    names = {path.relative_to(root) for root in (one, other) for path in _files_of(root)}
    return sorted(name.as_posix() for name in names if not _are_alike(one / name, other / name))


def _are_alike(one: Path, other: Path) -> bool:
    if not one.is_file() or not other.is_file():
        return False
    return one.samefile(other) or filecmp.cmp(one, other, shallow=False)


def _files_of(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and not path.name.startswith(TEMPORARY_PREFIX)]


def _copy_tree(source: Path, target: Path, left_out: frozenset[str]) -> None:
    for folder in (source, *(path for path in source.rglob("*") if path.is_dir())):
        (target / folder.relative_to(source)).mkdir(parents=True, exist_ok=True)
    for path in _files_of(source):
        if path.name in left_out:
            continue
        with contextlib.suppress(FileNotFoundError):  # sealed and removed just now
            _copy_file(path, target / path.relative_to(source))


def _copy_file(source: Path, target: Path) -> None:
    if source.suffix != ".sqlite":
        shutil.copyfile(source, target)
        shutil.copymode(source, target)  # a master key that others may read is refused
        return
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as reader,
            contextlib.closing(sqlite3.connect(target)) as writer,
        ):
            reader.backup(writer)  # of one moment, whoever writes meanwhile
    except sqlite3.Error as error:
        raise StorageError(f"copying {source.name}: {error.sqlite_errorname} (in {source.parent})") from error


@contextlib.contextmanager
def _no_commit(layout: Layout) -> Iterator[None]:
    try:
        file = (layout.log / "writer").open("rb")
    except FileNotFoundError:  # nobody has written yet
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield
