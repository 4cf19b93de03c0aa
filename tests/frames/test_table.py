"""Adapters: the same questions asked of every kind of table."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from backstory.errors import ColumnError, InputError
from backstory.frames.key import find_duplicate, first_appearance, has_nulls, row_codes
from backstory.frames.table import (
    column_names,
    column_values,
    drop_columns,
    hold,
    kind_of,
    row_count,
    select_columns,
    to_arrow,
    with_column,
)

DATA = {"a": [1, 2, 3], "b": ["x", None, "z"]}
FRAMES = {
    "pandas": lambda: pd.DataFrame(DATA),
    "polars": lambda: pl.DataFrame(DATA),
    "polars-lazy": lambda: pl.LazyFrame(DATA),
    "arrow": lambda: pa.table(DATA),
    "arrow-batch": lambda: pa.RecordBatch.from_pydict(DATA),
}
OTHERS = {
    "numpy": lambda: np.arange(6.0).reshape(3, 2),
    "records": lambda: [{"a": 1, "b": "x"}, {"a": 2}, {"a": 3, "b": "z"}],
    "record": lambda: {"a": 1, "b": "x"},
}


@pytest.mark.parametrize("kind", [*FRAMES, *OTHERS])
def test_kinds_are_told_apart(kind):
    """Every container is recognised, and counts its rows."""
    frame = {**FRAMES, **OTHERS}[kind]()
    assert kind_of(frame) == kind
    assert row_count(frame) == (1 if kind == "record" else 3)
    assert len(column_names(frame)) == 2


@pytest.mark.parametrize("thing", [7, "text", [1, 2], np.arange(3), pd.Series([1])])
def test_other_things_are_refused(thing):
    """What is no table is refused by type."""
    with pytest.raises(InputError):
        kind_of(thing)


@pytest.mark.parametrize("kind", FRAMES)
def test_with_column_leaves_the_frame_alone(kind):
    """A column is added to a copy of the same kind; drop and select give the rest back."""
    frame = FRAMES[kind]()
    wider = with_column(frame, "_row_x", np.array([1, 2, 3], np.uint64))
    assert kind_of(wider) == kind
    assert column_names(frame) == ["a", "b"]
    assert column_names(wider) == ["a", "b", "_row_x"]
    assert np.asarray(column_values(wider, "_row_x")).tolist() == [1, 2, 3]
    assert column_names(drop_columns(wider, ["_row_x"])) == ["a", "b"]
    assert column_names(select_columns(wider, ["_row_x", "a"])) == ["_row_x", "a"]
    assert to_arrow(drop_columns(wider, ["_row_x"])).to_pydict() == DATA


@pytest.mark.parametrize("kind", OTHERS)
def test_containers_without_named_columns_carry_none(kind):
    """An array or dicts cannot carry an id column."""
    with pytest.raises(InputError):
        with_column(OTHERS[kind](), "_row_x", np.zeros(3, np.uint64))


@pytest.mark.parametrize("kind", FRAMES)
def test_missing_columns_are_named(kind):
    """A missing column is named in the error."""
    with pytest.raises(ColumnError, match="'nope'"):
        select_columns(FRAMES[kind](), ["nope"])


def test_arrow_of_records():
    """Keys are united in order of appearance; what a row lacks is null."""
    assert to_arrow(OTHERS["records"]()).to_pydict() == DATA
    assert to_arrow({"x": 1.5}).to_pydict() == {"x": [1.5]}
    assert to_arrow([{"x": 1}, {"x": 2.5}]).to_pydict() == {"x": [1.0, 2.5]}


def test_missing_markers_of_pandas_become_null():
    """NaN, None and NaT of pandas are null in Arrow; integers stay integers."""
    frame = pd.DataFrame(
        {"f": [1.0, np.nan], "o": pd.Series(["x", None], dtype=object), "t": [pd.NaT, pd.Timestamp(0)]}
    )
    table = to_arrow(frame)
    assert [table.column(name).null_count for name in table.column_names] == [1, 1, 1]
    assert table.schema.metadata is None


def test_nan_of_others_stays():
    """NaN and null stay apart in arrays, polars and dicts."""
    assert to_arrow(np.array([[np.nan]])).column(0).null_count == 0
    assert to_arrow(pl.DataFrame({"f": [np.nan, None]})).column(0).null_count == 1
    assert to_arrow([{"f": np.nan}, {"f": None}]).column(0).null_count == 1


def test_array_columns_are_named_by_position_or_by_the_caller():
    """Columns of an array are "0", "1", … unless names are given, one each."""
    array = np.asfortranarray(np.arange(6, dtype=np.int8).reshape(3, 2))
    assert to_arrow(array).to_pydict() == {"0": [0, 2, 4], "1": [1, 3, 5]}
    assert to_arrow(array, ["p", "q"]).column_names == ["p", "q"]
    with pytest.raises(ColumnError):
        to_arrow(array, ["p"])


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]]),
        pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
        [{1: 2}],
    ],
    ids=["pandas-doubled", "pandas-numbers", "arrow-doubled", "dict-number"],
)
def test_names_must_be_distinct_text(frame):
    """Doubled names and names that are not text are refused."""
    with pytest.raises(ColumnError):
        column_names(frame)
    with pytest.raises(ColumnError):
        to_arrow(frame)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"secret": pd.Series(["Ada Lovelace", 5], dtype=object)}),
        pd.DataFrame({"secret": pd.Series([1, 2.5], dtype=object)}),
        pd.DataFrame({"secret": pd.Series([1 + 2j])}),
        np.array([["Ada Lovelace"], [5]], object),
        [{"secret": "Ada Lovelace"}, {"secret": 5}],
        [{"secret": 2**70}],
        pl.DataFrame({"secret": pl.Series([dt.tzinfo()], dtype=pl.Object)}),
    ],
    ids=["text-int", "int-float", "complex", "array", "dicts", "huge", "polars-object"],
)
def test_columns_without_encoding_are_named_without_values(frame):
    """A column Arrow cannot hold is refused by name and type; nothing of its values is in the error or its causes."""
    with pytest.raises(ColumnError) as caught:
        to_arrow(frame)
    assert "secret" in str(caught.value) or "'0'" in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert "Lovelace" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_held_frames_do_not_change():
    """What the caller does to a frame later does not reach the held one."""
    pandas_frame, polars_frame = FRAMES["pandas"](), FRAMES["polars"]()
    held = [hold(pandas_frame), hold(polars_frame)]
    pandas_frame.loc[0, "a"] = 99
    pandas_frame["c"] = 1
    pandas_frame.iloc[1] = pandas_frame.iloc[2]
    polars_frame[0, "a"] = 99
    assert [to_arrow(frame).to_pydict() for frame in held] == [DATA, DATA]
    assert kind_of(hold(FRAMES["polars-lazy"]())) == "polars"


def test_held_cells_do_not_change():
    """Nor does what is done to a list, dict or array in a cell, in a column with others and nulls too."""
    frame = pd.DataFrame({"l": [[1], [2]], "d": [{"x": [1]}, None], "a": [np.zeros(2), np.ones(2)], "s": ["x", "y"]})
    before = to_arrow(frame).to_pydict()
    held = hold(frame)
    frame["l"][0].append(9)
    frame["d"][0]["x"].append(9)
    frame["a"][1][0] = 9.0
    assert to_arrow(held).to_pydict() == before
    assert to_arrow(frame).to_pydict() != before


def test_row_codes_tell_rows_apart():
    """Rows have one code exactly if they agree in every column; null agrees with null."""
    table = pa.table({"a": ["x", "y", "x", None, None, "x"], "b": [1, 1, 1, 1, 1, 2]})
    codes = row_codes(table, ["a", "b"])
    assert first_appearance(codes).tolist() == [0, 1, 0, 2, 2, 3]
    assert find_duplicate(codes) == (0, 2)
    assert find_duplicate(row_codes(table.slice(0, 2), ["a"])) is None
    assert has_nulls(table, ["b", "a"]).tolist() == [False, False, False, True, True, False]


def test_row_codes_of_many_columns():
    """Codes stay exact when the combined keys are more than an integer can count."""
    rng = np.random.default_rng(3)
    table = pa.table({str(i): rng.integers(0, 1000, 2000) for i in range(9)})
    doubled = pa.concat_tables([table, table.slice(7, 1)])
    assert find_duplicate(row_codes(table, table.column_names)) is None
    assert find_duplicate(row_codes(doubled, table.column_names)) == (7, 2000)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([-128, 127, -128], pa.int8()),
        pa.array([2**64 - 1, 2**64 - 2, 2**64 - 1], pa.uint64()),
        pa.array([-(2**63), 2**63 - 1, -(2**63)]),
        pa.array([2**63 - 1, 2**63 - 2, 2**63 - 1]),
    ],
    ids=["int8", "uint64", "far-apart", "large"],
)
def test_row_codes_of_integers_at_their_limits(values):
    """Integers at the ends of their types are told apart like any."""
    assert first_appearance(row_codes(pa.table({"a": values, "b": values}), ["a", "b"])).tolist() == [0, 1, 0]


def test_row_codes_refuse_nested_columns():
    """A list column cannot identify rows."""
    with pytest.raises(ColumnError):
        row_codes(pa.table({"a": [[1], [2]]}), ["a"])
