"""Every stored model comes back bit for bit, under one digest, and described without floats or addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import Booster as LightGBMBooster
from lightgbm import Dataset, LGBMClassifier, LGBMRegressor
from lightgbm import train as train_lightgbm
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, TweedieRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import DMatrix, XGBClassifier, XGBRegressor, XGBRFClassifier
from xgboost import train as train_xgboost

from backstory.models import Artifact, capture_artifact, load_artifact, output_names
from backstory.records import canonical

ROWS = 90
_rng = np.random.default_rng(7)
X = _rng.normal(size=(ROWS, 4))
AMOUNT = np.abs(X @ [1.0, 2.0, 3.0, 4.0]) + 0.1
YES = (X[:, 0] + X[:, 1] > 0).astype(int)
GRADE = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
FRAME = pd.DataFrame(X, columns=list("abcd")).assign(
    kind=_rng.choice(["x", "y", "z"], ROWS), level=_rng.choice(["lo", "hi"], ROWS), code=_rng.choice([1, 2], ROWS)
)


def prepared(model):
    """Put a model behind the usual preparation of a table."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = [
        ("numbers", numbers, ["a", "b"]),
        ("kind", OneHotEncoder(handle_unknown="ignore"), ["kind"]),
        ("level", OrdinalEncoder(), ["level"]),
    ]
    return make_pipeline(ColumnTransformer(columns, remainder="drop"), model)


SKLEARN = {
    "logistic": (LogisticRegression(), X, YES),
    "logistic of three": (LogisticRegression(), X, GRADE),
    "ridge": (Ridge(), X, AMOUNT),
    "sgd": (SGDClassifier(random_state=1), X, YES),
    "tweedie": (TweedieRegressor(), X, AMOUNT),
    "forest": (RandomForestClassifier(5, random_state=1), X, GRADE),
    "forest of numbers": (RandomForestRegressor(5, random_state=1), X, AMOUNT),
    "tree": (DecisionTreeClassifier(random_state=1), X, GRADE),
    "tree of few leaves": (DecisionTreeRegressor(max_leaf_nodes=7, random_state=1), X, AMOUNT),
    "boosting": (GradientBoostingClassifier(n_estimators=2, random_state=1), X, GRADE),
    "boosting of numbers": (GradientBoostingRegressor(n_estimators=4, random_state=1), X, AMOUNT),
    "histogram": (HistGradientBoostingClassifier(max_iter=3, random_state=1), X, GRADE),
    "histogram of numbers": (HistGradientBoostingRegressor(max_iter=4, loss="poisson", random_state=1), X, AMOUNT),
    "histogram of categories": (
        HistGradientBoostingRegressor(max_iter=4, categorical_features=["code"], random_state=1),
        FRAME[["a", "b", "code"]],
        AMOUNT,
    ),
    "neighbours": (KNeighborsClassifier(), X, GRADE),
    "neighbours in a ball tree": (KNeighborsRegressor(algorithm="ball_tree"), X, AMOUNT),
    "network": (MLPRegressor(hidden_layer_sizes=(8,), max_iter=300, tol=1.0, random_state=1), X, AMOUNT),
    "support vectors": (SVC(), X, GRADE),
    "calibrated": (CalibratedClassifierCV(LogisticRegression()), X, YES),
    "calibrated by steps": (CalibratedClassifierCV(DecisionTreeClassifier(random_state=1), method="isotonic"), X, YES),
    "vote": (
        VotingClassifier([("one", LogisticRegression()), ("two", DecisionTreeClassifier(random_state=1))]),
        X,
        YES,
    ),
    "pipeline": (prepared(LogisticRegression()), FRAME, YES),
    "pipeline of histogram": (prepared(HistGradientBoostingRegressor(max_iter=4, random_state=1)), FRAME, AMOUNT),
    "pipeline of xgboost": (make_pipeline(StandardScaler(), XGBClassifier(n_estimators=3, n_jobs=1)), X, YES),
    "pipeline of lightgbm": (
        make_pipeline(StandardScaler(), LGBMRegressor(n_estimators=3, verbose=-1, n_jobs=1)),
        X,
        AMOUNT,
    ),
}
BOOSTERS = {
    "xgboost": (XGBClassifier(n_estimators=3, n_jobs=1, missing=-1.0), X, YES),
    "xgboost of three": (XGBClassifier(n_estimators=3, n_jobs=1), X, np.unique(GRADE, return_inverse=True)[1]),
    "xgboost of numbers": (XGBRegressor(n_estimators=3, n_jobs=1, learning_rate=0.1), FRAME[["a", "b"]], AMOUNT),
    "xgboost forest": (XGBRFClassifier(n_estimators=3, n_jobs=1, random_state=1), X, YES),
    "lightgbm": (LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1), FRAME[["a", "b"]], GRADE),
    "lightgbm of true and false": (LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1), X, YES.astype(bool)),
    "lightgbm of objects": (LGBMClassifier(n_estimators=3, n_jobs=1, verbose=-1), X, GRADE.astype(object)),
    "lightgbm of numbers": (LGBMRegressor(n_estimators=3, n_jobs=1, verbose=-1, reg_alpha=0.1), X, AMOUNT),
    "lightgbm of categories": (
        LGBMRegressor(n_estimators=3, n_jobs=1, verbose=-1),
        FRAME[["a", "kind"]].astype({"kind": "category"}),
        AMOUNT,
    ),
}
ALL = SKLEARN | BOOSTERS


def outputs(model, inputs):
    """Collect the bits of everything a model answers."""
    methods = [name for name in ("predict", "predict_proba", "decision_function") if hasattr(model, name)]
    found = [np.asarray(getattr(model, name)(inputs)) for name in methods]
    return [(part.dtype.str, part.tolist() if part.dtype.hasobject else part.tobytes()) for part in found]


@dataclass(frozen=True)
class Case:
    """A fitted model, what it was fitted with, and what was captured before it was used."""

    model: Any
    inputs: Any
    target: Any
    artifact: Artifact


@pytest.fixture(scope="module", params=ALL)
def case(request):
    """Give each model once, fitted and captured."""
    model, inputs, target = ALL[request.param]
    fitted = clone(model).fit(inputs, target)
    return Case(fitted, inputs, target, capture_artifact(fitted))


def test_loads_bit_identical(case):
    """A loaded model has the class of the captured one and gives the same bits."""
    again = load_artifact(case.artifact.format, case.artifact.data)
    assert case.artifact.replayable
    assert type(again) is type(case.model)
    assert outputs(again, case.inputs) == outputs(case.model, case.inputs)


def test_content_survives_use_and_loading(case):
    """Digest and bytes are the same after predicting, and after loading, predicting and capturing again."""
    again = load_artifact(case.artifact.format, case.artifact.data)
    for model in (case.model, again):
        outputs(model, case.inputs)
        later = capture_artifact(model)
        assert (later.content_digest, later.data == case.artifact.data) == (case.artifact.content_digest, True)


def test_content_is_that_of_the_fit(case):
    """A fresh fit of the same data has the same digest; a fit of fewer rows another."""
    same = clone(case.model).fit(case.inputs, case.target)
    other = clone(case.model).fit(case.inputs[:60], case.target[:60])
    assert capture_artifact(same).content_digest == case.artifact.content_digest
    assert capture_artifact(other).content_digest != case.artifact.content_digest


def test_description_is_canonical(case):
    """The description is canonical JSON, so without floats, and names no memory address."""
    artifact = case.artifact
    facts = [artifact.hyperparameters, artifact.seeds, list(artifact.steps), artifact.versions, artifact.class_name]
    assert not re.search(rb"0x[0-9a-fA-F]+", canonical.encode(facts))


def test_capture_leaves_the_model_alone(case):
    """Capturing changes no output and no parameter of the model."""
    expected, parameters = outputs(case.model, case.inputs), repr(case.model.get_params())
    capture_artifact(case.model)
    assert outputs(case.model, case.inputs) == expected
    assert repr(case.model.get_params()) == parameters


@pytest.mark.parametrize("stop", [None, 2])
def test_native_xgboost(stop):
    """A plain XGBoost booster comes back bit for bit, with its best iteration."""
    matrix = DMatrix(X, AMOUNT)
    model = train_xgboost({"nthread": 1}, matrix, 6, evals=[(matrix, "m")] if stop else (), verbose_eval=False,
                          early_stopping_rounds=stop)  # fmt: skip
    artifact = capture_artifact(model)
    again = load_artifact(artifact.format, artifact.data)
    assert artifact.class_name == "xgboost.core.Booster"
    assert again.predict(matrix).tobytes() == model.predict(matrix).tobytes()
    assert again.attributes() == model.attributes()


def test_native_lightgbm_keeps_best_iteration():
    """A plain LightGBM booster comes back with all its trees and predicts up to the same one."""
    model = train_lightgbm({"num_threads": 1, "verbose": -1}, Dataset(X, AMOUNT), 5)
    model.best_iteration = 2
    artifact = capture_artifact(model)
    again = load_artifact(artifact.format, artifact.data)
    assert isinstance(again, LightGBMBooster)
    assert again.predict(X).tobytes() == model.predict(X).tobytes()
    assert again.predict(X, num_iteration=5).tobytes() == model.predict(X, num_iteration=5).tobytes()


def test_early_stopped_xgboost():
    """An early-stopped estimator predicts with its best iteration after loading."""
    model = XGBRegressor(n_estimators=40, n_jobs=1, learning_rate=0.9, early_stopping_rounds=2)
    model.fit(X[:60], AMOUNT[:60], eval_set=[(X[60:], AMOUNT[60:])], verbose=False)
    artifact = capture_artifact(model)
    assert model.best_iteration < 39
    assert outputs(load_artifact(artifact.format, artifact.data), X) == outputs(model, X)


def test_steps_of_a_pipeline():
    """Steps are listed with class, parameters and the columns of each branch."""
    artifact = capture_artifact(prepared(LogisticRegression(C=0.25)).fit(FRAME, YES))
    steps = {step["name"]: step for step in artifact.steps}
    assert list(steps)[:3] == ["columntransformer", "columntransformer__numbers",
                               "columntransformer__numbers__simpleimputer"]  # fmt: skip
    assert steps["columntransformer__kind"]["columns"] == ["kind"]
    assert steps["logisticregression"]["params"]["C"] == "0.25"
    assert steps["logisticregression"]["class"] == "sklearn.linear_model._logistic.LogisticRegression"


def test_seeds_are_named():
    """Set seeds are listed by parameter; unset ones are not."""
    model = make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=11)).fit(X, YES)
    assert capture_artifact(model).seeds == {"randomforestclassifier__random_state": "11"}


def test_classes_name_the_columns():
    """Class labels name the columns of per-class outputs, and of no others."""
    model = LogisticRegression().fit(X, GRADE)
    assert capture_artifact(model).classes == ("a", "b", "c")
    assert output_names(model, "predict_proba") == ["a", "b", "c"]
    assert output_names(model, "predict") is None
    assert output_names(Ridge().fit(X, AMOUNT), "predict") is None
    assert output_names(SVC(decision_function_shape="ovo").fit(X, GRADE), "decision_function") is None
