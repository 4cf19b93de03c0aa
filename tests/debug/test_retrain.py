"""Training a model again: the same model comes out, or what is not as it was is named."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.support.archives import ORIGIN, loans

import backstory
from backstory.archive import Archive
from backstory.debug.retraining import Retraining

if TYPE_CHECKING:
    import pandas as pd

NAMES = ["amount", "years", "ratio"]


def ratio(loans: pd.DataFrame) -> pd.DataFrame:
    """Add how much a year."""
    return loans.assign(ratio=loans["amount"] / loans["years"])


def boosted() -> Any:
    """Return a small model of XGBoost."""
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=4, n_jobs=1, subsample=0.8, random_state=3)


def leafy() -> Any:
    """Return a small model of LightGBM."""
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=4, n_jobs=1, verbose=-1, min_child_samples=2, random_state=3)


MODELS: dict[str, Callable[[], Any]] = {
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "sgd": lambda: SGDClassifier(random_state=3),
    "chance": lambda: RandomForestRegressor(n_estimators=2),
    "xgboost": boosted,
    "lightgbm": leafy,
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive with a version of each model, open for reading only."""
    path = tmp_path_factory.mktemp("again") / "audit"
    with backstory.init(path, origin=ORIGIN) as opened:
        frame = ratio(opened.source(loans(), "loans", key="loan"))
        frame = frame.sample(frac=1, random_state=1)[lambda rows: rows["amount"] > 100]
        features, rows = opened.split(frame, NAMES)
        for name, make in MODELS.items():
            model = make().fit(features, frame["paid"])
            opened.register(model, name=name, rows=rows, target=frame["paid"])
        arrays = LogisticRegression().fit(features.to_numpy(), frame["paid"].to_numpy())
        opened.register(arrays, name="arrays", rows=rows, target=frame["paid"].to_numpy())
        opened.register(arrays, name="other-target", rows=rows, target=1 - frame["paid"])
        opened.register(arrays, name="rowless")
    with backstory.open(path, mode="r") as opened:
        yield opened


def again(archive: Archive, name: str, steps: Any = ratio, **options: Any) -> Retraining:
    """Train a model again."""
    found = archive.replay(f"{name}:1", level=3, steps=steps, **options)
    assert isinstance(found, Retraining)
    return found


def names(found: Retraining) -> list[str]:
    """Return what is not as it was."""
    return [one.name for one in found.differences]


@pytest.mark.parametrize("name", ["pipeline", "sgd", "xgboost", "lightgbm", "arrays"])
def test_the_same_model_comes_out(name: str, archive: Archive):
    """Of shuffled and filtered rows, in the recorded order, from frames and from arrays."""
    found = again(archive, name)
    assert found.verdict == "exact", str(found)
    assert found.retrained == found.recorded
    assert [stage.name for stage in found.stages] == ["rows", "step ratio", "features", "target", "model"]
    assert {stage.verdict for stage in found.stages} == {"exact"}
    assert found.stages[3].note == "paid"


def test_shuffled_rows_are_named(archive: Archive):
    """By the roots of both orders, before anything else that differs."""
    count = again(archive, "sgd").rows
    found = again(archive, "sgd", rows=np.random.default_rng(0).permutation(count))
    assert (found.verdict, found.first_diverging) == ("diverged", "model")
    assert found.differences[0].said == "the same rows, shuffled"
    ((name, then, now),) = found.differences[0].changes
    assert name == "order root"
    assert then != now
    assert "order: the same rows, shuffled" in found.reason


def test_other_rows_are_named(archive: Archive):
    """With how many of the recorded ones they are."""
    count = again(archive, "sgd").rows
    found = again(archive, "sgd", rows=range(count - 2))
    assert found.differences[0].said == f"{count - 2} rows, which are {count - 2} of the recorded {count}"


def test_other_features_are_named_with_the_first_step_that_learned_something_else(archive: Archive):
    """By column, from the profile that was kept of them; the scaler comes before what it feeds."""
    found = again(archive, "pipeline", lambda loans: ratio(loans).assign(years=lambda rows: rows["years"] + 1))
    assert found.first_diverging == "features"
    assert found.differences[0].said == "other values of years"
    assert found.differences[-1].said == "standardscaler is the first that learned something else"


def test_other_parameters_are_named(archive: Archive):
    """Where the caller trains."""

    def fit(features: Any, target: Any) -> Any:
        return SGDClassifier(random_state=4).fit(features, target)

    found = again(archive, "sgd", fit=fit)
    (parameters,) = (one for one in found.differences if one.name == "parameters")
    assert parameters.changes == (("random_state", "3", "4"),)


def test_chance_without_a_seed_is_named(archive: Archive):
    """Nobody can train that again."""
    assert "chance" in names(again(archive, "chance"))


@pytest.mark.parametrize(
    ("name", "steps", "said"),
    [
        ("rowless", ratio, "registered without rows="),
        ("other-target", ratio, "no column of what the steps returned leads to the recorded target"),
        ("sgd", lambda loans: ratio(loans)[lambda rows: rows["years"] > 2], "not made again: no row came out for it"),
        ("sgd", functools.partial(ratio, loans=None), "step ratio raises AttributeError"),
    ],
)
def test_what_is_missing_is_named(name: str, steps: Any, said: str, archive: Archive):
    """And nothing is claimed."""
    found = again(archive, name, steps)
    assert found.verdict == "not-replayable"
    assert said in found.reason


def test_training_that_raises_is_named(archive: Archive):
    """Without a value of a row."""

    def fit(features: Any, target: Any) -> Any:
        raise ValueError(str(features))

    assert again(archive, "sgd", fit=fit).reason == "retrain: training raises ValueError"


def test_it_can_be_given_as_json(archive: Archive):
    """With all stages and differences."""
    found = again(archive, "chance").to_dict()
    assert found["model"] == "chance:1"
    assert {stage["name"] for stage in found["stages"]} >= {"rows", "model"}
    assert found["differences"][0]["name"] == "chance"


def test_training_on_people_is_read_through_the_gate(tmp_path: Path):
    """Without a purpose nothing is; with one the same model comes out, and no root of their rows is shown."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        frame = ratio(archive.source(loans(), "loans", subject="loan"))
        features, rows = archive.split(frame, NAMES)
        model = SGDClassifier(random_state=3).fit(features, frame["paid"])
        archive.register(model, name="sgd", rows=rows, target=frame["paid"])
    with backstory.open(tmp_path / "audit", mode="r") as archive:
        assert again(archive, "sgd").verdict == "not-replayable"
    with backstory.open(tmp_path / "audit", actor="auditor", purpose="complaint 7") as archive:
        assert again(archive, "sgd").verdict == "exact"
        assert again(archive, "sgd", rows=range(39, -1, -1)).differences[0].changes == ()
