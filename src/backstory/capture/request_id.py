"""Ids of requests: clients choose them and they stand in clear on every record, so they have a greatest length."""

from __future__ import annotations

from backstory.capture.subject import Id, text_of_id
from backstory.errors import InputError
from backstory.records.limits import REQUEST_ID_MAX

_CUT = "…"


def checked_request_id(request_id: Id | None) -> str | None:
    """Return the id a program gives, as text.

    Raises:
        InputError: It is too long, or none that `text_of_id` takes.
    """
    text = text_of_id(request_id, "request id")
    if text is not None and len(text) > REQUEST_ID_MAX:
        raise InputError(f"request id: expected at most {REQUEST_ID_MAX} characters, got {len(text)}")
    return text


def cut_request_id(text: str | None) -> str | None:
    """Return the id a client sent: one that is too long is cut, and ends in `…`."""
    return text if text is None or len(text) <= REQUEST_ID_MAX else text[: REQUEST_ID_MAX - len(_CUT)] + _CUT
