"""One preparation of flights, weather, planes and the mean delay of a route, with and without Backstory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.flights import FEATURES

if TYPE_CHECKING:
    import pandas as pd

    from backstory.archive import Archive
    from backstory.lineage.refs import RowRefs

LAST_TRAINING_DAY = 4
ROUTE = ["origin", "dest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Features for training and for predicting, with row references, and the target of training."""

    train: pd.DataFrame
    train_rows: RowRefs
    target: pd.Series
    test: pd.DataFrame
    test_rows: RowRefs


def joined(flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    """Join the three tables; ids ride along where there are any."""
    flown = flights[flights["dep_time"].notna() & flights["arr_delay"].notna()]
    frame = flown.merge(weather, on=["origin", "time_hour"], how="left")
    return frame.merge(planes, on="tailnum", how="left")


def plain_features(flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    """Return the features of the flights to predict, made by pandas alone."""
    frame = joined(flights, weather, planes)
    train = frame[frame["day"] <= LAST_TRAINING_DAY]
    routes = train.groupby(ROUTE, as_index=False).agg(route_mean=("arr_delay", "mean"), route_n=("arr_delay", "count"))
    frame = frame.merge(routes, on=ROUTE, how="left")
    return frame.loc[frame["day"] > LAST_TRAINING_DAY, FEATURES]


def traced_features(archive: Archive, flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> Prepared:
    """Do the same with ids: fix the three sources, group through the archive, split."""
    frame = joined(
        archive.source(flights, "flights"),
        archive.source(weather, "weather", key=["origin", "time_hour"]),
        archive.source(planes, "planes", key="tailnum"),
    )
    train = frame[frame["day"] <= LAST_TRAINING_DAY]
    routes = archive.group(train, ROUTE, name="route", route_mean=("arr_delay", "mean"), route_n=("arr_delay", "count"))
    frame = frame.merge(routes, on=ROUTE, how="left")
    train, test = frame[frame["day"] <= LAST_TRAINING_DAY], frame[frame["day"] > LAST_TRAINING_DAY]
    train_features, train_rows = archive.split(train, FEATURES)
    test_features, test_rows = archive.split(test, FEATURES)
    return Prepared(
        train=train_features,
        train_rows=train_rows,
        target=train["arr_delay"],
        test=test_features,
        test_rows=test_rows,
    )
