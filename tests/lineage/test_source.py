"""Sources: what fixing checks, keeps, and registers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from backstory.errors import ColumnError, InputError, KeyNotUniqueError, LimitError
from backstory.frames.table import column_names, column_values, kind_of
from backstory.frames.token import POSITION_MAX, mint_tokens
from backstory.lineage.source import NOTHING_SAID, Snapshot, Sources

DATA = {"a": [1, 2, 2], "b": ["x", "y", "z"], "c": [1.5, None, 2.5]}
FRAMES = {
    "pandas": lambda: pd.DataFrame(DATA),
    "polars": lambda: pl.DataFrame(DATA),
    "polars-lazy": lambda: pl.LazyFrame(DATA),
    "arrow": lambda: pa.table(DATA),
    "arrow-batch": lambda: pa.RecordBatch.from_pydict(DATA),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_fix_adds_one_column_and_keeps_the_rows(kind):
    """The same kind comes back with one id column more; the snapshot holds the rows without it."""
    frame = FRAMES[kind]()
    ids, snapshot = Sources().fix(frame, "loans", key=["a", "b"], subject="b", origin="s3://x", salt=7)
    assert kind_of(ids) == kind
    assert column_names(ids) == ["a", "b", "c", "_row_loans"]
    assert column_names(frame) == ["a", "b", "c"]
    assert np.asarray(column_values(ids, "_row_loans")).tolist() == mint_tokens(np.arange(3), 7).tolist()
    assert snapshot.table().to_pydict() == DATA
    assert (snapshot.key, snapshot.subject, snapshot.origin, snapshot.rows) == (("a", "b"), "b", "s3://x", 3)


def test_a_snapshot_is_protected_from_the_caller():
    """Changes to the caller's frame, or to the one with ids, do not reach the snapshot."""
    frame = FRAMES["pandas"]()
    ids, snapshot = Sources().fix(frame, "loans", salt=7)
    frame.loc[0, "a"] = 99
    ids.loc[1, "b"] = "changed"
    assert snapshot.table().to_pydict() == DATA


def test_ids_of_other_sources_are_not_part_of_a_snapshot():
    """Tokens never reach a snapshot, from where they would reach digests."""
    sources = Sources()
    ids, _ = sources.fix(FRAMES["pandas"](), "loans", salt=7)
    both, snapshot = sources.fix(ids, "derived", salt=8)
    assert column_names(both)[-2:] == ["_row_loans", "_row_derived"]
    assert snapshot.table().column_names == ["a", "b", "c"]


@pytest.mark.parametrize("kind", FRAMES)
def test_a_key_must_identify_rows(kind):
    """Two rows with one key are refused by position, without their values; nothing is registered."""
    sources = Sources()
    with pytest.raises(KeyNotUniqueError, match="rows 1 and 2") as caught:
        sources.fix(FRAMES[kind](), "loans", key="a", salt=7)
    assert caught.value.details == {"rows": [1, 2]}
    assert not sources.find("loans")


def test_a_key_may_not_be_missing():
    """A key with a null is refused with the number of rows."""
    with pytest.raises(ColumnError, match="1 of 3"):
        Sources().fix(FRAMES["pandas"](), "loans", key=["a", "c"], salt=7)


@pytest.mark.parametrize(
    "argument",
    [
        {"key": "nope"},
        {"key": ["a", "nope"]},
        {"subject": "nope"},
        {"key": ["a", "a"]},
        {"key": 5},
        {"key": [5]},
        {"subject": 5},
    ],
)
def test_named_columns_must_be_there(argument):
    """A key or subject that is no column, is no text, or is named twice, is refused."""
    with pytest.raises(ColumnError):
        Sources().fix(FRAMES["pandas"](), "loans", salt=7, **argument)


@pytest.mark.parametrize("name", ["", "Loans", "9loans", "loans-x", "_row_loans", "l" * 64])
def test_names_are_plain(name):
    """Names are lower-case identifiers of at most 63 characters."""
    with pytest.raises(InputError):
        Sources().fix(FRAMES["pandas"](), name, salt=7)


@pytest.mark.parametrize("salt", [-1, 2**64])
def test_salts_have_64_bits(salt):
    """A salt of another size is refused."""
    with pytest.raises(InputError):
        Sources().fix(FRAMES["pandas"](), "loans", salt=salt)


def test_reserved_empty_and_unfit_frames_are_refused():
    """A frame that has the id column, has no rows, or cannot carry a column is refused."""
    sources = Sources()
    ids, _ = sources.fix(FRAMES["pandas"](), "loans", salt=7)
    with pytest.raises(ColumnError, match="_row_loans"):
        sources.fix(ids, "loans", salt=8)
    with pytest.raises(InputError, match="at least one row"):
        sources.fix(FRAMES["pandas"]().iloc[:0], "loans", salt=8)
    with pytest.raises(InputError, match="numpy"):
        sources.fix(np.zeros((2, 2)), "loans", salt=8)


MOMENTS = {"n": [1, 2], "until": [None, datetime(9999, 12, 31)]}  # noqa: DTZ001  without a zone on purpose


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(MOMENTS).astype({"until": object}),
        pd.DataFrame({"until": np.array(["0001-01-01", "2020-01-01"], "datetime64[us]")}),
        pl.DataFrame(MOMENTS),
        pl.DataFrame(MOMENTS).lazy(),
        pa.table({"until": pa.array([10**10], pa.duration("s"))}),
    ],
)
def test_moments_that_cannot_be_recorded_are_refused_at_once(frame):
    """Nanoseconds in 64 bits end in 2262; it is said when the source is fixed, not when a model refers to it."""
    with pytest.raises(ColumnError, match=r"years from 1677 to 2262.*column 'until'.*source loans"):
        Sources().fix(frame, "loans", salt=1)


def test_days_and_the_last_nanosecond_are_kept():
    """A date is no moment, and the ends of what fits do."""
    days = pa.array([datetime(9999, 12, 31)], pa.date32())  # noqa: DTZ001  a day
    ends = pa.array([2**63 - 1], pa.timestamp("ns"))
    Sources().fix(pa.table({"until": days, "end": ends, "none": pa.nulls(1, pa.timestamp("s"))}), "loans", salt=1)


def test_parts_have_positions_of_their_own():
    """Parts of one source follow each other; a name without part starts a new version at 0."""
    sources = Sources()
    firsts = [
        sources.fix(FRAMES["pandas"](), "loans", part=part, salt=salt)[1].first_position
        for salt, part in enumerate(["may", "june", "may", None, "july"])
    ]
    assert firsts == [0, 3, 6, 0, 0]
    versions = sources.find("loans")["loans"]
    assert [[snapshot.part for snapshot in version] for version in versions] == [
        ["may", "june", "may"],
        [None],
        ["july"],
    ]


def test_a_source_has_a_limit():
    """A source whose positions would not fit a token is refused."""
    sources = Sources()
    full = Snapshot(
        name="big",
        part="a",
        first_position=0,
        rows=POSITION_MAX,
        salt=1,
        key=(),
        subject=None,
        origin=None,
        about=NOTHING_SAID,
        provable=frozenset(),
        columns=frozenset(),
        load=lambda: pa.table({}),
        sample=lambda _rows, _columns: pa.table({}),
    )
    sources.add("big", (full,))
    with pytest.raises(LimitError):
        sources.fix(FRAMES["pandas"](), "big", part="b", salt=2)


def test_names_a_column_starts_with_are_found():
    """A suffixed column can be of any registered name it starts with, most likely the longest."""
    sources = Sources()
    sources.fix(FRAMES["pandas"](), "loan", salt=1)
    sources.fix(FRAMES["pandas"](), "loans", salt=2)
    assert list(sources.find("loans_x")) == ["loans", "loan"]
    assert list(sources.find("loan_x")) == ["loan"]
    assert not sources.find("weather")


def test_parts_fixed_at_once_stay_apart():
    """Threads that fix parts of one source at the same time get disjoint positions."""
    sources = Sources()

    def fix(part: int) -> int:
        return sources.fix(FRAMES["pandas"](), "loans", part=str(part), salt=part)[1].first_position

    with ThreadPoolExecutor(8) as pool:
        firsts = list(pool.map(fix, range(40)))
    assert sorted(firsts) == list(range(0, 120, 3))
