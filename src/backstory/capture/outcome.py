"""What turned out later about a prediction, as a record of its own."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from backstory.capture.recorder import Batch
from backstory.columns.arrow_type import arrow_type, logical_type
from backstory.errors import ColumnError
from backstory.records import canonical
from backstory.records.envelope import OK, outcome_schema
from backstory.storage.blobs import BlobStore


def outcome_batch(blobs: BlobStore, prediction: bytes, value: Any, *, sealed: bool) -> Batch:  # noqa: ANN401
    """Return the record of an outcome.

    Args:
        blobs: Where its context is kept.
        prediction: Id of the prediction, 16 bytes.
        value: Any value with an encoding.
        sealed: Whether the prediction is about a person.

    Raises:
        ColumnError: The value has no encoding.
    """
    try:
        values = pa.array([value])
    except (pa.ArrowException, TypeError) as error:
        raise ColumnError(f"outcome: a value of type {type(value).__name__} has no encoding") from error
    if pa.types.is_struct(values.type):
        raise ColumnError("outcome: expected a value or a list of values, got a dict; record one outcome for each")
    type_ = logical_type(values.type, "value")
    body = pa.table({"of": pa.array([prediction], pa.large_binary()), "value": values.cast(arrow_type(type_))})
    return Batch(
        schema=outcome_schema(type_, sealed=sealed),
        context=blobs.put(canonical.encode({"kind": "outcome", "v": 1})),
        status=OK,
        error=None,
        request_id=None,
        body=body,
    )
