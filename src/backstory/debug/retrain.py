"""Replay at level 3: train a model again from its source rows, and see whether the same model comes out.

The training rows are made again by the functions that made them, in the recorded order, and a clone of the stored
model is fitted on them. The content digests say whether it is the same model. Where it is not, everything that can be
compared is: rows and their order, target, features, parameters, environment, code, and which fitted step is the first
that learned something else. Nothing is stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import arrow_type
from backstory.debug.features_again import Stage, rows_stages
from backstory.debug.recompute import with_columns
from backstory.debug.refit import Fit, TrainingSet, refit, training_set
from backstory.debug.retraining import Difference, Retraining
from backstory.debug.source_rows import QUESTION
from backstory.debug.step_run import run_again
from backstory.debug.training_changes import first_step, other_features, other_rows, other_settings
from backstory.errors import BackstoryError, InputError, NotFoundError, PreparationError, VerificationError
from backstory.frames.profile import profile_of
from backstory.lineage.plain import count_text
from backstory.lineage.reference import parse_references
from backstory.lineage.store import note_sealed_positions, read_profile
from backstory.models import capture_artifact
from backstory.records import canonical
from backstory.records.canonical import JsonObject

if TYPE_CHECKING:
    from backstory.debug.case import Workshop
    from backstory.debug.step_code import Steps
    from backstory.lineage.registry import Registered


def retrain(
    shop: Workshop,
    version: Registered,
    *,
    steps: Steps,
    fit: Fit | None = None,
    rows: Sequence[int] | None = None,
) -> Retraining:
    """Train a model version again from its source rows and compare the content digests.

    Args:
        shop: The archive; what its gate lets through is noted.
        version: The version.
        steps: The functions that made its features, and the column of its target.
        fit: Trains a model, given features and target; a clone of the stored model is fitted if not given.
        rows: Which of its training rows, by number, in which order, to try another training set; the recorded ones, in
            their order, if not given.

    Raises:
        VerificationError: Rows or the model were changed.
    """
    document = shop.ledger.document(version.digest)
    model = document.get("model")
    content = canonical.text_of(model, "content") if isinstance(model, dict) else ""
    try:
        return _Training(shop, version, document, content).again(steps, fit, rows)
    except VerificationError:
        raise
    except BackstoryError as error:
        return Retraining(
            model=f"{version.name}:{version.version}",
            digest=version.digest,
            verdict="not-replayable",
            reason=str(error),
            recorded=content,
        )


class _Training:
    """One model version that is trained again."""

    def __init__(self, shop: Workshop, version: Registered, document: JsonObject, content: str) -> None:
        training = document.get("training")
        if not isinstance(training, dict):
            raise NotFoundError("it was registered without rows=, so which rows it was trained on is not known")
        self._shop, self._version, self._document, self._content = shop, version, document, content
        self._training = training
        self._personal = training.get("personal") is True
        self._clock = shop.ledger.world.monotonic_ns
        self._stages: list[Stage] = []

    def again(self, steps: Steps, fit: Fit | None, rows: Sequence[int] | None) -> Retraining:
        """Train it again."""
        shop, training = self._shop, self._training
        estimator = shop.load({"digest": self._version.digest})
        note_sealed_positions(shop.gate, QUESTION, training)
        positions = shop.tracer.training(training)
        references = parse_references(training.get("refs"))
        order = _order(rows, canonical.count_of(training, "rows"))
        columns = _columns(shop.ledger.document(canonical.text_of(training, "schema")))
        rerun = run_again(shop, references, positions, steps, (), rows="traced", library="pandas")
        self._stages += rows_stages(rerun)
        began = self._clock()
        found = training_set(shop, references, positions, with_columns(rerun, columns.names), columns)
        differences = [*other_rows(order, positions, personal=self._personal), *self._features(found, began)]
        target = self._target(found)
        began = self._clock()
        values = None if target is None else found.made.take(found.rows[order], target)
        trained = refit(estimator, found.features(estimator, order), values, fit)
        artifact = capture_artifact(trained, trusted=_trusted(self._document))
        is_same = artifact.content_digest == self._content
        self._add("model", began, "", is_same=is_same)
        differences += other_settings(shop.ledger, self._document, artifact, rerun.steps)
        if not is_same:
            differences += first_step(shop.ledger, self._document, trained, artifact, found.table())
        return Retraining(
            model=f"{self._version.name}:{self._version.version}",
            digest=self._version.digest,
            verdict="exact" if is_same else "diverged",
            reason="the same model came out" if is_same else _reason(differences),
            recorded=self._content,
            retrained=artifact.content_digest,
            rows=len(found.rows),
            stages=tuple(self._stages),
            first_diverging=next((stage.name for stage in self._stages if stage.verdict == "diverged"), None),
            differences=tuple(differences),
        )

    def _add(self, name: str, began: int, note: str, *, is_same: bool = True) -> None:
        seconds = (self._clock() - began) / 1e9
        self._stages.append(Stage(name=name, verdict="exact" if is_same else "diverged", seconds=seconds, note=note))

    def _features(self, found: TrainingSet, began: int) -> list[Difference]:
        """Compare the features with the profile that was kept of them: they themselves were not."""
        about = {} if self._version.about is None else self._shop.ledger.document(self._version.about)
        kept = None
        with contextlib.suppress(NotFoundError):  # it was erased
            kept = read_profile(self._shop.ledger, about.get("profile"))
        differences = list(other_features(kept, profile_of([found.table()])))
        compared = (
            "which nothing was kept of to compare with" if kept is None else "by the profile kept with the version"
        )
        note = differences[0].said if differences else f"{count_text(len(found.rows), 'row')}, {compared}"
        self._add("features", began, note, is_same=not differences)
        return differences

    def _target(self, found: TrainingSet) -> str | None:
        """Return the column that is the target; None where none was recorded."""
        began, digest, name = self._clock(), self._document.get("target"), None
        if isinstance(digest, str):
            name = found.find_target(self._shop, digest, personal=self._personal)
            if name is None:
                raise PreparationError(
                    "retrain: no column of what the steps returned leads to the recorded target, in the recorded order "
                    "of rows: expected the steps to return the target too, as it was given to register"
                )
        self._add("target", began, name or "none was recorded")
        return name


def _order(rows: Sequence[int] | None, count: int) -> np.ndarray:
    if rows is None:
        return np.arange(count)
    order = np.asarray(rows, np.int64)
    if order.ndim != 1 or not len(order) or order.min() < 0 or order.max() >= count:
        raise InputError(f"retrain: expected rows to be numbers of training rows below {count}, got others")
    return order


def _columns(schema: JsonObject) -> pa.Schema:
    """Return the columns of a dataset schema in the types Arrow has for them."""
    columns = schema.get("columns")
    found = [one for one in columns if isinstance(one, dict)] if isinstance(columns, list) else []
    return pa.schema([(canonical.text_of(one, "name"), arrow_type(one["type"])) for one in found])


def _trusted(document: JsonObject) -> list[str]:
    model = document.get("model")
    found = model.get("trusted") if isinstance(model, dict) else None
    return [str(one) for one in found] if isinstance(found, list) else []


def _reason(differences: Sequence[Difference]) -> str:
    """Say what is not as it was, what lies furthest back first."""
    if not differences:
        return "another model came out, and nothing that is recorded differs: it may have been trained otherwise"
    first = differences[0]
    more = f", and {count_text(len(differences) - 1, 'other difference')}" if len(differences) > 1 else ""
    return f"another model came out; {first.name}: {first.said}{more}"
