"""Attributions of linear models: coefficient times how far a feature is from the mean of the rows compared with."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np

from backstory.errors import ModelError
from backstory.models.attribution_terms import DOUBLE, Terms, column_of, dense, sign_of

_TWO_CLASSES = 2
_MODULES = ("sklearn.discriminant_analysis", "sklearn.linear_model.", "sklearn.svm.")
_LINKED = "sklearn.linear_model._glm"
"""Of these the answer is a function of the sum, which is not told."""


def explains(model: Any) -> bool:
    """Say whether a fitted model is linear: of scikit-learn, its answer a sum of coefficients and an intercept."""
    module = type(model).__module__
    if not module.startswith(_MODULES) or module.startswith(_LINKED):
        return False
    if not (hasattr(model, "coef_") and hasattr(model, "intercept_")):
        return False
    if not hasattr(model, "classes_"):
        return not hasattr(model, "decision_function")  # one class: it answers which side of the line a row is on
    rows = len(np.atleast_2d(dense(model.coef_)))
    is_by_pairs = hasattr(model, "n_support_") and len(model.classes_) > _TWO_CLASSES
    return rows == (1 if len(model.classes_) == _TWO_CLASSES else len(model.classes_)) and not is_by_pairs


def versions_of(_model: Any) -> dict[str, str]:
    """Return the packages that compute the attributions, with their versions."""
    return {"scikit-learn": importlib.metadata.version("scikit-learn")}


def units_of(model: Any, call: str) -> str:
    """Say what the attributions add up to, for a method that is called; see `Route`."""
    if not hasattr(model, "classes_") or call == "decision_function":
        return "output"
    is_logistic = type(model).__name__ in {"LogisticRegression", "LogisticRegressionCV"}
    return "log-odds" if is_logistic and len(model.classes_) == _TWO_CLASSES else "margin"


def terms_for(model: Any, which: int | None, background: Any) -> Callable[[Any], Terms]:
    """Return what gives the terms of rows.

    Args:
        model: The fitted model.
        which: Which class or output.
        background: The features of the rows that are compared with.

    Raises:
        ModelError: There is no such output.
    """
    coefficients = dense(model.coef_)
    intercepts = np.broadcast_to(
        np.atleast_1d(dense(model.intercept_)), (1 if coefficients.ndim == 1 else len(coefficients),)
    )
    coefficients = np.atleast_2d(coefficients)
    sign, at = sign_of(model, which), 0
    if len(coefficients) > 1:
        if which is None or which >= len(coefficients):
            raise ModelError(f"explain: expected column= to say which of {len(coefficients)} outputs, got {which}")
        sign, at = 1.0, which
    weights, mean = sign * coefficients[at], dense(background).mean(axis=0)
    base = sign * intercepts[at] + float(mean @ weights)
    answer = model.decision_function if hasattr(model, "classes_") else model.predict

    def terms(given: Any) -> Terms:
        values = (dense(given) - mean) * weights
        total = column_of(answer(given), at, sign)
        return Terms(added=values, base=np.full(len(values), base), total=total, tolerance=DOUBLE)

    return terms
