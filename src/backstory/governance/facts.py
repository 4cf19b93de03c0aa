"""Reading facts: decisions, notices, requests and the like, sealed ones and those that wait."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.python_value import python_rows
from backstory.columns.seal import merge_columns, pick_columns
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.ledger.sealed import open_rows, read_shard
from backstory.records.access import Gate, RecordRun, Scope
from backstory.records.envelope import ENVELOPE
from backstory.records.fact import FactKind
from backstory.records.identity import id_text, time_text
from backstory.records.limits import ACCESS_IDS_MAX
from backstory.records.manifest import Manifest
from backstory.records.schema import Schema

LINKS = "subject"
"""The sealed group that holds the links from one thing of a person to another."""

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

    Args:
        ledger: The archive.
        gate: Opens sealed groups; what it does not let through stays sealed.
        kind: Their kind.
        question: What is being asked, for the record of the read.
        where: Values that an open column has, by its name; a fact fits that has one of each.
        linked: Ids that a sealed link, or list of links, leads to, by its column in the group `subject`; a fact fits
            that leads to one of each. Where the gate does not let the group through, none fits.
        groups: Sealed groups that are asked for; None for all.

    Raises:
        ForbiddenError: Not even that there are any is for whoever asks.
        StorageError: A segment cannot be read.
        VerificationError: A record or its sealed values were changed.
    """
    gate.require_open(question, ("D0",))
    found: list[Fact] = []
    sealed, waiting = records_now(ledger, kind.kind)
    for position, manifest in sealed:
        mask = _mask(_columns(ledger, manifest, {"id", *(where or {})}), where)
        if linked and pc.any(mask).as_py():
            mask = pc.and_(mask, _links(ledger, gate, manifest, linked))
        rows = pc.indices_nonzero(mask).to_pylist()
        if not rows:
            continue
        schema, first = ledger.schema(manifest.schema), rows[0]
        run = ledger.segment(manifest, checked=True).read_rows(first, rows[-1] - first + 1)
        picked = run.take([row - first for row in rows])
        asked = _opened(gate, question, schema, groups, picked) if manifest.shard is not None else ()
        if asked:
            opened = open_rows(ledger, manifest, first, run, asked).take([row - first for row in rows])
            picked = merge_columns(picked, opened)
        found += _facts(picked, _left(schema, asked), position)
    for schema, table in waiting:
        mask = _mask(table, where)
        if linked:
            mask = pc.and_(mask, leads_to(table, linked) if gate.allows([LINKS]) else _none(table.num_rows))
        picked = table.filter(mask)
        if picked.num_rows:
            asked = _opened(gate, question, schema, groups, picked)
            shown = [column.name for column in schema.columns if column.group is None or column.group in asked]
            found += _facts(pick_columns(picked, shown), _left(schema, asked), None)
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


def _opened(
    gate: Gate, question: str, schema: Schema, groups: Collection[str] | None, picked: pa.Table
) -> tuple[str, ...]:
    """Return which groups of facts are opened, after the read was recorded."""
    asked = [group for group in schema.groups if groups is None or group in groups]
    opened = tuple(group for group in asked if gate.allows([group]))
    if opened:
        gate.pass_through(question, opened, picked.num_rows, _scope(picked))
    return opened


def _scope(picked: pa.Table) -> Scope:
    if picked.num_rows <= ACCESS_IDS_MAX:
        return Scope(ids=tuple(picked["id"].to_pylist()))
    numbers = pc.min_max(picked["seq"]).as_py()
    first, last = numbers["min"], numbers["max"]
    stream = picked["stream"][0].as_py().hex()
    return Scope(runs=(RecordRun(stream=stream, first=first, count=last - first + 1),))


def _left(schema: Schema, opened: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(group for group in schema.groups if group not in opened)


def _links(ledger: Ledger, gate: Gate, manifest: Manifest, linked: Mapping[str, Collection[bytes]]) -> pa.Array:
    """Say of each row of a segment whether its sealed links lead to given ids."""
    if manifest.shard is None or not gate.allows([LINKS]):
        return _none(manifest.count)
    return leads_to(read_shard(ledger, manifest.shard, [LINKS]), linked)


def leads_to(table: pa.Table, linked: Mapping[str, Collection[Any]]) -> pa.Array:
    """Say of each row whether the value, or list of values, of some columns is, or has, one of given ones."""
    mask = pa.repeat(pa.scalar(value=True), table.num_rows)
    for name, ids in linked.items():
        links = table[name].combine_chunks()
        if pa.types.is_large_list(links.type) or pa.types.is_list(links.type):
            fits = pc.is_in(pc.list_flatten(links), value_set=pa.array(list(ids), links.type.value_type))
            rows = pc.list_parent_indices(links).filter(fits)
            fitting = pc.is_in(pa.array(np.arange(table.num_rows), rows.type), value_set=rows)
        else:
            fitting = pc.is_in(links, value_set=pa.array(list(ids), links.type))
        mask = pc.and_(mask, fitting)
    return mask


def _none(count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value=False), count)


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
