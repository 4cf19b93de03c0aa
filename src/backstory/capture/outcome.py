"""What turned out later about predictions, as records of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from backstory.capture.plain import array_of_one, plain_value
from backstory.capture.recorder import Batch
from backstory.columns.arrow_type import arrow_type, logical_type
from backstory.errors import ColumnError
from backstory.records import canonical
from backstory.records.envelope import OK, outcome_schema
from backstory.storage.blobs import BlobStore


def outcome_values(values: Iterable[Any]) -> pa.Array:
    """Return values as an array; a single one without an encoding becomes text, as a feature of that kind would.

    Raises:
        ColumnError: One is a dict, or they are of several types.
    """
    plain = [plain_value(value) for value in values]
    if any(isinstance(value, dict) for value in plain):
        raise ColumnError("outcome: expected a value or a list of values, got a dict; record one outcome for each")
    if len(plain) == 1:
        return array_of_one(plain[0])
    try:
        return pa.array(plain)
    except (pa.ArrowException, OverflowError):
        raise ColumnError("outcome: expected values of one type for several predictions, got others") from None


def outcome_batch(blobs: BlobStore, predictions: Sequence[bytes], values: pa.Array, *, sealed: bool) -> Batch:
    """Return the records of outcomes.

    Args:
        blobs: Where their context is kept.
        predictions: Ids of the predictions, 16 bytes each.
        values: One value for each.
        sealed: Whether the predictions are about people.
    """
    type_ = logical_type(values.type, "value")
    body = pa.table({"of": pa.array(predictions, pa.large_binary()), "value": values.cast(arrow_type(type_))})
    return Batch(
        schema=outcome_schema(type_, sealed=sealed),
        context=blobs.put(canonical.encode({"kind": "outcome", "v": 1})),
        status=OK,
        error=None,
        request_id=None,
        body=body,
    )
