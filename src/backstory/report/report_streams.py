"""Whether anything is missing: streams and their numbers, what waits, what writers said; for every report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.lineage.plain import count_text
from backstory.lineage.reconcile import reconcile_predictions
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.envelope import PREDICTION
from backstory.records.manifest import CLOSED_TYPE, HEARTBEAT_TYPE, MANIFEST_TYPE, OPENED_TYPE, Manifest, parse_manifest
from backstory.report.report import Cell, Column, Layout
from backstory.report.report_desk import Asked, Desk

STREAMS = Layout(
    name="streams",
    title="Writers, and the numbers of their records",
    standing="recorded",
    columns=(
        Column("stream", "stream"),
        Column("kind", "kind of record"),
        Column("first", "first number", "count"),
        Column("end", "number after the last", "count"),
        Column("records", "records", "count"),
        Column("missing", "numbers missing", "count"),
        Column("ended", "ended", "time"),
        Column("state", "state"),
        Column("clock", "clock, by its writer"),
    ),
    none="No records are in the log.",
)
"""The section about streams, of reports about a log."""


@dataclass(slots=True)
class Stream:
    """What the log says of one writer.

    Attributes:
        stream: Its id, in hex.
        kind: Kind of its records.
        opened: When it began.
        ranges: Numbers of its records that are in the log, as begin and end.
        entries: Indexes of the entries about it.
        closed: The entry that says that it ended.
        marks: What it said it had counted, oldest first.
    """

    stream: str
    kind: str
    opened: str
    ranges: list[tuple[int, int]]
    entries: list[int]
    closed: JsonObject | None
    marks: list[JsonObject]

    @property
    def end(self) -> int:
        """The number after its last record."""
        return max((end for _, end in self.ranges), default=0)

    @property
    def missing(self) -> int:
        """How many numbers below its last are not in the log."""
        covered = at = 0
        for first, end in sorted(self.ranges):
            covered += max(end - max(first, at), 0)
            at = max(at, end)
        return self.end - covered

    @property
    def state(self) -> str:
        """Whether it ended, and how."""
        if self.closed is None:
            return "open: its writer has not said that it ended"
        if self.closed.get("clean") is True:
            return "ended in order"
        lost = canonical.count_of(self.closed, "unknown_bytes")
        return f"ended without a word{f'; {lost:,} bytes of a last write are not known' if lost else ''}"

    @property
    def clock(self) -> str:
        """What its writer said of the clock."""
        said = sorted({str(mark["clock"]) for mark in self.marks if "clock" in mark})
        jumps = sum(1 for mark in self.marks if int(str(mark.get("jump_ns", 0))))
        return ", ".join(said + ([f"set {count_text(jumps, 'time')}"] if jumps else [])) or "not said"


def find_streams(ledger: Ledger) -> list[Stream]:
    """Return what the log says of writers, in the order in which they are first named."""
    found: dict[str, Stream] = {}
    kinds = {MANIFEST_TYPE, OPENED_TYPE, HEARTBEAT_TYPE, CLOSED_TYPE}
    positions = sorted(at for type_ in kinds for at in ledger.catalog.entries(type_))
    for at in positions:
        entry = ledger.log.entry(at)
        name, type_ = canonical.text_of(entry, "stream"), entry["type"]
        stream = found.setdefault(name, Stream(name, "", "", [], [], None, []))
        stream.entries.append(at)
        if type_ == MANIFEST_TYPE:
            manifest = parse_manifest(entry)
            stream.kind = manifest.kind
            stream.ranges.append((manifest.first_seq, manifest.end_seq))
            continue
        mark = entry.get("mark")
        if isinstance(mark, dict) and mark:
            stream.marks.append(mark)
        if type_ == OPENED_TYPE:
            stream.opened = canonical.text_of(entry, "opened")
            stream.kind = ledger.schema(canonical.text_of(entry, "schema")).kind
        elif type_ == CLOSED_TYPE:
            stream.closed = entry
    return list(found.values())


def stream_rows(streams: list[Stream]) -> Iterator[dict[str, Cell]]:
    """Yield the rows of the section about streams."""
    for one in streams:
        yield {
            "clock": one.clock,
            "end": str(one.end),
            "ended": None if one.closed is None else canonical.text_of(one.closed, "time"),
            "first": str(min((first for first, _ in one.ranges), default=0)),
            "kind": one.kind,
            "missing": str(one.missing),
            "records": str(sum(end - first for first, end in one.ranges)),
            "state": one.state,
            "stream": one.stream,
        }


def completeness_of(desk: Desk, asked: Asked, kinds: tuple[str, ...] = (PREDICTION,)) -> list[str]:
    """Say what is known to be missing of some kinds of records, in sentences."""
    ledger = desk.ledger
    streams = [one for one in find_streams(ledger) if one.kind in kinds]
    said = []
    for kind in kinds:
        mine = [one for one in streams if one.kind == kind]
        records = sum(end - first for one in mine for first, end in one.ranges)
        missing = sum(one.missing for one in mine)
        gaps = "no number between them is missing" if not missing else f"{missing:,} NUMBERS BETWEEN THEM ARE MISSING"
        writers = count_text(len(mine), "writer")
        said.append(f"Records of kind {kind} in the log: {records:,}, by {writers}; {gaps}.")
        waiting = sum(table.num_rows for _, table in records_now(ledger, kind)[1])
        if waiting:
            said.append(f"Not looked at here, as not sealed yet: {count_text(waiting, 'record')} of kind {kind}.")
    unclean = [one for one in streams if one.closed is not None and one.closed.get("clean") is not True]
    if unclean:
        said.append(
            f"{count_text(len(unclean), 'writer')} ended without a word: what they had not written is not known."
        )
    left = [one for one in streams if one.closed is None]
    if left:
        said.append(f"{count_text(len(left), 'writer')} had not said that they ended when this was made.")
    if asked.expected is None:
        return [*said, "Nobody gave a count from outside, so nothing shows that everything was recorded."]
    agrees = f"A count from outside of {asked.expected:,} predictions agrees with what is recorded."
    return [*said, difference_of(desk, asked) or agrees]


def difference_of(desk: Desk, asked: Asked) -> str | None:
    """Say how a count from outside differs from what is recorded; None where it does not, or nobody gave one."""
    if asked.expected is None:
        return None
    since, until = asked.period
    found = reconcile_predictions(desk.ledger, count=asked.expected, model=asked.model, since=since, until=until)
    if not found.difference:
        return None
    return (
        f"A count from outside of {asked.expected:,} predictions DOES NOT AGREE with the {found.recorded:,} that are "
        f"recorded: a difference of {abs(found.difference):,}; recorders say that they refused {found.refused:,}."
    )


def manifests_in(ledger: Ledger, asked: Asked) -> Iterator[tuple[int, Manifest]]:
    """Yield index and manifest of the segments with records in a period, in the order of the log."""
    since, until = asked.period
    for at in ledger.catalog.entries(MANIFEST_TYPE):
        manifest = parse_manifest(ledger.log.entry(at))
        if (until is None or manifest.first_time < until) and (since is None or manifest.last_time >= since):
            yield at, manifest
