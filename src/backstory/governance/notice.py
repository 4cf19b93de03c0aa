"""Notices: what a person was told about a decision, by when they had to be, and which adverse decisions have none.

A person's content stays sealed; types, grounds and moments stand in clear. Bytes: docs/format.md section 39.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from backstory.capture.fact import record_facts
from backstory.capture.recorder import Recorder
from backstory.errors import ConflictError, InputError
from backstory.governance.decision import kept_content, require_code, require_words
from backstory.governance.decision_domain import domain_of
from backstory.governance.decision_read import HIDDEN, Decision, find_decision, find_decisions
from backstory.governance.facts import LINKS
from backstory.governance.matters import Matter, Step, find_matter, key_of, ns_of, read_matters, step_of, whole_us
from backstory.governance.proposal import proposals, require_actor
from backstory.governance.rule_gate import RuleGate
from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Row, Section
from backstory.lineage.plain import count_text, plain, to_second
from backstory.records.access import Gate
from backstory.records.identity import id_text
from backstory.records.notice import DELIVERED, EXEMPT, ISSUED, NOTICE, SENT, UNSENT

GIVING = "giving a notice"
QUESTION = "notices"
_BEGINS = (ISSUED, EXEMPT)

Delivery = Literal["sent", "delivered", "failed"]
"""What became of a notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is said of a notice when it is issued, or of an exemption.

    Attributes:
        type: What it is, such as `adverse-action`.
        ground: The legal ground.
        subject: Who is told.
        decision: Id of the decision it is about.
        request: Id of the request it answers.
        case: The case.
        content: Its bytes, or their SHA-256 in hex.
        template: Version of the template.
        language: Its language.
        channel: How it goes.
        rule: Name of the clock.
        began_ns: When the term began.
        due_ns: When it ends.
        at_ns: When it was issued.
    """

    type: str
    ground: str
    subject: str | None
    decision: str | None
    request: str | None
    case: str | None
    content: bytes | str | None
    template: str | None
    language: str | None
    channel: str | None
    rule: str | None
    began_ns: int | None
    due_ns: int | None
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Answer):
    """A notice, or a recorded exemption from giving one. What is sealed and was not opened is None.

    Attributes:
        id: Id of its first record.
        recorded: When that was recorded, RFC 3339.
        state: The latest: `issued`, `exempt`, `sent`, `delivered`, `failed`.
        type: What it is.
        ground: The legal ground.
        template: Version of the template.
        language: Its language.
        channel: How it goes.
        rule: Name of the clock.
        began: When the term began.
        due: When it ends.
        at: When it was issued.
        sent: When it was first sent or delivered; None if it was not.
        steps: What became of it.
        sealed: Groups that were not opened.
        subject: Who is told.
        case: The case.
        decision: Id of the decision it is about.
        request: Id of the request it answers.
        digest: SHA-256 of its content, in hex.
        content: Its content, where it is kept.
        who: Who issued it.
        entry: Index of the manifest that proves it; None while it waits to be sealed.
    """

    id: str
    recorded: str
    state: str
    type: str
    ground: str
    template: str | None
    language: str | None
    channel: str | None
    rule: str | None
    began: datetime | None
    due: datetime | None
    at: datetime
    sent: datetime | None
    steps: tuple[Step, ...]
    sealed: tuple[str, ...]
    subject: str | None = field(default=None, repr=False)
    case: str | None = field(default=None, repr=False)
    decision: str | None = field(default=None, repr=False)
    request: str | None = field(default=None, repr=False)
    digest: str | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    who: str | None = field(default=None, repr=False)
    entry: int | None = None

    def is_late(self, now_ns: int) -> bool:
        """Say whether it was sent after it was due, or is due and not sent."""
        if self.due is None or self.state == EXEMPT:
            return False
        return ns_of(self.due) < (now_ns if self.sent is None else ns_of(self.sent))

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        found: dict[str, Any] = plain(asdict(self))
        return found

    def _page(self) -> Page:
        return notice_page(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingNotice:
    """An adverse decision that a person was not told of as they had to be.

    Attributes:
        decision: Its id.
        decided: When it was decided.
        domain: Its domain.
        expected: The type of the notice its domain demands; None for any.
        problems: `none`: neither notice nor exemption. `not sent`: issued, due and not sent. `failed`: the last attempt
            failed. `late`: sent after it was due. `no reason`: the decision gives none.
    """

    decision: str
    decided: datetime
    domain: str | None
    expected: str | None
    problems: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def give_notice(ledger: Ledger, recorder: Recorder, said: Told, *, exempt: bool = False) -> str:
    """Record that a notice was issued, or that there is a ground to give none, and return its id.

    Raises:
        InputError: Something said of it cannot be used.
        NotFoundError: There is no such decision.
        ForbiddenError: The archive was opened without an actor.
    """
    actor = require_actor(ledger, GIVING)
    require_code(said.type, "notice")
    for what, words in (
        ("ground", said.ground),
        ("case", said.case),
        ("template", said.template),
        ("language", said.language),
        ("channel", said.channel),
    ):
        require_words(words, what)
    subject = said.subject
    decision = (
        None if said.decision is None else find_decision(ledger, RuleGate(), GIVING, said.decision, groups=[LINKS])
    )
    if subject is None and decision is not None:
        subject = decision.subject
    if subject is None and (decision is None or decision.erased):
        raise InputError("notice: expected the subject who is told, or a decision that is about somebody")
    if decision is not None and decision.subject is not None and subject != decision.subject:
        raise InputError("notice: expected the subject whom its decision is about; erasing them finds it by that")
    digest, content = kept_content(said.content, "content")
    row = {
        "at": whole_us(said.at_ns),
        "began": None if said.began_ns is None else whole_us(said.began_ns),
        "case": said.case,
        "channel": said.channel,
        "content": content,
        "decision": None if decision is None else key_of(decision.id),
        "digest": digest,
        "due": None if said.due_ns is None else whole_us(said.due_ns),
        "ground": said.ground,
        "language": said.language,
        "request": None if said.request is None else key_of(said.request),
        "rule": said.rule,
        "state": EXEMPT if exempt else ISSUED,
        "subject": subject,
        "template": said.template,
        "type": said.type,
        "who": actor,
    }
    (identity,) = record_facts(recorder, ledger.blobs, NOTICE, [row])
    return identity


def note_delivery(ledger: Ledger, recorder: Recorder, prefix: str, state: Delivery, at_ns: int) -> str:
    """Record what became of a notice, and return its whole id.

    Raises:
        NotFoundError: There is no such notice.
        InputError: The state is none.
        ConflictError: It is an exemption.
        ForbiddenError: The archive was opened without an actor.
    """
    actor = require_actor(ledger, GIVING)
    if state not in get_args(Delivery):
        raise InputError(f"notice: expected {', '.join(get_args(Delivery))}, got {state!r}")
    first = find_matter(ledger, RuleGate(), NOTICE, GIVING, _BEGINS, prefix, groups=[LINKS]).first
    said = first.values
    if said["state"] == EXEMPT:
        raise ConflictError(f"notice {first.id}: it is an exemption; nothing is sent")
    open_ = {name: said[name] for name in ("type", "ground", "template", "language", "channel", "rule")}
    moments = {name: None if said[name] is None else ns_of(said[name]) for name in ("began", "due")}
    row = {
        **open_,
        **moments,
        "at": whole_us(at_ns),
        "of": key_of(first.id),
        "state": state,
        "subject": said["subject"],
        "who": actor,
    }
    record_facts(recorder, ledger.blobs, NOTICE, [row])
    return first.id


def find_notices(
    ledger: Ledger,
    gate: Gate,
    question: str = QUESTION,
    *,
    ids: Collection[str] | None = None,
    decisions: Collection[str] | None = None,
    groups: Collection[str] | None = None,
) -> list[Notice]:
    """Return notices and exemptions, oldest first: all, those of these ids, or those about some decisions."""
    linked: dict[str, Collection[bytes]] | None = None
    if decisions is not None:
        linked = {"decision": [key_of(one) for one in decisions]}
    found = read_matters(ledger, gate, NOTICE, question, _BEGINS, ids=ids, linked=linked, groups=groups)
    return [_notice(one) for one in found]


def find_notice(ledger: Ledger, gate: Gate, prefix: str, *, groups: Collection[str] | None = None) -> Notice:
    """Return one notice or exemption by its id, or a unique prefix.

    Raises:
        NotFoundError: There is none.
    """
    return _notice(find_matter(ledger, gate, NOTICE, QUESTION, _BEGINS, prefix, groups=groups))


def missing_notices(ledger: Ledger, now_ns: int) -> list[MissingNotice]:
    """Return the adverse decisions that nobody was told of as they had to be, oldest first.

    What is sealed is compared and not shown: the answer holds ids of decisions, moments and what is missing. A decision
    about a person who was erased is left out: its link to a notice is gone with them.
    """
    everything = find_decisions(ledger, RuleGate(), QUESTION, only={"adverse": [True]}, groups=[LINKS])
    adverse = [one for one in everything if one.is_final and one.adverse and not one.erased and one.subject is not None]
    given: dict[str, list[Notice]] = {}
    for notice in find_notices(ledger, RuleGate(), groups=[LINKS]) if adverse else ():
        if notice.decision is not None:
            given.setdefault(notice.decision, []).append(notice)
    demanded = {one.index: domain_of(one).demands for one in proposals(ledger, "decision.domain")} if adverse else {}
    found = []
    for one in adverse:
        demands = None if one.domain_entry is None else demanded[one.domain_entry]
        expected = None if demands is None else demands.notice
        problems = problems_of(one, expected, given.get(one.id, ()), now_ns)
        if problems:
            found.append(
                MissingNotice(
                    decision=one.id, decided=one.decided, domain=one.domain, expected=expected, problems=problems
                )
            )
    return found


def problems_of(decision: Decision, expected: str | None, notices: Iterable[Notice], now_ns: int) -> tuple[str, ...]:
    """Say what is missing of the notices on an adverse decision. Pure.

    Args:
        decision: The decision.
        expected: The type its domain demands; None for any.
        notices: The notices and exemptions that are about it.
        now_ns: The moment it is asked for, in nanoseconds since the epoch.
    """
    problems = [] if decision.reason_count else ["no reason"]
    fitting = [one for one in notices if expected is None or one.type == expected]
    if any(one.state == EXEMPT for one in fitting):
        return tuple(problems)
    sent = [one for one in fitting if one.sent is not None and one.state != UNSENT]
    if sent:
        problems += ["late"] if all(one.is_late(now_ns) for one in sent) else []
    elif any(one.state == UNSENT for one in fitting):
        problems.append("failed")
    elif not fitting:
        problems.append("none")
    elif all(one.due is None or one.is_late(now_ns) for one in fitting):
        problems.append("not sent")
    return tuple(sorted(problems))


def _notice(matter: Matter) -> Notice:
    fact, steps = matter.first, tuple(map(step_of, matter.later))
    said = fact.values
    digest = said.get("digest")
    values: dict[str, Any] = {name: said[name] for name in _OPEN}
    for name in ("decision", "request"):
        values[name] = None if said.get(name) is None else id_text(said[name])
    sent = [one.at for one in steps if one.state in {SENT, DELIVERED}]
    return Notice(
        id=fact.id,
        recorded=fact.time,
        state=steps[-1].state if steps else said["state"],
        sent=min(sent, default=None),
        steps=steps,
        sealed=fact.sealed,
        subject=said.get("subject"),
        case=said.get("case"),
        **values,
        digest=None if digest is None else digest.hex(),
        content=said.get("content"),
        who=said.get("who"),
        entry=fact.entry,
    )


_OPEN = ("type", "ground", "template", "language", "channel", "rule", "began", "due", "at")


# --- for a reader -----------------------------------------------------------------------------------------------------


def notice_page(one: Notice) -> Page:
    """Return a notice for a reader."""
    facts = [("ground", one.ground), ("issued", f"{one.at.isoformat()}, recorded {to_second(one.recorded)}")]
    facts += [("due", f"{one.due.isoformat()}{f' by {one.rule}' if one.rule else ''}")] if one.due else []
    facts += (
        [("about", HIDDEN if LINKS in one.sealed else f"decision {one.decision}")]
        if LINKS in one.sealed or one.decision
        else []
    )
    steps = tuple(Row(cells=(step.at.isoformat(), step.state), loud=step.state == UNSENT) for step in one.steps)
    return Page(
        headline=f"notice {one.id}, {one.type}: {one.state}",
        facts=tuple(facts),
        sections=(Section(title="What became of it", columns=("when", "what"), rows=steps),) if steps else (),
    )


def notices_page(notices: list[Notice]) -> Page:
    """Return notices for a reader, a line each."""
    rows = tuple(
        Row(
            cells=(one.id, one.type, one.state, one.ground, "" if one.due is None else one.due.isoformat()),
            loud=one.state == UNSENT,
        )
        for one in notices
    )
    columns = ("id", "type", "state", "ground", "due")
    sections = (Section(title="Notices", columns=columns, rows=rows),) if rows else ()
    return Page(headline=count_text(len(rows), "notice"), sections=sections)


def missing_page(missing: list[MissingNotice]) -> Page:
    """Return adverse decisions without a notice for a reader, a line each."""
    rows = tuple(
        Row(
            cells=(
                one.decision,
                one.decided.isoformat(),
                one.domain or "",
                one.expected or "any",
                ", ".join(one.problems),
            ),
            loud=True,
        )
        for one in missing
    )
    columns = ("decision", "decided", "domain", "notice", "what is missing")
    sections = (Section(title="Not told as they had to be", columns=columns, rows=rows),) if rows else ()
    return Page(headline=f"{count_text(len(rows), 'adverse decision')} without a notice in time", sections=sections)
