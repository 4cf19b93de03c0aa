"""Recorded values as Python has them: the same with and without pandas, which Arrow asks for nanoseconds."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pyarrow as pa


def python_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table as Python values, by column."""
    columns = [_python_column(column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _python_column(column: pa.ChunkedArray) -> list[Any]:
    """Return what `python_value` gives for each value of a column; at once, where no value is finer than Python's."""
    if not _is_fine(column.type):
        return list(column.to_pylist())
    if pa.types.is_timestamp(column.type):
        with suppress(pa.ArrowInvalid):  # some moment is finer than a microsecond
            column = column.cast(pa.timestamp("us", column.type.tz))
            return list(column.to_pylist())
    return [python_value(value) for value in column]


def _is_fine(type_: pa.DataType) -> bool:
    """Say whether values of a type may have nanoseconds, themselves or inside."""
    if pa.types.is_dictionary(type_):
        return _is_fine(type_.value_type)
    inner = [type_.field(at).type for at in range(type_.num_fields)]
    return getattr(type_, "unit", None) == "ns" or any(map(_is_fine, inner))


def python_value(value: pa.Scalar) -> Any:  # noqa: ANN401  any recorded value
    """Return a recorded value as Python has it; text for a moment or duration finer than its microseconds.

    >>> python_value(pa.scalar(1_500, pa.timestamp("ns")))
    '1970-01-01T00:00:00.000001500'
    """
    type_ = value.type
    if not value.is_valid:
        return None
    if pa.types.is_struct(type_):
        return {name: python_value(item) for name, item in value.items()}
    if pa.types.is_dictionary(type_):
        return python_value(value.value)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return [python_value(item) for item in value.values]
    if getattr(type_, "unit", None) != "ns":
        return value.as_py()
    return _moment(value)


def _moment(value: pa.Scalar) -> Any:  # noqa: ANN401  a datetime, time or timedelta, or its text
    type_ = value.type
    whole, finer = divmod(int(value.value), 1000)
    if pa.types.is_timestamp(type_):
        type_ = pa.timestamp("us", type_.tz)
    else:
        type_ = pa.time64("us") if pa.types.is_time(type_) else pa.duration("us")
    moment = pa.array([whole], pa.int64()).cast(type_)[0].as_py()
    if not finer:
        return moment
    text = str(moment) if isinstance(moment, timedelta) else moment.isoformat(timespec="microseconds")
    before, _, after = text.partition(".")
    after = after or "000000"
    return f"{before}.{after[:6]}{finer:03}{after[6:]}"
