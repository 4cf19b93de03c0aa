"""Where the features of a fitted model come from: what its steps say, what a probe sees, what each step gives."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from xgboost import XGBClassifier

from backstory.models import capture_artifact, sklearn_probe
from backstory.models.sklearn_lineage import input_names, structure_of
from backstory.models.sklearn_probe import PROBE_COLUMNS_MAX, probe
from backstory.models.sklearn_stages import run_stages
from backstory.models.skops_format import state_digests

ROWS = 80
_rng = np.random.default_rng(3)
X = pd.DataFrame(_rng.normal(size=(ROWS, 4)), columns=list("abcd")).assign(
    kind=_rng.choice(["x", "y", "z"], ROWS),
    level=_rng.choice(["lo", "hi"], ROWS),
    text=_rng.choice(["red fox", "blue ox"], ROWS),
)
X.loc[::9, "a"] = np.nan
YES = (X.b > 0).astype(int)
NUMBERS = ["b", "c", "d"]


def twice(table):
    """Return all columns, doubled."""
    return np.asarray(table, float) * 2


class Leaky(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Says that columns stay columns, and adds the last one to the first."""

    def fit(self, table, _target=None):
        """Learn nothing."""
        self.n_features_in_ = table.shape[1]
        return self

    def transform(self, table):
        """Return the columns, the first with the last in it."""
        given = np.array(table, float)
        given[:, 0] += given[:, -1]
        return given


class Centred(TransformerMixin, BaseEstimator):
    """Takes from each column its mean among the rows of the call: not the same for a row alone."""

    def fit(self, table, _target=None):
        """Learn nothing."""
        self.width_ = table.shape[1]
        return self

    def transform(self, table):
        """Return the columns around their means."""
        given = np.asarray(table, float)
        return given - given.mean(axis=0)


def structure(model, table=X, **options):
    """Return what a model fitted here is made of."""
    return structure_of(model, input_names(model, list(getattr(table, "columns", [])) or None), **options)


def edges(model, table=X, at=0):
    """Return where each feature of a predictor comes from: its name, and the columns with the letter of the grade."""
    features = structure(model, table).predictors[at].features
    return {one.name: " ".join(f"{name}:{grade[0]}" for name, grade in one.sources.items()) for one in features}


def by_columns(*branches, remainder="drop"):
    """Return a fitted logistic regression behind a ColumnTransformer."""
    model = make_pipeline(ColumnTransformer(list(branches), remainder=remainder), LogisticRegression())
    return model.fit(X, YES)


def of_numbers(*steps):
    """Return a fitted logistic regression of three columns behind some steps."""
    return make_pipeline(*steps, LogisticRegression()).fit(X[NUMBERS], YES)


USUAL = by_columns(
    ("n", Pipeline([("i", SimpleImputer(add_indicator=True)), ("s", StandardScaler())]), ["a", "b"]),
    ("k", OneHotEncoder(drop="first"), ["kind"]),
    ("t", CountVectorizer(), "text"),
)

ONE_STEP = {
    "one to one": (StandardScaler(), {"b": "b:e", "c": "c:e", "d": "d:e"}),
    "a row's length": (Normalizer(), dict.fromkeys(NUMBERS, "b:c c:c d:c")),
    "neighbours": (KNNImputer(), dict.fromkeys(NUMBERS, "b:c c:c d:c")),
    "components": (PCA(1), {"pca0": "b:c c:c d:c"}),
    "powers": (
        PolynomialFeatures(2, interaction_only=True, include_bias=False),
        {"b": "b:e", "c": "c:e", "d": "d:e", "b c": "b:e c:e", "b d": "b:e d:e", "c d": "c:e d:e"},
    ),
    "selected": (SelectFromModel(LogisticRegression(), max_features=1, threshold=-np.inf), {"b": "b:e"}),
    "function": (FunctionTransformer(twice), {f"functiontransformer[{at}]": "b:c c:c d:c" for at in range(3)}),
    "function that says": (
        FunctionTransformer(twice, feature_names_out="one-to-one"),
        {"b": "b:d", "c": "c:d", "d": "d:d"},
    ),
    "unknown": (Centred(), {f"centred[{at}]": "b:c c:c d:c" for at in range(3)}),
}


@pytest.mark.parametrize(("step", "expected"), ONE_STEP.values(), ids=ONE_STEP)
def test_step_says_where_its_columns_come_from(step, expected):
    """Each kind of transformer is told by its own rule; one that nothing is known of mixes everything, coarsely."""
    assert edges(of_numbers(step), X[NUMBERS]) == expected


ONE_COLUMN = {
    "rare categories": (OneHotEncoder(min_frequency=30, handle_unknown="infrequent_if_exist"), ["kind", "level"]),
    "ordinal": (OrdinalEncoder(), ["kind", "level"]),
    "target": (TargetEncoder(cv=2), ["kind"]),
    "indicator of the missing": (MissingIndicator(), ["a", "b"]),
    "bins": (KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), ["b", "c"]),
    "ordinal bins": (KBinsDiscretizer(3, encode="ordinal", quantile_method="averaged_inverted_cdf"), ["b", "c"]),
    "splines": (SplineTransformer(n_knots=3), ["b", "c"]),
    "words": (CountVectorizer(), "text"),
    "unknown, of one column": (FunctionTransformer(twice), ["b"]),
}


@pytest.mark.parametrize(("step", "columns"), ONE_COLUMN.values(), ids=ONE_COLUMN)
def test_every_feature_of_these_comes_from_one_column_exactly(step, columns):
    """What a transformer gives for a column is of that column, as the probe sees too."""
    model = by_columns(("p", step, columns))
    found = structure(model)
    features = found.predictors[0].features
    assert all(list(one.sources.values()) == ["exact"] for one in features)
    assert {name for one in features for name in one.sources} <= set([columns] if isinstance(columns, str) else columns)
    seen = probe(model, found, X.head(64))
    assert (seen.rows, seen.findings) == (64, ())


def test_usual_preparation():
    """Imputer, indicator, scaler, one-hot and words: every feature is known by its column, and the probe agrees."""
    assert edges(USUAL) == {
        "n__a": "a:e",
        "n__b": "b:e",
        "n__missingindicator_a": "a:e",
        "k__kind_y": "kind:e",
        "k__kind_z": "kind:e",
        "t__blue": "text:e",
        "t__fox": "text:e",
        "t__ox": "text:e",
        "t__red": "text:e",
    }
    found = probe(USUAL, structure(USUAL), X.head(64))
    assert (found.rows, found.findings) == (64, ())


def test_nested_compositions():
    """Branches in branches, dropped columns and a remainder keep their columns apart, handed on as pandas frames."""
    inner = ColumnTransformer([("z", PCA(1), ["s__b", "s__c"]), ("gone", "drop", ["s__d"])], remainder="passthrough")
    outer = ColumnTransformer(
        [
            ("s", MinMaxScaler(), NUMBERS),
            ("k", OneHotEncoder(sparse_output=False), ["level"]),
            ("gone", "drop", ["kind"]),
        ]
    ).set_output(transform="pandas")
    model = make_pipeline(outer, inner, LogisticRegression()).fit(X, YES)
    expected = {"z__pca0": "b:c c:c", "remainder__k__level_hi": "level:e", "remainder__k__level_lo": "level:e"}
    assert edges(model) == expected
    assert probe(model, structure(model), X.head(64)).findings == ()


def test_union_and_passthrough():
    """Branches of a union get all columns; one that passes them through changes nothing."""
    union = FeatureUnion([("same", "passthrough"), ("two", FunctionTransformer(twice)), ("gone", "drop")])
    assert edges(of_numbers(union), X[NUMBERS]) == {
        "same__b": "b:e",
        "same__c": "c:e",
        "same__d": "d:e",
        **{f"two__two[{at}]": "b:c c:c d:c" for at in range(3)},
    }


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ("b", "b"),
        (["b", "d"], "bd"),
        (slice("b", "d"), "bcd"),
        (slice(1, 3), "bc"),
        ([1, -4], "bd"),
        (X.columns == "c", "c"),
    ],
)
def test_columns_may_be_chosen_in_any_way(columns, names):
    """Names, places, slices of both and masks mean the columns scikit-learn takes."""
    step = FunctionTransformer(pd.DataFrame if isinstance(columns, str) else None)
    model = by_columns(("p", step, columns))
    found = structure(model).predictors[0].features
    assert [set(one.sources) for one in found] == [{name} for name in names]


@pytest.mark.parametrize("kind", ["numpy", "polars"])
def test_other_tables(kind):
    """A model of an array knows its columns by place; one of a polars frame by name."""
    if kind == "numpy":
        table, expected = X[NUMBERS].to_numpy(), {"x0": "x0:e", "x1": "x1:e", "x2": "x2:e"}
    else:
        table, expected = pl.from_pandas(X[NUMBERS]), {"b": "b:e", "c": "c:e", "d": "d:e"}
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table, YES)
    assert edges(model, table) == expected
    found = probe(model, structure(model, table), table[:64])
    assert (found.rows, found.seen, found.findings) == (64, 3, ())


WRAPPERS = {
    "search": (
        GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1]}, cv=2),
        1,
    ),
    "calibrated": (CalibratedClassifierCV(make_pipeline(StandardScaler(), LogisticRegression()), cv=2), 2),
    "vote": (VotingClassifier([("l", make_pipeline(StandardScaler(), LogisticRegression())), ("none", "drop")]), 1),
    "stack": (
        StackingClassifier(
            [("l", make_pipeline(StandardScaler(), LogisticRegression())), ("t", RandomForestClassifier(2))], cv=2
        ),
        2,
    ),
    "target": (TransformedTargetRegressor(make_pipeline(StandardScaler(), Ridge())), 1),
    "frozen": (
        CalibratedClassifierCV(
            FrozenEstimator(make_pipeline(StandardScaler(), LogisticRegression()).fit(X[NUMBERS], YES))
        ),
        1,
    ),
    "steps without a step": (Pipeline([("p", "passthrough"), ("v", VarianceThreshold()), ("m", Ridge())]), 1),
    "no last step": (Pipeline([("s", StandardScaler()), ("end", "passthrough")]), 1),
    "transformers only": (make_pipeline(StandardScaler(), SelectKBest(k=3)), 1),
    "alone": (RandomForestClassifier(2), 1),
}


@pytest.mark.parametrize(("model", "predictors"), WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers(model, predictors):
    """Each model inside a wrapper is walked: its steps are run under the names they are told by, to the same output."""
    table = X[NUMBERS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(table, YES)
    found = structure(model, table)
    assert len(found.predictors) == predictors
    assert all(list(one.sources) == [one.name] for predictor in found.predictors for one in predictor.features)
    method = "predict" if hasattr(model, "predict") else "transform"
    given = list(run_stages(model, table.head(1), lambda inner, one: getattr(inner, method)(one)))
    assert [name for name, _ in given] == [step.name for step in found.steps]
    assert np.array_equal(given[-1][1], getattr(model, method)(table.head(1)))


def test_a_stack_that_passes_its_input_on():
    """What judges its models gets every column itself, also one that none of them is given."""
    of_b = make_pipeline(ColumnTransformer([("n", StandardScaler(), ["b"])]), LogisticRegression())
    model = StackingClassifier([("b", of_b)], passthrough=True, cv=2).fit(X[NUMBERS], YES)
    found = structure(model, X[NUMBERS])
    assert edges(model, X[NUMBERS], at=1) == {"b": "b:e", "c": "c:e", "d": "d:e"}
    assert probe(model, found, X[NUMBERS]).findings == ()
    given = list(run_stages(model, X[NUMBERS].head(1), lambda inner, one: inner.predict(one)))
    assert [name for name, _ in given] == [step.name for step in found.steps]


@pytest.mark.parametrize(
    "chosen", [[1, 3], slice(1, 4, 2), [False, True, False, True]], ids=["places", "slice", "mask"]
)
@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_stages_of_a_row_whose_columns_have_another_order(chosen, kind):
    """A branch chosen by place gets the columns of these places in training, as scikit-learn hands them out."""
    table = X[["c", "b", "a", "d"]].fillna(0)
    model = make_pipeline(ColumnTransformer([("n", StandardScaler(), chosen)]), LogisticRegression()).fit(table, YES)
    other = kind(table.head(1)[["d", "c", "a", "b"]].to_dict("list"))
    given = dict(run_stages(model, other, lambda inner, one: inner.predict(one)))
    assert np.array_equal(given["columntransformer__n"], given["columntransformer"])


def test_stages_of_a_row():
    """Each step gives as many values as it has columns, the last one what the model predicts."""
    given = dict(run_stages(USUAL, X.head(1), lambda model, one: model.predict_proba(one)))
    steps = {step.name: step for step in structure(USUAL).steps}
    assert {name: value.shape[1] for name, value in given.items() if steps[name].outs} == {
        name: len(step.outs) for name, step in steps.items() if step.outs
    }
    assert given["columntransformer"].shape == (1, 9)
    assert np.array_equal(given["logisticregression"], USUAL.predict_proba(X.head(1)))


@pytest.mark.parametrize(
    "model", [XGBClassifier(n_estimators=1, max_depth=1), LGBMClassifier(n_estimators=1, max_depth=1, verbose=-1)]
)
def test_trees_say_which_features_they_split_on(model):
    """Of XGBoost and LightGBM the features used by splits are known, behind a pipeline too."""
    pipeline = make_pipeline(
        ColumnTransformer([("n", StandardScaler(), NUMBERS)]).set_output(transform="pandas"), model
    )
    pipeline.fit(X, YES)
    assert structure(pipeline).predictors[0].used == ("n__b",)


def test_leak_between_columns_is_found():
    """A transformer that mixes columns while it says that they stay apart is told by what moves."""
    model = by_columns(("l", Leaky(), ["b", "c"]), remainder="drop")
    assert edges(model) == {"l__b": "b:d", "l__c": "c:d"}
    found = probe(model, structure(model), X.head(64))
    assert [(one.kind, one.feature, one.column) for one in found.findings] == [("undeclared", "l__b", "c")]


def test_dependence_on_other_rows_is_found():
    """A transformer that computes over the rows of a call is told: nothing else can be said of its columns."""
    model = of_numbers(Centred())
    found = probe(model, structure(model, X[NUMBERS]), X[NUMBERS].head(64))
    assert {one.kind for one in found.findings} == {"unsteady"}
    assert len(found.findings) == len(NUMBERS)


def test_probe_that_cannot_be_is_told():
    """A model of too many columns, or one that raises, is not probed, and the reason holds no value."""
    wide = pd.DataFrame(np.ones((4, PROBE_COLUMNS_MAX + 1))).rename(columns=str)
    model = make_pipeline(StandardScaler(), Ridge()).fit(wide, [1, 2, 3, 4])
    assert probe(model, structure(model, wide), wide).rows == 0
    assert (
        probe(USUAL, structure(USUAL), X.head(8).assign(kind="secret")).reason == "the transformers raised ValueError"
    )


def test_probe_that_takes_long_is_given_up(monkeypatch):
    """Registering a model does not wait for it."""
    monkeypatch.setattr(sklearn_probe, "PROBE_SECONDS_MAX", -1)
    given_up = probe(USUAL, structure(USUAL), X.head(10))
    assert (given_up.rows, given_up.findings) == (0, ())
    assert "seconds" in given_up.reason


def test_nothing_to_probe_without_transformers():
    """A model that gets its features as they come has nothing between columns and features."""
    model = RandomForestClassifier(2).fit(X[NUMBERS], YES)
    assert probe(model, structure(model, X[NUMBERS]), X[NUMBERS].head(9)) is None


def test_names_without_values():
    """Without values in names, a feature is named after its column or step and a number."""
    names = [one.name for one in structure(USUAL, with_values=False).predictors[0].features]
    assert names[3:5] == ["k__kind[0]", "k__kind[1]"]
    assert names[5:] == [f"t__text[{at}]" for at in range(4)]


def test_state_is_the_content_digest_of_the_step():
    """The digest of a step's state is the one it would have as a model of its own."""
    artifact = capture_artifact(USUAL)
    steps = structure(USUAL).steps
    states = state_digests(artifact, [step.path for step in steps])
    for step in steps:
        part = USUAL
        for key in step.path:
            part = getattr(part, key) if isinstance(key, str) else part[key]
        assert states[step.path] == capture_artifact(part).content_digest


def test_state_is_stable():
    """A refit on equal data has the same states; one on other data other ones, where it learns something else."""
    states = []
    for table in (X[["kind"]], X[["kind"]].copy(), X[["kind"]].replace({"z": "zz"})):
        model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(table, YES)
        steps = structure(model, table).steps
        found = state_digests(capture_artifact(model), [step.path for step in steps])
        states.append([found[step.path] for step in steps])
    assert states[0] == states[1]
    assert states[0][0] != states[2][0]
    assert states[0][1] == states[2][1]  # the weights are the same


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(["scale", "hot", "powers", "twice"]), min_size=1, max_size=3), st.randoms())
def test_a_probe_contradicts_no_structure_told_here(kinds, chance):
    """Whatever is put together of steps known here, no feature moves with a column it is not said to come from."""
    kinds_of = {
        "scale": (StandardScaler(), NUMBERS),
        "hot": (OneHotEncoder(), ["kind", "level"]),
        "powers": (PolynomialFeatures(2), NUMBERS),
        "twice": (FunctionTransformer(twice), NUMBERS),
    }
    branches = []
    for at, kind in enumerate(kinds):
        step, columns = kinds_of[kind]
        branches.append((f"{kind}{at}", step, chance.sample(columns, chance.randint(1, len(columns)))))
    model = make_pipeline(ColumnTransformer(branches), VarianceThreshold()).fit(X, YES)
    found = structure(model)
    seen = probe(model, found, X.head(32))
    assert (seen.rows, seen.findings) == (32, ())
    assert all(one.sources or "1" in one.name for one in found.predictors[0].features)
