"""`FeastAsOf` over a real feature store with files: rows as they were. Run by `make feast`, in its own environment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from feast.types import Float64

import backstory
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType

VIEW = ["stats:spend"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with one view: what customers spend, as it was known from two moments on."""
    folder = tmp_path_factory.mktemp("feast")
    moments = pd.to_datetime(["2026-01-01", "2026-03-01", "2026-02-01"], utc=True)
    rows = pd.DataFrame({"cust": ["c-1", "c-1", "c-2"], "spend": [10.0, 25.5, 7.0], "event_timestamp": moments})
    rows.to_parquet(folder / "stats.parquet")
    config = RepoConfig(
        project="demo",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    customer = Entity(name="cust", join_keys=["cust"], value_type=ValueType.STRING)
    source = FileSource(path=str(folder / "stats.parquet"), timestamp_field="event_timestamp")
    fields = [Field(name="spend", dtype=Float64)]
    store.apply(
        [
            customer,
            FeatureView(name="stats", entities=[customer], ttl=timedelta(days=3650), schema=fields, source=source),
        ]
    )
    return store


@pytest.mark.parametrize(
    ("key", "at", "row"),
    [
        ("c-1", datetime(2026, 2, 1, tzinfo=UTC), {"spend": 10.0}),
        ({"cust": "c-1"}, datetime(2026, 4, 1, tzinfo=UTC), {"spend": 25.5}),
        ("c-9", datetime(2026, 4, 1, tzinfo=UTC), None),
        ("c-2", datetime(2026, 1, 1, tzinfo=UTC), None),
    ],
)
def test_features_are_as_they_were(store, key, at, row):
    """By entity and moment; none where there were none."""
    assert backstory.FeastAsOf(store, VIEW, entity="cust").fetch(key, version=None, at=at) == row


def test_a_prediction_names_what_it_used(store, tmp_path):
    """And `why` fetches it again."""
    with backstory.init(tmp_path / "audit", origin="example.org/feast") as archive:
        with archive.prediction() as prediction:
            prediction.uses("stats", key="c-1", at=datetime(2026, 2, 1, tzinfo=UTC), values={"spend": 10.0})
            prediction.output(0.4)
        archive.resolvers["stats"] = backstory.FeastAsOf(store, VIEW, entity="cust")
        assert archive.why(prediction.id).online[0].state == "same"
