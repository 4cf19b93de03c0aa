"""Reason maps: which features which reason code stands for, in versions that never change.

The document of a version holds the codes and nothing else, so the same codes are one version. Bytes: docs/format.md
section 33.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from backstory.errors import InputError
from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.definition import find_definition, unknown_definition
from backstory.lineage.page import Page, Row, Section
from backstory.lineage.plain import count_text, label
from backstory.lineage.registry import require_model_name
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.schema import dataset_columns

DEFINED = "reasons.defined"
"""Type of the entry that names a version of a map."""

Direction: TypeAlias = Literal["increases", "decreases"]

_DIRECTIONS: dict[str, Direction] = {"increases": "increases", "decreases": "decreases"}
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_WHAT = "reason map"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A reason code.

    Attributes:
        code: The code.
        features: Names of the input columns it stands for.
        direction: Which way they move the score where it applies.
        text: What a person is told.
    """

    code: str
    features: tuple[str, ...]
    direction: Direction
    text: str

    def content(self) -> JsonObject:
        """Return it as it is kept, under its code."""
        return {"direction": self.direction, "features": list(self.features), "text": self.text}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonMap(Answer):
    """A version of a reason map.

    Attributes:
        name: Its name.
        version: Its number, from 1.
        digest: Digest of its document, in hex.
        reasons: Its codes, in order.
        model: Digest of the model version it is for; None for any.
        defined: When, RFC 3339.
    """

    name: str
    version: int
    digest: str
    reasons: tuple[Reason, ...]
    model: str | None
    defined: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "codes": {one.code: one.content() for one in self.reasons},
            "defined": self.defined,
            "digest": self.digest,
            "model": self.model,
            "name": self.name,
            "version": self.version,
        }

    def __repr__(self) -> str:
        """Return name, number and the beginning of the digest."""
        return f"ReasonMap({self.name}:{self.version}, {self.digest[:12]})"

    def _page(self) -> Page:
        return reason_map_page(self)


def define_reasons(ledger: Ledger, name: str, codes: Mapping[str, Mapping[str, Any]], model: str | None) -> ReasonMap:
    """Keep a reason map; the same again is the version there is.

    Args:
        ledger: The archive.
        name: Its name.
        codes: By code its features, direction and text.
        model: Digest of the model version it is for.

    Raises:
        InputError: A name cannot be used, a code is malformed, a feature stands for two codes of one direction, or the
            model has no such input.
    """
    require_model_name(name)
    if not isinstance(codes, Mapping) or not codes:
        raise InputError("reasons: expected at least one code, by name")
    reasons = [_reason_of(code, given) for code, given in codes.items()]
    seen: dict[tuple[str, Direction], str] = {}
    for one in reasons:
        for feature in one.features:
            other = seen.setdefault((feature, one.direction), one.code)
            if other != one.code:
                raise InputError(
                    f"reasons: feature {feature!r} {one.direction} the score for both {other} and {one.code}"
                )
    inputs = None if model is None else _inputs_of(ledger, model)
    unknown = sorted({feature for feature, _ in seen} - inputs) if inputs is not None else []
    if unknown:
        raise InputError(f"reasons: expected inputs of the model, got {', '.join(map(repr, unknown))}")
    document: JsonObject = {"codes": {one.code: one.content() for one in reasons}, "name": name, "v": 1}
    if model is not None:
        document["model"] = model
    digest = ledger.put_document(document)

    for known in reason_maps(ledger, name) if ledger.find_entries(DEFINED, name) else ():
        if known.digest == digest:
            return known

    def numbered() -> list[JsonObject]:
        """Number the version among those there are by then; none if it is one of them."""
        digests = [canonical.text_of(one, "reasons") for one in ledger.find_entries(DEFINED, name)]
        entry: JsonObject = {"name": name, "reasons": digest, "type": DEFINED, "version": str(len(digests) + 1)}
        return [] if digest in digests else [entry]

    ledger.append(numbered)
    return next(one for one in reason_maps(ledger, name) if one.digest == digest)


def _reason_of(code: str, given: Mapping[str, Any]) -> Reason:
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise InputError(f"reasons: expected a code of at most 64 letters, digits, '_', '.', '-', got {code!r}")
    if not isinstance(given, Mapping) or set(given) != {"direction", "features", "text"}:
        raise InputError(f"reasons: expected exactly features, direction and text (code {code})")
    features, text, direction = given["features"], given["text"], given["direction"]
    names = (features,) if isinstance(features, str) else tuple(features)
    if not names or not all(isinstance(one, str) for one in names) or not isinstance(text, str) or not text:
        raise InputError(f"reasons: expected names of features and a text (code {code})")
    if direction not in _DIRECTIONS:
        raise InputError(f"reasons: expected the direction increases or decreases, got {direction!r} (code {code})")
    return Reason(code=code, features=tuple(sorted(set(names))), direction=_DIRECTIONS[direction], text=text)


def _inputs_of(ledger: Ledger, model: str) -> set[str] | None:
    """Return the names of a model's inputs; None where the archive does not know them."""
    document = ledger.document(model)
    fitted, training = document.get("fitted"), document.get("training")
    if isinstance(training, dict):
        return set(dataset_columns(ledger.document(canonical.text_of(training, "schema"))))
    columns = ledger.document(fitted).get("columns") if isinstance(fitted, str) else None
    return {str(one) for one in columns} if isinstance(columns, list) else None


def reason_maps(ledger: Ledger, name: str | None = None) -> list[ReasonMap]:
    """Return every version of all reason maps, or of one, oldest first.

    Raises:
        NotFoundError: There is none of that name.
    """
    found = [_read(ledger, entry) for entry in ledger.find_entries(DEFINED, name)]
    if name is not None and not found:
        raise unknown_definition(ledger, name, entry=DEFINED, what=_WHAT)
    return found


def find_reasons(ledger: Ledger, spec: str) -> ReasonMap:
    """Return a reason map by `name` (the latest version), `name:version`, or a digest prefix of at least 6 digits.

    Raises:
        NotFoundError: There is none.
        AmbiguousError: A digest prefix fits several.
        QueryError: What names it is no text.
    """
    return find_definition(ledger, spec, lambda name: reason_maps(ledger, name), entry=DEFINED, what=_WHAT)


def _read(ledger: Ledger, entry: JsonObject) -> ReasonMap:
    digest = canonical.text_of(entry, "reasons")
    document = ledger.document(digest)
    codes, model = document.get("codes"), document.get("model")
    members = codes.items() if isinstance(codes, dict) else ()
    return ReasonMap(
        name=canonical.text_of(entry, "name"),
        version=canonical.count_of(entry, "version"),
        digest=digest,
        reasons=tuple(_reason_of(code, given) for code, given in members if isinstance(given, dict)),
        model=model if isinstance(model, str) else None,
        defined=canonical.text_of(entry, "time"),
    )


def reason_map_page(found: ReasonMap) -> Page:
    """Return a reason map for a reader."""
    rows = tuple(
        Row(cells=(one.code, ", ".join(map(label, one.features)), one.direction, one.text)) for one in found.reasons
    )
    facts = (("digest", found.digest), ("defined", found.defined), ("for model", found.model or "any"))
    section = Section(title="Codes", columns=("code", "features", "direction", "text"), rows=rows)
    headline = f"reason map {found.name}:{found.version} with {count_text(len(rows), 'code')}"
    return Page(headline=headline, facts=facts, sections=(section,))
