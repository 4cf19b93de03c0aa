"""Whom records are about, as text: an id must come back as it was given, so nothing is guessed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from backstory.errors import AlignmentError, InputError


def subject_column(subject: Any, rows: int) -> pa.Array:  # noqa: ANN401  one id or an array of them
    """Return one subject a row, as text; null where a row is about nobody.

    Args:
        subject: One text or whole number for all rows, or an array of them with one a row.
        rows: Number of rows.

    Raises:
        InputError: The ids are neither text nor whole numbers.
        AlignmentError: Their number is another than that of the rows.
    """
    if isinstance(subject, str | int) and not isinstance(subject, bool):
        return pa.repeat(pa.scalar(str(subject), pa.large_string()), rows)
    try:
        values = subject.to_arrow() if hasattr(subject, "to_arrow") else pa.array(subject, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"subjects: expected texts or whole numbers, got {type(subject).__name__}") from error
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"subjects: expected texts or whole numbers, got {kind}; numbers with missing ones need a nullable type"
        )
    if len(values) != rows:
        raise AlignmentError(f"subjects: expected one or {rows}, got {len(values)}")
    return values.cast(pa.large_string())
