"""Questions over much: `why` through joins and groups, and `impact` over millions of predictions."""

from __future__ import annotations

import io
import resource
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd

import backstory
from backstory.archive import Archive
from benchmarks.measure import Row, median_seconds, seconds

FLIGHTS = 1_000_000
HOURS, ROUTES, CARRIERS, PLANES = 26_000, 500, 16, 3_000
BATCH_ROWS = 100_000
FLUSHES = 10
CALLS = 50
RUNS = 5


def question_rows(predictions: int) -> list[Row]:
    """Return what questions take in an archive of so many predictions from three joins and two groups."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive"
        with redirect_stdout(io.StringIO()), backstory.init(path, origin="example.org/bench") as archive:
            ids = _fill(archive, predictions)
        with backstory.open(path, mode="r") as archive:
            cold = seconds(lambda: archive.impact("weather", keys=HOURS // 2))
            return [*_impact(archive, predictions, cold), _why(archive, ids)]


def _why(archive: Archive, ids: list[str]) -> Row:
    archive.why(ids[0])
    times = sorted(seconds(lambda one=one: archive.why(one)) for one in ids[-CALLS:])  # type: ignore[misc]
    middle = times[len(times) // 2]
    what = "why through three joins and two groups, warm, p50"
    return Row(what=what, value=f"{middle * 1e3:.1f} ms", target="<= 20 ms", met=middle <= 0.020)


def _impact(archive: Archive, predictions: int, cold: float) -> list[Row]:
    of_row = median_seconds(lambda: archive.impact("weather", keys=HOURS // 2), RUNS)
    of_group = median_seconds(lambda: archive.impact("flights", rows=FLIGHTS // 2), RUNS)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    over = f"over {predictions:,} predictions"
    return [
        Row(
            what=f"impact of one row {over}, warm",
            value=f"{of_row:.2f} s (cold, every byte checked, {cold:.2f} s)",
            target="<= 1 s",
            met=of_row <= 1,
        ),
        Row(
            what=f"impact of one row through two groups {over}, warm",
            value=f"{of_group:.2f} s (peak memory of the process so far {memory:,.0f} MiB)",
            target="<= 1 s",
            met=of_group <= 1,
        ),
    ]


def _fill(archive: Archive, predictions: int) -> list[str]:
    """Record so many predictions; return the ids of the last batch."""
    random = np.random.default_rng(0)
    flights = pd.DataFrame(
        {
            "hour": random.integers(0, HOURS, FLIGHTS),
            "route": random.integers(0, ROUTES, FLIGHTS),
            "carrier": random.integers(0, CARRIERS, FLIGHTS),
            "plane": random.integers(0, PLANES, FLIGHTS),
            "distance": random.random(FLIGHTS).round(2),
        }
    )
    fixed = archive.source(flights, "flights")
    frame = fixed
    for name, key, rows in (("weather", "hour", HOURS), ("planes", "plane", PLANES), ("carriers", "carrier", CARRIERS)):
        table = pd.DataFrame({key: np.arange(rows), f"of_{name}": random.random(rows).round(2)})
        frame = frame.merge(archive.source(table, name, key=key), on=key, how="left")
    for key in ("route", "carrier"):
        grouped = archive.group(fixed, key, name=f"{key}_means", **{f"{key}_mean": ("distance", "mean")})
        frame = frame.merge(grouped, on=key, how="left")
    columns = ["distance", "of_weather", "of_planes", "of_carriers", "route_mean", "carrier_mean"]
    archive.register(_score, name="score")
    ids: list[str] = []
    for first in range(0, predictions, BATCH_ROWS):
        begin = first % FLIGHTS
        features, rows = archive.split(frame.iloc[begin : begin + BATCH_ROWS], columns)
        made = archive.predict("score", features, rows=rows, method="__call__")
        if (first // BATCH_ROWS) % FLUSHES == FLUSHES - 1:
            archive.flush()
        ids = [made.ids[place] for place in range(0, len(made), len(made) // CALLS)]
    archive.flush()
    return ids


def _score(features: pd.DataFrame) -> np.ndarray:
    return features["of_weather"].to_numpy() * 2.0
