"""Ids that are valid and on wrong rows: found by a look at the values."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import backstory
from backstory.archive import Archive
from backstory.lineage.refs import LineageWarning


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """Return an archive with a model that takes anything."""
    with backstory.init(tmp_path / "audit", origin="example.org/canary") as archive:
        archive.register(lambda table: np.ones(len(table)), name="one")
        yield archive


def claims() -> pd.DataFrame:
    """Return rows whose largest values of one customer stand in different rows."""
    rng = np.random.default_rng(0)
    amount, age = rng.integers(1, 1_000, 300), rng.integers(18, 90, 300)
    return pd.DataFrame({"customer": np.arange(300) % 60, "amount": amount, "age": age.astype(float)})


def grade(archive: Archive, frame: Any) -> str:
    """Return the grade with which a prediction for the last row of a frame is recorded."""
    ids = archive.predict("one", frame, method="__call__").ids
    (row,) = archive.why(ids[-1]).rows
    return row.grade


@pytest.mark.parametrize(
    "mix",
    [
        lambda frame: frame.groupby("customer", as_index=False).max(),
        lambda frame: frame.groupby("customer", as_index=False).first().assign(age=lambda t: np.sort(t.age)),
        lambda frame: frame.assign(amount=frame.groupby("customer").amount.transform("max")),
        lambda frame: pl.from_pandas(frame).group_by("customer").max(),
    ],
    ids=["max", "sorted alone", "transform", "polars"],
)
def test_rows_put_together_from_several_are_not_exact(archive: Archive, mix: Any):
    """An aggregation that was no group() leaves valid ids beside other rows' values: a warning, and a coarse edge."""
    with pytest.warns(LineageWarning, match="wrong rows"):
        assert grade(archive, mix(archive.source(claims(), "claims"))) == "coarse"


@pytest.mark.parametrize(
    "keep",
    [
        lambda frame: frame.sample(frac=0.5, random_state=0),
        lambda frame: frame.assign(log_amount=np.log(frame.amount)),
        lambda frame: frame.assign(age=frame.age.fillna(40.0)).astype({"age": "float32"}),
        lambda frame: frame.merge(pd.DataFrame({"customer": range(60), "age_of_contract": 3}), on="customer"),
    ],
    ids=["sample", "new column", "filled", "joined"],
)
def test_rows_that_stayed_whole_are_exact(archive: Archive, keep: Any):
    """Filters, new columns, joins and filled gaps change no value a source has: the edge is exact, without a word."""
    frame = claims()
    frame.loc[::7, "age"] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error", LineageWarning)
        assert grade(archive, keep(archive.source(frame, "claims"))) == "exact"


def test_a_column_changed_throughout_is_the_callers_word(archive: Archive):
    """A scaled column agrees nowhere; that its rows are still in order nothing shows, so the edge is declared."""
    frame = archive.source(claims(), "claims")
    assert grade(archive, frame.assign(age=frame.age / 100)) == "declared"


def test_sources_of_an_earlier_session_are_compared_too(tmp_path: Path):
    """Rows of a source that was fixed, and kept, by another process."""
    with backstory.init(tmp_path / "audit", origin="example.org/canary") as archive:
        archive.register(lambda table: np.ones(len(table)), name="one")
        frame = archive.source(claims(), "claims", subject="customer")
        archive.predict("one", frame, method="__call__")
    mixed = frame.groupby("customer", as_index=False).max()
    with backstory.open(tmp_path / "audit") as archive:
        archive.register(lambda table: np.zeros(len(table)), name="none")
        with pytest.warns(LineageWarning):
            archive.predict("none", mixed, method="__call__")
