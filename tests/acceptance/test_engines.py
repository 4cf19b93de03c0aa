"""One preparation in five libraries has one lineage, and that lineage is exactly the rows that matter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.archives import ORIGIN
from tests.support.engines import rows_of_frame
from tests.support.lineage import Claimed, claimed_by_all
from tests.support.purchases import FEATURES, PIPELINES, Rows, Tables, arrow, by_hand, changed, double, tables

import backstory
from backstory.archive import Archive
from backstory.lineage.impact import Impact

LOOKED_AT = [0, 31, 62, 93, 150, 205]
"""Predictions whose whole story is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An archive with the predictions of the preparation, and what each is claimed to come from, in their order."""

    archive: Archive
    ids: list[str]
    features: Rows
    claimed: list[Claimed]


@pytest.fixture(scope="module")
def given() -> Tables:
    """The tables everything is made of."""
    return tables()


@pytest.fixture(scope="module")
def runs(given: Tables, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """The preparation in each library, trained on and predicted from."""
    found = {}
    for name, prepare in PIPELINES.items():
        archive = backstory.init(tmp_path_factory.mktemp(name) / "audit", origin=ORIGIN)
        train, test = prepare(archive, arrow(given))
        features, rows = archive.split(train, FEATURES)
        model = archive.register(double, name="double", rows=rows)
        features, rows = archive.split(test, FEATURES)
        ids = list(archive.predict(model, features, rows=rows, method="__call__").wait("sealed").ids)
        claimed = claimed_by_all(archive, "double")
        found[name] = Run(
            archive=archive, ids=ids, features=rows_of_frame(features), claimed=[claimed[identity] for identity in ids]
        )
    yield found
    for run in found.values():
        run.archive.close()


def _features(given: Tables, *, is_train: bool) -> list[list[Any]]:
    return [[line[name] for name in FEATURES] for line in by_hand(given) if line["is_train"] == is_train]


def _reached(run: Run, hits: Impact) -> list[int]:
    """Return which predictions rows reach, by where they are."""
    found = set(hits.predictions["id"].to_pylist())
    assert found <= set(run.ids)
    return [at for at, identity in enumerate(run.ids) if identity in found]


@pytest.mark.parametrize("engine", PIPELINES)
def test_features_are_those_of_plain_lists(engine: str, runs: dict[str, Run], given: Tables):
    """What a model is given in each library is what the preparation by hand gives, for 206 predictions."""
    assert [[row[name] for name in FEATURES] for row in runs[engine].features] == _features(given, is_train=False)


@pytest.mark.parametrize("engine", PIPELINES)
def test_every_library_leads_to_the_same_rows(engine: str, runs: dict[str, Run]):
    """Each prediction leads to the same source rows, directly and through windows and groups."""
    assert runs[engine].claimed == runs["pandas"].claimed


@pytest.mark.parametrize("engine", PIPELINES)
def test_every_library_tells_the_same_story(engine: str, runs: dict[str, Run]):
    """State, grade, values, keys and numbers of members of each reference are the same."""
    told = [
        [
            {part.reference: (part.state, part.grade, part.values, part.key, part.members) for part in story.rows}
            for story in (run.archive.why(run.ids[at]) for at in LOOKED_AT)
        ]
        for run in (runs[engine], runs["pandas"])
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize("engine", PIPELINES)
def test_every_library_has_the_same_impact(engine: str, runs: dict[str, Run]):
    """Rows of every source reach the same predictions, features and models."""
    for source, position in (("old", 8), ("old", 17), ("new", 39), ("shops", 1), ("shops", 6)):
        hits = [run.archive.impact(source, rows=[position]) for run in (runs[engine], runs["pandas"])]
        assert _reached(runs[engine], hits[0]) == _reached(runs["pandas"], hits[1])
        assert hits[0].features == hits[1].features
        assert [model.direct for model in hits[0].models] == [model.direct for model in hits[1].models]


def test_the_archive_verifies(runs: dict[str, Run]):
    """Windows, groups and their rows are found good in a full audit."""
    assert not runs["duckdb"].archive.verify(workers=1).failed


def test_features_follow_from_the_claimed_rows_alone(runs: dict[str, Run], given: Tables):
    """The preparation of the rows an answer names, and no others, gives what was recorded, for every prediction."""
    keys = [(line["tx"], line["tag"]) for line in by_hand(given) if not line["is_train"]]
    for key, claimed, recorded in zip(keys, runs["pandas"].claimed, runs["pandas"].features, strict=True):
        alone = {
            name: [row for position, row in enumerate(rows) if position in claimed.get(name, set())]
            for name, rows in given.items()
        }
        (line,) = (line for line in by_hand(alone) if (line["tx"], line["tag"]) == key)
        assert [line[name] for name in FEATURES] == [recorded[name] for name in FEATURES]


@pytest.mark.parametrize("source", ["old", "new", "shops"])
def test_a_bad_row_reaches_exactly_the_predictions_it_changes(source: str, runs: dict[str, Run], given: Tables):
    """Of every single row of every source `impact` names the predictions whose features another value changes.

    So it misses none and names none too many, and what an answer does not name does not matter.
    """
    before = {is_train: _features(given, is_train=is_train) for is_train in (True, False)}
    run = runs["pandas"]
    for position in range(len(given[source])):
        bad = changed(given, source, position)
        differ = [at for at, row in enumerate(_features(bad, is_train=False)) if row != before[False][at]]
        hits = run.archive.impact(source, rows=[position])
        assert _reached(run, hits) == differ, position
        assert differ == [at for at, rows in enumerate(run.claimed) if position in rows.get(source, set())], position
        is_trained_on = _features(bad, is_train=True) != before[True]
        assert bool(hits.models) is is_trained_on, position


# --- bad rows at every stage ------------------------------------------------------------------------------------------


def test_a_row_that_was_filtered_out_reaches_nothing(runs: dict[str, Run]):
    """Neither a prediction nor a model."""
    assert runs["pandas"].archive.impact("old", rows=[3]).counts == {"predictions": 0, "models": 0, "features": 0}


def test_a_row_no_join_matched_reaches_nothing(runs: dict[str, Run]):
    """The rate of a shop where nobody bought."""
    assert runs["pandas"].archive.impact("shops", rows=[6]).counts == {"predictions": 0, "models": 0, "features": 0}


def test_a_row_of_training_alone_reaches_the_model_alone(runs: dict[str, Run]):
    """A customer and tag that nothing predicted has."""
    assert runs["pandas"].archive.impact("old", rows=[8]).counts == {"predictions": 0, "models": 1, "features": 0}


def test_bad_rows_reach_predictions_by_every_way_there_is(runs: dict[str, Run], given: Tables):
    """By themselves, by a window or a group alone, by several ways at once, and after the join: `impact` says which."""
    ways = {
        frozenset(runs["pandas"].archive.impact(source, rows=[position]).predictions["via"].to_pylist())
        for source, rows in given.items()
        for position in range(min(70, len(rows)))
    }
    planted = [["recent"], ["tag"], ["tag", "recent"], ["old", "recent"], ["new"], ["new", "recent"], ["shops"], []]
    assert set(map(frozenset, planted)) <= ways
    assert {via for via in ways if "shops" in via} == {frozenset(["shops"])}


def test_a_dataset_version_is_the_same_from_every_library(runs: dict[str, Run]):
    """Equal content has an equal digest, of every source, whatever library it was read with."""
    told = [
        {part.digest for part in run.archive.why(run.ids[62]).rows if part.kind == "source"} for run in runs.values()
    ]
    assert len(told[0]) > 1
    assert told == [told[0]] * len(PIPELINES)


def test_windows_are_the_same_version_in_an_archive_again(runs: dict[str, Run], given: Tables):
    """The preparation made a second time, in another library, refers to windows and groups of the same digest."""
    run = runs["arrow"]
    _, test = PIPELINES["duckdb"](run.archive, arrow(given))
    ids = run.archive.predict("double", test, method="__call__").wait("sealed").ids
    first, again = (
        {part.reference: part.digest for part in run.archive.why(name).rows if part.reference in ("recent", "shops")}
        for name in (run.ids[62], ids[62])
    )
    assert first == again
