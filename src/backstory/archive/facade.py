"""The front door: an archive with its verbs. A thin facade that only delegates."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload
from uuid import UUID

from backstory.archive.calls import Calls
from backstory.archive.contracts import Contracts
from backstory.archive.data import Data
from backstory.archive.deployments import Deployments
from backstory.archive.features import Features
from backstory.archive.forgetting import collect_and_forget, forget_whom_it_should
from backstory.archive.governing import Governing
from backstory.archive.inside import Inside
from backstory.archive.job import Job
from backstory.archive.measuring import measure
from backstory.archive.promising import create_promise_key, promise_key
from backstory.archive.runs import Runs
from backstory.archive.sealing import Sealer, Sealing
from backstory.archive.who import Mode, require_recordable, require_role
from backstory.capture.decision import Threshold
from backstory.capture.metrics import Metrics
from backstory.capture.model_version import ModelVersion
from backstory.capture.observation import Observation
from backstory.capture.outcome import one_outcome_each, outcome_values
from backstory.capture.policy import Policy
from backstory.capture.prediction import Capture, Predictions
from backstory.capture.steps import Keep, Sampling
from backstory.capture.subject import Id
from backstory.errors import InputError, ModelError
from backstory.frames.contract import Contract
from backstory.frames.contract_odcs import read_contract
from backstory.governance.access import AccessGate
from backstory.governance.freeze import insist_alias_free
from backstory.ledger.collect import wrap_key
from backstory.ledger.ledger import Ledger
from backstory.ledger.past import look_up
from backstory.lineage import registry
from backstory.lineage.feature_set import FeatureSet
from backstory.lineage.referenced import Places
from backstory.lineage.refs import RowRefs
from backstory.lineage.source import Kept, Sources
from backstory.lineage.store import LineageStore
from backstory.lineage.trace import Tracer
from backstory.storage.fork import renew_in_child
from backstory.storage.master import KeyWrapper, Wrappers, wrappers_of
from backstory.storage.worker_spool import WorkerSpoolInfo, write_worker_spool
from backstory.storage.world import World
from backstory.tlog.signer import Signer

if TYPE_CHECKING:  # what they need is imported when it is asked for
    from backstory.debug.explanation_plan import Explain

P = ParamSpec("P")
T = TypeVar("T")


class Archive(Governing):
    """One archive: fix sources, register models, predict, and ask questions.

    Made by `backstory.init` and `backstory.open`; a context manager. Threads may share it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        mode: Mode = "rw",
        actor: str | None = None,
        purpose: str | None = None,
        role: str | None = None,
        case: str | None = None,
        vkey: str | None = None,
        signer: Signer | None = None,
        wrapper: KeyWrapper | Wrappers | None = None,
        policy: Policy | None = None,
        sealer: Sealer = "process",
        keep: Kept = "copy",
        world: World | None = None,
    ) -> None:
        """Open an archive; see `backstory.open`."""
        require_recordable(mode, actor=actor, purpose=purpose, role=role, case=case, signer=signer)
        # A process beside this one would have another world, and no access to what was given to this one.
        sealer = "none" if world or signer or wrapper else sealer
        world = world or World()
        ledger = Ledger(
            Path(path),
            world,
            writable=mode == "rw",
            vkey=vkey,
            actor=actor,
            signer=signer,
            wrappers=wrappers_of(wrapper),
        )
        self._sealing = Sealing(ledger, policy, sealer, vkey)
        places = Places(ledger)
        recorder, store, sources = self._sealing.recorder, LineageStore(ledger, places), Sources()
        capture = Capture(recorder, ledger.blobs, self.flush, self.promise)
        inside = Inside(
            ledger=ledger,
            store=store,
            sources=sources,
            calls=Calls(ledger, store, sources, capture, recorder),
            tracer=Tracer(ledger, places),
            gate=AccessGate(ledger, recorder, purpose=purpose, role=role, case=case),
            recorder=recorder,
            places=places,
            keep=keep,
        )
        super().__init__(inside, vkey)
        self._models: dict[str, ModelVersion] = {}
        self._lock = threading.RLock()
        renew_in_child(self, "_lock", threading.RLock)
        self._is_closed = False
        if mode == "rw":
            self._sealing.seal_abandoned()
            forget_whom_it_should(ledger)
        if role is not None:
            require_role(self._gate, self.close)

    @property
    def path(self) -> Path:
        """The archive's directory."""
        return self._ledger.layout.root

    @property
    def origin(self) -> str:
        """Name of the log."""
        return self._ledger.layout.config.origin

    @property
    def vkey(self) -> str:
        """The archive's own public key. Read from the archive, it shows consistency, not whose archive this is."""
        return self._ledger.layout.config.vkey

    # --- models -------------------------------------------------------------------------------------------------------

    def register(
        self,
        model: Any,  # noqa: ANN401  any model
        *,
        name: str,
        rows: Any = None,  # noqa: ANN401  RowRefs or a frame with ids
        target: Any = None,  # noqa: ANN401  any column
        metrics: Mapping[str, float] | None = None,
        trusted: str | Sequence[str] = (),
        alias: str | None = None,
        provable: str | Sequence[str] = (),
        parents: ModelVersion | str | Sequence[ModelVersion | str] = (),
        feature_set: FeatureSet | str | None = None,
        contract: Contract | Mapping[str, Any] | str | Path | None = None,
    ) -> ModelVersion:
        """Register a model version; registering the same thing twice gives the same version.

        Args:
            model: A scikit-learn estimator or pipeline, an XGBoost or LightGBM model, an ONNX model (`OnnxModel`), a
                PyTorch module in evaluation mode, or any callable (which is recorded by the digest of its source and
                cannot be replayed). Or the `Path` of a model's file; a pickle is kept and hashed, and never opened.
            name: The model's name: a letter, then at most 127 letters, digits, `_`, `.`, `-`.
            rows: The training rows in order, from `split`, or the token frame itself.
            target: The training target.
            metrics: Figures to keep with the version.
            trusted: Name or names of own types in a scikit-learn pipeline or a PyTorch module that may be loaded again.
            alias: Alias to point at the version; a name as a model's.
            provable: `subjects` to be able to prove of a person that the training set has rows about them or has none;
                see `data.prove`.
            parents: The version or versions it was made from, such as the one whose fitting was gone on with.
            feature_set: The definitions of its features, from `features.define`; or `name`, `name:version`.
            contract: A data contract for its features, as `source` takes it: each prediction is checked against its
                rules about single rows, and flagged or refused as their severity says.

        Raises:
            ModelError: The model cannot be captured, or is a class.
            AlignmentError: Rows and target differ in length.
            InputError: The name cannot be used, the rows are not of a source with a subject, or the code of a feature
                is another than it was defined with.
            NotFoundError: There is no such parent, or no such feature set.
            ForbiddenError: The archive is open for reading only, or the policy in force does not let you.
        """
        self._inside.require("register")
        parents = [parents] if isinstance(parents, ModelVersion | str) else parents
        if rows is not None and not isinstance(rows, RowRefs):
            _, rows = self.split(rows)
        if alias is not None:
            self._gate.require("deploy")
            insist_alias_free(self._ledger, name, alias)
        with self._lock:
            given = registry.Submission(
                model=model,
                name=name,
                rows=rows,
                target=target,
                metrics=metrics or {},
                trusted=(trusted,) if isinstance(trusted, str) else tuple(trusted),
                provable=frozenset([provable] if isinstance(provable, str) else provable),
                parents=tuple(self._registered(parent).digest for parent in parents),
                features=None if feature_set is None else self._calls.bind_features(feature_set, rows),
                contract=None if contract is None else read_contract(contract, name),
            )
            version = registry.register_model(self._ledger, self._store, given)
            if alias is not None:
                registry.set_alias(self._ledger, version, alias)
            # What is recorded is what the archive holds: a model fitted again after this is another model.
            stored = functools.partial(registry.load_model, self._ledger, version)
            self._models[version.digest] = self._version(version, stored if version.artifact else lambda: model)
            return self._models[version.digest]

    def alias(self, model: ModelVersion | str, alias: str) -> None:
        """Let `name@alias` mean this version from now on; earlier meanings stay in the log."""
        self._inside.require("deploy")
        version = self._registered(model)
        insist_alias_free(self._ledger, version.name, alias)
        registry.set_alias(self._ledger, version, alias)

    def model(self, spec: str, *, as_of: int | None = None) -> ModelVersion:
        """Return a model version by `name`, `name@alias`, `name:version` or a digest prefix.

        Args:
            spec: What names it.
            as_of: What that meant in the log of this tree size: which was the latest, and where an alias pointed.

        Raises:
            NotFoundError: There is none, or there was none at that tree size.
            AmbiguousError: A digest prefix fits several.
        """
        _, found = look_up(self._ledger, as_of, lambda ledger: registry.find_version(ledger, spec))
        with self._lock:
            if found.digest not in self._models:
                load = functools.partial(registry.load_model, self._ledger, found)
                self._models[found.digest] = self._version(found, load)
            return self._models[found.digest]

    # --- predictions --------------------------------------------------------------------------------------------------

    def predict(
        self,
        model: ModelVersion | str,
        features: Any,  # noqa: ANN401  whatever the model takes
        *,
        rows: RowRefs | None = None,
        method: str = "predict",
        subject: Any = None,  # noqa: ANN401  one id or one a row
        request_id: Any = None,  # noqa: ANN401  one id or one a row
        decision: Threshold | None = None,
        options: Mapping[str, Any] | None = None,
        feature_set: FeatureSet | str | None = None,
        tile: int | None = None,
        explain: Explain | str | None = None,
    ) -> Predictions:
        """Run a model unchanged and record what went in and what came out.

        Args:
            model: The version, or what `model()` takes.
            features: A token frame, a frame, an array, a list of dicts, or one dict.
            rows: Row references of the features, from `split`; not needed for a token frame.
            method: Method of the model to call.
            subject: The person the predictions are about, or one a row: `frame["customer"]`, not the column's name.
                They are then sealed.
            request_id: The caller's id of the request, of at most 256 characters, or one a row. One id of a call of
                many rows stands on each of them.
            decision: Rule that turns the output into a decision, such as `Threshold(0.2)`, which looks at the last
                column of the output where it names none.
            options: What the method is given besides the features, such as `{"num_iteration": 1}`. Numbers and texts
                stand in clear in the context, of anything else the type; so of texts of a call about people, and of an
                option that had 8 other values before.
            feature_set: The definitions the features were made with, where they are not those the model is bound to.
            tile: Run the model in calls of exactly so many rows, the last filled up by repeating its last row, so that
                one row alone can be replayed to the bit. The caller's wish: outputs may differ from those of an untiled
                call in the last digits. Sizes that were found to do that when the model was registered are taken (see
                `ModelVersion.determinism`); of a model that was never probed any, which shows nothing.
            explain: Record with each prediction what each feature added to it: `tree`, `linear`, `permutation`, `auto`,
                or a `backstory.Explain` that says against which rows.

        Returns:
            The model's output unchanged, the ids, and `wait()`.

        Raises:
            AlignmentError: Features and rows are not of the same rows in the same order; subjects or request ids are
                more or fewer than rows.
            InputError: A subject or request id is none, or a subject is the name of a column.
            TokenError: Tokens of the frame do not check.
            ModelError: The model has no such method, its output has no encoding, or it gives other bits in such tiles.
                Or what the features added cannot be said: where the model ran, its predictions are recorded without.
            InputMutatedError: The model changed its input; the predictions are recorded.
            OutputLengthError: The model returned another number of rows; recorded as a failed call.
            StorageError: The record could not be written; no prediction is given out.
        """
        version = self._version_of(model)
        return self._calls.predict(
            version,
            features,
            rows=rows,
            method=method,
            subject=subject,
            request_id=request_id,
            decision=decision,
            options=options,
            feature_set=feature_set,
            tile=tile,
            explain=self._plans.asked(explain, version, method, decision, options or {}),
        )

    def job(self, name: str, *, run: str, expect: int | None = None) -> Job:
        """Begin or go on with a run of a job: predictions part by part, each recorded exactly once.

        `with archive.job("nightly", run="2026-11-22") as job: job.predict(model, batch, part=3)`: a part that is in the
        log is not predicted again, whatever was stopped, retried, or run twice at once.

        Args:
            name: Names the job. No personal data: it stands in the log, as run and part do.
            run: Names the run of it, such as a date.
            expect: How many records the run has in the end; another number is an error, and in the log.

        Raises:
            ForbiddenError: The archive is open for reading only.
            InputError: A name is empty or longer than 256 characters.
        """
        self._calls.require_writable()
        return Job(
            self._ledger, self._calls, self._version_of, self._recorder.policy, name=name, run=run, expect=expect
        )

    @overload
    def traced(self, function: Callable[P, T], /) -> Callable[P, T]: ...
    @overload
    def traced(
        self, function: None = None, /, *, model: ModelVersion | str | None = None, subject: str | None = None
    ) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
    def traced(
        self,
        function: Callable[P, T] | None = None,
        /,
        *,
        model: ModelVersion | str | None = None,
        subject: str | None = None,
    ) -> Callable[P, T] | Callable[[Callable[P, T]], Callable[P, T]]:
        """Record every call of a function, coroutine function or generator: arguments as features, result as output.

        Each is a record of its own, or a step of the prediction around it; see `prediction` for threads. Names of
        arguments, of the items of a dict that is the only one, and of those of a dict that is returned stand in clear;
        names further inside do not, and with a subject no returned dict that has a name which is no identifier.

        Args:
            function: The function, when used without arguments: `@archive.traced`.
            model: The model version the function stands for, or what `model()` takes.
            subject: Name of the parameter that says whom a call is about.

        Raises:
            ModelError: The function has no parameter of the subject's name.
            NotFoundError: There is no such model.
        """
        version = None if model is None else self._version_of(model)
        if function is None:
            return lambda inner: self._calls.trace(inner, version, subject)
        return self._calls.trace(function, version, subject)

    def prediction(
        self,
        model: ModelVersion | str | None = None,
        *,
        subject: Id | None = None,
        request_id: Id | None = None,
        keep: Keep = "full",
        rate: float = 1.0,
        keep_if: Callable[[Any], bool] | None = None,
    ) -> Observation:
        """Begin a prediction whose parts come one by one: `with archive.prediction(model) as p: …`.

        Inside, `p.features({...})`, `p.step("impute", values)`, `p.uses("stats", key=…)`, `p.output(score)` say what
        happens. What is predicted inside becomes a step of it, and is its features and output where none are given.

        Inside means in this thread or task and in those that copy its context, as `asyncio.create_task` and
        `asyncio.to_thread` do. A pool of threads does not, so what it predicts are records of their own, unless it is
        told: `pool.submit(contextvars.copy_context().run, function, x)`.

        Args:
            model: The model version it stands for.
            subject: The person it is about. Its values are then sealed.
            request_id: The caller's id of the request, of at most 256 characters.
            keep: What to keep of steps: `full` their values, `digest` a digest of them, `record` that they happened.
            rate: For how many of the predictions, from 0 to 1. All steps of a prediction that failed are kept in full.
            keep_if: Told the output, says which others are; where it raises, they are too.

        Raises:
            InputError: `keep` or `rate` is none.
            NotFoundError: There is no such model.
        """
        version = self.model(model) if isinstance(model, str) else model
        sampling = Sampling(keep=keep, rate=rate, rule=keep_if)
        return self._calls.observe(version, request_id=request_id, subject=subject, sampling=sampling)

    @overload
    def outcome(self, prediction: str | UUID, value: Any) -> str: ...  # noqa: ANN401  any value with an encoding
    @overload
    def outcome(self, prediction: Sequence[str | UUID], value: Iterable[Any]) -> list[str]: ...
    def outcome(self, prediction: str | UUID | Sequence[str | UUID], value: Any) -> str | list[str]:
        """Record what turned out later about a prediction, or about many.

        The predictions stay as they were. An outcome is a record of its own; a second one stands beside the first.

        Args:
            prediction: Its id, or a unique prefix; or a list of whole ids, such as `Predictions.ids`.
            value: What turned out: any value but a dict. For a list of ids a list or column of as many, of one type.

        Returns:
            Id of the outcome's record, or of each; empty where it was refused and the archive was opened with
            `on_failure="open"`.

        Raises:
            NotFoundError: There is no such prediction; nothing is recorded.
            ConflictError: Whom one is about was erased; nothing is recorded. `details["ids"]` has all such predictions.
            ColumnError: A value is a dict, or the values are of several types.
            InputError: For a list of ids no list, array or column of values, or one of another length.
            StorageError: Nothing was recorded; or, where `details["ids"]` is there, only the outcomes with an id in it.
            ForbiddenError: The archive is open for reading only, or the policy in force does not let you.
        """
        self._inside.require("outcome")
        if isinstance(prediction, str | UUID):
            found = self._found(prediction)
            only = found.table["id"][0].as_py(), found.schema, found.table["context"][0].as_py()
            return self._calls.record_outcomes([only], outcome_values([value]))[0]
        if isinstance(prediction, bytes) or not isinstance(prediction, Iterable):
            raise InputError(f"outcome: expected an id as text, or a list of ids, got {type(prediction).__name__}")
        names = [str(one) for one in prediction]
        values = one_outcome_each(value, len(names))
        return self._calls.record_outcomes(self._found_all(names), outcome_values(values)) if names else []

    def flush(self) -> None:
        """Return when everything recorded here so far is sealed: in the log under a signed checkpoint.

        Raises:
            StorageError: Something could not be written; what is not sealed stays in the spool.
        """
        self._sealing.flush()

    def spool(self, path: str | Path, models: ModelVersion | str | Sequence[ModelVersion | str] = ()) -> None:
        """Make a spool for workers that hold no key of the archive, or let one that is there name these models.

        Workers record with `backstory.recorder(path, model=…)`; `backstory seal --spool` or `collect` seals.

        Args:
            path: Its directory.
            models: The version or versions workers may name; each by the very text given here, or as `name:version`.

        Raises:
            NotFoundError: There is no such model.
            StorageError: The directory cannot be written.
        """
        self._calls.require_writable()
        models = [models] if isinstance(models, ModelVersion | str) else models
        versions = {spec: self.model(spec) for spec in models if isinstance(spec, str)}
        versions |= {f"{model.name}:{model.version}": model for model in models if not isinstance(model, str)}
        write_worker_spool(
            Path(path),
            WorkerSpoolInfo(
                origin=self.origin,
                vkey=self.vkey,
                wrap_key=wrap_key(self._ledger),
                models={spec: version.reference for spec, version in versions.items()},
                classes={spec: said for spec, one in versions.items() if (said := self._calls.confirmed(one.name))},
            ),
            self._ledger.world.disk,
        )

    def collect(self, path: str | Path) -> int:
        """Seal what workers recorded into a spool; return how many records were sealed.

        Of persons who were erased meanwhile, what they recorded before is erased at once.

        Raises:
            NotFoundError: There is no such spool.
            ConflictError: It is another archive's.
            BackstoryError: A stream could not be sealed; all others were.
        """
        self._calls.require_writable()
        return collect_and_forget(self._ledger, Path(path))

    def promises(self, *, delay: int | None = None) -> str:
        """Return the public key of promises, which holders keep as they do `vkey`; see `promise`.

        Args:
            delay: Promise from now on that a record is in the log so many seconds after it was on disk.

        Raises:
            NotFoundError: Promises are not switched on.
        """
        if delay is None:
            return promise_key(self._ledger)
        self._inside.require("operate-keys")
        return create_promise_key(self._ledger, self._recorder, delay)

    # --- administration -----------------------------------------------------------------------------------------------

    def reindex(self) -> int:
        """Rebuild the catalog from the log; return how many entries it covers.

        Raises:
            ForbiddenError: The archive is open for reading only.
        """
        self._calls.require_writable()
        return self._ledger.reindex()

    def metrics(self) -> Metrics:
        """Return what an operator watches; `backstory.capture.metrics.prometheus_text` of it is for Prometheus.

        Returns:
            Of this process: `records_total`, `refused_total`, `watermark_lag_records` (not on disk yet), `buffer_bytes`
            (in memory). Of the archive, whoever records into it: `spool_bytes`, `seal_lag_seconds` (age of the oldest
            record that is not sealed), `checkpoint_age_seconds`.

        Raises:
            StorageError: The log cannot be read.
        """
        return measure(self._ledger, self._recorder.status())

    def close(self) -> None:
        """Seal what was recorded here and give up the streams; what cannot be sealed now, the next opener seals.

        Closing an archive that is closed does nothing.

        Raises:
            StorageError: Something could not be written, and is still held; calling again tries again.
        """
        if self._is_closed:
            return
        self._sealing.close()  # where it fails the ledger stays open: the next call needs it
        self._ledger.close()
        self._is_closed = True

    def __enter__(self) -> Self:
        """Return the archive."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the archive."""
        self.close()

    def __repr__(self) -> str:
        """Return where it is, whose, and for what it is open."""
        mode = "rw" if self._ledger.writable else "r"
        return f"<Archive {str(self.path)!r}, origin {self.origin}, mode {mode!r}>"

    # --- namespaces ---------------------------------------------------------------------------------------------------

    @functools.cached_property
    def contracts(self) -> Contracts:
        """Data contracts: what data is promised to be, and whether it was."""
        return Contracts(self._inside)

    @functools.cached_property
    def data(self) -> Data:
        """Dataset versions, what changed between them, and proofs of what is in them."""
        return Data(self._inside)

    @functools.cached_property
    def features(self) -> Features:
        """Feature sets: named, versioned definitions of features, with owner and justification."""
        return Features(self._inside)

    @functools.cached_property
    def runs(self) -> Runs:
        """Trainings, evaluations and other runs, and the history of models."""
        return Runs(self._inside)

    @functools.cached_property
    def deployments(self) -> Deployments:
        """What serves which part of the traffic, and who approved it."""
        return Deployments(self._inside, self._found)

    # --- within -------------------------------------------------------------------------------------------------------

    def _version(self, version: registry.Registered, load: Callable[[], object]) -> ModelVersion:
        return ModelVersion(
            name=version.name,
            version=version.version,
            digest=version.digest,
            document=self._ledger.document(version.digest),
            load=load,
            determinism=registry.determinism_of(self._ledger, version),
            record=self._calls.call_method,
        )

    def _version_of(self, model: ModelVersion | str) -> ModelVersion:
        version = self.model(model) if isinstance(model, str) else model
        if not isinstance(version, ModelVersion):
            raise ModelError(
                f"predict: expected a model version or its name, got {type(model).__name__}; register the model first"
            )
        return version

    def _registered(self, model: ModelVersion | str) -> registry.Registered:
        return registry.find_version(self._ledger, model if isinstance(model, str) else model.digest)
