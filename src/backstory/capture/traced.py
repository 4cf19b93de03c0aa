"""Recording any callable: its arguments are the features, its return value is the output."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

import pyarrow as pa

from backstory.capture.enclosing import Enclosing, enclosing, inside
from backstory.capture.plain import distinct_names, one_value, plain_value
from backstory.capture.prediction import Begun, Call, Capture, tell_unrecorded
from backstory.capture.recorder import Recorder
from backstory.capture.returned import WIDTH_MAX, has_many, insist_few, output_of
from backstory.capture.single import SingleCapture, is_plain_features, is_plain_output
from backstory.capture.steps import seals_steps, size_of
from backstory.capture.subject import text_of_id
from backstory.errors import InputError, ModelError
from backstory.frames.table import LAZY, kind_of
from backstory.frames.watch import refuse_flagged
from backstory.models import capture_artifact
from backstory.records.canonical import JsonObject
from backstory.records.limits import STEPS_SIZE_MAX

_MATRIX = 2
_YIELDS_MAX = 10_000
"""Values of a generator that are kept; of the others how many there were."""
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
        call: What its calls have in common.
        defer: Has something done soon by whoever records next.
        signature: The function's.
        subject: Name of the parameter that says whom a call is about.
        receiver: Name of the parameter that is a method's object or class, which is no feature.
        names: Names of its parameters, if all of them can be given by position; else None.
    """

    begin: Begin
    single: SingleCapture
    call: Callable[[], Call]
    defer: Callable[[Callable[[], object]], None]
    signature: inspect.Signature
    subject: str | None
    receiver: str | None
    names: tuple[str, ...] | None

    def start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Running:
        """Take down a call before it runs.

        Raises:
            InputError: Whom it is about is none, or the model's contract refuses the call, which is recorded as failed.
        """
        arguments = self._arguments(args, kwargs)
        about = None if self.subject is None else text_of_id(arguments.get(self.subject), "subject")
        if self.receiver is not None:
            arguments.pop(self.receiver, None)
        features = values_of(arguments)
        around = enclosing()
        running = _Running(self, features, about, around)
        # Values that nobody can change are recorded together with the output; others are taken down now.
        is_plain = is_plain_features(features) and (about is None) is (self.subject is None)
        if not is_plain or len(features) > WIDTH_MAX or not (around is None or around.only_steps):
            running.begun = self.take_down(features, about, arguments)
        try:
            self.single.require(features)
            refuse_flagged({} if running.begun is None else running.begun.refusals)
        except InputError as error:
            running.stop(error, None)
            raise
        return running

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return what a call is given by the names of the parameters, as far as it fits: else the function raises."""
        if self.names is not None and not kwargs and len(args) == len(self.names):
            return dict(zip(self.names, args, strict=True))
        try:
            bound = self.signature.bind_partial(*args, **kwargs)
        except TypeError:
            return {"args": args if self.receiver is None else args[1:], "kwargs": kwargs}
        bound.apply_defaults()
        return bound.arguments

    @property
    def is_personal(self) -> bool:
        """Whether what its calls give may be about a person."""
        return self.subject is not None or self.call().classes.is_personal

    def take_down(self, features: dict[str, Any], about: str | None, arguments: dict[str, Any] | None = None) -> Begun:
        """Take down a call as a table: of many rows, or what cannot be one as one row, or what cannot as one value."""
        subject = None if self.subject is None else [about]
        (only,) = arguments.values() if arguments is not None and len(arguments) == 1 else (None,)
        with contextlib.suppress(Exception):  # a frame may raise anything when it is asked
            if _is_table(only):
                return _of_few_columns(self.begin(only, subject))
        if len(features) <= WIDTH_MAX:
            with contextlib.suppress(InputError):
                return self.begin(_one_row(features), subject)
        return self.begin(_one_row({"arguments": features}), subject)


class _Running(Enclosing):
    """A call that runs, and takes in what is predicted inside it."""

    _block: contextlib.AbstractContextManager[None]

    def __init__(self, site: _Site, features: dict[str, Any], about: str | None, around: Enclosing | None) -> None:
        """Begin.

        `begun` is the call as it was taken down before it ran, if it was; `is_closed` says that whoever reads its
        values ended it, perhaps in a finalizer, which sets no context variable and takes no lock.
        """
        super().__init__()
        self.begun: Begun | None = None
        self.is_closed = False
        self._site = site
        self._features = features
        self._about = about
        self._around = around

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Let what is predicted in this block be a step of this call, unless this call is a step itself."""
        return contextlib.nullcontext() if self.is_closed or enclosing() is not None else inside(self)

    def __enter__(self) -> None:
        """Begin what the call does."""
        self._block = self.inside()
        self._block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it; record it if it failed."""
        self._block.__exit__(kind, error, traceback)
        if error is not None:
            self.stop(error, None)

    def stop(self, error: BaseException, yielded: _Yielded | None) -> None:
        """Record that it raised, or that whoever read its values wants no more of them.

        Where it was given up this may be a finalizer, so that is recorded later.
        """
        if self.is_closed or isinstance(error, GeneratorExit):
            self.is_over = True
            self._site.defer(functools.partial(self._give_up, error, yielded))
        else:
            self._fail(error, yielded)

    def finish(self, output: Any) -> None:  # noqa: ANN401  any value
        """Record what it returned."""
        self.end()
        if self.begun is None:
            around = enclosing()
            if around is not None and self._is_step_of(around, output):
                return
            if around is None and is_plain_output(output) and not has_many(output):
                steps = self.steps.text("full", "always", sealed=self._site.single.seals("steps", self._about))
                self._site.single.record(self._features, output, subject=self._about, steps=steps)
                return
        begun = self._taken("always")
        begun.finish(output, output_of(output, begun))

    def end_of_values(self, yielded: _Yielded) -> None:
        """Record what it gave, as it has no more; perhaps it was told to end, and did."""
        if self.is_closed:
            self.stop(GeneratorExit(), yielded)
        else:
            self.finish(yielded.output())

    def _give_up(self, error: BaseException, yielded: _Yielded | None) -> None:
        with inside(self._around):  # not whatever is around the code that comes to this
            if self.is_closed and isinstance(error, GeneratorExit) and yielded is not None:
                self.steps.add("step", "closed", "by its consumer")
                self.finish(yielded.output())
            else:
                self._fail(error, yielded)

    def _fail(self, error: BaseException, yielded: _Yielded | None) -> None:
        """Record that it raised, and as a step what it had given by then, as a failed call has no output."""
        self.end()
        try:
            if yielded is not None and yielded.count:
                self.steps.add("step", "yielded", yielded.output(), personal=self._site.is_personal)
            around, name = enclosing(), type(error).__qualname__
            if self.begun is None and around is not None and self._is_step_of(around, None, name):
                return
            self._taken("failed").fail(error)
        except Exception as problem:  # noqa: BLE001
            tell_unrecorded(problem)

    def _is_step_of(self, around: Enclosing, output: Any, error: str | None = None) -> bool:  # noqa: ANN401
        """Let a prediction around this call take in what came of it; False if it would hold more, or is over."""
        personal = self._site.is_personal
        return around.only_steps and around.take_output(self._site.call(), output, error, personal=personal)

    def _taken(self, why: str) -> Begun:
        """Return the call as the way of batches takes it down."""
        begun = self.begun
        if begun is None:
            begun = self._site.take_down(self._features, self._about)
        steps = self.steps.text("full", why, sealed=seals_steps(begun.call))
        return begun if steps is None else replace(begun, call=replace(begun.call, steps=steps))


def traced(
    function: Callable[P, T],
    capture: Capture,
    recorder: Recorder,
    site_of: Callable[[str, JsonObject], Call],
    subject: str | None,
) -> Callable[P, T]:
    """Return a callable that records each call and otherwise is the given one.

    Args:
        function: Anything that can be called: a function or method, a coroutine function, a generator function of
            either kind, a partial of one of them, an object with `__call__`.
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
    code = _code_of(function)
    name = getattr(code, "__qualname__", source.class_name)
    call = functools.cache(lambda: site_of(name, said))

    def begin(features: Any, about: list[Any] | None) -> Begun:  # noqa: ANN401
        return capture.begin(replace(call(), features=features, subject=about))

    signature = _signature_of(function)
    if subject is not None and subject not in signature.parameters:
        raise ModelError(f"traced: {name} has no parameter {subject!r} for the subject")
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    simple = kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY}
    site = _Site(
        begin=begin,
        single=SingleCapture(capture, recorder, call),
        call=call,
        defer=recorder.defer,
        signature=signature,
        subject=subject,
        receiver=_receiver_of(function, signature),
        names=tuple(signature.parameters) if simple else None,
    )
    if inspect.isasyncgenfunction(code):
        return cast("Callable[P, T]", _async_generator(function, site))
    if inspect.isgeneratorfunction(code):
        return cast("Callable[P, T]", _generator(function, site))
    if inspect.iscoroutinefunction(code):
        return cast("Callable[P, T]", _coroutine(function, site))
    return _function(function, site)


def _function(function: Callable[P, T], site: _Site) -> Callable[P, T]:
    @functools.wraps(function)
    def record(*args: P.args, **kwargs: P.kwargs) -> T:
        running = site.start(args, kwargs)
        with running:
            output = function(*args, **kwargs)
        running.finish(output)
        return output

    return record


def _coroutine(function: Callable[..., Any], site: _Site) -> Callable[..., Any]:
    @functools.wraps(function)
    async def record(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        running = site.start(args, kwargs)
        with running:
            output = await function(*args, **kwargs)
        running.finish(output)
        return output

    return record


def _generator(function: Callable[..., Any], site: _Site) -> Callable[..., Any]:
    @functools.wraps(function)
    def record(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:  # noqa: ANN401
        running = site.start(args, kwargs)
        yielded = _Yielded()
        go_on: Callable[[], Any] | None = None
        try:
            with running.inside():
                inner = function(*args, **kwargs)
            go_on = functools.partial(inner.send, None)
            while True:
                with running.inside():
                    try:
                        value = go_on()
                    except StopIteration as stop:
                        returned = stop.value
                        break
                yielded.add(value)
                try:
                    go_on = functools.partial(inner.send, (yield value))
                    running.is_closed = False
                except BaseException as error:  # noqa: BLE001  it is the generator's to handle
                    go_on = functools.partial(inner.throw, error)
                    running.is_closed = isinstance(error, GeneratorExit)
        except BaseException as error:
            running.stop(error, yielded)
            raise
        finally:
            del go_on  # its exception has a traceback, which has this frame
        running.end_of_values(yielded)
        return returned

    return record


def _async_generator(function: Callable[..., Any], site: _Site) -> Callable[..., Any]:
    @functools.wraps(function)
    async def record(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:  # noqa: ANN401
        running = site.start(args, kwargs)
        yielded = _Yielded()
        go_on: Callable[[], Any] | None = None
        try:
            with running.inside():
                inner = function(*args, **kwargs)
            go_on = functools.partial(inner.asend, None)
            while True:
                with running.inside():
                    try:
                        value = await go_on()
                    except StopAsyncIteration:
                        break
                yielded.add(value)
                try:
                    go_on = functools.partial(inner.asend, (yield value))
                    running.is_closed = False
                except BaseException as error:  # noqa: BLE001  it is the generator's to handle
                    go_on = functools.partial(inner.athrow, error)
                    running.is_closed = isinstance(error, GeneratorExit)
        except BaseException as error:
            running.stop(error, yielded)
            raise
        finally:
            del go_on  # its exception has a traceback, which has this frame
        running.end_of_values(yielded)

    return record


class _Yielded:
    """The values a generator gave, as they were then, up to a number of them and of bytes.

    Attributes:
        count: How many it gave.
    """

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[Any] = []
        self._size = 0

    def add(self, value: Any) -> None:  # noqa: ANN401
        if len(self._kept) == self.count < _YIELDS_MAX:  # none was left out so far
            plain = plain_value(value)
            self._size += size_of(plain)
            if self._size <= STEPS_SIZE_MAX:
                self._kept.append(plain)
        self.count += 1

    def output(self) -> dict[str, Any]:
        texts = all(isinstance(value, str) for value in self._kept)
        shown = "".join(self._kept) if texts and self._kept else self._kept
        left_out = self.count - len(self._kept)
        return {"count": self.count, "values": shown, **({"left_out": left_out} if left_out else {})}


def _code_of(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Return what says which kind of callable one is: what a partial is of, the `__call__` of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    is_object = not (isinstance(function, type) or inspect.isroutine(function))
    return type(function).__call__ if is_object else function


def _signature_of(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError:  # some built-in functions have none
        return inspect.signature(lambda *args, **kwargs: (args, kwargs))


def _receiver_of(function: Callable[..., Any], signature: inspect.Signature) -> str | None:
    """Return the parameter of a function defined in a class that its object, or the class, is given by."""
    first = next(iter(signature.parameters), None)
    if first not in {"self", "cls"} or not inspect.isfunction(function):
        return None
    owner = function.__qualname__.rpartition(".")[0]
    return first if owner and not owner.endswith("<locals>") else None


def values_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what a call was given by name: the items of a dict that is the only argument, or the arguments."""
    if len(arguments) == 1:
        (only,) = arguments.values()
        with contextlib.suppress(Exception):  # another thread may be changing it
            if isinstance(only, dict) and only:
                return dict(zip(distinct_names(only), only.values(), strict=True))
    return dict(arguments)


def _one_row(features: dict[str, Any]) -> pa.Table:
    return pa.table({name: one_value(value) for name, value in features.items()} or {"arguments": one_value(None)})


def _of_few_columns(begun: Begun) -> Begun:
    insist_few(begun.table.schema.field("feature").type)
    return begun


def _is_table(value: Any) -> bool:  # noqa: ANN401
    try:
        kind = kind_of(value)
    except InputError:
        return False
    # What runs anew at each read is not run for a record of it.
    return kind not in {"record", "records", "numpy"} | LAZY or (kind == "numpy" and value.ndim == _MATRIX)
