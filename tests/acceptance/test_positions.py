"""Whatever is done to a frame, every resolved row is the source row it came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from backstory.lineage.source import Sources
from backstory.lineage.split import split

OPERATIONS = st.sampled_from(["filter", "sort", "sample", "concat", "inner join", "left join", "head", "shuffle"])


@st.composite
def _tables(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw two tables with a payload that is unique a row, and a key they share."""
    sizes = draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    tables = []
    for name, size in zip("ab", sizes, strict=True):
        keys = draw(st.lists(st.integers(0, 6), min_size=size, max_size=size))
        tables.append(pd.DataFrame({"k": keys, name: np.arange(size, dtype="int64") * 1_000 + 7}))
    return tables[0], tables[1]


def _pandas_step(frame: pd.DataFrame, other: pd.DataFrame, operation: str, seed: int) -> pd.DataFrame:
    if operation == "filter":
        return frame[frame["k"] != seed % 7]
    if operation == "sort":
        return frame.sort_values(["k", "a"], ascending=[bool(seed % 2), False])
    if operation == "sample":
        return frame.sample(frac=1.5, replace=True, random_state=seed) if len(frame) else frame
    if operation == "concat":
        return pd.concat([frame, frame.iloc[::-1]], ignore_index=bool(seed % 2))
    if operation == "head":
        return frame.head(1 + seed % 10)
    if operation == "shuffle":
        return frame.sample(frac=1.0, random_state=seed).reset_index(drop=True)
    return frame.merge(other, on="k", how=operation.split(maxsplit=1)[0])


def _polars_step(frame: pl.DataFrame, other: pl.DataFrame, operation: str, seed: int) -> pl.DataFrame:
    if operation == "filter":
        return frame.filter(pl.col("k") != seed % 7)
    if operation == "sort":
        return frame.sort(["k", "a"], descending=[bool(seed % 2), False])
    if operation == "sample":
        return frame.sample(fraction=1.5, with_replacement=True, seed=seed) if len(frame) else frame
    if operation == "concat":
        return pl.concat([frame, frame.reverse()])
    if operation == "head":
        return frame.head(1 + seed % 10)
    if operation == "shuffle":
        return frame.sample(fraction=1.0, shuffle=True, seed=seed)
    return frame.join(other, on="k", how=operation.split(maxsplit=1)[0])


def _run(frame: Any, other: Any, steps: list[tuple[str, int]], step: Any) -> Any:
    for operation, seed in steps:
        if "join" not in operation or "b" not in frame.columns:
            frame = step(frame, other, operation, seed)
    return frame


def _check(sources: Sources, frame: Any, tables: dict[str, pd.DataFrame]) -> None:
    """Insist that each reference leads to the source row with the payload of the frame's row."""
    _, rows = split(sources, frame)
    for name, table in tables.items():
        if name not in rows.names:
            continue
        positions = rows.positions[name]
        payload = np.asarray(frame[name].to_numpy(), dtype="float64")
        matched = positions >= 0
        assert (matched == ~np.isnan(payload)).all()
        assert (table[name].to_numpy()[positions[matched]] == payload[matched]).all()


@given(tables=_tables(), steps=st.lists(st.tuples(OPERATIONS, st.integers(0, 99)), max_size=6))
def test_pandas_rows_resolve_to_their_source_rows(
    tables: tuple[pd.DataFrame, pd.DataFrame], steps: list[tuple[str, int]]
):
    """Through random filters, sorts, samples, concatenations and joins."""
    sources, (left, right) = Sources(), tables
    frame, _ = sources.fix(left, "a", salt=1)
    other, _ = sources.fix(right, "b", salt=2)
    _check(sources, _run(frame, other, steps, _pandas_step), {"a": left, "b": right})


@given(tables=_tables(), steps=st.lists(st.tuples(OPERATIONS, st.integers(0, 99)), max_size=6))
def test_polars_rows_resolve_to_their_source_rows(
    tables: tuple[pd.DataFrame, pd.DataFrame], steps: list[tuple[str, int]]
):
    """The same with polars."""
    sources, (left, right) = Sources(), tables
    frame, _ = sources.fix(pl.from_pandas(left), "a", salt=1)
    other, _ = sources.fix(pl.from_pandas(right), "b", salt=2)
    _check(sources, _run(frame, other, steps, _polars_step), {"a": left, "b": right})


@given(tables=_tables(), chosen=st.lists(st.integers(0, 29), max_size=40))
def test_references_are_indexed_as_their_features_are(tables: tuple[pd.DataFrame, pd.DataFrame], chosen: list[int]):
    """`rows[order]` names the rows of `features.iloc[order]`, and says so when asked."""
    sources, (left, _) = Sources(), tables
    frame, _ = sources.fix(left, "a", salt=3)
    features, rows = split(sources, frame)
    order = [number % len(left) for number in chosen]
    taken = rows[order]
    assert taken.positions["a"].tolist() == order
    taken.check(features.iloc[order])
