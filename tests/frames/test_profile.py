"""Profiles: exact counts and bounds, quantiles within their error, and merging as if both tables were one."""

from __future__ import annotations

import datetime as dt
import tracemalloc
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import ColumnError, FormatError
from backstory.frames.profile import VALUES_MAX, ColumnProfile, Profile, parse_profile, profile_of
from backstory.records import canonical

NAN = float("nan")
EVERYTHING = pa.table(
    {
        "int": pa.array([1, 2, None, 2**63 - 1]),
        "uint": pa.array([2**64 - 1, 0, 1, None], pa.uint64()),
        "float": pa.array([NAN, float("inf"), None, -0.0]),
        "half": pa.array(np.array([1, 2, np.nan, 4], np.float16)),
        "bool": pa.array([True, None, False, True]),
        "text": pa.array(["x", "", "é", None]).dictionary_encode(),
        "view": pa.array(["p", "q", None, "p"], pa.string_view()),
        "bytes": pa.array([b"p", b"", None, b"p"]),
        "fixed": pa.array([b"ab", b"cd", None, b"ab"], pa.binary(2)),
        "decimal": pa.array([Decimal("1.50"), None, Decimal("-3.20"), Decimal(0)]),
        "wide": pa.array([Decimal("1e40"), None, None, None], pa.decimal256(60, 2)),
        "nothing": pa.nulls(4),
        "moment": pa.array(
            [dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None, None, dt.datetime(1960, 1, 1, tzinfo=dt.UTC)]
        ),
        "date": pa.array([1, 2, None, 4], pa.date32()),
        "time": pa.array([1, 2, None, 4], pa.time32("s")),
        "duration": pa.array([1, 2, None, 4], pa.duration("s")),
        "list": pa.array([[1, 2], [], None, [3]]),
        "map": pa.array([[("k", 1)], None, [], [("a", 2), ("b", 3)]], pa.map_(pa.string(), pa.int64())),
        "structs": pa.array([[{"q": 1}], None, [], [{"q": 2}]]),
        "struct": pa.array([{"x": 1, "y": "a"}, None, {"x": None, "y": "b"}, {"x": 3, "y": "a"}]),
    }
)


def column(values: Any, type_: pa.DataType | None = None) -> ColumnProfile:
    """Return the profile of one column."""
    return profile_of([pa.table({"x": pa.array(values, type_)})]).columns[0]


def exact(profile: Profile) -> list[tuple[Any, ...]]:
    """Return what of a profile does not depend on random bits."""
    return [
        (c.name, c.type, c.rows, c.nulls, c.nans, c.minimum, c.maximum, c.values, c.hashes) for c in profile.columns
    ]


def test_every_type_has_a_profile_that_survives_its_document():
    """Every logical type is profiled, and read again from canonical JSON the profile is the same."""
    profile = profile_of([EVERYTHING])
    document = profile.document()
    again = parse_profile(canonical.parse_object(canonical.encode(document), "profile"))
    assert exact(again) == exact(profile)
    assert again.document() == document


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("int", (1, 0, 3, 1, 2**63 - 1, (1, 2, 2**63 - 1))),
        ("float", (1, 1, 2, -0.0, float("inf"), None)),
        ("bool", (1, 0, 2, None, None, (False, True))),
        ("text", (1, 0, 3, 0, 1, ("", "x", "é"))),
        ("decimal", (1, 0, 3, Decimal("-3.20"), Decimal("1.50"), None)),
        ("nothing", (4, 0, 0, None, None, None)),
        ("moment", (2, 0, 2, -315_619_200 * 10**9, 1_577_836_800 * 10**9, None)),
        ("list", (1, 0, 3, 0, 2, None)),
        ("struct.x", (2, 0, 2, 1, 3, (1, 3))),
    ],
)
def test_what_a_profile_says(name, expected):
    """Nulls, NaN, distinct values, bounds and categories of a column are those of its values."""
    c = profile_of([EVERYTHING]).column(name)
    assert (c.nulls, c.nans, c.distinct, c.minimum, c.maximum, c.values) == expected


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=60), st.integers(0, 60))
def test_merging_two_profiles_is_profiling_both_tables(values, cut):
    """What of a merged profile is exact is that of all rows."""
    whole = pa.table({"x": pa.array(values, pa.int64())})
    merged = profile_of([whole.slice(0, cut)]).merge(profile_of([whole.slice(cut)]))
    assert exact(merged) == exact(profile_of([whole]))
    assert merged.rows == len(values)


def test_a_moment_outside_of_nanoseconds_is_refused():
    """By its column, without the value."""
    with pytest.raises(ColumnError, match=r"column 'a'") as caught:
        profile_of([pa.table({"a": pa.array([dt.date(9999, 12, 31)]).cast(pa.timestamp("us"))})])
    assert "253402" not in str(caught.value)


def test_quantiles_are_near():
    """Quantiles of a million numbers, profiled in pieces, are within the sketch's error."""
    values = np.random.default_rng(1).permutation(1_000_000).astype(float)
    table = pa.table({"x": values})
    profile = profile_of(table.slice(start, 250_000) for start in range(0, 1_000_000, 250_000))
    found = profile.columns[0].quantiles([0.1, 0.5, 0.9])
    assert found == pytest.approx([1e5, 5e5, 9e5], abs=4e4)
    assert profile.columns[0].distinct == pytest.approx(1e6, rel=0.1)


def test_few_distinct_values_are_counted_exactly():
    """Up to a thousand distinct values the count is exact, however often each is there."""
    assert column(np.tile(np.arange(1000), 50)).distinct == 1000
    assert column([f"name {i % 700}" for i in range(5000)]).distinct == 700


def test_many_or_long_values_are_not_listed():
    """Categories are listed up to a limit of count and length, after which none are."""
    assert len(column(np.arange(VALUES_MAX)).values) == VALUES_MAX
    assert column(np.arange(VALUES_MAX + 1)).values is None
    assert column(["x" * (VALUES_MAX + 1)]).values is None


def test_dictionaries_chunks_and_units_do_not_matter():
    """Equal values have equal profiles, however they are encoded."""
    plain = pa.table({"x": pa.array(["a", "b", "a"]), "t": pa.array([1, 2, 3], pa.timestamp("s"))})
    other = pa.table(
        {
            "x": pa.chunked_array([pa.array(["a"]).dictionary_encode(), pa.array(["b", "a"]).dictionary_encode()]),
            "t": pa.array([1, 2, 3], pa.timestamp("s")).cast(pa.timestamp("us")),
        }
    )
    assert exact(profile_of([plain])) == exact(profile_of([other]))


def test_memory_does_not_grow_with_the_rows():
    """A profile of rows that come piece by piece is made in constant memory."""
    piece = pa.table({"x": np.random.default_rng(2).normal(size=50_000)})
    profile_of([piece])
    pa.default_memory_pool().release_unused()
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    profile_of(piece for _ in range(20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * piece.nbytes
    assert pa.total_allocated_bytes() - before < piece.nbytes


def test_other_columns_do_not_merge():
    """Profiles of other columns or types are refused, and so are tables of other columns in one profile."""
    one, other = pa.table({"x": [1]}), pa.table({"x": ["a"]})
    with pytest.raises(ColumnError):
        profile_of([one]).merge(profile_of([other]))
    with pytest.raises(ColumnError):
        profile_of([one, other])
    with pytest.raises(ColumnError):
        profile_of([one]).merge(profile_of([pa.table({"y": [1]})]))


@pytest.mark.parametrize(
    "change",
    [
        {"distinct": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"distinct": "?"},
        {"quantiles": "AAAA"},
        {"min": "one"},
        {"values": [True]},
        {"nulls": -1},
        {"type": "integer"},
    ],
)
def test_a_document_that_is_none_is_refused(change):
    """A profile with a sketch, bound, count or type that cannot be is refused as such."""
    document = profile_of([pa.table({"x": [1, 2, None]})]).document()
    document["columns"][0].update(change)
    with pytest.raises(FormatError):
        parse_profile(document)
