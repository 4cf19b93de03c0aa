"""What the model would have said: another version, other features, a source row with corrected values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN, loans
from tests.support.flights import FEATURES, flights, planes, weather
from tests.support.pipeline import LAST_TRAINING_DAY, ROUTE, joined, traced_features

import backstory
from backstory.debug.whatif_rows import DROPPED
from backstory.errors import (
    AlignmentError,
    ColumnError,
    ForbiddenError,
    NotFoundError,
    PreparationError,
    QueryError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from backstory.archive import Archive
    from backstory.debug.whatif import WhatIf

ROWS = 4_500
"""Flights: four days to train on, one day and a bit to predict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An archive of flights with predictions of one call.

    Attributes:
        archive: The archive.
        frame: The features that were predicted from.
        ids: The predictions.
        model: The model itself.
        hour: Key of a weather row of the later days, which many predictions refer to.
        prepare: What makes the features.
    """

    archive: Archive
    frame: pd.DataFrame
    ids: list[str]
    model: object
    hour: tuple[str, str]
    prepare: Callable[..., pd.DataFrame]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Register two versions and a model of fewer features; predict the later days by the first."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    with backstory.init(tmp_path_factory.mktemp("whatif") / "audit", origin=ORIGIN) as archive:
        made = traced_features(archive, flights(ROWS), weather(), planes())
        models = [HistGradientBoostingRegressor(max_iter=n, random_state=0) for n in (8, 12)]
        for model in models:
            model.fit(made.train, made.target)
        few = HistGradientBoostingRegressor(max_iter=2, random_state=0).fit(made.train[FEATURES[:4]], made.target)
        archive.register(models[0], name="delay", rows=made.train_rows, target=made.target)
        archive.register(models[1], name="delay", alias="challenger", rows=made.train_rows, target=made.target)
        archive.register(few, name="few")
        rule = backstory.Threshold(15)
        ids = archive.predict(archive.model("delay:1"), made.test, rows=made.test_rows, decision=rule).ids
        archive.flush()

        def prepare(flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
            frame = joined(flights, weather, planes)
            train = frame[frame["day"] <= LAST_TRAINING_DAY]
            routes = archive.group(
                train, ROUTE, name="route", route_mean=("arr_delay", "mean"), route_n=("arr_delay", "count")
            )
            return frame.merge(routes, on=ROUTE, how="left")

        table = flights(ROWS)
        later = table[(table["day"] > LAST_TRAINING_DAY) & (table["origin"] == "EWR") & table["arr_delay"].notna()]
        hour = ("EWR", str(later["time_hour"].mode()[0]))
        yield Scene(archive=archive, frame=made.test, ids=list(ids), model=models[0], hour=hour, prepare=prepare)


def moved(answer: WhatIf) -> dict[str, list[str]]:
    """Return the predictions whose features changed, with these."""
    rows = answer.table.select(["id", "changed"]).to_pylist()
    return {row["id"]: row["changed"] for row in rows if row["changed"]}


def test_another_version_gives_what_it_gives(scene: Scene):
    """Recorded features through the challenger: the outputs are those it gives by itself, decided by the rule."""
    answer = scene.archive.whatif(scene.ids[:30], model="delay@challenger")
    expected = scene.archive.model("delay@challenger").estimator.predict(scene.frame)[:30]
    recorded = scene.model.predict(scene.frame)[:30]
    assert answer.table["after"].to_pylist() == expected.tolist()
    assert answer.table["before"].to_pylist() == recorded.tolist()
    assert answer.table["decision_after"].to_pylist() == (expected >= 15).tolist()
    assert answer.counts["decisions"] == int(((expected >= 15) != (recorded >= 15)).sum())
    assert (answer.counts["features"], answer.counts["asked"]) == (0, 30)


def test_a_version_of_other_features_is_refused(scene: Scene):
    """The error names the columns."""
    with pytest.raises(ColumnError, match="4 features of few:1, got them with 'wind_speed', 'visib'"):
        scene.archive.whatif(scene.ids[0], model="few")


def test_changed_features_give_what_the_model_gives(scene: Scene):
    """One value for all predictions asked about; the other rows of the call stay as they were."""
    answer = scene.archive.whatif(scene.ids[:30], features={"dep_delay": 120})
    changed = scene.frame.copy()
    changed.iloc[:30, changed.columns.get_loc("dep_delay")] = 120.0
    assert answer.table["after"].to_pylist() == scene.model.predict(changed)[:30].tolist()
    assert answer.counts["features"] == int((scene.frame["dep_delay"][:30] != 120).sum())


def test_changed_features_may_be_a_row_for_each_prediction(scene: Scene):
    """A frame's rows belong to the predictions in the order they are named."""
    given = pd.DataFrame({"dep_delay": np.arange(5.0) * 30})
    answer = scene.archive.whatif(scene.ids[4::-1], features=given)
    changed = scene.frame.copy()
    changed.iloc[:5, changed.columns.get_loc("dep_delay")] = given["dep_delay"].to_numpy()[::-1]
    assert answer.table["id"].to_pylist() == scene.ids[4::-1]
    assert answer.table["after"].to_pylist() == scene.model.predict(changed)[4::-1].tolist()
    with pytest.raises(AlignmentError, match="5 rows for 4 predictions"):
        scene.archive.whatif(scene.ids[:4], features=given)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"temperature": 20.0}, "no feature 'temperature'"),
        ({"hour": 7.5}, "'hour' that int64 can hold"),
        ({"hour": True}, "'hour' that int64 can hold, got bool"),
        ({"temp": "warm"}, "'temp' that double can hold, got string"),
        ({"temp": object()}, "got object"),
        ({}, "at least one feature"),
    ],
)
def test_values_that_no_feature_can_hold_are_refused(scene: Scene, features, said):
    """An unknown column or a value of another type is an error that names the feature, not a silent change."""
    with pytest.raises(ColumnError, match=said):
        scene.archive.whatif(scene.ids[0], features=features)


def test_a_missing_value_is_a_value(scene: Scene):
    """None stands for a missing number, as it was recorded for rows that matched no weather."""
    answer = scene.archive.whatif(scene.ids[0], features={"dep_delay": None})
    changed = scene.frame.copy()
    changed.iloc[0, changed.columns.get_loc("dep_delay")] = np.nan
    assert answer.table["after"][0].as_py() == scene.model.predict(changed)[0]


def test_a_corrected_row_changes_exactly_what_impact_names(scene: Scene):
    """Of all predictions there are, those whose features change are those that impact names, and in those columns."""
    values = {"wind_speed": 55.5, "temp": -40.0}
    hits = scene.archive.impact("weather", keys=[scene.hour])
    answer = scene.archive.whatif(scene.ids, source="weather", keys=[scene.hour], values=values, steps=scene.prepare)
    named = set(hits.predictions["id"].to_pylist())
    assert len(named) > 20
    assert set(moved(answer)) == named
    assert set(map(tuple, moved(answer).values())) == {("temp", "wind_speed")}
    assert (answer.counts["asked"], answer.counts["features"]) == (len(scene.ids), len(named))
    assert answer.counts["not_computed"] == 0


def test_a_corrected_row_gives_what_the_corrected_pipeline_gives(scene: Scene):
    """The outputs are those of the model on features made by hand of a corrected table."""
    answer = scene.archive.whatif(source="weather", keys=[scene.hour], values={"wind_speed": 55.5}, steps=scene.prepare)
    changed = scene.frame.copy()
    at = [scene.ids.index(name) for name in answer.table["id"].to_pylist()]
    changed.iloc[at, changed.columns.get_loc("wind_speed")] = 55.5
    assert answer.table["after"].to_pylist() == scene.model.predict(changed)[at].tolist()
    assert answer.trained == ()


def test_models_trained_on_the_rows_are_named(scene: Scene):
    """A row of the training days reached models, which are not trained again: the answer says so."""
    answer = scene.archive.whatif(
        scene.ids[:3], source="flights", rows=[3], values={"arr_delay": 600.0}, steps=scene.prepare
    )
    assert answer.trained == ("delay:1", "delay:2")
    assert "trained on these rows, not trained again  delay:1, delay:2" in str(answer)


def test_a_group_is_made_again(scene: Scene):
    """A corrected row that went into a group changes the aggregate of the predictions of that group."""
    train = flights(ROWS)
    row = int(np.flatnonzero((train["day"] <= 4) & train["arr_delay"].notna() & train["tailnum"].notna())[0])
    hits = scene.archive.impact("flights", rows=[row])
    answer = scene.archive.whatif(source="flights", rows=[row], values={"arr_delay": 900.0}, steps=scene.prepare)
    assert set(moved(answer)) == set(hits.predictions["id"].to_pylist())
    assert set(map(tuple, moved(answer).values())) == {("route_mean",)}


def test_steps_that_make_other_features_are_found_out(scene: Scene):
    """Where the steps give other features without any correction, nothing is computed, and why is said."""

    def other(flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
        frame = scene.prepare(flights, weather, planes)
        return frame.assign(dep_delay=frame["dep_delay"] + 1)

    answer = scene.archive.whatif(source="weather", keys=[scene.hour], values={"temp": 0.0}, steps=other)
    assert answer.counts["not_computed"] == answer.counts["asked"] > 0
    assert "without any correction: another value of dep_delay" in next(iter(answer.not_computed))
    assert answer.table["after"].null_count == answer.table.num_rows


def test_a_row_that_the_steps_now_drop_is_said_to_be_dropped(scene: Scene):
    """A flight corrected to have never left comes out of no step: not computed, for that reason."""
    row = int(np.flatnonzero((flights(ROWS)["day"] > 4) & flights(ROWS)["arr_delay"].notna())[0])
    answer = scene.archive.whatif(source="flights", rows=[row], values={"dep_time": None}, steps=scene.prepare)
    assert answer.not_computed == {DROPPED: 1}


def test_several_at_once_are_applied_in_order(scene: Scene):
    """Rows, then features, then the model: a feature given by hand wins over the one made of the corrected row."""
    (name, *_) = scene.archive.impact("weather", keys=[scene.hour]).predictions["id"].to_pylist()
    answer = scene.archive.whatif(
        name, source="weather", keys=[scene.hour], values={"wind_speed": 55.5, "temp": 1.0}, steps=scene.prepare,
        features={"temp": 2.0}, model="delay@challenger",
    )  # fmt: skip
    told = {change.name: change.after for stage in answer.stages for change in stage.changes}
    assert (told["wind_speed"], told["temp"]) == (55.5, 2.0)
    at = scene.ids.index(name)
    changed = scene.frame.copy()
    for column, value in (("wind_speed", 55.5), ("temp", 2.0)):
        changed.iloc[at, changed.columns.get_loc(column)] = value
    challenger = scene.archive.model("delay@challenger").estimator
    assert answer.table["after"][0].as_py() == challenger.predict(changed)[at]


def test_page_of_one_prediction_shows_stages(scene: Scene):
    """The first stage that changes is named; source row, features and output with values before and after."""
    (name, *_) = scene.archive.impact("weather", keys=[scene.hour]).predictions["id"].to_pylist()
    answer = scene.archive.whatif(
        name, source="weather", keys=[scene.hour], values={"wind_speed": 55.5}, steps=scene.prepare
    )
    text = str(answer)
    assert text.startswith("with wind_speed corrected in 1 row of weather: first changes: source rows")
    assert "wind_speed" in text
    assert "55.5" in text
    assert json.loads(json.dumps(answer.to_dict()))["counts"]["asked"] == 1


def test_a_corrected_key_is_warned_of(scene: Scene):
    """Predictions whose row is joined otherwise then are not computed, and others that join are warned of."""
    answer = scene.archive.whatif(source="weather", keys=[scene.hour], values={"origin": "JFK"}, steps=scene.prepare)
    assert answer.not_computed == {DROPPED: answer.counts["asked"]}
    assert "origin is of the key: other rows may join these then" in str(answer)


def test_other_predictions_than_those_reached_are_warned_of(scene: Scene):
    """A row that changes its group, or was used by nobody, can change predictions that are not asked about."""
    table = flights(ROWS)
    trained = int(np.flatnonzero((table["day"] <= 4) & table["arr_delay"].notna() & table["tailnum"].notna())[0])
    moved = scene.archive.whatif(source="flights", rows=[trained], values={"dest": "BOS"}, steps=scene.prepare)
    assert "dest says which groups a row is in" in moved.cautions[0]
    unused = int(np.flatnonzero(table["arr_delay"].isna())[0])
    entered = scene.archive.whatif(source="flights", rows=[unused], values={"arr_delay": 5.0}, steps=scene.prepare)
    assert entered.counts["asked"] == 0
    assert "no prediction was made of these rows" in entered.cautions[0]


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """Return an archive with predictions of truths, texts and moments by two classes, and a version of three."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.tree import DecisionTreeClassifier

    table = pd.DataFrame({"member": [n % 2 == 0 for n in range(60)], "town": ["a", "b", "c"] * 20, "km": range(60)})
    table["at"] = pd.date_range("2026-01-01", periods=60, tz="UTC")
    shape = ColumnTransformer([("town", OneHotEncoder(), ["town"]), ("rest", "passthrough", ["member", "km"])])
    with backstory.init(tmp_path_factory.mktemp("typed") / "audit", origin=ORIGIN) as archive:
        for classes in (2, 3):
            fitted = make_pipeline(shape, DecisionTreeClassifier(random_state=0)).fit(table, table.km * classes // 60)
            archive.register(fitted, name="sort")
        rule = backstory.Threshold(0.5)
        ids = archive.predict(archive.model("sort:1"), table, method="predict_proba", decision=rule).ids
        archive.flush()
        yield archive, list(ids)


@pytest.mark.parametrize(
    "features",
    [
        {"member": True},
        {"at": pd.Timestamp("2026-05-01", tz="UTC")},
        pd.DataFrame({"town": ["c", "c"]}),
        pd.DataFrame({"at": pd.date_range("2026-05-01", periods=2, tz="UTC")}),
    ],
    ids=["truth", "moment", "texts", "moments"],
)
def test_values_of_each_type_can_be_given(typed, features):
    """Truth values, moments, and texts of a frame are values like numbers."""
    archive, ids = typed
    answer = archive.whatif(ids[1:3], features=features)
    assert (answer.counts["features"] > 0, answer.counts["not_computed"]) == (True, 0)


def test_texts_are_no_numbers(typed):
    """A frame of digits as text is refused for a feature of numbers, as one value is."""
    archive, ids = typed
    with pytest.raises(ColumnError, match="'km' that int64 can hold"):
        archive.whatif(ids[:1], features=pd.DataFrame({"km": ["7"]}))


def test_a_rule_of_other_classes_decides_nothing(typed):
    """The last of three classes is not the last of two: no decision is made up, and the answer says so."""
    archive, ids = typed
    answer = archive.whatif(ids, model="sort:2")
    assert (answer.counts["decisions"], answer.table["decision_after"].null_count) == (0, 60)
    assert "60 predictions without a decision" in str(answer)


def test_an_id_of_nothing_is_said_of_this_question(scene: Scene):
    """The message is of a what-if, and says of how many."""
    nothing = "00000000-0000-7000-8000-000000000000"
    with pytest.raises(NotFoundError, match="whatif: 1 of 2 ids"):
        scene.archive.whatif([scene.ids[0], nothing], features={"temp": 1.0})


def test_what_is_asked_must_be_said(scene: Scene):
    """Nothing different, nobody meant, and half a correction are errors that say what is expected."""
    ask = scene.archive.whatif
    for said, call in (
        ("model=, features=, or source=", lambda: ask(scene.ids[0])),
        ("expected predictions", lambda: ask(model="delay")),
        ("values=", lambda: ask(source="weather", rows=[1], steps=scene.prepare)),
        ("steps=", lambda: ask(source="weather", rows=[1], values={"temp": 1.0})),
        ("expected source=", lambda: ask(scene.ids[0], values={"temp": 1.0}, model="delay")),
    ):
        with pytest.raises(QueryError, match=said):
            call()
    with pytest.raises(ColumnError, match="weather has no column 'temperature'"):
        ask(source="weather", rows=[1], values={"temperature": 1.0}, steps=scene.prepare)
    with pytest.raises(NotFoundError):
        ask("ffff", features={"temp": 1.0})
    with pytest.raises(PreparationError, match="KeyError"):
        ask(
            source="weather",
            rows=[1],
            values={"temp": 1.0},
            steps=lambda weather: weather["nothing"],
            predictions=scene.ids[0],
        )


def test_what_cannot_be_run_is_counted_with_its_reason(tmp_path):
    """Sealed predictions without a purpose are not computed; counts add up; with one they are, and the log says so."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        table = loans()
        frame = archive.source(table, "loans", key="loan", subject="loan")
        features, rows = archive.split(frame, ["amount", "years"])
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression().fit(features, table["paid"])
        version = archive.register(model, name="credit", rows=rows, trusted=())
        ids = archive.predict(version, features, rows=rows).wait("sealed").ids
        answer = archive.whatif(ids[:3], features={"amount": 1.0})
        assert answer.counts == {"asked": 3, "decisions": 0, "features": 0, "not_computed": 3, "outputs": 0}
        assert "sealed" in next(iter(answer.not_computed))
        hidden = archive.whatif(source="loans", rows=[1], values={"amount": 1.0}, steps=lambda loans: loans)
        assert "PARTIAL: sealed predictions or models were not searched" in hidden.cautions[0]
        with pytest.raises(ForbiddenError):
            archive.whatif(source="loans", keys=["loan-0001"], values={"amount": 1.0}, steps=lambda loans: loans)
    with backstory.open(tmp_path / "audit", actor="me", purpose="case 77") as archive:
        answer = archive.whatif(source="loans", keys=["loan-0001"], values={"amount": 999.0}, steps=lambda loans: loans)
        assert moved(answer) == {ids[1]: ["amount"]}
        opened = {entry["question"] for entry in accesses(archive._ledger)}
        assert {"whatif", "impact"} <= opened
