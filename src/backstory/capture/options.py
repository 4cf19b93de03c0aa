"""What a model's method is given besides the features, as `num_iteration=1`, and how a context says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backstory.errors import ModelError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.limits import INTEGER_MAX

VALUES_MAX = 8
"""Values of one option that contexts keep: one that varies from call to call would make a context of every call."""
_TEXT_SIZE_MAX = 256
_NAMES_MAX = 4_096
"""Options one process remembers the values of; then it begins anew."""


class SeenOptions:
    """Remembers which values the options of a model's methods had. Threads may share it.

    >>> seen = SeenOptions()
    >>> seen.describe("predict", {"num_iteration": 1, "rate": 0.5, "weights": [1]}, personal=False)
    {'num_iteration': 1, 'rate': {'float': '0.5'}, 'weights': {'type': 'list'}}
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._seen: dict[tuple[object, str], set[bytes]] = {}

    def describe(self, site: object, options: Mapping[str, Any], *, personal: bool) -> JsonObject:
        """Return options as they stand in a context, which is in clear: of some only the type.

        Numbers and texts stand there as they are, but no text about a person, and of an option that varies only the
        first values.

        Args:
            site: What they are options of.
            options: What the method is given besides the features.
            personal: Whether the call is about people.
        """
        return {name: self._kept(site, name, value, personal=personal) for name, value in options.items()}

    def _kept(self, site: object, name: str, value: object, *, personal: bool) -> JsonValue:
        described = _described(value)
        if personal and isinstance(described, str):
            return _only_type(value)
        if len(self._seen) >= _NAMES_MAX:
            self._seen.clear()
        seen = self._seen.setdefault((site, name), set())  # another thread may add one too many, which does no harm
        which = canonical.encode({"value": described})
        if which not in seen and len(seen) >= VALUES_MAX:
            return {**_only_type(value), "varies": True}
        seen.add(which)
        return described


def parse_options(document: JsonValue) -> dict[str, Any]:
    """Return the options of a context, for the same call again.

    Raises:
        ModelError: One of them was not kept.
    """
    options: dict[str, Any] = {}
    for name, value in document.items() if isinstance(document, dict) else ():
        if isinstance(value, dict) and "float" not in value:
            varies = ", as it varied from call to call" if value.get("varies") is True else ""
            raise ModelError(f"its option {name!r} is not kept, only that it was a {value.get('type')}{varies}")
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
    return _only_type(value)


def _only_type(value: object) -> JsonObject:
    return {"type": type(value).__qualname__}
