"""Drafting a contract from data: what holds in it now, with some room, for a person to go over.

A draft describes; whether it is what the data should be, nobody can read off the data. Ranges, enumerations and
patterns are drafted as `flag` for that reason. Of a column that says which person a row is about no value and no shape
is named, and in a frame about people no text is named that fewer than `PEOPLE_MIN` rows have.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import is_text
from backstory.errors import InputError
from backstory.frames.contract_rows import is_list, is_number, plain_column
from backstory.frames.contract_severity import SEVERITY_PROPERTY
from backstory.frames.contract_yaml import dump_yaml
from backstory.frames.key import find_duplicate, row_codes

if TYPE_CHECKING:
    from decimal import Decimal

STANDARD: Final = "v3.1.0"
ENUMERATION_MAX: Final = 20
"""A column of text with more different values is taken for free text."""
ROWS_PER_VALUE_MIN: Final = 5
PEOPLE_MIN: Final = 5
UNIQUE_ROWS_MIN: Final = 10
"""In fewer rows every column looks like a key."""
MARGIN: Final = 0.1
"""How far a drafted range reaches beyond the data, as a share of its width."""

_SHAPES: Final = (("[0-9]", re.compile("[0-9]+")), ("[A-Z]", re.compile("[A-Z]+")), ("[a-z]", re.compile("[a-z]+")))
_LITERALS: Final = "-_./: "
_SHAPE_PARTS_MAX: Final = 8
_SHAPE_SAMPLE: Final = 100


def infer_contract(table: pa.Table, name: str, *, subject: str | None = None) -> str:
    """Return the draft of a contract in YAML.

    Args:
        table: The data.
        name: Name of the source.
        subject: Column that says which person a row is about.

    Raises:
        InputError: The table has no columns.
    """
    if not table.num_columns:
        raise InputError(f"contract: expected at least one column to draft from, got none ({name})")
    properties = [
        _property(
            column, plain_column(table.column(column)), is_subject=column == subject, personal=subject is not None
        )
        for column in table.column_names
    ]
    rows: dict[str, Any] = {"id": "rows", "metric": "rowCount", "mustBeGreaterThan": 0}
    return dump_yaml(
        {
            "kind": "DataContract",
            "apiVersion": STANDARD,
            "id": name,
            "version": "0.1.0",
            "status": "draft",
            "customProperties": [
                {"property": SEVERITY_PROPERTY, "value": {"range": "flag", "pattern": "flag", "enumeration": "flag"}}
            ],
            "schema": [{"name": name, "properties": properties} | ({"quality": [rows]} if table.num_rows else {})],
        }
    )


def _property(name: str, column: pa.ChunkedArray, *, is_subject: bool, personal: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name}
    type_ = _logical_type(column.type)
    if type_ is not None:
        found["logicalType"] = type_
    if len(column) and not column.null_count:
        found["required"] = True
    values = column.drop_null()
    if _is_key(values):
        found["unique"] = True
    if is_subject or not len(values):
        return found
    options = _range(values)
    listed = _enumeration(values, PEOPLE_MIN if personal else 1) if is_text(values.type) else None
    if listed is not None:
        found["quality"] = [
            {"id": f"{name}.enumeration", "metric": "invalidValues", "arguments": {"validValues": listed}, "mustBe": 0}
        ]
    elif is_text(values.type):
        options = _shape(values)
    if options:
        found["logicalTypeOptions"] = options
    return found


def _logical_type(type_: pa.DataType) -> str | None:
    is_ = pa.types
    if is_.is_integer(type_):
        return "integer"
    if is_number(type_):
        return "number"
    names = {
        "string": is_text(type_),
        "boolean": is_.is_boolean(type_),
        "date": is_.is_date(type_),
        "timestamp": is_.is_timestamp(type_),
        "time": is_.is_time(type_),
        "array": is_list(type_),
        "object": is_.is_struct(type_),
    }
    return next((name for name, is_it in names.items() if is_it), None)


def _is_key(values: pa.ChunkedArray) -> bool:
    if len(values) < UNIQUE_ROWS_MIN or not (is_text(values.type) or pa.types.is_integer(values.type)):
        return False
    return find_duplicate(row_codes(pa.table({"values": values}), ["values"])) is None


def _range(values: pa.ChunkedArray) -> dict[str, Any] | None:
    type_ = values.type
    if not is_number(type_):
        return None
    bounds = pc.min_max(values)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if pa.types.is_integer(type_):
        room = max(1, math.ceil((high - low) * MARGIN))
        low_, high_ = (0 if 0 <= low < room else low - room), (0 if -room < high <= 0 else high + room)
        return {"minimum": low_, "maximum": high_}
    if pa.types.is_float64(type_) and not bool(np.isfinite(values.to_numpy()).all()):
        return None
    return _float_range(low, high)


def _float_range(least: float | Decimal, greatest: float | Decimal) -> dict[str, Any] | None:
    low, high = float(least), float(greatest)
    room = (high - low) * MARGIN or abs(high) * MARGIN or 1.0
    if not math.isfinite(low - room) or not math.isfinite(high + room) or high - low > abs(math.nextafter(math.inf, 0)):
        return None
    # As many digits as the width of the range makes sense of, rounded away from the data.
    digits = 2 - math.floor(math.log10(room))
    low_, high_ = round(low - room, digits), round(high + room, digits)
    if low >= 0 > low_:
        low_ = 0.0
    if high <= 0 < high_:
        high_ = 0.0
    return {"minimum": min(low_, low), "maximum": max(high_, high)}


def _enumeration(values: pa.ChunkedArray, rows_min: int) -> list[str] | None:
    if pc.count_distinct(values).as_py() > min(ENUMERATION_MAX, len(values) / ROWS_PER_VALUE_MIN):
        return None
    counts = pc.value_counts(values)
    if pc.min(counts.field("counts")).as_py() < rows_min:
        return None
    return sorted(counts.field("values").to_pylist())


def _shape(values: pa.ChunkedArray) -> dict[str, Any] | None:
    """Return a pattern that all texts have, such as `^[A-Z]{2}[0-9]{4}$`."""
    shapes = {_parts(text) for text in values.slice(0, _SHAPE_SAMPLE).to_pylist()}
    if len(shapes) != 1 or None in shapes:
        return None
    parts = shapes.pop() or ()
    if all(not part.startswith("[") for part in parts):
        return None
    lengths = _lengths(values, parts)
    if lengths is None:
        return None
    counted = (
        _counted(part, *bounds) if part.startswith("[") else _literal(part)
        for part, bounds in zip(parts, lengths, strict=True)
    )
    return {"pattern": f"^{''.join(counted)}$"}


def _parts(text: str) -> tuple[str, ...] | None:
    """Return the runs of a text: a class of characters, or what stands there; None for no simple format."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        run = next(((name, match) for name, shape in _SHAPES if (match := shape.match(text, at))), None)
        if run is None and text[at] not in _LITERALS:
            return None
        parts.append(text[at] if run is None else run[0])
        at = at + 1 if run is None else run[1].end()
        if len(parts) > _SHAPE_PARTS_MAX:
            return None
    return tuple(parts)


def _lengths(values: pa.ChunkedArray, parts: tuple[str, ...]) -> list[tuple[int, int]] | None:
    """Return how long each run is, at least and at most; None if a text is of another shape."""
    groups = "".join(
        f"(?P<p{number}>{part}+)" if part.startswith("[") else f"(?P<p{number}>{_literal(part)})"
        for number, part in enumerate(parts)
    )
    found = pc.extract_regex(values, rf"\A{groups}\z")
    if found.null_count:
        return None
    fields = (pc.struct_field(found, [number]) for number in range(len(parts)))
    bounds = (pc.min_max(pc.utf8_length(field)) for field in fields)
    return [(bound["min"].as_py(), bound["max"].as_py()) for bound in bounds]


def _literal(character: str) -> str:
    return r"\." if character == "." else character


def _counted(part: str, low: int, high: int) -> str:
    if low == high:
        return part if low == 1 else f"{part}{{{low}}}"
    return f"{part}{{{low},{high}}}"
