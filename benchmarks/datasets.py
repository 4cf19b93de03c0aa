"""Datasets: what it costs to say what a table is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backstory.frames.fingerprint import fingerprint
from backstory.frames.profile import profile_of
from backstory.frames.table import to_arrow
from benchmarks.measure import Row, seconds

if TYPE_CHECKING:
    import pandas as pd

RUNS = 5
ROOTS_US_MAX = 5


def dataset_rows(flights: pd.DataFrame) -> list[Row]:
    """Return what the identity and the profile of a table of 19 columns cost in one process."""
    table = to_arrow(flights)
    shape = f"{table.num_rows:,} x {table.num_columns}"
    roots, profile = (
        min(seconds(function) for _ in range(RUNS)) / table.num_rows * 1e6
        for function in (lambda: fingerprint(table), lambda: profile_of([table]))
    )
    return [
        Row(
            what=f"both roots and all column digests of the flights, {shape}",
            value=f"{roots:.2f} us a row",
            target=f"<= {ROOTS_US_MAX} us",
            met=roots <= ROOTS_US_MAX,
        ),
        Row(what="profile of the flights", value=f"{profile:.2f} us a row"),
    ]
