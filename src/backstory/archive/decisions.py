"""What was decided with predictions, and who approved what: the namespace `archive.decisions`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from backstory.archive.approvals import Approvals, Moment, moment_of
from backstory.archive.inside import Inside
from backstory.capture.model_version import ModelVersion
from backstory.capture.outcome import outcome_values
from backstory.capture.subject import Id, id_column, subject_column, text_of_id
from backstory.errors import InputError
from backstory.governance import decision_final, decision_read
from backstory.governance.decision import Acting, Made, record_decisions
from backstory.governance.decision_domain import Demands
from backstory.governance.decision_people import people_of
from backstory.governance.decision_read import Decision, Oversight
from backstory.governance.erased_predictions import require_not_erased
from backstory.governance.facts import LINKS, gate_of_facts
from backstory.governance.rule_gate import RuleGate
from backstory.ledger.read import find_contexts, find_record
from backstory.lineage import registry
from backstory.lineage.reason_map import ReasonMap
from backstory.lineage.reasons import reasons_of
from backstory.records.decision import Action, Automation, Confirmation, Reliance
from backstory.records.envelope import OUTCOME, PREDICTION
from backstory.records.identity import id_text

if TYPE_CHECKING:
    from backstory.debug.case import Workshop


class Decisions(Approvals):
    """The decisions and approvals of an archive; made by `Archive.decisions`."""

    def __init__(self, inside: Inside, shop: Callable[[], Workshop]) -> None:
        """Work on an open archive; `shop` is what predictions are explained with."""
        super().__init__(inside)
        self._shop = shop

    # --- deciding -----------------------------------------------------------------------------------------------------

    def record(
        self,
        predictions: str | UUID | Sequence[str | UUID],
        *,
        outcome: str,
        adverse: bool,
        automation: Automation,
        reliance: Reliance,
        action: Action,
        ground: str | None = None,
        domain: str | None = None,
        reasons: Sequence[str] = (),
        map: str | None = None,  # noqa: A002  the word users know
        subject: Id | None = None,
        case: Id | None = None,
        text: str | None = None,
        factors: Sequence[str] = (),
        shown: bytes | str | None = None,
        opened: Moment = None,
        decided: Moment = None,
        role: str | None = None,
        authority: str | None = None,
        competence: str | None = None,
        signature: str | None = None,
        reverses: str | None = None,
    ) -> Decision:
        """Record what whoever opened the archive decided with predictions, durably.

        `archive.decisions.record(preds.ids[0], outcome="refused", adverse=True, automation="human-decided",
        reliance="principal", action="accepted", domain="credit", reasons=["R01"], subject="c-17")`

        Action, ground and automation stand in clear; outcome, reasons, subject, case, texts and names are sealed.

        Args:
            predictions: The prediction, or all it was decided with: ids, or unique prefixes.
            outcome: What was decided.
            adverse: Whether it is adverse to the person.
            automation: `solely-automated`, `human-approved` (a program decided and a person let it pass), or
                `human-decided`.
            reliance: What the predictions counted for: `sole`, `principal`, `one-of-several`, `disregarded`.
            action: What was done with what the model said: `accepted`, `modified`, `overrode`, `disregarded`,
                `reversed` (of an earlier decision), `escalated`, `stopped`.
            ground: Code for why, where it was not accepted. No personal data: it stands in clear.
            domain: The domain, which says what the decision needs.
            reasons: Codes of its reasons.
            map: The reason map they are of, where the domain names none.
            subject: Whom it is about; demanded where a prediction is about a person.
            case: The case.
            text: Why, in words.
            factors: What else counted.
            shown: What whoever decided was shown, which is kept with its digest; or the SHA-256 alone, in hex.
            opened: When the case was opened.
            decided: When it was decided.
            role: As what whoever opened the archive did.
            authority: By which authority.
            competence: With which proof of competence.
            signature: What the signature means, such as "I take the responsibility for this decision".
            reverses: Id of the decision that is reversed.

        Returns:
            The decision; its `state` is `draft` where its domain demands that others verify it first.

        Raises:
            NotFoundError: There is no such prediction, domain, reason map, or decision to be reversed.
            ConflictError: Whom a prediction is about was erased; `details["ids"]` has all such predictions.
            InputError: Something said of it cannot be used.
            ForbiddenError: Nobody decided; or the domain's demands are not met, such as reasons for what is adverse:
                the refusal is recorded, and no decision.
            StorageError: It could not be written.
        """
        self._inside.calls.require_writable()
        self._inside.gate.require("decide")
        self._inside.recorder.write()
        given = [predictions] if isinstance(predictions, str | UUID) else list(predictions)
        named = [self._named(one) for one in given]
        ledger = self._inside.ledger
        require_not_erased(ledger, "decision", [key for key, personal, _ in named if personal])
        made = Made(
            predictions=tuple(key for key, _, _ in named),
            models=tuple(model for _, _, model in named if model is not None),
            personal=any(personal for _, personal, _ in named),
            outcome=outcome,
            adverse=adverse,
            reasons=tuple(reasons),
            subject=text_of_id(subject, "subject"),
            case=text_of_id(case, "case"),
            text=text,
            factors=tuple(factors),
            shown=shown,
            reverses=None if reverses is None else self._reversed(reverses),
            people=frozenset(people_of(ledger, [key for key, _, _ in named]).values()),
        )
        acting = Acting(
            automation=automation,
            reliance=reliance,
            action=action,
            ground=ground,
            domain=domain,
            map=map,
            opened_ns=moment_of(opened, "opened"),
            decided_ns=self._now_or(decided, "decided"),
            role=role,
            authority=authority,
            competence=competence,
            signature=signature,
        )
        (identity,) = record_decisions(ledger, self._inside.recorder, acting, [made], self._applying)
        return decision_read.find_decision(ledger, self._inside.gate, "decision", identity, groups=())

    def record_many(
        self,
        predictions: Sequence[str],
        *,
        outcome: str | Iterable[str],
        adverse: bool | Iterable[bool],
        automation: Automation = "solely-automated",
        reliance: Reliance,
        action: Action = "accepted",
        domain: str | None = None,
        reasons: Iterable[Sequence[str]] | None = None,
        map: str | None = None,  # noqa: A002  the word users know
        subject: Any = None,  # noqa: ANN401  one id or one a prediction
        case: Any = None,  # noqa: ANN401  one id or one a prediction
        decided: Moment = None,
        authority: str | None = None,
    ) -> list[str]:
        """Record one decision for each of many predictions: all of them, or none. What is not here is as in `record`.

        Args:
            predictions: Whole ids, such as `Predictions.ids`.
            outcome: What was decided, or one a prediction.
            adverse: Whether it is adverse, or one a prediction.
            automation: Who decided.
            reliance: What each prediction counted for.
            action: What was done with what the model said.
            domain: The domain.
            reasons: Codes for each prediction.
            map: The reason map they are of, where the domain names none.
            subject: Whom they are about, or one a prediction.
            case: The case, or one a prediction.
            decided: When they were decided.
            authority: By which authority.

        Returns:
            Ids of the decisions.

        Raises:
            NotFoundError: As in `record`.
            ConflictError: As in `record`.
            InputError: As in `record`; or something is not as many as the predictions.
            ForbiddenError: As in `record`.
            StorageError: As in `record`.
        """
        self._inside.calls.require_writable()
        self._inside.gate.require("decide")
        self._inside.recorder.write()
        names, ledger = [str(one) for one in predictions], self._inside.ledger
        if not names:
            return []
        count = len(names)
        found = find_contexts(ledger, names, PREDICTION)
        require_not_erased(ledger, "decision", [key for key, schema, _ in found if schema.groups])
        people = people_of(ledger, [key for key, _, _ in found])
        models = {context: self._model_of(context) for context in {context for _, _, context in found}}
        codes = [()] * count if reasons is None else _one_each([tuple(one) for one in reasons], count, "reasons")
        made = [
            Made(
                predictions=(key,),
                models=() if (model := models[context]) is None else (model,),
                personal=bool(schema.groups),
                outcome=said,
                adverse=against,
                reasons=tuple(given),
                subject=whom,
                case=which,
                people=frozenset([people[key]]) if key in people else frozenset(),
            )
            for (key, schema, context), said, against, given, whom, which in zip(
                found,
                [outcome] * count if isinstance(outcome, str) else _one_each(outcome, count, "outcome"),
                [adverse] * count if isinstance(adverse, bool) else _one_each(adverse, count, "adverse"),
                codes,
                [None] * count if subject is None else subject_column(subject, count).to_pylist(),
                [None] * count if case is None else id_column(case, count, "case").to_pylist(),
                strict=True,
            )
        ]
        acting = Acting(
            automation=automation,
            reliance=reliance,
            action=action,
            domain=domain,
            map=map,
            decided_ns=self._now_or(decided, "decided"),
            authority=authority,
        )
        return record_decisions(ledger, self._inside.recorder, acting, made, self._applying)

    def verify(
        self,
        decision: str,
        *,
        verdict: Confirmation = "confirmed",
        competence: str | None = None,
        role: str | None = None,
        signature: str | None = None,
        at: Moment = None,
    ) -> Decision:
        """Record the verdict of whoever opened the archive on a draft.

        Args:
            decision: Id of the draft, or a unique prefix.
            verdict: `confirmed` or `disputed`; what is disputed is never final.
            competence: Their proof of competence; sealed, as role and signature.
            role: In which role.
            signature: What their signature means.
            at: When.

        Raises:
            NotFoundError: There is no such draft.
            ConflictError: It is final.
            ForbiddenError: They verified it before, are whom it is about, decided it where one other person has to
                verify, or name no proof of competence where one is demanded; the refusal is recorded.
        """
        self._inside.calls.require_writable()
        self._inside.gate.require("decide")
        self._inside.recorder.write()
        ledger = self._inside.ledger
        said = decision_final.Verdict(
            verdict=verdict, competence=competence, role=role, signature=signature, at_ns=self._now_or(at, "at")
        )
        found = decision_final.verify_decision(ledger, self._inside.recorder, decision, said)
        return decision_read.find_decision(ledger, self._inside.gate, "decision", found, groups=())

    def finalise(self, decision: str) -> Decision:
        """Make a draft a decision, if its domain's demands are met.

        Args:
            decision: Id of the draft, or a unique prefix.

        Raises:
            NotFoundError: There is no such draft.
            ConflictError: It is final, perhaps since a moment ago.
            ForbiddenError: Too few different people confirmed it, or somebody disputes it; the refusal is recorded.
        """
        self._inside.calls.require_writable()
        self._inside.gate.require("decide")
        self._inside.recorder.write()
        return decision_final.finalise_decision(self._inside.ledger, decision)

    def correct_outcome(self, outcome: str, value: Any) -> str:  # noqa: ANN401  any value with an encoding
        """Record what an outcome should have been, and return the id of that record; the original stays beside it.

        Args:
            outcome: Id of the outcome that was wrong, or a unique prefix.
            value: What turned out: any value but a dict.

        Raises:
            NotFoundError: There is no such outcome.
            ConflictError: Whom its prediction is about was erased.
            ColumnError: The value is a dict.
            StorageError: It could not be recorded.
        """
        self._inside.calls.require_writable()
        self._inside.gate.require("rectify")
        self._inside.recorder.write()
        ledger = self._inside.ledger
        wrong = find_record(ledger, outcome, OUTCOME).table
        (prediction,) = find_contexts(ledger, [wrong["of"][0].as_py().hex()], PREDICTION)
        return self._inside.calls.record_outcomes([prediction], outcome_values([value]), wrong["id"][0].as_py())[0]

    # --- reading ------------------------------------------------------------------------------------------------------

    def show(self, decision: str) -> Decision:
        """Return a decision by its id, or a unique prefix, with what is sealed where it may be opened.

        Raises:
            NotFoundError: There is none.
        """
        self._inside.recorder.write()
        return decision_read.find_decision(self._inside.ledger, self._inside.gate, "decision", decision)

    def of(self, prediction: str | UUID) -> list[Decision]:
        """Return the decisions made with a prediction, oldest first; what leads to them is sealed.

        Raises:
            NotFoundError: There is no such prediction.
            ForbiddenError: Sealed values may not be opened.
        """
        self._inside.recorder.write()
        name = id_text(self._key(str(prediction), PREDICTION))
        gate = self._inside.gate
        asked = gate_of_facts(gate)
        if not asked.allows(["subject"]):
            asked.pass_through("decision", ["subject"], 1)  # says why not
        return decision_read.find_decisions(self._inside.ledger, gate, "decision", predictions=[name])

    def find(
        self,
        *,
        domain: str | None = None,
        model: ModelVersion | str | None = None,
        adverse: bool | None = None,
        state: str | None = None,
        since: Moment = None,
        until: Moment = None,
    ) -> list[Decision]:
        """Return decisions and drafts, oldest first; nothing sealed is opened for it.

        Args:
            domain: Those of a domain.
            model: Those on predictions of a model, or of a version of it.
            adverse: Those that are adverse, or are not.
            state: `draft` or `final`.
            since: Decided then or later.
            until: Decided before.
        """
        only: dict[str, Collection[Any]] = {} if domain is None else {"domain": [domain]}
        only |= {} if adverse is None else {"adverse": [adverse]}
        return [one for one in self._between(model, since, until, (), only) if state is None or one.state == state]

    def oversight(
        self, model: ModelVersion | str | None = None, *, since: Moment = None, until: Moment = None
    ) -> Oversight:
        """Return how often people modified, overrode, disregarded, reversed or stopped, and how long a review took.

        Never by person. Times need the sealed group of staff data: without a purpose they are left out.

        Args:
            model: Only decisions on predictions of a model, or of a version of it.
            since: Decided then or later.
            until: Decided before.
        """
        only = {"automation": decision_read.PEOPLE}
        people = self._between(model, since, until, [decision_read.STAFF_GROUP], only)
        names = None if model is None else self._versions_of(model)
        begin, end = moment_of(since, "since"), moment_of(until, "until")
        automated = decision_read.count_automated(self._inside.ledger, names, begin, end)
        return decision_read.oversight_of(people, automated)

    # --- within -------------------------------------------------------------------------------------------------------

    def _between(
        self,
        model: ModelVersion | str | None,
        since: Moment,
        until: Moment,
        groups: Collection[str],
        only: Mapping[str, Collection[Any]],
    ) -> list[Decision]:
        self._inside.recorder.write()
        ledger, gate = self._inside.ledger, self._inside.gate
        found = decision_read.find_decisions(ledger, gate, "decisions", only=only, groups=groups)
        if model is not None:
            names = set(self._versions_of(model))
            found = [one for one in found if names & set(one.models)]
        return decision_read.between(found, moment_of(since, "since"), moment_of(until, "until"))

    def _versions_of(self, model: ModelVersion | str) -> list[str]:
        spec, ledger = model if isinstance(model, str) else model.digest, self._inside.ledger
        versions = registry.versions_of(ledger, spec) or [registry.find_version(ledger, spec)]
        return [f"{one.name}:{one.version}" for one in versions]

    def _named(self, prediction: str | UUID) -> tuple[bytes, bool, str | None]:
        """Return a prediction's id, whether it is about a person, and the model that made it."""
        found = find_record(self._inside.ledger, str(prediction), PREDICTION)
        context = found.table["context"][0].as_py()
        return found.table["id"][0].as_py(), bool(found.schema.groups), self._model_of(context)

    def _model_of(self, context: bytes) -> str | None:
        model = self._inside.ledger.document(context.hex()).get("model")
        return f"{model['name']}:{model['version']}" if isinstance(model, dict) else None

    def _reversed(self, name: str) -> Decision:
        return decision_read.find_decision(self._inside.ledger, RuleGate(), "decision", name, groups=[LINKS])

    def _key(self, name: str, kind: str) -> bytes:
        key: bytes = find_record(self._inside.ledger, name, kind).table["id"][0].as_py()
        return key

    def _applying(self, prediction: bytes, known: ReasonMap, demands: Demands) -> Collection[str]:
        """Return the codes that apply to a prediction: a rule compares them with those given, and shows nobody any."""
        from backstory.debug.explanation import explain_prediction, scored_of
        from backstory.debug.explanation_plan import Explain

        shop = replace(self._shop(), gate=RuleGate())
        asked = find_record(shop.ledger, id_text(prediction), PREDICTION)
        found = explain_prediction(shop, asked, Explain(), anew=False)
        return {one.code for one in reasons_of(scored_of(found), known, len(known.reasons), demands.adverse).codes}


def _one_each(values: Iterable[Any], count: int, what: str) -> list[Any]:
    listed = list(values)
    if len(listed) != count:
        raise InputError(f"{what}: expected one for each of {count} predictions, got {len(listed)}")
    return listed
