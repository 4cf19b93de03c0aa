"""Rows as numbers: which rows of a table agree in some columns.

Strings and other types are dictionary-encoded once, and the codes of several columns are combined as the digits of one
mixed-radix integer, so that everything after works on one int64 a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import ColumnError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_RADIX_MAX: Final = 1 << 62
_SPAN_MAX: Final = 1 << 24
_INT64_MAX: Final = (1 << 63) - 1


def row_codes(table: pa.Table, names: Sequence[str]) -> NDArray[np.int64]:
    """Give rows that agree in all of `names` the same number, and other rows another.

    Null agrees with null, NaN with NaN.

    Args:
        table: Any table.
        names: At least one column of it.

    Returns:
        One number a row; they are neither dense nor in any order.

    Raises:
        ColumnError: A column has a type that cannot be compared.
    """
    codes: NDArray[np.int64] | None = None
    size = 1
    for name in names:
        digits, radix = _encode(table.column(name), name)
        if codes is not None and size * radix > _RADIX_MAX:
            codes, size = _dense(pa.array(codes))
        codes = digits if codes is None else codes * radix + digits
        size *= radix
    return cast("NDArray[np.int64]", codes)


def first_appearance(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber codes from 0 in the order in which they first appear."""
    return _dense(pa.array(codes))[0]


def first_rows(numbers: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Return, for each number below `count`, the first row that has it.

    Args:
        numbers: One number a row, each below `count`; every number occurs.
        count: How many numbers there are.
    """
    rows = np.empty(count, np.int64)
    # Assigned backwards, so that the first row is what remains.
    rows[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)
    return rows


def has_nulls(table: pa.Table, names: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which rows have a null in any of `names`."""
    found = np.zeros(table.num_rows, np.bool_)
    for name in names:
        column = table.column(name)
        if column.null_count:
            found |= pc.is_null(column).to_numpy()
    return found


def find_duplicate(codes: NDArray[np.int64]) -> tuple[int, int] | None:
    """Return two rows with the same code, or None if there are none."""
    ordered = np.sort(codes)
    if not (ordered[1:] == ordered[:-1]).any():
        return None
    order = np.argsort(codes, kind="stable")
    again = np.flatnonzero(codes[order[1:]] == codes[order[:-1]])
    later = again[np.argmin(order[again + 1])]
    return int(order[later]), int(order[later + 1])


def _encode(column: pa.ChunkedArray, name: str) -> tuple[NDArray[np.int64], int]:
    if pa.types.is_dictionary(column.type):
        # Chunks may have dictionaries of their own.
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type) and len(column) and not column.null_count:
        bounds = pc.min_max(column)
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        if high - low < _SPAN_MAX and high <= _INT64_MAX:
            # Integers close together are digits already.
            return column.to_numpy().astype(np.int64) - low, high - low + 1
    try:
        return _dense(column)
    except (pa.ArrowException, NotImplementedError):
        message = f"column cannot be compared: expected plain values in {name!r}, got {column.type}"
        raise ColumnError(message, column=name) from None


def _dense(column: Any) -> tuple[NDArray[np.int64], int]:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = pc.dictionary_encode(array, null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), max(1, len(encoded.dictionary))
