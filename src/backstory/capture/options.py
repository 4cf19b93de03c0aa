"""What a model's method is given besides the features, as `num_iteration=1`, and how a context says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backstory.errors import ModelError
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.limits import INTEGER_MAX

_TEXT_SIZE_MAX = 256


def describe_options(options: Mapping[str, Any]) -> JsonObject:
    """Return options as they stand in a context: plain values as they are, of others the type.

    >>> describe_options({"num_iteration": 1, "rate": 0.5, "weights": [1]})
    {'num_iteration': 1, 'rate': {'float': '0.5'}, 'weights': {'type': 'list'}}
    """
    return {name: _described(value) for name, value in options.items()}


def parse_options(document: JsonValue) -> dict[str, Any]:
    """Return the options of a context, for the same call again.

    Raises:
        ModelError: One of them was not kept.
    """
    options: dict[str, Any] = {}
    for name, value in document.items() if isinstance(document, dict) else ():
        if isinstance(value, dict) and "float" not in value:
            raise ModelError(f"its option {name!r} is not kept, only that it was a {value.get('type')}")
        options[name] = float(str(value["float"])) if isinstance(value, dict) else value
    return options


def _described(value: object) -> JsonValue:
    if isinstance(value, float):
        return {"float": repr(float(value))}
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and abs(value) <= INTEGER_MAX:
        return value
    if type(value) is str and len(value) <= _TEXT_SIZE_MAX and not any("\ud800" <= part <= "\udfff" for part in value):
        return value
    return {"type": type(value).__qualname__}
