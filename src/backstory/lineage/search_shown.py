"""A search as whoever asks may see its answer: a predicate over what is hidden from them would say what it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from backstory.columns.python_value import python_value
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.lineage.hits import Hits
from backstory.lineage.predicate import column_references
from backstory.lineage.search import search_predictions
from backstory.lineage.showing import seen_column
from backstory.records import canonical
from backstory.records.access import SHOWN, About, Viewer, Views
from backstory.records.envelope import PREDICTION
from backstory.records.redaction import Redaction, Seen, shown_as
from backstory.records.schema import Column, Schema, split_name

_OPEN = ("D0", "D1", "D2")
_OF_ANY = frozenset({"id", "is_sealed", "model", "seq", "time", "time_ns", "version"})
"""What a predicate can name besides columns of records; structure all of it."""


def search_shown(ledger: Ledger, gate: Viewer, predicate: str, values: Sequence[Any], limit: int | None) -> Hits:
    """Return what `search_predictions` does, as whoever asks may see it.

    Raises:
        ForbiddenError: The predicate asks for columns that are not shown as they are, or no prediction may be seen.
        QueryError: As `search_predictions` says.
    """
    views = gate.views()
    if all(views[one] == "clear" for one in _OPEN):
        return search_predictions(ledger, predicate, values, limit)
    models = None if views["D0"] == "clear" else own_models(ledger, gate)
    if models is not None:
        if not models:
            gate.require_open("search", ("D0",))
        views = gate.views(About(model=min(models)))
    require_asked(ledger, gate, predicate, views)
    hits = search_predictions(ledger, predicate, values, limit, models=models)
    return replace(
        hits,
        parts=[(masked_table(table, schema, views, gate), schema) for table, schema in hits.parts],
        redacted=redacted_columns(gate, [column for _, schema in hits.parts for column in schema.open_columns], views),
    )


def require_asked(ledger: Ledger, gate: Viewer, predicate: str, views: Views) -> None:
    """Insist that a predicate asks only for what is shown as it is.

    Raises:
        ForbiddenError: It asks for more, or in a way that does not say for what; the refusal is recorded.
    """
    columns = [column for schema in _schemas(ledger) for column in schema.open_columns]
    hidden = {name for column in columns if not seen_column(column, views).as_it_is for name in _spellings(column)}
    if not hidden:
        return
    known = {name for column in columns for name in _spellings(column)} | _OF_ANY
    asked = column_references(predicate)
    if asked is None or not asked <= known - hidden:
        gate.require_open("search", _OPEN)


def own_models(ledger: Ledger, gate: Viewer) -> frozenset[str]:
    """Return the models whose predictions may be seen, by name."""
    models = {canonical.text_of(entry, "name") for entry in ledger.find_entries("model.registered")}
    return frozenset(name for name in models if gate.views(About(model=name))["D0"] == "clear")


def masked_table(table: pa.Table, schema: Schema, views: Views, gate: Viewer) -> pa.Table:
    """Return flat records of a schema with what is seen in the place of what is there; other columns stay."""
    seen = {".".join(split_name(column.name)): seen_column(column, views) for column in schema.columns}
    for name in table.column_names:
        if name not in seen or seen[name].as_it_is:
            continue
        index = table.column_names.index(name)
        if seen[name].view in SHOWN:
            table = table.set_column(index, name, _texts(table[name], seen[name], gate))
        else:
            table = table.remove_column(index)
    return table


def redacted_columns(gate: Viewer, columns: Collection[Column], views: Views) -> tuple[Redaction, ...]:
    """Return which columns are not shown as they are; what each record commits to stands beside it."""
    found: Mapping[str, tuple[Column, Seen]] = {one.name: (one, seen_column(one, views)) for one in columns}
    return tuple(
        Redaction(
            field=name,
            class_=seen.class_,
            view=seen.view,
            reason=gate.reason(seen.class_, seen.view),
            group=column.group,
        )
        for name, (column, seen) in found.items()
        if not seen.as_it_is
    )


def _texts(column: pa.ChunkedArray, seen: Seen, gate: Viewer) -> pa.Array:
    values = (shown_as(python_value(value), seen, gate.pseudonym) for value in column)
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _spellings(column: Column) -> set[str]:
    """Return how a predicate can name a column: whole, and by the struct it is in."""
    parts = split_name(column.name)
    return {".".join(parts[:depth]).casefold() for depth in range(1, len(parts) + 1)}


def _schemas(ledger: Ledger) -> list[Schema]:
    sealed, waiting = records_now(ledger, PREDICTION)
    found = {manifest.schema: ledger.schema(manifest.schema) for _, manifest in sealed}
    return list({**found, **{schema.digest: schema for schema, _ in waiting}}.values())
