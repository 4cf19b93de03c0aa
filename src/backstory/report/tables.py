"""Records as Parquet for whoever reads a bundle with a program: one file for each schema, written part by part."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backstory.columns.id_text import id_texts
from backstory.columns.seal import merge_columns, pick_columns
from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed import open_rows
from backstory.records.limits import ROW_GROUP_ROWS
from backstory.records.manifest import Manifest
from backstory.report.selection import Selection


def tables_of(ledger: Ledger, selection: Selection, opened: Collection[str] | None) -> Iterator[Iterator[pa.Table]]:
    """Yield the records, part by part for each schema in the order the log has them.

    Args:
        ledger: The archive.
        selection: The records.
        opened: Sealed groups to show, None for all; whether they may be shown is the caller's question.

    Raises:
        VerificationError: A segment or its sealed values were changed.
        NotFoundError: Sealed values were erased.
    """
    for digest in dict.fromkeys(manifest.schema for _, manifest, _ in selection.parts):
        parts = [(manifest, rows) for _, manifest, rows in selection.parts if manifest.schema == digest]
        yield (table for manifest, rows in parts for table in _tables(ledger, manifest, rows, opened))


def write_parquet_file(tables: Iterator[pa.Table], file: BinaryIO) -> None:
    """Write tables of one schema, of which there is one at least, into a file."""
    first = next(tables)
    with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table.cast(first.schema))


def _tables(ledger: Ledger, manifest: Manifest, rows: np.ndarray, opened: Collection[str] | None) -> Iterator[pa.Table]:
    """Yield some rows of a segment, as many at a time as its file has in a row group."""
    schema = ledger.schema(manifest.schema)
    reader = ledger.segment(manifest, checked=True)
    shown = [column.name for column in schema.columns if _is_shown(column.group, opened)]
    groups = rows // ROW_GROUP_ROWS
    with_sealed = len(shown) > len(schema.open_columns) and manifest.shard is not None
    for group in np.unique(groups).tolist():
        table = reader.read_groups([group])
        if with_sealed:
            table = merge_columns(table, open_rows(ledger, manifest, group * ROW_GROUP_ROWS, table))
        taken = table.take(rows[groups == group] - group * ROW_GROUP_ROWS)
        yield _for_readers(pick_columns(taken, shown))


def _is_shown(group: str | None, opened: Collection[str] | None) -> bool:
    return group is None or opened is None or group in opened


def _for_readers(table: pa.Table) -> pa.Table:
    """Return a table with ids as text, and digests in hex."""
    table = table.set_column(table.column_names.index("id"), "id", id_texts(table["id"]))
    for name in ("stream", "context"):
        texts = pa.array([value.hex() for value in table[name].to_pylist()], pa.string())
        table = table.set_column(table.column_names.index(name), name, texts)
    return table
