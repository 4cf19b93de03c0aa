"""Records that refer to some positions, found segment by segment, a few row groups at a time.

What a segment's entry and the bounds of its row groups rule out is not read; what is read was checked against the log.
Memory does not grow with the archive. Reference columns of people are read through the gate only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import unchunked
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.ledger.sealed import read_shard
from backstory.lineage.reach import Reached
from backstory.records.access import Gate, RecordRun, Scope, whole_segments
from backstory.records.envelope import PREDICTION
from backstory.records.limits import ACCESS_IDS_MAX, ROW_GROUP_ROWS
from backstory.records.manifest import Manifest
from backstory.records.schema import Schema, split_name
from backstory.storage.segment import ParquetReader

_GROUPS_AT_ONCE = 16
"""Row groups read together: 131,072 positions of a reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way by which records of a context are reached.

    Attributes:
        via: The reference; None where every record of the context is meant.
        reached: The positions of it that count; None for every record.
    """

    via: str | None
    reached: Reached | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """Records of one context that are reached in one way.

    Attributes:
        context: The context, in hex.
        via: The reference; None where every record of the context is meant.
        rows: Rows of the segment, rising.
        positions: The position each refers to; None where every record is meant.
    """

    context: str
    via: str | None
    rows: np.ndarray
    positions: np.ndarray | None

    def head(self, count: int) -> Line:
        """Return the first of the records."""
        positions = None if self.positions is None else self.positions[:count]
        return replace(self, rows=self.rows[:count], positions=positions)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hits:
    """Records that were found together.

    Attributes:
        lines: The ways they were reached; a record can be in several.
        schema: Their schema.
        manifest: Their segment's; None for records that are not sealed yet.
        take: Gives some open columns, those the records have, in some rows that rise; of records not sealed yet all.
    """

    lines: tuple[Line, ...]
    schema: Schema
    manifest: Manifest | None
    take: Callable[[np.ndarray, Sequence[str]], pa.Table]

    def rows(self) -> np.ndarray:
        """Return the rows of the records, each once, rising."""
        return _united([line.rows for line in self.lines])

    def counts(self) -> Iterator[tuple[str, int]]:
        """Return how many records of each context there are."""
        return ((context, len(rows)) for context, rows in self.of_contexts())

    def of_contexts(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the rows of the records of each context, each once, rising."""
        for context, lines in groupby(self.lines, key=lambda line: line.context):
            yield context, _united([line.rows for line in lines])


def _united(rising: list[np.ndarray]) -> np.ndarray:
    """Return the numbers that are in any of some arrays, each rising, once."""
    if len(rising) == 1:
        return rising[0]
    low, high = min(rows[0] for rows in rising), max(rows[-1] for rows in rising)
    marks = np.zeros(high - low + 1, bool)
    for rows in rising:
        marks[rows - low] = True
    return np.asarray(np.flatnonzero(marks) + low)


class Scan:
    """The predictions of an archive as it is now, to be looked through as often as needed."""

    def __init__(self, ledger: Ledger, gate: Gate, ways: Callable[[str], Sequence[Way]]) -> None:
        """Look for records.

        Args:
            ledger: The archive.
            gate: Opens references to people.
            ways: Gives the ways by which records of a context are reached, by its digest in hex.
        """
        self._ledger = ledger
        self._gate = gate
        self._ways = ways
        self._sealed, self._waiting = records_now(ledger, PREDICTION)

    def hits(self) -> Iterator[Hits]:
        """Yield the records that are reached, in runs; opens sealed references anew each time.

        Raises:
            StorageError: A segment cannot be read.
            VerificationError: The bytes of one were changed.
        """
        for _, manifest in self._sealed:
            yield from self._in_segment(manifest)
        for schema, table in self._waiting:
            yield from self._in_waiting(schema, table)

    def count_sealed(self, is_meant: Callable[[str], bool]) -> int:
        """Return how many segments and runs of waiting records have references that may not be opened.

        Args:
            is_meant: Says whether records of a context count, by its digest in hex.
        """
        if self._gate.allows():
            return 0
        runs = [(self._ledger.schema(m.schema), m.contexts) for _, m in self._sealed if m.shard is not None]
        runs += [(schema, _contexts_of(table)) for schema, table in self._waiting]
        return sum(_sealed_references(schema) and any(map(is_meant, contexts)) for schema, contexts in runs)

    def _plan(
        self, contexts: Sequence[str], schema: Schema, records: int, scope: Scope | None
    ) -> tuple[dict[str, list[Way]], bool]:
        """Return the ways to records of each context, and whether some of them are sealed and were opened."""
        present = {name: column.group for column in schema.columns if (name := _reference_name(column.name))}
        plan: dict[str, list[Way]] = {}
        groups: set[str] = set()
        for context in contexts:
            for way in self._ways(context):
                group = None if way.via is None else present.get(way.via)
                if way.via is not None and (way.via not in present or (group and not self._gate.allows())):
                    continue
                plan.setdefault(context, []).append(way)
                groups |= {group} if group else set()
        if groups:
            self._gate.pass_through("impact", sorted(groups), records, scope)
        return plan, bool(groups)

    def _in_segment(self, manifest: Manifest) -> Iterator[Hits]:
        schema = self._ledger.schema(manifest.schema)
        plan, opened = self._plan(manifest.contexts, schema, manifest.count, whole_segments([manifest]))
        if not plan:
            return
        reader = self._ledger.segment(manifest, checked=True)
        sealed = None
        if opened and manifest.shard is not None:
            sealed = unchunked(read_shard(self._ledger, manifest.shard)["row"])
        for groups, context in _runs(reader, plan, bounded=sealed is None):
            of_run = plan if context is None else {context: plan[context]}
            hidden = None if sealed is None else sealed.slice(groups[0] * ROW_GROUP_ROWS)
            table = _read_run(reader, groups, of_run, context, hidden)
            starts = np.array(groups) * ROW_GROUP_ROWS
            lines = [
                replace(line, rows=starts[line.rows // ROW_GROUP_ROWS] + line.rows % ROW_GROUP_ROWS)
                for line in _lines(table, of_run, context)
            ]
            if lines:
                yield Hits(lines=tuple(lines), schema=schema, manifest=manifest, take=_taker(reader))

    def _in_waiting(self, schema: Schema, table: pa.Table) -> Iterator[Hits]:
        plan, _ = self._plan(_contexts_of(table), schema, table.num_rows, None)
        lines = list(_lines(table, plan, None)) if plan else []
        if lines:
            yield Hits(
                lines=tuple(lines),
                schema=schema,
                manifest=None,
                take=lambda rows, columns: table.select(_present(columns, table)).take(pa.array(rows)),
            )


def note_hits(gate: Gate, groups: Sequence[str], hits: Hits, rows: np.ndarray) -> None:
    """Record that sealed values of records that were found are read.

    Raises:
        ForbiddenError: The gate lets nothing through.
    """
    many = len(rows) > ACCESS_IDS_MAX
    if hits.manifest is None:
        ids = hits.take(rows, ["id"])["id"].to_pylist()
        scope = None if many else Scope(ids=tuple(ids))
    elif many:
        scope = whole_segments([hits.manifest])
    else:
        stream, first = hits.manifest.stream, hits.manifest.first_seq
        scope = Scope(runs=tuple(RecordRun(stream=stream, first=first + row, count=1) for row in rows.tolist()))
    gate.pass_through("impact", groups, len(rows), scope)


def _contexts_of(table: pa.Table) -> tuple[str, ...]:
    """Return the contexts of waiting records, by their digests in hex."""
    return tuple(digest.hex() for digest in table["context"].unique().to_pylist())


def _reference_name(column: str) -> str | None:
    """Return the reference whose positions a column holds."""
    top, *rest = split_name(column)
    return rest[0] if top == "row" and rest else None


def _sealed_references(schema: Schema) -> bool:
    """Say whether a schema has references that are sealed; those about the weather at a person's flight are open."""
    return any(column.group is not None and _reference_name(column.name) for column in schema.columns)


def _runs(
    reader: ParquetReader, plan: dict[str, list[Way]], *, bounded: bool
) -> Iterator[tuple[list[int], str | None]]:
    """Yield row groups in which something can be reached, with the context all their records have, if it is one.

    Args:
        reader: The segment.
        plan: The ways to records of each context.
        bounded: Whether the bounds of its references count; those of sealed ones are not in it, and the row groups of a
            run then follow each other.
    """
    run: list[int] = []
    of_run: str | None = None
    for group in range(reader.group_count):
        ends = reader.bounds(group, "context")
        same = ends is not None and ends[0] == ends[1] and not reader.is_trimmed  # it says nothing of those gone
        context = ends[0].hex() if ends is not None and same else None
        ways = plan.get(context, []) if context is not None else [way for ways in plan.values() for way in ways]
        if not any(not bounded or _can_be_in(reader, group, way) for way in ways):
            continue
        apart = not bounded and bool(run) and run[-1] != group - 1
        if run and (context != of_run or len(run) == _GROUPS_AT_ONCE or apart):
            yield run, of_run
            run = []
        run, of_run = [*run, group], context
    if run:
        yield run, of_run


def _can_be_in(reader: ParquetReader, group: int, way: Way) -> bool:
    if way.via is None or way.reached is None:
        return True
    bounds = reader.bounds(group, f"row.{way.via}")
    return bounds is None or way.reached.any_between(*bounds)


def _read_run(
    reader: ParquetReader, groups: list[int], plan: dict[str, list[Way]], context: str | None, sealed: pa.Array | None
) -> pa.Table:
    """Return the positions of the references the ways lead through, and the contexts where they differ.

    `sealed` are the references of the same records that are in the shard.
    """
    names = {way.via for ways in plan.values() for way in ways if way.via is not None}
    hidden = set() if sealed is None else {field.name for field in sealed.type}
    columns = sorted(f"row.{name}" for name in names - hidden) + (["context"] if context is None else [])
    table = reader.read_groups(groups, columns or ["context"])
    fields = {}
    if names - hidden:
        open_ = unchunked(table["row"])
        fields = {name: open_.field(name) for name in names - hidden}
    if sealed is not None and names & hidden:
        fields |= {name: sealed.field(name).slice(0, table.num_rows) for name in names & hidden}
    if fields:
        row = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
        table = table.drop_columns(["row"] if "row" in table.column_names else []).append_column("row", row)
    return table


def _lines(table: pa.Table, plan: dict[str, list[Way]], context: str | None) -> Iterator[Line]:
    """Yield what is reached in a table, by the context and the way; `context` is that of all records, if it is one."""
    row = unchunked(table["row"]) if "row" in table.column_names else None
    contexts = None if context is not None else unchunked(table["context"]).dictionary_encode()
    numbers = None if contexts is None else contexts.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    known = [] if contexts is None else [digest.hex() for digest in contexts.dictionary.to_pylist()]
    for digest, ways in plan.items():
        if context is None and digest not in known:
            continue
        own = None if numbers is None else numbers == known.index(digest)  # elsewhere a position means something else
        for way in ways:
            if way.via is None or way.reached is None or row is None:
                rows = np.arange(table.num_rows) if own is None else np.flatnonzero(own)
                positions = None
            else:
                all_positions = row.field(way.via).fill_null(-2).to_numpy(zero_copy_only=False)
                hit = way.reached.among(all_positions)
                rows = np.flatnonzero(hit if own is None else hit & own)
                positions = all_positions[rows]
            if len(rows):
                yield Line(context=digest, via=way.via, rows=rows, positions=positions)


def _taker(reader: ParquetReader) -> Callable[[np.ndarray, Sequence[str]], pa.Table]:
    """Return what reads columns of a segment in some rows, from the row groups these are in."""

    def take(rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        groups, place = np.unique(rows // ROW_GROUP_ROWS, return_inverse=True)
        table = reader.read_groups(groups.tolist(), _present(columns, reader.arrow_schema))
        return table.take(pa.array(place * ROW_GROUP_ROWS + rows % ROW_GROUP_ROWS))

    return take


def _present(columns: Sequence[str], there: pa.Table | pa.Schema) -> list[str]:
    names = there.names if isinstance(there, pa.Schema) else there.column_names
    return [name for name in columns if name in names]
