"""From source rows forward: parts, versions, groups of one name, rows about nobody under predictions about somebody."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backstory.archive import Archive
from backstory.lineage.store import source_versions


def _twice(table: pd.DataFrame) -> np.ndarray:
    return table.iloc[:, 0].to_numpy() * 2.0


def _predict(archive: Archive, frame: pd.DataFrame, **options: str) -> list[str]:
    """Predict from every row of a source and return the ids."""
    version = archive.register(_twice, name="twice")
    features, rows = archive.split(frame, ["a"])
    return list(archive.predict(version, features, rows=rows, method="__call__", **options).ids)


def _reached(archive: Archive, **rows: object) -> list[str]:
    archive.flush()
    return archive.impact("t", **rows).predictions["id"].to_pylist()


def _table(factor: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(5.0) * factor})


def test_positions_are_of_the_version_recorded_last(archive: Archive):
    """A version whose rows were recorded before is the newest again."""
    for factor in (1, 2, 1):
        ids = _predict(archive, archive.source(_table(factor), "t"))
    assert ids[3] in _reached(archive, rows=[3])


def test_parts_with_equal_rows_are_told_apart(archive: Archive):
    """Two parts that hold the same rows reach their own predictions only."""
    may = _predict(archive, archive.source(_table(), "t", part="may"))
    june = _predict(archive, archive.source(_table(), "t", part="june"))
    assert (_reached(archive, rows=[2]), _reached(archive, rows=[7])) == ([may[2]], [june[2]])


def test_a_predicate_chooses_rows_of_every_part(archive: Archive):
    """What fits in parts with equal rows is reached in all of them."""
    ids = [_predict(archive, archive.source(_table(), "t", part=part))[2] for part in ("may", "june")]
    assert sorted(_reached(archive, where="a = 2")) == sorted(ids)


def test_parts_recorded_in_another_order_are_one_version(archive: Archive):
    """The second part used first does not lose its place when the first is used."""
    parts = [archive.source(_table(), "t", part=part) for part in ("may", "june")]
    june, may = _predict(archive, parts[1]), _predict(archive, parts[0])
    assert (_reached(archive, rows=[2]), _reached(archive, rows=[7])) == ([may[2]], [june[2]])


@pytest.mark.parametrize(("firsts", "sizes"), [([0, 5], [2]), ([5, 0], [2]), ([0, 5, 0], [2, 1]), ([0, 0, 5], [1, 2])])
def test_a_part_that_is_there_already_begins_a_version(firsts, sizes):
    """Entries of parts group into versions whose positions are disjoint."""
    entries = [{"first": str(first), "part": "p", "rows": "5"} for first in firsts]
    assert [len(version) for version in source_versions(entries)] == sizes


def test_groups_of_one_name_are_told_apart(archive: Archive):
    """A row reaches by each of two groupings of one name what that grouping mixed it into."""
    numbers = np.arange(20)
    frame = archive.source(pd.DataFrame({"g": numbers % 2, "h": numbers % 10, "v": numbers * 1.0}), "t")
    for key in ("g", "h"):
        grouped = archive.group(frame, key, name="route", a=("v", "mean"))
        _predict(archive, frame.merge(grouped, on=key))
    assert len(set(_reached(archive, rows=[0]))) == 10 + 2


@pytest.mark.parametrize("sealed", [True, False])
def test_open_rows_of_a_prediction_about_a_person_are_reached(archive: Archive, sealed):
    """A reference to a source about nobody is open, whoever the prediction is about."""
    ids = _predict(archive, archive.source(_table(), "t"), subject="somebody")
    if sealed:
        archive.flush()
    hits = archive.impact("t", rows=[2])
    assert (hits.predictions["id"].to_pylist(), hits.sealed) == ([ids[2]], 0)
