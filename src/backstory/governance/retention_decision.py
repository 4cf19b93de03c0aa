"""What follows when another person approves: a hold is released, a freeze lifted; rules and disposals then count."""

from __future__ import annotations

from typing import Final

from backstory.errors import NotFoundError
from backstory.governance.disposal import DISPOSAL
from backstory.governance.freeze import UNFREEZE, lift
from backstory.governance.hold import RELEASE, insist_may_release, release
from backstory.governance.keeping import RULES
from backstory.governance.proposal import Proposal, decide, find_proposal
from backstory.ledger.ledger import Ledger

KINDS: Final = frozenset({RULES, DISPOSAL, RELEASE, UNFREEZE})
"""Kinds of proposals about keeping."""


def approve(ledger: Ledger, index: int, reason: str | None = None) -> Proposal:
    """Approve a proposal, and do what follows from it.

    Where a crash came between the two, calling it again does what is left.

    Raises:
        NotFoundError: There is no such proposal about keeping.
        ConflictError: It was decided, and nothing is left to do.
        ForbiddenError: Whoever approves is who proposed, or who placed the hold; the refusal is recorded.
    """
    found = _find(ledger, index)
    if found.verdict is None and found.kind == RELEASE:
        insist_may_release(ledger, found)
    size = ledger.log.checkpoint().size
    decided = found if found.verdict == "approved" and found.kind in {RELEASE, UNFREEZE} else None
    approved = decided or decide(ledger, index, "approved", reason)
    if approved.kind == RELEASE:
        release(ledger, approved)
    elif approved.kind == UNFREEZE:
        lift(ledger, approved)
    if decided is not None and ledger.log.checkpoint().size == size:
        return decide(ledger, index, "approved", reason)  # says that it was decided
    return approved


def reject(ledger: Ledger, index: int, reason: str | None = None) -> Proposal:
    """Reject a proposal about keeping; see `approve`."""
    _find(ledger, index)
    return decide(ledger, index, "rejected", reason)


def _find(ledger: Ledger, index: int) -> Proposal:
    found = find_proposal(ledger, index)
    if found.kind not in KINDS:
        raise NotFoundError(f"retention: entry {index} proposes a {found.kind}, which is not decided here")
    return found
