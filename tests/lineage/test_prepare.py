"""Preparations with and without ids: the same result, or a refusal."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from backstory.errors import ColumnError, InputError, PreparationError, TokenError
from backstory.frames.table import kind_of, to_arrow
from backstory.lineage.prepare import distinct, prepare
from backstory.lineage.source import Sources
from backstory.lineage.split import split

LEFT = {"k": [1, 2, 3, 1], "v": [10, 20, 30, 10]}
RIGHT = {"k": [1, 2], "w": [0.1, 0.2]}
ENGINES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "polars-lazy": pl.LazyFrame, "arrow": pa.table}


def fixed(engine: str = "pandas"):
    """Fix two sources."""
    sources = Sources()
    left, _ = sources.fix(ENGINES[engine](LEFT), "left", salt=21)
    right, _ = sources.fix(ENGINES[engine](RIGHT), "right", salt=22)
    return sources, left, right


def test_a_harmless_preparation_comes_back_with_ids():
    """A preparation that does not look at all columns gives its own result, traced."""
    sources, left, right = fixed()
    result = prepare(sources, lambda a, b: a.merge(b, on="k", how="left").dropna(subset=["w"]), left, right)
    features, rows = split(sources, result)
    plain = pd.DataFrame(LEFT).merge(pd.DataFrame(RIGHT), on="k", how="left").dropna(subset=["w"])
    pd.testing.assert_frame_equal(features, plain)
    assert rows.positions["right"].tolist() == [0, 1, 0]


ODD = [1, "x", None, float("nan"), [2, None], {"a": (1.5, float("nan"))}, np.array([1.0, np.nan]), 1 + 2j]


def test_values_of_several_types_are_compared():
    """A column Arrow has no type for is compared value by value, and ids are not blamed for it."""
    sources = Sources()
    odd, _ = sources.fix(pd.DataFrame({"odd": pd.Series(ODD, dtype=object), "n": range(8)}), "odd", salt=7)
    assert split(sources, prepare(sources, lambda a: a[a.n > 0].copy(), odd))[1].positions["odd"].tolist() == [
        *range(1, 8)
    ]


@pytest.mark.parametrize("last", [[3], {"a": 2}, np.array([1, 3]), True, 2, None])
def test_a_difference_among_values_of_several_types_is_found(last):
    """Also inside of lists, dicts and arrays, and between 1 and True."""
    sources = Sources()
    odd, _ = sources.fix(pd.DataFrame({"n": range(2)}), "odd", salt=7)
    plain = {list: [2], dict: {"a": 1}, np.ndarray: np.array([1, 2])}.get(type(last), 1)

    def notice(frame):
        values = ["x", plain if frame.shape[1] == 1 else last]
        return frame.assign(odd=pd.Series(values, dtype=object))

    with pytest.raises(PreparationError, match="'odd'"):
        prepare(sources, notice, odd)


@pytest.mark.parametrize("engine", ["polars", "polars-lazy"])
def test_polars_preparations_stay_lazy_or_eager(engine):
    """A preparation is given, and gives, the kind of frame it would have had."""
    sources, left, right = fixed(engine)
    kinds = []

    def join(a, b):
        kinds.append(kind_of(a))
        return a.join(b, on="k", how="left", maintain_order="left")

    result = prepare(sources, join, left, right)
    assert kinds == [engine, engine]
    assert kind_of(result) == engine
    assert split(sources, result)[1].positions["right"].tolist() == [0, 1, -1, 0]


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (lambda a: a.drop_duplicates(), "row counts differ: 3 and 4"),
        (lambda a: a.nunique(axis=1).to_frame("n"), "values differ in column 'n'"),
        (lambda a: a.assign(width=a.shape[1]), "values differ in column 'width'"),
        (lambda a: a.assign(many=a.shape[1] if "_row_left" in a else 0.5), "types differ"),
        (lambda a: a.rename(columns={a.columns[-1]: "last"}), "columns differ"),
        (lambda a: a.set_axis(range(a.shape[1], a.shape[1] + 4)), "index differs"),
    ],
)
def test_a_preparation_that_notices_ids_is_refused(fn, says):
    """A result that depends on the id columns is refused, saying what differs."""
    sources, left, _ = fixed()
    with pytest.raises(PreparationError, match=says) as caught:
        prepare(sources, fn, left)
    assert "dropna" in str(caught.value)


def test_a_bare_dropna_is_refused_where_only_ids_are_missing():
    """A left join whose only nulls are ids is where `dropna()` goes wrong."""
    sources, left, _ = fixed()
    marker, _ = sources.fix(pd.DataFrame({"k": [1, 2]}), "marker", salt=23)
    with pytest.raises(PreparationError, match="row counts differ: 4 and 3"):
        prepare(sources, lambda a, b: a.merge(b, on="k", how="left").dropna(), left, marker)


def test_lost_or_damaged_ids_are_refused():
    """A preparation that drops or changes the id columns is refused at once."""
    sources, left, _ = fixed()
    with pytest.raises(TokenError, match="no row ids"):
        prepare(sources, lambda a: a[["k", "v"]], left)
    with pytest.raises(TokenError, match="arithmetic"):
        prepare(sources, lambda a: a.rolling(2, min_periods=1).mean(), left)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("keep", "kept"), [("first", [0, 1, 2]), ("last", [1, 2, 3]), ("none", [1, 2])])
def test_distinct_leaves_ids_out_of_account(engine, keep, kept):
    """Duplicates are dropped by the caller's columns, and the row that stays keeps its ids, in every library."""
    sources, left, _ = fixed(engine)
    result = distinct(left, keep=keep)
    assert kind_of(result) == engine
    features, rows = split(sources, result)
    assert rows.positions["left"].tolist() == kept
    assert to_arrow(features).column("v").to_pylist() == [LEFT["v"][i] for i in kept]
    assert split(sources, distinct(left, ["k"], keep=keep))[1].positions["left"].tolist() == kept


def test_distinct_refuses_what_it_cannot_do():
    """Id columns, missing columns, unknown choices and arrays are refused."""
    _, left, _ = fixed()
    for subset in (["_row_left"], ["nope"], []):
        with pytest.raises(ColumnError):
            distinct(left, subset)
    with pytest.raises(InputError):
        distinct(left, keep="any")
    with pytest.raises(InputError):
        distinct([{"a": 1}])


def test_a_preparation_in_sql_may_give_its_rows_in_any_order():
    """SQL promises none: the rows are compared, and those that were are returned, as a relation."""
    sources, con = Sources(), duckdb.connect()
    left, _ = sources.fix(con.from_arrow(pa.table(LEFT)), "left", salt=21)
    directions = iter(["ASC", "DESC"])
    result = prepare(sources, lambda a: a.filter("v > 10").order(f"v {next(directions)}"), left)
    assert kind_of(result) == "duckdb"
    assert result.project("v").fetchall() == [(30,), (20,)]
    assert split(sources, result)[1].positions["left"].tolist() == [2, 1]


@pytest.mark.parametrize(
    "notice",
    [
        lambda a: a.distinct(),
        lambda a: a.query("a", "SELECT * FROM a GROUP BY ALL"),
    ],
    ids=["distinct", "group by all"],
)
def test_a_preparation_in_sql_that_notices_ids_is_refused(notice):
    """DISTINCT and GROUP BY over all columns see ids as pandas' `drop_duplicates()` does."""
    sources, con = Sources(), duckdb.connect()
    left, _ = sources.fix(con.from_arrow(pa.table(LEFT)), "left", salt=21)
    with pytest.raises(PreparationError):
        prepare(sources, notice, left)
