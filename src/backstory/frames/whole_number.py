"""Whole numbers that no column type holds: Arrow makes a double of an integer of a text file beyond int64.

Two ids of twenty digits would then be one, and no message would say so. Found are only those that change: what a
program wrote of a double without a point is kept as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

_EXACT_END: Final = 1 << 53
"""From here on not every whole number is a double."""
_WHOLE: Final = r"^\s*[+-]?[0-9]+\s*$"


def lost_in_csv(table: pa.Table, given: set[str], as_text: Callable[[dict[str, pa.DataType]], pa.Table]) -> str | None:
    """Return a column of a CSV file with a whole number that its double is not.

    Args:
        table: The file as it was read.
        given: Columns whose type the caller gave.
        as_text: Reads the file again, with these types for some columns.
    """
    suspects = [index for index in _columns_of_large(table) if table.field(index).name not in given]
    if not suspects:
        return None
    texts = as_text({table.field(index).name: pa.large_string() for index in suspects})
    for index in suspects:
        large = pc.greater_equal(pc.abs(table.column(index)), _EXACT_END)
        cells = texts.column(index).filter(large)
        whole = cells.filter(pc.match_substring_regex(cells, _WHOLE))
        if any(_is_lost(int(cell)) for chunk in whole.chunks for cell in chunk.to_pylist()):
            return str(table.field(index).name)
    return None


def lost_in_json(table: pa.Table, given: set[str], data: bytes) -> str | None:
    """Return a column of JSON lines with a whole number that its double is not, however deep.

    Args:
        table: The lines as they were read.
        given: Columns whose type the caller gave.
        data: The lines.

    Raises:
        ValueError: They are not JSON lines.
    """
    suspects = {
        table.field(index).name: table.field(index).type
        for index in _columns_of_large(table)
        if table.field(index).name not in given
    }
    if not suspects:
        return None
    for line in data.decode().split("\n"):
        values = json.loads(line) if line.strip() else {}
        for name, type_ in suspects.items():
            if any(_is_lost(number) for number in _whole_numbers(values.get(name), type_)):
                return str(name)
    return None


def _columns_of_large(table: pa.Table) -> list[int]:
    """Return by index the columns with doubles beyond which not every whole number is one."""
    return [index for index in range(table.num_columns) if any(map(_has_large, table.column(index).chunks))]


def _has_large(values: pa.Array) -> bool:
    type_ = values.type
    if pa.types.is_struct(type_):
        return any(map(_has_large, values.flatten()))
    if pa.types.is_list(type_):
        return _has_large(values.flatten())
    return pa.types.is_float64(type_) and bool(pc.any(pc.greater_equal(pc.abs(values), _EXACT_END)).as_py())


def _whole_numbers(value: Any, type_: pa.DataType) -> Iterator[int]:
    """Yield the whole numbers of a JSON value that are doubles in the table."""
    if isinstance(value, dict):
        for field in type_ if pa.types.is_struct(type_) else ():
            yield from _whole_numbers(value.get(field.name), field.type)
    elif isinstance(value, list):
        for item in value if pa.types.is_list(type_) else ():
            yield from _whole_numbers(item, type_.value_type)
    elif isinstance(value, int) and pa.types.is_float64(type_):
        yield value


def _is_lost(number: int) -> bool:
    try:
        return int(float(number)) != number
    except OverflowError:
        return True
