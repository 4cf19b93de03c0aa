"""Containers: what a model was given is rebuilt exactly, or said not to be."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backstory.errors import InputError
from backstory.frames.container import describe_container, rebuild
from backstory.frames.equality import find_difference
from backstory.frames.table import to_arrow


def through_parquet(table: pa.Table) -> pa.Table:
    """Write a table and read it back, as an archive does."""
    sink = io.BytesIO()
    pq.write_table(table, sink, store_schema=False)
    return pq.read_table(io.BytesIO(sink.getvalue()))


def round_trip(frame):
    """Describe, pass through JSON and Parquet, and rebuild."""
    container = json.loads(json.dumps(describe_container(frame)))
    assert container["rebuildable"], container
    return rebuild(container, through_parquet(to_arrow(frame)))


PANDAS_COLUMNS = {
    "float64": pd.Series([1.5, np.nan, -0.0]),
    "float32": pd.Series([1.5, np.nan, 2], dtype="float32"),
    "int8": pd.Series([1, -2, 3], dtype="int8"),
    "uint64": pd.Series([1, 2**63, 3], dtype="uint64"),
    "bool": pd.Series([True, False, True]),
    "str": pd.Series(["a", None, ""]),
    "string": pd.Series(["a", None, ""], dtype="string"),
    "string-python": pd.Series(["a", None, ""], dtype=pd.StringDtype("python")),
    "object-none": pd.Series(["a", None, ""], dtype=object),
    "object-nan": pd.Series(["a", np.nan, ""], dtype=object),
    "object-bool": pd.Series([True, None, False], dtype=object),
    "object-int": pd.Series([1, None, 3], dtype=object),
    "Int64": pd.Series([1, None, 3], dtype="Int64"),
    "UInt8": pd.Series([1, None, 3], dtype="UInt8"),
    "Float32": pd.Series([1.5, None, 3], dtype="Float32"),
    "boolean": pd.Series([True, None, False], dtype="boolean"),
    "category": pd.Series(pd.Categorical(["b", None, "a"], categories=["c", "b", "a"])),
    "category-ordered": pd.Series(pd.Categorical(["b", None, "a"], categories=["c", "b", "a"], ordered=True)),
    "category-int": pd.Series(pd.Categorical([3, 1, 3], categories=[3, 2, 1])),
    "category-object": pd.Series(pd.Categorical(["b", "a", "b"], categories=pd.Index(["b", "a"], dtype=object))),
    "datetime-ns": pd.Series(np.array([1, "NaT", 1_000_000_007], "datetime64[ns]")),
    "datetime-us": pd.Series(pd.to_datetime(["2020-01-01", None, "2021-01-01"])).astype("datetime64[us]"),
    "datetime-zone": pd.Series(pd.to_datetime(["2020-01-01", None, "2021-01-01"])).dt.tz_localize("Europe/Berlin"),
    "timedelta": pd.Series(pd.to_timedelta(["1s", None, "2min"])),
    "arrow-int": pd.Series([1, None, 3], dtype="int64[pyarrow]"),
    "arrow-double": pd.Series([1.5, None, 3], dtype="double[pyarrow]"),
}


@pytest.mark.parametrize("name", PANDAS_COLUMNS)
def test_pandas_columns_come_back(name):
    """Dtype, values and missing markers of a pandas column are rebuilt."""
    column = PANDAS_COLUMNS[name]
    frame = pd.DataFrame({"before": range(3), "x": column, "after": 0.5}).set_axis([5, 3, 9])
    again = round_trip(frame)
    pd.testing.assert_frame_equal(again, frame.reset_index(drop=True), check_exact=True)
    if column.dtype == object:
        assert [type(value) for value in again["x"]] == [type(value) for value in frame["x"]]


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_order_of_pandas_comes_back(order):
    """A linear model sums a C-ordered and an F-ordered frame differently; the order is rebuilt."""
    array = np.array(np.random.default_rng(0).normal(size=(50, 7)), order=order)
    frame = pd.DataFrame(array, columns=list("abcdefg"), copy=False)
    again = round_trip(frame)
    assert again.to_numpy().strides == frame.to_numpy().strides
    weights = np.random.default_rng(1).normal(size=7)
    assert (again.to_numpy() @ weights).tobytes() == (frame.to_numpy() @ weights).tobytes()


SUMS = {
    "matmul": lambda array: array @ np.arange(array.shape[1]) ** 0.5,
    "dot": lambda array: np.dot(array, np.arange(array.shape[1]) ** 0.5),
    "rows": lambda array: array.sum(axis=1),
    "columns": lambda array: array.sum(axis=0),
    "einsum": lambda array: np.einsum("ij,ij->i", array, array),
}
"""Sums whose last bits depend on how an array lies in memory."""


@given(
    st.sampled_from("CF"),
    st.tuples(*[st.tuples(st.integers(0, 9), st.integers(1, 40), st.sampled_from([1, -1, 2, -2, 3]))] * 2),
    st.sampled_from(sorted(SUMS)),
    st.booleans(),
)
def test_sums_over_a_part_of_an_array_come_back(order, parts, sums, in_frame):
    """Slices, steps and axes turned round, by row or column, of an array or a frame: sums give the same bits."""
    whole = np.array(np.random.default_rng(0).normal(size=(60, 60)), order=order)
    part = whole[tuple(slice(begin, begin + count) for begin, count, _ in parts)]
    part = part[tuple(slice(None, None, step) for _, _, step in parts)]
    if in_frame:
        frame = pd.DataFrame(part, columns=[f"c{at}" for at in range(part.shape[1])], copy=False)
        part, again = frame.to_numpy(), round_trip(frame).to_numpy()
    else:
        again = round_trip(part)
    assert SUMS[sums](again).tobytes() == SUMS[sums](part).tobytes()


def test_a_slice_brings_no_memory_back_that_is_not_its_own():
    """What comes back has at most twice the memory of its values, however wide the gaps were."""
    part = np.zeros((1000, 100), order="C")[:, ::50]
    again = round_trip(part)
    assert again.base.nbytes <= 2 * part.nbytes


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["a", None, np.nan], dtype=object),
        pd.Series([[1], [2], [3]]),
        pd.Series(pd.period_range("2020", periods=3, freq="M")),
        pd.Series([1, 2, 3], dtype=">i8"),
        pd.Series(pd.Categorical([1.5, 2.5, 1.5])),
        pd.Series(pd.Categorical([str(i) for i in range(5000)])),
    ],
    ids=["two-markers", "lists", "period", "big-endian", "float-categories", "many-categories"],
)
def test_what_pandas_cannot_give_back_is_said(column):
    """A column that would come back different makes the container say so, by name."""
    container = describe_container(pd.DataFrame({"x": column}))
    assert not container["rebuildable"]
    assert "'x'" in container["reason"]
    with pytest.raises(InputError):
        rebuild(container, pa.table({"x": [1]}))


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.int8, np.uint16, np.bool_]),
        hnp.array_shapes(min_dims=2, max_dims=2),
    ),
    st.sampled_from("CF"),
)
def test_arrays_come_back(array, order):
    """Type, order and every bit pattern of an array that is no NaN are rebuilt."""
    array = np.array(array, order=order)
    again = round_trip(array)
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)
    if min(array.shape) > 1:
        assert again.strides == array.strides


def test_arrays_of_objects_come_back():
    """Text, numbers and missing markers of an array of objects are rebuilt."""
    array = np.array([["a", 1, None], [None, 2, None]], object)
    again = round_trip(array)
    assert again.tolist() == array.tolist()
    nan = round_trip(np.array([["a"], [np.nan]], object))
    assert isinstance(nan[1, 0], float)
    assert round_trip(np.array([["ab", "c"]])).dtype == np.dtype("<U2")
    assert not describe_container(np.array([["a"], [None], [np.nan]], object))["rebuildable"]
    assert not describe_container(np.array([["2020-01-01"]], "datetime64[D]"))["rebuildable"]


@pytest.mark.parametrize("lazy", [False, True])
def test_polars_comes_back(lazy):
    """Types, nulls, NaN, zones and Enum categories of polars are rebuilt."""
    frame = pl.DataFrame(
        {
            "f": pl.Series([1.5, None, np.nan], dtype=pl.Float32),
            "i": pl.Series([1, None, 3], dtype=pl.Int8),
            "s": ["a", None, ""],
            "b": [True, None, False],
            "e": pl.Series(["y", None, "x"], dtype=pl.Enum(["y", "x"])),
            "t": pl.Series([1, None, 3], dtype=pl.Datetime("ms", "Europe/Berlin")),
            "n": pl.Series([1, None, 3], dtype=pl.Datetime("ns")),
            "d": pl.Series([1, None, 3], dtype=pl.Duration("us")),
            "day": pl.Series([1, None, 3], dtype=pl.Date),
        }
    )
    again = round_trip(frame.lazy() if lazy else frame)
    assert isinstance(again, pl.LazyFrame) == lazy
    assert find_difference(frame, again.collect() if lazy else again) is None


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Decimal(10, 2), pl.List(pl.Int64)])
def test_what_polars_cannot_give_back_is_said(dtype):
    """Types whose meaning belongs to a process, or that are not kept, are said to be so."""
    assert not describe_container(pl.DataFrame({"x": pl.Series([], dtype=dtype)}))["rebuildable"]


@pytest.mark.parametrize("batch", [False, True])
def test_arrow_comes_back(batch):
    """The schema and the order of dictionaries are rebuilt."""
    dictionary = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int8()), ["b", "a"], ordered=True)
    table = pa.table({"d": dictionary, "f": pa.array([1, None, 2], pa.float32()), "s": pa.array(["x", "", None])})
    frame = table.to_batches()[0] if batch else table
    again = round_trip(frame)
    assert type(again) is type(frame)
    assert again.schema == frame.schema
    assert again.equals(frame)
    assert again.column("d").to_pylist() == ["a", None, "b"]


def test_records_come_back():
    """Dicts with the same keys are rebuilt, one alone as one."""
    rows = [{"a": 1, "b": "x", "c": None}, {"a": 2, "b": "y", "c": 1.5}]
    assert round_trip(rows) == rows
    assert round_trip(rows[0]) == rows[0]


@pytest.mark.parametrize("rows", [[{"a": 1}, {"b": 2}], [{"a": 1}, {"a": 2.5}], [{"a": [1]}]])
def test_what_records_cannot_give_back_is_said(rows):
    """Dicts with other keys, mixed numbers or nested values are said not to come back the same."""
    assert not describe_container(rows)["rebuildable"]
