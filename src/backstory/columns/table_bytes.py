"""A table as bytes on its way to another process and back: Arrow's stream format. What is kept is written elsewhere."""

from __future__ import annotations

import pyarrow as pa


def table_bytes(table: pa.Table) -> bytes:
    """Return a table as Arrow's stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def read_table(data: bytes) -> pa.Table:
    """Return the table of an Arrow stream."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()
