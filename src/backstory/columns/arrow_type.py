"""From Arrow types to logical types, and from nested tables to flat columns.

A logical type forgets what does not belong to the data: units, offset widths, dictionary and run-end encoding. Struct
columns become their fields, with escaped dotted names. See docs/format.md sections 2 and 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import ColumnError
from backstory.records.canonical import JsonValue
from backstory.records.schema import escape_name

_DIRECT: dict[pa.DataType, str] = {
    pa.null(): "null",
    pa.bool_(): "bool",
    pa.int8(): "int8",
    pa.int16(): "int16",
    pa.int32(): "int32",
    pa.int64(): "int64",
    pa.uint8(): "uint8",
    pa.uint16(): "uint16",
    pa.uint32(): "uint32",
    pa.uint64(): "uint64",
    pa.float16(): "float16",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.string(): "string",
    pa.large_string(): "string",
    pa.string_view(): "string",
    pa.binary(): "bytes",
    pa.large_binary(): "bytes",
    pa.binary_view(): "bytes",
    pa.date32(): "date",
    pa.date64(): "date",
}

_DECIMAL128_PRECISION = 38
_RECORDED: dict[str, pa.DataType] = {
    **{name: type_ for type_, name in _DIRECT.items()},
    "string": pa.large_string(),
    "bytes": pa.large_binary(),
    "date": pa.date32(),
    "time": pa.time64("ns"),
    "duration": pa.duration("ns"),
    "timestamp": pa.timestamp("ns"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatColumn:
    """One leaf column of a table.

    Attributes:
        name: Flattened, escaped name.
        type: Logical type as JSON.
        values: The values; no dictionary, run-end or struct type.
        null_struct: For each row the depth of the outermost null struct, −1 where there is none; None without structs.
    """

    name: str
    type: JsonValue
    values: pa.Array
    null_struct: np.ndarray | None = None


def logical_type(type_: pa.DataType, name: str) -> JsonValue:  # noqa: C901  one branch a family of types
    """Return the logical type of an Arrow type.

    Args:
        type_: Arrow type, not a struct outside a list.
        name: The column, for the error message.

    Raises:
        ColumnError: The type has no encoding.
    """
    direct = _DIRECT.get(type_)
    if direct is not None:
        return direct
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return logical_type(type_.value_type, name)
    if pa.types.is_timestamp(type_):
        return "timestamp" if type_.tz is None else f"timestamp[{type_.tz}]"
    if pa.types.is_time(type_):
        return "time"
    if pa.types.is_duration(type_):
        return "duration"
    if pa.types.is_fixed_size_binary(type_):
        return "bytes"
    if pa.types.is_decimal(type_):
        return f"decimal({type_.precision},{type_.scale})"
    if pa.types.is_map(type_):
        return {"list": _struct_type([("key", type_.key_type), ("value", type_.item_type)], name)}
    if _is_list(type_):
        return {"list": logical_type(type_.value_type, name)}
    if pa.types.is_struct(type_):
        return _struct_type([(field.name, field.type) for field in type_], name)
    raise ColumnError(f"row encoding: no encoding for Arrow type {type_} (column {name!r})")


def arrow_type(type_: JsonValue) -> pa.DataType:
    """Return the one Arrow type in which values of a logical type are recorded.

    Raises:
        ColumnError: There is no such logical type.
    """
    if isinstance(type_, str):
        if type_ in _RECORDED:
            return _RECORDED[type_]
        if type_.startswith("timestamp["):
            return pa.timestamp("ns", type_[len("timestamp[") : -1])
        if type_.startswith("decimal("):
            precision, _, scale = type_[len("decimal(") : -1].partition(",")
            make = pa.decimal128 if int(precision) <= _DECIMAL128_PRECISION else pa.decimal256
            return make(int(precision), int(scale))
    elif isinstance(type_, dict) and "list" in type_:
        return pa.large_list(arrow_type(type_["list"]))
    elif isinstance(type_, dict) and isinstance(type_.get("struct"), list):
        return pa.struct([(f["name"], arrow_type(f["type"])) for f in type_["struct"]])  # type: ignore[index,union-attr,call-overload]
    raise ColumnError(f"table: no logical type {type_!r}")


def _struct_type(fields: list[tuple[str, pa.DataType]], name: str) -> JsonValue:
    names = [field for field, _ in fields]
    if not fields or len(set(names)) != len(names):
        raise ColumnError(f"row encoding: a struct needs fields with distinct names (column {name!r})")
    return {"struct": [{"name": field, "type": logical_type(type_, name)} for field, type_ in fields]}


def _is_list(type_: pa.DataType) -> bool:
    tests = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_fixed_size_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(test(type_) for test in tests)


def flat_fields(schema: pa.Schema) -> list[tuple[str, JsonValue]]:
    """Return flattened names and logical types of a table's columns, in table order.

    Raises:
        ColumnError: A doubled name or a type without encoding.
    """
    fields: list[tuple[str, JsonValue]] = []

    def walk(name: str, type_: pa.DataType) -> None:
        if pa.types.is_struct(type_):
            _struct_type([(field.name, field.type) for field in type_], name)
            for field in type_:
                walk(f"{name}.{escape_name(field.name)}", field.type)
        else:
            fields.append((name, logical_type(type_, name)))

    for field in schema:
        walk(escape_name(field.name), field.type)
    names = [name for name, _ in fields]
    if len(set(names)) != len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise ColumnError(f"table: expected distinct column names, got {doubled!r} more than once")
    return fields


def flatten(table: pa.Table) -> list[FlatColumn]:
    """Return the leaf columns of a table, in table order, decoded and unchunked.

    Raises:
        ColumnError: A doubled name or a type without encoding.
    """
    types = dict(flat_fields(table.schema))
    return [
        FlatColumn(name=name, type=types[name], values=decoded(values), null_struct=null_struct)
        for field, column in zip(table.schema, table.columns, strict=True)
        for name, values, null_struct in _leaves(escape_name(field.name), unchunked(column), None, 0)
    ]


def _leaves(
    name: str, values: pa.Array, null_struct: np.ndarray | None, depth: int
) -> Iterator[tuple[str, pa.Array, np.ndarray | None]]:
    """Yield the columns a column flattens to. No function within another: one that calls itself would hold the data."""
    if not pa.types.is_struct(values.type):
        yield name, values, null_struct
        return
    marks = null_struct
    if values.null_count:
        outer = np.full(len(values), -1, dtype=np.int64) if null_struct is None else null_struct
        null = pc.is_null(values).to_numpy(zero_copy_only=False)
        marks = np.where((outer < 0) & null, depth, outer)
    for field in values.type:
        part = pc.struct_field(values, [field.name])  # a bare name that begins with a dot would be taken for a path
        yield from _leaves(f"{name}.{escape_name(field.name)}", part, marks, depth + 1)


def is_text(type_: pa.DataType) -> bool:
    """Return whether a type is text."""
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def unchunked(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks() if column.num_chunks else pa.array([], type=column.type)


def decoded(values: pa.Array) -> pa.Array:
    """Return the values without dictionary or run-end encoding."""
    if pa.types.is_dictionary(values.type):
        dictionary = values.dictionary
        if dictionary.type in {pa.string_view(), pa.binary_view()}:  # which have no kernel for `take`
            dictionary = dictionary.cast(
                pa.large_string() if dictionary.type == pa.string_view() else pa.large_binary()
            )
        return decoded(dictionary.take(values.indices))
    if pa.types.is_run_end_encoded(values.type):
        return decoded(pc.run_end_decode(values))
    return values
