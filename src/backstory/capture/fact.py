"""Recording facts: on disk before whoever made them goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from backstory.capture.recorder import Batch, Recorder
from backstory.columns.arrow_type import arrow_type
from backstory.errors import ColumnError
from backstory.records import canonical
from backstory.records.envelope import ENVELOPE, OK
from backstory.records.fact import FactKind
from backstory.storage.blobs import BlobStore


def record_facts(recorder: Recorder, blobs: BlobStore, kind: FactKind, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Record facts of one kind, durably.

    Args:
        recorder: Where they go.
        blobs: Where their context is kept.
        kind: Their kind.
        rows: Their values by column; a column that is not there is null.

    Returns:
        Their ids.

    Raises:
        ColumnError: A value is not of its column's type, or there is no such column.
        StorageError: They could not be written, or not be made durable.
    """
    columns = kind.schema.columns[len(ENVELOPE) :]
    named = {name for row in rows for name in row}
    unknown = named - {column.name for column in columns}
    if unknown:
        raise ColumnError(f"{kind.kind}: expected columns of its kind, got {', '.join(sorted(unknown))}")
    arrays = {}
    for column in columns:
        type_ = arrow_type(column.type)
        try:
            is_said = column.name in named
            arrays[column.name] = (
                pa.array([row.get(column.name) for row in rows], type_) if is_said else pa.nulls(len(rows), type_)
            )
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise ColumnError(f"{kind.kind}: expected values of type {column.type} in {column.name}") from None
    recorded = recorder.record(
        Batch(
            schema=kind.schema,
            context=blobs.put(canonical.encode({"kind": kind.kind, "v": 1})),
            status=OK,
            error=None,
            request_id=None,
            body=pa.table(arrays),
        )
    )
    recorder.sync_kind(kind.schema)
    return [] if recorded is None else list(recorded.ids)
