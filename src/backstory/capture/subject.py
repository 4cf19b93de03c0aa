"""Ids of people and requests, as text: an id must come back as it was given, so nothing is guessed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from numbers import Integral
from typing import Any, TypeAlias
from uuid import UUID

import pyarrow as pa

from backstory.errors import AlignmentError, InputError

Id: TypeAlias = str | int | UUID
"""What may name a person or a request; recorded as text."""


def text_of_id(value: object, what: str) -> str | None:
    """Return the id of a person or a request as text; None for none.

    Args:
        value: Text, a whole number (also NumPy's), or a UUID.
        what: What it is the id of, for the error message.

    Raises:
        InputError: It is something else, or text that is no Unicode.
    """
    if value is None:
        return None
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{what}: expected text, a whole number or a UUID, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{what}: expected Unicode text, got a lone surrogate") from None
    return str.__str__(value)  # of a text that is also something else, such as a member of an enumeration


def subject_column(subject: Any, rows: int) -> pa.Array:  # noqa: ANN401  one id or an array of them
    """Return one subject a row, as text; null where a row is about nobody. See `id_column`."""
    return id_column(subject, rows, "subject")


def refuse_column_name(subject: object, names: Collection[str]) -> None:
    """Refuse the name of a column where the ids of people belong: every row would be about one person of that name.

    Raises:
        InputError: A subject is such a name.
    """
    if isinstance(subject, str) and subject in names:
        raise InputError(
            f"subject: expected an id, or one a row, got the name of a column; pass the column: frame[{subject!r}]"
        )


def id_column(ids: Any, rows: int, what: str) -> pa.Array:  # noqa: ANN401  one id or an array of them
    """Return one id a row, as text; null where there is none.

    Args:
        ids: One id for all rows, or an array of them with one a row.
        rows: Number of rows.
        what: What they are ids of, for the error message.

    Raises:
        InputError: The ids are neither text nor whole numbers.
        AlignmentError: Their number is another than that of the rows.
    """
    if isinstance(ids, str | Integral | UUID):
        return pa.repeat(pa.scalar(text_of_id(ids, what), pa.large_string()), rows)
    if isinstance(ids, list | tuple):
        ids = [str(one) if isinstance(one, UUID) else one for one in ids]
    if isinstance(ids, bytes | bytearray | Mapping | AbstractSet):  # Arrow takes bytes for a list of numbers
        raise InputError(f"{what}s: expected texts or whole numbers, got {type(ids).__name__}")
    try:
        values = ids.to_arrow() if hasattr(ids, "to_arrow") else pa.array(ids, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise InputError(f"{what}s: expected texts or whole numbers, got {type(ids).__name__}") from None
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"{what}s: expected texts or whole numbers, got {kind}; numbers with missing ones need a nullable type"
        )
    if len(values) != rows:
        raise AlignmentError(f"{what}s: expected one or {rows}, got {len(values)}")
    return values.cast(pa.large_string())
