"""Reasons: the codes of a map that fit what was scored in one prediction, and which of them were disclosed.

A reason that is given for a decision has to be among the factors that were scored. So a code applies where one of its
features moved the score to the adverse side, a feature without a code is named, and a disclosure is refused otherwise.
Bytes: docs/format.md section 33.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from backstory.errors import InputError
from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Row, Section
from backstory.lineage.plain import count_text, label, plain
from backstory.lineage.reason_map import ReasonMap
from backstory.records import canonical
from backstory.records.canonical import JsonObject

DISCLOSED = "reasons.disclosed"
"""Type of the entry that says what was disclosed."""

NOISE: Final = 1e-6
"""What a feature added is rounding, and no reason, up to this part of what all features added."""

Adverse: TypeAlias = Literal["high", "low"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """What was scored: input columns that cannot be told apart, mostly one, and what they added to the score."""

    columns: tuple[str, ...]
    added: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The factors of one prediction.

    Attributes:
        id: Its id.
        model: Digest of the model version.
        factors: All of them.
        units: What they add up to.
        method: How that was computed.
        computed: When: `at decision time`, or `afterwards`.
        is_sealed: Whether it is about a person.
    """

    id: str
    model: str
    factors: tuple[Factor, ...]
    units: str
    method: str
    computed: str
    is_sealed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A code that applies to a prediction.

    Attributes:
        code: The code; empty for a feature that has none.
        text: What a person is told.
        features: The features that moved the score to the adverse side, with what each added.
        added: What they added together.
    """

    code: str
    text: str
    features: dict[str, float]
    added: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {"added": plain(self.added), "code": self.code, "features": plain(self.features), "text": self.text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasons(Answer):
    """The codes that apply to a prediction.

    Attributes:
        map: The map.
        scored: What was scored.
        adverse: Which side is the adverse one.
        codes: The codes, largest first.
        uncoded: Features without a code that would have been among them.
        left_out: How many codes that apply were more than asked for.
    """

    map: ReasonMap
    scored: Scored
    adverse: Adverse
    codes: tuple[Given, ...]
    uncoded: tuple[Given, ...]
    left_out: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "adverse": self.adverse,
            "codes": [one.to_dict() for one in self.codes],
            "computed": self.scored.computed,
            "id": self.scored.id,
            "left_out": self.left_out,
            "map": {"digest": self.map.digest, "name": self.map.name, "version": self.map.version},
            "method": self.scored.method,
            "uncoded": [one.to_dict() for one in self.uncoded],
            "units": self.scored.units,
        }

    def __repr__(self) -> str:
        """Return the answer on one line."""
        return f"<Reasons of {self.scored.id}: {reasons_page(self).headline}>"

    def _page(self) -> Page:
        return reasons_page(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """Reasons that were disclosed.

    Attributes:
        prediction: Id of the prediction.
        map: The map, as `name:version`.
        codes: The codes.
        entry: Index of the entry that says so.
    """

    prediction: str
    map: str
    codes: tuple[str, ...]
    entry: int


# --- which apply ------------------------------------------------------------------------------------------------------


def reasons_of(scored: Scored, known: ReasonMap, count: int | None, adverse: Adverse) -> Reasons:
    """Return the codes whose features moved a prediction to the adverse side, largest first. Pure.

    Args:
        scored: What was scored.
        known: The map.
        count: How many codes at most; None for all.
        adverse: Which side is the adverse one.

    Raises:
        InputError: The map is for another model, or a side or count is none.
    """
    if adverse not in {"high", "low"} or (count is not None and count < 1):
        raise InputError(f"reasons: expected adverse 'high' or 'low' and at least one code, got {adverse!r}, {count}")
    if known.model is not None and known.model != scored.model:
        raise InputError(f"reasons: {known.name}:{known.version} is for another model than made this prediction")
    sign, direction = (1, "increases") if adverse == "high" else (-1, "decreases")
    least_added = NOISE * sum(abs(factor.added) for factor in scored.factors)
    applying: dict[str, dict[str, float]] = {}
    alone: list[Given] = []
    for factor in scored.factors:
        if factor.added * sign <= least_added:
            continue
        name = " + ".join(factor.columns)
        fitting = (one for one in known.reasons if one.direction == direction)
        code = next((one.code for one in fitting if set(factor.columns) <= set(one.features)), None)
        if code is None:
            alone.append(Given(code="", text="", features={name: factor.added}, added=factor.added))
        else:
            applying.setdefault(code, {})[name] = factor.added
    texts = {one.code: one.text for one in known.reasons}
    codes = [
        Given(code=code, text=texts[code], features=_largest(features), added=sum(features.values()))
        for code, features in applying.items()
    ]
    ranked = sorted(codes, key=lambda one: (-abs(one.added), one.code))
    kept = ranked if count is None else ranked[:count]
    least = abs(kept[-1].added) if count is not None and len(kept) == count else 0.0
    return Reasons(
        map=known,
        scored=scored,
        adverse=adverse,
        codes=tuple(kept),
        uncoded=tuple(sorted((one for one in alone if abs(one.added) >= least), key=lambda one: -abs(one.added))),
        left_out=len(ranked) - len(kept),
    )


def _largest(features: dict[str, float]) -> dict[str, float]:
    return dict(sorted(features.items(), key=lambda pair: (-abs(pair[1]), pair[0])))


# --- disclosing -------------------------------------------------------------------------------------------------------


def disclose_reasons(ledger: Ledger, whole: Reasons, codes: Sequence[str], to: str | None) -> Disclosure:
    """Record which reasons somebody is given.

    Args:
        ledger: The archive.
        whole: All codes that apply to the prediction.
        codes: Those that are given.
        to: Who is given them.

    Raises:
        InputError: None or one twice is given, or one that was not among the factors scored.
    """
    if not codes or len(set(codes)) != len(codes):
        raise InputError("reasons: expected at least one code to disclose, and each once")
    inside, applying = {one.code for one in whole.map.reasons}, {one.code for one in whole.codes}
    for code in codes:
        if code not in inside:
            raise InputError(f"reasons: {code!r} is no code of {whole.map.name}:{whole.map.version}; nothing disclosed")
        if code not in applying:
            raise InputError(
                f"reasons: {code!r} was not among the factors scored: none of its features moved this prediction to "
                "the adverse side; nothing disclosed"
            )
    said: JsonObject = {"codes": list(codes)}
    if whole.scored.is_sealed:
        said = {"sealed_codes": ledger.commit_text("sealed_codes", canonical.encode({"codes": list(codes)}).decode())}
    entry: JsonObject = {
        **said,
        "adverse": whole.adverse,
        "computed": whole.scored.computed,
        "method": whole.scored.method,
        "name": whole.map.name,
        "prediction": whole.scored.id,
        "reasons": whole.map.digest,
        "recipient": None if to is None else ledger.commit_text("recipient", to),
        "type": DISCLOSED,
        "version": str(whole.map.version),
    }
    (index,) = ledger.append([entry])
    return Disclosure(
        prediction=whole.scored.id, map=f"{whole.map.name}:{whole.map.version}", codes=tuple(codes), entry=index
    )


# --- for a reader -----------------------------------------------------------------------------------------------------


def reasons_page(found: Reasons) -> Page:
    """Return the codes that apply to a prediction for a reader."""
    rows = tuple(Row(cells=(one.code, one.text, _features_text(one), f"{one.added:+.6g}")) for one in found.codes)
    names = [", ".join(map(label, one.features)) for one in found.uncoded]
    alarm = f"NO CODE for {', '.join(names)}, which moved the score as much as what is named here"
    facts = [
        ("prediction", found.scored.id),
        ("map", f"{found.map.name}:{found.map.version}, digest {found.map.digest[:12]}"),
        ("adverse", f"a {found.adverse} score"),
        ("computed", f"{found.scored.computed}, by method {found.scored.method}, in units of the {found.scored.units}"),
    ]
    if found.left_out:
        facts.append(("more", f"{count_text(found.left_out, 'code')} more apply, and added less"))
    section = Section(title="Reasons", columns=("code", "text", "features", "added"), rows=rows)
    headline = (
        f"{count_text(len(rows), 'reason')}: {', '.join(one.code for one in found.codes)}" if rows else "no reason"
    )
    return Page(
        headline=headline,
        alarms=(alarm,) if names else (),
        facts=tuple(facts),
        sections=(section,) if rows else (),
    )


def _features_text(given: Given) -> str:
    return ", ".join(f"{label(name)} {added:+.6g}" for name, added in given.features.items())
