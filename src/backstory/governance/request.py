"""Requests that people make under their rights, each answer to them, and the clocks that run until then.

A clock runs from when a request was received, as whoever recorded it said, never from when it was recorded. Bytes:
docs/format.md section 39.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any, Literal, get_args

from backstory.capture.fact import record_facts
from backstory.capture.recorder import Recorder
from backstory.errors import ConflictError, InputError
from backstory.governance.clocks import clock_named, due_ns
from backstory.governance.decision import require_words
from backstory.governance.decision_read import HIDDEN
from backstory.governance.facts import LINKS
from backstory.governance.matters import Matter, Step, find_matter, key_of, ns_of, read_matters, step_of, whole_us
from backstory.governance.proposal import require_actor
from backstory.governance.rule_gate import RuleGate
from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Row, Section
from backstory.lineage.plain import count_text, plain, to_second
from backstory.records.access import Gate
from backstory.records.identity import id_text
from backstory.records.limits import PAYLOAD_SIZE_MAX
from backstory.records.request import ANSWERED, EXTENDED, NOTIFIED, RECEIVED, REFUSED, REQUEST, TYPES

RECORDING, ANSWERING = "recording a request", "answering a request"
QUESTION = "requests"

Answering = Literal["identified", "extended", "fulfilled", "refused", "notified"]
"""What may become of a request; `notified` says that a recipient of the data was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is said of a request when it is recorded.

    Attributes:
        type: What is asked for.
        subject: Who asks, or is asked for.
        received_ns: When it was received.
        due_ns: When it is to be answered.
        rule: Name of the clock.
        ground: On which legal ground it is made, if somebody said.
        about: Ids of the records it is about.
        case: The case.
        text: What the person wrote.
    """

    type: str
    subject: str
    received_ns: int
    due_ns: int
    rule: str | None
    ground: str | None
    about: tuple[str, ...]
    case: str | None
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What happens to a request.

    Attributes:
        state: What.
        at_ns: When.
        due_ns: Of an extension, until when; None for what the request's clock allows.
        zone: Time zone of that clock.
        holidays: Days that are no business days for it.
        ground: On which ground; a refusal needs one.
        text: What the person was told.
        recipient: Of a notification, who was told.
    """

    state: Answering
    at_ns: int
    due_ns: int | None = None
    zone: str = "UTC"
    holidays: Collection[date] = ()
    ground: str | None = None
    text: str | None = None
    recipient: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Answer):
    """A request. What is sealed and was not opened is None.

    Attributes:
        id: Id of its first record.
        recorded: When that was recorded, RFC 3339.
        type: What is asked for.
        state: `received`, `identified`, `extended`, `fulfilled` or `refused`.
        ground: Of an answer, its ground; else that of the request.
        rule: Name of the clock.
        received: When it was received.
        due: When it is, or was, to be answered.
        answered: When it was fulfilled or refused; None if it was not.
        steps: What became of it.
        sealed: Groups that were not opened.
        subject: Who asks.
        case: The case.
        about: Ids of the records it is about.
        text: What the person wrote.
        who: Who recorded it.
        entry: Index of the manifest that proves it; None while it waits to be sealed.
    """

    id: str
    recorded: str
    type: str
    state: str
    ground: str | None
    rule: str | None
    received: datetime
    due: datetime
    answered: datetime | None
    steps: tuple[Step, ...]
    sealed: tuple[str, ...]
    subject: str | None = field(default=None, repr=False)
    case: str | None = field(default=None, repr=False)
    about: tuple[str, ...] = field(default=(), repr=False)
    text: str | None = field(default=None, repr=False)
    who: str | None = field(default=None, repr=False)
    entry: int | None = None

    def is_late(self, now_ns: int) -> bool:
        """Say whether it was answered after it was due, or is due and not answered."""
        return ns_of(self.due) < (now_ns if self.answered is None else ns_of(self.answered))

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        found: dict[str, Any] = plain(asdict(self))
        return found

    def _page(self) -> Page:
        return request_page(self)


def record_request(ledger: Ledger, recorder: Recorder, said: Asked) -> str:
    """Record a request and return its id.

    Raises:
        InputError: Something said of it cannot be used.
        ForbiddenError: The archive was opened without an actor.
    """
    actor = require_actor(ledger, RECORDING)
    if said.type not in TYPES:
        raise InputError(f"request: expected a type of {', '.join(TYPES)}, got {said.type!r}")
    if said.due_ns < said.received_ns:
        raise InputError("request: expected it to be due after it was received")
    require_words(said.ground, "ground")
    require_words(said.case, "case")
    _require_text(said.text)
    row = {
        "about": [key_of(one) for one in said.about],
        "at": whole_us(said.received_ns),
        "case": said.case,
        "due": whole_us(said.due_ns),
        "ground": said.ground,
        "received": whole_us(said.received_ns),
        "rule": said.rule,
        "state": RECEIVED,
        "subject": said.subject,
        "text": said.text,
        "type": said.type,
        "who": actor,
    }
    (identity,) = record_facts(recorder, ledger.blobs, REQUEST, [row])
    return identity


def answer_request(ledger: Ledger, recorder: Recorder, prefix: str, reply: Reply) -> str:
    """Record what happens to a request, and return the request's whole id.

    Raises:
        NotFoundError: There is no such request.
        InputError: Something said of it cannot be used, or its clock allows no extension.
        ConflictError: It was answered before, extended before, or is overdue and cannot be extended any more; or a text
            is given to somebody who was erased.
        ForbiddenError: The archive was opened without an actor.
    """
    actor = require_actor(ledger, ANSWERING)
    if reply.state not in get_args(Answering):
        raise InputError(f"request: expected {', '.join(get_args(Answering))}, got {reply.state!r}")
    if (reply.state == REFUSED) and reply.ground is None:
        raise InputError("request: expected a ground with a refusal")
    if (reply.state == NOTIFIED) is (reply.recipient is None):
        raise InputError("request: expected a recipient with the state notified, and with no other")
    require_words(reply.ground, "ground")
    require_words(reply.recipient, "recipient")
    _require_text(reply.text)
    matter = find_matter(ledger, RuleGate(), REQUEST, ANSWERING, (RECEIVED,), prefix, groups=[LINKS])
    found, subject = _request(matter), matter.first.values["subject"]
    if subject is None and reply.text is not None:
        what = f"request {found.id}: whom it is of was erased"
        raise ConflictError(f"{what}; expected no text=, as no erasure would find it")
    if found.answered is not None and reply.state != NOTIFIED:
        raise ConflictError(f"request {found.id}: it was answered at {found.answered.isoformat()}")
    due = _extended(found, reply) if reply.state == EXTENDED else ns_of(found.due)
    row = {
        "at": whole_us(reply.at_ns),
        "due": whole_us(due),
        "ground": reply.ground,
        "of": key_of(found.id),
        "received": ns_of(found.received),
        "recipient": reply.recipient,
        "rule": found.rule,
        "state": reply.state,
        "subject": subject,
        "text": reply.text,
        "type": found.type,
        "who": actor,
    }
    record_facts(recorder, ledger.blobs, REQUEST, [row])
    return found.id


def _extended(found: Request, reply: Reply) -> int:
    """Return until when an extension gives."""
    if any(step.state == EXTENDED for step in found.steps):
        raise ConflictError(f"request {found.id}: it was extended before")
    if reply.at_ns > ns_of(found.due):
        raise ConflictError(f"request {found.id}: it was due at {found.due.isoformat()}, and is extended too late")
    clock = None if found.rule is None else clock_named(found.rule)
    if clock is None or clock.extension is None:
        if reply.due_ns is None:
            raise InputError("request: expected due= with the extension, as its clock allows none")
        return reply.due_ns
    latest = due_ns(
        ns_of(found.received), clock.term, zone=reply.zone, holidays=reply.holidays, extension=clock.extension
    )
    if reply.due_ns is not None and reply.due_ns > latest:
        raise InputError(f"request: expected due= that is not after what its clock {clock.name} allows")
    return latest if reply.due_ns is None else reply.due_ns


def find_requests(
    ledger: Ledger,
    gate: Gate,
    *,
    ids: Collection[str] | None = None,
    groups: Collection[str] | None = None,
) -> list[Request]:
    """Return requests, oldest first: all, or those of these ids."""
    found = read_matters(ledger, gate, REQUEST, QUESTION, (RECEIVED,), ids=ids, groups=groups)
    return [_request(one) for one in found]


def find_request(ledger: Ledger, gate: Gate, prefix: str, *, groups: Collection[str] | None = None) -> Request:
    """Return one request by its id, or a unique prefix.

    Raises:
        NotFoundError: There is none.
    """
    return _request(find_matter(ledger, gate, REQUEST, QUESTION, (RECEIVED,), prefix, groups=groups))


def overdue_requests(ledger: Ledger, now_ns: int) -> list[Request]:
    """Return the requests that are due and not answered, the one due first first; nothing sealed is opened for it."""
    found = find_requests(ledger, RuleGate(), groups=())
    late = [one for one in found if one.answered is None and one.is_late(now_ns)]
    return sorted(late, key=lambda one: one.due)


def _request(matter: Matter) -> Request:
    fact, steps = matter.first, tuple(map(step_of, matter.later))
    said = fact.values
    answers = [one for one in steps if one.state in ANSWERED]
    states = [one.state for one in steps if one.state != NOTIFIED]
    extended = [one.values["due"] for one in matter.later if one.values["state"] == EXTENDED]
    return Request(
        id=fact.id,
        recorded=fact.time,
        type=said["type"],
        state=answers[0].state if answers else states[-1] if states else said["state"],
        ground=answers[0].ground if answers else said["ground"],
        rule=said["rule"],
        received=said["received"],
        due=extended[0] if extended else said["due"],
        answered=answers[0].at if answers else None,
        steps=steps,
        sealed=fact.sealed,
        subject=said.get("subject"),
        case=said.get("case"),
        about=tuple(id_text(one) for one in said.get("about") or ()),
        text=said.get("text"),
        who=said.get("who"),
        entry=fact.entry,
    )


def _require_text(text: str | None) -> None:
    if text is not None and not (isinstance(text, str) and 0 < len(text) <= PAYLOAD_SIZE_MAX):
        raise InputError(f"request: expected a text of 1 to {PAYLOAD_SIZE_MAX} characters")


# --- for a reader -----------------------------------------------------------------------------------------------------


def request_page(one: Request) -> Page:
    """Return a request for a reader."""
    facts = [
        ("received", f"{one.received.isoformat()}, recorded {to_second(one.recorded)}"),
        ("due", f"{one.due.isoformat()}{f' by {one.rule}' if one.rule else ''}"),
    ]
    facts += [] if one.answered is None else [("answered", one.answered.isoformat())]
    facts += [("ground", one.ground)] if one.ground else []
    facts += [("asked by", HIDDEN if LINKS in one.sealed else one.subject or "erased")]
    facts += [("about", ", ".join(one.about))] if one.about else []
    steps = tuple(
        Row(cells=(step.at.isoformat(), step.state, step.ground or ""), loud=step.state == REFUSED)
        for step in one.steps
    )
    columns = ("when", "what", "ground")
    return Page(
        headline=f"request {one.id}, {one.type}: {one.state}",
        facts=tuple(facts),
        sections=(Section(title="What became of it", columns=columns, rows=steps),) if steps else (),
    )


def requests_page(requests: list[Request], headline: str | None = None) -> Page:
    """Return requests for a reader, a line each."""
    rows = tuple(
        Row(cells=(one.id, one.type, one.state, one.received.isoformat(), one.due.isoformat(), one.ground or ""))
        for one in requests
    )
    columns = ("id", "type", "state", "received", "due", "ground")
    sections = (Section(title="Requests", columns=columns, rows=rows),) if rows else ()
    return Page(headline=headline or count_text(len(rows), "request"), sections=sections)
