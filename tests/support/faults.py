"""Every operation on files and locks that some code performs, failing one at a time.

count_operations   how many there are
fail_operation     let one of them fail, before or after it took effect

The operations are those of the system: creating, writing, flushing, renaming, linking, removing, locking, SQLite's
statements and commits. Which of them some code performs is found by running it. An audit hook of the interpreter sees
to it that none is missed: whatever it tells of that changes a file must be one of these.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_PRIMITIVES = [
    *(
        (os, name)
        for name in ("open", "write", "fsync", "fdatasync", "replace", "rename", "link", "unlink", "mkdir", "rmdir")
    ),
    (os, "chmod"),
    (fcntl, "flock"),
    (Path, "write_bytes"),
]
_CHANGES = frozenset(
    {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "fcntl.flock", "sqlite3.connect"}
)


@dataclass
class Operations:
    """The operations performed so far, of which one may fail.

    Attributes:
        fails_at: The number of the one that fails; None for none.
        persists: Whether it takes effect before it fails.
        seen: The name of each.
        missed: Changes that were none of them.
    """

    fails_at: int | None = None
    persists: bool = False
    seen: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    depth: int = 0

    def run(self, name: str, act: Callable[[], object], failure: Callable[[], Exception]) -> object:
        """Perform an operation, or let it fail."""
        if self.depth:
            return act()
        self.seen.append(name)
        self.depth += 1
        try:
            if len(self.seen) - 1 != self.fails_at:
                return act()
            if self.persists:
                act()
            raise failure()
        finally:
            self.depth -= 1


class _Active:
    """The operations that are being watched; None while none are. An audit hook cannot be taken away again."""

    operations: Operations | None = None
    is_hooked = False


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    watched = _Active.operations
    if watched is None or watched.depth:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if (event in _CHANGES or writes) and "writer" not in str(arguments[0]):  # opened to be locked: nothing is written
        watched.missed.append(f"{event} {arguments[0]}")


class _Connection(sqlite3.Connection):
    """A connection whose statements and commits are operations."""

    def execute(self, *arguments):
        """Execute a statement, or fail."""
        return _Active.operations.run(
            "sqlite execute", lambda: super(_Connection, self).execute(*arguments), _sqlite_error
        )

    def executemany(self, *arguments):
        """Execute a statement several times, or fail."""
        return _Active.operations.run(
            "sqlite execute", lambda: super(_Connection, self).executemany(*arguments), _sqlite_error
        )

    def commit(self):
        """Commit, or fail."""
        _Active.operations.run("sqlite commit", lambda: super(_Connection, self).commit(), _sqlite_error)


def _sqlite_error() -> Exception:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR, "SQLITE_IOERR"
    return error


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, operations: Operations) -> Iterator[Operations]:
    """Let every operation be counted, and one fail, while this lasts."""
    if not _Active.is_hooked:
        sys.addaudithook(_audit)
        _Active.is_hooked = True
    with monkeypatch.context() as patch:
        for owner, name in _PRIMITIVES:
            patch.setattr(owner, name, _wrapped(getattr(owner, name), name))
        connect = sqlite3.connect

        def connect_watched(*arguments, **options):
            return operations.run("connect", lambda: connect(*arguments, factory=_Connection, **options), _sqlite_error)

        patch.setattr(sqlite3, "connect", connect_watched)
        _Active.operations = operations
        try:
            yield operations
        finally:
            _Active.operations = None


def _wrapped(act, name):
    def run(*arguments, **options):
        operations = _Active.operations
        reads = name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR)
        if operations is None or reads:
            return act(*arguments, **options)
        return operations.run(name, lambda: act(*arguments, **options), lambda: OSError(5, "Input/output error"))

    return run
