"""Flags: what it costs to compare what a model is given with what it was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from backstory.frames.profile import profile_of
from backstory.frames.watch import Watch
from benchmarks.measure import Row, seconds

RUNS = 5
ROWS = 300_000
RECORDS = 20_000
NUMBERS, COUNTS, TEXTS = 14, 3, 3
RECORD_US_MAX = 5.0


def trained() -> pa.Table:
    """Return features of several kinds: floats, whole numbers, texts."""
    draw = np.random.default_rng(0)
    columns: dict[str, Any] = {f"number_{i}": draw.normal(size=ROWS) for i in range(NUMBERS)}
    columns |= {f"count_{i}": draw.integers(0, 100, ROWS) for i in range(COUNTS)}
    columns |= {f"text_{i}": draw.choice(["red", "green", "blue"], ROWS) for i in range(TEXTS)}
    return pa.table(columns)


def flag_rows() -> list[Row]:
    """Return what flags cost, of one prediction and of a batch."""
    features = trained()
    profile = min(seconds(lambda: profile_of([features])) for _ in range(2))
    watch = Watch(profile_of([features]), None)
    record = features.slice(0, 1).to_pylist()[0]
    single = min(seconds(lambda: [watch.record(record) for _ in range(RECORDS)]) for _ in range(RUNS)) / RECORDS * 1e6
    batch = min(seconds(lambda: watch.table(features)) for _ in range(RUNS))
    width = features.num_columns
    return [
        Row(
            what=f"flags of one prediction, {width} features",
            value=f"{single:.1f} us",
            target=f"<= {RECORD_US_MAX:.0f} us",
            met=single <= RECORD_US_MAX,
        ),
        Row(what=f"flags of a batch of {ROWS:,}, {width} features", value=f"{batch / ROWS * 1e9:.0f} ns a row"),
        Row(what=f"profile of {ROWS:,} training rows, {width} features", value=f"{profile:.2f} s"),
    ]
