"""What an explanation compares with: some rows, drawn with a seed, known afterwards by a keyed digest.

They are given, or drawn from the rows a model was trained on where its features are columns of these rows by name. The
digest is keyed as that of a column about people is: it tells equal rows inside the archive, and nobody else anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import unchunked
from backstory.columns.draw import draw_some
from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.errors import BackstoryError, ForbiddenError, InputError, ModelError
from backstory.frames.table import to_arrow
from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed_table import DATASET_KEY
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.trace import Tracer
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject
from backstory.records.keyed import keyed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """The rows an explanation compares with.

    Attributes:
        table: The rows, in the columns the model takes.
        document: What the record says of them.
    """

    table: pa.Table
    document: JsonObject


def baseline_of(
    ledger: Ledger,
    given: Any,  # noqa: ANN401  any table
    columns: Sequence[str],
    rows: int,
    seed: int,
) -> Baseline:
    """Return the baseline drawn from a table somebody gave.

    Args:
        ledger: The archive.
        given: The table.
        columns: Columns the model takes, in order.
        rows: How many rows are drawn; all where there are fewer.
        seed: Draws them.

    Raises:
        InputError: It lacks a column, or has no rows.
    """
    table = to_arrow(given)
    if len(set(columns) - set(table.column_names)) and table.num_columns == len(columns):
        table = table.rename_columns(list(columns))  # an array's columns have no names of their own
    lacking = [name for name in columns if name not in table.column_names]
    if lacking or not table.num_rows:
        raise InputError(
            f"explain: expected background rows with the model's features, got none for {lacking or 'any'}"
        )
    return _drawn(ledger, table.select(list(columns)), rows, seed, "given")


def training_baseline(
    ledger: Ledger, tracer: Tracer, gate: Gate, training: JsonObject, columns: Sequence[str], rows: int, seed: int
) -> Baseline:
    """Return the baseline drawn from the rows a model was trained on.

    Args:
        ledger: The archive.
        tracer: Reads the rows.
        gate: Opens rows about people.
        training: What the model's document says of its training.
        columns: Columns the model takes, in order.
        rows: How many are drawn.
        seed: Draws them.

    Raises:
        ModelError: A feature is no column of the rows it was trained on, so only the caller has it.
        ForbiddenError: The rows are about people, and the gate lets nothing through.
    """
    references = parse_references(training.get("refs"))
    if training.get("personal") is True:
        if not gate.allows():
            raise ForbiddenError(f"explain: its training rows are sealed: give background=; else {gate.lacking()}")
        gate.pass_through("explain", ["source"], rows)
    positions = tracer.training(training)
    owners = {name: _owner(tracer, references, name) for name in columns}
    whole = np.ones(len(next(iter(positions.values()))), bool)
    for name in set(owners.values()):
        whole &= positions[name] >= 0
    for name in {owner for owner in owners.values() if references[owner].personal}:
        for part in references[name].parts:
            gone = np.flatnonzero(tracer.erased(part.dataset)) + part.first
            whole &= ~np.isin(positions[name], gone)
    chosen = np.flatnonzero(whole)
    if not len(chosen):
        raise ModelError("explain: none of its training rows is known whole; give background=")
    chosen = chosen[sorted(draw_some(len(chosen), rows, seed))]
    table = pa.table(
        {name: _values(tracer, references[owner], name, positions[owner][chosen]) for name, owner in owners.items()}
    )
    return _drawn(ledger, table, rows, seed, "training", of=int(whole.sum()))


def _owner(tracer: Tracer, references: dict[str, Reference], column: str) -> str:
    owners = [
        name
        for name, reference in references.items()
        if reference.group is None and all(column in tracer.column_names(part.dataset) for part in reference.parts)
    ]
    if len(owners) != 1:
        raise ModelError(
            f"explain: feature {column!r} is no column of exactly one source of its training rows; give background="
        )
    return owners[0]


def _values(tracer: Tracer, reference: Reference, column: str, positions: np.ndarray) -> pa.Array:
    """Return the values of a column at some positions of a source."""
    found: list[tuple[np.ndarray, pa.Array]] = []
    for part in reference.parts:
        at = np.flatnonzero((positions >= part.first) & (positions < part.end))
        if len(at):
            values = unchunked(tracer.columns(part.dataset, None, [column])[column])
            found.append((at, values.take(pa.array(positions[at] - part.first))))
    order = np.argsort(np.concatenate([at for at, _ in found]), kind="stable")
    return pa.concat_arrays([values for _, values in found]).take(pa.array(order))


def _drawn(ledger: Ledger, table: pa.Table, rows: int, seed: int, source: str, of: int | None = None) -> Baseline:
    total = table.num_rows if of is None else of
    if of is None:
        table = table.take(pa.array(sorted(draw_some(table.num_rows, rows, seed))))
    document: JsonObject = {
        "digest": _keyed(ledger, table),
        "drawn": source,
        "of": str(total),
        "rows": str(table.num_rows),
        "seed": str(seed),
    }
    return Baseline(table=table.combine_chunks(), document=document)


def _keyed(ledger: Ledger, table: pa.Table) -> str | None:
    """Return the keyed digest of the rows; None in an archive open for reading that has no key."""
    try:
        if ledger.writable:
            key = ledger.keys.get_or_create(DATASET_KEY, "key")["key"]
        else:
            key = ledger.keys.key(DATASET_KEY, "key")
    except BackstoryError:
        return None
    root = root_of_subtrees(subtree_roots(leaf_hashes(table)))
    return keyed(key, root)
