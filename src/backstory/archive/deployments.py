"""`archive.deployments`: what serves which part of the traffic, who approved it, and what served one prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from backstory.archive.inside import Inside
from backstory.capture.model_version import ModelVersion
from backstory.governance.freeze import insist_deployment_free
from backstory.ledger.read import Found
from backstory.lineage import deployments as rules
from backstory.lineage import registry
from backstory.lineage.deployments import Approval, Interval, Served, Verdict
from backstory.lineage.search import search_predictions


class Deployments:
    """The deployments of an archive; made by `Archive.deployments`."""

    def __init__(self, inside: Inside, find: Callable[[str], Found]) -> None:
        """Record and find deployments; `find` finds the record of a prediction."""
        self._inside = inside
        self._find = find

    def set(
        self,
        deployment: str,
        models: Mapping[str, str | float] | ModelVersion | str | None,
        *,
        reason: str | None = None,
    ) -> None:
        """Say what a deployment serves from now on; nothing is recorded where it does already.

        `archive.deployments.set("production", {"delay:3": 0.9, "delay:4": 0.1})`

        Args:
            deployment: Its name, as a model's.
            models: Versions and their parts of the traffic, 1 together; or the one version; none, or `{}`, switches it
                off.
            reason: Why, in at most 1,024 characters. No personal data: it is in the log.

        Raises:
            NotFoundError: There is no such model.
            InputError: A share is no part of 1, or all together are not 1.
            ForbiddenError: The archive is open for reading only, or the policy in force does not let you.
        """
        self._inside.require("deploy")
        given = {} if models is None else models if isinstance(models, Mapping) else {self._spec(models): 1}
        shares = [(registry.find_version(self._inside.ledger, spec), share) for spec, share in given.items()]
        insist_deployment_free(self._inside.ledger, deployment, [version.digest for version, _ in shares])
        rules.set_deployment(self._inside.ledger, deployment, shares, reason)

    def intervals(self, deployment: str | None = None) -> list[Interval]:
        """Return what deployments served from when to when, or one of them, in the order of the log."""
        return rules.find_deployments(self._inside.ledger, deployment)

    def approve(
        self,
        model: ModelVersion | str,
        *,
        deployment: str | None = None,
        verdict: Verdict = "approved",
        role: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Record the verdict of who opened the archive on a model version.

        Args:
            model: The version, or what `Archive.model` takes.
            deployment: For which deployment; None for any.
            verdict: `approved`, `rejected` or `withdrawn`.
            role: In which role. No personal data: this and the reason are in the log, the actor's name is not.
            reason: Why, in at most 1,024 characters.

        Raises:
            ForbiddenError: The archive was opened without an actor; or whoever approves is who registered the version,
                or nobody knows who did: that refusal is recorded.
            InputError: The verdict, the role or the reason cannot be used.
        """
        self._inside.calls.require_writable()
        self._inside.gate.require("approve")
        ledger = self._inside.ledger
        version = registry.find_version(ledger, self._spec(model))
        if verdict == "approved":
            from backstory.governance.approval import require_other_author

            entries = ledger.find_entries("model.registered", version.name)
            registered = next(one for one in entries if one.get("model") == version.digest)
            require_other_author(ledger, registered, "approving a model version")
        rules.approve(ledger, version, verdict=verdict, deployment=deployment, role=role, reason=reason)

    def approvals(self, model: ModelVersion | str) -> list[Approval]:
        """Return the verdicts on a model version, in the order of the log.

        Raises:
            NotFoundError: There is no such model.
        """
        return rules.find_approvals(self._inside.ledger, registry.find_version(self._inside.ledger, self._spec(model)))

    def served(self, prediction: str) -> Served:
        """Say which version made a prediction, where it was deployed then, and whether it was approved then.

        Args:
            prediction: Its id, or a unique prefix.

        Raises:
            NotFoundError: There is no such prediction.
        """
        return rules.served_by(self._inside.ledger, self._find(prediction))

    def served_request(self, request_id: str) -> list[Served]:
        """Say the same of every prediction with this id of a request; none if there is none."""
        self._inside.recorder.write()
        hits = search_predictions(self._inside.ledger, "request_id = ?", [request_id], None)
        return [self.served(name) for name in hits.table()["id"].to_pylist()]

    @staticmethod
    def _spec(model: ModelVersion | str) -> str:
        return model.digest if isinstance(model, ModelVersion) else model
