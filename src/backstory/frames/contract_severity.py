"""From the words contracts have for severities to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from backstory.errors import InputError
from backstory.frames.contract import KINDS, Severity
from backstory.records.names import names_instead

SEVERITY_PROPERTY: Final = "backstorySeverity"
"""The custom property that gives a severity to what the standard has none for."""

WORDS: Final[dict[str, Severity]] = {
    **dict.fromkeys(("refuse", "error", "critical", "blocker", "fatal", "high"), "refuse"),
    **dict.fromkeys(("flag", "warning", "warn", "medium", "major"), "flag"),
    **dict.fromkeys(("note", "info", "information", "informational", "low", "minor"), "note"),
}
"""Every word that is understood."""

DEFAULT: Final[Severity] = "refuse"
"""A contract is a promise: what is to be let through says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Severities:
    """Which severity rules have that say none themselves.

    Attributes:
        default: Of all others.
        kinds: Of rules of some kinds.
    """

    default: Severity = DEFAULT
    kinds: Mapping[str, Severity] = field(default_factory=dict)

    def of(self, kind: str) -> Severity:
        """Return the severity of a kind of rule."""
        return self.kinds.get(kind, self.default)


def read_severity(word: object, place: str) -> Severity:
    """Return what a word for a severity means here.

    Raises:
        InputError: It is not among `WORDS`.
    """
    if isinstance(word, str) and word.lower() in WORDS:
        return WORDS[word.lower()]
    raise InputError(f"contract: expected a severity, got {word!r}{names_instead(str(word), WORDS)} ({place})")


def read_severities(properties: Sequence[Any] | None, outer: Severities, place: str) -> Severities:
    """Return the severities within something, from its custom property or from what it is in.

    Raises:
        InputError: The property has a word that is not understood, or a kind of rule that there is not.
    """
    for one in properties or ():
        if one.property != SEVERITY_PROPERTY:
            continue
        place = f"{place}, {SEVERITY_PROPERTY}"
        if not isinstance(one.value, dict):
            return Severities(default=read_severity(one.value, place))
        known = sorted(KINDS.values())
        for kind in one.value:
            if kind not in known:
                raise InputError(f"contract: no kind of rule {kind!r}{names_instead(str(kind), known)} ({place})")
        given = {str(kind): read_severity(word, place) for kind, word in one.value.items()}
        return Severities(default=outer.default, kinds={**outer.kinds, **given})
    return outer
