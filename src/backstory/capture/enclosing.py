"""The prediction that is being made around a line of code, if there is one: what is made inside is a part of it."""

from __future__ import annotations

import threading
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from backstory.capture.plain import plain_value
from backstory.capture.steps import Steps, is_personal
from backstory.storage.fork import renew_in_child

if TYPE_CHECKING:
    import pyarrow as pa

    from backstory.capture.prediction import Begun, Call
    from backstory.records.canonical import JsonObject


class Enclosing:
    """A prediction under way that takes in what is predicted inside it.

    Once it is over it takes in nothing: what a task or thread that outlives it predicts is a record of its own. So is
    what a child process predicts, as the steps of the child's copy would reach nobody.

    Attributes:
        is_over: Whether it is recorded, or will be and takes in nothing more.
        outer: The prediction it is itself a part of.
        process: What `this_process` was where it was begun.
        this_process: Stands for the process: another object in a child. Asking for its number is a system call.
        request_id: The caller's id of the request.
        steps: What was taken in.
    """

    this_process: ClassVar[object] = object()
    _lock = threading.RLock()
    """One for all, and reentrant: held for no longer than a step takes to be added, by nothing that runs other code."""

    def __init__(self, request_id: str | None = None) -> None:
        """Begin with no steps."""
        self.is_over = False
        self.outer: Enclosing | None = None
        self.process = self.this_process
        self.request_id = request_id
        self.steps = Steps()

    @property
    def only_steps(self) -> bool:
        """Whether a call of one row inside can be nothing more than a step, so that its input need not be held."""
        return True

    @property
    def is_about_person(self) -> bool:
        """Whether a call inside that becomes this prediction is about a person then."""
        return False

    def take_call(self, begun: Begun, output: Any, result: pa.Table, form: JsonObject) -> bool:  # noqa: ANN401, ARG002
        """Take in a call of one row that was made inside, with its output as it would be recorded; False if over."""
        return self.take_output(begun.call, output, None, personal=is_personal(begun.call))

    def take_failure(self, begun: Begun, error: str) -> bool:
        """Take in a call of one row that raised, which goes on or is caught inside; False if over."""
        return self.take_output(begun.call, None, error, personal=is_personal(begun.call))

    def take_output(self, call: Call, output: Any, error: str | None, *, personal: bool) -> bool:  # noqa: ANN401
        """Take in what a call of one row gave, or how it failed, and whether that is about a person; False if over."""
        return self._add_call(call, self._plain(output), error, personal=personal)

    def take_step(self, name: str, values: Any, *, personal: bool) -> bool:  # noqa: ANN401
        """Take in something else that happened inside, and whether its values are about a person; False if over."""
        plain = self._plain(values)
        with self._lock:
            if self.is_over:
                return False
            self.steps.add("step", name, plain, personal=personal)
            return True

    def _add_call(
        self,
        call: Call,
        plain: Any,  # noqa: ANN401
        error: str | None,
        *,
        personal: bool,
        flags: str | None = None,
    ) -> bool:
        with self._lock:
            if self.is_over:
                return False
            self.steps.add_call(call, plain, error, personal=personal, flags=flags)
            return True

    def _plain(self, values: Any) -> Any:  # noqa: ANN401
        """Return a step's values as they are kept; outside the lock, as it may run their code, which may predict."""
        return None if self.is_over or self.steps.is_full else plain_value(values)

    def end(self) -> None:
        """Take in nothing from here on: what was taken in is being recorded."""
        with self._lock:
            self.is_over = True


renew_in_child(Enclosing, "_lock", threading.RLock)
renew_in_child(Enclosing, "this_process", object)

_ENCLOSING: ContextVar[Enclosing | None] = ContextVar("backstory_enclosing", default=None)


def enclosing() -> Enclosing | None:
    """Return the prediction around this line that is not over, or None."""
    return not_over(_ENCLOSING.get())


def not_over(prediction: Enclosing | None) -> Enclosing | None:
    """Return a prediction, or the nearest one around it that is not over and of this process, or None."""
    while prediction is not None and (prediction.is_over or prediction.process is not prediction.this_process):
        prediction = prediction.outer
    return prediction


class inside:  # noqa: N801  stands in `with` as a word does
    """Lets what is predicted in a block be a part of a prediction; of none where None is given.

    A block that is left by GeneratorExit leaves its prediction where it is: what ended there must say that it is over.
    """

    __slots__ = ("_prediction", "_token")

    def __init__(self, prediction: Enclosing | None) -> None:
        """Use it once."""
        self._prediction = prediction
        self._token: Token[Enclosing | None] | None = None

    def __enter__(self) -> None:
        """Begin the block."""
        self._token = _ENCLOSING.set(self._prediction)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the block."""
        # Perhaps in a finalizer, in the middle of another `set` of any variable, which CPython 3.11 does not survive.
        if self._token is None or isinstance(error, GeneratorExit):
            return
        try:
            _ENCLOSING.reset(self._token)
        except ValueError:  # a generator is left in another context than it was begun in: there is nothing to put back
            return
