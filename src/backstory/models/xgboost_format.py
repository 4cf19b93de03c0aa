"""XGBoost estimators and boosters, in XGBoost's own universal binary JSON.

The booster's bytes are XGBoost's, inside a `backstory.models.container` that adds the class, its parameters and the
number of classes. Arguments that only matter to training and have no plain form (callbacks, metric functions) are left
out.
"""

from __future__ import annotations

import hashlib
from typing import Any

from backstory.errors import ModelError
from backstory.models import container
from backstory.models.artifact import XGBOOST, Artifact
from backstory.models.container import Container
from backstory.models.json_value import parameters_of, qualified_name, seeds_of
from backstory.models.step import class_labels, steps_of

CLASSES = frozenset({"XGBModel", "XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor"})
"""Estimators that are a booster and parameters, nothing else."""

BOOSTER = "Booster"

_TRAINING_ONLY = frozenset({"callbacks", "eval_metric", "feature_weights", "random_state"})


def is_native(model: object) -> bool:
    """Tell whether a model is exactly a class of XGBoost; a subclass may predict differently."""
    where = (type(model).__module__, type(model).__name__)
    return where == ("xgboost.core", BOOSTER) or (where[0] == "xgboost.sklearn" and where[1] in CLASSES)


def capture(model: Any) -> Artifact:
    """Capture an XGBoost estimator or booster.

    Args:
        model: A model for which `is_native` holds; it is not changed.

    Raises:
        ModelError: Not fitted, or with a parameter that has no stored form.
    """
    import xgboost

    name = type(model).__name__
    if name == BOOSTER:
        params: dict[str, Any] = {}
        state: dict[str, Any] = {}
        booster = model
    else:
        if not model.__sklearn_is_fitted__():
            msg = f"model: expected a fitted model, got an unfitted {qualified_name(type(model))}"
            raise ModelError(msg)
        if callable(model.objective):
            msg = "model: an objective that is a function has no stored form; register `model.get_booster()` instead"
            raise ModelError(msg)
        params = _prediction_params(model)
        state = {"n_classes_": int(model.n_classes_)} if hasattr(model, "n_classes_") else {}
        booster = model.get_booster()
    body = bytes(booster.save_raw(raw_format="ubj"))
    data = container.encode(Container(class_name=name, params=params, state=state, body=body))
    load(data)
    hyperparameters = parameters_of(model, deep=True)
    return Artifact(
        format=XGBOOST,
        data=data,
        content_digest=hashlib.sha256(data).hexdigest(),
        framework="xgboost",
        versions={"xgboost": str(xgboost.__version__)},
        class_name=qualified_name(type(model)),
        hyperparameters=hyperparameters,
        seeds=seeds_of(hyperparameters),
        steps=steps_of(model),
        classes=class_labels(model),
        trusted=(),
        replayable=True,
        reason=None,
    )


def load(data: bytes) -> object:
    """Rebuild an XGBoost estimator or booster.

    Args:
        data: A container.

    Raises:
        ModelError: Not a container of an XGBoost model.
    """
    try:
        import xgboost
    except ImportError as error:
        msg = "model: an XGBoost model needs the package xgboost to be loaded, expected `backstory[xgboost]`"
        raise ModelError(msg) from error

    parts = container.parse(data)
    try:
        if parts.class_name == BOOSTER:
            return xgboost.Booster(model_file=bytearray(parts.body))
        if parts.class_name not in CLASSES:
            msg = f"model: expected a class of XGBoost, got {parts.class_name}"
            raise ModelError(msg)
        model = getattr(xgboost.sklearn, parts.class_name)(**parts.params)
        # XGBModel.load_model would replace parameters by the booster's; the estimator must come back as it was.
        model._Booster = xgboost.Booster({"n_jobs": model.n_jobs}, model_file=bytearray(parts.body))  # noqa: SLF001
        if "n_classes_" in parts.state:
            model.n_classes_ = parts.state["n_classes_"]
    except (xgboost.core.XGBoostError, TypeError, ValueError) as error:
        msg = f"model: the bytes are not an XGBoost model that can be loaded ({type(error).__name__})"
        raise ModelError(msg) from error
    return model


def _prediction_params(model: Any) -> dict[str, Any]:
    params: dict[str, Any] = model.get_params(deep=False)
    kept = {}
    for name, value in params.items():
        try:
            container.to_json(value, name)
        except ModelError:
            if name not in _TRAINING_ONLY:
                raise
            continue
        kept[name] = value
    return kept
