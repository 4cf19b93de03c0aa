"""Values of one source in several of its versions, brought to types in which equal values are equal.

Versions differ in how they write one value: texts as categories, moments in another zone or unit, keys as floats where
a join left gaps. Compared as they are they would share nothing. Numbers are compared exactly: no integer is rounded.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, unchunked
from backstory.errors import InputError
from backstory.frames.table import without_views

_INT64_END = float(1 << 63)
_PLAIN = {
    pa.string(): pa.large_string(),
    pa.binary(): pa.large_binary(),
    pa.date64(): pa.date32(),
    pa.float16(): pa.float64(),
    pa.float32(): pa.float64(),
}
_UNITS = ("ns", "us", "ms", "s")


def compared(tables: list[pa.Table], names: list[str]) -> pa.Table:
    """Return the rows of tables, one after the other, so that rows agree in all columns where their values are equal.

    Args:
        tables: Tables that have the columns.
        names: The columns.

    Raises:
        InputError: A column has types that have nothing in common.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    for name in names:
        found = _alike([_plain(unchunked(table[name])) for table in tables])
        if found is None:
            kinds = ", ".join(sorted({str(table.schema.field(name).type) for table in tables}))
            raise InputError(f"overlap: expected column {name!r} of types that can be compared, got {kinds}")
        for number, parts in enumerate(zip(*found, strict=True)):
            columns[name + "\0" * number] = pa.chunked_array(parts)
    return pa.table(columns)


def _alike(columns: list[pa.Array]) -> list[list[pa.Array]] | None:
    """Return what columns are compared by: one array of each, or two where integers meet fractions.

    Returns:
        None where the types have nothing in common.
    """
    kinds = {column.type for column in columns if column.type != pa.null()}
    if len(kinds) < 2:  # noqa: PLR2004  one type
        return [[column.cast(next(iter(kinds), pa.null()))] for column in columns]
    if all(pa.types.is_integer(kind) or pa.types.is_decimal(kind) for kind in kinds):
        return _cast(columns, [_exact(kinds)])
    if all(pa.types.is_integer(kind) or kind == pa.float64() for kind in kinds):
        return None if pa.uint64() in kinds else [_whole_and_rest(column) for column in columns]
    zones = {kind.tz is None for kind in kinds if pa.types.is_timestamp(kind)}
    if len(zones) == 1 and all(
        pa.types.is_timestamp(kind) or (kind == pa.date32() and True in zones) for kind in kinds
    ):
        zone = None if True in zones else "UTC"
        units = sorted({kind.unit for kind in kinds if pa.types.is_timestamp(kind)}, key=_UNITS.index)
        return _cast(columns, [pa.timestamp(unit, zone) for unit in units])
    return None


def _plain(values: pa.Array) -> pa.Array:
    """Return values without encoding or views, and of a zero there is one."""
    values = without_views(decoded(values))
    values = values.cast(_PLAIN.get(values.type, values.type))
    if pa.types.is_timestamp(values.type) and values.type.tz is not None:
        return values.cast(pa.timestamp(values.type.unit, "UTC"))
    return pc.add(values, 0.0) if pa.types.is_floating(values.type) else values


def _exact(kinds: set[pa.DataType]) -> pa.DataType:
    """Return a type that holds all values of some integers and decimals."""
    if not any(pa.types.is_decimal(kind) or kind == pa.uint64() for kind in kinds):
        return pa.int64()
    return pa.decimal256(76, max((kind.scale for kind in kinds if pa.types.is_decimal(kind)), default=0))


def _cast(columns: list[pa.Array], kinds: list[pa.DataType]) -> list[list[pa.Array]] | None:
    """Return columns as the first type that loses none of their values."""
    for kind in kinds:
        try:
            return [[column.cast(kind)] for column in columns]
        except pa.ArrowException:
            continue
    return None


def _whole_and_rest(column: pa.Array) -> list[pa.Array]:
    """Return integers, and beside them what is none."""
    if pa.types.is_integer(column.type):
        return [column.cast(pa.int64()), pa.nulls(len(column), pa.float64())]
    values = column.fill_null(0.0).to_numpy(zero_copy_only=False)
    is_whole = (np.trunc(values) == values) & (values >= -_INT64_END) & (values < _INT64_END)
    numbers = np.where(is_whole, values, 0.0).astype(np.int64)
    nulls = column.is_null().to_numpy(zero_copy_only=False)
    return [pa.array(numbers, mask=nulls | ~is_whole), pa.array(values, mask=nulls | is_whole)]
