"""Checking what entries say of data, models, features and runs: that each has its form, and none contradicts another.

A number of a version means one version for good: whoever registers another under it, or approves or deploys a version
under the number of another, is named. What the digests lead to is checked with the blobs. Bytes: docs/format.md section
12.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias

from backstory.errors import BackstoryError, FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.classification import CONFIRMED, KINDS
from backstory.records.identity import check_digest, parse_time
from backstory.records.membership import SHOWN_TYPE
from backstory.records.sensitivity import CLASSES
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import Disk
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries

Form: TypeAlias = Callable[[JsonValue], bool]

_MEANS: Final = "what it says of data, models or who approved them cannot be believed"
_NAME: Final = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,255}")
_COUNT: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SALT: Final = re.compile(r"[0-9a-f]{16}")
_VERDICTS: Final = frozenset({"approved", "rejected", "withdrawn"})
_DEFINING: Final = {CONFIRMED: "document", "features.defined": "features", "reasons.defined": "reasons"}
"""Entries that number versions of what is not a model, and their member that names one."""
_MEASURES: Final = frozenset({"decision", "errors", "flagged", "ks", "nulls", "psi", "unseen"})


def _matches(pattern: re.Pattern[str]) -> Form:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _text(value: JsonValue) -> bool:
    return isinstance(value, str)


def _digest(value: JsonValue) -> bool:
    try:
        check_digest(value, "digest")
    except FormatError:
        return False
    return True


def _moment(value: JsonValue) -> bool:
    try:
        parse_time(value if isinstance(value, str) else "")
    except FormatError:
        return False
    return True


def _maybe(form: Form) -> Form:
    return lambda value: value is None or form(value)


def _list_of(form: Form) -> Form:
    return lambda value: isinstance(value, list) and all(map(form, value))


def _deployed(value: JsonValue) -> bool:
    """Say whether something is what a deployment serves: versions with parts of the traffic that are all of it."""
    if not isinstance(value, list) or not all(
        isinstance(one, dict) and set(one) == _SERVED.keys() and _problem_of_form(one, _SERVED) is None for one in value
    ):
        return False
    try:
        shares = [Decimal(canonical.text_of(one, "share")) for one in value if isinstance(one, dict)]
    except InvalidOperation:
        return False
    return not shares or (min(shares) > 0 and sum(shares) == 1)


_name, _count = _matches(_NAME), _matches(_COUNT)
_number = _matches(re.compile(r"[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?"))
_SERVED: Final[Mapping[str, Form]] = {
    "digest": _digest,
    "name": _name,
    "share": _matches(re.compile(r"[0-9]{1,64}(\.[0-9]{1,64})?")),
    "version": _count,
}
_FORMS: Final[Mapping[str, Mapping[str, Form]]] = {
    "access.ended": {"grant": _count},
    "access.granted": {
        "case": _digest,
        "classes": _list_of(lambda value: isinstance(value, str) and value in CLASSES),
        "kind": lambda value: isinstance(value, str) and value in {"break-glass", "granted"},
        "person": _digest,
        "reason": _digest,
        "until": _moment,
    },
    "access.reviewed": {
        "grant": _count,
        "reason": _digest,
        "verdict": lambda value: isinstance(value, str) and value in {"justified", "not-justified"},
    },
    "case.assigned": {
        "before": _maybe(_moment),
        "case": _digest,
        "models": _list_of(_name),
        "person": _digest,
        "since": _maybe(_moment),
        "until": _maybe(_moment),
    },
    "role.assigned": {
        "models": _list_of(_name),
        "person": _digest,
        "role": _text,
        "subject": _maybe(_digest),
        "until": _maybe(_moment),
    },
    "role.removed": {"assignment": _count},
    CONFIRMED: {
        "document": _digest,
        "kind": lambda value: isinstance(value, str) and value in KINDS,
        "name": _name,
        "proposal": _maybe(_count),
        "reason": _maybe(_digest),
        "version": _count,
    },
    "contract.set": {"contract": _maybe(_digest), "id": _maybe(_text), "name": _name, "version": _maybe(_text)},
    "deployment.set": {"models": _deployed, "name": _name, "reason": _maybe(_text)},
    "drift.alarmed": {
        "column": _text,
        "measure": lambda value: isinstance(value, str) and value in _MEASURES,
        "model": _digest,
        "name": _name,
        "reference": _text,
        "since": _moment,
        "threshold": _number,
        "until": _moment,
        "value": _number,
        "version": _count,
    },
    "features.defined": {"about": _maybe(_digest), "features": _digest, "name": _name, "version": _count},
    "group.recorded": {"group": _digest, "groups": _count, "name": _name, "salt": _matches(_SALT)},
    SHOWN_TYPE: {"dataset": _maybe(_digest), "model": _maybe(_digest), "proof": _digest},
    "model.aliased": {"alias": _name, "model": _digest, "name": _name, "version": _count},
    "model.approved": {
        "actor": _digest,
        "deployment": _maybe(_name),
        "model": _digest,
        "name": _name,
        "reason": _maybe(_text),
        "role": _maybe(_text),
        "verdict": lambda value: isinstance(value, str) and value in _VERDICTS,
        "version": _count,
    },
    "model.registered": {
        "about": _maybe(_digest),
        "artifact": _maybe(_digest),
        "model": _digest,
        "name": _name,
        "parents": _maybe(_list_of(_digest)),
        "version": _count,
    },
    "reasons.defined": {"name": _name, "reasons": _digest, "version": _count},
    "reasons.disclosed": {
        "adverse": lambda value: isinstance(value, str) and value in {"high", "low"},
        "codes": _maybe(_list_of(_text)),
        "computed": lambda value: isinstance(value, str) and value in {"at decision time", "afterwards"},
        "method": _text,
        "name": _name,
        "prediction": _matches(_ID),
        "reasons": _digest,
        "recipient": _maybe(_digest),
        "sealed_codes": _maybe(_digest),
        "version": _count,
    },
    "run.recorded": {"document": _digest, "name": _name},
    "source.fixed": {
        "about": _maybe(_digest),
        "dataset": _digest,
        "first": _count,
        "kept": _maybe(lambda value: value == "reference"),
        "name": _name,
        "origin": _maybe(_text),
        "part": _maybe(_text),
        "rows": _count,
        "salt": _matches(_SALT),
        "table": _maybe(_digest),
    },
    "step.recorded": {"name": _text, "step": _digest},
}
"""By type the form of each member; one that may be null may be absent."""


def check_statements(audit: Audit, entries: Entries) -> None:
    """Check the entries about data, models, features and runs."""
    known = _Versions()
    maps: dict[str, JsonValue] = {}
    for index, entry in entries.documents(*_FORMS):
        type_ = str(entry["type"])
        problem = _problem_of_form(entry, _FORMS[type_])
        if problem is None:
            problem = _problem_of_whole(entry, type_)
        if problem is None and entries.is_whole:  # otherwise what it speaks of may be in an entry that is not there
            problem = known.problem_of(entry, type_)
        if problem is None and type_ == "reasons.disclosed":
            problem = _problem_of_codes(audit, entry, maps)
        if problem is not None:
            audit.add("failed", f"entry {index}", f"{type_}: {problem}", index=index, meaning=_MEANS)


def _problem_of_form(entry: JsonObject, forms: Mapping[str, Form]) -> str | None:
    odd = [member for member, form in forms.items() if not form(entry.get(member))]
    return f"is malformed: {', '.join(odd)}" if odd else None


def _problem_of_whole(entry: JsonObject, type_: str) -> str | None:
    """Say what is wrong with members that are right one by one."""
    if type_ == SHOWN_TYPE and (entry.get("dataset") is None) is (entry.get("model") is None):
        return "expected a dataset or a model"
    if type_ == "reasons.disclosed" and (not entry.get("codes")) is (entry.get("sealed_codes") is None):
        return "expected codes, open or sealed"
    if type_ == "contract.set" and len({entry.get(one) is None for one in ("contract", "id", "version")}) > 1:
        return "expected a contract with its id and version, or none of them"
    return None


def _problem_of_codes(audit: Audit, entry: JsonObject, maps: dict[str, JsonValue]) -> str | None:
    """Say which open codes of a disclosure are none of its map, those read before being kept in `maps`."""
    digest, disclosed = canonical.text_of(entry, "reasons"), entry.get("codes")
    if digest not in maps:
        try:
            data = BlobStore(audit.layout.blobs, Disk()).get(digest)
            maps[digest] = canonical.parse_object(data, f"blob {digest}").get("codes")
        except BackstoryError:  # a map that is lost or changed is named with the blobs
            maps[digest] = None
    known = maps[digest]
    if not isinstance(known, dict) or not isinstance(disclosed, list) or known.keys() >= set(map(str, disclosed)):
        return None
    return "discloses codes that its map does not have"


class _Versions:
    """The versions of models, feature sets and reason maps that the entries so far gave numbers to."""

    def __init__(self) -> None:
        self._models: dict[str, list[str]] = {}
        self._defined: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._digests: set[str] = set()

    def problem_of(self, entry: JsonObject, type_: str) -> str | None:
        """Say how an entry contradicts those before it, if it does, and keep what it adds."""
        if type_ == "model.registered":
            digest = canonical.text_of(entry, "model")
            parents = entry.get("parents")
            if isinstance(parents, list) and not self._digests.issuperset(map(str, parents)):
                return "names a parent that no entry before it registered"
            self._digests.add(digest)
            return _numbered(self._models, entry, digest, is_again=False)
        if type_ in _DEFINING:
            member = _DEFINING[type_]
            known = self._defined.setdefault((type_, str(entry.get("kind"))), {})
            return _numbered(known, entry, canonical.text_of(entry, member), is_again=type_ == "features.defined")
        if type_ == "reasons.disclosed":
            maps = self._defined.get(("reasons.defined", str(None)), {})
            return _unlike(maps, entry, entry.get("reasons"))
        named: list[tuple[JsonObject, JsonValue]] = []
        if type_ in {"drift.alarmed", "model.aliased", "model.approved"}:
            named = [(entry, entry.get("model"))]
        elif type_ == "deployment.set":
            models = entry.get("models")
            found = models if isinstance(models, list) else []
            named = [(one, one.get("digest")) for one in found if isinstance(one, dict)]
        for one, meant in named:
            problem = _unlike(self._models, one, meant)
            if problem is not None:
                return problem
        return None


def _unlike(known: dict[str, list[str]], entry: JsonObject, meant: JsonValue) -> str | None:
    """Say what is wrong where an entry names a version by a number that is another's."""
    number, versions = canonical.count_of(entry, "version"), known.get(canonical.text_of(entry, "name"), [])
    if 0 < number <= len(versions) and versions[number - 1] == meant:
        return None
    return "the version it names is not the one that an entry before it registered under this number"


def _numbered(known: dict[str, list[str]], entry: JsonObject, digest: str, *, is_again: bool) -> str | None:
    """Keep the number of a version; say what is wrong with it, which is then not kept."""
    versions, number = known.setdefault(canonical.text_of(entry, "name"), []), canonical.count_of(entry, "version")
    if is_again and digest in versions:
        return None if versions.index(digest) + 1 == number else "gives another number to a version"
    if number != len(versions) + 1:
        return f"expected version {len(versions) + 1} of this name, got {number}: a number means one version"
    versions.append(digest)
    return None
