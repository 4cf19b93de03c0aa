"""Tables of records before they are sealed: the envelope's Arrow types, and rows of plain values made into columns.

A record that was captured alone is a MessagePack array of its values; see docs/format.md section 15.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import arrow_type
from backstory.errors import FormatError
from backstory.records.envelope import ENVELOPE
from backstory.records.identity import ID_SIZE
from backstory.records.schema import Schema, split_name

_DIGEST_SIZE = 32
_ENVELOPE_TYPES = {
    "id": pa.binary(ID_SIZE),
    "time": pa.timestamp("ns", "UTC"),
    "status": pa.string(),
    "error": pa.string(),
    "context": pa.binary(_DIGEST_SIZE),
    "request_id": pa.string(),
}
ROW_ENVELOPE = tuple(_ENVELOPE_TYPES)
"""Columns of the envelope that stand in a row; the others follow from where the row is."""

_decode = msgspec.msgpack.Decoder(list[list[Any]]).decode


def envelope_columns(
    stream: str, kind: str, first_seq: int, given: dict[str, pa.Array], batch_row: pa.Array, batch_rows: pa.Array
) -> dict[str, pa.Array]:
    """Return the columns of the envelope in their order.

    Args:
        stream: The stream, in hex.
        kind: Kind of record.
        first_seq: Sequence number of the first row.
        given: The columns of `ROW_ENVELOPE`.
        batch_row: Position of each row in its call.
        batch_rows: Rows of that call.
    """
    rows = len(batch_row)
    columns = {
        **given,
        "stream": pa.repeat(pa.scalar(bytes.fromhex(stream), pa.binary(ID_SIZE)), rows),
        "seq": pa.array(np.arange(first_seq, first_seq + rows, dtype=np.uint64)),
        "kind": pa.repeat(kind, rows),
        "batch_row": batch_row,
        "batch_rows": batch_rows,
    }
    return {column.name: columns[column.name] for column in ENVELOPE}


def table_of_rows(schema: Schema, stream: str, first_seq: int, count: int, data: bytes) -> pa.Table:
    """Return rows of plain values as a table of records.

    Args:
        schema: Their schema.
        stream: Their stream, in hex.
        first_seq: Sequence number of the first.
        count: How many there are.
        data: A MessagePack array of arrays: the values of `ROW_ENVELOPE`, then of the schema's other columns.

    Raises:
        FormatError: It is not such an array.
    """
    where = f"stream {stream}, seq {first_seq}"
    others = schema.columns[len(ENVELOPE) :]
    try:
        columns = list(zip(*_decode(data), strict=True))
        arrays = [
            pa.array(values, type_)
            for values, type_ in zip(
                columns, [*_ENVELOPE_TYPES.values(), *(arrow_type(column.type) for column in others)], strict=True
            )
        ]
    except (msgspec.DecodeError, pa.ArrowException, TypeError, ValueError, OverflowError, RecursionError):
        raise FormatError(f"spool: rows are not those of their schema ({where})") from None  # it quotes values
    if len(arrays[0]) != count:
        raise FormatError(f"spool: expected {count} records, got {len(arrays[0])} rows ({where})")
    single = pa.repeat(pa.scalar(0, pa.uint32()), count), pa.repeat(pa.scalar(1, pa.uint32()), count)
    given = dict(zip(ROW_ENVELOPE, arrays, strict=False))
    envelope = envelope_columns(stream, schema.kind, first_seq, given, *single)
    named = zip((column.name for column in others), arrays[len(ROW_ENVELOPE) :], strict=True)
    return pa.table({**envelope, **_nested(dict(named))})


def _nested(columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Put columns with dotted names into structs."""
    parts: dict[str, dict[str, pa.Array]] = {}
    for name, values in columns.items():
        top, *rest = split_name(name)
        parts.setdefault(top, {})[rest[0] if rest else ""] = values
    return {
        top: fields[""] if "" in fields else pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
        for top, fields in parts.items()
    }
