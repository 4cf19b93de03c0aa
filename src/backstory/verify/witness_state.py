"""What a witness must not forget: for every log the newest checkpoint it cosigned.

One SQLite file. A checkpoint is written before its cosignature leaves, in the transaction that compared it with the one
before; of two processes on one file, one decides after the other. Bytes: docs/format.md, "Witness and monitor
state".
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backstory.errors import BusyError, ConflictError, StorageError
from backstory.tlog.checkpoint import Checkpoint

BUSY_TIMEOUT_SECONDS = 30.0

_TABLES = """
CREATE TABLE witness (only INTEGER PRIMARY KEY CHECK (only = 0), vkey TEXT NOT NULL) STRICT;
CREATE TABLE latest (
    origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, time INTEGER NOT NULL, note BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigned:
    """The newest checkpoint of one log that was cosigned.

    Attributes:
        checkpoint: What it says.
        time: When it was cosigned, in seconds since the epoch.
        note: The signed note with the cosignature.
    """

    checkpoint: Checkpoint
    time: int
    note: bytes


class Turn:
    """A transaction that nobody else's comes between."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Look at the state; made by `WitnessState.turn`."""
        self._connection = connection

    def latest(self, origin: str) -> Cosigned | None:
        """Return the newest checkpoint of a log; None if none was cosigned."""
        query = "SELECT size, root, time, note FROM latest WHERE origin = ?"
        row = self._connection.execute(query, (origin,)).fetchone()
        if row is None:
            return None
        size, root, time, note = row
        return Cosigned(checkpoint=Checkpoint(origin=origin, size=size, root=root), time=time, note=note)

    def latest_time(self) -> int:
        """Return when a checkpoint of any log was cosigned last; 0 for never."""
        (time,) = self._connection.execute("SELECT max(time) FROM latest").fetchone()
        return time or 0

    def write(self, new: Cosigned) -> None:
        """Replace the newest checkpoint of a log; durable when the turn has ended."""
        row = (new.checkpoint.origin, new.checkpoint.size, new.checkpoint.root, new.time, new.note)
        self._connection.execute("INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?, ?)", row)


class WitnessState:
    """The state of one witness."""

    def __init__(self, path: Path) -> None:
        """Use an existing state.

        Raises:
            StorageError: There is none. It is never created on the fly: a witness that forgot what it cosigned would
                cosign the other half of a fork.
        """
        if not path.is_file():
            raise StorageError(
                f"witness: its state {path.name} is gone (in {path.parent}); a witness that lost it must not sign again"
                " under the same name and key"
            )
        self._path = path

    @classmethod
    def create(cls, path: Path, vkey: str) -> WitnessState:
        """Create the empty state of a new witness.

        Args:
            path: The file.
            vkey: The witness's key; the state is that of no other.

        Raises:
            ConflictError: There is one already.
        """
        if path.exists():
            raise ConflictError(f"witness: expected no state at {path}")
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(_TABLES)
            connection.execute("INSERT INTO witness VALUES (0, ?)", (vkey,))
            connection.commit()
        return cls(path)

    def vkey(self) -> str:
        """Return the key the state belongs to."""
        with self._connected() as connection:
            row = connection.execute("SELECT vkey FROM witness").fetchone()
        if row is None:
            raise StorageError(f"witness: its state names no key ({self._path.name})")
        return str(row[0])

    def latest(self, origin: str) -> Cosigned | None:
        """Return the newest checkpoint of a log; None if none was cosigned."""
        with self._connected() as connection:
            return Turn(connection).latest(origin)

    @contextlib.contextmanager
    def turn(self) -> Iterator[Turn]:
        """Look and write with nobody in between; what was written is durable when the block has ended without error."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Turn(connection)
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        uri = f"{self._path.resolve().as_uri()}?mode=rw"
        try:
            with contextlib.closing(
                sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None)
            ) as connection:
                # EXTRA: the end of a transaction is the removal of its journal, and that must survive a power cut too.
                connection.execute("PRAGMA synchronous = EXTRA")
                yield connection
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise BusyError(f"witness: its state is locked by another process ({self._path.name})") from error
            raise StorageError(f"witness: its state fails with {error.sqlite_errorname} ({self._path.name})") from error
        except sqlite3.DatabaseError as error:
            raise StorageError(f"witness: its state is not a sound SQLite file ({self._path.name})") from error
