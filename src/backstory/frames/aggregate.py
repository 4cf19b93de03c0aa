"""Group and aggregate with the caller's own library, and say which input row went into which output row.

Values are the library's: nothing is computed here. The number of an output row is all that is added, taken from the
grouping the library has done anyway (`ngroup` in pandas, lists of row numbers in polars and pyarrow, `dense_rank` in
DuckDB).

SQL promises no order of rows. So a relation is run once, its rows in the order of their ids and, where these are equal,
of the columns that are used: `first` and `last` are of that order. Its integers are summed to BIGINT, and more is an
error, as in no other library a sum is a HUGEINT.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import InputError
from backstory.frames.key import has_nulls
from backstory.frames.relation import listed, quoted, relation_over, run_aggregated, run_in_order, run_relation
from backstory.frames.table import Frame, kind_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

AGGREGATIONS: Final = frozenset({"count", "first", "last", "max", "mean", "min", "nunique", "std", "sum"})

# Names no caller's column has; they exist only while a library groups.
_ROW_NUMBER: Final = "__backstory_row_number"
_GROUP: Final = "__backstory_group"

_INTEGERS: Final = ("INT", "INTEGER", "BOOLEAN")
"""How the names of SQL's integer types end, and of what it adds up as such."""

_SQL: Final = {
    "count": "count({})",
    "first": f"first({{}} ORDER BY {_ROW_NUMBER})",
    "last": f"last({{}} ORDER BY {_ROW_NUMBER})",
    "max": "max({})",
    "mean": "avg({})",
    "min": "min({})",
    "nunique": "count(DISTINCT {})",
    "std": "stddev_samp({})",
    "sum": "sum({})",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Aggregated:
    """What grouping gave.

    Attributes:
        frame: The library's result, run.
        as_given: Makes it, or what is made of it, the kind of frame that was given: lazy, a relation.
        groups: Its number of rows.
        numbers: For each input row that took part, the row of `frame` it went into.
        taking_part: Which input rows took part; None for all.
        input: The input as it was run, with all columns asked for; eager.
        rows: Number of input rows.
    """

    frame: Frame
    as_given: Callable[[Frame], Frame]
    groups: int
    numbers: NDArray[np.int64]
    taking_part: NDArray[np.bool_] | None
    input: Frame
    rows: int


def aggregate(
    frame: Frame, by: Sequence[str], aggs: Mapping[str, tuple[str, str]], carried: Sequence[str], *, dropna: bool
) -> Aggregated:
    """Group a frame and aggregate its columns.

    Args:
        frame: A pandas, polars or pyarrow frame, or a DuckDB relation.
        by: Key columns.
        aggs: For each output column, an input column and one of `AGGREGATIONS`.
        carried: Further columns of the input wanted in `Aggregated.input`.
        dropna: Leave out rows with a null in a key.

    Raises:
        InputError: The container cannot be grouped.
    """
    kind = kind_of(frame)
    if kind == "pandas":
        return _with_pandas(frame, by, aggs, dropna=dropna)
    if kind in ("polars", "polars-lazy"):
        needed = list(dict.fromkeys([*by, *(column for column, _ in aggs.values()), *carried]))
        selected = frame.select(needed)
        return _with_polars(selected, by, aggs, dropna=dropna, lazy=kind == "polars-lazy")
    if kind in ("arrow", "arrow-batch"):
        table = pa.Table.from_batches([frame]) if kind == "arrow-batch" else frame
        return _with_arrow(table, by, aggs, dropna=dropna)
    if kind == "duckdb":
        needed = list(dict.fromkeys([*carried, *by, *(column for column, _ in aggs.values())]))
        return _with_duckdb(frame, needed, by, aggs, dropna=dropna)
    raise InputError(f"cannot group: expected a pandas, polars or pyarrow frame or a DuckDB relation, got {kind}")


def _as_it_is(frame: Frame) -> Frame:
    return frame


def _with_pandas(frame: Frame, by: Sequence[str], aggs: Mapping[str, tuple[str, str]], *, dropna: bool) -> Aggregated:
    grouping = frame.groupby(list(by), as_index=False, dropna=dropna, observed=True)
    result = grouping.agg(**aggs)
    # Reuses the codes the aggregation has made.
    numbers = grouping.ngroup().to_numpy()
    taking_part = None
    if numbers.dtype.kind == "f":
        taking_part = ~np.isnan(numbers)
        numbers = numbers[taking_part]
    return Aggregated(
        frame=result,
        as_given=_as_it_is,
        groups=len(result),
        numbers=numbers.astype(np.int64, copy=False),
        taking_part=taking_part,
        input=frame,
        rows=len(frame),
    )


def _with_polars(
    frame: Frame, by: Sequence[str], aggs: Mapping[str, tuple[str, str]], *, dropna: bool, lazy: bool
) -> Aggregated:
    polars = sys.modules["polars"]
    if lazy:
        frame = frame.collect()
    numbered = frame.with_row_index(_ROW_NUMBER)
    if dropna:
        numbered = numbered.filter(polars.all_horizontal(polars.col(list(by)).is_not_null()))
    expressions = [
        getattr(polars.col(column), "n_unique" if function == "nunique" else function)().alias(name)
        for name, (column, function) in aggs.items()
    ]
    result = numbered.group_by(list(by), maintain_order=True).agg(*expressions, polars.col(_ROW_NUMBER))
    numbers, taking_part = _numbers_of(result.get_column(_ROW_NUMBER).to_arrow(), len(frame))
    result = result.drop(_ROW_NUMBER)
    return Aggregated(
        frame=result,
        as_given=polars.DataFrame.lazy if lazy else _as_it_is,
        groups=len(result),
        numbers=numbers,
        taking_part=taking_part,
        input=frame,
        rows=len(frame),
    )


def _with_arrow(table: pa.Table, by: Sequence[str], aggs: Mapping[str, tuple[str, str]], *, dropna: bool) -> Aggregated:
    numbered = table.append_column(_ROW_NUMBER, pa.array(np.arange(table.num_rows)))
    if dropna:
        nulls = has_nulls(table, by)
        if nulls.any():
            numbered = numbered.filter(pa.array(~nulls))
    plan = [_arrow_aggregation(column, function) for column, function in aggs.values()]
    # One thread: `first` and `last` need an order, and groups then stand in order of appearance.
    result = numbered.group_by(list(by), use_threads=False).aggregate([*plan, (_ROW_NUMBER, "list")])
    result = result.rename_columns([*by, *aggs, _ROW_NUMBER])
    numbers, taking_part = _numbers_of(result.column(_ROW_NUMBER).combine_chunks(), table.num_rows)
    return Aggregated(
        frame=result.drop_columns([_ROW_NUMBER]),
        as_given=_as_it_is,
        groups=result.num_rows,
        numbers=numbers,
        taking_part=taking_part,
        input=table,
        rows=table.num_rows,
    )


def _with_duckdb(
    relation: Frame, needed: Sequence[str], by: Sequence[str], aggs: Mapping[str, tuple[str, str]], *, dropna: bool
) -> Aggregated:
    table = run_in_order(relation, needed)
    numbered = relation_over(relation, table.append_column(_ROW_NUMBER, pa.array(np.arange(table.num_rows))))
    taking_part = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in by) if dropna else "true"
    # Equal keys, null and NaN among them, have one rank; groups are made of the ranks, so that both agree.
    rank = f"dense_rank() OVER (ORDER BY {listed(by)}) - 1 AS {_GROUP}"
    ranked = run_relation(numbered.filter(taking_part).project(f"*, {rank}").order(_ROW_NUMBER))
    plan = ", ".join(
        f"{sql_aggregation(_SQL, numbered, column, function)} AS {quoted(name)}"
        for name, (column, function) in aggs.items()
    )
    keys = ", ".join(f"first({quoted(name)} ORDER BY {_ROW_NUMBER}) AS {quoted(name)}" for name in by)
    types = dict(zip(numbered.columns, map(str, numbered.types), strict=True))
    first = f"min({_ROW_NUMBER}) AS {_ROW_NUMBER}"
    result = relation_over(relation, ranked, types).aggregate(f"{keys}, {plan}, {_GROUP}, {first}", _GROUP)
    own = dict(zip(result.columns, map(str, result.types), strict=True))
    rows = run_aggregated(result.order(_ROW_NUMBER))
    row_of = np.empty(rows.num_rows, np.int64)
    row_of[rows.column(_GROUP).to_numpy()] = np.arange(rows.num_rows)
    members = ranked.column(_ROW_NUMBER).to_numpy()
    mask = None
    if len(members) < table.num_rows:
        mask = np.zeros(table.num_rows, np.bool_)
        mask[members] = True
    return Aggregated(
        frame=rows.drop_columns([_GROUP, _ROW_NUMBER]),
        as_given=partial(relation_over, relation, types=own),
        groups=rows.num_rows,
        numbers=row_of[ranked.column(_GROUP).to_numpy()],
        taking_part=mask,
        input=table,
        rows=table.num_rows,
    )


def sql_aggregation(functions: Mapping[str, str], relation: Frame, column: str, function: str) -> str:
    """Return the SQL of an aggregation; a sum of integers is a BIGINT, as in other libraries, or an error.

    Args:
        functions: SQL by aggregation, with `{}` for the column.
        relation: What the column is of.
        column: The column.
        function: One of `AGGREGATIONS`.
    """
    value = functions[function].format(quoted(column))
    kind = str(relation.types[relation.columns.index(column)])
    return f"CAST({value} AS BIGINT)" if function == "sum" and kind.endswith(_INTEGERS) else value


def _arrow_aggregation(column: str, function: str) -> tuple[Any, ...]:
    if function == "std":
        return (column, "stddev", pc.VarianceOptions(ddof=1))
    return (column, "count_distinct" if function == "nunique" else function)


def _numbers_of(lists: Any, rows: int) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
    """Turn the list of input rows of each output row into the output row of each input row."""
    members = lists.flatten().to_numpy()
    lengths = np.diff(lists.offsets.to_numpy())
    numbers = np.full(rows, -1, np.int64)
    numbers[members] = np.repeat(np.arange(len(lengths)), lengths)
    if len(members) == rows:
        return numbers, None
    taking_part = numbers >= 0
    return numbers[taking_part], taking_part
