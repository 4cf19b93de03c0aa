"""The row encoding, one row at a time.

The plain twin of `backstory.columns.encode`: the stand-alone verifier decodes and encodes single rows with it, and
property tests hold the two against each other. Bytes: docs/format.md section 2.

Values of the types are plain Python: None, bool, int, float, str, bytes, list; `Decimal` for decimals; an int for
timestamps, times and durations (nanoseconds) and dates (days); `NULL_STRUCT(depth)` for a leaf of a null struct.

>>> row = encode_row([("delay", "float64", 42.0), ("carrier", "string", "UA")])
>>> row[:8].hex(), len(row)
('4252010002000000', 28)
>>> decode_row(row)
['UA', 42.0]
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from backstory.errors import ColumnError, FormatError
from backstory.records.canonical import JsonValue
from backstory.records.limits import COLUMN_COUNT_MAX, NESTING_DEPTH_MAX

MAGIC = b"BR\x01\x00"
CELL_SIZE = 9

NULL, BOOL, INT, UINT, FLOAT64, FLOAT32 = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05
TIMESTAMP, NAIVE_TIMESTAMP, DATE, TIME, DURATION, NULL_STRUCT_TAG = 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B
STRING, BYTES, DECIMAL, LIST, STRUCT = 0x10, 0x11, 0x12, 0x13, 0x14

NAN64 = bytes.fromhex("000000000000f87f")
NAN32 = bytes.fromhex("0000c07f00000000")

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")

_SIMPLE_TAGS = {
    "null": NULL,
    "bool": BOOL,
    "float16": FLOAT32,
    "float32": FLOAT32,
    "float64": FLOAT64,
    "timestamp": NAIVE_TIMESTAMP,
    "date": DATE,
    "time": TIME,
    "duration": DURATION,
    "string": STRING,
    "bytes": BYTES,
}
_SIGNED_TAGS = frozenset({INT, TIMESTAMP, NAIVE_TIMESTAMP, DATE, TIME, DURATION})
_TAIL_TAGS = frozenset({STRING, BYTES, DECIMAL, LIST, STRUCT})


@dataclass(frozen=True, slots=True)
class NULL_STRUCT:  # noqa: N801  reads as the constant it stands for
    """The value of a leaf column whose struct, `depth` levels down from the column, is null."""

    depth: int


Value: TypeAlias = "bool | int | float | str | bytes | Decimal | NULL_STRUCT | list[Value] | None"


def tag_of(type_: JsonValue) -> int:
    """Return the cell tag of a logical type.

    Raises:
        ColumnError: There is no such logical type.
    """
    if isinstance(type_, str):
        if type_ in _SIMPLE_TAGS:
            return _SIMPLE_TAGS[type_]
        for start, tag in (("int", INT), ("uint", UINT), ("timestamp[", TIMESTAMP), ("decimal(", DECIMAL)):
            if type_.startswith(start):
                return tag
    elif isinstance(type_, dict):
        if "list" in type_:
            return LIST
        if "struct" in type_:
            return STRUCT
    raise ColumnError(f"row encoding: no logical type {type_!r}")


def struct_fields(type_: JsonValue) -> list[tuple[str, JsonValue]]:
    """Return names and types of a struct's fields, in byte order of the names."""
    return sorted(_struct_fields(type_), key=lambda field: field[0].encode())


def _struct_fields(type_: JsonValue) -> list[tuple[str, JsonValue]]:
    fields = type_.get("struct") if isinstance(type_, dict) else None
    if not isinstance(fields, list):
        raise TypeError
    return [(str(field["name"]), field["type"]) for field in fields if isinstance(field, dict)]


def _name_bytes(column: tuple[str, JsonValue, Value]) -> bytes:
    return column[0].encode()


def encode_row(columns: Sequence[tuple[str, JsonValue, Value]]) -> bytes:
    """Encode one row.

    Args:
        columns: Name, logical type and value of each column, in any order.

    Returns:
        Header, one cell a column in byte order of the names, and the tail.

    Raises:
        ColumnError: A name twice, a type that does not exist, or a value that does not fit its type.
    """
    ordered = sorted(columns, key=_name_bytes)
    if len({name for name, _, _ in ordered}) != len(ordered) or len(ordered) > COLUMN_COUNT_MAX:
        raise ColumnError(
            f"row encoding: expected at most {COLUMN_COUNT_MAX} distinct column names, got {len(ordered)} columns"
        )
    return MAGIC + _encode_cells(ordered, 0)


def _encode_cells(columns: Sequence[tuple[str, JsonValue, Value]], depth: int) -> bytes:
    if depth > NESTING_DEPTH_MAX:
        raise ColumnError(f"row encoding: values nested deeper than {NESTING_DEPTH_MAX}")
    cells, tails = [struct.pack("<I", len(columns))], []
    for name, type_, value in columns:
        try:
            cell, tail = _encode_cell(type_, value, depth)
        except (struct.error, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ColumnError(
                f"row encoding: expected a value of type {type_!r}, got {type(value).__name__} (column {name!r})"
            ) from error
        cells.append(cell)
        tails.append(tail)
    return b"".join(cells + tails)


def _encode_cell(type_: JsonValue, value: Value, depth: int) -> tuple[bytes, bytes]:
    if value is None:
        return bytes(CELL_SIZE), b""
    if isinstance(value, NULL_STRUCT):
        return struct.pack("<BQ", NULL_STRUCT_TAG, value.depth), b""
    tag = tag_of(type_)
    if tag in _TAIL_TAGS:
        content = _encode_content(tag, type_, value, depth)
        return struct.pack("<BQ", tag, len(content)), content
    return bytes([tag]) + _encode_payload(tag, value), b""


def _encode_payload(tag: int, value: Value) -> bytes:
    if tag == FLOAT64:
        return NAN64 if value != value else struct.pack("<d", value)  # noqa: PLR0124  NaN differs from itself
    if tag == FLOAT32:
        return NAN32 if value != value else struct.pack("<f4x", value)  # noqa: PLR0124
    if tag == BOOL:
        if not isinstance(value, bool):
            raise TypeError
        return struct.pack("<?7x", value)
    return struct.pack("<q" if tag in _SIGNED_TAGS else "<Q", value)


def _encode_content(tag: int, type_: JsonValue, value: Value, depth: int) -> bytes:
    if tag == STRING:
        return value.encode()  # type: ignore[union-attr]
    if tag == BYTES:
        if not isinstance(value, bytes):
            raise TypeError
        return value
    if tag == DECIMAL:
        return _decimal_text(type_, value).encode()
    if not isinstance(type_, dict) or not isinstance(value, list):
        raise TypeError
    if tag == LIST:
        return _encode_cells([("item", type_["list"], item) for item in value], depth + 1)
    named = [(name, field, item) for (name, field), item in zip(_struct_fields(type_), value, strict=True)]
    return _encode_cells(sorted(named, key=_name_bytes), depth + 1)


def _decimal_text(type_: JsonValue, value: Value) -> str:
    if not isinstance(value, Decimal) or not value.is_finite() or not isinstance(type_, str):
        raise TypeError
    scale = int(type_[type_.index(",") + 1 : -1])
    text = f"{value:.{max(scale, 0)}f}"
    if Decimal(text) != value:
        raise ValueError
    return text.removeprefix("-") if value == 0 else text


def decode_row(data: bytes) -> list[Value]:
    """Decode a row into its values, in byte order of the column names.

    Decimals come back as `Decimal`, structs inside lists as lists of their fields' values in byte order of the field
    names, times as integers.

    Raises:
        FormatError: Not a row in its one canonical form.
    """
    if data[:4] != MAGIC:
        raise FormatError("row encoding: expected magic 'BR' version 1")
    return _decode_cells(data[4:], 0)


def _decode_cells(data: bytes, depth: int) -> list[Value]:
    if len(data) < 4 or depth > NESTING_DEPTH_MAX:  # noqa: PLR2004  the count's size
        raise FormatError("row encoding: truncated or nested too deep")
    (count,) = struct.unpack_from("<I", data)
    at = 4 + CELL_SIZE * count
    if at > len(data):
        raise FormatError(f"row encoding: {count} cells do not fit {len(data)} bytes")
    if depth == 0 and count > COLUMN_COUNT_MAX:
        raise FormatError(f"row encoding: expected at most {COLUMN_COUNT_MAX} columns, got {count}")
    values: list[Value] = []
    for index in range(count):
        start = 4 + CELL_SIZE * index
        tag, payload = data[start], data[start + 1 : start + CELL_SIZE]
        if tag == (NULL_STRUCT_TAG if depth else STRUCT):  # a struct flattens outside lists and stays one inside
            raise FormatError(f"row encoding: a cell of tag 0x{tag:02x} cannot be here (cell {index})")
        if tag in _TAIL_TAGS:
            (length,) = struct.unpack("<Q", payload)
            if length > len(data) - at:
                raise FormatError(f"row encoding: content of {length} bytes does not fit (cell {index})")
            values.append(_decode_content(tag, data[at : at + length], depth))
            at += length
        else:
            values.append(_decode_payload(tag, payload))
    if at != len(data):
        raise FormatError(f"row encoding: {len(data) - at} bytes after the last cell's content")
    return values


def _decode_payload(tag: int, payload: bytes) -> Value:
    if tag in _SIGNED_TAGS:
        return int.from_bytes(payload, "little", signed=True)
    number = int.from_bytes(payload, "little")
    if tag == UINT:
        return number
    if tag == FLOAT64:
        (double,) = struct.unpack("<d", payload)
        if double == double or payload == NAN64:  # noqa: PLR0124  NaN differs from itself
            return float(double)
    elif tag == FLOAT32 and payload[4:] == bytes(4):
        (single,) = struct.unpack("<f4x", payload)
        if single == single or payload == NAN32:  # noqa: PLR0124
            return float(single)
    elif tag == BOOL and number in {0, 1}:
        return bool(number)
    elif tag == NULL and number == 0:
        return None
    elif tag == NULL_STRUCT_TAG and number <= NESTING_DEPTH_MAX:
        return NULL_STRUCT(number)
    raise FormatError(f"row encoding: not a canonical cell (tag 0x{tag:02x})")


def _decode_content(tag: int, content: bytes, depth: int) -> Value:
    if tag == BYTES:
        return content
    if tag in {LIST, STRUCT}:
        values = _decode_cells(content, depth + 1)
        if tag == LIST and len(set(content[4 : 4 + CELL_SIZE * len(values) : CELL_SIZE]) - {NULL}) > 1:
            raise FormatError("row encoding: a list holds values of more than one type")
        return values
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise FormatError("row encoding: a text is not UTF-8") from error
    if tag == STRING:
        return text
    if not _DECIMAL.fullmatch(text) or (text.startswith("-") and not text.strip("-0.")):
        raise FormatError("row encoding: not a canonical decimal")
    return Decimal(text)
