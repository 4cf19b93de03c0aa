"""Names code by its text: the digest of a function, a class, or a callable object.

What is hashed: the qualified name; the source with trailing blanks, blank ends and common indentation removed; the
*names* of captured variables and of parameters with defaults. Values are not part of it, and neither is what the code
calls.
Without source the compiled code stands for it, which holds for one Python version only.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from backstory.models.json_value import json_safe, qualified_name
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

WRAPPER_COUNT_MAX = 64
"""Decorators around one function; ends a chain that wraps itself."""

_MADE_BY_PYTHON = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: set for classes made by a class statement, not for types written in C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeText:
    """What is known of a piece of code.

    Attributes:
        digest: SHA-256 in hex.
        name: Qualified name.
        basis: What the digest is of: "source", "bytecode" or "name".
    """

    digest: str
    name: str
    basis: str


def describe(thing: object) -> CodeText:
    """Name a function, class, method, partial or callable object by its code.

    Args:
        thing: The code, or an object whose class is the code.
    """
    code = thing
    bound: list[JsonValue] = []
    while isinstance(code, functools.partial):
        bound.append(["partial", len(code.args), *sorted(code.keywords)])
        code = code.func
    if inspect.ismethod(code):
        bound.append(["method", code.__name__])
        code = type(code.__self__) if not isinstance(code.__self__, type) else code.__self__
    if not (isinstance(code, type) or inspect.isroutine(code) or hasattr(code, "__wrapped__")):
        # An object stands for its class; some, like NumPy's ufuncs, differ by a name of their own.
        bound.append(["object", json_safe(getattr(code, "__name__", None))])
        code = type(code)
    parts = list(_parts(code))
    bases = {basis for basis, _ in parts}
    basis = next((weakest for weakest in ("name", "bytecode") if weakest in bases), "source")
    document: JsonObject = {
        "bound": bound,
        "code": [[kind, text] for kind, text in parts],
        "name": qualified_name(code),
        "v": 1,
    }
    return CodeText(digest=canonical.digest_of(document), name=qualified_name(code), basis=basis)


def _parts(code: Any) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(code, type):
        # Bases too: changing an inherited `predict` changes the model. Compiled ones come with the interpreter or a
        # library, whose version is recorded.
        owners = [owner for owner in code.__mro__ if owner.__flags__ & _MADE_BY_PYTHON]
        yield from [_class_part(owner) for owner in owners] or [("name", qualified_name(code))]
        return
    for _ in range(WRAPPER_COUNT_MAX):
        yield _function_part(code)
        if not hasattr(code, "__wrapped__"):
            return
        code = code.__wrapped__


def _class_part(owner: type) -> tuple[str, JsonValue]:
    text = _source(owner)
    if text is not None:
        return "source", text
    members = {name: getattr(member, "__code__", None) for name, member in vars(owner).items()}
    compiled: JsonObject = {name: _compiled(code) for name, code in members.items() if isinstance(code, CodeType)}
    return ("bytecode", compiled) if compiled else ("name", qualified_name(owner))


def _function_part(function: Any) -> tuple[str, JsonValue]:
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return "name", qualified_name(function)
    text = _source(code)
    names: JsonObject = {"captured": list(code.co_freevars), "defaults": _default_names(function)}
    if text is not None:
        return "source", names | {"text": text}
    return "bytecode", names | {"compiled": _compiled(code)}


def _default_names(function: Any) -> list[JsonValue]:
    parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is not inspect.Parameter.empty]


def _source(code: Any) -> str | None:
    try:
        text = inspect.getsource(code)
    except (OSError, TypeError, IndexError, SyntaxError):
        return None
    lines = textwrap.dedent(text.replace("\r\n", "\n")).split("\n")
    normal = "\n".join(line.rstrip() for line in lines).strip("\n")
    return str(json_safe(normal))


def _compiled(code: CodeType) -> JsonValue:
    constants = [_compiled(item) if isinstance(item, CodeType) else _constant(item) for item in code.co_consts]
    return [hashlib.sha256(code.co_code).hexdigest(), list(code.co_names), list(code.co_varnames), constants]


def _constant(value: object) -> JsonValue:
    if isinstance(value, tuple):
        return [_constant(item) for item in value]
    return [qualified_name(value), json_safe(value)]
