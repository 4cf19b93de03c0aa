"""Options that name code of the user's: `--steps MODULE:FUNCTION`, imported from where the command is typed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from backstory.errors import InputError, NotFoundError

RECORDED: Final = "recorded"
_FORM = "MODULE:FUNCTION, as prepare:features, or NAME=MODULE:FUNCTION"

StepsOption = Annotated[
    list[str] | None,
    Parameter(
        name="--steps",
        negative=(),
        help="Function that prepares features, MODULE:FUNCTION; imported from this directory, so it runs. Several in "
        "their order. NAME=MODULE:FUNCTION names what it makes, such as a group. `recorded`: the recorded ones.",
    ),
]
FitOption = Annotated[
    str | None, Parameter(name="--fit", help="Function that trains, given features and target, MODULE:FUNCTION.")
]


def steps_named(
    texts: Sequence[str] | None,
) -> Callable[..., Any] | Mapping[str, Callable[..., Any]] | Literal["recorded"] | None:
    """Return the functions that `--steps` names, as `recompute` takes them.

    Args:
        texts: What was typed, in order.

    Raises:
        InputError: It is not of the form.
        NotFoundError: There is no such module or function.
    """
    if not texts:
        return None
    if list(texts) == [RECORDED]:
        return RECORDED
    if len(texts) == 1 and "=" not in texts[0]:
        return function_named(texts[0])
    found: dict[str, Callable[..., Any]] = {}
    for text in texts:
        name, mark, place = text.partition("=")
        function = function_named(place if mark else text)
        name = name if mark else text.rpartition(":")[2].rpartition(".")[2]
        if name in found:
            raise InputError(f"steps: expected each name once, got {name!r} again; say NAME=MODULE:FUNCTION")
        found[name] = function
    return found


def function_named(text: str) -> Callable[..., Any]:
    """Import a function of the user's, looking in the current directory first.

    Args:
        text: `MODULE:FUNCTION`.

    Raises:
        InputError: It is not of the form, or what it names cannot be called.
        NotFoundError: There is no such module or function, or importing the module raises an error.
    """
    module, mark, path = text.partition(":")
    if not mark or not module or not path:
        raise InputError(f"code: expected {_FORM}, got {text!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # a module runs when it is imported, and may raise anything
        raise NotFoundError(f"code: module {module!r} cannot be imported: {type(error).__name__}: {error}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise NotFoundError(f"code: module {module!r} has no {path!r}")
        found = getattr(found, name)
    if not callable(found):
        raise InputError(f"code: expected a function as {text!r}, got {type(found).__name__}")
    return found  # type: ignore[no-any-return]
