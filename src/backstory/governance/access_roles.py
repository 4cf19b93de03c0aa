"""Who has which role, works on which case, and was granted what: entries of the log. Bytes: docs/format.md section 40.

Entries hold commitments to names; whose they are is looked up in the vault's openings. One that cannot be opened any
more gives nobody anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from backstory.errors import BackstoryError, ConflictError, InputError, NotFoundError
from backstory.governance.access_policy import roles_offered
from backstory.governance.proposal import is_same_person, refuse, require_actor, require_other_person
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.access import About
from backstory.records.canonical import JsonObject
from backstory.records.identity import parse_time, time_text
from backstory.records.names import nearest
from backstory.records.sensitivity import CLASSES

ASSIGNED, REMOVED, CASE = "role.assigned", "role.removed", "case.assigned"
GRANTED, ENDED, REVIEWED = "access.granted", "access.ended", "access.reviewed"
ENTRY_TYPES = (ASSIGNED, REMOVED, CASE, GRANTED, ENDED, REVIEWED)
"""Entries that change who may see what."""

BREAK_GLASS_NS = 4 * 3600 * 10**9
"""The longest that somebody may open for themselves."""

_DAY = timedelta(days=1)
_SATURDAY = 5
GrantKind = Literal["granted", "break-glass"]
ReviewVerdict = Literal["justified", "not-justified"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role that somebody has.

    Attributes:
        index: Index of its entry.
        role: The role.
        until: When it ends; None for never.
        subject: Commitment to the person it is bound to, for a role with own data.
        models: Models it is bound to, for a role with models of its own.
    """

    index: int
    role: str
    until: int | None
    subject: str | None
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case that somebody works on.

    Attributes:
        index: Index of its entry.
        case: Its id: records whose request has that id belong to it.
        until: When the work on it ends; None for never.
        models: Models whose records belong to it too.
        since: Of these, those recorded from then on; None for all.
        before: Of these, those recorded before; None for all.
    """

    index: int
    case: str
    until: int | None
    models: tuple[str, ...]
    since: int | None
    before: int | None

    def has(self, about: About) -> bool:
        """Say whether a record belongs to it."""
        if about.request_id is not None and about.request_id == self.case:
            return True
        in_time = (self.since is None or about.time_ns >= self.since) and (
            self.before is None or about.time_ns < self.before
        )
        return about.model is not None and about.model in self.models and in_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What somebody may see for a while.

    Attributes:
        index: Index of its entry.
        kind: `granted` by another person, or `break-glass`: taken by oneself.
        case: For which case.
        classes: Which classes.
        until: When it ends, RFC 3339.
        time: When it was given, RFC 3339.
        review_due: When another person must have looked at it, RFC 3339; None where nobody must.
        verdict: What that person found; None while nobody has looked.
    """

    index: int
    kind: str
    case: str
    classes: tuple[str, ...]
    until: str
    time: str
    review_due: str | None
    verdict: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the log gives somebody, as of one tree size.

    Attributes:
        roles: Their roles.
        cases: Their cases.
        grants: What they were granted; those that ended are not here, those that expired are.
    """

    roles: tuple[Role, ...]
    cases: tuple[Case, ...]
    grants: tuple[Grant, ...]


def standing_of(ledger: Ledger, person: str) -> Standing:
    """Return roles, cases and grants of a person, whether or not their time is over.

    What was ended is not among them, nor what somebody opened for themselves and another found not justified.
    """
    ended = {canonical.text_of(entry, "assignment") for entry in ledger.find_entries(REMOVED)}
    ended |= {canonical.text_of(entry, "grant") for entry in ledger.find_entries(ENDED)}
    ended |= {index for index, verdict in _reviews(ledger).items() if verdict == "not-justified"}

    def own(type_: str) -> list[tuple[int, JsonObject]]:
        entries = ((at, entry) for at, entry in ledger.numbered_entries(type_) if str(at) not in ended)
        return [(at, entry) for at, entry in entries if _is_person(ledger, entry, person)]

    return Standing(
        roles=tuple(_role(at, entry) for at, entry in own(ASSIGNED)),
        cases=tuple(one for at, entry in own(CASE) if (one := _case(ledger, at, entry)) is not None),
        grants=tuple(grant for at, entry in own(GRANTED) if (grant := _grant(ledger, at, entry)) is not None),
    )


def has_any(ledger: Ledger, roles: Sequence[str], now_ns: int) -> bool:
    """Say whether anybody has one of some roles."""
    ended = {canonical.text_of(entry, "assignment") for entry in ledger.find_entries(REMOVED)}
    held = [_role(at, entry) for at, entry in ledger.numbered_entries(ASSIGNED) if str(at) not in ended]
    return any(one.role in roles and is_running(one.until, now_ns) for one in held)


def is_running(until: int | None, now_ns: int) -> bool:
    """Say whether what ends at a moment is not over."""
    return until is None or now_ns < until


def assign_role(
    ledger: Ledger, person: str, role: str, *, until: int | None, subject: str | None, models: Sequence[str]
) -> int:
    """Give another person a role; return the entry's index.

    Raises:
        ForbiddenError: There is no actor, or it is the person; the latter is recorded.
        InputError: The name of the role or the person cannot be used, or the end has passed.
    """
    actor = require_actor(ledger, "assigning a role")
    _insist_words(person, "person")
    check_role_name(role)
    _check_end(ledger, until)
    _insist_offered(ledger, role)
    if is_same_person(actor, person):
        refuse(ledger, "assigning a role", "same person", "expected another person's role")
    entry: JsonObject = {
        "models": [*sorted(set(models))],
        "person": ledger.commit_text("person", person),
        "role": role,
        "subject": None if subject is None else ledger.commit_text("subject", subject),
        "type": ASSIGNED,
        "until": _time(until),
    }
    (index,) = ledger.append([entry])
    return index


def remove_role(ledger: Ledger, person: str, role: str) -> list[int]:
    """End all assignments of a role to a person; return the indexes of their entries.

    Raises:
        NotFoundError: They have none.
    """
    require_actor(ledger, "removing a role")
    held = [one.index for one in standing_of(ledger, person).roles if one.role == role]
    if not held:
        raise NotFoundError(f"removing a role: expected somebody who is {role}, got one who is not")
    ledger.append([{"assignment": str(index), "type": REMOVED} for index in held])
    return held


def assign_case(
    ledger: Ledger,
    person: str,
    case: str,
    *,
    until: int | None,
    models: Sequence[str],
    since: int | None,
    before: int | None,
) -> int:
    """Let another person work on a case; return the entry's index.

    Raises:
        ForbiddenError: There is no actor, or it is the person; the latter is recorded.
        InputError: The end has passed, or the person or the case is an empty text.
    """
    actor = require_actor(ledger, "assigning a case")
    _insist_words(person, "person")
    _insist_words(case, "case")
    _check_end(ledger, until)
    if is_same_person(actor, person):
        refuse(ledger, "assigning a case", "same person", "expected another person's case")
    entry: JsonObject = {
        "before": _time(before),
        "case": ledger.commit_text("case", case),
        "models": [*sorted(set(models))],
        "person": ledger.commit_text("person", person),
        "since": _time(since),
        "type": CASE,
        "until": _time(until),
    }
    (index,) = ledger.append([entry])
    return index


def give_grant(
    ledger: Ledger, person: str, case: str, classes: Sequence[str], *, until: int, reason: str, kind: GrantKind
) -> int:
    """Let somebody see classes of a case for a while; return the entry's index.

    Raises:
        ForbiddenError: There is no actor; or one who grants is the person, which is recorded.
        InputError: There is no such class, no person, case or reason, or the end has passed, or is too far off.
    """
    act = "granting access" if kind == "granted" else "breaking the glass"
    actor = require_actor(ledger, act)
    now_ns = ledger.world.now_ns()
    _check_end(ledger, until)
    _insist_words(person, "person")
    _insist_words(case, "case")
    _insist_words(reason, "reason")
    unknown = [one for one in classes if one not in CLASSES]
    if unknown or not classes:
        raise InputError(f"{act}: expected classes of {', '.join(CLASSES)}, got {len(unknown)} others")
    if kind == "granted" and is_same_person(actor, person):
        refuse(ledger, "granting access", "same person", "expected another person; in an emergency, break the glass")
    if kind == "break-glass" and until - now_ns > BREAK_GLASS_NS:
        raise InputError("breaking the glass: expected an end at most 4 hours from now")
    entry: JsonObject = {
        "case": ledger.commit_text("case", case),
        "classes": [*sorted(set(classes))],
        "kind": kind,
        "person": ledger.commit_text("person", person),
        "reason": ledger.commit_text("reason", reason),
        "type": GRANTED,
        "until": time_text(until),
    }
    (index,) = ledger.append([entry])
    return index


def end_grant(ledger: Ledger, index: int) -> None:
    """End a grant, or the work on a case, before its time.

    Raises:
        NotFoundError: The entry is neither.
    """
    require_actor(ledger, "ending a grant")
    if index not in {at for type_ in (GRANTED, CASE) for at, _ in ledger.numbered_entries(type_)}:
        raise NotFoundError(f"ending a grant: entry {index} of the log is none")
    ledger.append([{"grant": str(index), "type": ENDED}])


def review(ledger: Ledger, index: int, verdict: ReviewVerdict, reason: str) -> None:
    """Say of a break-glass whether it was justified.

    Raises:
        NotFoundError: The entry is none.
        ConflictError: Somebody looked before.
        ForbiddenError: Whoever looks took it; the refusal is recorded.
        InputError: The verdict is none, or there is no reason.
    """
    if verdict not in {"justified", "not-justified"}:
        raise InputError(f"reviewing: expected justified or not-justified, got {verdict!r}")
    _insist_words(reason, "reason")
    taken = {at: entry for at, entry in ledger.numbered_entries(GRANTED) if entry.get("kind") == "break-glass"}
    if index not in taken:
        raise NotFoundError(f"reviewing: entry {index} of the log is no break-glass")
    require_other_person(ledger, canonical.text_of(taken[index], "actor"), "reviewing a break-glass")

    def entries() -> list[JsonObject]:
        if str(index) in _reviews(ledger):
            raise ConflictError(f"reviewing: entry {index} was reviewed")
        return [
            {
                "grant": str(index),
                "reason": ledger.commit_text("reason", reason),
                "type": REVIEWED,
                "verdict": verdict,
            }
        ]

    ledger.append(entries)


def break_glasses(ledger: Ledger) -> list[Grant]:
    """Return everything somebody opened for themselves, with what was found of it, oldest first."""
    found = (_grant(ledger, at, entry) for at, entry in ledger.numbered_entries(GRANTED))
    return [one for one in found if one is not None and one.kind == "break-glass"]


def review_due(time_ns: int) -> int:
    """Return one working day after a moment: 24 hours of Monday to Friday, UTC.

    >>> time_text(review_due(parse_time("2026-11-20T15:00:00.000000000Z")))  # a Friday
    '2026-11-23T15:00:00.000000000Z'
    """
    moment = datetime.fromtimestamp(time_ns // 10**9, UTC)
    while moment.weekday() >= _SATURDAY:  # what happens at a weekend counts as of Monday
        moment = (moment + _DAY).replace(hour=0, minute=0, second=0)
    moment += _DAY
    while moment.weekday() >= _SATURDAY:
        moment += _DAY
    return int(moment.timestamp()) * 10**9


def check_role_name(role: str) -> None:
    """Insist that a role is named in clear, short words: it stands in the log.

    Raises:
        InputError: It is not.
    """
    if not role or len(role) > 64 or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in role):  # noqa: PLR2004  as in the message
        raise InputError("role: expected 1 to 64 letters, digits, -, _ or .")


def _insist_offered(ledger: Ledger, role: str) -> None:
    """Insist that a policy names a role: one that none does would let nobody see anything.

    Raises:
        InputError: None does.
    """
    known = roles_offered(ledger)
    if known is not None and role not in known:
        there = nearest(role, known) or f"; they are {', '.join(sorted(known)) or 'none'}"
        raise InputError(
            f"role: expected one that the policy in force, or one that was proposed, names, got {role!r}{there}"
        )


def text_or_none(ledger: Ledger, commitment: str, group: str) -> str | None:
    """Return what a commitment opens to; None where its opening is erased, or is not that."""
    try:
        return ledger.text_of(commitment, group)
    except BackstoryError:
        return None


def _is_person(ledger: Ledger, entry: JsonObject, person: str) -> bool:
    name = text_or_none(ledger, canonical.text_of(entry, "person"), "person")
    return name is not None and is_same_person(name, person)


def _role(index: int, entry: JsonObject) -> Role:
    return Role(
        index=index,
        role=canonical.text_of(entry, "role"),
        until=_moment(entry, "until"),
        subject=_maybe_text(entry, "subject"),
        models=_names(entry, "models"),
    )


def _case(ledger: Ledger, index: int, entry: JsonObject) -> Case | None:
    case = text_or_none(ledger, canonical.text_of(entry, "case"), "case")
    if case is None:
        return None
    return Case(
        index=index,
        case=case,
        until=_moment(entry, "until"),
        models=_names(entry, "models"),
        since=_moment(entry, "since"),
        before=_moment(entry, "before"),
    )


def _grant(ledger: Ledger, index: int, entry: JsonObject) -> Grant | None:
    case = text_or_none(ledger, canonical.text_of(entry, "case"), "case")
    kind, time = canonical.text_of(entry, "kind"), canonical.text_of(entry, "time")
    if case is None:
        return None
    return Grant(
        index=index,
        kind=kind,
        case=case,
        classes=_names(entry, "classes"),
        until=canonical.text_of(entry, "until"),
        time=time,
        review_due=time_text(review_due(parse_time(time))) if kind == "break-glass" else None,
        verdict=_reviews(ledger).get(str(index)),
    )


def _reviews(ledger: Ledger) -> dict[str, str]:
    entries = ledger.find_entries(REVIEWED)
    return {canonical.text_of(entry, "grant"): canonical.text_of(entry, "verdict") for entry in entries}


def _insist_words(text: str, what: str) -> None:
    if not text.strip():
        raise InputError(f"access: expected a {what}, got an empty text")


def _check_end(ledger: Ledger, until: int | None) -> None:
    if not is_running(until, ledger.world.now_ns()):
        raise InputError("expected an end in the future")


def _time(moment: int | None) -> str | None:
    return None if moment is None else time_text(moment)


def _moment(entry: JsonObject, member: str) -> int | None:
    text = _maybe_text(entry, member)
    return None if text is None else parse_time(text)


def _maybe_text(entry: JsonObject, member: str) -> str | None:
    return None if entry.get(member) is None else canonical.text_of(entry, member)


def _names(entry: JsonObject, member: str) -> tuple[str, ...]:
    value = entry.get(member)
    return tuple(str(one) for one in value) if isinstance(value, list) else ()
