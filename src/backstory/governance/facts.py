"""Reading facts: decisions, notices, requests and the like, sealed ones and those that wait."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.python_value import python_rows
from backstory.columns.seal import pick_columns
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import merge_columns, records_now
from backstory.ledger.sealed import open_rows
from backstory.records.access import Gate
from backstory.records.envelope import ENVELOPE
from backstory.records.fact import FactKind
from backstory.records.identity import id_text, time_text
from backstory.records.schema import Schema

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
    opened: bool = True,
) -> list[Fact]:
    """Return facts of a kind, oldest first.

    Args:
        ledger: The archive.
        gate: Opens sealed groups; where it lets nothing through they stay sealed.
        kind: Their kind.
        question: What is being asked, for the record of the read.
        where: Values that an open column has, by its name; a fact fits that has one of each.
        opened: Whether sealed groups are asked for at all.

    Raises:
        StorageError: A segment cannot be read.
        VerificationError: A record or its sealed values were changed.
    """
    found: list[Fact] = []
    sealed, waiting = records_now(ledger, kind.kind)
    for position, manifest in sealed:
        schema = ledger.schema(manifest.schema)
        reader = ledger.segment(manifest, checked=True)
        table = reader.read_groups(range(reader.group_count))
        rows = pc.indices_nonzero(_mask(table, where))
        if not len(rows):
            continue
        left = schema.groups
        if opened and schema.groups and manifest.shard is not None and gate.allows():
            gate.pass_through(question, schema.groups, len(rows))
            table, left = merge_columns(table, open_rows(ledger, manifest, 0, table)), ()
        found += _facts(table.take(rows), left, position)
    for schema, table in waiting:
        picked = table.filter(_mask(table, where))
        if not picked.num_rows:
            continue
        found += _waiting(gate, question, schema, picked, opened=opened)
    return sorted(found, key=lambda fact: fact.id)


def _waiting(gate: Gate, question: str, schema: Schema, table: pa.Table, *, opened: bool) -> list[Fact]:
    if schema.groups and opened and gate.allows():
        gate.pass_through(question, schema.groups, table.num_rows)
        return _facts(table, (), None)
    return _facts(pick_columns(table, [column.name for column in schema.open_columns]), schema.groups, None)


def _mask(table: pa.Table, where: Mapping[str, Collection[Any]] | None) -> pa.Array:
    mask = pa.repeat(pa.scalar(value=True), table.num_rows)
    for name, values in (where or {}).items():
        column = table[name].combine_chunks()
        mask = pc.and_(mask, pc.is_in(column, value_set=pa.array(list(values), column.type)))
    return mask


def _facts(table: pa.Table, sealed: tuple[str, ...], entry: int | None) -> list[Fact]:
    times = [time_text(value.value) for value in table["time"]]
    ids = [id_text(value.as_py()) for value in table["id"]]
    values = python_rows(table.select([name for name in table.column_names if name not in _ENVELOPE]))
    return [
        Fact(id=name, time=time, values=row, sealed=sealed, entry=entry)
        for name, time, row in zip(ids, times, values, strict=True)
    ]
