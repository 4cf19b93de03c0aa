"""One prediction whose parts come one by one: `with archive.prediction(...) as p`.

What is predicted inside becomes a step of it, not a record of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from backstory.capture.enclosing import enclosing, inside
from backstory.capture.ids import Ids
from backstory.capture.plain import plain_value
from backstory.capture.prediction import Begun, Capture
from backstory.capture.single import SingleCapture
from backstory.capture.steps import Sampling, Steps
from backstory.errors import BusyError, ConflictError, InputError, StorageError
from backstory.records.canonical import JsonObject

if TYPE_CHECKING:
    import pyarrow as pa


@dataclasses.dataclass(frozen=True, slots=True)
class _Inner:
    """A call of one row inside: what it was given, and its output typed as it would be recorded."""

    begun: Begun
    result: pa.Table
    form: JsonObject


class Observation:
    """A prediction under way; a context manager, recorded when it is left.

    Attributes:
        id: Its id, once it is recorded; None before, and where it was refused and the policy allows that.
    """

    def __init__(
        self,
        capture: Capture,
        single: SingleCapture,
        random_bytes: Callable[[int], bytes],
        *,
        request_id: str | None,
        subject: str | None,
        sampling: Sampling,
    ) -> None:
        """Made by `Archive.prediction`."""
        self.id: str | None = None
        self._capture = capture
        self._single = single
        self._random_bytes = random_bytes
        self._request_id = request_id
        self._subject = subject
        self._sampling = sampling
        self._features: dict[str, Any] | None = None
        self._output: Any = None
        self._has_output = False
        self._error: str | None = None
        self._steps = Steps()
        self._inner: list[_Inner] = []
        self._block = inside(self)
        self._is_over = False

    def features(self, values: Mapping[str, Any]) -> None:
        """Say what goes into the prediction, by name; taken down as it is now.

        Raises:
            InputError: Not a mapping.
            ConflictError: The prediction is recorded already.
        """
        self._insist_open()
        if not isinstance(values, Mapping):
            raise InputError(f"prediction: expected features by name, got {type(values).__name__}")
        self._features = {str(name): plain_value(value) for name, value in values.items()}

    def step(self, name: str, values: Any = None) -> None:  # noqa: ANN401  any values
        """Add a step it went through, with what came out of it.

        Raises:
            ConflictError: The prediction is recorded already.
        """
        self._insist_open()
        self._steps.add("step", name, values)

    def uses(self, source: str, *, key: Any = None, version: Any = None, at: Any = None) -> None:  # noqa: ANN401
        """Say that a row of some store was used: which key, of which version of it, as of when.

        Raises:
            ConflictError: The prediction is recorded already.
        """
        self._insist_open()
        self._steps.add("use", source, {"at": at, "key": key, "version": version})

    def output(self, value: Any) -> None:  # noqa: ANN401  a value, or values by name
        """Say what was predicted.

        Raises:
            ConflictError: The prediction is recorded already.
        """
        self._insist_open()
        self._output, self._has_output = plain_value(value), True

    def fail(self, error: str) -> None:
        """Say that it failed, where no exception does: the name of an error class, or a status.

        Raises:
            ConflictError: The prediction is recorded already.
        """
        self._insist_open()
        self._error = error

    def take_call(self, begun: Begun, output: Any, result: pa.Table, form: JsonObject) -> None:  # noqa: ANN401
        """Take in a call of one row made inside.

        Its features and output are this prediction's own, unless they are given by hand or there is another such call.
        """
        self._steps.add_call(begun, output)
        self._inner.append(_Inner(begun, result, form))

    def take_failure(self, begun: Begun, error: str) -> None:
        """Take in a call of one row made inside that raised."""
        self._steps.add_call(begun, None, error=error)

    @property
    def request_id(self) -> str | None:
        """The caller's id of the request."""
        return self._request_id

    def __enter__(self) -> Self:
        """Begin: what is predicted from here on in this thread or task is a part of it."""
        self._block.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Record it; an exception is recorded by the name of its class and goes on.

        Raises:
            StorageError: It could not be recorded.
        """
        self._block.__exit__(None, None, None)
        around = enclosing()
        if error is not None:
            self._error = type(error).__qualname__
        if isinstance(around, Observation):
            self._is_over = True
            around.step("prediction" if self._error is None else f"prediction failed: {self._error}", self._shown())
            return
        try:
            self._record()
        except (StorageError, BusyError):
            if error is None:  # the exception that goes on is the caller's
                raise

    def _shown(self) -> dict[str, Any]:
        return {"features": self._features, "output": self._output, "steps": [said for said, _ in self._steps.items]}

    def _record(self) -> None:
        """Record it, once."""
        self._insist_open()
        self._is_over = True
        if self._features is None and not self._has_output and self._error is None and len(self._inner) == 1:
            number = self._record_inner(self._inner[0])
        else:
            steps = self._steps_text(self._output)
            number = self._single.record(
                self._features or {},
                self._output,
                error=self._error,
                request_id=self._request_id,
                subject=self._subject,
                steps=steps,
            )
        if number is not None:
            self.id = Ids(number, 1)[0]

    def _record_inner(self, inner: _Inner) -> int | None:
        """Record the one call that was made inside as this prediction."""
        call = dataclasses.replace(
            inner.begun.call,
            request_id=self._request_id or inner.begun.call.request_id,
            steps=self._steps_text(inner.result["output"][0].as_py()) if len(self._steps.items) > 1 else None,
        )
        recorded = self._capture.record(
            dataclasses.replace(inner.begun, call=call), result=inner.result, form=inner.form
        )
        return None if recorded is None else recorded.ids.first

    def _steps_text(self, output: Any) -> str | None:  # noqa: ANN401
        return self._steps.text(*self._sampling.decide(output, self._error, self._random_bytes))

    def _insist_open(self) -> None:
        if self._is_over:
            raise ConflictError("prediction: it is recorded already")
