"""What an archive is asked about behaviour: the part of the front door that runs models again.

What a question needs is imported when it is asked: opening an archive should not take longer for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload
from uuid import UUID

from backstory.archive.questions import Questions
from backstory.capture.model_version import ModelVersion
from backstory.errors import InputError
from backstory.ledger.read import Found
from backstory.lineage import registry
from backstory.lineage.data_diff import ROWS_SHOWN, DataDiff, diff_data
from backstory.lineage.reconcile import moment_ns
from backstory.lineage.showing import about_record
from backstory.records import canonical
from backstory.records.canonical import JsonObject

if TYPE_CHECKING:
    from backstory.archive.drift import DriftWatch
    from backstory.archive.explanations import Explanations, Plans
    from backstory.debug.bisect import Bisection, Say
    from backstory.debug.case import Workshop
    from backstory.debug.condition import Good
    from backstory.debug.diff import Diff
    from backstory.debug.explanation import Explanation
    from backstory.debug.explanation_plan import Asked as AskedMethod
    from backstory.debug.match_report import MatchReport
    from backstory.debug.recompute import Steps
    from backstory.debug.refit import Fit
    from backstory.debug.replay import Replay
    from backstory.debug.retraining import Retraining
    from backstory.debug.rootcause import RootCause
    from backstory.debug.rootcause_swap import Given
    from backstory.debug.stages import Stages
    from backstory.debug.whatif import WhatIf


class Debugging(Questions):
    """The questions about behaviour of an open archive; see `Archive`."""

    @overload
    def replay(
        self,
        prediction: str | UUID,
        *,
        level: Literal[0, 1, 2] = 1,
        alone: bool = False,
        steps: Steps = None,
        env: str | Path = "present",
        pickles: Sequence[str] = (),
    ) -> Replay: ...

    @overload
    def replay(
        self,
        prediction: list[str] | tuple[str, ...] | None = None,
        *,
        level: Literal[0, 1, 2] = 1,
        alone: bool = False,
        steps: Steps = None,
        env: str | Path = "present",
        pickles: Sequence[str] = (),
        model: str | ModelVersion | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        sample: int | None = None,
        seed: int = 0,
    ) -> MatchReport: ...

    @overload
    def replay(
        self,
        prediction: str | ModelVersion,
        *,
        level: Literal[3],
        steps: Steps = None,
        fit: Fit | None = None,
        rows: Sequence[int] | None = None,
    ) -> Retraining: ...

    def replay(
        self,
        prediction: str | UUID | ModelVersion | list[str] | tuple[str, ...] | None = None,
        *,
        level: int = 1,
        alone: bool = False,
        steps: Steps = None,
        fit: Fit | None = None,
        rows: Sequence[int] | None = None,
        env: str | Path = "present",
        pickles: Sequence[str] = (),
        model: str | ModelVersion | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        sample: int | None = None,
        seed: int = 0,
    ) -> Replay | MatchReport | Retraining:
        """Run what was recorded again and compare, stage by stage, with what was recorded.

        Of one prediction, of many, or, at level 3, the training of a model.

        Args:
            prediction: An id or a unique prefix; or a list of whole ids; or None for all that fit what follows. At
                level 3 a model version, itself or as `model` takes it.
            level: 0 looks at digests and runs nothing. 1 gives the recorded features to the recorded model. 2 makes the
                features again from the source rows. 3 trains the model again.
            alone: Give each row to the model by itself, not in its batch.
            steps: At levels 2 and 3 the functions that prepare features; see `whatif`.
            fit: At level 3 what trains, given features and target; a clone of the recorded estimator if not given.
            rows: At level 3 which of the training rows, by number, in which order; as recorded if not given.
            env: `present` runs in this process, `recorded` in the environment that was recorded, made again with `uv`
                in the user's cache directory; a path does the same in that directory.
            pickles: SHA-256, whole, of artifacts that are pickles and may be run, in a process without network.
            model: Only predictions of this model: all versions of a name, or one version.
            since: Only predictions recorded at or after this moment, by the writer's clock; RFC 3339 or with a time
                zone.
            until: Only predictions recorded before this moment.
            sample: How many are drawn, uniformly; all if not given.
            seed: What decides which.

        Returns:
            Of one prediction a replay: its `verdict` is `exact`, `equivalent`, `same-decision`, `diverged` or
            `not-replayable`; `reason` says why, `stages` what was done, `first_diverging` which stage differs first,
            `recorded` and `replayed` are the outputs, `environment` is what differs about where it ran. Of several a
            match report: `counts` by verdict, which add up to `sample`. At level 3 a retraining.

        Raises:
            NotFoundError: There is no such prediction or model, or none fits.
            QueryError: The question is malformed.
            InputError: There is no such level or environment, or what was given does not go together.
            VerificationError: A record, a model or something else they refer to was changed.
        """
        from backstory.debug.capsule import check_capsule
        from backstory.debug.period import Period, replay_period
        from backstory.debug.recorded_environment import RecordedRunner, cache_of
        from backstory.debug.replaying import RETRAIN, Manner, replay_prediction, require_question
        from backstory.debug.retrain import retrain
        from backstory.debug.runner import PresentRunner

        many = any(given is not None for given in (model, since, until, sample))
        is_one = isinstance(prediction, str | UUID | ModelVersion)
        require_question(level, is_one=is_one, is_many=many, alone=alone, steps=steps, fit=fit, env=env)
        if level == RETRAIN or not isinstance(prediction, str | UUID):
            self._gate.require_open("replay")
        if level == RETRAIN:
            spec = prediction.digest if isinstance(prediction, ModelVersion) else str(prediction)
            return retrain(self._workshop, registry.find_version(self._ledger, spec), steps=steps, fit=fit, rows=rows)
        shop = self._workshop
        manner = Manner(
            runner=PresentRunner(shop, pickles) if env == "present" else RecordedRunner(shop, cache_of(env)),
            level=level,
            alone=alone,
            steps=steps,
        )
        if isinstance(prediction, ModelVersion):
            raise InputError("replay: expected a prediction; a model version is trained again by level=3")
        if isinstance(prediction, str | UUID):
            found = self._found_for("replay", prediction)
            return check_capsule(shop, found) if level == 0 else replay_prediction(shop, found, manner)
        self._recorder.write()
        period = Period(
            ids=None if prediction is None else tuple(map(str, prediction)),
            model=model.digest if isinstance(model, ModelVersion) else model,
            since=since,
            until=until,
            sample=sample,
            seed=seed,
        )
        return replay_period(shop, period, manner)

    def stages(self, prediction: str) -> Stages:
        """Return what a prediction's features became at each fitted step of its model, up to the output.

        The stored model is loaded and the one row run through it; nothing of this is kept.

        Args:
            prediction: Its id, or a unique prefix.

        Returns:
            The `stages`, each with the `values` of its columns by name, and whether the last is the recorded output:
            `verdict` is `exact`, `equivalent` or `different`.

        Raises:
            NotFoundError: There is no such prediction.
            ForbiddenError: Its values are sealed.
            ModelError: The model has no artifact, the call failed, or the steps cannot be run any more.
            InputError: The features cannot be made again as the model was given them.
            VerificationError: The record or the model was changed.
        """
        from backstory.debug.stages import run_prediction

        found = self._found_for("stages", prediction)
        return run_prediction(self._ledger, self._gate, found, self._stored_model)

    def bisect(
        self,
        predictions: str | Sequence[str],
        *,
        models: tuple[str, str] | None = None,
        sources: Sequence[tuple[str, str]] = (),
        commits: tuple[str, str] | None = None,
        packages: Mapping[str, Sequence[str]] | None = None,
        steps: Steps = None,
        folder: str | Path = ".",
        good: Good = None,
        state: str | Path | None = None,
        say: Say = lambda _: None,
    ) -> Bisection:
        """Find the change that turned a prediction, or a figure over some, from good to bad, by replays between them.

        Each replay halves what is left, so 64 versions take at most 7. What cannot be replayed is passed over. Where
        several things changed, each is first swapped alone; if none turns it by itself, the smallest set is found that
        does.

        Args:
            predictions: An id or several, or unique prefixes.
            models: A version of the model that was good and one that is bad, as `model` takes them; those between them
                are tried.
            sources: Such pairs of versions of sources: `("weather:1", "weather:9")`. Rows are matched by their key.
            commits: Such a pair of commits of the code that prepares.
            packages: By name versions of a package, from good to bad. Models then run in the recorded environment with
                these versions, as `replay(env="recorded")` makes it.
            steps: The functions that prepare features from the sources, as `replay` takes them.
            folder: Where each commit's steps are imported from; in a git repository.
            good: What good means: an SQL condition over `output` and `decision`, such as `"output < 60"` of one
                prediction or `"avg(output) < 20"` of several; or a function of a table with these columns. Of one
                prediction, where nothing is said: the decision of the good end, or an output nearer to its.
            state: File in which trials are kept; one that is there, of the same question, is gone on with.
            say: Is told each trial as it is done, in a line.

        Returns:
            The `causes`, each a set of changes that turns the result together; several where each does by itself.

        Raises:
            NotFoundError: There is no such prediction or version.
            QueryError: There is nothing to look between, the ends are not what they are said to be, or the condition is
                malformed.
            ForbiddenError: Values are sealed.
            ModelError: A call failed, so there is nothing to compare with.
        """
        self._gate.require_open("bisect")
        from backstory.debug.bisect import bisect
        from backstory.debug.levers import Rig, commit_lever, model_lever, package_lever, source_lever

        names = [predictions] if isinstance(predictions, str) else list(predictions)
        self._recorder.write()
        levers = [] if models is None else [model_lever(self._ledger, *models)]
        levers += [source_lever(self._ledger, *pair) for pair in sources]
        levers += [] if commits is None else [commit_lever(Path(folder), *commits)]
        levers += [package_lever(name, versions) for name, versions in (packages or {}).items()]
        rig = Rig(self._workshop, names, levers, steps)
        return bisect(rig, good=good, state=None if state is None else Path(state), say=say)

    def whatif(
        self,
        predictions: str | UUID | Sequence[str] | None = None,
        *,
        model: str | ModelVersion | None = None,
        features: Any = None,  # noqa: ANN401  a mapping or any frame
        source: str | None = None,
        rows: int | Sequence[int] | Sequence[bool] | None = None,
        keys: Any = None,  # noqa: ANN401  one key or several, each a value, tuple or dict
        where: str | None = None,
        version: str | None = None,
        values: Mapping[str, Any] | None = None,
        steps: Steps = None,
    ) -> WhatIf:
        """Return what the model would have said: another version, with other features, or of corrected source rows.

        Predictions are run again in their recorded call with only their own rows replaced, and the unchanged call is
        run beside it. Where several things are given, rows are corrected first, then features, then the model.

        Args:
            predictions: An id or several, or unique prefixes; without any, with `source`, all that `impact` names for
                the rows.
            model: A version to ask instead, itself or as `model` takes it.
            features: Other values for some features: a mapping with one value for all predictions, or a frame with a
                row for each in the order given.
            source: The source whose rows are corrected.
            rows: Which rows, by position; as `impact` takes them.
            keys: Which rows, by key.
            where: Which rows, by SQL predicate.
            version: Of which version of the source, as `impact` takes it.
            values: The corrected values, by column.
            steps: The functions that prepare features from the sources. The parameters of each are named as the sources
                it takes; it returns a frame with its ids.

        Returns:
            What changed: `table` with a row for each prediction, `counts`, `not_computed` by reason, the model versions
            that were `trained` on the rows, and of one prediction the `stages`.

        Raises:
            QueryError: Nothing is to be different, or it is not said for which predictions.
            ColumnError: There is no such feature or column, its type cannot hold a value, or the other version takes
                other features.
            AlignmentError: A frame of features has not one row a prediction.
            NotFoundError: There is no such prediction, version, source or row.
            ForbiddenError: Rows are about people, and no actor and purpose were given.
            PreparationError: A step raises an error now, or returns no such columns.
        """
        from backstory.debug.whatif import ask_whatif
        from backstory.debug.whatif_ask import question_of

        if isinstance(predictions, str | UUID):
            self._found_for("whatif", predictions)
        else:
            self._gate.require_open("whatif")
        self._recorder.write()
        names = [predictions] if isinstance(predictions, str | UUID) else predictions
        question = question_of(
            self._workshop,
            None if names is None else [str(name) for name in names],
            model=model.digest if isinstance(model, ModelVersion) else model,
            features=features, source=source, values=values, steps=steps,
            rows=rows, keys=keys, where=where, version=version,
        )  # fmt: skip
        return ask_whatif(self._workshop, question)

    def diff(self, a: str | UUID | ModelVersion, b: str | UUID | ModelVersion) -> Diff:
        """Return what differs between two predictions, model versions, dataset versions or contexts, stage by stage.

        Args:
            a: The first: the id of a prediction, a model version itself or as `model` takes it, a dataset version as
                `data.show` takes it, or the digest of a context. Where a text can name several, write `prediction:…`,
                `model:…`, `data:…` or `context:…`; `context:` takes the id of a prediction, too.
            b: The second, of the same kind.

        Returns:
            A difference: the `first` stage that differs, all `stages` with what changed, `data` of dataset versions,
            and of two predictions whose features and models both differ `swap`: what each model says of each one's
            features. What has equal digests is not read; `opened` are the documents that were.

        Raises:
            AmbiguousError: Both can be of several kinds, or one fits several things.
            NotFoundError: There is nothing of a name.
            QueryError: They are of different kinds.
            VerificationError: Something was changed.
        """
        self._gate.require_open("diff")
        from backstory.debug.diff import compare

        self._recorder.write()
        one, two = (f"model:{x.digest}" if isinstance(x, ModelVersion) else x for x in (a, b))
        one, two = (f"prediction:{x}" if isinstance(x, UUID) else x for x in (one, two))
        return compare(self._workshop, one, two, self._diff_data)

    def rootcause(
        self,
        bad: Any,  # noqa: ANN401  ids, any frame, or a predicate
        good: Any = None,  # noqa: ANN401  the same
        *,
        model: str | ModelVersion | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        features: bool = True,
        support: int = 20,
        confirm: bool = True,
        steps: Steps = None,
        reference: Mapping[str, Given] | None = None,
        still_bad: str | None = None,
        sample: int = 50,
    ) -> RootCause:
        """Find what bad predictions share upstream: a model version, a file, a row, a group, an attribute of rows.

        Bad and good predictions are counted for every value of every factor that lineage gives, and for pairs. What is
        found is a correlate until a replay shows more: some of the bad ones are run again with the suspect swapped for
        what is right, and it is called a cause where at least half of them are then no longer bad.

        Args:
            bad: Ids, a frame with a column `id`, or an SQL predicate as `search` takes it, such as `"output > 300"`; in
                one that names `outcome`, as `"abs(output - outcome) > 60"`, only `output`, `decision` and `outcome`.
            good: The same of those to compare with. [default: all others of the same models and period]
            model: Only predictions of this model, by its name, or of one version of it.
            since: Only those recorded from then on.
            until: Only those recorded before.
            features: Whether features are looked at, too, for what nothing upstream explains.
            support: How many predictions a value must select, and how many bad ones a pair.
            confirm: Whether to run predictions again.
            steps: The functions that prepare features from the sources, as `whatif` takes them; without them no rows
                are swapped.
            reference: What is right, by name of a source, model or feature: a version, or
                `{"values": {column: value}}`. [default: the rows with the same key in the newest other version of the
                source; the version of the model that made most other predictions; the middle value of good predictions]
            still_bad: The predicate over `output`, `decision` and `outcome` that says of a replayed prediction that it
                is bad, where `bad` is none.
            sample: How many of the bad predictions of a finding to run again.

        Returns:
            The `findings`, first what explains most, each with its names, counts, risk ratio, probability and verdict;
            how many bad predictions are in none; the factors that were looked at, and those left out, with the reason.

        Raises:
            NotFoundError: There is no such prediction or model, or not some of the predictions are bad.
            QueryError: It is not said as it can be which predictions are bad.
            VerificationError: Something that was read was changed.
        """
        self._gate.require_open("rootcause")
        from backstory.debug.rootcause import find_root_cause
        from backstory.debug.rootcause_records import Asked

        self._recorder.write()
        asked = Asked(
            bad=bad,
            good=good,
            model=model.digest if isinstance(model, ModelVersion) else model,
            since=moment_ns(since, "rootcause: expected since"),
            until=moment_ns(until, "rootcause: expected until"),
        )
        return find_root_cause(
            self._workshop, asked, features=features, support=support, confirm=confirm, steps=steps,
            reference=reference, still_bad=still_bad, sample=sample,
        )  # fmt: skip

    def _diff_data(self, before: str, after: str) -> DataDiff:
        inside = self._inside
        return diff_data(
            inside.ledger, inside.gate, inside.places, before, after, key=None, limit=ROWS_SHOWN, read=None
        )

    def explain(
        self,
        prediction: str,
        method: AskedMethod = "auto",
        *,
        background: Any = None,  # noqa: ANN401  any frame
        column: str | int | None = None,
        anew: bool = False,
    ) -> Explanation:
        """Return what each feature of a prediction added to its output: as recorded with it, or computed by replay.

        It says what the model's arithmetic did with the values it was given, and names no causes.

        Args:
            prediction: Its id, or a unique prefix.
            method: `tree`, `linear`, `permutation`, or `auto` for the one that was recorded or is exact for the model.
            background: Rows to compare with, in the model's columns; without, rows of its training where they can be
                told. Trees need none.
            column: Which output, where there are more than two and no rule says which: a class's label or place.
            anew: Whether it is computed though the record has it.

        Returns:
            The `contributions`, largest first; with the `base` they add up to the `output`, or to what the `units` say.
            `computed` says when it was computed.

        Raises:
            NotFoundError: There is no such prediction.
            ForbiddenError: Its values are sealed.
            ModelError: The call failed, the model is not there, the replay diverges, the method is not for this model,
                or what was added does not add up.
            InputError: There is no such method, or the background does not fit.
            VerificationError: The record or the model was changed.
        """
        from backstory.debug.explanation import explain_prediction
        from backstory.debug.explanation_plan import Explain

        asked = Explain(method=method, background=background, column=column)
        found = self._found_for("explain", prediction)
        return explain_prediction(self._workshop, found, asked, anew=anew)

    @cached_property
    def explanations(self) -> Explanations:
        """Reasons by a versioned map, what was disclosed, and what would have changed an output."""
        from backstory.archive.explanations import Explanations

        return Explanations(self._inside, self._workshop, self._found, self._found_for)

    @cached_property
    def drift(self) -> DriftWatch:
        """Whether what models are given and say has moved, and how right they were."""
        from backstory.archive.drift import DriftWatch

        return DriftWatch(self._inside)

    def _found_for(self, question: str, prediction: str | UUID) -> Found:
        """Return a record that a question is about, whose open values the answer shows as they are."""
        found = self._found(prediction)
        self._gate.within(about_record(self._ledger, found)).require_open(question)
        return found

    @cached_property
    def _plans(self) -> Plans:
        from backstory.archive.explanations import Plans

        return Plans(self._inside)

    @cached_property
    def _workshop(self) -> Workshop:
        from backstory.debug.case import Workshop

        return Workshop(
            ledger=self._ledger,
            gate=self._gate,
            tracer=self._tracer,
            store=self._inside.store,
            sources=self._inside.sources,
            load=self._stored_model,
        )

    def _stored_model(self, named: JsonObject) -> object:
        """Load a model a context names from its artifact, never from the session."""
        return registry.load_model(
            self._ledger, registry.find_version(self._ledger, canonical.text_of(named, "digest"))
        )
