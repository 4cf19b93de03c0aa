"""Recording any callable: its arguments are the features, its return value is the output."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from backstory.capture.prediction import Begun
from backstory.errors import InputError, ModelError
from backstory.frames.table import kind_of

P = ParamSpec("P")
T = TypeVar("T")

_PLAIN = (
    bool,
    int,
    float,
    str,
    bytes,
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    decimal.Decimal,
)

Begin = Callable[[Any, list[Any] | None], Begun]
"""Takes down a call: its features, and whom it is about, which may be nobody; None where nobody was asked for."""


def traced(function: Callable[P, T], begin: Begin, subject: str | None) -> Callable[P, T]:
    """Return a callable that records each call and otherwise is the given one.

    Args:
        function: A function, method or coroutine function.
        begin: Takes down a call before it runs.
        subject: Name of the parameter that says whom a call is about.

    Raises:
        ModelError: A generator function, or no parameter of the subject's name.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ModelError(
            f"traced: expected a function or coroutine function, got a generator ({function.__qualname__})"
        )
    signature = inspect.signature(function)
    if subject is not None and subject not in signature.parameters:
        raise ModelError(f"traced: {function.__qualname__} has no parameter {subject!r} for the subject")

    def start(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Begun:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return begin(features_of(bound.arguments), None if subject is None else [bound.arguments[subject]])

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def record_async(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401
            begun = start(args, kwargs)
            try:
                output = await function(*args, **kwargs)
            except BaseException as error:
                begun.fail(error)
                raise
            begun.finish(output, recordable(output))
            return output

        return cast("Callable[P, T]", record_async)

    @functools.wraps(function)
    def record(*args: P.args, **kwargs: P.kwargs) -> T:
        begun = start(args, kwargs)
        try:
            output = function(*args, **kwargs)
        except BaseException as error:
            begun.fail(error)
            raise
        begun.finish(output, recordable(output))
        return output

    return record


def features_of(arguments: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return what to record of a call's arguments: a table argument alone, a dict argument alone, or all by name."""
    values = {name: value for name, value in arguments.items() if name not in {"self", "cls"}}
    if len(values) == 1:
        (only,) = values.values()
        try:
            is_table = kind_of(only) != "record"
        except InputError:
            is_table = False
        if is_table:
            return only
        if isinstance(only, dict) and only:
            return {str(name): recordable(value) for name, value in only.items()}
    if not values:
        raise InputError("traced: expected at least one argument to record, got none")
    return {name: recordable(value) for name, value in values.items()}


def recordable(value: Any) -> Any:  # noqa: ANN401
    """Return a value in a form the row encoding has; what has none becomes the name of its type."""
    if (
        value is None
        or isinstance(value, _PLAIN)
        or hasattr(value, "__array__")
        or hasattr(value, "__arrow_c_stream__")
    ):
        return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    if isinstance(value, dict):
        return {str(name): recordable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [recordable(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return recordable(dataclasses.asdict(value))
    if hasattr(value, "model_dump"):
        return recordable(value.model_dump())
    return f"<{type(value).__module__}.{type(value).__qualname__}>"
