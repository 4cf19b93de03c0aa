"""Rules that turn an output into a decision, so that a replay can say whether the decision would be the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import InputError, ModelError
from backstory.records.canonical import JsonObject


@dataclass(frozen=True, slots=True)
class Threshold:
    """Decides True where a score is at or above a value.

    Attributes:
        value: The threshold, in the units of the output.
        column: The output column to look at, for models that return several, such as a probability for each class; None
            for the last.

    >>> Threshold(0.2).document()["value"]
    '0.2'
    """

    value: float
    column: str | int | None = None

    def __post_init__(self) -> None:
        """Refuse a threshold that is no number.

        Raises:
            InputError: It is not.
        """
        if isinstance(self.value, str) or not hasattr(self.value, "__float__") or math.isnan(self.value):
            raise InputError(f"decision: expected a number as threshold, got {type(self.value).__name__}")

    def document(self) -> JsonObject:
        """Return the rule as it stands in a context."""
        return {
            "column": None if self.column is None else str(self.column),
            "kind": "threshold",
            "value": repr(float(self.value)),
        }

    def scores(self, output: pa.ChunkedArray | pa.Array) -> pa.Array:
        """Return the scores the rule looks at.

        Raises:
            ModelError: The output has no such column, or is not a number.
        """
        scores = output.combine_chunks() if isinstance(output, pa.ChunkedArray) else output
        if pa.types.is_struct(scores.type):
            names = [field.name for field in scores.type]
            name = names[-1] if self.column is None else str(self.column)
            if name not in names:
                msg = f"decision: expected an output column {name!r}, got {', '.join(names)}"
                raise ModelError(msg)
            scores = pc.struct_field(scores, [name])
        elif self.column is not None:
            raise ModelError(f"decision: expected an output of several columns for column {self.column!r}, got one")
        if not (pa.types.is_floating(scores.type) or pa.types.is_integer(scores.type)):
            msg = f"decision: expected a number to compare with a threshold, got {scores.type}"
            raise ModelError(msg)
        return scores

    def decide(self, output: pa.ChunkedArray | pa.Array) -> pa.Array:
        """Return one decision an output."""
        return pc.greater_equal(self.scores(output).cast(pa.float64()), pa.scalar(float(self.value)))


def parse_decision(document: JsonObject) -> Threshold:
    """Return the rule a context describes.

    Raises:
        ModelError: It is of a kind this version does not know.
    """
    column, value = document.get("column"), document.get("value")
    if document.get("kind") != "threshold" or not isinstance(value, str):
        msg = f"decision: no rule of kind {document.get('kind')!r}"
        raise ModelError(msg)
    return Threshold(float(value), column if isinstance(column, str) else None)
