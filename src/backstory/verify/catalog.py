"""Comparing the catalog with the log, row by row, with nothing of the code that writes it.

The catalog proves nothing and is never evidence; but questions are answered through it, and one that lacks a row hides
what the log holds.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator

from backstory.errors import BackstoryError, FormatError
from backstory.records.canonical import JsonObject
from backstory.records.job import JOB_TYPES, entry_key
from backstory.records.manifest import MANIFEST_TYPE, STREAM_TYPES, parse_manifest
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries
from backstory.verify.held import Holdings

CATALOG_VERSION = 2
CUT_SHORT = "SQLITE_READONLY_ROLLBACK"
"""What SQLite says of a file whose writer stopped in a transaction, to whoever may not undo that."""
_PLACE = "catalog.sqlite"
_AGAIN = "run `backstory reindex`"
_MEANS = "no proof is touched; but until it is rebuilt, questions may not find all that is recorded"
_MERGED_AT = 7
_STRAY = (
    "SELECT min(position) FROM (SELECT position FROM entry WHERE position >= ?"
    " UNION ALL SELECT position FROM segment WHERE position >= ?)"
)
_SEGMENTS = "SELECT position, kind, stream, first_seq, end_seq, first_id, last_id, merged FROM segment"


def check_catalog(audit: Audit, entries: Entries, holdings: Holdings, size_now: Callable[[], int]) -> None:
    """Compare every row of the catalog with the entries; it may be behind the log, or not be there.

    Args:
        audit: The verification.
        entries: The log.
        holdings: Its manifests, and what was merged.
        size_now: Gives the size of the log once no commit is under way: others may append meanwhile.
    """
    path = audit.layout.catalog
    if not entries.is_whole:
        return  # said already
    if not path.is_file():
        audit.add("note", _PLACE, "is not here; whoever opens the archive for writing makes it again from the log")
        return
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
            connection.execute("BEGIN")  # one state of it, whatever is indexed meanwhile
            _compare(audit, connection, entries, holdings, size_now)
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "no sound SQLite file")
        if name == CUT_SHORT:
            audit.add("note", _PLACE, "writing to it was cut short: the next who opens the archive for writing goes on")
            return
        audit.add("failed", _PLACE, f"cannot be read ({name}); {_AGAIN}", meaning=_MEANS)


def _compare(
    audit: Audit,
    connection: sqlite3.Connection,
    entries: Entries,
    holdings: Holdings,
    size_now: Callable[[], int],
) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != CATALOG_VERSION:
        what = f"is of version {version}, expected {CATALOG_VERSION}: whoever opens the archive for writing rebuilds it"
        audit.add("failed", _PLACE, f"{what}; {_AGAIN}", meaning=_MEANS)
        return
    (result,) = connection.execute("PRAGMA integrity_check").fetchone()
    if result != "ok":
        audit.add("failed", _PLACE, f"fails SQLite's integrity check; {_AGAIN}", meaning=_MEANS)
        return
    (size,) = connection.execute("SELECT size FROM indexed").fetchone()
    end = min(size, len(entries))
    if size > len(entries) and size > size_now():
        audit.add("failed", _PLACE, f"it speaks of more entries than the log has; {_AGAIN}", meaning=_MEANS)
    (stray,) = connection.execute(_STRAY, [size, size]).fetchone()
    if stray is not None:
        audit.add("failed", _PLACE, f"has a row too many for entry {stray}; {_AGAIN}", index=stray, meaning=_MEANS)
    if size < len(entries):
        audit.add("note", _PLACE, f"knows {size} of {len(entries)} entries: the next who opens the archive goes on")
    rows = connection.execute("SELECT position, type, name FROM entry WHERE position < ? ORDER BY position", [end])
    own = ((index, entry.get("type"), _name_of(entry)) for index, entry in entries.documents() if index < end)
    _say_first(audit, own, rows, "entry", end)
    if holdings.refused:
        return  # it may have taken a merge that is passed over here, and named
    segments = connection.execute(f"{_SEGMENTS} WHERE position < ? ORDER BY position", [end])
    _say_first(audit, _segments(entries, holdings, end), segments, "segment", end)


def _say_first(
    audit: Audit, own: Iterator[tuple[object, ...]], rows: Iterator[tuple[object, ...]], what: str, end: int
) -> None:
    """Name the first row that is not what the log gives."""
    for expected, found in itertools.zip_longest(own, rows):
        if expected != found and not _is_merged_since(expected, found, end):
            problem, index = _difference(expected, found)
            audit.add("failed", _PLACE, f"{problem} for {what} {index}; {_AGAIN}", index=index, meaning=_MEANS)
            return


def _difference(expected: tuple[object, ...] | None, found: tuple[object, ...] | None) -> tuple[str, int | None]:
    """Say what is wrong with the first row that differs, and of which entry it is."""
    own, other = (row[0] if row and isinstance(row[0], int) else None for row in (expected, found))
    if other is None or (own is not None and own < other):
        return "lacks a row", own
    return ("has a row too many" if own is None or other < own else "has a wrong row"), other


def _segments(entries: Entries, holdings: Holdings, end: int) -> Iterator[tuple[object, ...]]:
    for index, entry in entries.documents(MANIFEST_TYPE):
        if index >= end:
            return
        try:
            manifest = parse_manifest(entry)
        except FormatError:
            continue  # said already
        holder = holdings.holder_of(index)
        merged = None if holder == index or holder >= end else holder
        yield (
            index,
            manifest.kind,
            manifest.stream,
            manifest.first_seq,
            manifest.end_seq,
            manifest.first_id,
            manifest.last_id,
            merged,
        )


def _is_merged_since(expected: tuple[object, ...] | None, found: tuple[object, ...] | None, end: int) -> bool:
    """Say whether rows differ only by a merge that came after the entries compared."""
    if expected is None or found is None or expected[:-1] != found[:-1]:
        return False
    return isinstance(found[-1], int) and len(found) == _MERGED_AT + 1 and found[-1] >= end


def _name_of(document: JsonObject) -> object:
    """Return the name by which an entry is found: its stream, the key of its job, or what it calls itself."""
    if document.get("type") in JOB_TYPES:
        with contextlib.suppress(BackstoryError):
            return entry_key(document)
    return document.get("stream" if document.get("type") in STREAM_TYPES else "name")
