"""LightGBM estimators and boosters, in LightGBM's own model text.

The text stands inside a `backstory.models.container` that adds the class, its parameters and the fitted attributes an
estimator predicts with: labels, objective, best iteration. All trees are kept, also those after the best iteration.
"""

from __future__ import annotations

import hashlib
from typing import Any

from backstory.errors import ModelError
from backstory.models import container
from backstory.models.artifact import LIGHTGBM, Artifact
from backstory.models.container import Container
from backstory.models.json_value import parameters_of, qualified_name, seeds_of
from backstory.models.step import class_labels, steps_of

CLASSES = frozenset({"LGBMModel", "LGBMClassifier", "LGBMRegressor", "LGBMRanker"})
"""Estimators that are a booster, labels and parameters, nothing else."""

BOOSTER = "Booster"

_FITTED = (
    "_objective",
    "_n_features",
    "_n_features_in",
    "_fitted_with_feature_names",
    "_n_classes",
    "_classes",
    "_best_iteration",
    "_other_params",
)
_TRAINING_ONLY = frozenset({"random_state", "class_weight"})


def is_native(model: object) -> bool:
    """Tell whether a model is exactly a class of LightGBM; a subclass may predict differently."""
    where = (type(model).__module__, type(model).__name__)
    return where == ("lightgbm.basic", BOOSTER) or (where[0] == "lightgbm.sklearn" and where[1] in CLASSES)


def capture(model: Any) -> Artifact:
    """Capture a LightGBM estimator or booster.

    Args:
        model: A model for which `is_native` holds; it is not changed.

    Raises:
        ModelError: Not fitted, or with a parameter that has no stored form.
    """
    import lightgbm

    name = type(model).__name__
    if name == BOOSTER:
        booster, params, fitted = model, {}, {}
    else:
        if not model.__sklearn_is_fitted__():
            msg = f"model: expected a fitted model, got an unfitted {qualified_name(type(model))}"
            raise ModelError(msg)
        if callable(model.objective_):
            msg = "model: an objective that is a function has no stored form; register `model.booster_` instead"
            raise ModelError(msg)
        booster, params = model.booster_, _prediction_params(model)
        fitted = {attribute: getattr(model, attribute) for attribute in _FITTED}
        fitted["_other_params"] = {key: value for key, value in fitted["_other_params"].items() if key in params}
    state = fitted | {"best_iteration": int(booster.best_iteration)}
    body = booster.model_to_string(num_iteration=-1).encode()
    data = container.encode(Container(class_name=name, params=params, state=state, body=body))
    load(data)
    hyperparameters = parameters_of(model, deep=True)
    return Artifact(
        format=LIGHTGBM,
        data=data,
        content_digest=hashlib.sha256(data).hexdigest(),
        framework="lightgbm",
        versions={"lightgbm": str(lightgbm.__version__)},
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
    """Rebuild a LightGBM estimator or booster.

    Args:
        data: A container.

    Raises:
        ModelError: Not a container of a LightGBM model.
    """
    try:
        import lightgbm
    except ImportError as error:
        msg = "model: a LightGBM model needs the package lightgbm to be loaded, expected `backstory[lightgbm]`"
        raise ModelError(msg) from error

    parts = container.parse(data)
    if parts.class_name != BOOSTER and parts.class_name not in CLASSES:
        msg = f"model: expected a class of LightGBM, got {parts.class_name}"
        raise ModelError(msg)
    try:
        booster = lightgbm.Booster(model_str=parts.body.decode())
        booster.best_iteration = parts.state["best_iteration"]
        if parts.class_name == BOOSTER:
            return booster
        model = getattr(lightgbm.sklearn, parts.class_name)(**parts.params)
        _restore(model, booster, parts.state)
    except (lightgbm.basic.LightGBMError, KeyError, TypeError, ValueError) as error:
        msg = f"model: the bytes are not a LightGBM model that can be loaded ({type(error).__name__})"
        raise ModelError(msg) from error
    return model


def _restore(model: Any, booster: Any, state: dict[str, Any]) -> None:
    from sklearn.preprocessing import LabelEncoder

    for attribute in _FITTED:
        setattr(model, attribute, state[attribute])
    model._Booster = booster  # noqa: SLF001  LightGBM has no public way to put a booster into an estimator
    model.fitted_ = True
    if state["_classes"] is not None:
        model._le = LabelEncoder()  # noqa: SLF001
        model._le.classes_ = state["_classes"]  # noqa: SLF001
        model._class_map = {label: index for index, label in enumerate(state["_classes"])}  # noqa: SLF001


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
