"""One logical pipeline has one lineage, whatever library carries it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.archives import ORIGIN
from tests.support.lineage import claimed_rows

import backstory
from backstory.archive import Archive

TRIPS = pd.DataFrame(
    {
        "trip": [f"t{number}" for number in range(12)],
        "zone": ["a", "b", "a", "c", "b", "a", "d", "c", "a", "b", "d", "e"],
        "km": [3.0, 8.5, 1.25, 4.0, 9.0, 2.0, 7.0, 5.5, 3.5, 6.0, 1.0, 2.5],
    }
)
ZONES = pd.DataFrame({"zone": ["a", "b", "c", "d"], "price": [1.5, 2.0, 2.5, 3.0]})
"""No price for zone e: its trip matches no row."""


def _score(frame: Any) -> np.ndarray:
    return np.asarray(frame["km"]) * 2.0


def _pandas(archive: Archive) -> Any:
    trips, zones = archive.source(TRIPS, "trips", key="trip"), archive.source(ZONES, "zones", key="zone")
    long = trips[trips["km"] > 1.0]
    means = archive.group(long, "zone", name="mean", mean_km=("km", "mean"))
    return long.merge(zones, on="zone", how="left").merge(means, on="zone").sort_values("trip")


def _polars(archive: Archive) -> Any:
    trips = archive.source(pl.from_pandas(TRIPS), "trips", key="trip")
    zones = archive.source(pl.from_pandas(ZONES), "zones", key="zone")
    long = trips.filter(pl.col("km") > 1.0)
    means = archive.group(long, "zone", name="mean", mean_km=("km", "mean"))
    return long.join(zones, on="zone", how="left").join(means, on="zone").sort("trip")


def _lazy(archive: Archive) -> Any:
    trips = archive.source(pl.from_pandas(TRIPS).lazy(), "trips", key="trip")
    zones = archive.source(pl.from_pandas(ZONES).lazy(), "zones", key="zone")
    long = trips.filter(pl.col("km") > 1.0)
    means = archive.group(long, "zone", name="mean", mean_km=("km", "mean"))
    return long.join(zones, on="zone", how="left").join(means, on="zone").sort("trip")


def _arrow(archive: Archive) -> Any:
    trips = archive.source(pa.Table.from_pandas(TRIPS, preserve_index=False), "trips", key="trip")
    zones = archive.source(pa.Table.from_pandas(ZONES, preserve_index=False), "zones", key="zone")
    long = trips.filter(pa.compute.field("km") > 1.0)
    means = archive.group(long, "zone", name="mean", mean_km=("km", "mean"))
    joined = long.join(zones, "zone", join_type="left outer").join(means, "zone", join_type="inner")
    return joined.sort_by("trip")


def _told(path: Path, prepare: Any) -> list[dict[str, Any]]:
    """Run a pipeline and return, trip by trip, what the archive says each prediction was made from."""
    with backstory.init(path, origin=ORIGIN) as archive:
        features, rows = archive.split(prepare(archive), ["km", "price", "mean_km"])
        model = archive.register(_score, name="fare", rows=rows)
        ids = archive.predict(model, features, rows=rows, method="__call__").wait("sealed").ids
        told = []
        for name in ids:
            story = archive.why(name)
            parts = {row.reference: (row.state, row.grade, row.values, row.members) for row in story.rows}  # noqa: PD011  a story is no frame
            told.append({"rows": parts, "claimed": claimed_rows(archive, name), "output": story.output})
        return told


@pytest.fixture(scope="module")
def by_pandas(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What is told of the pandas pipeline."""
    return _told(tmp_path_factory.mktemp("same") / "audit", _pandas)


@pytest.mark.parametrize("prepare", [_polars, _lazy, _arrow])
def test_other_libraries_lead_to_the_same_rows(prepare: Any, by_pandas: list[dict[str, Any]], tmp_path: Path):
    """Source rows, group members, states and grades of every prediction are those of the pandas pipeline."""
    assert _told(tmp_path / "audit", prepare) == by_pandas


def test_the_rows_are_the_right_ones(by_pandas: list[dict[str, Any]]):
    """Each prediction names its own trip, its zone if it has a price, and the trips of its zone."""
    long = TRIPS[TRIPS["km"] > 1.0].sort_values("trip")
    for trip, told in zip(long.to_dict("records"), by_pandas, strict=True):
        parts = told["rows"]
        assert parts["trips"][2] == trip
        assert parts["zones"][0] == ("no row" if trip["zone"] == "e" else "row")
        same_zone = set(TRIPS.index[(TRIPS["zone"] == trip["zone"]) & (TRIPS["km"] > 1.0)])
        assert told["claimed"]["trips"] == same_zone


def test_a_dataset_version_is_the_same_from_every_library(tmp_path: Path):
    """Equal content has an equal digest."""
    digests = set()
    tables = [
        TRIPS,
        pl.from_pandas(TRIPS),
        pl.from_pandas(TRIPS).lazy(),
        pa.Table.from_pandas(TRIPS, preserve_index=False),
    ]
    for number, table in enumerate(tables):
        with backstory.init(tmp_path / str(number), origin=ORIGIN) as archive:
            features, rows = archive.split(archive.source(table, "trips", key="trip"), ["km"])
            version = archive.register(_score, name="fare", rows=rows)
            name = archive.predict(version, features, rows=rows, method="__call__").ids[0]
            digests.add(archive.why(name).rows[0].digest)
    assert len(digests) == 1
