"""Policies: proposing one, approving it as another person, and which is in force."""

from __future__ import annotations

from dataclasses import dataclass

from backstory.errors import ConflictError, InputError
from backstory.governance.access import AccessGate
from backstory.governance.access_policy import (
    APPROVE,
    ASSIGN_ROLE,
    PROPOSE,
    Asked,
    Policy,
    minute_of,
    policy_document,
    roles_named,
    text_of_policy,
)
from backstory.governance.access_roles import has_any
from backstory.governance.proposal import (
    POLICY_KIND,
    POLICY_NAME,
    Proposal,
    decide,
    find_proposal,
    in_force,
    propose,
)
from backstory.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyInForce:
    """The policy in force.

    Attributes:
        index: Index of its proposal's entry.
        text: Its text.
        digest: Digest of its document.
        proposed: When it was proposed, RFC 3339.
        approved: When it was approved.
    """

    index: int
    text: str
    digest: str
    proposed: str
    approved: str


def propose_policy(ledger: Ledger, gate: AccessGate, text: str) -> Proposal:
    """Propose a policy; it takes effect when another person approves it.

    Raises:
        InputError: It is no policy, does not fit the schema, or names a person.
        ForbiddenError: There is no actor, or the policy in force does not let them.
    """
    gate.require(PROPOSE)
    return propose(ledger, POLICY_KIND, POLICY_NAME, policy_document(text))


def approve_policy(ledger: Ledger, gate: AccessGate, index: int, reason: str | None = None) -> Proposal:
    """Approve a policy that another person proposed: it is in force from now on.

    Raises:
        InputError: The proposal is of something else.
        ConflictError: It was decided before; or nobody has a role that may give roles under it, so that nobody could
            ever be let in.
        ForbiddenError: Whoever approves is who proposed, which is recorded; or the policy in force does not let them.
    """
    proposal = find_proposal(ledger, index)
    if (proposal.kind, proposal.name) != (POLICY_KIND, POLICY_NAME):
        raise InputError(f"policy: expected the proposal of a policy, got one of a {proposal.kind}")
    gate.require(APPROVE)
    _insist_keeper(ledger, text_of_policy(proposal.document))
    return decide(ledger, index, "approved", reason)


def find_policy(ledger: Ledger) -> PolicyInForce | None:
    """Return the policy in force; None where none ever was approved."""
    found = in_force(ledger, POLICY_KIND, POLICY_NAME)
    if found is None or found.decided_time is None:
        return None
    return PolicyInForce(
        index=found.index,
        text=text_of_policy(found.document),
        digest=found.digest,
        proposed=found.time,
        approved=found.decided_time,
    )


def _insist_keeper(ledger: Ledger, text: str) -> None:
    now_ns = ledger.world.now_ns()
    policy, minute = Policy(text), minute_of(now_ns)
    keepers = [
        role
        for role in sorted(roles_named(text))
        if policy.permits(
            ASSIGN_ROLE,
            None,
            Asked(role=role, purpose=None, case=None, assigned=False, own=False, minute=minute),
        )
    ]
    if not has_any(ledger, keepers, now_ns):
        who = ", ".join(keepers) or "no role"
        raise ConflictError(f"policy: expected somebody who may give roles under it ({who}); assign one first")
