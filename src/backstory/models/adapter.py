"""Chooses the adapter for a model, by its type and without importing any framework.

A model can only be of a framework that somebody has imported, so `sys.modules` is enough to decide.

>>> def score(row):
...     return 2 * row["amount"]
>>> capture_artifact(score).format
'callable'
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from backstory.errors import ModelError
from backstory.models.artifact import CALLABLE, LIGHTGBM, ONNX, PICKLE, SKOPS, TORCH, XGBOOST, Artifact
from backstory.models.step import output_names

__all__ = ["capture_artifact", "function_of", "load_artifact", "output_names"]


def capture_artifact(model: object, *, trusted: Sequence[str] = ()) -> Artifact:
    """Turn a model into bytes, a content digest and a description.

    Args:
        model: A fitted scikit-learn estimator or pipeline, an XGBoost or LightGBM model, an `OnnxModel` or ONNX's
            `ModelProto`, a PyTorch module, the path of a model's file, any object with `predict`, or any callable. It
            is not changed.
        trusted: Qualified names of types the caller has reviewed and answers for, such as a custom transformer.

    Returns:
        The artifact; "callable" ones have no bytes and say why they cannot be replayed.

    Raises:
        ModelError: The model is not fitted, cannot be stored safely, or is not something that predicts.
    """
    names = _checked(trusted)
    if isinstance(model, Path):
        from backstory.models import model_file

        return model_file.capture(model, names)
    known = None if isinstance(model, type) else _of_framework(model, names)
    if known is not None:
        return known
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
    if format == ONNX:
        from backstory.models import onnx_format

        return onnx_format.load(data)
    if format == TORCH:
        from backstory.models import torch_format

        return torch_format.load(data, names)
    if format == PICKLE:
        from backstory.models import pickle_format

        raise ModelError(pickle_format.refusal(hashlib.sha256(data).hexdigest()))
    known = f"{SKOPS}, {XGBOOST}, {LIGHTGBM}, {ONNX}, {TORCH}"
    what = "a callable, which stores no bytes" if format == CALLABLE else "an unknown format"
    msg = f"model: expected one of {known}, got {what}"
    raise ModelError(msg)


def function_of(model: object, method: str) -> Callable[..., Any] | None:
    """Return what a recorded call of a model calls with features: its method, or the model itself.

    Args:
        model: The model.
        method: Name of the method; `__call__` is the model itself.

    Returns:
        A function of features and options; of a PyTorch module one that takes arrays and frames and computes no
        gradients. None where the model has no such method.
    """
    if "torch" in sys.modules:
        from backstory.models import torch_format

        if torch_format.is_module(model):
            return torch_format.function_of(model, method)
    function: Any = model if method == "__call__" else getattr(model, method, None)
    return function if callable(function) else None


def _of_framework(model: object, names: tuple[str, ...]) -> Artifact | None:
    """Capture a model of a framework that is loaded; None for one of no framework we know."""
    loaded = sys.modules
    if "onnx" in loaded or "onnxruntime" in loaded:
        from backstory.models import onnx_format

        if onnx_format.is_onnx(model):
            return onnx_format.capture(model)
    if "torch" in loaded:
        from backstory.models import torch_format

        if torch_format.is_module(model):
            return torch_format.capture(model, names)
    return _boosted(model) or _of_sklearn(model, names)


def _boosted(model: object) -> Artifact | None:
    if "xgboost" in sys.modules:
        from backstory.models import xgboost_format

        if xgboost_format.is_native(model):
            return xgboost_format.capture(model)
    if "lightgbm" in sys.modules:
        from backstory.models import lightgbm_format

        if lightgbm_format.is_native(model):
            return lightgbm_format.capture(model)
    return None


def _of_sklearn(model: object, names: tuple[str, ...]) -> Artifact | None:
    base = sys.modules.get("sklearn.base")
    if base is None or not isinstance(model, base.BaseEstimator):
        return None
    from backstory.models import skops_format

    return skops_format.capture(model, names)


def _checked(trusted: Sequence[str]) -> tuple[str, ...]:
    # `trusted=True`, or one name where a list is meant, must not silently widen what may be loaded.
    if isinstance(trusted, str) or not isinstance(trusted, Sequence) or not all(isinstance(n, str) for n in trusted):
        msg = f"model: expected `trusted` to be a list of qualified type names, got {type(trusted).__name__}"
        raise ModelError(msg)
    return tuple(trusted)
