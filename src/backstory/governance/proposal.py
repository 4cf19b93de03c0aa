"""Two people: what one proposes another decides. Policies, classes, disposals, releases of holds, thresholds.

Both acts are entries. Who made them stands there as commitments, which differ each time for one name, so whether they
are two people is looked up in the vault's openings; without them nothing is decided. Bytes: docs/format.md section 39.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn

from backstory.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.canonical import JsonObject

PROPOSED, DECIDED, REFUSED = "proposal.made", "proposal.decided", "action.refused"
POLICY_KIND, POLICY_NAME = "policy", "access"
"""What an access policy is proposed as."""
Verdict = Literal["approved", "rejected"]

_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters that look like a space."""
_UNSEEN = re.compile("[\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Marks that change nothing to see, beside those of Unicode's categories Cc and Cf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Something that needs a second person.

    Attributes:
        index: Index of its entry.
        kind: What is proposed, such as `policy`.
        name: What it is about.
        document: What is proposed, as it is kept.
        digest: The document's digest.
        time: When it was proposed, RFC 3339.
        by: Commitment to who proposed it.
        verdict: What was decided; None while nothing is.
        decided: Index of the deciding entry.
        decided_time: When it was decided.
        decided_by: Commitment to who decided.
    """

    index: int
    kind: str
    name: str
    document: JsonObject
    digest: str
    time: str
    by: str
    verdict: str | None = None
    decided: int | None = None
    decided_time: str | None = None
    decided_by: str | None = None


def propose(ledger: Ledger, kind: str, name: str, document: JsonObject) -> Proposal:
    """Propose something; it takes effect when another person approves it.

    Raises:
        ForbiddenError: The archive was opened without an actor.
    """
    require_actor(ledger, f"proposing a {kind}")
    digest = ledger.put_document(document)
    (index,) = ledger.append([{"document": digest, "kind": kind, "name": name, "type": PROPOSED}])
    return find_proposal(ledger, index)


def decide(
    ledger: Ledger, index: int, verdict: Verdict, reason: str | None = None, insist: Callable[[], None] = lambda: None
) -> Proposal:
    """Approve or reject what another person proposed.

    Args:
        ledger: The archive.
        index: Index of the proposal's entry.
        verdict: `approved` or `rejected`.
        reason: Why; kept as a commitment.
        insist: What has to hold besides, which raises where it does not: called while no other entry can come between.

    Raises:
        NotFoundError: There is no such proposal, or the vault cannot say who made it.
        ConflictError: It was decided before.
        ForbiddenError: Whoever decides is who proposed; the refusal is recorded.
    """
    if verdict not in {"approved", "rejected"}:
        raise InputError(f"proposal: expected the verdict approved or rejected, got {verdict!r}")
    found = find_proposal(ledger, index)
    if found.verdict is not None:
        raise ConflictError(f"proposal {index}: it was {found.verdict} at {found.decided_time}")
    require_other_person(ledger, found.by, f"deciding on a {found.kind}")
    entry: JsonObject = {"name": found.name, "proposal": str(index), "type": DECIDED, "verdict": verdict}
    if reason is not None:
        entry["reason"] = ledger.commit_text("reason", reason)

    def still_open() -> list[JsonObject]:
        if find_proposal(ledger, index).verdict is not None:
            raise ConflictError(f"proposal {index}: another person decided on it meanwhile")
        insist()
        return [entry]

    ledger.append(still_open)
    return find_proposal(ledger, index)


def find_proposal(ledger: Ledger, index: int) -> Proposal:
    """Return a proposal with what was decided on it.

    Raises:
        NotFoundError: The entry is none.
    """
    for proposal in proposals(ledger):
        if proposal.index == index:
            return proposal
    raise NotFoundError(f"proposal: none is entry {index} of the log")


def proposals(ledger: Ledger, kind: str | None = None, name: str | None = None) -> Iterator[Proposal]:
    """Yield proposals, oldest first: all, of a kind, about a name."""
    verdicts = {canonical.text_of(entry, "proposal"): (at, entry) for at, entry in ledger.numbered_entries(DECIDED)}
    for index, entry in ledger.numbered_entries(PROPOSED, name):
        if kind is not None and entry.get("kind") != kind:
            continue
        at, decision = verdicts.get(str(index), (None, None))
        digest = canonical.text_of(entry, "document")
        yield Proposal(
            index=index,
            kind=canonical.text_of(entry, "kind"),
            name=canonical.text_of(entry, "name"),
            document=ledger.document(digest),
            digest=digest,
            time=canonical.text_of(entry, "time"),
            by=canonical.text_of(entry, "actor"),
            verdict=None if decision is None else canonical.text_of(decision, "verdict"),
            decided=at,
            decided_time=None if decision is None else canonical.text_of(decision, "time"),
            decided_by=None if decision is None else canonical.text_of(decision, "actor"),
        )


def in_force(ledger: Ledger, kind: str, name: str) -> Proposal | None:
    """Return what was approved last of a kind about a name; None if nothing was."""
    approved = [one for one in proposals(ledger, kind, name) if one.verdict == "approved"]
    return max(approved, key=lambda one: one.decided or 0, default=None)


def require_actor(ledger: Ledger, action: str) -> str:
    """Return who acts.

    Raises:
        ForbiddenError: The archive was opened without an actor.
    """
    if ledger.actor is None:
        raise ForbiddenError(f"{action}: expected an actor; open the archive with actor=")
    return ledger.actor


def require_other_person(ledger: Ledger, first: str, action: str) -> None:
    """Insist that who acts now is not who acted first.

    Args:
        ledger: The archive.
        first: Commitment to who acted first.
        action: What is being done, for the message and for the record of a refusal.

    Raises:
        ForbiddenError: It is the same person; the refusal is recorded.
        NotFoundError: The vault cannot say who acted first.
    """
    actor = require_actor(ledger, action)
    if is_same_person(ledger.text_of(first, "actor"), actor):
        refuse(ledger, action, "same person", "expected another person than the one who acted first")


def is_same_person(one: str, other: str) -> bool:
    """Say whether two names are of one person, as far as names show: not in case, spaces or what nobody sees.

    Letters of two scripts that look alike are not told: who acts is what whoever opens the archive says.

    >>> is_same_person("Ann  Lee", "ann lee")
    True
    """
    return _plain(one) == _plain(other)


def refuse(ledger: Ledger, action: str, ground: str, message: str) -> NoReturn:
    """Record that something was refused, and refuse it.

    Args:
        ledger: The archive.
        action: What was asked for; says nothing about a person.
        ground: Why not, in a few fixed words.
        message: What was expected.

    Raises:
        ForbiddenError: Always.
    """
    ledger.append([{"action": action, "ground": ground, "type": REFUSED}])
    raise ForbiddenError(f"{action}: {message}; the refusal is in the log")


def _plain(name: str) -> str:
    """Return what of a name tells people apart: not case, spaces, forms of a letter, or characters nobody sees."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = (" " if one in _BLANK else one for one in folded if not _is_unseen(one))
    return " ".join("".join(seen).split())


def _is_unseen(letter: str) -> bool:
    is_space = letter.isspace()
    return (unicodedata.category(letter) in {"Cc", "Cf"} and not is_space) or bool(_UNSEEN.fullmatch(letter))
