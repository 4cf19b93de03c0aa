"""Chooses the adapter for a model, by its type and without importing any framework.

A model can only be of a framework that somebody has imported, so `sys.modules` is enough to decide.

>>> def score(row):
...     return 2 * row["amount"]
>>> capture_artifact(score).format
'callable'
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from backstory.errors import ModelError
from backstory.models.artifact import CALLABLE, LIGHTGBM, SKOPS, XGBOOST, Artifact
from backstory.models.step import output_names

__all__ = ["capture_artifact", "load_artifact", "output_names"]


def capture_artifact(model: object, *, trusted: Sequence[str] = ()) -> Artifact:
    """Turn a model into bytes, a content digest and a description.

    Args:
        model: A fitted scikit-learn estimator or pipeline, an XGBoost or LightGBM model, any object with `predict`, or
            any callable. It is not changed.
        trusted: Qualified names of types the caller has reviewed and answers for, such as a custom transformer.

    Returns:
        The artifact; "callable" ones have no bytes and say why they cannot be replayed.

    Raises:
        ModelError: The model is not fitted, cannot be stored safely, or is not something that predicts.
    """
    names = _checked(trusted)
    if not isinstance(model, type):
        if "xgboost" in sys.modules:
            from backstory.models import xgboost_format

            if xgboost_format.is_native(model):
                return xgboost_format.capture(model)
        if "lightgbm" in sys.modules:
            from backstory.models import lightgbm_format

            if lightgbm_format.is_native(model):
                return lightgbm_format.capture(model)
        base = sys.modules.get("sklearn.base")
        if base is not None and isinstance(model, base.BaseEstimator):
            from backstory.models import skops_format

            return skops_format.capture(model, names)
    if callable(model) or hasattr(model, "predict"):
        from backstory.models import callable_format

        return callable_format.capture(model)
    msg = f"model: expected an estimator, a booster, an object with `predict` or a callable, got {type(model).__name__}"
    raise ModelError(msg)


def load_artifact(format: str, data: bytes, *, trusted: Sequence[str] = ()) -> object:  # noqa: A002  the field's name
    """Rebuild a model from an artifact's bytes. Never unpickles.

    Args:
        format: `Artifact.format`.
        data: `Artifact.data`, with its digest already checked by whoever stored it.
        trusted: Names of types to accept beside the reviewed ones; usually `Artifact.trusted`, once agreed to.

    Raises:
        ModelError: The format stores no bytes or is unknown; the bytes are not of it; or they name types that are
            neither reviewed nor trusted.
    """
    names = _checked(trusted)
    if format == SKOPS:
        from backstory.models import skops_format

        return skops_format.load(data, names)
    if format == XGBOOST:
        from backstory.models import xgboost_format

        return xgboost_format.load(data)
    if format == LIGHTGBM:
        from backstory.models import lightgbm_format

        return lightgbm_format.load(data)
    known = f"{SKOPS}, {XGBOOST}, {LIGHTGBM}"
    what = "a callable, which stores no bytes" if format == CALLABLE else "an unknown format"
    msg = f"model: expected one of {known}, got {what}"
    raise ModelError(msg)


def _checked(trusted: Sequence[str]) -> tuple[str, ...]:
    # `trusted=True`, or one name where a list is meant, must not silently widen what may be loaded.
    if isinstance(trusted, str) or not isinstance(trusted, Sequence) or not all(isinstance(n, str) for n in trusted):
        msg = f"model: expected `trusted` to be a list of qualified type names, got {type(trusted).__name__}"
        raise ModelError(msg)
    return tuple(trusted)
