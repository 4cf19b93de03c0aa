"""Reading decisions: which there are, what was decided with a prediction, how often people did not follow the model.

What identifies nobody stands in clear and is read by everyone; whom a decision is about, by whom and why it was made is
opened through the gate. Decisions of a prediction are found by sealed links, so without the gate none is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, Final, get_args

import numpy as np
import pyarrow as pa

from backstory.columns.people import leads_to
from backstory.errors import AmbiguousError, NotFoundError
from backstory.governance.facts import LINKS, Fact, read_columns, read_facts
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import find_record
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Row, Section, rows_of
from backstory.lineage.plain import count_text, label, plain, shown, to_second
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.decision import DECISION, DRAFT, FINAL, VERIFIED, Automation
from backstory.records.identity import id_text
from backstory.records.sensitivity import STAFF, group_name

FINALISED = "decision.finalised"
"""Type of the entry that makes a draft a decision."""

OUTCOME: Final = "outcome"
"""The sealed group of what was decided."""

STAFF_GROUP: Final = group_name("staff", STAFF)
"""The sealed group of who decided."""

HIDDEN: Final = "sealed: shown by its id, to whoever may see it"
"""What stands for a sealed value that was not asked for, as in what was just recorded and in lists, or not opened."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FOREVER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A person's verdict on a draft.

    Attributes:
        id: Id of its record.
        of: Id of the draft.
        verdict: `confirmed` or `disputed`.
        at: When.
        who: Who gave it; None where sealed.
        competence: Which proof of competence they named.
        signature: What their signature means.
    """

    id: str
    of: str
    verdict: str
    at: datetime
    who: str | None
    competence: str | None
    signature: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Answer):
    """A decision. What is sealed and was not opened is None, as is what nobody said.

    Attributes:
        id: Id of its record.
        recorded: When it was recorded, RFC 3339.
        state: `draft` or `final`.
        finalised: When a draft became final, RFC 3339; None for one that is not, and for one that never was a draft.
        domain: Its domain.
        domain_entry: Index of the entry that proposed what the domain demands.
        automation: `solely-automated`, `human-approved`, `human-decided`.
        reliance: What the predictions counted for.
        action: What was done with what the model said.
        ground: Code for why it was not accepted.
        adverse: Whether it is adverse to the person.
        models: Models that made the predictions, as `name:version`.
        map: The reason map.
        reason_count: How many reasons are given.
        decided: When it was decided.
        sealed: Groups that were not opened.
        erased: Whether whom it is about was erased.
        verifications: Verdicts on it.
        reversed_by: Ids of decisions that reverse it.
        subject: Whom it is about.
        case: The case.
        predictions: Ids of the predictions.
        reverses: Id of the decision it reverses.
        outcome: What was decided.
        reasons: Codes of its reasons.
        text: Why, in words.
        factors: What else counted.
        shown: SHA-256 of what whoever decided was shown, in hex.
        page: Those bytes.
        who: Who decided.
        role: As what.
        authority: By which authority.
        competence: With which proof of competence.
        signature: What the signature means.
        opened: When the case was opened.
        entry: Index of the manifest that proves it; None while it waits to be sealed.
    """

    id: str
    recorded: str
    state: str
    finalised: str | None
    domain: str | None
    domain_entry: int | None
    automation: str
    reliance: str
    action: str
    ground: str | None
    adverse: bool
    models: tuple[str, ...]
    map: str | None
    reason_count: int
    decided: datetime
    sealed: tuple[str, ...]
    erased: bool
    verifications: tuple[Verification, ...] = ()
    reversed_by: tuple[str, ...] = ()
    subject: str | None = field(default=None, repr=False)
    case: str | None = field(default=None, repr=False)
    predictions: tuple[str, ...] = field(default=(), repr=False)
    reverses: str | None = field(default=None, repr=False)
    outcome: str | None = field(default=None, repr=False)
    reasons: tuple[str, ...] = field(default=(), repr=False)
    text: str | None = field(default=None, repr=False)
    factors: tuple[str, ...] = field(default=(), repr=False)
    shown: str | None = field(default=None, repr=False)
    page: bytes | None = field(default=None, repr=False)
    who: str | None = field(default=None, repr=False)
    role: str | None = field(default=None, repr=False)
    authority: str | None = field(default=None, repr=False)
    competence: str | None = field(default=None, repr=False)
    signature: str | None = field(default=None, repr=False)
    opened: datetime | None = field(default=None, repr=False)
    entry: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether it is a decision, and no draft."""
        return self.state == FINAL

    @property
    def stands(self) -> bool:
        """Whether it is final and, as far as was opened, no decision reverses it."""
        return self.is_final and not self.reversed_by

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        found: dict[str, Any] = plain(asdict(self))
        return found | {"stands": self.stands}

    def _page(self) -> Page:
        return decision_page(self)


# --- which there are --------------------------------------------------------------------------------------------------


def find_decisions(
    ledger: Ledger,
    gate: Gate,
    question: str,
    *,
    ids: Collection[str] | None = None,
    predictions: Collection[str] | None = None,
    only: Mapping[str, Collection[Any]] | None = None,
    groups: Collection[str] | None = None,
) -> list[Decision]:
    """Return decisions and drafts, oldest first: all, those of these ids, or those made with one of some predictions.

    Args:
        ledger: The archive.
        gate: Opens what is sealed, or does not.
        question: What is being asked, for the record of the read.
        ids: Whole ids of decisions.
        predictions: Whole ids of predictions.
        only: Values that an open column has, by its name.
        groups: Sealed groups that are asked for; None for all.
    """
    where: dict[str, Collection[Any]] = {"state": [DRAFT, FINAL], **(only or {})}
    linked = None if predictions is None else {"predictions": [_bytes(one) for one in predictions]}
    if ids is not None:
        where["id"] = [_bytes(one) for one in ids]
    facts = read_facts(ledger, gate, DECISION, question, where, linked=linked, groups=groups)
    if not facts:
        return []
    drafts = [fact for fact in facts if fact.values["state"] == DRAFT]
    verdicts = _verdicts(ledger, gate, question, [fact.id for fact in drafts], groups)
    finals = _finals(ledger) if drafts else {}
    found = [_decision(fact, verdicts.get(fact.id, ()), finals.get(fact.id)) for fact in facts]
    wants_links = groups is None or LINKS in groups
    return _with_reversals(ledger, gate, question, found) if wants_links else found


def find_decision(
    ledger: Ledger, gate: Gate, question: str, prefix: str, *, groups: Collection[str] | None = None
) -> Decision:
    """Return one decision or draft by its id, or a unique prefix.

    Raises:
        NotFoundError: There is none.
        AmbiguousError: Several ids begin so.
    """
    found = find_decisions(ledger, gate, question, ids=[find_record(ledger, prefix, DECISION.kind).id], groups=groups)
    if not found:
        raise NotFoundError("decision: the record of this id is a verdict on one; ask for the decision itself")
    if len(found) > 1:
        raise AmbiguousError("decision: several records have this id")
    return found[0]


def _verdicts(
    ledger: Ledger, gate: Gate, question: str, drafts: Sequence[str], groups: Collection[str] | None
) -> dict[str, tuple[Verification, ...]]:
    if not drafts:
        return {}
    keys = [_bytes(one) for one in drafts]
    where: dict[str, Collection[Any]] = {"state": [VERIFIED], "of": keys}
    found: dict[str, tuple[Verification, ...]] = {}
    for fact in read_facts(ledger, gate, DECISION, question, where, groups=groups):
        said = fact.values
        one = Verification(
            id=fact.id,
            of=id_text(said["of"]),
            verdict=said["verdict"],
            at=said["decided"],
            who=said.get("who"),
            competence=said.get("competence"),
            signature=said.get("signature"),
        )
        found[one.of] = (*found.get(one.of, ()), one)
    return found


def _finals(ledger: Ledger) -> dict[str, str]:
    """Return when drafts became final, by id."""
    found: dict[str, str] = {}
    for entry in ledger.find_entries(FINALISED):
        found.setdefault(canonical.text_of(entry, "decision"), canonical.text_of(entry, "time"))
    return found


def _with_reversals(ledger: Ledger, gate: Gate, question: str, found: list[Decision]) -> list[Decision]:
    keys = [_bytes(one.id) for one in found]
    where: dict[str, Collection[Any]] = {"state": [DRAFT, FINAL], "action": ["reversed"]}
    later: dict[str, tuple[str, ...]] = {}
    facts = read_facts(ledger, gate, DECISION, question, where, linked={"reverses": keys}, groups=[LINKS])
    finals = _finals(ledger) if any(fact.values["state"] == DRAFT for fact in facts) else {}
    for fact in facts:
        if fact.values["state"] == FINAL or fact.id in finals:
            reversed_ = id_text(fact.values["reverses"])
            later[reversed_] = (*later.get(reversed_, ()), fact.id)
    return [replace(one, reversed_by=later.get(one.id, ())) for one in found]


def _decision(fact: Fact, verdicts: tuple[Verification, ...], finalised: str | None) -> Decision:
    said = fact.values
    reverses, digest = said.get("reverses"), said.get("shown")
    is_opened = "predictions" in said
    values: dict[str, Any] = {name: said[name] for name in _OPEN} | {name: said.get(name) for name in _SEALED}
    return Decision(
        id=fact.id,
        recorded=fact.time,
        state=FINAL if finalised is not None else said["state"],
        finalised=finalised,
        models=tuple(said["models"]),
        sealed=fact.sealed,
        erased=is_opened and not said["predictions"],
        verifications=verdicts,
        **values,
        predictions=tuple(id_text(one) for one in said.get("predictions") or ()),
        reverses=None if reverses is None else id_text(reverses),
        reasons=tuple(said.get("reasons") or ()),
        factors=tuple(said.get("factors") or ()),
        shown=None if digest is None else digest.hex(),
        entry=fact.entry,
    )


_OPEN: Final = (
    "domain", "domain_entry", "automation", "reliance", "action", "ground", "adverse", "map", "reason_count", "decided",
)  # fmt: skip
_SEALED: Final = (
    "subject", "case", "outcome", "text", "page", "who", "role", "authority", "competence", "signature", "opened",
)  # fmt: skip


def _bytes(name: str) -> bytes:
    return bytes.fromhex(name.replace("-", ""))


# --- how often people did not follow the model ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Oversight(Answer):
    """What people did with what models said, over final decisions of a period.

    Attributes:
        decisions: How many there are.
        by_automation: How many by who decided.
        by_action: How many by what was done.
        by_model: The same by model, as `name:version`; a decision on predictions of several counts for each.
        verified: How many were verified by somebody.
        disputed: How many drafts somebody disputed.
        review_seconds: Median time from opening a case to deciding it, of decisions with a person; None where nobody
            said when one was opened, or it is sealed.
        timed: Of how many decisions that is known.
    """

    decisions: int
    by_automation: dict[str, int]
    by_action: dict[str, int]
    by_model: dict[str, dict[str, int]]
    verified: int
    disputed: int
    review_seconds: float | None
    timed: int

    def rate(self, action: str) -> float | None:
        """Return which part of the decisions with a person had an action; None where there is none."""
        people = self.decisions - self.by_automation.get("solely-automated", 0)
        return self.by_action.get(action, 0) / people if people else None

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        found: dict[str, Any] = plain(asdict(self))
        return found | {"rates": {action: self.rate(action) for action in self.by_action}}

    def _page(self) -> Page:
        return oversight_page(self)


PEOPLE: Final = tuple(sorted(set(get_args(Automation)) - {"solely-automated"}))
"""Ways to decide in which a person takes part."""


def oversight_of(decisions: Iterable[Decision], automated: int = 0) -> Oversight:
    """Count what was done with what models said. Pure; never by person.

    Args:
        decisions: Decisions and drafts in which a person took part.
        automated: How many decisions no person took part in.
    """
    listed = list(decisions)
    with_people = [one for one in listed if one.is_final]
    by_automation = Counter(one.automation for one in with_people) | Counter({"solely-automated": automated})
    by_model: dict[str, Counter[str]] = {}
    for one in with_people:
        for model in one.models:
            by_model.setdefault(model, Counter())[one.action] += 1
    seconds = [(one.decided - one.opened).total_seconds() for one in with_people if one.opened is not None]
    return Oversight(
        decisions=len(with_people) + automated,
        by_automation=dict(sorted((+by_automation).items())),
        by_action=dict(sorted(Counter(one.action for one in with_people).items())),
        by_model={model: dict(sorted(counts.items())) for model, counts in sorted(by_model.items())},
        verified=sum(any(verdict.verdict == "confirmed" for verdict in one.verifications) for one in with_people),
        disputed=sum(any(verdict.verdict == "disputed" for verdict in one.verifications) for one in listed),
        review_seconds=median(seconds) if seconds else None,
        timed=len(seconds),
    )


def count_automated(ledger: Ledger, models: Collection[str] | None, since: int | None, until: int | None) -> int:
    """Return how many final decisions a program alone made, without making a value of each.

    Args:
        ledger: The archive.
        models: Models, as `name:version`, on whose predictions; None for any.
        since: Decided then or later, in nanoseconds since the epoch.
        until: Decided before.
    """
    count = 0
    where = {"state": [FINAL], "automation": ["solely-automated"]}
    for table in read_columns(ledger, DECISION, ["decided", "models"], where):
        chosen = table if models is None else table.filter(leads_to(table, {"models": models}))
        decided = np.asarray(chosen["decided"].cast(pa.int64()))
        count += int(((decided >= (since or -_FOREVER)) & (decided < (until or _FOREVER))).sum())
    return count


def between(decisions: Iterable[Decision], since: int | None, until: int | None) -> list[Decision]:
    """Return what was decided at or after a moment and before another, in nanoseconds since the epoch."""
    timed = [((one.decided - _EPOCH) // _MICROSECOND * 1000, one) for one in decisions]
    return [one for at, one in timed if (since is None or at >= since) and (until is None or at < until)]


# --- for a reader -----------------------------------------------------------------------------------------------------


def decision_text(one: Decision) -> str:
    """Return a decision in a line."""
    what = HIDDEN if OUTCOME in one.sealed else "erased" if one.erased else shown(one.outcome)
    adverse = ", adverse" if one.adverse else ""
    draft = "" if one.is_final else f" ({one.state})"
    return f"{what}{adverse}: {one.action}, {one.automation}{draft}"


def decision_page(one: Decision) -> Page:
    """Return a decision for a reader."""
    facts = [
        ("decided", f"{one.decided.isoformat()}, recorded {to_second(one.recorded)}"),
        ("automation", f"{one.automation}; the model's answer was {one.reliance}"),
        ("action", f"{one.action}{f', ground {one.ground}' if one.ground else ''}"),
        ("models", ", ".join(one.models)),
    ]
    facts += [] if one.domain is None else [("domain", f"{one.domain}, as entry {one.domain_entry} says")]
    unread = HIDDEN if OUTCOME in one.sealed else "erased"
    facts += [("reasons", ", ".join(one.reasons) or f"{one.reason_count}, {unread}")] if one.reason_count else []
    facts += [("finalised", to_second(one.finalised))] if one.finalised else []
    said = {
        "about": one.subject, "case": one.case, "why": one.text, "shown": one.shown, "decided by": one.who,
        "role": one.role, "authority": one.authority, "competence": one.competence, "signature": one.signature,
    }  # fmt: skip
    facts += [(name, label(value)) for name, value in said.items() if value is not None]
    facts += [("other factors", ", ".join(map(label, one.factors)))] if one.factors else []
    facts += [("predictions", ", ".join(one.predictions))] if one.predictions else []
    facts += [("reverses", one.reverses)] if one.reverses else []
    verdicts = tuple(
        Row(
            cells=(one_.at.isoformat(), one_.verdict, one_.who or HIDDEN, one_.competence or ""),
            loud=one_.verdict == "disputed",
        )
        for one_ in one.verifications
    )
    columns = ("when", "verdict", "by", "competence")
    alarms = [f"REVERSED by {', '.join(one.reversed_by)}"] if one.reversed_by else []
    alarms += [] if one.is_final else ["DRAFT: nobody has finalised it"]
    return Page(
        headline=f"decision {one.id}: {decision_text(one)}",
        alarms=tuple(alarms),
        facts=tuple(facts),
        sections=(Section(title="Verdicts", columns=columns, rows=verdicts),) if verdicts else (),
    )


def decisions_page(decisions: Sequence[Decision]) -> Page:
    """Return decisions for a reader, a line each."""
    rows = tuple(
        Row(
            cells=(to_second(one.recorded), one.id, decision_text(one), ", ".join(one.models), one.domain or ""),
            loud=not one.is_final,
        )
        for one in decisions
    )
    columns = ("recorded", "id", "decision", "models", "domain")
    sections = (Section(title="Decisions", columns=columns, rows=rows),) if rows else ()
    return Page(headline=count_text(len(rows), "decision"), sections=sections)


def oversight_page(found: Oversight) -> Page:
    """Return what people did with what models said, for a reader."""
    rates = [
        (action, f"{count:,}", f"{(found.rate(action) or 0) * 100:.1f}%") for action, count in found.by_action.items()
    ]
    models = [
        (model, ", ".join(f"{action} {count:,}" for action, count in counts.items()))
        for model, counts in found.by_model.items()
    ]
    seconds = "not known" if found.review_seconds is None else f"{found.review_seconds:,.0f} s"
    sections = [Section(title="What people did", columns=("action", "decisions", "rate"), rows=rows_of(rates))]
    sections.append(Section(title="By model", columns=("model", "actions"), rows=rows_of(models)))
    return Page(
        headline=f"{count_text(found.decisions, 'decision')}, "
        f"{found.decisions - found.by_automation.get('solely-automated', 0):,} with a person",
        facts=(
            ("median review", f"{seconds}, of {count_text(found.timed, 'decision')}"),
            ("verified", f"{found.verified:,}"),
            ("disputed drafts", f"{found.disputed:,}"),
        ),
        sections=tuple(section for section in sections if section.rows),
    )
