"""Checking that streams are complete: that each began, how it ended, what its writer counted.

A signed log shows that what is in it was not changed. Whether all that was recorded came into it, only the writers can
say: what they counted is compared with what is sealed, and where a writer ended without a word, that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import check_hex_id
from backstory.records.manifest import CLOSED_TYPE, HEARTBEAT_TYPE, OPENED_TYPE, STREAM_TYPES
from backstory.storage.disk import Disk
from backstory.storage.keys import open_keys
from backstory.storage.layout import Layout
from backstory.storage.spool import Spool
from backstory.storage.worker_spool import read_worker_spool
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries
from backstory.verify.finding import Severity
from backstory.verify.held import Holdings

_MEANS = (
    "whether everything this writer recorded is in the log is not shown: records may be missing after its last ones"
)
_SYNCHRONISED, _UNSYNCHRONISED = "synchronised", "unsynchronised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a writer had counted at a moment, as its mark in the log says."""

    recorded: int
    refused: int
    jump_ns: int
    clock: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What a `stream.closed` says: where the stream ended, whether its writer said so, and what is not known of it."""

    next_seq: int
    clean: bool
    unknown_bytes: int


@dataclass(slots=True, kw_only=True)
class Told:
    """What the log tells of one stream.

    Attributes:
        opened: Index of the entry that begins it; None without one.
        first_manifest: Index of its first manifest; None without one.
        sealed: How many records are sealed.
        marks: What its writer counted, oldest first.
        end: How it ended; None if the log does not say that it did.
    """

    opened: int | None = None
    first_manifest: int | None = None
    sealed: int = 0
    marks: list[Mark] = field(default_factory=list)
    end: End | None = None


def check_streams(
    audit: Audit,
    entries: Entries,
    holdings: Holdings,
    spools: Sequence[Path],
    later: Callable[[], Sequence[JsonObject | None]],
) -> None:
    """Check what the log says of streams and their writers.

    Args:
        audit: The verification under way.
        entries: The log; where one could not be read nothing is checked, as more may be missing.
        holdings: Its manifests.
        spools: Spools of workers, which may hold streams the archive's own does not.
        later: Gives the entries that are in the log by now behind these.

    Raises:
        NotFoundError: One of the spools is not there.
    """
    if not entries.is_whole:
        return  # said already
    streams: dict[str, Told] = {}
    for index, entry in entries.documents(*STREAM_TYPES):
        try:
            _tell(streams, index, entry)
        except FormatError as error:
            audit.add("failed", f"entry {index}", error, index=index, meaning=_MEANS)
    for stream, index in holdings.first_manifests.items():
        told = streams.setdefault(stream, Told())
        told.first_manifest, told.sealed = index, holdings.sealed[stream]
    waiting = {name for spool in spools_of(audit.layout, spools) for name in spool.stream_names()}
    elsewhere = waiting | _ended(later())  # in this order: a spool is left after the end
    synchronised = any(mark.clock == _SYNCHRONISED for told in streams.values() for mark in told.marks)
    for stream, told in sorted(streams.items()):
        for severity, what in _findings(told, is_elsewhere=stream in elsewhere, synchronised=synchronised):
            meaning = None if severity == "note" else _MEANS
            audit.add(severity, f"stream {stream}", what, stream=stream, seq=told.sealed, meaning=meaning)


def _tell(streams: dict[str, Told], index: int, entry: JsonObject) -> None:
    stream = check_hex_id(canonical.text_of(entry, "stream"), "stream")
    told = streams.setdefault(stream, Told())
    if entry["type"] == OPENED_TYPE:
        told.opened = index if told.opened is None else told.opened
    elif entry["type"] == HEARTBEAT_TYPE:
        told.marks.append(_mark(entry))
    elif entry["type"] == CLOSED_TYPE:
        told.marks += [_mark(entry)] if entry.get("mark") else []
        told.end = End(
            next_seq=canonical.count_of(entry, "next_seq"),
            clean=entry.get("clean") is True,
            unknown_bytes=canonical.count_of(entry, "unknown_bytes"),
        )


def _mark(entry: JsonObject) -> Mark:
    """Read the mark of an entry.

    Raises:
        FormatError: It is none.
    """
    mark = entry.get("mark")
    if not isinstance(mark, dict):
        raise FormatError(f"{entry['type']}: expected a mark")
    jump = canonical.text_of(mark, "jump_ns")
    size = canonical.count_of({"jump_ns": jump.removeprefix("-")}, "jump_ns")
    return Mark(
        recorded=canonical.count_of(mark, "recorded"),
        refused=canonical.count_of(mark, "refused"),
        jump_ns=-size if jump.startswith("-") else size,
        clock=canonical.text_of(mark, "clock"),
    )


def _findings(told: Told, *, is_elsewhere: bool, synchronised: bool) -> Iterator[tuple[Severity, str]]:
    if told.first_manifest is not None and (told.opened is None or told.opened > told.first_manifest):
        yield "failed", "has records in the log before any word that it began"
    last = told.marks[-1] if told.marks else None
    if told.end is None and not is_elsewhere:
        yield (
            "unknown",
            (
                f"{_after(told.sealed)}: the log does not say that it ended, and it is not in the spool; "
                "name the worker's spool it is in, if it is in one"
            ),
        )
    if told.end is not None:
        yield from _findings_of_end(told, told.end)
    if last is not None and last.recorded > told.sealed and (told.end is not None or not is_elsewhere):
        what = f"its writer counted {last.recorded} records and {told.sealed} are sealed"
        yield "failed", f"{what}: {last.recorded - told.sealed} are missing"
    if last is not None and last.refused:
        yield "note", f"{last.refused} predictions were refused: they have no record"
    for jump_ns in (mark.jump_ns for mark in told.marks if mark.jump_ns):
        yield (
            "note",
            f"its writer's clock was set by {jump_ns / 10**9:+.3f} s: times jump there, sequence numbers do not",
        )
    if synchronised and any(mark.clock == _UNSYNCHRONISED for mark in told.marks):
        yield "note", "its writer's clock was not kept by a time service, others' were"


def _findings_of_end(told: Told, end: End) -> Iterator[tuple[Severity, str]]:
    if end.next_seq != told.sealed:
        yield "failed", f"ended before seq {end.next_seq} by the log, and {told.sealed} records are sealed"
    if not end.clean:
        cut = f", {end.unknown_bytes} bytes of a write were cut short" if end.unknown_bytes else ""
        yield "note", f"{_after(told.sealed)}: its writer ended without saying so{cut}"


def _after(sealed: int) -> str:
    return f"unknown after seq {sealed - 1}" if sealed else "unknown from its beginning"


def spools_of(layout: Layout, roots: Sequence[Path]) -> list[Spool]:
    """Return the archive's spool and those of workers.

    Raises:
        NotFoundError: One of these is not there.
    """
    for root in roots:
        read_worker_spool(root)
    folders = [layout.spool, *(root / "streams" for root in roots)]
    return [Spool(folder, open_keys(layout, Disk()), Disk()) for folder in folders]


def _ended(entries: Sequence[JsonObject | None]) -> set[str]:
    """Return the streams of which entries say that they ended."""
    closed = (entry for entry in entries if entry is not None and entry.get("type") == CLOSED_TYPE)
    return {str(entry.get("stream")) for entry in closed}
