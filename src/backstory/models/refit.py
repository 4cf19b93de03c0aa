"""Fitting a model once more: an unfitted clone with the same parameters, by scikit-learn's rules."""

from __future__ import annotations

from typing import Any


def refit_clone(estimator: object, features: Any, target: Any) -> object:
    """Return a clone of an estimator, fitted.

    Args:
        estimator: An estimator of scikit-learn, or one that keeps to its rules; it is not changed.
        features: What it is trained on.
        target: What it is to predict; None for a model that predicts nothing it was told.

    Raises:
        Exception: It cannot be cloned, or its training raises.
    """
    from sklearn.base import clone

    fresh: Any = clone(estimator)
    fitted: object = fresh.fit(features) if target is None else fresh.fit(features, target)
    return fitted
