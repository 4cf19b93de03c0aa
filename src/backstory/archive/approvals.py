"""What needs a second person: domains, thresholds, approvals; and why choices were made, in `archive.decisions`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from backstory.archive.inside import Inside
from backstory.capture.model_version import ModelVersion
from backstory.errors import InputError
from backstory.governance import approval, decision_domain
from backstory.governance.approval import Definition, DefinitionApproval, ThresholdChange
from backstory.governance.decision_domain import Demands, Domain
from backstory.governance.proposal import Proposal, Verdict, decide, find_proposal, proposals
from backstory.lineage import registry
from backstory.lineage.features import find_features
from backstory.lineage.justification import Chosen, Justification, find_justifications, justify
from backstory.lineage.reason_map import find_reasons
from backstory.lineage.reasons import Adverse
from backstory.lineage.reconcile import moment_ns

Moment = str | datetime | None
"""A moment as RFC 3339 text or a datetime, both with a time zone; None for now, or for none."""


class Approvals:
    """Domains, proposals, approvals and justifications of an archive; see `Decisions`."""

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside

    # --- domains ------------------------------------------------------------------------------------------------------

    def domain(
        self,
        name: str,
        *,
        reasons: str | None = None,
        adverse: Adverse = "high",
        least: int = 1,
        most: int = 4,
        scored: bool = True,
        verifiers: int = 0,
        competence: bool = False,
        notice: str | None = None,
        models: Sequence[str] = (),
    ) -> Proposal:
        """Propose what decisions of a domain need; it is in force when another person approves it with `decide`.

        Args:
            name: Its name, as a model's.
            reasons: Reason map whose codes an adverse decision gives; None where it gives none.
            adverse: Which side of the score is the adverse one.
            least: How many codes at least.
            most: How many at most; four are customary.
            scored: Whether each has to be among those that apply to what was scored, as `explanations.reasons` says.
            verifiers: How many different people confirm a decision before it is final.
            competence: Whether each of them names a proof of competence.
            notice: Type of the notice an adverse decision is followed by.
            models: Names of models whose predictions are decided on here, and nowhere else.

        Raises:
            ForbiddenError: The archive was opened without an actor.
            InputError: A name or a number cannot be used.
            ConflictError: A model is another domain's; let that one be approved without it first.
            NotFoundError: There is no such reason map.
        """
        self._inside.calls.require_writable()
        self._inside.gate.require("propose")
        demands = Demands(
            reasons=reasons,
            adverse=adverse,
            least=least,
            most=most,
            scored=scored,
            verifiers=verifiers,
            competence=competence,
            notice=notice,
            models=tuple(models),
        )
        return decision_domain.propose_domain(self._inside.ledger, name, demands)

    def domains(self) -> dict[str, Domain]:
        """Return the domains in force, by name."""
        return decision_domain.domains_in_force(self._inside.ledger)

    # --- two people ---------------------------------------------------------------------------------------------------

    def proposals(self, kind: str | None = None, name: str | None = None) -> list[Proposal]:
        """Return what was proposed, with what was decided on it: all, of a kind, about a name."""
        return list(proposals(self._inside.ledger, kind, name))

    def decide(self, proposal: Proposal | int, verdict: Verdict, *, reason: str | None = None) -> Proposal:
        """Approve or reject what another person proposed.

        Args:
            proposal: The proposal, or the index of its entry.
            verdict: `approved` or `rejected`.
            reason: Why; the log has a commitment to it.

        Raises:
            NotFoundError: There is no such proposal.
            ConflictError: It was decided before; or it is a domain of a model that another domain has by now.
            ForbiddenError: Whoever decides is who proposed, or the policy does not let them; the refusal is recorded.
            InputError: It is to be approved and is of a kind that is approved elsewhere, as more has to hold there or
                follows from it; rejected it is here.
        """
        self._inside.calls.require_writable()
        self._inside.gate.require("approve")
        index = proposal.index if isinstance(proposal, Proposal) else proposal
        found = find_proposal(self._inside.ledger, index)
        elsewhere = _elsewhere(found.kind)
        if verdict != "rejected" and elsewhere is not None:
            raise InputError(f"proposal {index}: it is of a {found.kind}, which is approved with {elsewhere}")
        if found.kind == decision_domain.DOMAIN and verdict == "approved":
            demands = decision_domain.domain_of(found).demands
            insist = partial(decision_domain.insist_models_free, self._inside.ledger, found.name, demands)
            return decide(self._inside.ledger, index, verdict, reason, insist)
        return decide(self._inside.ledger, index, verdict, reason)

    def threshold(
        self, name: str, new: str | float, *, old: str | float | None = None, effective: Moment = None
    ) -> Proposal:
        """Propose a value of a threshold, which holds from a moment on when another person has approved it.

        Raises:
            InputError: A value is no number.
            ConflictError: `old` is not its latest approved value.
            ForbiddenError: The archive was opened without an actor.
        """
        self._inside.calls.require_writable()
        self._inside.gate.require("propose")
        return approval.propose_threshold(self._inside.ledger, name, new, old, moment_of(effective, "effective"))

    def thresholds(self, name: str | None = None) -> list[ThresholdChange]:
        """Return approved changes of thresholds, or of one, in the order of approval."""
        return approval.threshold_changes(self._inside.ledger, name)

    def threshold_at(self, name: str, at: Moment = None) -> ThresholdChange:
        """Return the change of a threshold that held at a moment.

        Raises:
            NotFoundError: No approved value was in force then.
        """
        return approval.threshold_at(self._inside.ledger, name, self._now_or(at, "at"))

    def approve(
        self, kind: Definition, spec: str, *, verdict: Verdict = "approved", reason: str | None = None
    ) -> DefinitionApproval:
        """Record the verdict of whoever opened the archive on a reason map, a feature set or a deployment.

        A model version is approved with `archive.deployments.approve`.

        Args:
            kind: `reason map`, `feature set` or `deployment`.
            spec: What names it: `name` (the latest version), `name:version`; of a deployment its name, for what it
                serves now.
            verdict: `approved` or `rejected`.
            reason: Why; the log has a commitment to it.

        Raises:
            NotFoundError: There is no such thing.
            ForbiddenError: Whoever approves is who defined it, or that is not known; the refusal is recorded.
        """
        self._inside.calls.require_writable()
        self._inside.gate.require("approve")
        ledger = self._inside.ledger
        if kind == "deployment":
            return approval.approve_definition(ledger, kind, spec, None, verdict, reason)
        if kind not in {"feature set", "reason map"}:
            raise InputError(f"approval: expected a reason map, a feature set or a deployment, got {kind!r}")
        found = find_reasons(ledger, spec) if kind == "reason map" else find_features(ledger, spec)
        return approval.approve_definition(ledger, kind, found.name, found.digest, verdict, reason)

    def approvals(self, kind: Definition | None = None, name: str | None = None) -> list[DefinitionApproval]:
        """Return verdicts on reason maps, feature sets and deployments, in the order of the log."""
        return approval.definition_approvals(self._inside.ledger, kind, name)

    # --- choices ------------------------------------------------------------------------------------------------------

    def justify(
        self,
        model: ModelVersion | str | None = None,
        *,
        feature_set: str | None = None,
        text: str,
        alternatives: Sequence[str] = (),
    ) -> Justification:
        """Record why a model version or a feature set was chosen; `why` of the version and its history show it.

        Args:
            model: The version, or what `Archive.model` takes.
            feature_set: Or the feature set, by `name` or `name:version`.
            text: Why. No personal data: all of it stands in clear.
            alternatives: What else was looked at, and why it was not taken.

        Raises:
            NotFoundError: There is no such version.
            ForbiddenError: The archive was opened without an actor.
            InputError: Neither or both are given, or a text is empty or too long.
        """
        self._inside.calls.require_writable()
        self._inside.gate.require("propose")
        kind, name, version, digest = self._chosen(model, feature_set)
        return justify(self._inside.ledger, kind, name, version, digest, text=text, alternatives=alternatives)

    def justifications(
        self, model: ModelVersion | str | None = None, *, feature_set: str | None = None
    ) -> list[Justification]:
        """Return why a model version or a feature set was chosen, in the order in which it was said."""
        _, name, _, digest = self._chosen(model, feature_set)
        return find_justifications(self._inside.ledger, name, digest)

    # --- within -------------------------------------------------------------------------------------------------------

    def _chosen(self, model: ModelVersion | str | None, feature_set: str | None) -> tuple[Chosen, str, int, str]:
        if (model is None) is (feature_set is None):
            raise InputError("justify: expected a model version or a feature set, and not both")
        if feature_set is not None:
            features = find_features(self._inside.ledger, feature_set)
            return "features", features.name, features.version, features.digest
        version = registry.find_version(
            self._inside.ledger, model.digest if isinstance(model, ModelVersion) else str(model)
        )
        return "model", version.name, version.version, version.digest

    def _now_or(self, given: Moment, what: str) -> int:
        moment = moment_of(given, what)
        return self._inside.ledger.world.now_ns() if moment is None else moment


def _elsewhere(kind: str) -> str | None:
    """Return the verb that approves a kind of proposal; None where `decide` does."""
    from backstory.governance.classification import PROPOSAL as CLASSES
    from backstory.governance.proposal import POLICY_KIND
    from backstory.governance.retention_decision import KINDS as KEEPING
    from backstory.records.privacy_budget import BUDGET

    verbs = {BUDGET: "sharing.decide", CLASSES: "privacy.approve", POLICY_KIND: "access.approve"}
    return verbs.get(kind) or ("retention.approve" if kind in KEEPING else None)


def moment_of(given: Moment, what: str) -> int | None:
    """Return a moment in nanoseconds since the epoch; None for none.

    Raises:
        QueryError: It is none, or has no time zone.
    """
    return moment_ns(given, f"{what}: expected a moment")
