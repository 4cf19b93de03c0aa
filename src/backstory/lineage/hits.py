"""What a search found, as one table or as values: records of several schemas beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.python_value import python_rows, python_value
from backstory.lineage.plain import count_text
from backstory.records.identity import time_text
from backstory.records.redaction import Redaction
from backstory.records.schema import Schema

_OLDEST_FIRST = [("time", "ascending"), ("seq", "ascending")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """What a search found.

    Attributes:
        total: How many predictions the predicate holds for, of which no more than the limit are here.
        not_compared: How many others the predicate asks for values of that are sealed.
        parts: What was found, by schema: of each the rows that may be within the limit.
        limit: How many rows are here at most.
        redacted: Columns that are not shown as they are.
        unread: Digests of the schemas of those that were not compared.
    """

    total: int
    not_compared: int
    parts: Sequence[tuple[pa.Table, Schema]]
    limit: int | None
    redacted: Sequence[Redaction] = ()
    unread: frozenset[str] = frozenset()

    @property
    def left_out(self) -> str:
        """Say how many predictions were not compared, and why."""
        count = count_text(self.not_compared, "prediction")
        return f"{count} not compared: the predicate asks for values that are sealed"

    def table(self) -> pa.Table:
        """Return one row a prediction, oldest first; structs become columns such as `feature.x`.

        The union of the columns of all schemas: a column that has values of several types in these rows is of the
        wider one where all are numbers, text otherwise.
        """
        if not self.parts:
            return pa.table({"id": pa.array([], pa.string())})
        return _concat(list(self._shown())).sort_by(_OLDEST_FIRST)

    def _shown(self) -> Iterator[pa.Table]:
        """Yield of each schema the rows that are within the limit."""
        moments = pa.concat_tables([table.select(["time", "seq"]) for table, _ in self.parts])
        shown = np.zeros(moments.num_rows, bool)
        shown[pc.sort_indices(moments, sort_keys=_OLDEST_FIRST)[: self.limit].to_numpy()] = True
        first = 0
        for table, _ in self.parts:
            yield table.filter(pa.array(shown[first : first + table.num_rows]))
            first += table.num_rows

    def rows(self) -> list[dict[str, Any]]:
        """Return the same as values, each of its own type; `sealed` names the groups of values that are sealed."""
        columns = dict.fromkeys(name for table, _ in self.parts for name in ("id", "time", *table.column_names))
        found = []
        for table, schema in self.parts:
            times = table["time"].cast(pa.int64()).to_pylist()
            for time, row in zip(times, python_rows(table.drop_columns(["time"])), strict=True):
                named = columns | {"time": time_text(time)} | row | {"sealed": list(schema.groups)}
                found.append((time, row["seq"], named))
        return [row for _, _, row in sorted(found, key=lambda one: one[:2])[: self.limit]]


def _concat(tables: list[pa.Table]) -> pa.Table:
    """Put tables one after the other; a column with values of types without a common one becomes text."""
    all_types, value_types = _types(tables), _types(tables, only_values=True)
    mixed = {name for name, types in all_types.items() if not _promotable(types)}
    texts = {name for name in mixed if not _promotable(value_types.get(name, []))}
    fitting = [_as_text(_without_nulls(table, mixed - texts), texts) for table in tables]
    return pa.concat_tables(fitting, promote_options="permissive")


def _types(tables: list[pa.Table], *, only_values: bool = False) -> dict[str, list[pa.DataType]]:
    """Return the types of columns by name, if asked only where they hold values."""
    types: dict[str, list[pa.DataType]] = {}
    for table in tables:
        for name, column in zip(table.column_names, table.columns, strict=True):
            if not only_values or column.null_count < len(column):
                types.setdefault(name, []).append(column.type)
    return types


def _without_nulls(table: pa.Table, names: set[str]) -> pa.Table:
    """Return a table without those of some columns that hold nothing but nulls."""
    return table.select(
        [name for name in table.column_names if name not in names or table[name].null_count < len(table)]
    )


def _promotable(types: list[pa.DataType]) -> bool:
    try:
        pa.unify_schemas([pa.schema([("value", type_)]) for type_ in types], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def _as_text(table: pa.Table, names: set[str]) -> pa.Table:
    for index, name in enumerate(table.column_names):
        if name in names:
            texts = [None if value is None else str(value) for value in map(python_value, table[name])]
            table = table.set_column(index, name, pa.array(texts, pa.string()))
    return table
