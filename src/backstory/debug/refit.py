"""Fitting a recorded model once more: on which frame, with which target, by what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import unchunked
from backstory.debug.recompute import typed
from backstory.debug.row_match import Made, match_rows
from backstory.errors import BackstoryError, ModelError, PreparationError
from backstory.frames.table import column_names, kind_of
from backstory.lineage.plain import count_text
from backstory.lineage.registry import target_digest
from backstory.models.refit import refit_clone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from backstory.debug.case import Workshop
    from backstory.lineage.reference import Reference

Fit = Callable[[Any, Any], object]
"""Trains a model, given features and target."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSet:
    """The rows a model was trained on, made again.

    Attributes:
        made: The frame they are in.
        rows: Which of its rows, in the recorded order.
        columns: The columns that are features, in the types they had.
    """

    made: Made
    rows: NDArray[np.int64]
    columns: pa.Schema

    def features(self, estimator: object, order: NDArray[np.int64]) -> Any:  # noqa: ANN401  of the caller's library
        """Return the features as the model was given them: a frame if it knows names of columns, else an array.

        Args:
            estimator: The recorded model.
            order: Which of the training rows, in which order.
        """
        own = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
        if own and set(own) <= set(self.columns.names):
            return self._as_recorded(self.made.take(self.rows[order], own))
        found = self._as_recorded(self.made.take(self.rows[order], self.columns.names))
        if hasattr(found, "to_numpy"):
            return found.to_numpy()
        return np.stack([column.to_numpy() for column in found.columns], axis=1)

    def _as_recorded(self, frame: Any) -> Any:  # noqa: ANN401  of the caller's library
        """Return a frame whose whole numbers are floats where they were, as other rows of the source have nulls."""
        for field in self.columns:
            if pa.types.is_floating(field.type) and pa.types.is_integer(self.made.values.schema.field(field.name).type):
                if kind_of(frame) == "pandas":
                    frame = frame.astype({field.name: field.type.to_pandas_dtype()})
                else:
                    number = column_names(frame).index(field.name)
                    frame = frame.set_column(number, field.name, frame[field.name].cast(field.type))
        return frame

    def table(self) -> pa.Table:
        """Return the features in the recorded order, as Arrow."""
        return typed(self.made.values, self.columns).take(pa.array(self.rows))

    def find_target(self, shop: Workshop, digest: str, *, personal: bool) -> str | None:
        """Return the name of the column that leads to the digest of the recorded target; None if none does."""
        names = self.columns.names
        others = [name for name in self.made.values.column_names if name not in names]
        for name in [*others, *names]:
            column = self.made.take(self.rows, name)
            values = unchunked(column) if isinstance(column, pa.ChunkedArray) else column
            try:
                if target_digest(shop.ledger, values, personal=personal) == digest:
                    return str(name)
            except (BackstoryError, pa.ArrowException, TypeError, ValueError):  # no column a target could be of
                continue
        return None


def training_set(
    shop: Workshop,
    references: Mapping[str, Reference],
    positions: Mapping[str, NDArray[np.signedinteger[Any]]],
    made: Sequence[Made],
    columns: pa.Schema,
) -> TrainingSet:
    """Return the training rows among what a preparation returned.

    Raises:
        PreparationError: Some of them did not come out.
    """
    why = ""
    for one in made:
        chosen, reasons = match_rows(shop.tracer, references, positions, one, typed(one.values, columns))
        missing = [reason for reason in reasons if reason]
        if not missing:
            return TrainingSet(made=one, rows=chosen, columns=columns)
        why = f"{count_text(len(missing), 'training row')} of {len(reasons):,} not made again: {missing[0]}"
    raise PreparationError(f"retrain: {why}")


def refit(estimator: object, features: Any, target: Any, fit: Fit | None) -> object:  # noqa: ANN401  what a model takes
    """Train a model once more.

    Args:
        estimator: The recorded one; not changed.
        features: What it is to be trained on.
        target: What it is to predict; None where nothing was recorded.
        fit: What trains; a clone with the same parameters if not given.

    Raises:
        ModelError: It cannot be cloned, or training raises an error.
    """
    try:
        return refit_clone(estimator, features, target) if fit is None else fit(features, target)
    except Exception as error:  # training may raise anything, with values of rows in its words
        raise ModelError(
            f"retrain: training raises {type(error).__name__}"
            + ("" if fit is not None else "; fit= can be given, a function of features and target")
        ) from error
