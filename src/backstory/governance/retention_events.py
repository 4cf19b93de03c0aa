"""What happened to records since they were made, as far as rules about keeping ask: decisions, notices, answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from backstory.governance.facts import LINKS, Fact, read_facts
from backstory.governance.retention_rules import CLOSURE, DECISION, NOTICE
from backstory.governance.rule_gate import RuleGate
from backstory.ledger.ledger import Ledger
from backstory.records import decision, notice, request
from backstory.records.fact import FactKind
from backstory.records.identity import parse_time

EVENT_KINDS = frozenset({decision.DECISION.kind, notice.NOTICE.kind, request.REQUEST.kind})
"""Kinds of records that say what happened to others."""
_QUESTION = "retention"


@dataclass(slots=True, kw_only=True)
class Happened:
    """What happened to one record.

    Attributes:
        adverse: Whether a final decision about it was adverse.
        triggers: Times since when rules count, nanoseconds since 1970; `closure` is None while it is open.
    """

    adverse: bool = False
    triggers: dict[str, int | None] = field(default_factory=dict)

    def note(self, trigger: str, moment: int) -> None:
        """Say that something happened; the last time counts."""
        self.triggers[trigger] = max(moment, self.triggers.get(trigger) or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What happened to the records of an archive, by their ids.

    Attributes:
        of: What happened to each record to which something did.
        about: For decisions and notices the predictions they are about.
    """

    of: Mapping[bytes, Happened]
    about: Mapping[bytes, frozenset[bytes]]


def read_events(ledger: Ledger) -> Events:
    """Return what happened to records, from decisions, notices and requests.

    What leads from a decision to its predictions is sealed: a rule looks, and nobody is shown it. Where it was erased,
    the link is gone.

    Raises:
        NotFoundError: The keys of the vault are not here, so that nobody can say what may be disposed of.
    """
    found: dict[bytes, Happened] = {}
    about: dict[bytes, frozenset[bytes]] = {}
    for one in _facts(ledger, decision.DECISION):
        linked = frozenset(one.values.get("predictions") or ())
        about[_key(one)] = linked
        if one.values.get("state") != decision.FINAL:
            continue
        for key in (_key(one), *linked):
            happened = found.setdefault(key, Happened())
            happened.adverse = happened.adverse or bool(one.values.get("adverse"))
            happened.note(DECISION, parse_time(one.time))
    _note_notices(list(_facts(ledger, notice.NOTICE)), found, about)
    _note_requests(list(_facts(ledger, request.REQUEST)), found)
    return Events(of=found, about=about)


def _note_notices(facts: Iterable[Fact], found: dict[bytes, Happened], about: dict[bytes, frozenset[bytes]]) -> None:
    decided: dict[bytes, bytes] = {}
    for one in facts:
        root = one.values.get("of") or _key(one)
        if (link := one.values.get("decision")) is not None:
            decided[root] = link
        of = decided.get(root)
        about[_key(one)] = about.get(of, frozenset()) if of else frozenset()
        if one.values.get("state") in {notice.EXEMPT, notice.UNSENT}:
            continue
        for key in {_key(one), root, *([] if of is None else [of]), *about[_key(one)]}:
            found.setdefault(key, Happened()).note(NOTICE, parse_time(one.time))
        if of is not None and of in found:
            found[root].adverse = found[_key(one)].adverse = found[of].adverse


def _note_requests(facts: Iterable[Fact], found: dict[bytes, Happened]) -> None:
    closed: dict[bytes, int] = {}
    roots: dict[bytes, bytes] = {}
    for one in facts:
        roots[_key(one)] = root = one.values.get("of") or _key(one)
        if one.values.get("state") in request.ANSWERED:
            closed[root] = parse_time(one.time)
    for key, root in roots.items():
        found.setdefault(key, Happened()).triggers[CLOSURE] = closed.get(root)


def _facts(ledger: Ledger, kind: FactKind) -> list[Fact]:
    return read_facts(ledger, RuleGate(), kind, _QUESTION, groups=[LINKS])


def _key(fact: Fact) -> bytes:
    return UUID(fact.id).bytes
