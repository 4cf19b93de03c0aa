"""Reading facts: decisions, notices, requests and the like, sealed ones and those that wait."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.people import leads_to
from backstory.columns.python_value import python_rows
from backstory.columns.seal import merge_columns, pick_columns
from backstory.ledger.ledger import Ledger
from backstory.ledger.people_index import find_linked_rows
from backstory.ledger.read import records_now
from backstory.ledger.sealed import open_rows
from backstory.records.access import About, Gate, RecordRun, Scope
from backstory.records.envelope import ENVELOPE
from backstory.records.fact import FactKind
from backstory.records.identity import id_text, time_text
from backstory.records.limits import ACCESS_IDS_MAX, ROW_GROUP_ROWS
from backstory.records.manifest import Manifest
from backstory.records.schema import Schema
from backstory.storage.segment import ParquetReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINKS = "subject"
"""The sealed group that holds the links from one thing of a person to another."""

_SUBJECT = "subject"
"""The column of that group with the id of the person."""

_NO_ROWS = np.zeros(0, np.int64)
_ENVELOPE = frozenset(column.name for column in ENVELOPE) | {"commitment"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One fact.

    Attributes:
        id: Its id.
        time: When it was recorded, RFC 3339.
        values: Its values by column, those of groups that are sealed left out.
        sealed: Groups that were not opened.
        entry: Index of the manifest that proves it; None while it waits to be sealed.
    """

    id: str
    time: str
    values: Mapping[str, Any]
    sealed: tuple[str, ...]
    entry: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Facts of one segment, or of one stream of the spool, that fit.

    Attributes:
        position: Index of the manifest; None of those that wait to be sealed.
        manifest: The manifest.
        schema: Their schema.
        rows: Their rows of the segment, ascending.
        table: Of those that are sealed what says which they are; of the others all columns.
    """

    position: int | None
    manifest: Manifest | None
    schema: Schema
    rows: NDArray[np.int64]
    table: pa.Table


def read_facts(
    ledger: Ledger,
    gate: Gate,
    kind: FactKind,
    question: str,
    where: Mapping[str, Collection[Any]] | None = None,
    *,
    linked: Mapping[str, Collection[bytes]] | None = None,
    groups: Collection[str] | None = None,
) -> list[Fact]:
    """Return facts of a kind, oldest first; those that were disposed of are gone.

    For whom only the records of one person are, only facts whose sealed `subject` is that person fit.

    One access is recorded before a sealed value is given out: of the facts that were found, or, where sealed links lead
    to none, of the search, as a read of the group `subject` of no record.

    Args:
        ledger: The archive.
        gate: Opens sealed groups; what it does not let through stays sealed.
        kind: Their kind.
        question: What is being asked, for the record of the read.
        where: Values that an open column has, by its name; a fact fits that has one of each.
        linked: Ids that a sealed link, or list of links, leads to, by its column in the group `subject`; a fact fits
            that leads to one of each. That group is opened then. Where the gate does not let it through, none fits.
        groups: Sealed groups that are asked for; None for all.

    Raises:
        ForbiddenError: Not even that there are any is for whoever asks.
        StorageError: A segment cannot be read.
        VerificationError: A record or its sealed values were changed.
    """
    subject = gate.bound_subject
    if subject is not None:
        own, asked = {**(linked or {}), _SUBJECT: [subject]}, gate_of_facts(gate)
        if not asked.allows([LINKS]):
            asked.pass_through(question, [LINKS], 0)  # refuses: an empty answer would say that there is none
        found = _read(ledger, asked, kind, question, where, own, groups)
        if not found and "id" in (where or {}):
            gate.require_open(question, ("D0",))  # it was asked for by its id, and is another's
        return found
    return _read(ledger, gate, kind, question, where, linked, groups)


def gate_of_facts(gate: Gate) -> Gate:
    """Return the gate that decides about facts; where only a person's own are for whoever asks, the one of these."""
    subject = gate.bound_subject
    return gate if subject is None else gate.within(About(subject=lambda: subject))


def _read(
    ledger: Ledger,
    gate: Gate,
    kind: FactKind,
    question: str,
    where: Mapping[str, Collection[Any]] | None,
    linked: Mapping[str, Collection[Any]] | None,
    groups: Collection[str] | None,
) -> list[Fact]:
    gate.require_open(question, ("D0",))
    if linked and not (all(linked.values()) and gate.allows([LINKS])):
        return []
    sealed, waiting = records_now(ledger, kind.kind)
    candidates = find_linked_rows(ledger, (one for _, one in sealed), linked) if linked else [None] * len(sealed)
    parts = [_sealed_part(ledger, *one, where, rows) for one, rows in zip(sealed, candidates, strict=True)]
    parts += [_waiting_part(schema, table, where, linked) for schema, table in waiting]
    there = [part for part in parts if part.table.num_rows]
    held = {group for part in there for group in part.schema.groups} | ({LINKS} if linked and parts else set())
    wanted = held if groups is None else held & {*groups, *([LINKS] if linked else ())}
    opened = tuple(sorted(wanted))
    if opened and not gate.allows(opened):
        opened = tuple(group for group in opened if gate.allows([group]))
    if opened:
        gate.pass_through(question, opened, sum(part.table.num_rows for part in there), _scope(there))
    found = [fact for part in there for fact in _facts_of(ledger, part, opened, linked)]
    return sorted(found, key=lambda fact: fact.id)


def read_columns(
    ledger: Ledger, kind: FactKind, names: Collection[str], where: Mapping[str, Collection[Any]] | None = None
) -> Iterator[pa.Table]:
    """Yield open columns of facts of a kind, for counting many; see `read_facts`.

    Args:
        ledger: The archive.
        kind: Their kind.
        names: Names of the columns.
        where: Values that an open column has, by its name.
    """
    sealed, waiting = records_now(ledger, kind.kind)
    tables = [_columns(ledger, manifest, {"id", *names, *(where or {})}) for _, manifest in sealed]
    for table in [*tables, *(table for _, table in waiting)]:
        yield table.filter(_mask(table, where)).select(list(names))


def _columns(ledger: Ledger, manifest: Manifest, names: Collection[str]) -> pa.Table:
    reader = ledger.segment(manifest, checked=True)
    return reader.read_groups(range(reader.group_count), sorted(names))


def _sealed_part(
    ledger: Ledger,
    position: int,
    manifest: Manifest,
    where: Mapping[str, Collection[Any]] | None,
    candidates: NDArray[np.int64] | None,
) -> _Part:
    """Return which records of a segment fit, of all or of some rows; of those that cannot, nothing is read."""
    schema = ledger.schema(manifest.schema)
    ids = None if where is None else where.get("id")
    none = _Part(position=position, manifest=manifest, schema=schema, rows=_NO_ROWS, table=pa.table({}))
    if (candidates is not None and not len(candidates)) or (ids is not None and not _may_be_in(manifest, ids)):
        return none
    reader = ledger.segment(manifest, checked=True)
    groups = [group for group in range(reader.group_count) if ids is None or _may_have(reader, group, ids)]
    if candidates is not None:
        groups = sorted(set(groups) & set((candidates // ROW_GROUP_ROWS).tolist()))
    if not groups:
        return none
    table = reader.read_groups(groups, sorted({"id", "seq", "stream", *(where or {})}))
    begins = np.array(groups) * ROW_GROUP_ROWS
    counts = np.minimum(manifest.count - begins, ROW_GROUP_ROWS)
    rows = np.arange(table.num_rows) + np.repeat(begins - np.cumsum(counts) + counts, counts)
    mask = _mask(table, where).to_numpy(zero_copy_only=False)
    if candidates is not None:
        mask &= np.isin(rows, candidates)
    return _Part(
        position=position, manifest=manifest, schema=schema, rows=rows[mask], table=table.filter(pa.array(mask))
    )


def _waiting_part(
    schema: Schema,
    table: pa.Table,
    where: Mapping[str, Collection[Any]] | None,
    linked: Mapping[str, Collection[Any]] | None,
) -> _Part:
    mask = _mask(table, where)
    if linked:
        is_said = linked.keys() <= set(table.column_names)
        mask = pc.and_(mask, leads_to(table, linked) if is_said else pa.repeat(pa.scalar(value=False), table.num_rows))
    return _Part(position=None, manifest=None, schema=schema, rows=_NO_ROWS, table=table.filter(mask))


def _may_be_in(manifest: Manifest, ids: Collection[bytes]) -> bool:
    first, last = bytes.fromhex(manifest.first_id), bytes.fromhex(manifest.last_id)
    return any(first <= one <= last for one in ids)


def _may_have(reader: ParquetReader, group: int, ids: Collection[bytes]) -> bool:
    bounds = reader.bounds(group, "id")
    return bounds is None or any(bounds[0] <= one <= bounds[1] for one in ids)


def _facts_of(
    ledger: Ledger, part: _Part, opened: Collection[str], linked: Mapping[str, Collection[Any]] | None
) -> list[Fact]:
    """Read the facts of a part, with the values of groups that were let through."""
    left = tuple(group for group in part.schema.groups if group not in opened)
    if part.manifest is None:
        shown = [column.name for column in part.schema.columns if column.group is None or column.group in opened]
        return _facts(pick_columns(part.table, shown), left, None)
    asked = [group for group in part.schema.groups if group in opened] if part.manifest.shard is not None else []
    found: list[Fact] = []
    for rows in _near(part.rows):
        first = int(rows[0])
        run = ledger.segment(part.manifest, checked=True).read_rows(first, int(rows[-1]) - first + 1)
        picked = run.take(rows - first)
        if asked:
            opening = open_rows(ledger, part.manifest, first, run, asked)
            picked = merge_columns(picked, opening.take(rows - first))
        if linked:  # the index only says where to look; what was erased just now leads nowhere
            picked = picked.filter(leads_to(picked, linked))
        found += _facts(picked, left, part.position)
    return found


def _near(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut rows where whole row groups between them hold none."""
    return np.split(rows, np.flatnonzero(np.diff(rows // ROW_GROUP_ROWS) > 1) + 1)


def _scope(parts: Sequence[_Part]) -> Scope | None:
    """Return which facts are read; None where they are too many to name, or none."""
    if sum(part.table.num_rows for part in parts) <= ACCESS_IDS_MAX:
        return Scope(ids=tuple(name for part in parts for name in part.table["id"].to_pylist())) if parts else None
    return Scope(runs=tuple(_run_of(part.table) for part in parts)) if len(parts) <= ACCESS_IDS_MAX else None


def _run_of(table: pa.Table) -> RecordRun:
    numbers = pc.min_max(table["seq"]).as_py()
    first, last = numbers["min"], numbers["max"]
    return RecordRun(stream=table["stream"][0].as_py().hex(), first=first, count=last - first + 1)


def _mask(table: pa.Table, where: Mapping[str, Collection[Any]] | None) -> pa.Array:
    mask = pc.is_valid(table["id"].combine_chunks())  # of those that were disposed of, nothing is left
    for name, values in (where or {}).items():
        column = table[name].combine_chunks()
        mask = pc.and_(mask, pc.is_in(column, value_set=pa.array(list(values), column.type)))
    return mask


def _facts(table: pa.Table, sealed: tuple[str, ...], entry: int | None) -> list[Fact]:
    times = map(time_text, table["time"].cast(pa.int64()).to_pylist())
    ids = map(id_text, table["id"].to_pylist())
    values = python_rows(table.select([name for name in table.column_names if name not in _ENVELOPE]))
    return [
        Fact(id=name, time=time, values=row, sealed=sealed, entry=entry)
        for name, time, row in zip(ids, times, values, strict=True)
    ]
