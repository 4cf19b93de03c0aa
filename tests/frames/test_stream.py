"""Batches of streams: their offsets, gaps and duplicates."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import ColumnError, InputError, KeyNotUniqueError
from backstory.frames.stream import Stream

DATA = {"p": [0, 1, 0, 1], "o": [7, 3, 8, 5], "v": [1.0, 2.0, 3.0, 4.0]}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_offsets_are_told_by_partition(make):
    """Of each partition the first and last offset are told, and whether one between is missing."""
    assert Stream(make(DATA), topic="payments", partition="p", offset="o").origin() == {
        "partitions": [
            {"first": "7", "last": "8", "partition": "0", "rows": "2", "whole": True},
            {"first": "3", "last": "5", "partition": "1", "rows": "2", "whole": False},
        ],
        "topic": "payments",
    }


def test_one_partition_from_an_offset_on():
    """Numbers mean one partition whose rows follow each other."""
    (span,) = Stream(pd.DataFrame(DATA), topic="t", partition=4, offset=100).spans
    assert (span.partition, span.first, span.last, span.whole) == ("4", 100, 103, True)


def test_a_duplicate_is_refused():
    """A message that was delivered twice is refused; the same offset of another partition is another message."""
    with pytest.raises(KeyNotUniqueError, match="1 rows"):
        Stream(pd.DataFrame({"p": [0, 1, 0], "o": [1, 1, 1]}), topic="t", partition="p", offset="o")


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ({"p": [0, 1], "o": [1, None]}, ColumnError),
        ({"p": [0, 1], "o": ["a", "b"]}, ColumnError),
        ({"p": ["a", None], "o": [1, 2]}, ColumnError),
        ({"p": [0, 1]}, ColumnError),
        ({"p": pa.array([], pa.int64()), "o": pa.array([], pa.int64())}, InputError),
    ],
)
def test_every_row_has_a_place(frame, error):
    """Rows without partition or offset, and batches without rows, are refused."""
    with pytest.raises(error):
        Stream(pa.table(frame), topic="t", partition="p", offset="o")


@given(st.sets(st.integers(0, 50), min_size=1))
def test_a_span_is_whole_if_nothing_is_missing(offsets):
    """Whole means: as many rows as offsets from the first to the last."""
    (span,) = Stream(pa.table({"o": pa.array(sorted(offsets))}), topic="t", partition=0, offset="o").spans
    assert span.whole is (offsets == set(range(min(offsets), max(offsets) + 1)))
