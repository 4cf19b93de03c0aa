"""Aggregations over the earlier rows of the same entity, and which rows those are.

The rows are sorted by entity and time once; what a row looks back on is then a range of places in that order, found by
binary search. Values are computed from these very ranges, by DuckDB whatever library the frame is of: so they and the
lineage cannot differ. The libraries' own windows do differ: pandas counts earlier rows of the same moment where DuckDB
and polars do not, and sums by adding and taking away, which leaves rounding errors that are not of the window's rows.

Nulls are skipped (`first` and `last` take them), NaN is a number. An empty window is null; `count` and `nunique` of it
are 0.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import ColumnError, InputError
from backstory.frames.aggregate import sql_aggregation
from backstory.frames.key import first_appearance, has_nulls, row_codes
from backstory.frames.relation import quoted, relation_over, run_aggregated, run_in_order
from backstory.frames.table import Frame, kind_of, select_columns, to_arrow

if TYPE_CHECKING:
    from numpy.typing import NDArray

Closed: TypeAlias = Literal["left", "right", "both", "none"]

_CLOSED: Final = frozenset({"left", "right", "both", "none"})
_LOOKS_BACK: Final = frozenset({"left", "none"})
"""Windows that end before the moment of their row."""
_WIDTH: Final = re.compile(r"([1-9][0-9]{0,18})(ns|us|ms|s|min|m|h|d|w)", re.IGNORECASE)
_NANOSECONDS: Final = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
    "w": 7 * 86400 * 10**9,
}
_INT64: Final = np.iinfo(np.int64)
_FLOAT_EXACT_MAX: Final = 1 << 53
_PLACE: Final = "__backstory_place"
_BEGIN: Final = "__backstory_begin"
_END: Final = "__backstory_end"
_SQL: Final = {
    "count": "count({})",
    "first": "first_value({})",
    "last": "last_value({})",
    "max": "max({})",
    "mean": "avg({})",
    "min": "min({})",
    "nunique": "count(DISTINCT {})",
    "std": "stddev_samp({})",
    "sum": "sum({})",
}
_COUNTS: Final = frozenset({"count", "nunique"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """How far a row looks back.

    Attributes:
        width: Of the window, in nanoseconds, or in the units of a time that is a plain number; None with `rows`.
        is_number: Whether `width` is a plain number.
        rows: How many rows it is at most; None with `width`.
        closed: Which ends belong to it: `left` the farthest moment, `right` the row's own, with the row itself.
    """

    width: int | None
    is_number: bool
    rows: int | None
    closed: Closed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windowed:
    """What windows gave.

    Attributes:
        frame: The frame that was given, run, with the aggregations as columns.
        as_given: Makes it, or what is made of it, the kind of frame that was given: lazy, a relation.
        values: The aggregations, in the order of its rows.
        order: Rows by entity and time, those of one moment in the order they are in; last those without entity or time.
        begins: For each place in that order, the first place of its window.
        ends: For each place, the place behind the last.
    """

    frame: Frame
    as_given: Callable[[Frame], Frame]
    values: pa.Table
    order: NDArray[np.int64]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]


def span_of(window: str | int | timedelta | None, rows: int | None, closed: str) -> Span:
    """Read how far windows reach.

    Args:
        window: Such as `30d` (ns, us, ms, s, m, h, d, w), a timedelta, or a number where the time is one.
        rows: A number of rows instead.
        closed: `left`, `right`, `both` or `none`.

    Raises:
        InputError: Not exactly one of `window` and `rows`, or not of that form.
    """
    if (window is None) == (rows is None):
        raise InputError("window: expected window='30d' or rows=10, got both or none")
    if closed not in _CLOSED:
        raise InputError(f"window: expected closed to be left, right, both or none, got {closed!r}")
    is_number = isinstance(window, int)
    width: Any = window
    if isinstance(window, str):
        parsed = None if window.endswith("M") else _WIDTH.fullmatch(window)
        width = 0 if parsed is None else int(parsed[1]) * _NANOSECONDS[parsed[2].lower()]
    elif isinstance(window, timedelta):
        width = (window // timedelta(microseconds=1)) * _NANOSECONDS["us"]
    for given in (width, rows):
        if given is not None and (type(given) is not int or not 0 < given <= _INT64.max):
            raise InputError(
                "window: expected a length such as '30d', '12h', '90s', a timedelta or a number above 0, or rows above "
                f"0, got {window!r} and rows={rows!r}"
            )
    return Span(width=width, is_number=is_number, rows=rows, closed=closed)  # type: ignore[arg-type]


def aggregate_windows(
    frame: Frame,
    by: Sequence[str],
    time: str,
    span: Span,
    aggs: Mapping[str, tuple[str, str]],
    carried: Sequence[str],
) -> Windowed:
    """Aggregate, for each row, what it looks back on.

    Args:
        frame: A pandas, polars or pyarrow frame or a DuckDB relation, which is run in the order of its ids.
        by: Columns that make the entity.
        time: Column with the moment: a time, a date or an integer.
        span: How far rows look back.
        aggs: For each output column, an input column and an aggregation.
        carried: Id columns of the frame.

    Raises:
        InputError: The container cannot have windows.
        ColumnError: `time` is of another type, or of another one than the window's length, or a column of one that its
            aggregation does not take.
    """
    kind = kind_of(frame)
    if kind in ("numpy", "record", "records"):
        raise InputError(f"window: expected a pandas, polars or pyarrow frame or a DuckDB relation, got {kind}")
    held = _run(frame, kind, carried)
    needed = list(dict.fromkeys([*by, time, *(column for column, _ in aggs.values())]))
    inputs = to_arrow(select_columns(held, needed))
    known = ~has_nulls(inputs, [*by, time])
    moments, unit = _moments(inputs.column(time), time, span)
    order, begins, ends = _ranges(inputs, known, by, moments, unit, span)
    sorted_ = inputs.select(list(dict.fromkeys(column for column, _ in aggs.values()))).take(pa.array(order))
    values, types = _values(frame if kind == "duckdb" else None, sorted_, int(known.sum()), begins, ends, span, aggs)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    values = values.take(pa.array(back))
    return Windowed(
        frame=_with_columns(held, values),
        as_given=_given_back(frame, kind, types),
        values=values,
        order=order,
        begins=begins,
        ends=ends,
    )


def _run(frame: Frame, kind: str, ids: Sequence[str]) -> Frame:
    if kind == "duckdb":
        names = list(frame.columns)
        return run_in_order(frame, [*ids, *(name for name in names if name not in ids)]).select(names)
    return frame.collect() if kind == "polars-lazy" else frame


def _moments(column: pa.ChunkedArray, name: str, span: Span) -> tuple[NDArray[np.int64], int]:
    """Return moments as numbers, 0 where there is none, and how many nanoseconds one is: 0 for a plain number."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        unit = _NANOSECONDS[kind.unit]
    elif pa.types.is_date(kind):
        column, unit = column.cast(pa.date32()).cast(pa.int32()), _NANOSECONDS["d"]
    elif pa.types.is_integer(kind) and kind != pa.uint64():
        unit = 0
    else:
        raise ColumnError(f"window: expected times, dates or integers in {name!r}, got {kind}", column=name)
    if span.width is not None and span.is_number != (unit == 0):
        wanted = "a number as length, as the time is one" if unit == 0 else "a length such as '30d'"
        raise ColumnError(f"window: expected {wanted}, got another ({name!r} is {kind})", column=name)
    return column.cast(pa.int64()).fill_null(0).to_numpy(), unit


def _ranges(
    inputs: pa.Table, known: NDArray[np.bool_], by: Sequence[str], moments: NDArray[np.int64], unit: int, span: Span
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    entities = first_appearance(row_codes(inputs, by))
    order = np.lexsort((moments, entities, ~known))
    count = int(known.sum())
    placed = order[:count]
    times, ranks = np.unique(moments[placed], return_inverse=True)
    # Entity and moment as one number; moments by their rank, so that it cannot overflow.
    base = entities[placed] * (len(times) + 1)
    keys = base + ranks
    ends = np.searchsorted(keys, keys, "left" if span.closed in _LOOKS_BACK else "right")
    if span.width is None:
        # The row itself is the last: of those of its moment only the ones before it, or it might not be among so many.
        ends = ends if span.closed in _LOOKS_BACK else np.arange(1, count + 1)
        begins = np.maximum(np.searchsorted(keys, base, "left"), ends - (span.rows or 0))
    else:
        width, rest = divmod(span.width, unit or 1)
        is_inside = span.closed in ("left", "both") or rest > 0
        edge = np.where(times < _INT64.min + width, _INT64.min, times - width)
        first = np.searchsorted(times, edge, "left" if is_inside else "right")
        begins = np.minimum(np.searchsorted(keys, base + first[ranks], "left"), ends)
    rest_places = np.arange(count, len(order))
    return order, np.concatenate((begins, rest_places)), np.concatenate((ends, rest_places))


def _values(
    relation: Frame | None,
    rows: pa.Table,
    known: int,
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    span: Span,
    aggs: Mapping[str, tuple[str, str]],
) -> tuple[pa.Table, dict[str, str]]:
    """Return the aggregations in the order of places, and their SQL types; those of rows without a window are empty."""
    places = np.arange(known)
    table = rows.slice(0, known).append_column(_PLACE, pa.array(places))
    table = table.append_column(_BEGIN, pa.array(places - begins[:known]))
    # Where a window ends before its row, that is so many rows before it, otherwise so many behind it.
    looks_back = span.closed in _LOOKS_BACK
    behind = ends[:known] - 1 - places
    table = table.append_column(_END, pa.array(-behind if looks_back else behind))
    given = _own_relation(table) if relation is None else relation_over(relation, table)
    side = "PRECEDING" if looks_back else "FOLLOWING"
    over = f"{{}} OVER (ORDER BY {_PLACE} ROWS BETWEEN {_BEGIN} PRECEDING AND {_END} {side})"
    functions = {name: over.format(sql) for name, sql in _SQL.items()}
    plan = ", ".join(
        f"{sql_aggregation(functions, given, column, function)} AS {quoted(name)}"
        for name, (column, function) in aggs.items()
    )
    try:
        result = given.project(f"{plan}, {_PLACE}").order(_PLACE)
    except sys.modules["duckdb"].BinderException:
        got = ", ".join(f"{function} of {rows.schema.field(column).type}" for column, function in aggs.values())
        raise ColumnError(f"window: expected aggregations of columns they can be made of, got {got}") from None
    types = dict(zip(result.columns, map(str, result.types), strict=True))
    values = run_aggregated(result).drop_columns([_PLACE])
    missing = len(rows) - known
    if missing:
        chosen = (function for _, function in aggs.values())
        empty = [
            pa.repeat(pa.scalar(0, field.type), missing) if function in _COUNTS else pa.nulls(missing, field.type)
            for field, function in zip(values.schema, chosen, strict=True)
        ]
        values = pa.concat_tables([values, pa.table(empty, schema=values.schema)])
    return values, types


def _own_relation(table: pa.Table) -> Frame:
    """Return a relation over a table, of a connection of its own."""
    import duckdb

    return duckdb.connect().from_arrow(table)


def _with_columns(frame: Frame, values: pa.Table) -> Frame:
    kind = kind_of(frame)
    if kind == "pandas":
        result = frame.copy(deep=False)
        for name in values.column_names:
            result[name] = _as_series(values.column(name)).set_axis(frame.index)
        return result
    if kind == "polars":
        return frame.with_columns(sys.modules["polars"].from_arrow(values).get_columns())
    table = pa.Table.from_batches([frame]) if kind == "arrow-batch" else frame
    for name in values.column_names:
        table = table.append_column(name, values.column(name))
    return table


def _as_series(values: pa.ChunkedArray) -> Any:
    """Return values as pandas has them; integers with nulls among them, which it makes floats, where no float loses."""
    if values.null_count and pa.types.is_integer(values.type):
        least, most = pc.min_max(values).as_py().values()
        if least is not None and not -_FLOAT_EXACT_MAX <= least <= most <= _FLOAT_EXACT_MAX:
            pandas = sys.modules["pandas"]
            exact = pandas.UInt64Dtype() if pa.types.is_unsigned_integer(values.type) else pandas.Int64Dtype()
            return values.to_pandas(types_mapper={values.type: exact}.get)
    return values.to_pandas()


def _given_back(frame: Frame, kind: str, types: dict[str, str]) -> Callable[[Frame], Frame]:
    if kind == "duckdb":
        return partial(relation_over, frame, types=dict(zip(frame.columns, map(str, frame.types), strict=True)) | types)
    return (lambda held: held.lazy()) if kind == "polars-lazy" else lambda held: held
