"""What turned out later about predictions, as records of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import pyarrow as pa

from backstory.capture.plain import array_of_one, plain_value
from backstory.capture.recorder import Batch
from backstory.columns.arrow_type import arrow_type, logical_type
from backstory.errors import ColumnError, InputError
from backstory.records import canonical
from backstory.records.classification import NO_CLASSES, Classes
from backstory.records.envelope import OK, outcome_schema
from backstory.storage.blobs import BlobStore


def one_outcome_each(values: Any, count: int) -> list[Any]:  # noqa: ANN401  anything a caller takes for a list
    """Return the values given for a list of predictions, one for each.

    Raises:
        InputError: They are no list, array or column, or more or fewer.
    """
    # A frame is iterated by its columns, a set in any order.
    is_other = isinstance(values, str | bytes | bytearray | Mapping | AbstractSet) or hasattr(values, "columns")
    listed: list[Any] | None = None
    if isinstance(values, pa.Array | pa.ChunkedArray):  # whose items are no values of Python
        listed = values.to_pylist()
    elif not is_other:
        with contextlib.suppress(TypeError):
            listed = list(values)
    if listed is None:
        raise InputError(
            "outcome: expected a list, an array or a column of values for several predictions, "
            f"got {type(values).__name__}"
        )
    if len(listed) != count:
        raise InputError(f"outcome: expected one value for each of {count} predictions, got {len(listed)}")
    return listed


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


def outcome_batch(
    blobs: BlobStore,
    predictions: Sequence[bytes],
    values: pa.Array,
    *,
    sealed: bool,
    classes: Classes = NO_CLASSES,
    corrects: bytes | None = None,
) -> Batch:
    """Return the records of outcomes.

    Args:
        blobs: Where their context is kept.
        predictions: Ids of the predictions, 16 bytes each.
        values: One value for each.
        sealed: Whether the predictions are about people.
        classes: What people confirmed of the predictions' columns.
        corrects: Id of the outcome that a single one corrects.
    """
    type_ = logical_type(values.type, "value")
    links = {"of": pa.array(predictions, pa.large_binary())}
    if corrects is not None:
        links["corrects"] = pa.array([corrects], pa.large_binary())
    body = pa.table({**links, "value": values.cast(arrow_type(type_))})
    return Batch(
        schema=outcome_schema(type_, sealed=sealed, classes=classes, corrects=corrects is not None),
        context=blobs.put(canonical.encode({"kind": "outcome", "v": 1})),
        status=OK,
        error=None,
        request_id=None,
        body=body,
    )
