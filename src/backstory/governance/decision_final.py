"""From draft to decision: verdicts of other people, and the one entry that makes it final.

Who decided, who verified and whom it is about are compared without being shown to anybody. Two who finalise at once
both see the draft open; the log takes one entry, and the other is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from backstory.capture.fact import record_facts
from backstory.capture.recorder import Recorder
from backstory.errors import ConflictError, InputError, NotFoundError
from backstory.governance.decision import require_words
from backstory.governance.decision_domain import Demands, domain_of
from backstory.governance.decision_read import FINALISED, STAFF_GROUP, Decision, find_decision
from backstory.governance.facts import LINKS
from backstory.governance.proposal import find_proposal, is_same_person, refuse, require_actor
from backstory.governance.rule_gate import RuleGate
from backstory.ledger.ledger import Ledger
from backstory.records.canonical import JsonObject
from backstory.records.decision import DECISION, VERIFIED, Confirmation

VERIFYING, FINALISING = "verifying a decision", "finalising a decision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verifier says.

    Attributes:
        verdict: `confirmed` or `disputed`.
        competence: Their proof of competence.
        role: In which role.
        signature: What their signature means.
        at_ns: When, in nanoseconds since the epoch.
    """

    verdict: Confirmation
    competence: str | None
    role: str | None
    signature: str | None
    at_ns: int


def verify_decision(ledger: Ledger, recorder: Recorder, prefix: str, said: Verdict) -> str:
    """Record what whoever opened the archive says of a draft, and return the draft's whole id.

    Raises:
        NotFoundError: There is no such draft.
        ConflictError: It is final.
        InputError: The verdict is none, or a text cannot be used.
        ForbiddenError: They verified it before, decided it as the only verifier would, are whom it is about, or name no
            proof of competence where one is demanded; the refusal is recorded.
    """
    actor = require_actor(ledger, VERIFYING)
    if said.verdict not in get_args(Confirmation):
        raise InputError(f"decision: expected a verdict of confirmed or disputed, got {said.verdict!r}")
    for what, words in (("competence", said.competence), ("role", said.role), ("signature", said.signature)):
        require_words(words, what)
    draft, demands = _draft(ledger, VERIFYING, prefix)
    earlier = [one.who for one in draft.verifications]
    if demands.verifiers == 1:  # of two verifiers, one is another person anyway
        earlier.append(draft.who)
    if any(who is not None and is_same_person(who, actor) for who in earlier):
        refuse(ledger, VERIFYING, "same person", "expected another person than who decided or verified it before")
    if draft.subject is not None and is_same_person(draft.subject, actor):
        refuse(ledger, VERIFYING, "own case", "expected somebody whom it is not about")
    if demands.competence and said.competence is None:
        refuse(ledger, VERIFYING, "no competence", "expected a proof of competence, as its domain demands one")
    row = {
        "competence": said.competence,
        "decided": said.at_ns // 1000 * 1000,
        "domain": draft.domain,
        "domain_entry": draft.domain_entry,
        "of": bytes.fromhex(draft.id.replace("-", "")),
        "role": said.role,
        "signature": said.signature,
        "state": VERIFIED,
        "subject": draft.subject,
        "verdict": said.verdict,
        "who": actor,
    }
    record_facts(recorder, ledger.blobs, DECISION, [row])
    return draft.id


def finalise_decision(ledger: Ledger, prefix: str) -> Decision:
    """Make a draft a decision, if its domain's demands are met; what is sealed of it stays sealed.

    Raises:
        NotFoundError: There is no such draft.
        ConflictError: It is final, perhaps since a moment ago.
        ForbiddenError: Too few different people confirmed it, or somebody disputes it; the refusal is recorded.
    """
    require_actor(ledger, FINALISING)
    draft, demands = _draft(ledger, FINALISING, prefix)
    if any(one.verdict == "disputed" for one in draft.verifications):
        refuse(ledger, FINALISING, "disputed", "expected no verifier to dispute it; decide anew")
    count = count_people([one.who for one in draft.verifications])
    if count < demands.verifiers:
        refuse(
            ledger,
            FINALISING,
            "not verified",
            f"expected {demands.verifiers} different people to have confirmed it, got {count}",
        )
    entry: JsonObject = {"decision": draft.id, "type": FINALISED}

    def still_draft() -> list[JsonObject]:
        if any(one.get("decision") == draft.id for one in ledger.find_entries(FINALISED)):
            raise ConflictError(f"decision {draft.id}: another person finalised it meanwhile")
        return [entry]

    ledger.append(still_draft)
    return find_decision(ledger, RuleGate(), FINALISING, draft.id, groups=())


def count_people(names: list[str | None]) -> int:
    """Return how many different people some names are of, as far as names show; one that was erased counts for none.

    >>> count_people(["Ann Lee", "ann  lee", "Bo Chen", None])
    2
    """
    different: list[str] = []
    for name in names:
        if name is not None and not any(is_same_person(name, other) for other in different):
            different.append(name)
    return len(different)


def _draft(ledger: Ledger, action: str, prefix: str) -> tuple[Decision, Demands]:
    """Return an open draft with what its domain demanded when it was made."""
    found = find_decision(ledger, RuleGate(), action, prefix, groups=[LINKS, STAFF_GROUP])
    if found.is_final or found.domain_entry is None:
        raise ConflictError(f"decision {found.id}: it is final")
    if found.erased:
        raise NotFoundError(f"decision {found.id}: whom it is about was erased")
    return found, domain_of(find_proposal(ledger, found.domain_entry)).demands
