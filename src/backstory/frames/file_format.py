"""What the bytes of a file mean as a table: CSV, Parquet and JSON lines, compressed or not.

Bytes come in, a table goes out; which file they are of is somebody else's business. Messages name columns and formats,
never values: the errors of pyarrow quote cells, so they are not chained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final, Literal, TypeAlias

import msgspec
import pyarrow as pa

from backstory.errors import ColumnError, InputError
from backstory.frames.read_options import ENCODING, ReadOptions, require_known
from backstory.frames.table import column_names, require_columns
from backstory.frames.whole_number import lost_in_csv, lost_in_json

Format: TypeAlias = Literal["csv", "parquet", "json"]

_FORMATS: Final[Mapping[str, Format]] = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".tsv": "csv",
}
_COMPRESSIONS: Final = {".bz2": "bz2", ".gz": "gzip", ".zst": "zstd"}
_OPTIONS: Final[Mapping[Format, tuple[str, ...]]] = {
    "csv": ("columns", "delimiter", "encoding", "names", "nulls", "pattern", "quote", "skip", "types"),
    "json": ("columns", "pattern", "types"),
    "parquet": ("columns", "pattern", "types"),
}
_TITLES: Final[Mapping[Format, str]] = {"csv": "CSV", "json": "JSON lines", "parquet": "Parquet"}
_JSON_BLOCK: Final = 16 << 20
"""Bytes of JSON that are read at a time: a line must fit into it."""
_CSV_CELLS: Final = re.compile(r"Expected (\d+) columns, got (\d+)")
_CSV_COLUMN: Final = re.compile(r"In CSV column #(\d+): .*? to ([a-z0-9_\[\](), ]+):")


def format_of(name: str) -> tuple[Format, str | None] | None:
    """Return the format and the compression that a file's name tells; None if it tells none.

    >>> format_of("june.csv.gz"), format_of("readme.txt")
    (('csv', 'gzip'), None)
    """
    path = PurePath(name.lower())
    compression = _COMPRESSIONS.get(path.suffix)
    found = _FORMATS.get(PurePath(path.stem).suffix if compression else path.suffix)
    return None if found is None else (found, compression)


def parse_table(data: bytes, name: str, options: ReadOptions) -> pa.Table:
    """Return the table that a file's bytes are.

    Args:
        data: Its bytes.
        name: Its name, which tells the format.
        options: How to read it.

    Raises:
        InputError: The name tells no format, the bytes are not of it, an option is not for it, or a whole number fits
            no type that was given or guessed.
        ColumnError: A column that is asked for is missing, or its cells are not of the type asked for.
    """
    known = format_of(name)
    if known is None:
        raise InputError(f"reading {name}: expected a name that ends in {', '.join(_FORMATS)}, or these with .gz")
    format_, compression = known
    require_known(options, _OPTIONS[format_], _TITLES[format_])
    lost, given = None, {column for column, _ in options.types}
    try:
        if format_ == "parquet":
            table = _parquet(data, compression, options)
        elif format_ == "csv":
            table = _csv(_opened(data, compression), name, options)
            lost = lost_in_csv(table, given, lambda texts: _csv(_opened(data, compression), name, options, texts))
        else:
            text = _opened(data, compression).read()
            table = _json(text, options)
            lost = lost_in_json(table, given, text)
    except (pa.ArrowException, OSError, ValueError, KeyError, msgspec.MsgspecError) as error:
        raise _refusal(error, name, _TITLES[format_], options) from None
    if lost is not None:
        type_ = "string" if format_ == "csv" else "decimal(38,0)"
        raise InputError(
            f"reading {name}: expected whole numbers that fit int64 in column {lost!r}, got some that would be "
            f"rounded; say what they are with read={{'types': {{{lost!r}: {type_!r}}}}} or the like"
        )
    if format_ == "csv":
        _require_text(table, name, options)
    return typed(table.replace_schema_metadata(None), options, name)


def typed(table: pa.Table, options: ReadOptions, where: str) -> pa.Table:
    """Return a table with the columns and types that were asked for.

    Args:
        table: A table as it was read.
        options: How it is to be read.
        where: What was read, for messages.

    Raises:
        ColumnError: A column is missing, or has values that are not of its type.
    """
    present = column_names(table)
    wanted = options.arrow_types()
    require_columns(present, [*options.columns] or present, where)
    require_columns(present, list(wanted), where)
    for name, type_ in wanted.items():
        column = table[name]
        if column.type != type_:
            try:
                table = table.set_column(table.column_names.index(name), name, _cast(column, type_))
            except (pa.ArrowException, ValueError):
                raise _wrong_type(name, type_, where) from None
    return table.select(list(options.columns)) if options.columns else table


def _cast(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    """Return a column as another type; a moment is a day only at midnight, whatever Arrow would make of it."""
    if not pa.types.is_date(type_) or pa.types.is_date(column.type):
        return column.cast(type_)
    moments = column.cast(pa.timestamp("ns")) if pa.types.is_large_string(column.type) else column
    days = moments.cast(type_)
    if pa.types.is_timestamp(moments.type) and not days.cast(moments.type).equals(moments):
        raise ValueError
    return days


def _opened(data: bytes, compression: str | None) -> Any:
    source = pa.BufferReader(data)
    return source if compression is None else pa.CompressedInputStream(source, compression)


def _csv(stream: Any, name: str, options: ReadOptions, types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    from pyarrow import csv

    given: dict[str, Any] = {"null_values": list(options.nulls)} if options.nulls else {}
    return csv.read_csv(
        stream,
        read_options=csv.ReadOptions(
            column_names=list(options.names) or None, skip_rows=options.skip, encoding=options.encoding or ENCODING
        ),
        parse_options=csv.ParseOptions(
            delimiter=options.delimiter or ("\t" if ".tsv" in PurePath(name.lower()).suffixes else ","),
            quote_char=options.quote or '"',
            newlines_in_values=True,
        ),
        # As in pandas the same texts mean "missing" in every column; Arrow would take them so in numbers only.
        convert_options=csv.ConvertOptions(
            strings_can_be_null=True,
            column_types={**options.arrow_types(), **(types or {})},
            include_columns=list(options.columns) or None,
            **given,
        ),
    )


def _require_text(table: pa.Table, name: str, options: ReadOptions) -> None:
    """Refuse text that is not in the encoding: Arrow gives its bytes instead.

    Raises:
        InputError: There is some, in a column that nobody asked for as bytes.
    """
    for field in table.schema:
        if pa.types.is_binary(field.type) and field.name not in dict(options.types):
            raise InputError(
                f"reading {name}: expected {options.encoding or ENCODING} in column {field.name!r}, got other bytes; "
                "give the encoding with read={'encoding': 'latin-1'} or the like"
            )


def _json(data: bytes, options: ReadOptions) -> pa.Table:
    from pyarrow import json

    # Texts are cast afterwards: what Arrow reads of JSON as a moment or a day is less than it casts.
    types = {
        name: pa.large_string() if pa.types.is_temporal(type_) else type_
        for name, type_ in options.arrow_types().items()
    }
    table = json.read_json(
        pa.BufferReader(data),
        read_options=json.ReadOptions(block_size=_JSON_BLOCK),
        parse_options=json.ParseOptions(explicit_schema=pa.schema(list(types.items())) if types else None),
    )
    if not types:
        return table
    # Arrow puts columns with a given type first, and makes those that are not there.
    first = list(msgspec.json.decode(data.lstrip().partition(b"\n")[0], type=dict))
    names = [name for name in table.column_names if name in first or table[name].null_count < table.num_rows]
    return table.select(sorted(names, key=lambda name: _place(name, first)))


def _place(name: str, names: list[str]) -> int:
    return names.index(name) if name in names else len(names)


def _parquet(data: bytes, compression: str | None, options: ReadOptions) -> pa.Table:
    from pyarrow import parquet

    if compression is not None:
        data = pa.CompressedInputStream(pa.BufferReader(data), compression).read()
    file = parquet.ParquetFile(pa.BufferReader(data))
    columns = options.columns
    if columns:
        require_columns(file.schema_arrow.names, columns, "the file")
    return file.read(columns=list(columns) or None)


def _refusal(error: Exception, name: str, title: str, options: ReadOptions) -> InputError:
    """Return what is wrong with a file, without the cell that pyarrow quotes."""
    found = _CSV_COLUMN.search(str(error))
    if found and options.types:
        column = f"column {int(found[1]) + 1} of the file"
        return ColumnError(f"reading {name}: expected cells of type {found[2]} in {column}, got another")
    text = str(error)
    cells = _CSV_CELLS.search(text)
    if cells:
        return InputError(f"reading {name}: expected {cells[1]} cells in each line, got {cells[2]} in one")
    if "Empty" in text:
        return InputError(f"reading {name}: expected {title}, got an empty file")
    if isinstance(error, KeyError) or "in include_columns" in text:
        return ColumnError(f"reading {name}: a column that is asked for is not in the file")
    return InputError(f"reading {name}: its bytes are not {title} as it is to be read ({type(error).__name__})")


def _wrong_type(name: str, type_: pa.DataType, where: str) -> ColumnError:
    return ColumnError(f"column of another type: expected {type_} in {name!r}, got values that are not ({where})")
