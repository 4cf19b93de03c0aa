"""Recording any callable: its arguments are the features, its return value is the output."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import pyarrow as pa

from backstory.capture.output import output_column
from backstory.capture.plain import one_value
from backstory.capture.prediction import Begun
from backstory.errors import InputError, ModelError
from backstory.frames.table import kind_of

_MATRIX = 2
P = ParamSpec("P")
T = TypeVar("T")

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
            begun.finish(output, output_of(output, begun.table.num_rows))
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
        begun.finish(output, output_of(output, begun.table.num_rows))
        return output

    return record


def features_of(arguments: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return what to record of a call: a table that is the only argument as it is, everything else as one row.

    Args:
        arguments: Arguments by parameter name, defaults included.

    Returns:
        A table of the caller's own, or an Arrow table of one row: the items of a dict that is the only argument, or the
        arguments by name.
    """
    values = {name: value for name, value in arguments.items() if name not in {"self", "cls"}}
    if len(values) == 1:
        (only,) = values.values()
        if _is_table(only):
            return only
        if isinstance(only, dict) and only:
            values = {str(name): value for name, value in only.items()}
    columns = {name: one_value(value) for name, value in values.items()} or {"arguments": one_value(None)}
    return pa.table(columns)


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
