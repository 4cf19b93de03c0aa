"""How long records are kept: the namespace `archive.retention`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from backstory.archive.inside import Inside
from backstory.errors import InputError
from backstory.lineage.reconcile import moment_ns

if TYPE_CHECKING:
    from backstory.governance.disposal import Disposal
    from backstory.governance.freeze import Freeze
    from backstory.governance.hold import Hold
    from backstory.governance.proposal import Proposal
    from backstory.governance.retention import Status
    from backstory.governance.retention_rules import Rule

Moment = datetime | str
"""A time with its zone, such as `2027-06-01T00:00:00Z`."""


class Retention:
    """How long records are kept.

    Rules, disposals, releases of holds and the end of freezes are proposed by one person and approved by another.
    """

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside
        self._ledger = inside.ledger

    # --- rules --------------------------------------------------------------------------------------------------------

    def adopt(self, profile: str | Path, *, models: Sequence[str] = ()) -> Proposal:
        """Propose a set of rules; once another person approves it, it is in force in the place of the set of its name.

        `archive.retention.adopt("eu-default")`

        Args:
            profile: `eu-default`, `us-credit`, `employment-california`, or the path of a TOML file with `[[rules]]`.
            models: For which models, as patterns such as `credit*`; none for all.

        Raises:
            ForbiddenError: The archive was opened without an actor.
            InputError: There is no such profile.
            FormatError: It holds no rules.
        """
        from backstory.governance.retention import adopt

        self._inside.calls.require_writable()
        self._inside.gate.require("set-retention")
        return adopt(self._ledger, profile, models)

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules in force."""
        from backstory.governance.keeping import rules_in_force

        return rules_in_force(self._ledger)

    def status(self, at: Moment | None = None) -> Status:
        """Return what is overdue, held and frozen, and how many records are how old.

        Args:
            at: The moment to judge by; None for now. Later than now it says what will be overdue then.

        Raises:
            NotFoundError: The keys of the vault are not here, so that nobody can say what is overdue.
        """
        from backstory.governance.retention import status

        return status(self._ledger, self._ledger.world.now_ns() if at is None else _moment(at, "a moment"))

    # --- decisions of another person ----------------------------------------------------------------------------------

    def proposals(self) -> list[Proposal]:
        """Return what waits for another person here: rules, disposals, releases of holds, ends of freezes."""
        from backstory.governance.proposal import proposals
        from backstory.governance.retention_decision import KINDS

        return [one for one in proposals(self._ledger) if one.kind in KINDS and one.verdict is None]

    def approve(self, proposal: int, *, reason: str | None = None) -> Proposal:
        """Approve what another person proposed. Rules are then in force, a hold released, a freeze lifted.

        Args:
            proposal: Index of the proposal's entry, `Proposal.index`.
            reason: Why; the log has a commitment to it.

        Raises:
            NotFoundError: There is no such proposal.
            ConflictError: It was decided before.
            ForbiddenError: Whoever approves is who proposed, or placed the hold; the refusal is recorded.
        """
        from backstory.governance.retention_decision import approve

        self._inside.calls.require_writable()
        self._inside.gate.require("approve")
        return approve(self._ledger, proposal, reason)

    def reject(self, proposal: int, *, reason: str | None = None) -> Proposal:
        """Reject what another person proposed; see `approve`."""
        from backstory.governance.retention_decision import reject

        self._inside.calls.require_writable()
        self._inside.gate.require("approve")
        return reject(self._ledger, proposal, reason)

    # --- holds --------------------------------------------------------------------------------------------------------

    def hold(
        self,
        matter: str,
        *,
        custodian: str,
        review: Moment,
        model: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        where: str | None = None,
        predictions: Sequence[str | UUID] = (),
        subjects: Sequence[str] = (),
    ) -> Hold:
        """Hold records for a matter: what fits now, and what will. No rule disposes of them, no request erases them.

        `archive.retention.hold("Doe v. Bank", custodian="legal", review="2027-06-01T00:00:00Z", subjects=["c-77"])`

        Where several of `model`, `since`, `until` and `where` are given, a prediction must fit all; `predictions` and
        `subjects` add to it. What is about a held prediction is held too: outcomes, decisions, notices, corrections.

        Args:
            matter: What it is for. The log has a commitment to it, as to the scope and the custodian.
            custodian: Who keeps it.
            review: When somebody is to look at it again.
            model: A registered model by name, or `name:version`; later versions of a name are held too.
            since: Predictions from then on.
            until: Predictions before then.
            where: A condition as `search` takes it, over open values. Later predictions that seal these are held.
            predictions: Whole ids.
            subjects: Persons, by the ids they are recorded with.

        Returns:
            The hold; `records` says how many records it holds now.

        Raises:
            ForbiddenError: The archive was opened without an actor.
            InputError: It would hold nothing, its condition asks for sealed values, or the review is past.
            NotFoundError: Nobody registered the model.
        """
        from backstory.governance.disposal import finish_disposals
        from backstory.governance.hold import place_hold
        from backstory.governance.retention_scope import Scope, key_of_id

        self._inside.calls.require_writable()
        self._inside.gate.require("hold")
        scope = Scope(
            model=model,
            since=None if since is None else _moment(since, "since"),
            until=None if until is None else _moment(until, "until"),
            where=where,
            predictions=frozenset(key_of_id(one) for one in predictions),
            subjects=tuple(subjects),
        )
        finish_disposals(self._ledger)  # what was begun is gone by the log: it is not put on the list
        return place_hold(self._ledger, matter, scope, custodian, _moment(review, "a review"))

    def extend(self, hold: str, *, review: Moment) -> Hold:
        """Put on a hold's list what has joined since, and set another review.

        Raises:
            NotFoundError: There is no such hold.
            ConflictError: It was released.
        """
        from backstory.governance.hold import extend_hold

        self._inside.calls.require_writable()
        self._inside.gate.require("hold")
        return extend_hold(self._ledger, hold, _moment(review, "a review"))

    def release(self, hold: str) -> Proposal:
        """Propose to release a hold; another person, who did not place it either, approves.

        Raises:
            NotFoundError: There is no such hold.
            ConflictError: It was released.
        """
        from backstory.governance.hold import propose_release

        self._inside.calls.require_writable()
        self._inside.gate.require("release")
        return propose_release(self._ledger, hold)

    def holds(self) -> list[Hold]:
        """Return the holds, those released too, oldest first."""
        from backstory.governance.hold import holds

        self._inside.gate.require("read-holds")
        return holds(self._ledger)

    # --- disposal -----------------------------------------------------------------------------------------------------

    def propose(self, at: Moment | None = None) -> Proposal:
        """Propose to dispose of what is past its ceiling and held by nothing; another person approves, see `execute`.

        Args:
            at: The moment to judge by, not later than now; None for now.

        Raises:
            ConflictError: Nothing is overdue.
            NotFoundError: The keys of the vault are not here, so that nobody can say what may go.
        """
        from backstory.governance.disposal import propose_disposal

        self._inside.calls.require_writable()
        self._inside.gate.require("dispose")
        return propose_disposal(self._ledger, None if at is None else _moment(at, "a moment"))

    def execute(self, proposal: int) -> Disposal:
        """Dispose of what was proposed and approved, and is still overdue and held by nothing.

        Values and their salts are erased with the keys they were under; of rows the leaf hashes stay, so that proofs
        hold and numbers have no gaps. A run that is cut short is completed by the next, or by `finish`.

        Raises:
            NotFoundError: There is no such proposal.
            ForbiddenError: Nobody else approved it; the refusal is recorded.
            ConflictError: It was executed before.
            BusyError: Another process is rewriting the vault or merging segments.
        """
        from backstory.governance.disposal import execute_disposal

        self._inside.calls.require_writable()
        self._inside.gate.require("dispose")
        return execute_disposal(self._ledger, proposal)

    def finish(self) -> list[Disposal]:
        """Complete disposals that were cut short; return them."""
        from backstory.governance.disposal import finish_disposals

        self._inside.calls.require_writable()
        self._inside.gate.require("dispose")
        return finish_disposals(self._ledger)

    def disposals(self) -> list[Disposal]:
        """Return the disposals that were begun, oldest first."""
        from backstory.governance.disposal import disposals

        return disposals(self._ledger)

    # --- freezes ------------------------------------------------------------------------------------------------------

    def freeze(self, model: str, incident: str, why: str) -> Freeze:
        """Keep a model version and its records as they are for an incident, until two people lift it.

        Its records are not disposed of and not erased; no alias and no deployment of it changes.

        Args:
            model: The version, as `model()` takes it.
            incident: Which incident. The log has a commitment to it, as to the reason.
            why: Why.

        Raises:
            ForbiddenError: The archive was opened without an actor.
            NotFoundError: There is no such version.
        """
        from backstory.governance.freeze import place_freeze

        self._inside.calls.require_writable()
        self._inside.gate.require("freeze")
        return place_freeze(self._ledger, model, incident, why)

    def unfreeze(self, freeze: str) -> Proposal:
        """Propose to lift a freeze; another person approves.

        Raises:
            NotFoundError: There is no such freeze.
            ConflictError: It was lifted.
        """
        from backstory.governance.freeze import propose_unfreeze

        self._inside.calls.require_writable()
        self._inside.gate.require("freeze")
        return propose_unfreeze(self._ledger, freeze)

    def freezes(self) -> list[Freeze]:
        """Return the freezes, those lifted too, oldest first."""
        from backstory.governance.freeze import freezes

        return freezes(self._ledger)


def _moment(given: Moment, what: str) -> int:
    """Return a moment that must be given as nanoseconds since 1970.

    Raises:
        QueryError: It is no time, or has no zone.
    """
    moment = moment_ns(given, f"retention: expected {what}")
    if moment is None:
        raise InputError(f"retention: expected {what}")
    return moment
