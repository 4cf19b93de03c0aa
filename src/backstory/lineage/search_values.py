"""The values of a search's question marks: each as the columns it is compared with have it.

On a command line every value is text. Whether one is a number is said by the columns of all schemas together, so that a
call that was once recorded with text where others have numbers does not make a comparison one of texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from backstory.errors import QueryError
from backstory.records.canonical import JsonValue
from backstory.records.schema import Schema, split_name

_NUMBERS = ("int", "uint", "float", "decimal")
_NARROW = ("float16", "float32")
_WHOLE_END = 1 << 63
_JOINED: dict[str, JsonValue] = {"model": "string", "version": "int64", "is_sealed": "bool"}
"""Columns that a search adds to those of a schema."""


def fitted_values(
    values: Sequence[Any], compared: Mapping[int, Iterable[str]], schemas: Iterable[Schema]
) -> dict[str, list[Any]]:
    """Return the values to ask each schema with, by the schema's digest.

    Args:
        values: As they were given.
        compared: For each value, by index, the columns it is compared with, as the predicate names them.
        schemas: All that are searched.

    Raises:
        QueryError: A text that is no number is compared with a column that holds numbers only.
    """
    types = {schema.digest: _types(schema) for schema in schemas}
    values = [value.item() if isinstance(value, np.number | np.bool_) else value for value in values]
    fitted = {digest: list(values) for digest in types}
    for index, names in compared.items():
        if index >= len(values):
            continue  # too few values: the query says so
        for name in names:
            value = values[index]
            own = {
                digest: of_schema[name.casefold()]
                for digest, of_schema in types.items()
                if name.casefold() in of_schema
            }
            numbers = [type_ for type_ in own.values() if _is_number(type_)]
            number = _number(value) if isinstance(value, str) and numbers else None
            if isinstance(value, str) and number is None and numbers and len(numbers) == len(own):
                raise QueryError(f"search: value {index + 1} is no number, and {name} holds numbers")
            for digest, type_ in own.items():
                fitted[digest][index] = _fitted(value, number, type_)
    return fitted


def _types(schema: Schema) -> dict[str, JsonValue]:
    """Return the types of the columns a predicate can name, by name in one case."""
    return {".".join(split_name(column.name)).casefold(): column.type for column in schema.columns} | _JOINED


def _is_number(type_: JsonValue) -> bool:
    return isinstance(type_, str) and type_.startswith(_NUMBERS)


def _number(text: str) -> int | float | None:
    """Return the number a text is: whole if it is and DuckDB has it."""
    try:
        return int(text) if abs(int(text)) < _WHOLE_END else float(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def _fitted(value: Any, number: float | None, type_: JsonValue) -> Any:
    """Return a value as it is best compared with a column of a type.

    DuckDB turns a text into the column's type, so that 0.5 would become 1 beside integers; and it compares a moment
    with a time zone with none that has nanoseconds, except as text.
    """
    if isinstance(value, datetime) and value.tzinfo is not None and str(type_).startswith("timestamp["):
        return value.isoformat()
    if number is None or type_ in _NARROW:  # as a double, 0.1 is no narrow float
        return value
    return number if _is_number(type_) else float(number)
