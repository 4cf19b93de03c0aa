"""Ids of requests: clients choose them and they stand in clear on every record, so they have a greatest length."""

from __future__ import annotations

from numbers import Integral
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from backstory.capture.subject import id_column, text_of_id
from backstory.errors import InputError
from backstory.records.limits import REQUEST_ID_MAX

_CUT = "…"


def checked_request_id(request_id: object) -> str | None:
    """Return the id a program gives, as text.

    Raises:
        InputError: It is too long, or none that `text_of_id` takes.
    """
    text = text_of_id(request_id, "request id")
    if text is not None:
        _insist_short(len(text))
    return text


def request_ids(request_id: Any, rows: int) -> str | pa.Array | None:  # noqa: ANN401  one id or an array of them
    """Return the id a program gives for all rows of a call, or one a row, as text.

    Raises:
        InputError: One is too long, or none that `text_of_id` takes.
        AlignmentError: There are more or fewer than rows.
    """
    if request_id is None or isinstance(request_id, str | Integral | UUID):
        return checked_request_id(request_id)
    column = id_column(request_id, rows, "request id")
    _insist_short(pc.max(pc.utf8_length(column)).as_py() or 0)
    if rows != 1:
        return column
    only: str | None = column[0].as_py()
    return only


def _insist_short(length: int) -> None:
    if length > REQUEST_ID_MAX:
        raise InputError(f"request id: expected at most {REQUEST_ID_MAX} characters, got {length}")


def cut_request_id(text: str | None) -> str | None:
    """Return the id a client sent: one that is too long is cut, and ends in `…`."""
    return text if text is None or len(text) <= REQUEST_ID_MAX else text[: REQUEST_ID_MAX - len(_CUT)] + _CUT
