"""Who may see what: the namespace `archive.access`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from backstory.archive.inside import Inside
from backstory.errors import InputError

if TYPE_CHECKING:  # what they need is imported when it is asked for
    from backstory.governance.access_log import Seen
    from backstory.governance.access_roles import Grant, ReviewVerdict
    from backstory.governance.access_rules import PolicyInForce
    from backstory.governance.access_stream import Access as Accessed
    from backstory.governance.proposal import Proposal

Moment = str | datetime


class Access:
    """Who may see what: policies, roles, cases, grants, and the log of who saw what.

    Without a policy, whoever names an actor and a purpose reads sealed values. Once one is in force it decides, and
    what it does not permit is denied. Every read, refusal and export is recorded either way.
    """

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside

    # --- policies -----------------------------------------------------------------------------------------------------

    def propose_policy(self, policy: str) -> Proposal:
        """Propose an access policy; it takes effect when another person approves it.

        Args:
            policy: Cedar, as `backstory/governance/policies/schema.cedarschema` lets it speak; or `starting`, the
                policy that is shipped.

        Returns:
            The proposal; whoever approves needs its `index`.

        Raises:
            ForbiddenError: There is no actor, the policy in force does not let them, or Cedar is not installed.
            InputError: It is no policy, does not fit the schema, or names a person.
        """
        from backstory.governance.access_rules import propose_policy

        return propose_policy(self._inside.ledger, self._inside.gate, policy)

    def approve(self, proposal: int, *, reason: str | None = None) -> Proposal:
        """Approve a policy that another person proposed: it is in force from now on.

        Args:
            proposal: Index of the proposal.
            reason: Why; kept sealed.

        Raises:
            ConflictError: It was decided before, or nobody could give roles under it: assign one first.
            ForbiddenError: You proposed it, which is recorded; or the policy in force does not let you.
            InputError: The proposal is of something else.
            NotFoundError: There is no such proposal.
        """
        from backstory.governance.access_rules import approve_policy

        return approve_policy(self._inside.ledger, self._inside.gate, proposal, reason)

    def policy(self) -> PolicyInForce | None:
        """Return the policy in force with its `text` and the `index` of its proposal; None if none ever was."""
        from backstory.governance.access_rules import find_policy

        return find_policy(self._inside.ledger)

    # --- roles and cases ----------------------------------------------------------------------------------------------

    def assign(
        self,
        person: str,
        role: str,
        *,
        until: Moment | None = None,
        subject: str | None = None,
        models: str | Sequence[str] = (),
    ) -> int:
        """Give another person a role.

        Args:
            person: As they will name themselves as `actor`.
            role: A role of the policy.
            until: When it ends; None for never. RFC 3339 or with a time zone, as all moments here.
            subject: For a role with own data: the id of the person they are.
            models: For a role with models of its own: their names.

        Returns:
            Index of the log's entry.

        Raises:
            ForbiddenError: There is no actor, it is you, which is recorded, or the policy does not let you.
            InputError: No policy names the role: neither the one in force (where none is, the one that is shipped),
                nor one that was proposed; or the end has passed.
        """
        from backstory.governance.access_policy import ASSIGN_ROLE
        from backstory.governance.access_roles import assign_role

        self._inside.gate.require(ASSIGN_ROLE)
        names = (models,) if isinstance(models, str) else tuple(models)
        end = _moment(until, "until")
        return assign_role(self._inside.ledger, person, role, until=end, subject=subject, models=names)

    def remove(self, person: str, role: str) -> list[int]:
        """Take a role from a person; return the indexes of the assignments that ended.

        Raises:
            ForbiddenError: There is no actor, or the policy does not let them.
            NotFoundError: The person does not have it.
        """
        from backstory.governance.access_policy import ASSIGN_ROLE
        from backstory.governance.access_roles import remove_role

        self._inside.gate.require(ASSIGN_ROLE)
        return remove_role(self._inside.ledger, person, role)

    def assign_case(
        self,
        person: str,
        case: str,
        *,
        until: Moment | None = None,
        models: str | Sequence[str] = (),
        between: tuple[Moment | None, Moment | None] = (None, None),
    ) -> int:
        """Let another person work on a case.

        To a case belong the predictions whose `request_id` it is, and those of `models` recorded `between`.

        Args:
            person: As they will name themselves.
            case: Its id.
            until: When the work ends; None for never.
            models: Names of models whose predictions belong to it too, such as those an authority asked for.
            between: Of these, those recorded at or after the first moment and before the second.

        Returns:
            Index of the log's entry.

        Raises:
            ForbiddenError: There is no actor, it is you, which is recorded, or the policy does not let you.
            InputError: The end has passed.
        """
        from backstory.governance.access_policy import ASSIGN_CASE
        from backstory.governance.access_roles import assign_case

        self._inside.gate.require(ASSIGN_CASE)
        since, before = (_moment(one, "between") for one in between)
        return assign_case(
            self._inside.ledger,
            person,
            case,
            until=_moment(until, "until"),
            models=(models,) if isinstance(models, str) else tuple(models),
            since=since,
            before=before,
        )

    # --- grants -------------------------------------------------------------------------------------------------------

    def grant(self, person: str, classes: str | Sequence[str], case: str, *, until: Moment, why: str) -> int:
        """Let another person see classes for a case, for a while, where the policy permits that just in time.

        Args:
            person: As they will name themselves.
            classes: Class or classes, such as `D4`.
            case: The case they must name on opening.
            until: When it ends.
            why: The reason; kept sealed.

        Returns:
            Index of the log's entry, for `end` and `review`.

        Raises:
            ForbiddenError: There is no actor, it is you, which is recorded, or the policy does not let you.
            InputError: There is no such class, no reason, or the end has passed.
        """
        from backstory.governance.access_policy import GRANT
        from backstory.governance.access_roles import give_grant

        self._inside.gate.require(GRANT)
        end = _required(until, "until")
        return give_grant(self._inside.ledger, person, case, _names(classes), until=end, reason=why, kind="granted")

    def break_glass(self, classes: str | Sequence[str], case: str, *, why: str, minutes: int = 240) -> int:
        """Let yourself see classes for a case in an emergency; another person reviews it within one working day.

        Args:
            classes: Class or classes the policy permits just in time.
            case: The case, which is the one named on opening.
            why: The reason; kept sealed.
            minutes: How long, at most 240.

        Returns:
            Index of the log's entry.

        Raises:
            ForbiddenError: There is no actor, or the policy does not let them.
            InputError: There is no such class, no reason, or it is longer than 4 hours.
        """
        from backstory.governance.access_policy import BREAK_GLASS
        from backstory.governance.access_roles import give_grant
        from backstory.governance.proposal import require_actor

        ledger = self._inside.ledger
        self._inside.gate.require(BREAK_GLASS)
        actor = require_actor(ledger, "breaking the glass")
        until = ledger.world.now_ns() + minutes * 60 * 10**9
        return give_grant(ledger, actor, case, _names(classes), until=until, reason=why, kind="break-glass")

    def end(self, index: int) -> None:
        """End a grant, or the work on a case, before its time.

        Args:
            index: Index of its entry.

        Raises:
            ForbiddenError: There is no actor, or the policy does not let them.
            NotFoundError: The entry is neither.
        """
        from backstory.governance.access_policy import GRANT
        from backstory.governance.access_roles import end_grant

        self._inside.gate.require(GRANT)
        end_grant(self._inside.ledger, index)

    def reviews(self, *, overdue: bool = False) -> list[Grant]:
        """Return everything somebody opened for themselves, with what was found of it, oldest first.

        Args:
            overdue: Only what should have been reviewed by now and was not.

        Raises:
            ForbiddenError: The policy does not let you.
        """
        from backstory.governance.access_policy import REVIEW
        from backstory.governance.access_roles import break_glasses
        from backstory.records.identity import time_text

        self._inside.gate.require(REVIEW)
        now = time_text(self._inside.ledger.world.now_ns())
        found = break_glasses(self._inside.ledger)
        return [one for one in found if not overdue or (one.verdict is None and (one.review_due or now) < now)]

    def review(self, index: int, verdict: ReviewVerdict, *, reason: str) -> None:
        """Say of what another person opened for themselves whether it was justified; where not, it ends at once.

        Args:
            index: Index of its entry.
            verdict: `justified` or `not-justified`.
            reason: Why; kept sealed.

        Raises:
            ForbiddenError: You took it, which is recorded, or the policy does not let you.
            NotFoundError: The entry is none.
            ConflictError: Somebody looked before.
            InputError: The verdict is none, or there is no reason.
        """
        from backstory.governance.access_policy import REVIEW
        from backstory.governance.access_roles import review

        self._inside.gate.require(REVIEW)
        review(self._inside.ledger, index, verdict, reason)

    # --- who saw what -------------------------------------------------------------------------------------------------

    def log(
        self,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        actor: str | None = None,
        question: str | None = None,
    ) -> list[Accessed]:
        """Return accesses, oldest first: who asked what, under which role, what for, and what came of it.

        Reading them is one, and needs the right.

        Args:
            since: Recorded at or after this moment.
            until: Recorded before.
            actor: By this person.
            question: Of this kind, such as `why`.

        Raises:
            ForbiddenError: There is no actor and purpose, or the policy does not let them; the latter is recorded.
        """
        from backstory.governance.access_log import read_log

        self._inside.recorder.write()
        return read_log(
            self._inside.ledger,
            self._inside.gate,
            since=_moment(since, "since"),
            until=_moment(until, "until"),
            actor=actor,
            question=question,
        )

    def who_saw(self, *, subject: object = None, prediction: str | None = None) -> list[Seen]:
        """Return who saw values of a person's records, or of a prediction, oldest first.

        Args:
            subject: The person's id.
            prediction: Id of a prediction, or a unique prefix.

        Returns:
            Of each its `access`, which says who, when, what for and by which grant; the ids of the `records`; and
            whether it is `certain`. Where an access does not say which records were read, it may have been these.

        Raises:
            ForbiddenError: As `log` says.
            InputError: Neither is given, or both.
            NotFoundError: There is no such prediction.
        """
        from backstory.governance.access_log import who_saw

        if (subject is None) == (prediction is None):
            raise InputError("who-saw: expected a subject or a prediction")
        self._inside.recorder.write()
        text = None if subject is None else str(subject)
        return who_saw(self._inside.ledger, self._inside.gate, subject=text, prediction=prediction)


def _names(classes: str | Sequence[str]) -> tuple[str, ...]:
    return (classes,) if isinstance(classes, str) else tuple(classes)


def _moment(moment: Moment | None, name: str) -> int | None:
    from backstory.lineage.reconcile import moment_ns

    return moment_ns(moment, f"access: expected {name}")


def _required(moment: Moment, name: str) -> int:
    found = _moment(moment, name)
    if found is None:
        raise InputError(f"access: expected {name}")
    return found
