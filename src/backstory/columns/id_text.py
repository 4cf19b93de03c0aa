"""The text of many ids at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import decoded, unchunked
from backstory.errors import InputError
from backstory.records.identity import ID_SIZE

_DASHES = (8, 13, 18, 23)
_TEXT_SIZE = 36


def id_texts(ids: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the text of ids, 36 characters each.

    Args:
        ids: Binary values of 16 bytes without nulls.
    """
    data = b"".join(ids.to_pylist())
    digits = np.frombuffer(data.hex().encode(), np.uint8).reshape(-1, 2 * ID_SIZE)
    text = np.full((len(digits), _TEXT_SIZE), ord("-"), np.uint8)
    text[:, [at for at in range(_TEXT_SIZE) if at not in _DASHES]] = digits
    offsets = np.arange(len(digits) + 1, dtype=np.int32) * _TEXT_SIZE
    return pa.StringArray.from_buffers(len(digits), pa.py_buffer(offsets), pa.py_buffer(text))


def subject_texts(ids: pa.ChunkedArray) -> set[str]:
    """Return the distinct ids of people in a column as text, as those given with a prediction; nulls are none.

    Raises:
        InputError: They are neither texts nor whole numbers.
    """
    return set(subject_column(ids).unique().drop_null().to_pylist())


def subject_column(ids: pa.ChunkedArray) -> pa.Array:
    """Return the ids of people in a column as text; a null stays one.

    Raises:
        InputError: They are neither texts nor whole numbers.
    """
    values = decoded(unchunked(ids))
    kind = values.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"subjects: expected texts or whole numbers, got {kind}; numbers with missing ones need a nullable type"
        )
    return values.cast(pa.large_string())
