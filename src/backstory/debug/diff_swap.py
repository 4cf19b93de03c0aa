"""Whose fault is the difference of two outputs? The features of each through the model of each, two by two.

Each prediction's features are given to a model in the call they were recorded in, so the numerics are those of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from backstory.columns.python_value import python_value
from backstory.debug.case import Case, Workshop, model_of, read_case, run_model
from backstory.debug.diff_prediction import QUESTION, Side
from backstory.debug.verdict import judge
from backstory.errors import BackstoryError, VerificationError
from backstory.lineage.plain import plain

if TYPE_CHECKING:
    import pyarrow as pa

Cause = Literal["features", "model", "both", "neither alone"]
_SAME = frozenset({"exact", "equivalent"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """What each model says of each one's features.

    Attributes:
        outputs: The outputs now: of the first's features by the first's model and by the second's, then the same of
            the second's features. Empty where it could not be done.
        cause: What alone changes the first's output as far as it matters: `features`, `model`, `both` (each does), or
            `neither alone`; None where it could not be done.
        reason: Why it could not be done.
    """

    outputs: tuple[tuple[Any, Any], ...] = ()
    cause: Cause | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {"cause": self.cause, "outputs": [plain(list(row)) for row in self.outputs], "reason": self.reason}


def swap_predictions(shop: Workshop, one: Side, two: Side) -> Swap:
    """Run the features of two predictions through both their models.

    Raises:
        VerificationError: A model or a record was changed.
    """
    try:
        cases = [read_case(shop, side.found, QUESTION) for side in (one, two)]
        if cases[0].features.column_names != cases[1].features.column_names:
            return Swap(reason="they were given features of other names")
        models = [model_of(shop, case) for case in cases]
        outputs = [[_output(model, case) for model in models] for case in cases]
    except VerificationError:
        raise
    except BackstoryError as error:
        return Swap(reason=str(error))
    before = outputs[0][0]
    by_features, by_model = (not _is_same(before, other) for other in (outputs[1][0], outputs[0][1]))
    cause: Cause = "neither alone"
    if by_features or by_model:
        cause = "both" if by_features and by_model else "features" if by_features else "model"
    values = [[python_value(output[0]) for output in row] for row in outputs]
    return Swap(outputs=((values[0][0], values[0][1]), (values[1][0], values[1][1])), cause=cause)


def _output(model: object, case: Case) -> pa.Array:
    (row,) = case.rows
    return run_model(model, case, case.features).slice(row, 1)


def _is_same(one: pa.Array, other: pa.Array) -> bool:
    return judge(one, other)[0].verdict in _SAME
