"""From what a caller hands over to a call that can be recorded: its features, its rows, its surroundings."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ParamSpec, TypeVar

import pyarrow as pa

from backstory.capture.decision import Threshold
from backstory.capture.ids import Ids
from backstory.capture.model_version import ModelVersion, names_of
from backstory.capture.observation import Observation
from backstory.capture.outcome import outcome_batch
from backstory.capture.prediction import Call, Capture, Explains, Predictions, Rows
from backstory.capture.recorder import Batch, Recorder, RecorderStatus
from backstory.capture.request_id import request_ids
from backstory.capture.single import SingleCapture
from backstory.capture.steps import Sampling
from backstory.capture.subject import Id, refuse_column_name
from backstory.capture.traced import traced
from backstory.errors import BackstoryError, ForbiddenError, InputError, ModelError, StorageError, TokenError
from backstory.frames.table import LAZY, column_names, frame_of_records, hold, kind_of, row_count
from backstory.frames.token import ROW_PREFIX, id_columns
from backstory.frames.watch import Watch
from backstory.governance.erased_predictions import require_not_erased
from backstory.ledger.ledger import Ledger
from backstory.lineage.feature_set import FeatureSet
from backstory.lineage.feature_use import FeatureBinding
from backstory.lineage.refs import RowRefs
from backstory.lineage.source import Sources
from backstory.lineage.split import split
from backstory.lineage.store import LineageStore
from backstory.lineage.watching import watch_of
from backstory.models import function_of, output_names
from backstory.models.code_version import code_version
from backstory.models.environment import environment
from backstory.models.tile import TILE_ROWS_MAX, run_in_tiles
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.classification import CONFIRMED, NO_CLASSES, UNKNOWN_CLASSES, Classes
from backstory.records.schema import Schema, dataset_columns
from backstory.storage.fork import renew_in_child

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger("backstory")


class Calls:
    """Makes recorded calls of models and functions for one open archive."""

    def __init__(
        self, ledger: Ledger, store: LineageStore, sources: Sources, capture: Capture, recorder: Recorder
    ) -> None:
        """Record through a capture, with the lineage of a session's sources."""
        self._recorder = recorder
        self._lock = threading.Lock()
        renew_in_child(self, "_lock", threading.Lock)
        self._singles: dict[ModelVersion | None, SingleCapture] = {}
        self._ledger = ledger
        self._store = store
        self._sources = sources
        self._capture = capture
        self._features = FeatureBinding(ledger)
        self._stored_environment: tuple[JsonObject, str] | None = None
        self._watches: dict[str, tuple[Watch, JsonObject] | None] = {}
        self._classes: dict[tuple[str | None, tuple[str, ...]], tuple[list[int], Classes]] = {}

    def known(self, *frames: Any) -> Sources:  # noqa: ANN401  any frames
        """Return the registry, after restoring sources of earlier sessions whose ids the frames carry."""
        for frame in frames:
            try:
                names = id_columns(column_names(frame))
            except InputError:
                continue
            for name in names:
                self._store.restore(self._sources, name.removeprefix(ROW_PREFIX))
        return self._sources

    def record_outcomes(
        self, predictions: list[tuple[bytes, Schema, bytes]], values: pa.Array, corrects: bytes | None = None
    ) -> list[str]:
        """Record outcomes: those of predictions about people, and of each classification, apart.

        Args:
            predictions: Their ids, 16 bytes each, their schemas, and the digests of their contexts.
            values: One value for each.
            corrects: Id of the outcome that a single one corrects.

        Returns:
            Ids of the outcomes' records; empty texts where they were refused.

        Raises:
            ConflictError: Some are of predictions about somebody who was erased; nothing is recorded.
            StorageError: They could not be recorded; `details["ids"]` is there if some of them were.
        """
        require_not_erased(self._ledger, "outcome", [key for key, schema, _ in predictions if schema.groups])
        ids = [""] * len(predictions)
        kinds: dict[tuple[bool, Classes], list[int]] = {}
        for row, (_, schema, context) in enumerate(predictions):
            kinds.setdefault((bool(schema.groups), self._classes_said(context)), []).append(row)
        parts: list[tuple[list[int], Batch]] = []
        try:
            for (sealed, classes), rows in sorted(kinds.items(), key=lambda kind: kind[0][0]):
                of, taken = [predictions[row][0] for row in rows], values.take(pa.array(rows))
                batch = outcome_batch(self._ledger.blobs, of, taken, sealed=sealed, classes=classes, corrects=corrects)
                parts.append((rows, batch))
            for _, batch in parts:  # what can fail for one kind of record fails before another is recorded
                self._recorder.open_stream(batch.schema)
        except StorageError as error:
            self._recorder.refuse_early(len(predictions), error)
            return ids
        for rows, batch in parts:
            try:
                recorded = self._recorder.record(batch)
            except StorageError as error:
                if any(ids):
                    error.details["ids"] = ids
                raise
            for row, identity in zip(rows, recorded.ids if recorded else [], strict=False):
                ids[row] = identity
        return ids

    def add_counts(self, status: RecorderStatus) -> None:
        """Count what the recorder of a part of a job did, for the archive's metrics."""
        self._recorder.add_counts(status)

    def require_writable(self) -> None:
        """Refuse to record into an archive that is open for reading.

        Raises:
            ForbiddenError: It is.
        """
        if not self._ledger.writable:
            raise ForbiddenError("archive is open for reading only: expected mode 'rw' to record")

    def predict(
        self,
        version: ModelVersion,
        features: Any,  # noqa: ANN401  whatever the model takes
        *,
        method: str,
        rows: RowRefs | None = None,
        subject: Any = None,  # noqa: ANN401  one id or one a row
        request_id: Any = None,  # noqa: ANN401  one id or one a row
        decision: Threshold | None = None,
        rest: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
        recorder: Recorder | None = None,
        feature_set: FeatureSet | str | None = None,
        tile: int | None = None,
        explain: Callable[[Any], Explains] | None = None,
    ) -> Predictions:
        """Run a model and record it; see `Archive.predict`, for the recorder `Call`.

        `rest` are options the method is given by position, which the record names as its parameters are named;
        `explain` is given the features and returns what explains them.
        """
        self.require_writable()
        estimator = version.estimator
        function = function_of(estimator, method)
        if function is None:
            hint = '; it is called itself with method="__call__"' if callable(estimator) else ""
            name = type(estimator).__name__
            raise ModelError(f"predict: model {version.name} has no method {method!r} ({name}){hint}")
        if decision is not None and not isinstance(decision, Threshold):
            raise InputError(
                f"predict: expected a rule such as Threshold(0.2) as decision, got {type(decision).__name__}"
            )
        given = features
        named_set = self._features_of(version, feature_set)
        features, rows = self._input(version, features, rows)
        if isinstance(subject, str):
            refuse_column_name(subject, _column_names(given, rows))
        named = request_ids(request_id, row_count(features))
        by_name = options or {}
        run: Callable[[Any], Any] = function
        if rest or by_name:
            run = functools.partial(_with_options, function, rest, by_name)
        if tile is not None:
            self._require_tiles(version, method, tile)
            run = functools.partial(run_in_tiles, run, tile=tile)
        try:
            references = self._rows(rows)
        except StorageError as error:
            (recorder or self._recorder).refuse_early(row_count(features), error)
            return Predictions(run(features), Ids(0, 0), self._capture.wait, self._capture.promise)
        call = Call(
            model=version.reference,
            method=method,
            features=features,
            output_names=output_names(estimator, method),
            rows=references,
            subject=subject,
            request_id=named,
            decision=decision,
            code=self._code,
            environment=lambda: self._environment,
            options={**names_of(function, rest), **by_name},
            recorder=recorder,
            feature_set=named_set,
            watch=self._watch_of(version),
            tile=tile,
            explain=None if explain is None else explain(features),
            classes=self._classes_of(version.name, rows),
        )
        return self._capture.predict(call, run)

    def _require_tiles(self, version: ModelVersion, method: str, tile: int) -> None:
        """Refuse tiles that no call can have, and those in which a model is known to give other bits."""
        if isinstance(tile, bool) or not isinstance(tile, int) or not 0 < tile <= TILE_ROWS_MAX:
            raise InputError(f"predict: expected a tile of 1 to {TILE_ROWS_MAX:,} rows, got {tile!r}")
        known = version.determinism
        if known is None or known.class_of(method) is None:
            why = "nobody looked" if known is None else known.unprobed or f"nobody looked at {method}"
            _log.info("predict: whether %s gives the same bits in tiles is not known: %s", version.name, why)
        elif not known.holds_in_tiles(method, tile):
            sizes = " or ".join(map(str, known.tiles))
            expected = f"expected a tile of {sizes}" if sizes else "expected a model that gives the same bits in tiles"
            raise ModelError(f"predict: {expected}, got {tile} (model {version.name} is {known.class_of(method)})")

    def call_method(
        self,
        model: ModelVersion,
        method: str,
        features: Any,  # noqa: ANN401
        rest: tuple[Any, ...],
        options: dict[str, Any],
    ) -> Any:  # noqa: ANN401
        """Return what a method of a model returns, and record it; see `ModelVersion`."""
        return self.predict(model, features, method=method, rest=rest, options=options).output

    def trace(self, function: Callable[P, T], model: ModelVersion | None, subject: str | None) -> Callable[P, T]:
        """Return a function that records its calls; see `Archive.traced`."""
        return traced(function, self._capture, self._recorder, functools.partial(self._site, model), subject)

    def observe(
        self, model: ModelVersion | None, *, request_id: Id | None, subject: Id | None, sampling: Sampling
    ) -> Observation:
        """Return a prediction whose parts come one by one; see `Archive.prediction`."""
        self.require_writable()
        with self._lock:
            single = self._singles.get(model)
            if single is None:
                site = functools.partial(self._site, model, "prediction", {}, by_hand=True)
                single = self._singles[model] = SingleCapture(self._capture, self._recorder, site)
        return Observation(
            self._capture,
            single,
            self._ledger.world.random_bytes,
            request_id=request_id,
            subject=subject,
            sampling=sampling,
        )

    def _site(self, model: ModelVersion | None, method: str, code: JsonObject, *, by_hand: bool = False) -> Call:
        """Return what calls of one function, or predictions made part by part, have in common."""
        self.require_writable()
        return Call(
            model=None if model is None else model.reference,
            feature_set=None if model is None else self._features_of(model, None),
            watch=None if model is None else self._watch_of(model),
            classes=self._classes_of(None if model is None else model.name, None),
            method=method,
            features=None,
            code={**self._code, **code},
            environment=lambda: self._environment,
            by_hand=by_hand,
        )

    def bind_features(self, spec: FeatureSet | str, rows: RowRefs | None) -> str:
        """Return the digest of the feature set a model is to be bound to; see `FeatureBinding.bind`."""
        return self._features.bind(spec, None if rows is None else column_names(rows.features))

    def forget_classes(self) -> None:
        """Let predictions that begin from here on be placed by what was confirmed since."""
        with self._lock:
            self._singles.clear()

    def require_subject(self, source: str) -> None:
        """Refuse a source without a subject if its classification says that its columns are about people.

        Raises:
            InputError: It does.
        """
        if isinstance(source, str) and self._ledger.catalog.entries(
            CONFIRMED, source
        ):  # what is no name is refused later
            from backstory.governance.classification import require_subject

            require_subject(self._ledger, source)

    def _classes_of(self, model: str | None, rows: RowRefs | None) -> Classes:
        """Return what the columns of records are placed by: what is in force now, as far as this process knows.

        That it cannot be read must not keep a model from predicting, nor let what is sealed stand in clear.
        """
        origins = [] if rows is None else [one for one in rows.origins.values() if isinstance(one, tuple)]
        key = model, tuple(sorted({part.name for parts in origins for part in parts}))
        known = self._classes.get(key)
        try:
            confirmed = self._ledger.catalog.entries(CONFIRMED)
            if confirmed and (known is None or known[0] != confirmed):
                from backstory.governance.classification import classes_in_force

                known = self._classes[key] = confirmed, classes_in_force(self._ledger, *key)
        except BackstoryError as error:
            _log.error("predictions of %s are sealed as known before, or whole: %s", model, error)
            return UNKNOWN_CLASSES if known is None else known[1]
        return NO_CLASSES if known is None else known[1]

    def confirmed(self, model: str) -> JsonObject | None:
        """Return the classification in force for a model as a worker's spool says it; None if there is none."""
        from backstory.governance.classification import find_classification

        found = find_classification(self._ledger, "model", model)
        return None if found is None else found.document()

    def _classes_said(self, context: bytes) -> Classes:
        """Return what a context says its records were placed by: what of its model goes for their outcomes too."""
        said = self._ledger.document(context.hex()).get("classification")
        if said is None:
            return NO_CLASSES
        from backstory.governance.classification import confirmed_of

        named = [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
        return next(
            (Classes(confirmed_of(self._ledger, one)) for one in named if one.get("kind") == "model"), NO_CLASSES
        )

    def _watch_of(self, version: ModelVersion) -> tuple[Watch, JsonObject] | None:
        if version.digest not in self._watches:
            self._watches[version.digest] = watch_of(self._ledger, version.name, version.digest)
        return self._watches[version.digest]

    def _features_of(self, version: ModelVersion, given: FeatureSet | str | None) -> JsonObject | None:
        bound = version.document.get("features")
        return self._features.context_member(bound if isinstance(bound, str) else None, given)

    def _input(
        self,
        version: ModelVersion,
        features: Any,  # noqa: ANN401
        rows: RowRefs | None,
    ) -> tuple[Any, RowRefs | None]:
        """Return what the model gets and its row references."""
        if hasattr(features, "detach"):
            features = features.detach().cpu().numpy()  # a tensor of PyTorch; its module is given one again
        kind = kind_of(features)
        if kind in {"record", "records"}:
            features = frame_of_records(features)
        elif kind in LAZY:
            features = hold(features)
        carried = id_columns(column_names(features)) if kind != "numpy" else []
        if carried and rows is not None:
            raise TokenError(f"predict: expected features without id columns beside rows, got {carried[0]!r}")
        if carried:
            return split(self.known(features), features, self._feature_names(version, set(column_names(features))))
        return features, rows if rows is None else rows.check(features)

    def _feature_names(self, version: ModelVersion, present: set[str]) -> list[str] | None:
        """Return the columns of a token frame that are the model's features; None if nothing says which.

        As the model knows them, if they are there: some models know their features by names of their own making. Then
        as it was registered, and `split` refuses a frame that lacks one.
        """
        own = [str(name) for name in getattr(version.estimator, "feature_names_in_", [])]
        training = version.document.get("training")
        if not isinstance(training, dict) or (own and present.issuperset(own)):
            return own or None
        return dataset_columns(self._ledger.document(canonical.text_of(training, "schema")))

    def _rows(self, rows: RowRefs | None) -> Rows:
        """Persist what row references point to and return them as they go onto the records."""
        if rows is None:
            return Rows()
        references = self._store.references(rows)
        return Rows(
            positions=rows.positions,
            personal=frozenset(name for name, reference in references.items() if reference.personal),
            document={name: reference.document() for name, reference in references.items()},
        )

    @cached_property
    def _code(self) -> JsonObject:
        """The code that runs, found out once."""
        return code_version()

    @property
    def _environment(self) -> str:
        """Digest of the environment; stored again where a library was loaded since."""
        described = environment()
        stored = self._stored_environment
        if stored is None or stored[0] is not described:
            stored = self._stored_environment = described, self._ledger.put_document(described)
        return stored[1]


def _with_options(function: Callable[..., Any], rest: Sequence[Any], options: Mapping[str, Any], first: Any) -> Any:  # noqa: ANN401
    """Call a method with features, and what else it is given."""
    return function(first, *rest, **options)


def _column_names(frame: Any, rows: RowRefs | None) -> set[str]:  # noqa: ANN401
    """Return the names of the columns of features and of the sources they come from."""
    names = set() if kind_of(frame) == "numpy" else set(column_names(frame))
    sources = [] if rows is None else [origin for origin in rows.origins.values() if isinstance(origin, tuple)]
    return names.union(*(part.columns for parts in sources for part in parts))
