"""Sets of rows and edge tables: the sizes of the files an archive keeps, and what noting a step's rows costs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from backstory.archive import Archive
from backstory.frames.row_set import RowSet
from backstory.lineage.row_sets import keep_row_set
from backstory.lineage.store import positions_table
from benchmarks.measure import Row, timed_in_turn

ROWS = 10_000_000
GROUPED_ROWS = 1_000_000
GROUPS = 200_000
ROUNDS = 7


def row_set_rows(archive: Archive, flights: pd.DataFrame) -> list[Row]:
    """Return the sizes of training sets and edge tables as kept, and the cost of a step.

    Args:
        archive: An open archive.
        flights: The demo's flights.
    """
    return [*_training_sets(archive), *_edge_tables(archive), _step(archive, flights)]


def _training_sets(archive: Archive) -> Iterator[Row]:
    rng = np.random.default_rng(0)
    for what, mask, limit in (
        ("a random 80%", rng.random(ROWS) < 0.8, 1_500_000),
        ("split by time", np.arange(ROWS) < ROWS * 8 // 10, 1_000),
    ):
        digest = keep_row_set(archive._ledger, RowSet.of_mask(mask))["row_set"]  # noqa: SLF001  what `register` does
        size = archive._ledger.blobs.path(str(digest)).stat().st_size  # noqa: SLF001
        target = f"< {limit:,} bytes"
        yield Row(what=f"training rows of 10 M, {what}", value=f"{size:,} bytes", target=target, met=size < limit)


def _edge_tables(archive: Archive) -> Iterator[Row]:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, GROUPS, GROUPED_ROWS).astype(np.uint32)
    for what, codes in (("in any order", groups), ("sorted by group", np.sort(groups))):
        table = positions_table({"rows": np.arange(GROUPED_ROWS)}).add_column(0, "group", pa.array(codes))
        digest = archive._store.keep_positions(table)["edges"]  # noqa: SLF001
        size = archive._ledger.blobs.path(str(digest)).stat().st_size / GROUPED_ROWS  # noqa: SLF001
        named = f"edge table of {GROUPED_ROWS:,} rows in {GROUPS:,} groups, {what}"
        yield Row(what=named, value=f"{size:.2f} bytes a row", target="<= 3", met=size <= 3)


def _step(archive: Archive, flights: pd.DataFrame) -> Row:
    frame = archive.source(flights, "flights_for_step")

    def clean(given: pd.DataFrame) -> pd.DataFrame:
        return given[given.dep_delay.notna()].merge(carriers, on="carrier").sort_values(["origin", "dest"])

    carriers = pd.DataFrame({"carrier": sorted(set(flights.carrier))}).assign(size=1.0)
    step = archive.step(clean)
    pairs = timed_in_turn(lambda: step(frame), lambda: clean(frame), ROUNDS)
    ratio = statistics.median(noted / plain for noted, plain in pairs)
    noted = statistics.median(noted - plain for noted, plain in pairs) * 1e3
    value = f"{ratio:.3f}x (+{noted:.0f} ms)"
    return Row(what="a step over the flights / the plain function", value=value, target="<= 1.15x", met=ratio <= 1.15)
