"""The lineage claimed is the lineage there is: found out by changing source rows and preparing everything again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support import flights as data
from tests.support.archives import ORIGIN
from tests.support.lineage import claimed_rows, member_rows
from tests.support.pipeline import plain_features, traced_features

import backstory

if TYPE_CHECKING:
    import pandas as pd

    from backstory.archive import Archive

PREDICTIONS = 50
INFLUENCES = {"flights": ["distance", "dep_delay", "arr_delay"], "weather": ["temp", "wind_speed"], "planes": ["seats"]}
"""Columns of each source that reach a feature and decide neither joins nor filters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An archive with the predictions of the pipeline, and what they were made from."""

    archive: Archive
    tables: dict[str, pd.DataFrame]
    features: pd.DataFrame
    ids: list[str]
    chosen: list[int]
    """Rows of `features` that are looked at."""
    claimed: dict[int, dict[str, set[int]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Predictions of one week's flights, and the claimed lineage of 50 of them."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    tables = {"flights": data.flights(), "weather": data.weather(), "planes": data.planes()}
    with backstory.init(tmp_path_factory.mktemp("oracle") / "audit", origin=ORIGIN) as archive:
        prepared = traced_features(archive, **tables)
        model = HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(prepared.train, prepared.target)
        version = archive.register(model, name="delay", rows=prepared.train_rows, target=prepared.target)
        ids = list(archive.predict(version, prepared.test, rows=prepared.test_rows).wait("sealed").ids)
        chosen = np.random.default_rng(7).choice(len(ids), PREDICTIONS, replace=False).tolist()
        yield Run(
            archive=archive,
            tables=tables,
            features=prepared.test,
            ids=ids,
            chosen=chosen,
            claimed={row: claimed_rows(archive, ids[row]) for row in chosen},
        )


def _changed(table: pd.DataFrame, columns: list[str], rows: list[int]) -> pd.DataFrame:
    """Return a table with other numbers in some rows; a null stays a null."""
    table = table.copy()
    for column in columns:
        values = table[column].astype("float64").to_numpy(copy=True)
        values[rows] += 1_000.5
        table[column] = values
    return table


def _features(run: Run, changed: dict[str, list[int]]) -> pd.DataFrame:
    tables = {name: _changed(table, INFLUENCES[name], changed.get(name, [])) for name, table in run.tables.items()}
    return plain_features(**tables)


def test_the_pipeline_with_ids_gives_the_features_of_the_plain_one(run: Run):
    """Tracing the preparation changes no feature."""
    plain = plain_features(**run.tables)
    assert plain.equals(run.features)


def test_rows_outside_the_claimed_lineage_never_matter(run: Run):
    """Changing every row an answer does not name leaves the features of the prediction as they were, to the bit."""
    before = _features(run, {})
    for row in run.chosen:
        outside = {
            name: sorted(set(range(len(table))) - run.claimed[row].get(name, set()))
            for name, table in run.tables.items()
        }
        after = _features(run, outside)
        assert after.iloc[row].equals(before.iloc[row]), run.ids[row]


@pytest.mark.parametrize("source", ["flights", "weather", "planes"])
def test_every_row_inside_the_claimed_lineage_matters(run: Run, source: str):
    """Changing one row an answer names changes the features of the prediction."""
    before = _features(run, {})
    draw = np.random.default_rng(11)
    tried = 0
    for row in run.chosen:
        rows = sorted(run.claimed[row].get(source, set()))
        for inside in draw.permutation(rows)[:2].tolist():
            after = _features(run, {source: [inside]})
            assert not after.iloc[row].equals(before.iloc[row]), (run.ids[row], inside)
            tried += 1
    assert tried >= PREDICTIONS // 5


def test_the_groups_value_follows_from_its_traced_rows(run: Run):
    """The mean over the rows the route group names is the recorded feature, exactly; so is their number."""
    grouped = 0
    for row in run.chosen:
        members = member_rows(run.archive, run.ids[row], "route").get("flights", set())
        recorded = run.archive.why(run.ids[row]).features
        delays = run.tables["flights"].iloc[sorted(members)].groupby(["origin", "dest"])["arr_delay"]
        if members:
            assert delays.mean().tolist() == [recorded["route_mean"]]
            assert delays.count().tolist() == [recorded["route_n"]]
            grouped += 1
        else:
            assert recorded["route_mean"] is None or np.isnan(recorded["route_mean"])
    assert grouped >= PREDICTIONS // 2


def test_only_sources_a_group_aggregates_are_its_members(run: Run):
    """Weather and planes ride along in the frame and have no part in a mean of arrival delays."""
    for row in run.chosen:
        assert set(member_rows(run.archive, run.ids[row], "route")) <= {"flights"}


def test_a_flight_without_weather_names_no_weather_row(run: Run):
    """The empty side of a left join is said to be empty."""
    table = run.tables["flights"]
    for row in run.chosen:
        story = {part.reference: part for part in run.archive.why(run.ids[row]).rows}
        matched = table.loc[story["flights"].position, "origin"] == "EWR"
        assert story["weather"].state == ("row" if matched else "no row")


def test_impact_answers_the_same_from_the_other_end(run: Run):
    """Predictions `impact` finds for a weather row are those whose stories name it."""
    position = next(min(claimed["weather"]) for claimed in run.claimed.values() if claimed.get("weather"))
    found = set(run.archive.impact("weather", rows=[position]).predictions["id"].to_pylist())
    expected = {run.ids[row] for row in run.chosen if position in run.claimed[row].get("weather", set())}
    assert expected
    assert {run.ids[row] for row in run.chosen} & found == expected


def test_impact_reaches_predictions_through_groups(run: Run):
    """A training flight reaches exactly the predictions whose route group it went into."""
    row = next(row for row in run.chosen if len(run.claimed[row]["flights"]) > 1)
    members = member_rows(run.archive, run.ids[row], "route")["flights"]
    hits = run.archive.impact("flights", rows=[min(members)])
    found = set(hits.predictions["id"].to_pylist())
    expected = {run.ids[other] for other in run.chosen if min(members) in run.claimed[other]["flights"]}
    assert {run.ids[other] for other in run.chosen} & found == expected
    assert set(hits.features) >= {"route_mean", "route_n"}


def test_the_archive_verifies(run: Run, tmp_path: Path):
    """After all of this the archive verifies."""
    assert not run.archive.verify(workers=1).failed
