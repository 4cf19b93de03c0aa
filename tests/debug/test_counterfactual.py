"""Counterfactuals: the fewest changes, values training had, what must not change stays, what is found was run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

import backstory
from backstory.debug.counterfactual import Counterfactuals
from backstory.errors import InputError

CHANCE = np.random.default_rng(2)
LOANS = pd.DataFrame(
    {
        "income": CHANCE.integers(1, 9, 400),
        "debt": CHANCE.random(400).round(2),
        "age": CHANCE.integers(18, 80, 400),
    }
)
BAD = (LOANS.debt > 0.5) & (LOANS.income < 6)
RULE = {"method": "predict_proba", "decision": backstory.Threshold(0.5)}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[backstory.Archive, str]]:
    """An archive, and a loan that is refused for debt and income together."""
    with backstory.init(tmp_path_factory.mktemp("world") / "audit", origin="example.org/credit") as archive:
        features, rows = archive.split(archive.source(LOANS, "loans"))
        model = archive.register(DecisionTreeClassifier(random_state=0).fit(features, BAD), name="bad", rows=rows)
        row = pd.DataFrame({"income": [2], "debt": [0.9], "age": [40]})
        yield archive, archive.predict(model, row, **RULE).ids[0]


def _search(asked: tuple[backstory.Archive, str], **options: object) -> Counterfactuals:
    archive, prediction = asked
    return archive.explanations.counterfactual(prediction, **{"target": False, **options})  # type: ignore[arg-type]


def test_one_change_comes_first(asked: tuple[backstory.Archive, str]) -> None:
    """Where one feature is enough, no answer changes two; the nearest is first."""
    found = _search(asked, change=["age", "debt", "income"])
    assert all(len(one.changes) == 1 for one in found.found)
    distances = [one.distance for one in found.found]
    assert distances == sorted(distances)
    assert found.widest == 1


def test_what_is_found_was_run(asked: tuple[backstory.Archive, str]) -> None:
    """The model gives the wanted answer for the changed row."""
    archive, prediction = asked
    found = _search(asked, change=["debt"]).found[0]
    row = {name: [value] for name, value in archive.why(prediction).features.items()}
    row |= {name: [now] for name, (_, now) in found.changes.items()}
    assert archive.model("bad").estimator.predict_proba(pd.DataFrame(row))[0, 1] < 0.5
    assert found.output["True"] < 0.5


def test_what_may_not_change_stays(asked: tuple[backstory.Archive, str]) -> None:
    """Only features that may change are changed; where that is not enough, none is found in so many evaluations."""
    found = _search(asked, change=["age"], steps=8)
    assert found.found == ()
    assert f"none found in {found.evaluations} evaluation" in str(found)
    assert found.is_whole


def test_only_values_training_had(asked: tuple[backstory.Archive, str]) -> None:
    """Values come from the profile of the training rows: none lies outside of it."""
    found = _search(asked, change=["income"], count=50, steps=50)
    tried = {one.changes["income"][1] for one in found.found}
    assert tried
    assert tried <= set(LOANS.income)


def test_bounds_are_kept(asked: tuple[backstory.Archive, str]) -> None:
    """With bounds only values between them, or of their list, are tried."""
    assert _search(asked, change=["debt"], bounds={"debt": (0.7, 0.95)}).found == ()
    found = _search(asked, change=["debt"], bounds={"debt": [0.8, 0.2]})
    assert [one.changes["debt"] for one in found.found] == [(0.9, 0.2)]


def test_several_changes_where_one_is_not_enough(asked: tuple[backstory.Archive, str]) -> None:
    """Where no feature is enough by itself, pairs are tried."""
    archive, _ = asked
    row = pd.DataFrame({"income": [2], "debt": [0.1], "age": [40]})
    prediction = archive.predict("bad", row, **RULE).ids[0]
    found = archive.explanations.counterfactual(
        prediction, target=True, change=["debt", "age"], bounds={"debt": [0.9], "age": [41]}
    )
    assert [set(one.changes) for one in found.found] == [{"debt"}]
    richer = archive.predict("bad", row.assign(income=8), **RULE).ids[0]
    both = archive.explanations.counterfactual(
        richer, target=True, change=["debt", "income"], bounds={"debt": [0.9], "income": [2]}
    )
    assert [set(one.changes) for one in both.found] == [{"debt", "income"}]


def test_the_budget_is_kept_and_drawing_repeats(asked: tuple[backstory.Archive, str]) -> None:
    """No more rows than allowed are given to the model, and the same seed draws the same."""
    one, other = (_search(asked, change=["age", "income"], budget=10, steps=64, seed=3) for _ in range(2))
    assert one.to_dict() == other.to_dict()
    assert one.evaluations <= 10 + len(one.found)
    assert not one.is_whole


def test_comparisons_and_labels_are_targets(asked: tuple[backstory.Archive, str], tmp_path: Path) -> None:
    """A comparison looks at the score; a label at the output itself."""
    assert _search(asked, target="< 0.5", change=["debt"]).found
    archive, _ = asked
    label = archive.predict("bad", pd.DataFrame({"income": [2], "debt": [0.9], "age": [40]})).ids[0]
    assert archive.explanations.counterfactual(label, target="False", change=["debt"]).found


@pytest.mark.parametrize(
    "options",
    [
        {"change": []},
        {"change": ["nothing"]},
        {"change": ["debt"], "bounds": {"age": (1, 2)}},
        {"change": ["debt"], "target": "< low"},
        {"change": ["debt"], "budget": 0},
    ],
)
def test_nonsense_is_refused(asked: tuple[backstory.Archive, str], options: dict[str, object]) -> None:
    """What cannot be searched for is said so."""
    with pytest.raises(InputError, match="counterfactual: expected"):
        _search(asked, **options)


@pytest.mark.parametrize(("target", "says"), [(True, "got what it has"), ("maybe", "is no label")])
def test_a_target_that_says_nothing_is_refused(
    asked: tuple[backstory.Archive, str], target: bool | str, says: str
) -> None:
    """What the prediction is already, and a label where the output is a number, are no wishes."""
    with pytest.raises(InputError, match=says):
        _search(asked, target=target, change=["debt"])
