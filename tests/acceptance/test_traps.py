"""What rows and their ids can run into on the way: each trap has a test, and damage is never a wrong row."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.archives import ORIGIN, loans
from tests.support.engines import ENGINES, rows_of_frame
from tests.support.lineage import claimed_rows, member_rows, rows_of

import backstory
from backstory.archive import Archive
from backstory.errors import ColumnError, TokenError
from backstory.frames.table import column_values, to_arrow
from backstory.lineage.refs import LineageWarning
from backstory.lineage.resolve import BROKEN
from backstory.lineage.source import Sources
from backstory.lineage.split import split
from backstory.lineage.trace import Tracer
from backstory.records.canonical import JsonObject


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """One archive for all traps, each with sources of its own names."""
    with backstory.init(tmp_path_factory.mktemp("traps") / "audit", origin=ORIGIN) as opened:
        opened.register(_total, name="total")
        yield opened


def _total(frame: Any) -> np.ndarray:
    return np.asarray(to_arrow(frame).to_pandas(), dtype="float64").sum(axis=1)


def _predicted(archive: Archive, frame: Any, features: list[str]) -> list[str]:
    table, rows = archive.split(frame, features)
    return list(archive.predict("total", table, rows=rows, method="__call__").wait("sealed").ids)


# --- the traps of the reference ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_trap_null_keys_take_part_in_no_group(archive: Archive, engine: str):
    """Rows without a key are nobody's members, and have no group themselves, unless asked for: then they are one."""
    table = pa.table({"k": ["a", None, "a", None], "x": [1.0, 2.0, 3.0, 4.0]})
    name = f"nulls_{engine.replace('-', '_')}"
    frame = archive.source(ENGINES[engine](table), name)
    for dropna, groups in ((True, [{0, 2}]), (False, [{0, 2}, {1, 3}])):
        means = archive.group(frame, "k", name=f"{name}{dropna:d}", dropna=dropna, mean_x=("x", "mean"))
        ids = _predicted(archive, means, ["mean_x"])
        assert sorted(sorted(claimed_rows(archive, one)[name]) for one in ids) == sorted(map(sorted, groups))


def test_trap_null_keys_of_a_merge_back_name_no_group(archive: Archive):
    """A row without a key keeps itself, and its group is `no row`."""
    frame = archive.source(pd.DataFrame({"k": ["a", None, "a", "b"], "x": [1.0, 2.0, 3.0, 4.0]}), "merged")
    means = archive.group(frame, "k", name="merged_mean", mean_x=("x", "mean"))
    ids = _predicted(archive, frame.merge(means, on="k", how="left"), ["x", "mean_x"])
    members = [member_rows(archive, one, "merged_mean") for one in ids]
    assert members == [{"merged": {0, 2}}, {}, {"merged": {0, 2}}, {"merged": {3}}]


def test_trap_a_join_that_fans_out_uses_a_row_several_times(archive: Archive):
    """Three copies of a row lead to the same source row."""
    left = archive.source(pd.DataFrame({"k": [1, 2], "x": [1.0, 2.0]}), "left")
    right = archive.source(pd.DataFrame({"k": [2, 2, 2], "y": [7.0, 8.0, 9.0]}), "right")
    ids = _predicted(archive, left.merge(right, on="k"), ["x", "y"])
    assert [rows_of(archive, name) for name in ids] == [{"left": 1, "right": row} for row in range(3)]


def test_trap_sampling_with_replacement_keeps_multiplicities(archive: Archive):
    """A training set that was drawn names each row as often as it was drawn, in the order it was drawn."""
    drawn = [4, 0, 4, 4, 2]
    frame = archive.source(pd.DataFrame({"x": np.arange(6.0)}), "drawn").iloc[drawn]
    version = archive.register(_total, name="bootstrap", rows=archive.split(frame)[1])
    training: JsonObject = version.document["training"]  # type: ignore[assignment]
    assert Tracer(archive._ledger).training(training)["drawn"].tolist() == drawn
    (model,) = archive.impact("drawn", rows=[4]).models
    assert (model.name, model.direct) == ("bootstrap", 3)


@pytest.mark.parametrize("engine", ENGINES)
def test_trap_drop_duplicates_keeps_one_witness(archive: Archive, engine: str):
    """Of equal rows the one that is kept is recorded as the only one; a group by their columns has all of them."""
    table = pa.table({"x": [1.0, 1.0, 2.0, 1.0], "y": [0.0, 0.0, 1.0, 3.0]})
    name = f"equal_{engine.replace('-', '_')}"
    frame = archive.source(ENGINES[engine](table), name)
    ids = _predicted(archive, archive.distinct(frame), ["x", "y"])
    assert [rows_of(archive, one)[name] for one in ids] == [0, 2, 3]
    last = _predicted(archive, archive.distinct(frame, "x", keep="last"), ["x", "y"])
    assert [rows_of(archive, one)[name] for one in last] == [2, 3]
    assert archive.impact(name, rows=[1]).counts["predictions"] == 0
    grouped = archive.group(frame, ["x", "y"], name=f"{name}_all", z=("y", "first"))
    ids = _predicted(archive, grouped, ["x", "y"])
    assert {frozenset(claimed_rows(archive, one)[name]) for one in ids} == {
        frozenset({0, 1}),
        frozenset({2}),
        frozenset({3}),
    }


def test_trap_two_sources_in_one_id_column_are_refused(archive: Archive):
    """A union needs two id columns, one of them empty in each row; put into one, the ids of the other do not check."""
    old = archive.source(pd.DataFrame({"x": [1.0, 2.0]}), "old")
    new = archive.source(pd.DataFrame({"x": [3.0, 4.0]}), "new")
    with pytest.raises(TokenError, match="rows of another source"):
        archive.split(pd.concat([old, new.rename(columns={"_row_new": "_row_old"})]))
    ids = _predicted(archive, pd.concat([old, new]), ["x"])
    assert [rows_of(archive, one) for one in ids] == [
        {"old": 0, "new": None},
        {"old": 1, "new": None},
        {"old": None, "new": 0},
        {"old": None, "new": 1},
    ]


def test_trap_a_cast_to_int32_overflows():
    """Above 32,767 rows an id needs more than 32 bits: cut to them it is refused, and cast back it is no other row."""
    sources = Sources()
    frame, _ = sources.fix(pd.DataFrame({"x": np.arange(40_000.0)}), "wide", salt=77)
    narrow = frame["_row_wide"].to_numpy().astype("int32")
    with pytest.raises(TokenError, match="int32, which is too narrow"):
        split(sources, frame.assign(_row_wide=narrow))
    with pytest.warns(LineageWarning):
        _, rows = split(sources, frame.assign(_row_wide=narrow.astype("int64")), on_broken="grade")
    assert rows.grades["wide"] == "broken"
    assert set(rows.positions["wide"].tolist()) <= {*range(32_768), BROKEN}
    assert (np.isin(rows.positions["wide"], [BROKEN]) | (rows.positions["wide"] == np.arange(40_000))).all()


def test_trap_a_category_without_rows_is_no_group(archive: Archive):
    """Also where pandas would make one, the numbers of the groups that are there are right."""
    key = pd.Categorical(["b", "a", "b"], categories=["z", "b", "y", "a"])
    frame = archive.source(pd.DataFrame({"k": key, "x": [1.0, 2.0, 4.0]}), "categories")
    sums = archive.group(frame, "k", name="category", sum_x=("x", "sum"))
    ids = _predicted(archive, sums, ["sum_x"])
    assert [claimed_rows(archive, one) for one in ids] == [{"categories": {0, 2}}, {"categories": {1}}]


@pytest.mark.parametrize("column", ["x", "_row_alone"])
def test_trap_one_column_sorted_alone_is_not_exact(archive: Archive, column: str):
    """Ids or values that were sorted by themselves are on other rows: told, and recorded as coarse."""
    values = np.random.default_rng(3).permutation(40).astype(float)
    frame = archive.source(pd.DataFrame({"x": values}), "alone").sample(frac=1.0, random_state=2)
    frame[column] = np.sort(frame[column])
    with pytest.warns(LineageWarning, match="wrong rows"):
        (name, *_) = _predicted(archive, frame, ["x"])
    assert archive.why(name).rows[0].grade == "coarse"


def test_trap_the_name_of_an_id_column_is_an_identifier(archive: Archive):
    """It needs no quotes in SQL, and `query` and `eval` of pandas read it as a column."""
    frame = archive.source(pd.DataFrame({"x": [1.0, 2.0]}), "named")
    token = int(frame["_row_named"].iloc[1])
    assert frame.query("_row_named == @token")["x"].tolist() == [2.0]
    assert frame.eval("y = _row_named")["y"].tolist() == frame["_row_named"].tolist()
    assert duckdb.from_df(frame).filter(f"_row_named = {token}").project("x").fetchall() == [(2.0,)]


_ELSEWHERE = """
import sys
import pandas as pd
import backstory

def total(frame):
    return frame.sum(axis=1).to_numpy()

with backstory.open(sys.argv[1]) as archive:
    features, rows = archive.split(pd.read_pickle(sys.argv[2]), ["amount", "years"])
    model = archive.register(total, name="total")
    print(*archive.predict(model, features, rows=rows, method="__call__").wait("sealed").ids)
"""


def test_trap_frames_pickled_between_processes_name_the_same_rows(
    kept: tuple[Path, tuple[str, ...], str], tmp_path: Path
):
    """A token frame of a source the archive keeps is predicted on elsewhere, and leads to the same rows."""
    path, _, _ = kept
    with backstory.open(path) as archive:
        frame = archive.source(loans(), "later", key="loan")
        features, rows = archive.split(frame, ["amount", "years"])
        archive.predict("credit", features, rows=rows).wait("sealed")
    frame.iloc[[30, 4, 17]].to_pickle(tmp_path / "frame.pickle")
    command = [sys.executable, "-c", _ELSEWHERE, str(path), str(tmp_path / "frame.pickle")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    with backstory.open(path) as archive:
        assert [rows_of(archive, name) for name in done.stdout.split()] == [{"later": 30}, {"later": 4}, {"later": 17}]


# --- damage -----------------------------------------------------------------------------------------------------------

ROWS = 40
DAMAGE: dict[str, Callable[[np.ndarray], Any]] = {
    "added to": lambda ids: ids + np.uint64(1),
    "made bits of": lambda ids: ids ^ np.uint64(1 << 20),
    "made half": lambda ids: ids // np.uint64(2),
    "rolling mean": lambda ids: pd.Series(ids).rolling(2, min_periods=1).mean().to_numpy(),
    "mean of a group": lambda ids: pd.Series(ids).groupby(np.arange(ROWS) // 4).transform("mean").to_numpy(),
    "sum of a group": lambda ids: pd.Series(ids).groupby(np.arange(ROWS) // 4).transform("sum").to_numpy(),
    "scaled": lambda ids: (ids - ids.mean()) / ids.std(),
    "cumulated": np.cumsum,
    "cast to float32": lambda ids: ids.astype("float32"),
    "cast to float32 and back": lambda ids: ids.astype("float32").astype("uint64"),
    "cast to int32": lambda ids: ids.astype("int32"),
    "cast to int32 and back": lambda ids: ids.astype("int32").astype("int64"),
    "cast to int16": lambda ids: ids.astype("int16"),
    "made text": lambda ids: ids.astype("str"),
    "negated": lambda ids: -ids.astype("int64"),
    "missing filled with one": lambda ids: np.where(np.arange(ROWS) % 5 == 0, 1, ids),
    "missing filled with the mean": lambda ids: np.where(np.arange(ROWS) % 5 == 0, ids.mean(), ids),
    "one of them": lambda ids: np.where(np.arange(ROWS) == 3, ids + np.uint64(9), ids),
    "made true or false": lambda ids: ids > ids.mean(),
}


@pytest.fixture(scope="module")
def tokens() -> tuple[Sources, np.ndarray]:
    """Sources with 40,000 rows and with others of as many, and ids of 40 of the first, some above 32 bits."""
    sources = Sources()
    frame, _ = sources.fix(pa.table({"x": np.arange(40_000)}), "s", salt=0x1234567890ABCDEF)
    sources.fix(pa.table({"x": np.arange(40_000)}), "other", salt=0x0FEDCBA987654321)
    return sources, frame.column("_row_s").to_numpy()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_ids_are_refused_or_broken(engine: str, damage: str, tokens: tuple[Sources, np.ndarray]):
    """In every library: refused, and where rows are to be graded broken; none that is left is of another row."""
    sources, every = tokens
    true = np.arange(ROWS) * 997
    frame = ENGINES[engine](pa.table({"x": true, "_row_s": pa.array(DAMAGE[damage](every[true]))}))
    with pytest.raises(TokenError):
        split(sources, frame)
    with pytest.warns(LineageWarning):
        _, rows = split(sources, frame, on_broken="grade")
    assert rows.grades["s"] == "broken"
    assert ((rows.positions["s"] == true) | (rows.positions["s"] == BROKEN)).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_ids_that_were_filled_with_zero_name_no_row(engine: str, tokens: tuple[Sources, np.ndarray]):
    """0 is how "no row" is written: the others keep theirs."""
    sources, every = tokens
    ids = np.where(np.arange(ROWS) % 5 == 0, np.uint64(0), every[:ROWS])
    _, rows = split(sources, ENGINES[engine](pa.table({"x": np.arange(ROWS), "_row_s": ids})))
    assert rows.positions["s"].tolist() == [-1 if row % 5 == 0 else row for row in range(ROWS)]


@pytest.mark.parametrize("engine", ENGINES)
def test_ids_of_another_source_are_refused(engine: str, tokens: tuple[Sources, np.ndarray]):
    """Also where it has as many rows, with the same values."""
    sources, every = tokens
    with pytest.raises(TokenError, match="'_row_other'"):
        split(sources, ENGINES[engine](pa.table({"x": np.arange(ROWS), "_row_other": every[:ROWS]})))


def test_greatest_ids_of_rows_aggregated_without_group_are_not_exact(archive: Archive):
    """They are of one row of several, whose other values do not stand there: told, and recorded as coarse."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"k": np.arange(60) % 12, "x": rng.random(60), "y": rng.random(60)})
    frame = archive.source(table, "greatest").groupby("k", as_index=False).max()
    with pytest.warns(LineageWarning, match=r"without group\(\)"):
        (name, *_) = _predicted(archive, frame, ["k", "x", "y"])
    assert archive.why(name).rows[0].grade == "coarse"


def test_ids_in_a_sum_of_all_columns_are_refused(archive: Archive):
    """`groupby().sum()` adds up ids too."""
    frame = archive.source(pd.DataFrame({"k": np.arange(60) % 12, "x": np.arange(60.0)}), "summed")
    with pytest.raises(TokenError, match="'_row_summed'"):
        archive.split(frame.groupby("k", as_index=False).sum())


def test_ids_of_a_group_of_another_session_are_refused(tmp_path: Path):
    """A group belongs to the session that made it; its tokens are refused elsewhere, not guessed at."""
    table = pd.DataFrame({"k": ["a", "b", "a"], "x": [1.0, 2.0, 3.0], "day": [1, 2, 3]})
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        archive.register(_total, name="total")
        frame = archive.source(table, "source")
        means = archive.group(frame, "k", name="mean", mean_x=("x", "mean"))
        earlier = archive.window(frame, by="k", time="day", name="earlier", rows=1, last_x=("x", "last"))
        _predicted(archive, means, ["mean_x"])
        _predicted(archive, earlier, ["x"])
    with backstory.open(tmp_path / "audit") as archive:
        with pytest.raises(TokenError, match="_row_mean"):
            archive.split(pickle.loads(pickle.dumps(means)), ["mean_x"])
        with pytest.raises(TokenError, match="_row_earlier"):
            archive.split(pickle.loads(pickle.dumps(earlier)), ["x"])


def test_ids_that_are_aggregated_or_grouped_by_are_refused(archive: Archive):
    """A row's id is no value and no key, in groups and in windows."""
    frame = archive.source(pd.DataFrame({"k": [1, 1], "x": [1.0, 2.0]}), "values")
    for by, column in (("_row_values", "x"), ("k", "_row_values")):
        with pytest.raises(ColumnError):
            archive.group(frame, by, name="g", m=(column, "max"))
        with pytest.raises(ColumnError):
            archive.window(frame, by=by, time="x", name="w", rows=1, m=(column, "max"))


def test_what_a_lazy_frame_gives_anew_is_not_another_row():
    """A frame that draws rows at each read was fixed once: reading it again gives the rows that have the ids."""
    sources = Sources()
    con = duckdb.connect()
    drawn = con.sql("SELECT range AS x, random() AS noise FROM range(50)")
    lazy = pl.LazyFrame({"x": range(50)}).with_columns(noise=pl.col("x").shuffle())
    for frame in (drawn, lazy):
        traced, snapshot = sources.fix(frame, "s", salt=9)
        kept = to_arrow(traced)
        assert kept.drop_columns(["_row_s"]).equals(snapshot.table())
        assert rows_of_frame(traced) == rows_of_frame(traced)
        assert column_values(traced, "_row_s") is not None


def test_no_warning_is_given_where_nothing_is_wrong(archive: Archive):
    """A frame that went through joins, groups and windows is split without a word."""
    frame = archive.source(pd.DataFrame({"k": np.arange(40) % 4, "day": np.arange(40), "x": np.arange(40.0)}), "quiet")
    sums = archive.group(frame, "k", name="quiet_sum", sum_x=("x", "sum"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", LineageWarning)
        frame = archive.window(frame, by="k", time="day", name="quiet_last", window=8, last_x=("x", "sum"))
        _predicted(archive, frame.merge(sums, on="k"), ["x", "sum_x", "last_x"])
