"""What the features of one fitted model added to its answer, before they are brought back to input columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SINGLE, DOUBLE = 1e-4, 1e-8
"""How far sums of 32-bit and 64-bit floats over many trees may be off, in parts of the size of what is added."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Terms:
    """What was added.

    Attributes:
        added: A row for each row, a column for each feature.
        base: What is there before, one a row.
        total: The model's own answer in the same units, one a row.
        tolerance: How far sum and total may be apart, in parts of the size of what is added.
    """

    added: np.ndarray
    base: np.ndarray
    total: np.ndarray
    tolerance: float


def dense(values: Any) -> np.ndarray:
    """Return features as a plain array of floats, whatever kind of matrix a transformer gave."""
    plain = values.toarray() if hasattr(values, "toarray") else values
    return np.asarray(plain, dtype=np.float64)


def sign_of(model: Any, which: int | None) -> float:
    """Return −1 where the first of a classifier's two classes is asked for: what it answers is of the second."""
    return -1.0 if which == 0 and hasattr(model, "classes_") else 1.0


def column_of(answers: Any, which: int | None, sign: float) -> np.ndarray:
    """Return the one answer a row that is asked for.

    Args:
        answers: One answer a row, or a column for each class or output.
        which: The class or output; None where there is one answer only.
        sign: From `sign_of`; for where there is one answer.
    """
    plain = np.asarray(answers, dtype=np.float64)
    return sign * plain if plain.ndim == 1 else plain[:, 0 if which is None else which]
