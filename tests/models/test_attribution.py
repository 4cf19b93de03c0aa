"""Attributions: they add up to what the model gave, belong to input columns, and are refused where they do not fit."""

from __future__ import annotations

import itertools
import math
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC

from backstory.errors import ModelError
from backstory.models.attribution import Attribution, check_additive, class_index, known_method, route_of
from backstory.models.attribution_permutation import answers_of, attribute, coalitions

CHANCE = np.random.default_rng(3)
TABLE = pd.DataFrame(
    {
        "income": CHANCE.normal(40, 10, 300),
        "debt": CHANCE.random(300),
        "region": CHANCE.choice(["north", "south"], 300),
    }
)
NUMBERS = TABLE[["income", "debt"]]
BAD = (4 * TABLE.debt - TABLE.income / 20 > 0).astype(int)
THREE = np.digitize(TABLE.debt, [0.3, 0.6])


@pytest.mark.parametrize("library", [xgboost.XGBClassifier, lightgbm.LGBMClassifier])
def test_boosters_explain_log_odds(library: type) -> None:
    """What a booster's trees add, with the base, is the log-odds of the class."""
    model = library(n_estimators=8, **({"verbose": -1} if library is lightgbm.LGBMClassifier else {})).fit(NUMBERS, BAD)
    route = route_of(model, "tree", "predict_proba", list(NUMBERS), 1, None)
    found = route.attribute(NUMBERS)
    odds = 1 / (1 + np.exp(-(found.base + found.added.sum(axis=1))))
    assert (route.units, route.groups) == ("log-odds", (("income",), ("debt",)))
    assert np.abs(odds - model.predict_proba(NUMBERS)[:, 1]).max() < 1e-5


@pytest.mark.parametrize("library", [xgboost.XGBClassifier, lightgbm.LGBMClassifier])
def test_one_of_several_classes(library: type) -> None:
    """Of a booster of three classes the margin of the class that is asked for is explained."""
    model = library(n_estimators=4, **({"verbose": -1} if library is lightgbm.LGBMClassifier else {})).fit(
        NUMBERS, THREE
    )
    one, two = (route_of(model, "tree", "predict_proba", list(NUMBERS), at, None).attribute(NUMBERS) for at in (0, 2))
    shares = model.predict_proba(NUMBERS)
    assert np.abs((two.total - one.total) - np.log(shares[:, 2] / shares[:, 0])).max() < 1e-4


def test_the_first_of_two_classes_is_the_other_way_round() -> None:
    """What speaks for the second class speaks against the first."""
    model = lightgbm.LGBMClassifier(n_estimators=4, verbose=-1).fit(NUMBERS, BAD)
    no, yes = (route_of(model, "tree", "predict_proba", list(NUMBERS), at, None).attribute(NUMBERS) for at in (0, 1))
    assert np.array_equal(no.added, -yes.added)


@pytest.mark.parametrize("which", [None, 0])
def test_a_single_output_is_never_turned_round(which: int | None) -> None:
    """The only output of a regressor is explained as it is, by its place too."""
    for model, method in (
        (lightgbm.LGBMRegressor(n_estimators=4, verbose=-1).fit(NUMBERS, TABLE.debt), "tree"),
        (LinearRegression().fit(NUMBERS, TABLE.debt), "linear"),
    ):
        found = route_of(model, method, "predict", list(NUMBERS), which, NUMBERS).attribute(NUMBERS)
        assert np.allclose(found.total, model.predict(NUMBERS))


def test_an_estimator_that_stopped_early_is_explained_by_its_best_trees() -> None:
    """XGBoost predicts with the best iteration, and only its trees are explained."""
    chance = np.random.default_rng(0)
    noise = chance.random(300) < 0.5
    model = xgboost.XGBRegressor(n_estimators=60, early_stopping_rounds=2, learning_rate=1.0)
    model.fit(NUMBERS[:200], noise[:200], eval_set=[(NUMBERS[200:], noise[200:])], verbose=False)
    found = route_of(model, "tree", "predict", list(NUMBERS), None, None).attribute(NUMBERS)
    assert model.best_iteration < 59
    assert np.abs(found.total - model.predict(NUMBERS)).max() < 1e-6


def test_forests_of_scikit_learn_explain_the_probability() -> None:
    """A forest's attributions add up to the probability of the class."""
    model = RandomForestClassifier(3, max_depth=3, random_state=0).fit(NUMBERS, BAD)
    route = route_of(model, "tree", "predict_proba", list(NUMBERS), 1, None)
    assert route.units == "output"
    assert np.abs(route.attribute(NUMBERS).total - model.predict_proba(NUMBERS)[:, 1]).max() < 1e-12


def test_a_pipeline_is_explained_in_its_input_columns() -> None:
    """What the columns of a one-hot encoder add is what the encoded column adds."""
    steps = make_column_transformer((StandardScaler(), ["income", "debt"]), (OneHotEncoder(), ["region"]))
    model = make_pipeline(steps, LogisticRegression()).fit(TABLE, BAD)
    route = route_of(model, "linear", "predict_proba", list(TABLE), 1, TABLE)
    found, weights = route.attribute(TABLE), model[-1].coef_[0]
    assert route.groups == (("income",), ("debt",), ("region",))
    income = weights[0] * (TABLE.income - TABLE.income.mean()) / TABLE.income.std(ddof=0)
    assert np.allclose(found.added[:, 0], income)


def test_columns_that_cannot_be_told_apart_are_named_together() -> None:
    """What a product of two columns adds is told of both, and not split."""
    model = make_pipeline(PolynomialFeatures(2, include_bias=True), LinearRegression()).fit(NUMBERS, TABLE.debt**2)
    route = route_of(model, "linear", "predict", list(NUMBERS), None, NUMBERS)
    assert ("income", "debt") in route.groups
    assert np.allclose(route.attribute(NUMBERS).total, model.predict(NUMBERS))


def test_a_vote_is_no_tree() -> None:
    """A wrapper whose answer is not that of its last part is explained by permutation only."""
    model = VotingClassifier([("one", LogisticRegression())]).fit(NUMBERS, BAD)
    assert known_method(model) == "permutation"
    with pytest.raises(ModelError, match="use 'permutation'"):
        route_of(model, "linear", "predict", list(NUMBERS), 1, NUMBERS)


@pytest.mark.parametrize(
    "model",
    [
        PoissonRegressor(),
        SVC(kernel="linear"),
        GradientBoostingClassifier(n_estimators=2),
        HistGradientBoostingRegressor(loss="poisson", max_iter=2),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_no_exact_method_fits_is_explained_by_permutation(model: Any) -> None:
    """Models with a link function, classes by pairs, or trees that shap does not know, are not taken for exact ones."""
    assert known_method(model.fit(NUMBERS, THREE)) == "permutation"


def test_what_does_not_add_up_is_refused() -> None:
    """Base and values that are not the total are an error, NaN too."""
    good = Attribution(added=np.ones((2, 2)), base=np.zeros(2), total=np.full(2, 2.0))
    check_additive(good, 1e-8)
    for wrong in (2.1, math.nan):
        with pytest.raises(ModelError, match="1 of 2 rows"):
            check_additive(Attribution(added=good.added, base=good.base, total=np.array([2.0, wrong])), 1e-8)


def test_which_output_is_never_guessed() -> None:
    """Of two classes the second is explained; of three somebody says which."""
    assert (class_index(["no", "yes"], None), class_index(["no", "yes"], "no"), class_index(None, None)) == (1, 0, None)
    for labels, column in ((["a", "b", "c"], None), (["a", "b"], "c"), (["a", "b"], 2)):
        with pytest.raises(ModelError, match="expected column="):
            class_index(labels, column)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
def test_permutations_telescope(columns: int, orders: int, seed: int) -> None:
    """Whatever the answers are, what is added leads from the first to the last."""
    masks, walks = coalitions(columns, orders, seed)
    answers = np.random.default_rng(seed).normal(size=len(masks))
    assert np.isclose(attribute(answers, walks).sum(), answers[-1] - answers[0])
    assert len({mask.tobytes() for mask in masks}) == len(masks) or columns == 0


def test_permutations_give_shapley_values() -> None:
    """With all orders of three columns the attributions are those of Shapley's formula."""

    def game(mask: np.ndarray) -> float:
        return float(3 * mask[0] + 2 * mask[1] * mask[2] + mask[0] * mask[2])

    masks, walks = coalitions(3, 400, 0)
    found = attribute(np.array([game(mask) for mask in masks]), walks)
    exact = np.zeros(3)
    for order in itertools.permutations(range(3)):
        mask = np.zeros(3, bool)
        for column in order:
            before = game(mask)
            mask[column] = True
            exact[column] += (game(mask) - before) / 6
    assert np.abs(found - exact).max() < 0.05


def test_answers_are_means_over_the_background() -> None:
    """A mask's answer is the mean over all rows compared with, however few are asked for at once."""
    masks, _ = coalitions(2, 1, 0)
    values = np.array([[10.0, 20.0], [1.0, 2.0], [3.0, 4.0]])  # the row, then two it is compared with
    asked = [answers_of(masks, 2, lambda at: values[at, [0, 1]].sum(axis=1), most) for most in (1, 1000)]
    assert np.array_equal(asked[0], asked[1])
    assert (asked[0][0], asked[0][-1]) == (5.0, 30.0)
