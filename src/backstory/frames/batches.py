"""Anything that yields rows, as Arrow tables one after the other: frames, streams, files.

Parquet and Arrow files are read some rows at a time. Of CSV and JSON lines only the last row shows what the types of
the columns are, so a file of these is read whole, as `source` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from backstory.errors import InputError, NotFoundError
from backstory.frames.file_format import format_of, typed
from backstory.frames.files import read_path
from backstory.frames.read_options import ReadOptions, read_options, require_known
from backstory.frames.table import kind_of, to_arrow

_BATCH_ROWS: Final = 1 << 13
_BUFFER_BYTES: Final = 1 << 20
_ARROW_SUFFIXES: Final = frozenset({".arrow", ".feather", ".ipc"})
_FRAMES: Final = frozenset({"arrow", "arrow-batch", "pandas", "polars"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Rows that come table by table, once.

    Attributes:
        schema: Their Arrow schema.
        tables: The tables.
    """

    schema: pa.Schema
    tables: Iterator[pa.Table]


def batches_of(data: Any, read: Mapping[str, Any] | None = None) -> Batches:
    """Return the rows of anything that has some, without holding more of them than the giver does.

    Args:
        data: A frame `to_arrow` knows; a file or a directory of files, by its path; what exports an Arrow stream, such
            as a relation of DuckDB or a reader of batches; or tables or batches, one after the other.
        read: How a file is to be read, as in `source`.

    Raises:
        ColumnError: A column that is asked for is missing, or its cells are not of the type asked for.
        InputError: It has no rows that can be read, or an option is not for it.
        NotFoundError: There is no such file.
        StorageError: A file cannot be read.
    """
    options = read_options(read)
    if isinstance(data, str | Path):
        return _of_file(Path(data), options)
    require_known(options, (), "what is no file")
    if isinstance(data, list | tuple) and data and isinstance(data[0], pa.Table | pa.RecordBatch):
        data = iter(data)
    if isinstance(data, Iterator) and not hasattr(data, "__arrow_c_stream__"):
        return _of_iterator(data)
    if _is_stream(data):
        try:
            reader = pa.RecordBatchReader.from_stream(data)
        except pa.ArrowException:
            raise InputError(f"reading rows: expected a table, got a {type(data).__name__}") from None
        return Batches(schema=reader.schema, tables=_tables(reader, reader.schema))
    table = to_arrow(data)
    return Batches(schema=table.schema, tables=iter([table]))


def _is_stream(data: object) -> bool:
    """Say whether it gives rows as an Arrow stream and is no frame, whose missing values `to_arrow` knows."""
    if not hasattr(data, "__arrow_c_stream__"):
        return False
    try:
        return kind_of(data) not in _FRAMES
    except InputError:
        return True


def _tables(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    return (pa.Table.from_batches([batch], schema) for batch in batches)


def _of_iterator(data: Iterator[Any]) -> Batches:
    first = next(data, None)
    if first is None:
        raise InputError("reading rows: expected at least one table or batch, got none")
    table = _table(first)

    def tables() -> Iterator[pa.Table]:
        yield table
        yield from map(_table, data)

    return Batches(schema=table.schema, tables=tables())


def _table(one: Any) -> pa.Table:
    if not isinstance(one, pa.Table | pa.RecordBatch):
        raise InputError(f"reading rows: expected tables or batches, got {type(one).__name__}")
    return to_arrow(one)


def _of_file(path: Path, options: ReadOptions) -> Batches:
    is_arrow = path.suffix.lower() in _ARROW_SUFFIXES
    if not path.is_file() or not (is_arrow or format_of(path.name) == ("parquet", None)):
        if not path.exists():
            raise NotFoundError(f"reading {path.name}: no such file (in {path.parent})")
        table, _ = read_path(path, options)
        return Batches(schema=table.schema, tables=iter([table]))
    require_known(options, () if is_arrow else ("columns", "types"), "Arrow" if is_arrow else "Parquet")
    kind = "Arrow" if is_arrow else "Parquet"
    try:
        schema, batches = _arrow(path) if is_arrow else _parquet(path, options)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"reading {path.name}: its bytes are not {kind} ({type(error).__name__})") from None
    schema = typed(schema.empty_table(), options, path.name).schema

    def tables() -> Iterator[pa.Table]:
        try:
            for batch in batches:
                yield typed(pa.Table.from_batches([batch]), options, path.name)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"reading {path.name}: its rows do not decode ({type(error).__name__})") from None

    return Batches(schema=schema, tables=tables())


def _parquet(path: Path, options: ReadOptions) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES)
    columns = list(options.columns) or None
    return file.schema_arrow, file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False)


def _arrow(path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    source = pa.memory_map(str(path))
    try:
        file = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        reader = pa.ipc.open_stream(source)
        return reader.schema, iter(reader)
    return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
