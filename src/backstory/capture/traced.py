"""Recording any callable: its arguments are the features, its return value is the output."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar, cast

import pyarrow as pa

from backstory.capture.enclosing import Enclosing, enclosing, inside
from backstory.capture.output import output_column
from backstory.capture.plain import one_value
from backstory.capture.prediction import Begun, Call, Capture
from backstory.capture.recorder import Recorder
from backstory.capture.single import SingleCapture, is_plain_features, is_plain_output
from backstory.capture.steps import Steps, is_personal
from backstory.errors import BackstoryError, InputError, ModelError
from backstory.frames.table import kind_of
from backstory.models import capture_artifact
from backstory.records.canonical import JsonObject

_MATRIX = 2
_YIELDS_MAX = 10_000
"""Values of a generator that are kept; of the others how many there were."""
_log = logging.getLogger("backstory")
P = ParamSpec("P")
T = TypeVar("T")

Begin = Callable[[Any, list[Any] | None], Begun]
"""Takes down a call: its features, and whom it is about, which may be nobody; None where nobody was asked for."""


@dataclass(frozen=True, slots=True)
class _Site:
    """What recording the calls of one function needs.

    Attributes:
        begin: Takes down a call before it runs.
        single: Records a call of plain values after it ran.
        signature: The function's.
        subject: Name of the parameter that says whom a call is about.
        names: Names of its parameters, if all of them can be given by position; else None.
    """

    begin: Begin
    single: SingleCapture
    signature: inspect.Signature
    subject: str | None
    names: tuple[str, ...] | None

    def start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Running:
        """Take down a call before it runs."""
        if self.names is not None and not kwargs and len(args) == len(self.names):
            arguments = dict(zip(self.names, args, strict=True))
        else:
            bound = self.signature.bind(*args, **kwargs)
            bound.apply_defaults()
            arguments = bound.arguments
        features = values_of(arguments)
        about = None if self.subject is None else arguments[self.subject]
        running = _Running(self, features, about)
        # Values that nobody can change are recorded together with the output; others are taken down now.
        is_plain = is_plain_features(features) and (about is None) is (self.subject is None)
        if not is_plain or enclosing() is not None:
            running.begun = self.begin(table_of(arguments, features), None if self.subject is None else [about])
        return running


@dataclass(slots=True)
class _Running:
    """A call that runs, and takes in what is predicted inside it."""

    site: _Site
    features: dict[str, Any]
    about: Any
    begun: Begun | None = None
    steps: Steps | None = None
    request_id: str | None = None
    outer: Enclosing | None = None
    is_over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Let what is predicted in this block be a step of this call, unless this call is a step itself."""
        return contextlib.nullcontext() if enclosing() is not None else inside(self)

    def take_call(self, begun: Begun, output: Any, result: pa.Table, form: JsonObject) -> bool:  # noqa: ANN401, ARG002
        """Take in a call made inside; False if this one is over."""
        return self._take(lambda steps: steps.add_call(begun, output))

    def take_failure(self, begun: Begun, error: str) -> bool:
        """Take in a call made inside that raised; False if this one is over."""
        return self._take(lambda steps: steps.add_call(begun, None, error=error))

    def take_step(self, name: str, values: Any, *, personal: bool = False) -> bool:  # noqa: ANN401
        """Take in something else that happened inside; False if this one is over."""
        return self._take(lambda steps: steps.add("step", name, values, personal=personal))

    def fail(self, error: BaseException) -> None:
        """Record that it raised."""
        self._end()
        try:
            self._taken("failed").fail(error)
        except BackstoryError as problem:  # the exception that goes on is the caller's
            _log.error("recording: a failed prediction is not recorded: %s", problem)

    def finish(self, output: Any) -> None:  # noqa: ANN401  any value
        """Record what it returned."""
        self._end()
        if self.begun is None and is_plain_output(output):
            about = None if self.about is None else str(self.about)
            steps = None if self.steps is None else self.steps.text("full", "always", sealed=about is not None)
            self.site.single.record(self.features, output, subject=about, steps=steps)
        else:
            begun = self._taken("always")
            begun.finish(output, output_of(output, begun.table.num_rows))

    def _take(self, add: Callable[[Steps], None]) -> bool:
        with self.lock:
            if self.is_over:
                return False
            self.steps = self.steps or Steps()
            add(self.steps)
            return True

    def _end(self) -> None:
        """Take in nothing from here on: what is taken down is recorded."""
        with self.lock:
            self.is_over = True

    def _taken(self, why: str) -> Begun:
        """Return the call as the way of batches takes it down."""
        begun = self.begun
        if begun is None:
            begun = self.site.begin(_one_row(self.features), None if self.site.subject is None else [self.about])
        if self.steps is None:
            return begun
        steps = self.steps.text("full", why, sealed=is_personal(begun))
        return replace(begun, call=replace(begun.call, steps=steps))


def traced(
    function: Callable[P, T],
    capture: Capture,
    recorder: Recorder,
    site_of: Callable[[str, JsonObject], Call],
    subject: str | None,
) -> Callable[P, T]:
    """Return a callable that records each call and otherwise is the given one.

    Args:
        function: A function or method, a coroutine function, a generator function of either kind.
        capture: Takes down calls.
        recorder: Where they go.
        site_of: Given the function's name and the digest of its source, what is the same for all its calls; asked at
            the first of them, as finding out about code and environment takes a while.
        subject: Name of the parameter that says whom a call is about.

    Raises:
        ModelError: No parameter of the subject's name.
    """
    if isinstance(function, classmethod | staticmethod):  # the decorator stands above the other one
        return cast("Callable[P, T]", type(function)(traced(function.__func__, capture, recorder, site_of, subject)))
    source = capture_artifact(function)
    said: JsonObject = {"function": source.class_name, "source": source.content_digest}
    call = functools.cache(lambda: site_of(function.__qualname__, said))

    def begin(features: Any, about: list[Any] | None) -> Begun:  # noqa: ANN401
        return capture.begin(replace(call(), features=features, subject=about))

    signature = inspect.signature(function)
    if subject is not None and subject not in signature.parameters:
        raise ModelError(f"traced: {function.__qualname__} has no parameter {subject!r} for the subject")
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    simple = kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY}
    single = SingleCapture(capture, recorder, call)
    site = _Site(begin, single, signature, subject, tuple(signature.parameters) if simple else None)
    if inspect.isasyncgenfunction(function):
        return cast("Callable[P, T]", _async_generator(function, site))
    if inspect.isgeneratorfunction(function):
        return cast("Callable[P, T]", _generator(function, site))
    if inspect.iscoroutinefunction(function):
        return cast("Callable[P, T]", _coroutine(function, site))
    return _function(function, site)


def _function(function: Callable[P, T], site: _Site) -> Callable[P, T]:
    @functools.wraps(function)
    def record(*args: P.args, **kwargs: P.kwargs) -> T:
        running = site.start(args, kwargs)
        try:
            with running.inside():
                output = function(*args, **kwargs)
        except BaseException as error:
            running.fail(error)
            raise
        running.finish(output)
        return output

    return record


def _coroutine(function: Callable[..., Any], site: _Site) -> Callable[..., Any]:
    @functools.wraps(function)
    async def record(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        running = site.start(args, kwargs)
        try:
            with running.inside():
                output = await function(*args, **kwargs)
        except BaseException as error:
            running.fail(error)
            raise
        running.finish(output)
        return output

    return record


def _generator(function: Callable[..., Any], site: _Site) -> Callable[..., Any]:
    @functools.wraps(function)
    def record(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:  # noqa: ANN401
        running = site.start(args, kwargs)
        yielded = _Yielded()
        try:
            returned = yield from yielded.each(function(*args, **kwargs), running)
        except BaseException as error:
            yielded.tell(running)
            running.fail(error)
            raise
        running.finish(yielded.output())
        return returned

    return record


def _async_generator(function: Callable[..., Any], site: _Site) -> Callable[..., Any]:
    @functools.wraps(function)
    async def record(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401
        running = site.start(args, kwargs)
        yielded = _Yielded()
        inner = function(*args, **kwargs)
        go_on = functools.partial(inner.asend, None)
        try:
            while True:
                with running.inside():
                    try:
                        value = await go_on()
                    except StopAsyncIteration:
                        break
                yielded.add(value)
                try:
                    go_on = functools.partial(inner.asend, (yield value))
                except GeneratorExit:
                    with running.inside():
                        await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001  it is the generator's to handle
                    go_on = functools.partial(inner.athrow, error)
        except BaseException as error:
            yielded.tell(running)
            running.fail(error)
            raise
        running.finish(yielded.output())

    return record


class _Yielded:
    """The values a generator gave, up to a number of them."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._count = 0

    def add(self, value: Any) -> None:  # noqa: ANN401
        self._count += 1
        if self._count <= _YIELDS_MAX:
            self._values.append(value)

    def tell(self, running: _Running) -> None:
        """Say what was given out before it failed or was closed: a step, as a failed call has no output."""
        if self._count:
            running.take_step("yielded", self.output(), personal=running.site.subject is not None)

    def each(self, generator: Any, running: _Running) -> Any:  # noqa: ANN401
        """Yield what a generator yields, pass on what is sent and thrown into it, and return what it returns."""
        go_on = functools.partial(generator.send, None)
        while True:
            with running.inside():
                try:
                    value = go_on()
                except StopIteration as stop:
                    return stop.value
            self.add(value)
            try:
                go_on = functools.partial(generator.send, (yield value))
            except GeneratorExit:
                with running.inside():
                    generator.close()
                raise
            except BaseException as error:  # noqa: BLE001  it is the generator's to handle
                go_on = functools.partial(generator.throw, error)

    def output(self) -> Any:  # noqa: ANN401
        texts = all(isinstance(value, str) for value in self._values)
        shown = "".join(self._values) if texts and self._values else self._values
        return {"count": self._count, "values": shown}


def values_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what a call was given by name: the items of a dict that is the only argument, or the arguments."""
    values = {name: value for name, value in arguments.items() if name not in {"self", "cls"}}
    if len(values) == 1:
        (only,) = values.values()
        if isinstance(only, dict) and only:
            return {str(name): value for name, value in only.items()}
    return values


def table_of(arguments: dict[str, Any], features: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return what to record of a call: a table that is the only argument as it is, everything else as one row."""
    values = [value for name, value in arguments.items() if name not in {"self", "cls"}]
    return values[0] if len(values) == 1 and _is_table(values[0]) else _one_row(features)


def _one_row(features: dict[str, Any]) -> pa.Table:
    return pa.table({name: one_value(value) for name, value in features.items()} or {"arguments": one_value(None)})


def output_of(output: Any, rows: int) -> pa.Array:  # noqa: ANN401
    """Return what to record of a function's return value, one value a row.

    A value that is not one a row of a table stands on each of the rows: the call as a whole returned it.
    """
    if rows > 1 and hasattr(output, "__len__") and not isinstance(output, str | bytes | dict) and len(output) == rows:
        try:
            return output_column(output, rows, None)[0]
        except InputError:
            pass  # one a row, but of no common type: as text, below
    value = one_value(output)
    return value if rows == 1 else pa.concat_arrays([value] * rows)


def _is_table(value: Any) -> bool:  # noqa: ANN401
    try:
        kind = kind_of(value)
    except InputError:
        return False
    return kind not in {"record", "records", "numpy"} or (kind == "numpy" and value.ndim == _MATRIX)
