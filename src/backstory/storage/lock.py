"""The lock store: checkpoint, stream heads and leases, changed only by compare-and-swap.

One SQLite file beside the data it guards. `commit` is the one commit point of an archive: after it returns, the new
checkpoint and the new stream heads exist; before, they do not. See docs/format.md section 17.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from backstory.errors import BusyError, ConflictError, StorageError

BUSY_TIMEOUT_SECONDS = 30.0
_RESTORE = "restore it from a copy that was made together with the log's"
_WAY_OUT = (
    "where the archive is written to, put it back as it was last, or have `backstory restore` begin a new log; a copy"
    " of the archive without it is to be read and not written to"
)

_TABLES = """
CREATE TABLE checkpoint (only INTEGER PRIMARY KEY CHECK (only = 0), size INTEGER NOT NULL, note BLOB NOT NULL) STRICT;
CREATE TABLE stream (stream TEXT PRIMARY KEY, next_seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_ns INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


class LockStore:
    """Compare-and-swap state of one archive."""

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        """Use an existing lock store; to read, it need not be there until it is asked.

        Raises:
            StorageError: There is none; it is never created on the fly.
        """
        self._path = path
        self._writable = writable
        if writable:
            self._insist_there()

    @classmethod
    def create(cls, path: Path, note: bytes, size: int = 0, heads: Mapping[str, int] | None = None) -> LockStore:
        """Create a lock store.

        Args:
            path: Where.
            note: The signed checkpoint it holds first.
            size: That checkpoint's size.
            heads: The next sequence number of each stream that is sealed so far.

        Raises:
            ConflictError: There is one already.
            StorageError: It cannot be written.
        """
        if path.exists():
            raise ConflictError(f"lock store: expected none at {path}")
        try:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.executescript(_TABLES)
                connection.execute("INSERT INTO checkpoint VALUES (0, ?, ?)", (size, note))
                connection.executemany("INSERT INTO stream VALUES (?, ?)", (heads or {}).items())
                connection.commit()
        except sqlite3.Error as error:
            raise StorageError(f"lock store: cannot be created at {path}: {error.sqlite_errorname}") from error
        return cls(path)

    def checkpoint(self) -> tuple[int, bytes]:
        """Return tree size and signed note of the latest commit."""
        with self._connected() as connection:
            row = connection.execute("SELECT size, note FROM checkpoint").fetchone()
        if row is None:
            raise StorageError(f"lock store: holds no checkpoint ({self._path.name})")
        return int(row[0]), bytes(row[1])

    def heads(self) -> dict[str, int]:
        """Return the next sequence number to seal of every stream."""
        with self._connected() as connection:
            return dict(connection.execute("SELECT stream, next_seq FROM stream"))

    def committed(self) -> tuple[int, dict[str, int]]:
        """Return tree size and `heads` of one moment."""
        query = "SELECT size, stream, next_seq FROM checkpoint LEFT JOIN stream"
        with self._connected() as connection:
            rows = connection.execute(query).fetchall()
        if not rows:
            raise StorageError(f"lock store: holds no checkpoint ({self._path.name})")
        return int(rows[0][0]), {stream: head for _, stream, head in rows if stream is not None}

    def commit(
        self,
        old: bytes,
        size: int,
        note: bytes,
        heads: Mapping[str, tuple[int, int]],
        leases: Mapping[str, str] | None = None,
    ) -> None:
        """Replace checkpoint and stream heads, if both are what the caller saw.

        Args:
            old: The note the new one was computed from.
            size: New tree size.
            note: New signed note.
            heads: For each stream the first sequence number sealed and the one after the last.
            leases: Leases by name that must be with these holders.

        Raises:
            ConflictError: Another writer was first, or took a lease over; nothing changed.
        """
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            swapped = connection.execute("UPDATE checkpoint SET size = ?, note = ? WHERE note = ?", (size, note, old))
            if swapped.rowcount != 1:
                connection.rollback()
                raise ConflictError("commit: the checkpoint moved since it was read")
            _check_moves(connection, heads, leases or {})
            connection.executemany(
                "INSERT OR REPLACE INTO stream VALUES (?, ?)", [(stream, end) for stream, (_, end) in heads.items()]
            )
            connection.commit()

    def check_moves(self, heads: Mapping[str, tuple[int, int]], leases: Mapping[str, str]) -> None:
        """Insist, ahead of a commit, that streams are where it begins and leases with these holders; see `commit`.

        Raises:
            ConflictError: Another process sealed a stream, or took a lease over.
        """
        if heads or leases:
            with self._connected() as connection:
                _check_moves(connection, heads, leases)

    def check(self) -> None:
        """Insist that the file is sound and has the tables it was created with.

        Raises:
            StorageError: It is damaged or cannot be read.
        """
        with self._connected() as connection:
            (result,) = connection.execute("PRAGMA integrity_check").fetchone()
            if result != "ok":
                raise StorageError(f"lock store: fails SQLite's integrity check ({self._path.name})")
            with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
                fresh.executescript(_TABLES)
                if _tables_of(connection) != _tables_of(fresh):
                    raise StorageError(f"lock store: its tables are not those it was created with ({self._path.name})")

    def take_lease(self, name: str, holder: str, now_ns: int, until_ns: int) -> bool:
        """Take or renew a lease; False while another holder's has not run out.

        Args:
            name: What is leased, such as a stream.
            holder: Who takes it.
            now_ns: The time now.
            until_ns: When the lease runs out.
        """
        with self._connected() as connection:
            taken = connection.execute(
                "INSERT INTO lease VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET holder = excluded.holder,"
                " until_ns = excluded.until_ns WHERE lease.holder = excluded.holder OR lease.until_ns < ?",
                (name, holder, until_ns, now_ns),
            )
            connection.commit()
            return taken.rowcount == 1

    def lease_holder(self, name: str) -> str | None:
        """Return who holds a lease, or held it last without giving it back; None if nobody does."""
        with self._connected() as connection:
            row = connection.execute("SELECT holder FROM lease WHERE name = ?", (name,)).fetchone()
            return None if row is None else str(row[0])

    def release_lease(self, name: str, holder: str) -> None:
        """Give a lease back."""
        with self._connected() as connection:
            connection.execute("DELETE FROM lease WHERE name = ? AND holder = ?", (name, holder))
            connection.commit()

    def _insist_there(self) -> None:
        try:
            is_there = self._path.is_file()
        except OSError:  # in a directory that may not be looked into
            is_there = False
        if not is_there:
            raise StorageError(f"lock store: expected a file at {self._path}; {_WAY_OUT}")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        self._insist_there()
        uri = f"{self._path.resolve().as_uri()}?mode={'rw' if self._writable else 'ro'}"
        try:
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS)) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                yield connection
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise BusyError(
                    f"lock store: still locked after {BUSY_TIMEOUT_SECONDS:.0f} s ({self._path.name})"
                ) from error
            if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # as of a table that is not there
                what = "its tables are not there: it was emptied or replaced"
                raise StorageError(f"lock store: {what} ({self._path.name}); {_RESTORE}") from error
            raise StorageError(f"lock store: {error.sqlite_errorname} ({self._path.name})") from error
        except sqlite3.DatabaseError as error:
            raise StorageError(f"lock store: not a sound SQLite file ({self._path.name}); {_RESTORE}") from error


def _check_moves(
    connection: sqlite3.Connection, heads: Mapping[str, tuple[int, int]], leases: Mapping[str, str]
) -> None:
    for name, holder in leases.items():
        if connection.execute("SELECT holder FROM lease WHERE name = ?", (name,)).fetchone() != (holder,):
            connection.rollback()
            raise ConflictError(f"commit: another process took over {name}")
    for stream, (first, _) in heads.items():
        row = connection.execute("SELECT next_seq FROM stream WHERE stream = ?", (stream,)).fetchone()
        head = row[0] if row else 0
        if head != first:
            connection.rollback()
            raise ConflictError(f"commit: expected stream {stream} to continue at seq {head}, got {first}")


def _tables_of(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    return connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
