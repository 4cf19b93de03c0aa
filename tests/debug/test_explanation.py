"""Explanations: recorded at decision time without changing the prediction, or computed afterwards and marked so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import backstory
from backstory.debug.explanation import explain_prediction
from backstory.debug.explanation_plan import Explain
from backstory.errors import ForbiddenError, InputError, ModelError

CHANCE = np.random.default_rng(5)
PEOPLE = pd.DataFrame(
    {
        "customer": [f"c-{at}" for at in range(400)],
        "income": CHANCE.normal(40, 10, 400),
        "debt": CHANCE.random(400),
        "age": CHANCE.integers(18, 80, 400),
    }
)
BAD = (4 * PEOPLE.debt - PEOPLE.income / 20 > 0).astype(int)
FEATURES = ["income", "debt", "age"]
RULE = {"method": "predict_proba", "decision": backstory.Threshold(0.5)}


@dataclass(frozen=True)
class World:
    """An archive with predictions of one model about things and people, explained and not."""

    archive: backstory.Archive
    model: backstory.ModelVersion
    plain: backstory.Predictions
    explained: backstory.Predictions
    sealed: backstory.Predictions
    features: pd.DataFrame


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Predict twenty rows without, with, and about people with attributions."""
    path = tmp_path_factory.mktemp("world") / "audit"
    backstory.init(path, origin="example.org/credit").close()
    with backstory.open(path, actor="anna", purpose="case 7", sealer="none") as archive:
        features, rows = archive.split(archive.source(PEOPLE, "loans"), features=FEATURES)
        fitted = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(features, BAD)
        model = archive.register(fitted, name="default", rows=rows)
        few = features[:20]
        yield World(
            archive=archive,
            model=model,
            plain=archive.predict(model, few, **RULE),
            explained=archive.predict(model, few, explain="tree", **RULE),
            sealed=archive.predict(model, few, explain="tree", subject=PEOPLE.customer[:20], **RULE),
            features=few,
        )


def test_the_prediction_is_the_same_as_without(world: World) -> None:
    """Explaining changes no bit of the output and no decision."""
    assert np.array_equal(world.plain.output, world.explained.output)
    one, other = (world.archive.why(preds.ids[4]) for preds in (world.plain, world.explained))
    assert (one.output, one.decision, one.features) == (other.output, other.decision, other.features)


def test_what_was_recorded_is_returned(world: World) -> None:
    """An explanation at decision time is read from the record, adds up, and has the largest first."""
    found = world.archive.explain(world.explained.ids[3])
    assert (found.computed, found.method, found.units, found.verdict) == ("at decision time", "tree", "log-odds", None)
    assert 1 / (1 + np.exp(-found.total)) == pytest.approx(world.explained.output[3, 1])
    sizes = [abs(one.added) for one in found.contributions]
    assert sizes == sorted(sizes, reverse=True)
    assert found.baseline == {"paths": True}


def test_afterwards_is_marked_and_gives_the_same(world: World) -> None:
    """By replay the same is computed, and says that it was, in which environment, with which verdict."""
    recorded = world.archive.explain(world.explained.ids[3])
    anew = world.archive.explain(world.explained.ids[3], anew=True)
    later = world.archive.explain(world.plain.ids[3])
    assert anew.contributions == recorded.contributions == later.contributions
    assert (later.computed, later.verdict) == ("afterwards", "exact")
    assert f"lightgbm {lightgbm.__version__}" in later.where


def test_another_method_is_computed_though_one_was_recorded(world: World) -> None:
    """What is asked for otherwise than it was recorded is computed."""
    found = world.archive.explain(world.explained.ids[3], "permutation")
    assert (found.computed, found.method, found.units) == ("afterwards", "permutation", "output")
    assert found.total == pytest.approx(world.explained.output[3, 1])
    assert found.baseline["drawn"] == "training"
    assert (found.baseline["rows"], found.baseline["of"]) == ("100", "400")


def test_a_row_alone_has_the_attribution_of_its_batch(world: World) -> None:
    """The orders of a permutation are those of the seed, so a row gets the same alone and among others."""
    asked = backstory.Explain(method="permutation", background=world.features, rows=5, orders=1, seed=4)
    many = world.archive.predict(world.model, world.features, explain=asked, **RULE)
    one = world.archive.predict(world.model, world.features[7:8], explain=asked, **RULE)
    assert world.archive.explain(many.ids[7]).contributions == world.archive.explain(one.ids[0]).contributions


def test_the_baseline_is_known_by_its_digest(world: World) -> None:
    """Equal background rows have one digest, others another."""

    def digest(rows: pd.DataFrame) -> object:
        found = world.archive.explain(world.plain.ids[0], "permutation", background=rows)
        return found.baseline["digest"]

    assert digest(world.features) == digest(world.features.copy())
    assert digest(world.features) != digest(world.features[1:])


def test_rows_compared_with_are_never_those_of_another_question(world: World) -> None:
    """A way to explain that is kept is not used for another one, though this takes its place in memory."""
    asked, own = {**RULE, "explain": None}, world.features
    first = backstory.Explain(method="permutation", background=own)
    place = id(first)
    world.archive.predict(world.model, own[:1], **{**asked, "explain": first})
    del first
    others = (backstory.Explain(method="permutation", background=own + 5) for _ in range(500))
    again = next((one for one in others if id(one) == place), None)
    assert again is None


def test_why_shows_what_was_recorded(world: World) -> None:
    """The story of an explained prediction has its attributions, that of another none."""
    story = world.archive.why(world.explained.ids[3])
    assert set(story.attributions) == set(FEATURES)
    assert "What each feature added" in str(story)
    assert "it names no causes" in str(story)
    assert "What each feature added" not in str(world.archive.why(world.plain.ids[3]))


def test_attributions_of_people_are_sealed(world: World) -> None:
    """Of a record about a person no attribution stands in the segment or can be asked for without a purpose."""
    world.archive.flush()
    with backstory.open(world.archive.path, mode="r") as reader:
        story = reader.why(world.sealed.ids[3])
        assert (story.attributions, story.attribution_base) == ({}, None)
        assert reader.why(world.explained.ids[3]).attributions
        with pytest.raises(ForbiddenError, match="sealed"):
            reader.explain(world.sealed.ids[3])
    found = world.archive.explain(world.sealed.ids[3])
    assert found.is_sealed
    assert found.contributions == world.archive.explain(world.explained.ids[3]).contributions


def test_a_call_that_was_not_asked_has_no_new_columns(world: World) -> None:
    """Schema and context of a prediction without attributions have no member of theirs."""
    found = world.archive._found(world.plain.ids[0])
    assert not any(column.name.startswith("attribution") for column in found.schema.columns)
    assert "explanation" not in world.archive.why(world.plain.ids[0]).context


def test_a_prediction_whose_replay_diverges_is_not_explained(world: World) -> None:
    """What another model says is not explained as this one's."""
    other = lightgbm.LGBMClassifier(n_estimators=1, verbose=-1).fit(world.features, np.arange(20) % 2)
    shop = replace(world.archive._workshop, load=lambda _: other)
    with pytest.raises(ModelError, match="its replay diverges"):
        explain_prediction(shop, world.archive._found(world.plain.ids[0]), Explain(), anew=False)


def test_what_does_not_add_up_is_recorded_without(world: World) -> None:
    """A model that gives another answer each time is predicted and recorded, and the caller is told."""
    calls: list[int] = []

    def restless(rows: pd.DataFrame) -> np.ndarray:
        calls.append(1)
        return rows["debt"].to_numpy() + len(calls)

    model = world.archive.register(restless, name="restless")
    asked = backstory.Explain(method="permutation", background=world.features)
    with pytest.raises(ModelError, match=r"does not add up.*recorded without") as caught:
        world.archive.predict(model, world.features, method="__call__", explain=asked)
    story = world.archive.why(caught.value.details["ids"][0])
    assert (story.status, story.attribution_base) == ("ok", None)


def test_what_cannot_be_explained_is_refused_before_the_model_runs(world: World) -> None:
    """A method that does not fit, and a baseline that lacks a feature, are refused and nothing is recorded."""
    before = world.archive.metrics().records_total
    for asked, error in (
        (Explain(method="linear"), ModelError),
        (Explain(method="permutation", background=PEOPLE[["age"]]), InputError),
        ("shap", InputError),
    ):
        with pytest.raises(error, match="explain: expected"):
            world.archive.predict(world.model, world.features, explain=asked, **RULE)
    assert world.archive.metrics().records_total == before


def test_a_background_is_needed_where_training_is_not_known(tmp_path: Path) -> None:
    """Without training rows a linear model is explained only against rows that are given."""
    features = PEOPLE[FEATURES]
    with backstory.init(tmp_path / "audit", origin="example.org/credit") as archive:
        model = archive.register(LinearRegression().fit(features, BAD), name="line")
        with pytest.raises(ModelError, match="give background="):
            archive.predict(model, features, explain="linear")
        preds = archive.predict(model, features, explain=Explain(method="linear", background=features))
        found = archive.explain(preds.ids[0])
    assert found.total == pytest.approx(preds.output[0])
    assert found.baseline["drawn"] == "given"
