"""`archive.explanations`: reasons by a versioned map, what was disclosed, and what would have changed an output."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backstory.archive.inside import Inside
from backstory.capture.decision import Threshold
from backstory.capture.model_version import ModelVersion
from backstory.debug.case import Workshop
from backstory.debug.counterfactual import Bounds, Counterfactuals, search_counterfactuals
from backstory.debug.explanation import baseline_asked, explain_prediction, scored_of
from backstory.debug.explanation_plan import Calling, Explain, Plan, explain_of, plan_of
from backstory.errors import InputError, ModelError
from backstory.frames.container import describe_container
from backstory.ledger.read import Found
from backstory.lineage.reason_map import ReasonMap, define_reasons, find_reasons, reason_maps
from backstory.lineage.reasons import Adverse, Disclosure, Reasons, disclose_reasons, reasons_of
from backstory.lineage.registry import find_version
from backstory.models import function_of

_PLANS_KEPT = 16


class Plans:
    """The ways in which models are explained as they predict; the last few are kept."""

    def __init__(self, inside: Inside) -> None:
        """Begin with none."""
        self._inside = inside
        self._kept: OrderedDict[tuple[object, ...], tuple[Explain, Plan]] = OrderedDict()

    def asked(
        self,
        explain: Explain | str | None,
        version: ModelVersion,
        method: str,
        decision: Threshold | None,
        options: Mapping[str, Any],
    ) -> Callable[[Any], Plan] | None:
        """Return what says of features, before the model runs, how its predictions are explained; None if nobody asked.

        Raises:
            InputError: There is no such method. And where features are given: the rows that are compared with do not
                fit; or, as a ModelError, the predictions cannot be explained as was asked.
        """
        given = explain_of(explain)
        return (
            None if given is None else lambda features: self._plan(given, version, method, decision, options, features)
        )

    def _plan(
        self,
        asked: Explain,
        version: ModelVersion,
        method: str,
        decision: Threshold | None,
        options: Mapping[str, Any],
        features: Any,  # noqa: ANN401  whatever the model takes
    ) -> Plan:
        container = describe_container(features)
        background = None if asked.background is None else id(asked)  # kept beside the plan, so that no other has it
        said = (asked.method, asked.column, asked.rows, asked.seed, asked.orders, background)
        key = (version.digest, method, decision, repr(container), said)
        if not options and key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        function = function_of(version.estimator, method)
        if function is None:
            raise ModelError(f"explain: model {version.name} has no method {method!r}")
        calling = Calling(
            model=version.estimator,
            method=method,
            container=container,
            run=lambda given: function(given, **options),
            decision=decision,
            has_options=bool(options),
        )
        names = [str(name) for name in container["columns"]]
        inside = self._inside
        plan = plan_of(
            asked,
            calling,
            lambda: baseline_asked(inside.ledger, inside.tracer, inside.gate, version.document, names, asked),
        )
        if not options:
            self._kept[key] = asked, plan
            if len(self._kept) > _PLANS_KEPT:
                self._kept.popitem(last=False)
        return plan


class Explanations:
    """Reasons and counterfactuals of an archive's predictions; made by `Archive.explanations`."""

    def __init__(
        self, inside: Inside, shop: Workshop, find: Callable[[str], Found], find_for: Callable[[str, str], Found]
    ) -> None:
        """Explain predictions of an archive.

        Args:
            inside: The archive.
            shop: What questions about behaviour work with.
            find: Finds a prediction.
            find_for: Finds one for a question that shows its open values as they are.
        """
        self._inside = inside
        self._shop = shop
        self._find = find
        self._find_for = find_for

    def define(
        self, name: str, codes: Mapping[str, Mapping[str, Any]], *, model: ModelVersion | str | None = None
    ) -> ReasonMap:
        """Define which features which reason code stands for, and return the version; the same again is the same.

        No personal data: all of it stands in clear.

        Args:
            name: The map's name; a name as a model's.
            codes: By code `features` (names of input columns), `direction` (`increases` or `decreases`: which way they
                move the score where the code applies) and `text`, the words a person is given.
            model: The version it is for, or what `model()` takes; only its predictions can then be given its codes.

        Raises:
            ForbiddenError: The archive is open for reading only, or the policy in force does not let you.
            InputError: A name cannot be used, a code is malformed, a feature stands for two codes of one direction, or
                the model has no such input.
            NotFoundError: There is no such model.
        """
        self._inside.require("register")
        digest = None
        if model is not None:
            spec = model if isinstance(model, str) else model.digest
            digest = find_version(self._inside.ledger, spec).digest
        return define_reasons(self._inside.ledger, name, codes, digest)

    def versions(self, name: str | None = None) -> list[ReasonMap]:
        """Return every version of all reason maps, or of one, oldest first.

        Raises:
            NotFoundError: There is none of that name.
        """
        return reason_maps(self._inside.ledger, name)

    def show(self, spec: str) -> ReasonMap:
        """Return a reason map by `name`, `name:version` or a digest prefix.

        Raises:
            NotFoundError: There is none.
            AmbiguousError: A digest prefix fits several.
        """
        return find_reasons(self._inside.ledger, spec)

    def reasons(
        self,
        prediction: str,
        map: ReasonMap | str,  # noqa: A002  the word users know
        *,
        count: int = 4,
        adverse: Adverse = "high",
        explain: Explain | None = None,
    ) -> Reasons:
        """Return the codes whose features moved a prediction to the adverse side, largest first.

        What was recorded at decision time is used where there is such; otherwise it is computed by replay, and says so.

        Args:
            prediction: Its id, or a unique prefix.
            map: A reason map, or what `show` takes.
            count: How many codes at most.
            adverse: Whether a `high` or a `low` score is the adverse one.
            explain: How it is explained where that is not as recorded, or as is exact for the model.

        Returns:
            The `codes`; and as `uncoded` the features that would have been among them and have no code.

        Raises:
            NotFoundError: There is no such prediction or map.
            ForbiddenError: Its values are sealed.
            InputError: The map is for another model.
            ModelError: The prediction cannot be explained.
        """
        self._find_for("reasons", prediction)
        return self._reasons(prediction, map, count, adverse, explain)

    def disclose(
        self,
        prediction: str,
        map: ReasonMap | str,  # noqa: A002  the word users know
        codes: Sequence[str],
        *,
        to: str | None = None,
        adverse: Adverse = "high",
        explain: Explain | None = None,
    ) -> Disclosure:
        """Record which reasons somebody is given, after checking that each was among the factors that were scored.

        To whom, and of a prediction about a person the codes too, stand in the log as commitments; the vault has them.

        Args:
            prediction: Its id, or a unique prefix.
            map: A reason map, or what `show` takes.
            codes: The codes that are given.
            to: Who is given them.
            adverse: Whether a `high` or a `low` score is the adverse one.
            explain: How it is explained where that is not as recorded, or as is exact for the model.

        Raises:
            InputError: A code is not in the map, or none of its features moved this prediction to the adverse side; or
                the record says itself what each feature added, and is to be explained otherwise.
            ForbiddenError: The archive is open for reading only, the values are sealed, or the policy in force does not
                let you.
            NotFoundError: There is no such prediction or map.
            ModelError: The prediction cannot be explained.
        """
        self._inside.require("notice")
        if explain is not None and self._was_explained(prediction):
            raise InputError("disclose: expected no explain= where the record says what each feature added")
        whole = self._reasons(prediction, map, None, adverse, explain)
        return disclose_reasons(self._inside.ledger, whole, list(codes), to)

    def counterfactual(
        self,
        prediction: str,
        *,
        target: bool | str,
        change: Sequence[str],
        bounds: Mapping[str, Bounds] | None = None,
        steps: int = 16,
        budget: int = 20_000,
        count: int = 3,
        seed: int = 0,
    ) -> Counterfactuals:
        """Search for the fewest changes of features after which the model would have answered otherwise.

        Tried are values the model's training had, or those of `bounds`; each that is found was run through the model.
        Where none is found that says how many were tried, never that there is none.

        Args:
            prediction: Its id, or a unique prefix.
            target: What is wanted: the decision, `True` or `False`, where a rule made one; `"< 0.5"` or another
                comparison of the output; or the label wanted.
            change: Names of the features that may change; all others stay as they are.
            bounds: By feature the values to try: a pair of numbers they lie between, or a list.
            steps: How many values of a number are tried.
            budget: How many rows the model is given at most.
            count: How many are returned.
            seed: Draws combinations where not all can be tried.

        Raises:
            NotFoundError: There is no such prediction.
            ForbiddenError: Its values are sealed.
            InputError: A feature is none, nothing says which values to try, or the target is none.
            ModelError: The model is not there, or its replay diverges.
        """
        return search_counterfactuals(
            self._shop,
            self._find_for("counterfactual", prediction),
            target=target,
            change=list(change),
            bounds=dict(bounds or {}),
            steps=steps,
            budget=budget,
            count=count,
            seed=seed,
        )

    def _was_explained(self, prediction: str) -> bool:
        """Say whether a record says what each feature added: other rows to compare with would give other reasons."""
        context = self._find(prediction).table["context"][0].as_py()
        return "explanation" in self._inside.ledger.document(context.hex())

    def _reasons(
        self, prediction: str, given: ReasonMap | str, count: int | None, adverse: Adverse, explain: Explain | None
    ) -> Reasons:
        known = given if isinstance(given, ReasonMap) else self.show(given)
        found = explain_prediction(self._shop, self._find(prediction), explain or Explain(), anew=False)
        return reasons_of(scored_of(found), known, count, adverse)
