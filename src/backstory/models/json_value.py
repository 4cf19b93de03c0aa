"""Parameters as JSON that may be hashed, compared and published.

No float (its `repr` stands for it), no memory address (nothing is ever written through an object's own `repr`), and no
content of an array or table (its type, shape and SHA-256 stand for it), so no training row leaks through a parameter.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.limits import INTEGER_MAX

DEPTH_MAX = 8
"""Containers inside each other; deeper ones are named by type. Also ends cycles."""

ITEM_COUNT_MAX = 256
"""Items of one container written out; a longer one (a vocabulary, say) is data and is named by size and digest."""


def qualified_name(thing: object) -> str:
    """Return module and name of a class or function, or of an object's class.

    >>> qualified_name(3), qualified_name(dict.get)
    ('builtins.int', 'builtins.dict.get')
    """
    if isinstance(thing, functools.partial):
        return f"functools.partial({qualified_name(thing.func)})"
    named = thing if getattr(thing, "__qualname__", None) else type(thing)
    name = named.__qualname__  # type: ignore[attr-defined]  # every class has one
    owner = getattr(named, "__objclass__", None)
    module = getattr(named, "__module__", None) or getattr(owner, "__module__", None) or "builtins"
    return f"{module}.{name}"


def json_safe(value: object, depth: int = 0) -> JsonValue:
    """Describe any value in JSON without floats, addresses or data.

    Args:
        value: A parameter of a model.
        depth: Containers around it.

    Returns:
        None, bool, int up to 2**53 - 1, text, list or object. What has no JSON form becomes its qualified type name.

    >>> json_safe({"C": 0.1, "penalty": ("l2",), "f": len})
    {'C': '0.1', 'penalty': ['l2'], 'f': 'builtins.len'}
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # A lone surrogate has no UTF-8 form, and canonical JSON refuses it.
        return str(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int):
        return int(value) if abs(value) <= INTEGER_MAX else str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, bytes | bytearray):
        return {"type": "bytes", "size": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    if isinstance(value, slice):
        return {
            "type": "slice",
            "bounds": [json_safe(part, depth + 1) for part in (value.start, value.stop, value.step)],
        }
    if isinstance(value, list | tuple | set | frozenset | Mapping):
        return _container(value, depth)
    return _foreign(value, depth)


def parameters_of(model: object, *, deep: bool) -> dict[str, JsonValue]:
    """Return a model's parameters, JSON-safe; nested models by class name.

    Args:
        model: Anything; without `get_params` it has none.
        deep: Whether to add the parameters of nested models, named `step__parameter`.
    """
    get_params = getattr(model, "get_params", None)
    if get_params is None or isinstance(model, type):
        return {}
    params: dict[str, object] = get_params(deep=deep)
    return {str(name): json_safe(value) for name, value in sorted(params.items()) if not _is_structure(value)}


def seeds_of(hyperparameters: Mapping[str, JsonValue]) -> dict[str, str]:
    """Pick the parameters that seed a generator and are set."""
    return {
        name: value if isinstance(value, str) else canonical.encode(value).decode()
        for name, value in hyperparameters.items()
        if name.endswith(("random_state", "seed")) and value is not None
    }


def _is_structure(value: object) -> bool:
    # The `steps` of a pipeline, `transformers` of a ColumnTransformer: lists of (name, model, …), told in `steps`.
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, tuple) and len(item) > 1 and isinstance(item[0], str) for item in value)
    )


def _container(value: Iterable[Any], depth: int) -> JsonValue:
    items = list(value.items()) if isinstance(value, Mapping) else list(value)
    if depth >= DEPTH_MAX:
        return qualified_name(value)
    if isinstance(value, Mapping):
        written: JsonValue = {_key(name): json_safe(item, depth + 1) for name, item in items}
    else:
        listed = [json_safe(item, depth + 1) for item in items]
        # The order of a set follows string hashing, which differs between processes.
        written = sorted(listed, key=canonical.encode) if isinstance(value, set | frozenset) else listed
    if len(items) > ITEM_COUNT_MAX:
        return {"type": qualified_name(value), "count": len(items), "sha256": canonical.digest_of(written)}
    return written


def _key(name: object) -> str:
    written = json_safe(name, DEPTH_MAX - 1)
    return written if isinstance(written, str) else canonical.encode(written).decode()


def _foreign(value: Any, depth: int) -> JsonValue:
    module = type(value).__module__.partition(".")[0]
    if module == "numpy":
        return _numpy(value, depth)
    if module in {"pandas", "polars", "pyarrow", "scipy"} and hasattr(value, "shape"):
        return {"type": qualified_name(value), "shape": [int(size) for size in value.shape]}
    return qualified_name(value)


def _numpy(value: Any, depth: int) -> JsonValue:
    if hasattr(value, "get_state"):
        return _generator(value, value.get_state(legacy=False))
    if hasattr(value, "bit_generator"):
        return _generator(value, value.bit_generator.state)
    if not hasattr(value, "dtype") or not hasattr(value, "tobytes"):
        return str(value) if type(value).__name__.endswith("DType") else qualified_name(value)
    if value.shape == () and value.dtype.kind in "biufUS":
        return json_safe(value.item(), depth)
    facts: JsonObject = {"type": "array", "dtype": str(value.dtype), "shape": list(value.shape)}
    # The bytes of an object array are addresses; its items are described instead, and only their digest kept.
    content = canonical.encode(json_safe(value.tolist(), 1)) if value.dtype.hasobject else value.tobytes()
    return facts | {"sha256": hashlib.sha256(content).hexdigest()}


def _generator(value: object, state: object) -> JsonObject:
    # Two generators in one state go on alike, so the state's digest is the seed.
    return {"type": qualified_name(value), "sha256": canonical.digest_of(json_safe(state))}
