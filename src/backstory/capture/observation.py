"""One prediction whose parts come one by one: `with archive.prediction(...) as p`.

What is predicted inside becomes a step of it, not a record of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from backstory.capture.enclosing import Enclosing, enclosing, inside, not_over
from backstory.capture.plain import distinct_names, plain_value
from backstory.capture.prediction import Begun, Capture, tell_unrecorded
from backstory.capture.request_id import checked_request_id
from backstory.capture.single import SingleCapture
from backstory.capture.steps import Sampling, is_personal, seals_steps
from backstory.capture.subject import Id, subject_column, text_of_id
from backstory.errors import ConflictError, InputError
from backstory.records.canonical import JsonObject
from backstory.records.identity import id_text_of

if TYPE_CHECKING:
    import pyarrow as pa

_ENOUGH = 2


@dataclasses.dataclass(frozen=True, slots=True)
class _Inner:
    """A call of one row inside: what it was given, and its output typed as it would be recorded; None if it raised."""

    begun: Begun
    result: pa.Table | None
    form: JsonObject | None


class Observation(Enclosing):
    """A prediction under way; a context manager, recorded when it is left or finished.

    Attributes:
        id: Its id, once it is recorded; None before, and where it was refused and the policy allows that.
        when_recorded: Told its id as soon as it has one.
    """

    def __init__(
        self,
        capture: Capture,
        single: SingleCapture,
        random_bytes: Callable[[int], bytes],
        *,
        request_id: Id | None,
        subject: Id | None,
        sampling: Sampling,
    ) -> None:
        """Made by `Archive.prediction`."""
        super().__init__(checked_request_id(request_id))
        self.id: str | None = None
        self.when_recorded: Callable[[str], None] = _tell_nobody
        self._capture = capture
        self._single = single
        self._random_bytes = random_bytes
        self._subject = text_of_id(subject, "subject")
        self._sampling = sampling
        self._features: dict[str, Any] | None = None
        self._output: Any = None
        self._has_output = False
        self._error: str | None = None
        self._inner: list[_Inner] = []
        self._block = inside(self)
        self._is_entered = False

    def features(self, values: Mapping[str, Any]) -> None:
        """Say what goes into the prediction, by name; taken down as it is now.

        Raises:
            InputError: Not a mapping, or the model's contract refuses them.
            ConflictError: The prediction is recorded already.
        """
        self._insist_open()
        if not isinstance(values, Mapping):
            raise InputError(f"prediction: expected features by name, got {type(values).__name__}")
        self._features = dict(zip(distinct_names(values), map(plain_value, values.values()), strict=True))
        self._single.require(self._features)

    def step(self, name: str, values: Any = None) -> None:  # noqa: ANN401  any values
        """Add a step it went through, with what came out of it.

        Raises:
            ConflictError: The prediction is recorded already.
        """
        self._insist_open()
        self.steps.add("step", name, plain_value(values))

    def uses(
        self,
        source: str,
        *,
        key: Any = None,  # noqa: ANN401
        version: Any = None,  # noqa: ANN401
        at: Any = None,  # noqa: ANN401
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """Say that a row of some store was used: which key, of which version of it, as of when.

        Args:
            source: The feature view, table or service.
            key: The row's key: a value, or values by column. It is kept in any case, as it is what the row is found by.
            version: Which version of the row, the view or the table.
            at: As of when, such as the event time.
            values: The row itself. It is kept as steps are, so that one fetched again can be compared with it.

        Raises:
            ConflictError: The prediction is recorded already.
        """
        self._insist_open()
        reference = plain_value({"at": at, "key": key, "version": version})
        self.steps.add("use", source, plain_value(values), ref=reference)

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

    def finish(self) -> None:
        """Record it now, before the block is left; what is predicted after this is a record of its own.

        Raises:
            ConflictError: The prediction is recorded already.
            StorageError: It could not be recorded.
        """
        with self._lock:
            self._insist_open()
            self.is_over = True
        self._finish()

    def _finish(self) -> None:
        """Record it, which is over."""
        around = not_over(self.outer)
        personal = self._subject is not None or self.steps.are_personal or self._single.is_personal
        if around is None or not around.take_step("prediction", self._shown(), personal=personal):
            number = self._record()
            if number is not None:
                self.id = id_text_of(number)
                self.when_recorded(self.id)

    @property
    def says_nothing(self) -> bool:
        """Whether it has no features and no output so far: none by hand, and not one call inside that has them."""
        return self._features is None and not self._has_output and len(self._calls) != 1

    @property
    def may_wait(self) -> bool:
        """Whether recording it may take as long as a disk does."""
        return self._capture.policy.durability == "sync" or bool(self._inner)

    @property
    def is_about_person(self) -> bool:
        """Whether somebody said whom it is about."""
        return self._subject is not None

    @property
    def only_steps(self) -> bool:
        """Whether a call inside cannot be this prediction any more: something else is, or there are two already."""
        given = self._features is not None or self._has_output
        return given or sum(inner.result is not None for inner in self._inner) > 1

    def take_call(self, begun: Begun, output: Any, result: pa.Table, form: JsonObject) -> bool:  # noqa: ANN401
        """Take in a call of one row made inside; False if this prediction is over.

        Its features and output are this prediction's own, unless they are given by hand or there is another such call.
        """
        plain, personal = self._plain(output), is_personal(begun.call)
        with self._lock:
            is_taken = self._add_call(begun.call, plain, None, personal=personal, flags=begun.first_flags)
            return is_taken and self._hold(_Inner(begun, result, form))

    def take_failure(self, begun: Begun, error: str) -> bool:
        """Take in a call of one row made inside that raised; False if this prediction is over."""
        with self._lock:
            return super().take_failure(begun, error) and self._hold(_Inner(begun, None, None))

    def _hold(self, inner: _Inner) -> bool:
        """Keep a call that may be this prediction: a second of its kind says that none is, further ones nothing new."""
        if sum((inner.result is None) is (other.result is None) for other in self._inner) < _ENOUGH:
            self._inner.append(inner)
        return True

    def __enter__(self) -> Self:
        """Begin: what is predicted from here on in this thread or task is a part of it.

        Raises:
            ConflictError: The prediction is recorded already, or the block is entered already.
        """
        self._insist_open()
        if self._is_entered:
            raise ConflictError("prediction: its block is entered already")
        self._is_entered = True
        self.outer = enclosing()
        self._block.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Record it, if it is not yet; an exception is recorded by the name of its class and goes on.

        Raises:
            StorageError: It could not be recorded.
        """
        self._block.__exit__(kind, error, traceback)
        if self.is_over:
            return
        if error is not None:
            self._error = type(error).__qualname__
        if isinstance(error, GeneratorExit):  # perhaps in a finalizer
            self.is_over = True
            self._capture.defer(self._finish)
            return
        try:
            self.finish()
        except Exception as problem:
            if error is None:
                raise
            tell_unrecorded(problem)

    def _shown(self) -> dict[str, Any]:
        """Return it as a step of the prediction around it."""
        steps = [{**said, "values": values} for said, values in self.steps.items]
        shown = {
            "error": self._error,
            "features": self._features,
            "left_out": self.steps.left_out or None,
            "output": self._output,
            "steps": steps or None,
        }
        return {name: value for name, value in shown.items() if value is not None}

    @property
    def _calls(self) -> list[_Inner]:
        """The calls inside that can speak for it: those that raised only if it failed as a whole."""
        return [inner for inner in self._inner if self._error is not None or inner.result is not None]

    def _record(self) -> int | None:
        if self._features is None and not self._has_output and len(self._calls) == 1:
            return self._record_inner(self._calls[0])
        single = self._single if self._features else self._single.unwatched
        return single.record(
            self._features or {},
            self._output,
            error=self._error,
            request_id=self.request_id,
            subject=self._subject,
            steps=self._steps_text(self._output, sealed=self._single.seals("steps", self._subject)),
        )

    def _record_inner(self, inner: _Inner) -> int | None:
        """Record the one call that was made inside as this prediction."""
        begun, table, about = inner.begun, inner.begun.table, inner.begun.call.subject
        if about is None and self._subject is not None:
            about = self._subject
            table = table.append_column("subject", subject_column(about, 1))
        result = inner.result if self._error is None else None
        # What is more than the call, and of a failed prediction what the call gave, only the steps tell.
        is_whole = len(self.steps.items) == 1 and self._error is None
        output = None if result is None else result["output"][0].as_py()
        call = dataclasses.replace(begun.call, request_id=self.request_id or begun.call.request_id, subject=about)
        steps = None if is_whole else self._steps_text(output, sealed=seals_steps(call))
        call = dataclasses.replace(call, steps=steps)
        begun = dataclasses.replace(begun, call=call, table=table)
        recorded = self._capture.record(begun, result=result, form=inner.form, error=self._error)
        return None if recorded is None else recorded.ids.first

    def _steps_text(self, output: Any, *, sealed: bool) -> str | None:  # noqa: ANN401
        keep, why = self._sampling.decide(output, self._error, self._random_bytes)
        return self.steps.text(keep, why, sealed=sealed)

    def _insist_open(self) -> None:
        if self.is_over:
            raise ConflictError("prediction: it is recorded already")


def _tell_nobody(_: str) -> None:
    """Nobody asked to be told."""
