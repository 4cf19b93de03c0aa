"""What changed between two dataset versions, files or frames; what is about people is read through the gate only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backstory.columns.arrow_type import flat_fields
from backstory.columns.python_value import python_rows
from backstory.errors import ForbiddenError, InputError
from backstory.frames.batches import Batches, batches_of
from backstory.frames.fingerprint import Fingerprinter
from backstory.frames.table import hold, names_given, require_columns
from backstory.frames.table_diff import Columns, RowChange, Rows, Side, compare_columns, compare_rows
from backstory.frames.token import id_columns
from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.dataset import DatasetVersion, find_versions
from backstory.lineage.page import Page
from backstory.lineage.plain import plain
from backstory.lineage.referenced import Places
from backstory.lineage.store import personal_snapshot, snapshot_reader
from backstory.records.access import Gate, Scope
from backstory.records.schema import escape_name

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_SHOWN = 100
"""Rows of each kind whose values are fetched, if nobody says how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDiff(Answer):
    """What changed between two tables; counts are of all rows, values of the first ones.

    Attributes:
        before: What the first table is called.
        after: What the second is called.
        rows_before: Rows of the first.
        rows_after: Rows of the second.
        columns: What became of the columns: `added`, `removed`, `retyped`, `changed`, `same`.
        rows: What became of the rows: `added`, `removed`, `changed` and how rows were found (`way`, `key`);
            `added_rows`, `removed_rows` and `changes` are the first of them.
    """

    before: str
    after: str
    rows_before: int
    rows_after: int
    columns: Columns
    rows: Rows

    @property
    def identical(self) -> bool:
        """Whether both have the same columns and the same rows in the same order."""
        columns = self.columns
        return not (columns.added or columns.removed or columns.retyped or columns.changed)

    @property
    def reordered(self) -> bool:
        """Whether no row changed, and some stand elsewhere."""
        return bool(self.columns.changed) and not (self.rows.added or self.rows.removed or self.rows.changed)

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON has it."""
        columns, rows = self.columns, self.rows
        return {
            "after": {"name": self.after, "rows": self.rows_after},
            "before": {"name": self.before, "rows": self.rows_before},
            "columns": {
                "added": list(columns.added),
                "changed": list(columns.changed),
                "removed": list(columns.removed),
                "retyped": {name: {"after": new, "before": old} for name, (old, new) in columns.retyped.items()},
                "same": len(columns.same),
            },
            "identical": self.identical,
            "reordered": self.reordered,
            "rows": {
                "added": rows.added,
                "added_first": _listed(rows.added_positions, rows.added_rows),
                "by": rows.way,
                "changed": rows.changed,
                "changed_first": [_change(change) for change in rows.changes],
                "key": list(rows.key),
                "removed": rows.removed,
                "removed_first": _listed(rows.removed_positions, rows.removed_rows),
            },
        }

    def _page(self) -> Page:
        from backstory.lineage.data_page import diff_page

        return diff_page(self)


def diff_data(
    ledger: Ledger,
    gate: Gate,
    places: Places,
    before: Any,
    after: Any,
    *,
    key: str | Sequence[str] | None,
    limit: int,
    read: Mapping[str, Any] | None,
) -> DataDiff:
    """Compare two tables; see `Data.diff`.

    Raises:
        ColumnError: A column of the key is missing, or the tables share no column.
        ForbiddenError: Rows are about people and the gate lets nothing through.
        InputError: The limit is negative, or something is no table that can be read twice.
        KeyNotUniqueError: Two rows have the same key.
        NotFoundError: There is no such version, or its rows were erased.
    """
    if limit < 0:
        raise InputError(f"data diff: expected a limit of at least 0, got {limit}")
    one, two = (_side(ledger, gate, places, given, names_given(key), read) for given in (before, after))
    columns = compare_columns(one, two)
    return DataDiff(
        before=one.label,
        after=two.label,
        rows_before=one.rows,
        rows_after=two.rows,
        columns=columns,
        rows=compare_rows(one, two, columns, limit),
    )


def is_file(given: object) -> bool:
    """Say whether what was given to a question is a file or directory, and no dataset version."""
    return isinstance(given, Path) or (isinstance(given, str) and bool({"/", "."} & set(given.partition("@")[0])))


def _side(
    ledger: Ledger, gate: Gate, places: Places, given: Any, key: tuple[str, ...], read: Mapping[str, Any] | None
) -> Side:
    if isinstance(given, str) and not is_file(given):
        versions = find_versions(ledger, given)
        side = _of_versions(ledger, gate, places, given, versions)
    elif is_file(given):
        side = _measured(str(given), lambda: _all_tables(batches_of(given, read)))
    else:
        held = hold(given)  # what is lazy may give its rows in another order each time
        side = _measured(f"a {type(given).__name__}", lambda: _all_tables(batches_of(held)))
    if not key:
        return side
    names = tuple(escape_name(name) for name in key)
    require_columns(list(side.types), names, side.label)
    return replace(side, key=names)


def _of_versions(ledger: Ledger, gate: Gate, places: Places, label: str, versions: list[DatasetVersion]) -> Side:
    """Return the parts of a version of a source as one table."""
    first = versions[0]
    label = f"{label} ({first.digest[:12]})" if len(versions) == 1 else f"{label} ({len(versions)} parts)"
    personal = any(one.personal for one in versions)
    if personal and not gate.allows():
        raise ForbiddenError(f"data diff: rows of {first.name} are about people: {gate.lacking()}")
    for version in versions if personal else ():
        gate.pass_through("data diff", ["source"], version.rows, Scope(dataset=version.digest))

    def tables() -> Iterator[pa.Table]:
        for version in versions:
            reader = snapshot_reader(ledger, version.digest, version.table, places)
            if reader is None:
                yield personal_snapshot(ledger, version.digest, places)
            else:
                yield from (reader.read_groups([group]) for group in range(reader.group_count))

    key = tuple(escape_name(name) for name in first.key)
    if personal or len(versions) > 1:
        return replace(_measured(label, tables), key=key, personal=personal)

    def read_columns(names: list[str]) -> Iterator[pa.Table]:
        reader = snapshot_reader(ledger, first.digest, first.table, places)
        if reader is not None:
            yield from (reader.read_groups([group], names) for group in range(reader.group_count))

    return Side(
        label=label, rows=first.rows, types=first.schema, digests=first.column_digests, key=key, personal=False,
        read=read_columns,
    )  # fmt: skip


def _measured(label: str, tables: Callable[[], Iterator[pa.Table]]) -> Side:
    """Return a table of which nothing is known, after reading it once. Ids of rows are not part of it."""
    all_tables = map(_without_ids, tables())
    first = next(all_tables)
    made = Fingerprinter(first.schema)
    for table in chain([first], all_tables):
        made.add(table)
    found = made.fingerprint()
    return Side(
        label=label, rows=found.rows, types=dict(flat_fields(first.schema)), digests=found.columns, key=(),
        personal=False, read=lambda names: (_without_ids(table).select(names) for table in tables()),
    )  # fmt: skip


def _all_tables(batches: Batches) -> Iterator[pa.Table]:
    """Return the tables, after one without rows: there may be no other."""
    return chain([batches.schema.empty_table()], batches.tables)


def _without_ids(table: pa.Table) -> pa.Table:
    return table.drop_columns(id_columns(table.column_names))


def _listed(positions: tuple[int, ...], rows: pa.Table) -> list[dict[str, Any]]:
    return [{"position": at, "row": plain(row)} for at, row in zip(positions, python_rows(rows), strict=True)]


def _change(change: RowChange) -> dict[str, Any]:
    return {
        "after": change.after,
        "before": change.before,
        "cells": {name: {"after": plain(new), "before": plain(old)} for name, (old, new) in change.cells.items()},
        "key": plain(change.key),
    }
