"""From what a caller hands over to a call that can be recorded: its features, its rows, its surroundings."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, ParamSpec, TypeVar

from backstory.capture.decision import Threshold
from backstory.capture.model_version import ModelVersion
from backstory.capture.observation import Observation
from backstory.capture.prediction import Call, Capture, Predictions, Rows
from backstory.capture.recorder import Recorder
from backstory.capture.single import SingleCapture
from backstory.capture.steps import Sampling
from backstory.capture.traced import traced
from backstory.errors import ForbiddenError, InputError, ModelError, TokenError
from backstory.frames.table import column_names, frame_of_records, kind_of
from backstory.frames.token import ROW_PREFIX, id_columns
from backstory.ledger.ledger import Ledger
from backstory.lineage.refs import RowRefs
from backstory.lineage.source import Sources
from backstory.lineage.split import split
from backstory.lineage.store import LineageStore
from backstory.models import output_names
from backstory.models.code_version import code_version
from backstory.models.environment import environment
from backstory.records import canonical
from backstory.records.canonical import JsonObject

P = ParamSpec("P")
T = TypeVar("T")


class Calls:
    """Makes recorded calls of models and functions for one open archive."""

    def __init__(
        self, ledger: Ledger, store: LineageStore, sources: Sources, capture: Capture, recorder: Recorder
    ) -> None:
        """Record through a capture, with the lineage of a session's sources."""
        self._recorder = recorder
        self._lock = threading.Lock()
        self._singles: dict[ModelVersion | None, SingleCapture] = {}
        self._ledger = ledger
        self._store = store
        self._sources = sources
        self._capture = capture

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

    def require_writable(self) -> None:
        """Refuse to record into an archive that is open for reading.

        Raises:
            ForbiddenError: It is.
        """
        if not self._ledger.writable:
            raise ForbiddenError("archive is open for reading only: open it with mode='rw' to record")

    def predict(
        self,
        version: ModelVersion,
        features: Any,  # noqa: ANN401  whatever the model takes
        *,
        rows: RowRefs | None,
        method: str,
        subject: Any,  # noqa: ANN401  one text or one a row
        request_id: str | None,
        decision: Threshold | None,
        recorder: Recorder | None = None,
    ) -> Predictions:
        """Run a model and record it; see `Archive.predict` and, for the recorder, `Call`."""
        self.require_writable()
        estimator = version.estimator
        function = estimator if method == "__call__" else getattr(estimator, method, None)
        if not callable(function):
            raise ModelError(f"predict: model {version.name} has no method {method!r} ({type(estimator).__name__})")
        features, rows = self._input(version, features, rows)
        call = Call(
            model=version.reference,
            method=method,
            features=features,
            output_names=output_names(estimator, method),
            rows=self._rows(rows),
            subject=subject,
            request_id=request_id,
            decision=decision,
            code=self._code,
            environment=self._environment,
            recorder=recorder,
        )
        return self._capture.predict(call, function)

    def trace(self, function: Callable[P, T], model: ModelVersion | None, subject: str | None) -> Callable[P, T]:
        """Return a function that records its calls; see `Archive.traced`."""
        return traced(function, self._capture, self._recorder, functools.partial(self._site, model), subject)

    def observe(
        self, model: ModelVersion | None, *, request_id: str | None, subject: str | None, sampling: Sampling
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
            method=method,
            features=None,
            code={**self._code, **code},
            environment=self._environment,
            by_hand=by_hand,
        )

    def _input(
        self,
        version: ModelVersion,
        features: Any,  # noqa: ANN401
        rows: RowRefs | None,
    ) -> tuple[Any, RowRefs | None]:
        """Return what the model gets and its row references."""
        kind = kind_of(features)
        if kind in {"record", "records"}:
            features = frame_of_records(features)
        elif kind == "polars-lazy":
            features = features.collect()
        carried = id_columns(column_names(features)) if kind != "numpy" else []
        if carried and rows is not None:
            raise TokenError(f"predict: expected features without id columns beside rows, got {carried[0]!r}")
        if carried:
            return split(self.known(features), features, self._feature_names(version, column_names(features)))
        if rows is not None:
            rows.check(features)
        return features, rows

    def _feature_names(self, version: ModelVersion, present: list[str]) -> list[str] | None:
        """Return the model's features among a token frame's columns, as it knows them or as it was registered."""
        names = [str(name) for name in getattr(version.estimator, "feature_names_in_", [])]
        training = version.document.get("training")
        if not names and isinstance(training, dict):
            columns = self._ledger.document(canonical.text_of(training, "schema")).get("columns")
            names = [str(c["name"]) for c in columns if isinstance(c, dict)] if isinstance(columns, list) else []
        return names if names and set(names) <= set(present) else None

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

    @cached_property
    def _environment(self) -> str:
        """Digest of the environment, found out once."""
        return self._ledger.put_document(environment())
