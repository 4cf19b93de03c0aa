"""The prediction that is being made around a line of code, if there is one: what is made inside is a part of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from backstory.capture.prediction import Begun
    from backstory.records.canonical import JsonObject


class Enclosing(Protocol):
    """A prediction under way that takes in what is predicted inside it."""

    @property
    def request_id(self) -> str | None:
        """The caller's id of the request."""

    def take_call(self, begun: Begun, output: Any, result: pa.Table, form: JsonObject) -> None:  # noqa: ANN401
        """Take in a call of one row that was made inside, with its output as it would be recorded."""

    def take_failure(self, begun: Begun, error: str) -> None:
        """Take in a call of one row that raised; the exception may go on, or be caught inside."""


_ENCLOSING: ContextVar[Enclosing | None] = ContextVar("backstory_enclosing", default=None)
enclosing = _ENCLOSING.get
"""Returns the prediction around this line, or None."""


@contextlib.contextmanager
def inside(prediction: Enclosing | None) -> Iterator[None]:
    """Let what is predicted in this block be a part of a prediction; of none where None is given."""
    token = _ENCLOSING.set(prediction)
    try:
        yield
    finally:
        _ENCLOSING.reset(token)
