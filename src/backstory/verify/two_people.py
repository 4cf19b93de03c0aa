"""Checking the entries of what needs two people: that each has its form, and that nothing is decided twice.

Whether two people acted is known to the vault, which has the openings of their names; here it is checked that a
decision is one on a proposal before it, and that a draft was made final once. Bytes: docs/format.md section 39.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.identity import check_digest
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries

_MEANS: Final = "who approved or decided what cannot be believed"
_COUNT: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

MADE, DECIDED, FINALISED, APPROVED = "proposal.made", "proposal.decided", "decision.finalised", "definition.approved"
_DEFINED_BY: Final = {
    "deployment": "deployment.set",
    "feature set": "features.defined",
    "reason map": "reasons.defined",
}

Form = Callable[[JsonValue], bool]


def _digest(value: JsonValue) -> bool:
    try:
        check_digest(value, "digest")
    except FormatError:
        return False
    return True


def _one_of(*words: str) -> Form:
    return lambda value: isinstance(value, str) and value in words


def _matches(pattern: re.Pattern[str]) -> Form:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _text(value: JsonValue) -> bool:
    return isinstance(value, str) and bool(value)


def _maybe(form: Form) -> Form:
    return lambda value: value is None or form(value)


_count, _verdict = _matches(_COUNT), _one_of("approved", "rejected")
_FORMS: Final[Mapping[str, Mapping[str, Form]]] = {
    "action.refused": {"action": _text, "ground": _text},
    "choice.justified": {
        "actor": _digest,
        "document": _digest,
        "kind": _one_of("features", "model"),
        "name": _text,
        "of": _digest,
        "version": _count,
    },
    FINALISED: {"actor": _digest, "decision": _matches(_ID)},
    APPROVED: {
        "actor": _digest,
        "kind": _one_of(*_DEFINED_BY),
        "name": _text,
        "of": _count,
        "reason": _maybe(_digest),
        "verdict": _verdict,
    },
    DECIDED: {"actor": _digest, "name": _text, "proposal": _count, "reason": _maybe(_digest), "verdict": _verdict},
    MADE: {"actor": _digest, "document": _digest, "kind": _text, "name": _text},
}
"""By type the form of each member; one that may be null may be absent."""


def check_two_people(audit: Audit, entries: Entries) -> None:
    """Check the entries of proposals, approvals, refusals, and drafts that became final."""
    proposed: dict[str, JsonValue] = {}
    done: set[str] = set()
    for index, entry in entries.documents(*_FORMS):
        type_ = str(entry["type"])
        odd = [member for member, form in _FORMS[type_].items() if not form(entry.get(member))]
        problem = f"is malformed: {', '.join(odd)}" if odd else None
        if problem is None and type_ == MADE:
            proposed[str(index)] = entry.get("name")
        elif problem is None and entries.is_whole:  # otherwise what it speaks of may be in an entry that is not there
            problem = _contradiction(entry, type_, index, proposed, entries) or _repeated(entry, type_, done)
        if problem is not None:
            audit.add("failed", f"entry {index}", f"{type_}: {problem}", index=index, meaning=_MEANS)


def _contradiction(
    entry: JsonObject, type_: str, index: int, proposed: Mapping[str, JsonValue], entries: Entries
) -> str | None:
    """Say what is wrong with what an entry names."""
    if type_ == DECIDED and proposed.get(canonical.text_of(entry, "proposal")) != entry.get("name"):
        return "decides on something that no entry before it proposed under this name"
    if type_ != APPROVED:
        return None
    at = canonical.count_of(entry, "of")
    defined = entries.document(at) if at < index else None
    expected = _DEFINED_BY[canonical.text_of(entry, "kind")]
    if defined is None or defined.get("type") != expected or defined.get("name") != entry.get("name"):
        return f"approves something that no {expected} before it defined under this name"
    return None


def _repeated(entry: JsonObject, type_: str, done: set[str]) -> str | None:
    """Say that something is decided or made final again."""
    if type_ not in {DECIDED, FINALISED}:
        return None
    what = canonical.text_of(entry, "proposal" if type_ == DECIDED else "decision")
    if f"{type_} {what}" in done:
        return "is there twice: another entry before it is of the same"
    done.add(f"{type_} {what}")
    return None
