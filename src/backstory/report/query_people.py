"""Canonical queries about people: who decided, who was told, who asked, and who saw what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from backstory.errors import BackstoryError, QueryError
from backstory.governance.access_log import read_log, who_saw
from backstory.governance.access_stream import Access
from backstory.governance.decision_domain import domain_of
from backstory.governance.decision_read import STAFF_GROUP, Decision, between, find_decisions
from backstory.governance.erasure_find import find_person
from backstory.governance.matters import ns_of
from backstory.governance.notice import missing_notices
from backstory.governance.proposal import is_same_person, proposals
from backstory.governance.request import find_requests
from backstory.governance.rule_gate import RuleGate
from backstory.governance.suppression import LEAST, margins, suppress
from backstory.lineage.plain import count_text
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.decision import AGAINST
from backstory.records.identity import time_text
from backstory.records.sensitivity import SPECIAL
from backstory.report.query import SINCE, UNTIL, Cell, Found, Given, Parameter, Query, Room

_ACTIONS: Final = ("accepted", "modified", "overrode", "disregarded", "reversed", "escalated", "stopped")
_SOLE: Final = "solely-automated"
_TWO: Final = 2


# --- Q-03 -------------------------------------------------------------------------------------------------------------


def _of_subject(room: Room, given: Given) -> Found:
    found = find_person(room.ledger, room.gate, room.recorder, given.text("subject") or "")
    rows: list[dict[str, Cell]] = [{"what": "record", "id": name, "said": None} for name in found.ids]
    rows += [{"what": "trained on", "id": model, "said": None} for model in found.models]
    for one in found.recipients:
        said = one.to_dict()
        name = said.pop("name", None) or said.pop("entry", None)
        told = ", ".join(f"{key} {value}" for key, value in said.items() if value)
        rows.append({"what": "given to", "id": None if name is None else str(name), "said": told})
    return Found(
        rows=rows,
        examined={**found.kinds, "rows of datasets": found.rows},
        notes=[f"not looked into: {one}" for one in found.unreadable],
        tells=not found.unreadable,
    )


# --- Q-06 -------------------------------------------------------------------------------------------------------------


def _oversight(room: Room, given: Given) -> Found:
    by = given.text("by")
    if by not in {"model", "domain", "reviewer"}:
        raise QueryError("Q-06: expected by to be model, domain or reviewer")
    everything = find_decisions(room.ledger, room.gate, "Q-06", groups=[STAFF_GROUP])
    decided = [one for one in between(everything, given.since, given.until) if one.is_final]
    with_people = [one for one in decided if one.automation != _SOLE]
    sealed = sum(STAFF_GROUP in one.sealed for one in with_people)
    groups: dict[str, list[Decision]] = {}
    for one in with_people:
        for name in _group_names(one, by):
            groups.setdefault(name, []).append(one)
    counts: dict[tuple[str, ...], int] = {(name,): len(own) for name, own in groups.items()}
    hidden = suppress(counts, margins(counts)).cells if by == "reviewer" else frozenset()
    rows = [_rates(name, own) for name, own in sorted(groups.items()) if (name,) not in hidden]
    notes = [f"{count_text(sealed, 'decision')} with sealed reviewer and times"] if sealed else []
    if hidden:
        notes.append(
            f"{count_text(len(hidden), 'reviewer')} of fewer than {LEAST} decisions, or next to them, not shown"
        )
    return Found(
        rows=rows,
        examined={"decisions": len(decided), "with people": len(with_people)},
        notes=notes,
        tells=bool(decided) and not (sealed and by == "reviewer"),
    )


def _group_names(one: Decision, by: str) -> Sequence[str]:
    if by == "model":
        return one.models or ("no model",)
    return [(one.domain if by == "domain" else one.who) or ("none" if by == "domain" else "sealed")]


def _rates(name: str, own: Sequence[Decision]) -> dict[str, Cell]:
    actions = Counter(one.action for one in own)
    seconds = [(one.decided - one.opened).total_seconds() for one in own if one.opened is not None]
    against = sum(actions[action] for action in AGAINST)
    counts: dict[str, Cell] = {action: actions[action] for action in _ACTIONS}
    return {
        "group": name,
        "decisions": len(own),
        **counts,
        "share_against": against / len(own),
        "median_review_seconds": median(seconds) if seconds else None,
    }


# --- Q-07 -------------------------------------------------------------------------------------------------------------


def _two_verifiers(room: Room, given: Given) -> Found:
    demanded = {
        one.index: domain_of(one) for one in proposals(room.ledger, "decision.domain") if one.verdict == "approved"
    }
    wanted = {index for index, one in demanded.items() if one.demands.verifiers >= _TWO}
    decided = find_decisions(room.ledger, RuleGate(), "Q-07", groups=[STAFF_GROUP]) if wanted else []
    own = [one for one in between(decided, given.since, given.until) if one.domain_entry in wanted and one.is_final]
    rows: list[dict[str, Cell]] = []
    lost = 0
    for one in own:
        confirmed = [verdict for verdict in one.verifications if verdict.verdict == "confirmed"]
        lost += any(verdict.who is None for verdict in confirmed)
        qualified = _distinct(verdict.who for verdict in confirmed if verdict.competence is not None)
        if qualified < _TWO and not any(verdict.who is None for verdict in confirmed):
            rows.append(
                {
                    "decision": one.id,
                    "decided": time_text(ns_of(one.decided)),
                    "domain": one.domain,
                    "action": one.action,
                    "verifiers": _distinct(verdict.who for verdict in confirmed),
                    "qualified": qualified,
                }
            )
    notes = ["which decisions are biometric matches is what a domain with two verifiers says: name it so"]
    if lost:
        notes.append(f"of {count_text(lost, 'decision')} the verifiers were erased")
    return Found(
        rows=rows, examined={"domains": len(wanted), "decisions": len(own)}, notes=notes, applies=bool(wanted),
        tells=bool(own) and not lost,
    )  # fmt: skip


def _distinct(names: Iterable[str | None]) -> int:
    found: list[str] = []
    for name in names:
        if name is not None and not any(is_same_person(name, other) for other in found):
            found.append(name)
    return len(found)


# --- Q-09 -------------------------------------------------------------------------------------------------------------


def _missing_notices(room: Room, given: Given) -> Found:
    missing = missing_notices(room.ledger, room.ledger.world.now_ns())
    own = [one for one in missing if given.has(time_text(ns_of(one.decided)))]
    everything = find_decisions(room.ledger, RuleGate(), "Q-09", groups=[])
    adverse = sum(one.adverse and one.is_final for one in between(everything, given.since, given.until))
    rows: list[dict[str, Cell]] = [
        {
            "decision": one.decision,
            "decided": time_text(ns_of(one.decided)),
            "domain": one.domain,
            "expected": one.expected,
            "problem": ", ".join(one.problems),
        }
        for one in own
    ]
    return Found(
        rows=rows,
        examined={"adverse decisions": adverse},
        notes=["decisions about people who were erased are left out: their link to a notice is gone with them"],
        tells=bool(everything),
    )


# --- Q-10 -------------------------------------------------------------------------------------------------------------


def _disclosed(room: Room, given: Given) -> Found:
    entries = room.listed("reasons.disclosed", given=given)
    codes_given: Counter[str] = Counter()
    rows: list[dict[str, Cell]] = []
    unknown: list[str] = []
    for index, entry in entries:
        codes, why = _codes(room, entry)
        if codes is None:
            unknown.append(f"entry {index}: {why}")
            continue
        codes_given.update(codes)
        prediction = canonical.text_of(entry, "prediction")
        try:
            whole = room.reasons(
                prediction, f"{entry['name']}:{entry['version']}", adverse=entry["adverse"], count=None
            )
        except BackstoryError as error:
            unknown.append(f"entry {index}: what was scored cannot be told ({error.code})")
            continue
        scored = {one.code for one in whole.codes}
        rows += [
            {
                "entry": index,
                "prediction": prediction,
                "map": whole.map.name,
                "code": code,
                "scored": ", ".join(sorted(scored)),
            }
            for code in codes
            if code not in scored
        ]
    counts = {f"code {code}": count for code, count in sorted(codes_given.items())}
    return Found(
        rows=rows,
        examined={"disclosures": len(entries), **counts},
        notes=unknown[:50],
        tells=bool(entries) and not unknown,
    )


def _codes(room: Room, entry: JsonObject) -> tuple[list[str] | None, str]:
    codes = entry.get("codes")
    if isinstance(codes, list):
        return [str(one) for one in codes], ""
    if not room.gate.allows(["output"]):
        return None, "its codes are sealed"
    room.gate.pass_through("Q-10", ["output"], 1)
    try:
        text = room.ledger.text_of(canonical.text_of(entry, "sealed_codes"), "sealed_codes")
    except BackstoryError:
        return None, "its codes were erased"
    said = canonical.parse_object(text.encode(), "codes")["codes"]
    return [str(one) for one in said] if isinstance(said, list) else [], ""


# --- Q-11, Q-26 -------------------------------------------------------------------------------------------------------


_SCOPE_ERASED = "it was erased which records they read, with a person who had one of them"


def _who_read(room: Room, given: Given) -> Found:
    subject, prediction = given.text("subject"), given.text("prediction")
    if (subject is None) is (prediction is None):
        raise QueryError("Q-11: expected a subject or a prediction")
    seen = who_saw(room.ledger, room.gate, subject=subject, prediction=prediction)
    own = [one for one in seen if given.has(one.access.time)]
    rows = [_access_row(one.access) | {"certain": one.certain} for one in own]
    erased = sum(one.access.is_erased for one in own)
    unsure = sum(not one.certain for one in own) - erased
    notes = [
        f"of {count_text(count, 'access', 'accesses')} {why}"
        for count, why in ((unsure, "it is not recorded which records they read"), (erased, _SCOPE_ERASED))
        if count
    ]
    return Found(rows=rows, examined={"accesses": len(seen)}, notes=notes)


def _special(room: Room, given: Given) -> Found:
    found = read_log(room.ledger, room.gate, since=given.since, until=given.until)
    own = [one for one in found if SPECIAL in one.classes]
    return Found(
        rows=[_access_row(one) for one in own],
        examined={"accesses": len(found)},
        notes=["what was read for bias testing is what its purpose says; when such a copy is deleted is not recorded"],
    )


def _access_row(one: Access) -> dict[str, Cell]:
    return {
        "access": one.id,
        "time": one.time,
        "who": one.actor,
        "role": one.role,
        "question": one.question,
        "outcome": one.outcome,
        "purpose": one.purpose,
        "case": one.case,
        "groups": ", ".join(one.groups),
        "records": one.records,
    }


# --- Q-24 -------------------------------------------------------------------------------------------------------------


def _requests(room: Room, given: Given) -> Found:
    now = room.ledger.world.now_ns()
    found = find_requests(room.ledger, room.gate, groups=[])
    own = [one for one in found if given.has(time_text(ns_of(one.received)))]
    rows: list[dict[str, Cell]] = []
    for type_ in sorted({one.type for one in own}):
        of_type = [one for one in own if one.type == type_]
        states = Counter(one.state for one in of_type)
        days = [(one.answered - one.received).total_seconds() / 86_400 for one in of_type if one.answered is not None]
        rows.append(
            {
                "type": type_,
                "received": len(of_type),
                "fulfilled": states["fulfilled"],
                "refused": states["refused"],
                "open": sum(one.answered is None for one in of_type),
                "overdue": sum(one.answered is None and one.is_late(now) for one in of_type),
                "answered_late": sum(one.answered is not None and one.is_late(now) for one in of_type),
                "median_days": median(days) if days else None,
            }
        )
    return Found(rows=rows, examined={"requests": len(own)}, tells=bool(found))


_ACCESS_COLUMNS: Final = {
    "access": "id of its record",
    "time": "when",
    "who": "who asked",
    "role": "under which role",
    "question": "what was asked",
    "outcome": "`allowed`, `redacted` or `denied`",
    "purpose": "what for",
    "case": "for which case",
    "groups": "sealed groups",
    "records": "of how many records",
}

QUERIES = (
    Query(
        id="Q-03",
        question="Which records are about a person, which models were trained on them, and who was given something?",
        reads="the index of people, rows of sources, trainings, exports and disclosures",
        columns={"what": "`record`, `trained on` or `given to`", "id": "its id", "said": "what is known of it"},
        shows="records of every kind about the person that are not erased",
        shows_not="records that do not say whom they are about; copies outside",
        supports=("GDPR 15, 19", "EU AI Act 86", "CPPA"),
        run=_of_subject,
        parameters=(Parameter(name="subject", about="The person's id.", required=True),),
    ),
    Query(
        id="Q-06",
        question="How often did people not follow a model, and how long did they take?",
        reads="final decisions in which people took part",
        columns={
            "group": "model version, domain or reviewer",
            "decisions": "how many",
            **{action: f"how many were {action}" for action in _ACTIONS},
            "share_against": "share that was not what the model said",
            "median_review_seconds": "half of the cases took less, from opened to decided",
        },
        shows="what was recorded of decisions; reviewers of few decisions are left out",
        shows_not="whether a review was meaningful; how good a reviewer is",
        supports=("EU AI Act 14, 26", "GDPR 22", "UK GDPR 22A"),
        run=_oversight,
        parameters=(
            Parameter(name="by", about="`model`, `domain` or `reviewer`.", default="model"),
            SINCE,
            UNTIL,
        ),
    ),
    Query(
        id="Q-07",
        question="Which matches were acted on with fewer than two distinct qualified verifiers? None may be.",
        reads="final decisions in domains that demand two verifiers, and the verdicts on them",
        columns={
            "decision": "its id",
            "decided": "when",
            "domain": "in which domain",
            "action": "what was done",
            "verifiers": "how many different people confirmed it",
            "qualified": "how many of them with a proof of competence",
        },
        shows="that two different people with a proof of competence confirmed each decision, by their names",
        shows_not="two names of one person; decisions outside these domains",
        supports=("EU AI Act 14(5), 12(3)(d)",),
        run=_two_verifiers,
        parameters=(SINCE, UNTIL),
        empty=True,
    ),
    Query(
        id="Q-09",
        question="Which adverse decisions have no notice, a late one, or no reason? None may.",
        reads="final adverse decisions, notices and exemptions",
        columns={
            "decision": "its id",
            "decided": "when",
            "domain": "in which domain",
            "expected": "the notice its domain demands",
            "problem": "what is missing",
        },
        shows="that every recorded adverse decision has reasons and a notice in time, or an exemption",
        shows_not="that a notice was understood, or read; decisions that were not recorded",
        supports=("Reg B 1002.9", "FCRA 615", "EU AI Act 26(11), 86", "Colorado SB 24-205"),
        run=_missing_notices,
        parameters=(SINCE, UNTIL),
        empty=True,
    ),
    Query(
        id="Q-10",
        question="Which disclosed reasons were not among the factors scored? None may be.",
        reads="reasons disclosed, and what the recorded prediction's features added",
        columns={
            "entry": "the disclosure",
            "prediction": "of which prediction",
            "map": "of which reason map",
            "code": "the code",
            "scored": "the codes that applied",
        },
        shows="that every code somebody was given was among those that applied; how often each was given",
        shows_not="that a reason is a cause, or understood",
        supports=("Reg B 1002.9(b)(2)", "FCRA 615(a)", "EU AI Act 86"),
        run=_disclosed,
        parameters=(SINCE, UNTIL),
        empty=True,
    ),
    Query(
        id="Q-11",
        question="Who read or exported values of a person or a prediction, when, and what for?",
        reads="the stream of accesses",
        columns={**_ACCESS_COLUMNS, "certain": "whether it names these records"},
        shows="every recorded read of sealed values of these records",
        shows_not="what whoever holds the keys read with another program; what people did with what they saw",
        supports=("GDPR 15, 32", "LED 25", "HIPAA 164.312(b)", "SOC 2 CC6"),
        run=_who_read,
        parameters=(
            Parameter(name="subject", about="The person's id."),
            Parameter(name="prediction", about="Id of the prediction, or a unique prefix."),
            SINCE,
            UNTIL,
        ),
    ),
    Query(
        id="Q-24",
        question="Which requests did people make, and were they answered in time?",
        reads="requests and the answers to them",
        columns={
            "type": "what was asked for",
            "received": "how many",
            "fulfilled": "how many were fulfilled",
            "refused": "how many were refused",
            "open": "how many are not answered",
            "overdue": "how many of these are past their term",
            "answered_late": "how many were answered past their term",
            "median_days": "half of the answers took less",
        },
        shows="requests that were recorded, against the terms recorded with them",
        shows_not="requests nobody recorded; that an answer was right",
        supports=("GDPR 12, 15 to 22", "CPPA"),
        run=_requests,
        parameters=(SINCE, UNTIL),
    ),
    Query(
        id="Q-26",
        question="Who opened data of special categories, and what for?",
        reads="the stream of accesses",
        columns=_ACCESS_COLUMNS,
        shows="every recorded read of columns of class D5",
        shows_not="columns that were not classified; when copies are deleted",
        supports=("EU AI Act 10(5)", "GDPR 9"),
        run=_special,
        parameters=(SINCE, UNTIL),
    ),
)
"""Queries about people."""
