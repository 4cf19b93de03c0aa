"""When two frames hold the same values: exactly (same library) or across containers.

Null equals null and NaN equals NaN, because the question is always "is this the same table", never arithmetic.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.frames.table import Frame, column_names, column_values, kind_of, row_count

_FEW_ROWS: Final = 1_000
"""So many rows pandas compares faster than their columns are taken out one by one, to see whether they share memory."""


def find_difference(left: Frame, right: Frame) -> str | None:
    """Say in words how two frames differ, or None if they are the same.

    Container, column names and order, row count, types, values and (pandas) index are compared. No value is quoted.

    Args:
        left: A frame or an array.
        right: Another.
    """
    if left is right or _are_equal_at_once(left, right):
        return None
    if kind_of(left) != kind_of(right):
        return f"containers differ: {kind_of(left)} and {kind_of(right)}"
    if kind_of(left) == "polars-lazy":
        left, right = left.collect(), right.collect()
    names = column_names(left)
    if names != column_names(right):
        return f"columns differ: {names} and {column_names(right)}"
    if row_count(left) != row_count(right):
        return f"row counts differ: {row_count(left)} and {row_count(right)}"
    for name in names:
        found, other = _type_of(left, name), _type_of(right, name)
        if found != other:
            return f"types differ in column {name!r}: {found} and {other}"
        if not same_values(column_values(left, name), column_values(right, name)):
            return f"values differ in column {name!r}"
    if kind_of(left) == "pandas" and not left.index.equals(right.index):
        return "the index differs"
    return None


def _are_equal_at_once(left: Frame, right: Frame) -> bool:
    """Say whether two frames are the same, where that takes no look at each column; False says nothing."""
    kind = kind_of(left)
    if kind != kind_of(right):
        return False
    if kind == "pandas":
        # Among objects pandas takes 1 and True for the same.
        return len(left) <= _FEW_ROWS and "object" not in map(str, left.dtypes) and bool(left.equals(right))
    is_plain = kind == "numpy" and left.dtype == right.dtype and left.dtype.kind in "biuf"
    return is_plain and np.array_equal(left, right, equal_nan=True)


def _type_of(frame: Frame, name: str) -> object:
    kind = kind_of(frame)
    if kind in ("arrow", "arrow-batch"):
        return frame.schema.field(name).type
    return frame.dtype if kind == "numpy" else frame[name].dtype


def same_values(left: Any, right: Any) -> bool:
    """Tell whether two columns hold the same values row by row.

    Numbers compare by value; where `right` is a narrower float than `left`, `left` is narrowed first.

    Args:
        left: A NumPy array or a pyarrow array or chunked array.
        right: Another, of any of these types.
    """
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray) and _shares_all_memory(left, right):
        return True
    if len(left) != len(right):
        return False
    if isinstance(left, pa.ChunkedArray | pa.Array) and isinstance(right, pa.ChunkedArray | pa.Array):
        first, second = _arrow(left), _arrow(right)
        if first.type == second.type and not pa.types.is_floating(first.type):
            return bool(first.equals(second))
    first, second = _numbers(left), _numbers(right)
    if first is not None and second is not None:
        return _same_numbers(first, second)
    if first is not None or second is not None:
        return False
    first, second = _arrow(left), _arrow(right)
    if first is None and second is None:  # objects Arrow has no one type for
        return all(map(_same_object, left, right))
    return _same_arrays(first, second)


def _shares_all_memory(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.__array_interface__["data"] == right.__array_interface__["data"]
        and left.strides == right.strides
    )


def _numbers(column: Any) -> np.ndarray[Any, Any] | None:
    """Return the column as numbers, null as NaN; None if it does not hold numbers."""
    if isinstance(column, np.ndarray):
        if column.dtype.kind in "biuf":
            return column
        if column.dtype.kind != "O":
            return None
    array = _arrow(column)
    if array is None or not (
        pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_boolean(array.type)
    ):
        return None
    if array.null_count and pa.types.is_integer(array.type):
        # As pandas does on the other side of such a comparison; two nullable integer columns never come here.
        return np.where(
            pc.is_null(array).to_numpy(zero_copy_only=False),
            np.nan,
            array.fill_null(0).to_numpy(zero_copy_only=False),
        )
    if array.null_count and pa.types.is_boolean(array.type):
        return _numbers(array.cast(pa.int8()))
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _same_numbers(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> bool:
    if right.dtype.kind == left.dtype.kind == "f" and right.dtype.itemsize < left.dtype.itemsize:
        with np.errstate(over="ignore"):
            left = left.astype(right.dtype)
    equal = left == right
    if equal.all():
        return True
    if left.dtype.kind != "f" or right.dtype.kind != "f":
        return False
    return bool((equal | (np.isnan(left) & np.isnan(right))).all())


def _same_object(left: Any, right: Any) -> bool:
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and _same_object(left.tolist(), right.tolist())
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_same_object, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same_object(value, right[key]) for key, value in left.items())
    try:
        return bool(left == right) or bool(left != left and right != right)  # noqa: PLR0124  NaN
    except (TypeError, ValueError):
        return False


def _same_arrays(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return False
    if left.type != right.type:
        try:
            right = right.cast(left.type)
        except pa.ArrowException:
            return False
    return bool(left.equals(right))


def _arrow(column: Any) -> Any:
    """Return a plain pyarrow array, dictionaries decoded and string widths made one; None if it cannot be one."""
    if isinstance(column, pa.ChunkedArray):
        array = column.combine_chunks()
    elif isinstance(column, pa.Array):
        array = column
    else:
        try:
            array = pa.array(column, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return None
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_string(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    return array
