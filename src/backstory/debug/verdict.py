"""What two outputs of the same features say of each other: exact, equivalent, the same decision, diverged.

Pure: arrays in, judgements out. Sums of floats depend on their order, so outputs that differ are compared within an
absolute tolerance of their type, never in units of the last place (docs/adr/0006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from backstory.capture.decision import Threshold
from backstory.columns.arrow_type import arrow_type, flat_fields
from backstory.columns.encode import iter_blocks
from backstory.errors import BackstoryError

Verdict = Literal["exact", "equivalent", "same-decision", "diverged", "not-replayable"]

TOLERANCES = {"float64": 1e-12, "float32": 1e-6, "float16": 1e-3}
"""Absolute differences within which outputs are equivalent. Source: measurements in docs/adr/0006."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What became of one output.

    Attributes:
        verdict: `exact`: same bytes. `equivalent`: within the tolerance of its type. `same-decision`: outside it, but
            the decision is the same and the score further from the threshold than the difference. `diverged`: neither.
        reason: Why, in a few words; of an exact one empty.
        difference: Largest absolute difference of numeric outputs, None where it cannot be computed.
    """

    verdict: Verdict
    reason: str
    difference: float | None


def judge(
    recorded: pa.Array, now: pa.Array, decision: Threshold | None = None, *, promised: bool = False
) -> list[Judgement]:
    """Compare outputs row by row.

    Args:
        recorded: What was recorded, one value a row.
        now: What came out now, as many, in any type that `output_column` gives.
        decision: The rule that made decisions of the outputs.
        promised: Whether the same bytes were promised: then no tolerance excuses others (docs/adr/0021).

    Returns:
        One judgement a row.
    """
    other = as_recorded(now, recorded.type)
    if other is None:
        return [Judgement(verdict="diverged", reason="the output is of another type now", difference=None)] * len(now)
    found = [Judgement(verdict="exact", reason="", difference=0.0)] * len(recorded)
    for row, pair in enumerate(zip(encoded_rows(recorded), encoded_rows(other), strict=True)):
        if pair[0] != pair[1]:
            found[row] = _judge_one(recorded.slice(row, 1), other.slice(row, 1), decision, promised=promised)
    return found


def _judge_one(one: pa.Array, other: pa.Array, decision: Threshold | None, *, promised: bool) -> Judgement:
    difference, tolerance = largest_difference(one, other)
    if difference is None:
        return Judgement(verdict="diverged", reason="the output is another", difference=None)
    if difference <= tolerance and not promised:
        reason = f"differs by {difference:.3g}, within {tolerance:g}"
        return Judgement(verdict="equivalent", reason=reason, difference=difference)
    if decision is not None and decision.decide(one) == decision.decide(other):
        distance = abs(float(decision.scores(one)[0].as_py()) - decision.value)
        if distance > difference:
            reason = f"differs by {difference:.3g}, the score is {distance:.3g} from the threshold"
            return Judgement(verdict="same-decision", reason=reason, difference=difference)
    than = f"more than {tolerance:g}" if difference > tolerance else "where the same bytes were promised"
    reason = f"differs by {difference:.3g}, {than}"
    return Judgement(verdict="diverged", reason=reason, difference=difference)


def as_recorded(values: pa.Array, type_: pa.DataType) -> pa.Array | None:
    """Give an output the type outputs are recorded in; None where it was of another logical type."""
    try:
        fields = flat_fields(pa.schema([("output", values.type)]))
        if fields != flat_fields(pa.schema([("output", type_)])):
            return None
        if not pa.types.is_struct(values.type):
            return values.cast(arrow_type(fields[0][1]))
        return values.cast(type_)
    except (BackstoryError, pa.ArrowException):
        return None


def encoded_rows(values: pa.Array) -> list[bytes]:
    """Return the row encoding of each value: equal bytes mean equal to the bit, except that all NaN are one."""
    return [row for block in iter_blocks(pa.table({"output": values})) for row in block.rows()]


def largest_difference(one: pa.Array, other: pa.Array) -> tuple[float | None, float]:
    """Return the largest absolute difference of numeric outputs, and the tolerance of their type."""
    pairs = (
        [(one, other)] if not pa.types.is_struct(one.type) else list(zip(one.flatten(), other.flatten(), strict=True))
    )
    if not all(pa.types.is_floating(a.type) and not a.null_count and not b.null_count for a, b in pairs):
        return None, 0.0
    tolerance = min(TOLERANCES[{"double": "float64", "float": "float32"}.get(str(a.type), "float16")] for a, _ in pairs)
    differences = [np.abs(a.to_numpy().astype(np.float64) - b.to_numpy().astype(np.float64)) for a, b in pairs]
    largest = float(np.max(np.concatenate(differences)))
    return (None if np.isnan(largest) else largest), tolerance
