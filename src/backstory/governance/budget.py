"""Privacy budgets of audiences: proposed by one person, approved by another, used up by each figure before it is made.

Whether a figure fits is looked at where its entry is appended, so that two processes cannot both use the last of it.
Bytes: docs/format.md section 42.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from backstory.errors import InputError, NotFoundError
from backstory.governance.proposal import (
    Proposal,
    Verdict,
    decide,
    find_proposal,
    in_force,
    proposals,
    propose,
    refuse,
)
from backstory.ledger.ledger import Ledger
from backstory.records.canonical import JsonObject
from backstory.records.identity import time_text
from backstory.records.privacy_budget import (
    BUDGET,
    EPSILON_MAX,
    NO_LOSS,
    SPENT,
    BudgetTerms,
    Loss,
    Period,
    Unit,
    decimal_of,
    decimal_text,
    is_audience,
    is_period,
    is_unit,
    parse_terms,
    spent_in,
)

_ASKING = "sharing a figure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What figures an audience may be given, and what of it is used up.

    Attributes:
        audience: Who is given figures.
        epsilon: How much may be lost in a period, as a decimal.
        delta: The same of delta.
        unit: Whose presence is protected: `subject`, a person, or `record`.
        period: `month`, `quarter`, `year`; None where the budget is for ever.
        spent_epsilon: What figures have used up in the period that is now: that of this budget, or that of the one
            they were charged to.
        spent_delta: The same of delta.
        left_epsilon: What is left of it; 0 while nobody approved the budget.
        left_delta: The same of delta.
        verdict: `approved`, `rejected`, or None while another person has to decide.
        in_force: Whether it is the one that counts.
        proposal: Index of the entry that proposed it.
    """

    audience: str
    epsilon: str
    delta: str
    unit: str
    period: str | None
    spent_epsilon: str
    spent_delta: str
    left_epsilon: str
    left_delta: str
    verdict: str | None
    in_force: bool
    proposal: int


class _ExhaustedError(Exception):
    """Said inside a commit that does not happen: the budget does not have so much."""


def propose_budget(
    ledger: Ledger, audience: str, *, epsilon: object, delta: object, unit: Unit, period: Period | None
) -> Proposal:
    """Propose what an audience may learn; it holds when another person approves it.

    Raises:
        InputError: A name or a number cannot be used, or the audience's budgets have another unit.
        ForbiddenError: The archive was opened without an actor.
    """
    if not is_audience(audience):
        raise InputError(
            "budget: expected the name of an audience of 1 to 64 letters, digits and -_. (it stands in the log)"
        )
    limit = Loss(epsilon=decimal_of(epsilon, "budget: epsilon"), delta=decimal_of(delta, "budget: delta"))
    if not 0 < limit.epsilon <= EPSILON_MAX or limit.delta >= 1:
        raise InputError(f"budget: expected an epsilon above 0 and at most {EPSILON_MAX}, and a delta below 1")
    if not is_unit(unit) or not is_period(period):
        raise InputError("budget: expected the unit subject or record, and month, quarter, year or None as period")
    _require_unit(ledger, audience, unit)
    return propose(ledger, BUDGET, audience, BudgetTerms(limit=limit, unit=unit, period=period).document())


def decide_budget(ledger: Ledger, index: int, verdict: Verdict, reason: str | None) -> Proposal:
    """Approve or reject a budget that another person proposed; see `proposal.decide`.

    Raises:
        NotFoundError: There is no such proposal of a budget.
        InputError: Another budget of the audience was approved meanwhile, of another unit.
        ForbiddenError: It is the person who proposed it; the refusal is recorded.
        ConflictError: It was decided before.
    """
    found = find_proposal(ledger, index)
    if found.kind != BUDGET:
        raise NotFoundError(f"budget: none is proposed in entry {index}")

    def insist() -> None:
        if verdict == "approved":
            _require_unit(ledger, found.name, parse_terms(found.document).unit)

    return decide(ledger, index, verdict, reason, insist)


def find_terms(ledger: Ledger, audience: str) -> tuple[BudgetTerms, int] | None:
    """Return the budget of an audience that is in force and the index of its proposal; None if there is none."""
    found = in_force(ledger, BUDGET, audience)
    return None if found is None else (parse_terms(found.document), found.index)


def require_terms(ledger: Ledger, audience: str) -> BudgetTerms:
    """Return the budget of an audience that is in force.

    Raises:
        ForbiddenError: There is none; the refusal is recorded.
    """
    found = find_terms(ledger, audience)
    if found is None:
        refuse(ledger, _ASKING, "no budget", "expected a budget of the audience that another person approved")
    return found[0]


def reserve(ledger: Ledger, audience: str, loss: Loss, spent: Callable[[], JsonObject]) -> int:
    """Take what a figure loses out of the audience's budget, before it is made.

    Args:
        ledger: The archive.
        audience: Who is to be given it.
        loss: What it loses.
        spent: Makes the rest of the entry, once it is certain that the budget has so much.

    Returns:
        Index of the entry.

    Raises:
        ForbiddenError: The budget does not have so much, or there is none; the refusal is recorded.
    """

    def checked() -> list[JsonObject]:
        found = find_terms(ledger, audience)
        now = time_text(ledger.world.now_ns())
        if found is None:
            raise _ExhaustedError
        terms, proposal = found
        periods = _periods(proposals(ledger, BUDGET, audience))
        before = spent_in(ledger.find_entries(SPENT, audience), audience, terms, now, periods)
        if not (before + loss).fits(terms.limit):
            raise _ExhaustedError
        return [
            {
                **spent(),
                "budget": str(proposal),
                "delta": decimal_text(loss.delta),
                "epsilon": decimal_text(loss.epsilon),
                "name": audience,
                "time": now,
                "type": SPENT,
            }
        ]

    try:
        (index,) = ledger.append(checked)
    except _ExhaustedError:
        refuse(
            ledger, _ASKING, "budget exhausted", "expected a loss that is left of the audience's budget in its period"
        )
    return index


def budgets(ledger: Ledger, audience: str | None = None) -> list[Budget]:
    """Return budgets in the order they were proposed, with what is left of each: all, or those of an audience."""
    now = time_text(ledger.world.now_ns())
    spent = ledger.find_entries(SPENT, audience)
    found = list(proposals(ledger, BUDGET, audience))
    current = {one.name: in_force(ledger, BUDGET, one.name) for one in found}
    periods = _periods(found)
    return [_budget(one, current[one.name], spent, now, periods) for one in found]


def _require_unit(ledger: Ledger, audience: str, unit: Unit) -> None:
    before = find_terms(ledger, audience)
    if before is not None and before[0].unit != unit:
        raise InputError(
            f"budget: expected the unit of the audience's budget in force, {before[0].unit}: what was spent in one "
            "unit cannot be counted in another"
        )


def _periods(found: Iterable[Proposal]) -> dict[str, Period | None]:
    """Return the periods of budgets by the index of their proposal, as charges name it."""
    return {str(one.index): parse_terms(one.document).period for one in found}


def _budget(
    proposal: Proposal,
    current: Proposal | None,
    spent: list[JsonObject],
    now: str,
    periods: Mapping[str, Period | None],
) -> Budget:
    terms = parse_terms(proposal.document)
    counts = current is not None and current.index == proposal.index
    gone = spent_in(spent, proposal.name, terms, now, periods)
    zero = NO_LOSS.epsilon
    return Budget(
        audience=proposal.name,
        epsilon=decimal_text(terms.limit.epsilon),
        delta=decimal_text(terms.limit.delta),
        unit=terms.unit,
        period=terms.period,
        spent_epsilon=decimal_text(gone.epsilon),
        spent_delta=decimal_text(gone.delta),
        left_epsilon=decimal_text(max(terms.limit.epsilon - gone.epsilon, zero) if counts else zero),
        left_delta=decimal_text(max(terms.limit.delta - gone.delta, zero) if counts else zero),
        verdict=proposal.verdict,
        in_force=counts,
        proposal=proposal.index,
    )
