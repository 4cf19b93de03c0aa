"""Writing an answer of any length to a file, a piece at a time: Parquet, CSV or JSON lines, by the file's ending."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from backstory.errors import InputError
from backstory.storage.disk import Disk

_TIME = "%Y-%m-%dT%H:%M:%SZ"
"""RFC 3339; the seconds have nine digits behind the point."""


def export_tables(disk: Disk, path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Write tables of one schema to a file, which is there when all of it is, and return how many rows it has.

    Args:
        disk: Writes the file.
        path: By its ending Parquet (`.parquet`), CSV (`.csv`) or JSON lines (`.jsonl`, `.ndjson`).
        schema: The schema of the tables.
        tables: The tables.

    Raises:
        InputError: The name has another ending.
        StorageError: The file cannot be written.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        endings = ", ".join(_WRITERS)
        raise InputError(f"export: expected a file ending in one of {endings}, got {path.name!r}")
    count = 0

    def counted() -> Iterable[pa.Table]:
        nonlocal count
        for table in tables:
            count += table.num_rows
            yield table

    disk.write_with(path, lambda new: writer(new, schema, counted()), replace=True)
    return count


def _write_parquet(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def _write_csv(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    as_text = _as_text(schema.empty_table()).schema
    with closing(pacsv.CSVWriter(path, as_text)) as writer:
        for table in tables:
            writer.write_table(_as_text(table))


def _write_lines(path: Path, _: pa.Schema, tables: Iterable[pa.Table]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for table in tables:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in _as_text(table).to_pylist())


def _as_text(table: pa.Table) -> pa.Table:
    """Return a table with moments as text."""
    for index, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            texts = pc.strftime(table.column(index).cast(pa.timestamp(column.type.unit)), format=_TIME)
            table = table.set_column(index, column.name, texts)
    return table


_WRITERS: dict[str, Callable[[Path, pa.Schema, Iterable[pa.Table]], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".jsonl": _write_lines,
    ".ndjson": _write_lines,
}
