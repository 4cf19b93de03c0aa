"""Where entries and segments are, in SQLite. It can be deleted and rebuilt from the log at any time."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from backstory.errors import ConflictError, StorageError
from backstory.records.canonical import JsonObject
from backstory.records.job import JOB_TYPES, entry_key
from backstory.records.manifest import MANIFEST_TYPE, STREAM_TYPES, parse_manifest
from backstory.records.merge import MOVED_TYPES, parse_merge
from backstory.storage.fork import renew_in_child

_VERSION = 2
_TABLES = """
CREATE TABLE indexed (only INTEGER PRIMARY KEY CHECK (only = 0), size INTEGER NOT NULL) STRICT;
INSERT INTO indexed VALUES (0, 0);
CREATE TABLE entry (position INTEGER PRIMARY KEY, type TEXT NOT NULL, name TEXT) STRICT;
CREATE INDEX entry_name ON entry (type, name);
CREATE TABLE segment (
  position INTEGER PRIMARY KEY, kind TEXT NOT NULL, stream TEXT NOT NULL, first_seq INTEGER NOT NULL,
  end_seq INTEGER NOT NULL, first_id TEXT NOT NULL, last_id TEXT NOT NULL,
  merged INTEGER
) STRICT;
CREATE INDEX segment_id ON segment (last_id, first_id);
CREATE INDEX segment_seq ON segment (stream, end_seq);
PRAGMA user_version = 2
"""


class Catalog:
    """Positions of entries by type and name, of segments by id and by stream.

    The name of an entry about a stream is the stream's id, of one about a job the key of its run and part.

    Beside each segment stands the position of the entry that merged or trimmed it last, if any did.
    """

    def __init__(self, path: Path | None, *, start: Path | None = None) -> None:
        """Open or create the catalog.

        Args:
            path: Its file; None keeps it in memory, for archives that are only read.
            start: File to start from in memory, where there is one; it is not written.
        """
        self._path = path
        self._start = start
        self._lock = threading.RLock()
        renew_in_child(self, "_lock", threading.RLock)
        self._closed = False
        try:
            self._connection = self._connect()
            usable = self._create()
        except sqlite3.DatabaseError:
            usable = False
        if not usable:
            self._reset()

    def _connect(self) -> sqlite3.Connection:
        target = ":memory:" if self._path is None else str(self._path)
        connection = sqlite3.connect(target, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = OFF")  # losable: it is rebuilt from the log
        if self._start is not None and self._start.exists():
            with contextlib.closing(sqlite3.connect(f"{self._start.absolute().as_uri()}?mode=ro", uri=True)) as source:
                source.backup(connection)
        return connection

    def _reset(self) -> None:
        """Start from nothing: the file is of another version, or not a sound SQLite file."""
        with contextlib.suppress(AttributeError):
            self._connection.close()
        self._start = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        try:
            self._connection = self._connect()
            self._create()
        except sqlite3.DatabaseError as error:
            raise StorageError(f"catalog: cannot be created ({error.sqlite_errorname})") from error

    def _create(self) -> bool:
        """Create the tables in a new file; return whether the file is of this version."""
        if self._version() == 0:
            with self._connection:  # one transaction, as another process may be about to do the same
                self._connection.execute("BEGIN IMMEDIATE")
                if not self._connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
                    for statement in _TABLES.split(";"):
                        self._connection.execute(statement)
        return self._version() == _VERSION

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def clear(self) -> None:
        """Forget everything; the next `catch_up` starts from the first entry."""
        with self._lock:
            self._insist_open()
            self._reset()

    @property
    def size(self) -> int:
        """How many entries of the log are indexed."""
        with self._errors():
            return int(self._connection.execute("SELECT size FROM indexed").fetchone()[0])

    def catch_up(self, entries: Iterable[tuple[int, JsonObject]]) -> None:
        """Index entries; those indexed already, by this or another process, are passed over."""
        with self._errors(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            size = self.size
            for position, document in entries:
                if position == size:
                    self._apply(position, document)
                    size += 1
            self._connection.execute("UPDATE indexed SET size = ?", (size,))

    def _apply(self, position: int, document: JsonObject) -> None:
        row = (position, document["type"], _name_of(document))
        self._connection.execute("INSERT INTO entry VALUES (?, ?, ?)", row)
        if document["type"] == MANIFEST_TYPE:
            manifest = parse_manifest(document)
            self._connection.execute(
                "INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                (
                    position,
                    manifest.kind,
                    manifest.stream,
                    manifest.first_seq,
                    manifest.end_seq,
                    manifest.first_id,
                    manifest.last_id,
                ),
            )
        elif document["type"] in MOVED_TYPES:
            merge = parse_merge(document)
            self._connection.execute(
                "UPDATE segment SET merged = ? WHERE stream = ? AND end_seq > ? AND end_seq <= ? AND first_seq >= ?",
                (position, merge.stream, merge.first_seq, merge.end_seq, merge.first_seq),
            )

    def entries(self, type_: str, name: str | None = None) -> list[int]:
        """Return positions of entries of a type, with a name where one is given, oldest first."""
        query, values = "SELECT position FROM entry WHERE type = ?", [type_]
        if name is not None:
            query, values = query + " AND name = ?", [type_, name]
        return self._positions(query, values)

    def entries_between(self, type_: str, first: str, end: str) -> list[int]:
        """Return positions of entries of a type whose names are from `first` on and before `end`, oldest first."""
        query = "SELECT position FROM entry WHERE type = ? AND name >= ? AND name < ?"
        return self._positions(query, [type_, first, end])

    def kinds(self) -> list[str]:
        """Return the kinds of records that are sealed."""
        with self._errors():
            return sorted(row[0] for row in self._connection.execute("SELECT DISTINCT kind FROM segment"))

    def segments(self, kind: str) -> list[int]:
        """Return positions of the manifests of a kind of record, oldest first."""
        return self._positions("SELECT position FROM segment WHERE kind = ?", [kind])

    def segments_with_id(self, first: str, last: str) -> list[int]:
        """Return positions of the manifests whose ids reach into `first` to `last`, in hex, both included."""
        return self._positions("SELECT position FROM segment WHERE last_id >= ? AND first_id <= ?", [first, last])

    def segments_with_seq(self, stream: str, first: int, end: int) -> list[int]:
        """Return positions of the manifests of a stream that reach into a range of sequence numbers, in order."""
        query = "SELECT position FROM segment WHERE stream = ? AND end_seq > ? AND first_seq < ?"
        return self._positions(query, [stream, first, end])

    def merged(self, stream: str, end_seq: int) -> int | None:
        """Return the position of the entry that merged or trimmed a segment last, by its end; None if none did."""
        query = "SELECT merged FROM segment WHERE stream = ? AND end_seq = ? AND merged IS NOT NULL"
        found = self._positions(query, [stream, end_seq])
        return found[0] if found else None

    def streams_in_files(self, least: int) -> list[str]:
        """Return the streams whose records are in so many files or more."""
        query = "SELECT stream FROM segment GROUP BY stream HAVING count(DISTINCT ifnull(merged, position)) >= ?"
        with self._errors():
            return sorted(row[0] for row in self._connection.execute(query, [least]))

    def ranges(self) -> set[tuple[str, int, int]]:
        """Return stream, first sequence number and end of every file that holds records."""
        query = "SELECT stream, min(first_seq), max(end_seq) FROM segment GROUP BY ifnull(merged, position)"
        with self._errors():
            return set(self._connection.execute(query))

    def is_whole(self, committed: tuple[int, Mapping[str, int]] | None) -> bool:
        """Say whether every entry and every segment is in it, as far as counting shows.

        Args:
            committed: Size of the log and where each stream ends by the lock store, which must agree where the catalog
                is of that size; None where that cannot be read.
        """
        entries = "SELECT count(*), ifnull(max(position), -1), count(*) FILTER (WHERE type = ?) FROM entry"
        streams = "SELECT stream, max(end_seq), sum(end_seq - first_seq), count(*) FROM segment GROUP BY stream"
        with self._errors(), self._connection:
            self._connection.execute("BEGIN")  # one state of it, whatever other processes index meanwhile
            size = self.size
            count, last, manifests = self._connection.execute(entries, [MANIFEST_TYPE]).fetchone()
            held = self._connection.execute(streams).fetchall()
        ends = {stream: end for stream, end, _, _ in held}
        return (
            count == last + 1 == size
            and manifests == sum(segments for _, _, _, segments in held)
            and all(end == records for _, end, records, _ in held)
            and (committed is None or committed[0] != size or committed[1] == ends)
        )

    def ends(self) -> dict[str, int]:
        """Return how far each stream is sealed: one more than its last sequence number."""
        with self._errors():
            return dict(self._connection.execute("SELECT stream, max(end_seq) FROM segment GROUP BY stream").fetchall())

    def close(self) -> None:
        """Close the file; a question asked afterwards is a `ConflictError`."""
        with self._lock:
            self._closed = True
            self._connection.close()

    def _positions(self, query: str, values: list[object] | list[str]) -> list[int]:
        with self._errors():
            return [int(row[0]) for row in self._connection.execute(query + " ORDER BY position", values)]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        with self._lock:
            self._insist_open()
            try:
                yield
            except sqlite3.DatabaseError as error:
                what = getattr(error, "sqlite_errorname", type(error).__name__)  # errors of the module's own have none
                raise StorageError(f"catalog: {what}; it can be rebuilt with `backstory reindex`") from error

    def _insist_open(self) -> None:
        if self._closed:
            raise ConflictError("catalog: the archive is closed; open it again to ask")


def _name_of(document: JsonObject) -> str | None:
    if document["type"] in JOB_TYPES:
        return entry_key(document)
    name = document.get("stream" if document["type"] in STREAM_TYPES else "name")
    return name if isinstance(name, str) else None
