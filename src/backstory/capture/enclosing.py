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
    """A prediction under way that takes in what is predicted inside it.

    Once it is over it takes in nothing: what a task or thread that outlives it predicts is a record of its own.

    Attributes:
        is_over: Whether it is recorded already.
        outer: The prediction it is itself a part of.
    """

    is_over: bool
    outer: Enclosing | None

    @property
    def request_id(self) -> str | None:
        """The caller's id of the request."""

    def take_call(self, begun: Begun, output: Any, result: pa.Table, form: JsonObject) -> bool:  # noqa: ANN401
        """Take in a call of one row that was made inside, with its output as it would be recorded; False if over."""

    def take_failure(self, begun: Begun, error: str) -> bool:
        """Take in a call of one row that raised, which goes on or is caught inside; False if over."""

    def take_step(self, name: str, values: Any, *, personal: bool) -> bool:  # noqa: ANN401
        """Take in something else that happened inside, and whether its values are about a person; False if over."""


_ENCLOSING: ContextVar[Enclosing | None] = ContextVar("backstory_enclosing", default=None)


def enclosing() -> Enclosing | None:
    """Return the prediction around this line that is not over, or None."""
    return not_over(_ENCLOSING.get())


def not_over(prediction: Enclosing | None) -> Enclosing | None:
    """Return a prediction, or the nearest one around it that is not over, or None."""
    while prediction is not None and prediction.is_over:
        prediction = prediction.outer
    return prediction


@contextlib.contextmanager
def inside(prediction: Enclosing | None) -> Iterator[None]:
    """Let what is predicted in this block be a part of a prediction; of none where None is given."""
    token = _ENCLOSING.set(prediction)
    try:
        yield
    finally:
        # A generator may be left in another context than it was begun in, where there is nothing to put back.
        with contextlib.suppress(ValueError):
            _ENCLOSING.reset(token)
