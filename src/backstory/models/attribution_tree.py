"""Attributions of trees, exact: what TreeSHAP gives, as XGBoost and LightGBM compute it themselves.

Trees of scikit-learn need the package `shap` (extra `explain`), which is loaded when it is first used. What a tree was
trained on is its baseline, path by path; no other rows are needed.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from backstory.errors import ModelError
from backstory.models.attribution_terms import DOUBLE, SINGLE, Terms, column_of, dense, sign_of

_OF_PROBABILITIES = frozenset(
    {"DecisionTreeClassifier", "ExtraTreeClassifier", "ExtraTreesClassifier", "RandomForestClassifier"}
)
_OF_MARGINS = frozenset({"GradientBoostingClassifier", "HistGradientBoostingClassifier"})
_OF_VALUES = frozenset(
    {
        "DecisionTreeRegressor", "ExtraTreeRegressor", "ExtraTreesRegressor", "GradientBoostingRegressor",
        "HistGradientBoostingRegressor", "RandomForestRegressor",
    }
)  # fmt: skip
_IDENTITY = (
    "reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror", "rank:",
    "regression", "huber", "fair", "quantile", "mape", "lambdarank",
)  # fmt: skip
"""How the names of objectives begin whose output is the sum of the trees: of XGBoost, then of LightGBM."""
_LOGISTIC = ("binary:logistic", "reg:logistic", "binary sigmoid:1")


def explains(model: Any) -> bool:
    """Say whether a fitted model is made of trees that can be explained here."""
    library, name = _library(model), type(model).__name__
    if library == "sklearn":
        if name == "GradientBoostingClassifier" and len(model.classes_) > 2:  # noqa: PLR2004  shap has none of these
            return False
        is_linked = name == "HistGradientBoostingRegressor" and model.loss in {"gamma", "poisson"}
        return name in _OF_PROBABILITIES | _OF_MARGINS | _OF_VALUES and not is_linked
    return library in {"xgboost", "lightgbm"} and getattr(model, "booster", "gbtree") != "gblinear"


def versions_of(model: Any) -> dict[str, str]:
    """Return the packages that compute the attributions, with their versions."""
    library = _library(model)
    own = {"scikit-learn" if library == "sklearn" else library: str(sys.modules[library].__version__)}
    return own | ({"shap": importlib.metadata.version("shap")} if library == "sklearn" else {})


def units_of(model: Any, call: str) -> str:
    """Say what the attributions add up to, for a method that is called; see `Route`."""
    library, name = _library(model), type(model).__name__
    if library == "sklearn":
        if name in _OF_MARGINS:
            is_one = len(model.classes_) == 2 and getattr(model, "loss", "log_loss") == "log_loss"  # noqa: PLR2004
            return "output" if call == "decision_function" else "log-odds" if is_one else "margin"
        return "output" if name in _OF_VALUES or call == "predict_proba" else "probability"
    objective = _objective(model, library)
    if objective.startswith(_IDENTITY) and "sqrt" not in objective:
        return "output"
    return "log-odds" if objective in _LOGISTIC else "margin"


def terms_for(model: Any, which: int | None) -> Callable[[Any], Terms]:
    """Return what gives the terms of rows.

    Args:
        model: The fitted model.
        which: Which class or output.

    Raises:
        ModelError: A package is missing.
    """
    library = _library(model)
    if library == "xgboost":
        return lambda given: _xgboost(model, given, which)
    if library == "lightgbm":
        return lambda given: _lightgbm(model, given, which)
    try:
        import shap
    except ImportError as error:
        raise ModelError(
            "explain: trees of scikit-learn need the package shap, expected `backstory[explain]`"
        ) from error
    explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
    answer = getattr(model, _answer(type(model).__name__))
    return lambda given: _shap(explainer, answer, given, which, sign_of(model, which))


def _library(model: Any) -> str:
    return type(model).__module__.partition(".")[0]


def _answer(name: str) -> str:
    if name in _OF_PROBABILITIES:
        return "predict_proba"
    return "decision_function" if name in _OF_MARGINS else "predict"


def _objective(model: Any, library: str) -> str:
    """Return the name of what a booster was trained for, as its library writes it."""
    if library == "xgboost":
        booster = model.get_booster() if hasattr(model, "get_booster") else model
        return str(json.loads(booster.save_config())["learner"]["objective"]["name"])
    booster = getattr(model, "booster_", model)
    for line in booster.model_to_string(num_iteration=1).splitlines():
        if line.startswith("objective="):
            return str(line.partition("=")[2])
    return ""


def _xgboost(model: Any, given: Any, which: int | None) -> Terms:
    import xgboost

    sign = sign_of(model, which)
    if hasattr(model, "get_booster"):
        booster, best = model.get_booster(), getattr(model, "best_iteration", None)
        trees = (0, 0) if best is None else (0, best + 1)  # an estimator that stopped early predicts with its best
        matrix = xgboost.DMatrix(
            given,
            missing=model.missing,
            feature_types=getattr(model, "feature_types", None),
            enable_categorical=model.enable_categorical,
        )
        matrix.feature_names = booster.feature_names
        answers = model.predict(given, output_margin=True)
    else:
        booster, trees, matrix = model, (0, 0), xgboost.DMatrix(given)
        matrix.feature_names = booster.feature_names
        answers = booster.predict(matrix, output_margin=True)
    found = np.asarray(booster.predict(matrix, pred_contribs=True, iteration_range=trees), np.float64)
    is_deep = found.ndim == 3  # noqa: PLR2004  rows, classes, features and base
    found = found[:, _insist(which, found.shape[1])] if is_deep else sign * found
    return Terms(added=found[:, :-1], base=found[:, -1], total=column_of(answers, which, sign), tolerance=SINGLE)


def _lightgbm(model: Any, given: Any, which: int | None) -> Terms:
    sign = sign_of(model, which)
    found = model.predict(given, pred_contrib=True)
    found = np.asarray(found.toarray() if hasattr(found, "toarray") else found, np.float64)
    answers = np.asarray(model.predict(given, raw_score=True), np.float64)
    if answers.ndim == 2:  # noqa: PLR2004  a column for each class
        found = found.reshape(len(answers), answers.shape[1], -1)[:, _insist(which, answers.shape[1])]
    else:
        found = sign * found
    return Terms(added=found[:, :-1], base=found[:, -1], total=column_of(answers, which, sign), tolerance=DOUBLE)


def _shap(explainer: Any, answer: Callable[[Any], Any], given: Any, which: int | None, sign: float) -> Terms:
    rows = dense(given)
    found = np.asarray(explainer.shap_values(rows, check_additivity=False), np.float64)
    base = np.atleast_1d(np.asarray(explainer.expected_value, np.float64))
    if found.ndim == 3:  # noqa: PLR2004  rows, features, classes
        at = _insist(which, found.shape[2])
        found, base = found[:, :, at], base[at : at + 1]
    else:
        found, base = sign * found, sign * base
    total = column_of(answer(given), which, sign)
    return Terms(added=found, base=np.repeat(base[:1], len(rows)), total=total, tolerance=DOUBLE)


def _insist(which: int | None, count: int) -> int:
    if which is None or which >= count:
        raise ModelError(f"explain: expected column= to say which of {count} outputs, got {which}")
    return which
