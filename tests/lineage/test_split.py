"""Split: what ids survive, what damage is found, and that no row is ever a wrong one."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import ColumnError, InputError, TokenError
from backstory.frames.table import kind_of, to_arrow
from backstory.lineage.refs import LineageWarning
from backstory.lineage.source import Sources
from backstory.lineage.split import split

RIGHT = {"k": [1, 2, 4], "w": [0.1, 0.2, 0.4]}
LEFT = {"k": [3, 1, 2, 1, 5], "v": [30, 10, 20, 11, 50]}

ENGINES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "polars-lazy": pl.LazyFrame, "arrow": pa.table}


def joined(sources: Sources, engine: str):
    """Join two sources and sort the result by v, in one library."""
    left, _ = sources.fix(ENGINES[engine](LEFT), "left", salt=0x1234567890ABCDEF)
    right, _ = sources.fix(ENGINES[engine](RIGHT), "right", salt=0xFEDCBA0987654321)
    if engine == "pandas":
        frame = left[left.v < 50].merge(right, on="k", how="left")
        return pd.concat([frame, frame.tail(1)]).sort_values("v", kind="stable")
    if engine == "arrow":
        frame = left.filter(pa.array([True, True, True, True, False])).join(right, "k").sort_by("k")
        return pa.concat_tables([frame, frame.slice(2, 1)]).sort_by("v")
    frame = left.filter(pl.col("v") < 50).join(right, on="k", how="left", maintain_order="left")
    return pl.concat([frame, frame.filter(pl.col("v") == 11)]).sort("v", maintain_order=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_ids_survive_the_callers_own_library(engine):
    """Filter, left join with unmatched rows, concat and sort keep each row's ids, in every library."""
    sources = Sources()
    frame = joined(sources, engine)
    features, rows = split(sources, frame)
    values = to_arrow(features)
    assert values.column_names[:2] == ["k", "v"]
    assert not [name for name in values.column_names if name.startswith("_row_")]
    left = [LEFT["v"].index(v) for v in values.column("v").to_pylist()]
    right = [RIGHT["k"].index(k) if k in RIGHT["k"] else -1 for k in values.column("k").to_pylist()]
    assert len(rows) == len(left)
    assert rows.positions["left"].tolist() == left
    assert rows.positions["right"].tolist() == right
    assert -1 in right
    assert dict(rows.grades) == {"left": "exact", "right": "exact"}
    assert kind_of(features) == ("polars" if engine == "polars-lazy" else engine)


def pandas_ids(sources: Sources, n: int = 40):
    """Fix a small source."""
    frame = pd.DataFrame({"k": np.arange(n) % 7, "v": np.arange(n) * 1.5})
    return sources.fix(frame, "left", salt=0xA5A5_1234_5678_9ABC)[0]


def test_self_join_suffixes_name_the_same_source():
    """A self-join gives two references into one source."""
    sources = Sources()
    ids = pandas_ids(sources)
    _, rows = split(sources, ids.merge(ids, on="k").rename(columns={"_row_left_y": "_row_left_right"}))
    assert rows.names == ("left_x", "left_right")
    assert rows.origins["left_x"] == rows.origins["left_right"]
    assert set(zip(*(rows.positions[name].tolist() for name in rows.names), strict=True)) == {
        (i, j) for i in range(40) for j in range(40) if i % 7 == j % 7
    }


def test_a_suffix_may_be_the_name_of_another_source():
    """After a self-join the tokens say which source a column is of, also with a broken one among them."""
    sources = Sources()
    ids = pandas_ids(sources)
    other = sources.fix(ids[["k", "v"]], "left_x", salt=7)[0]
    _, rows = split(sources, ids.merge(ids, on="v"))
    assert [rows.origins[name][0].name for name in ("left_x", "left_y")] == ["left", "left"]
    assert rows.positions["left_x"].tolist() == list(range(40))
    assert split(sources, other)[1].origins["left_x"][0].name == "left_x"
    joined = ids.merge(ids, on="v")
    joined.loc[3, "_row_left_x"] += 1
    with pytest.warns(LineageWarning, match="1 of 40"):
        _, rows = split(sources, joined, on_broken="grade")
    assert rows.positions["left_x"].tolist() == [-2 if row == 3 else row for row in range(40)]


def test_ids_survive_files():
    """Parquet and CSV round trips keep ids."""
    sources = Sources()
    ids = pandas_ids(sources)
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(ids), sink)
    again = pq.read_table(io.BytesIO(sink.getvalue()))
    assert split(sources, again)[1].positions["left"].tolist() == list(range(40))
    text = pd.read_csv(io.StringIO(ids.to_csv(index=False)))
    assert split(sources, text)[1].positions["left"].tolist() == list(range(40))


def test_parts_are_told_apart_by_position():
    """Rows of two parts in one frame keep their part; parts no row names are not in the origin."""
    sources = Sources()
    parts = [
        sources.fix(pd.DataFrame({"v": [1.0, 2.0]}), "left", part=part, salt=salt)[0]
        for salt, part in enumerate(["may", "june", "july"], start=77)
    ]
    _, rows = split(sources, pd.concat([parts[2], parts[0]]))
    assert rows.positions["left"].tolist() == [4, 5, 0, 1]
    assert [snapshot.part for snapshot in rows.origins["left"]] == ["may", "july"]
    assert rows.grades["left"] == "exact"


def test_the_version_is_the_one_the_ids_are_of():
    """Ids of an older version name that version; ids of two versions in one column are refused."""
    sources = Sources()
    old, first = sources.fix(pd.DataFrame({"v": [1.0, 2.0]}), "left", salt=5)
    new, second = sources.fix(pd.DataFrame({"v": [3.0, 4.0]}), "left", salt=6)
    assert split(sources, old)[1].origins["left"] == (first,)
    assert split(sources, new)[1].origins["left"] == (second,)
    with pytest.raises(TokenError, match="name the parts"):
        split(sources, pd.concat([old, new]))


def foreign(ids: pd.DataFrame) -> pd.Series:
    """Give the ids of an equal source of another archive."""
    return Sources().fix(ids.drop(columns="_row_left"), "left", salt=99)[0]["_row_left"]


DAMAGE = {
    "rolling": lambda ids: ids["_row_left"].rolling(2, min_periods=1).mean(),
    "mean": lambda ids: ids.groupby("k")["_row_left"].transform("mean"),
    "float32": lambda ids: ids["_row_left"].astype("float32"),
    "int32": lambda ids: ids["_row_left"].astype("int32"),
    "scaled": lambda ids: ids["_row_left"] / ids["_row_left"].max(),
    "shifted": lambda ids: ids["_row_left"] + 1,
    "doubled": lambda ids: ids["_row_left"] * 2,
    "text": lambda ids: ids["_row_left"].astype(str),
    "negative": lambda ids: -ids["_row_left"].astype("int64"),
    "foreign": foreign,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_ids_are_refused_or_broken(damage):
    """Arithmetic, casts and foreign ids are refused by column and count; graded, no row is a wrong one."""
    sources = Sources()
    ids = pandas_ids(sources)
    with np.errstate(all="ignore"):
        damaged = ids.assign(_row_left=DAMAGE[damage](ids))
    with pytest.raises(TokenError, match=r"of 40 .*'_row_left'"):
        split(sources, damaged)
    with pytest.warns(LineageWarning, match="_row_left"):
        _, rows = split(sources, damaged, on_broken="grade")
    assert rows.grades["left"] == "broken"
    assert set(rows.positions["left"].tolist()) == {-2}


def test_one_damaged_id_breaks_one_row():
    """Where few ids fail, only their rows are broken, and rows without them are exact again."""
    sources = Sources()
    ids = pandas_ids(sources)
    ids.loc[3, "_row_left"] += 1
    with pytest.raises(TokenError, match=r"1 of 40 .* in row 3"):
        split(sources, ids)
    with pytest.warns(LineageWarning):
        _, rows = split(sources, ids, on_broken="grade")
    assert rows.positions["left"].tolist() == [0, 1, 2, -2, *range(4, 40)]
    assert rows.grades["left"] == "broken"
    assert rows[4:].grades["left"] == "exact"
    assert rows[:4].grades["left"] == "broken"


def test_filled_ids_are_no_row():
    """`fillna(0)` after a left join says "no row", never row 0."""
    sources = Sources()
    _, rows = split(sources, joined(sources, "pandas").fillna(0))
    assert rows.positions["right"].min() == -1
    assert rows.grades["right"] == "exact"


@given(
    salt=st.integers(0, 2**64 - 1),
    ids=st.lists(st.one_of(st.none(), st.integers(0, 19)), min_size=1, max_size=30),
    noise=st.lists(st.tuples(st.integers(0, 29), st.floats(allow_nan=False, width=32)), max_size=5),
)
def test_no_row_is_ever_a_wrong_one(salt, ids, noise):
    """Whatever is written over some ids, each row is the right one, none, or broken."""
    sources = Sources()
    tokens = sources.fix(pd.DataFrame({"v": range(20)}), "left", salt=salt)[0]["_row_left"].to_numpy()
    column = np.array([np.nan if i is None else float(tokens[i]) for i in ids])
    expected = [-1 if i is None else i for i in ids]
    touched = {at % len(ids) for at, _ in noise}
    for at, value in noise:
        column[at % len(ids)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LineageWarning)
        _, rows = split(sources, pd.DataFrame({"v": 1.0, "_row_left": column}), on_broken="grade")
    for at, (got, right) in enumerate(zip(rows.positions["left"].tolist(), expected, strict=True)):
        assert got in ({-1, -2} if at in touched else {right, -2} if right >= 0 else {-1})


def test_features_are_the_callers_choice():
    """Features come in the order asked for; missing, doubled and id columns are refused."""
    sources = Sources()
    ids = pandas_ids(sources)
    assert list(split(sources, ids, ["v", "k"])[0].columns) == ["v", "k"]
    for wrong in (["nope"], ["v", "v"], ["v", "_row_left"], [1]):
        with pytest.raises(ColumnError):
            split(sources, ids, wrong)


@pytest.mark.parametrize("index", ["_row_right", ["k", "_row_right"]])
def test_ids_in_an_index_are_refused(index):
    """Ids that a pandas frame has in its index are not lost without a word, while others are in its columns."""
    sources = Sources()
    with pytest.raises(TokenError, match="'_row_right' there; use reset_index"):
        split(sources, joined(sources, "pandas").set_index(index), ["v"])


def test_frames_without_known_ids_are_refused():
    """No ids, ids of unknown sources, and containers without columns are refused."""
    sources = Sources()
    ids = pandas_ids(sources)
    with pytest.raises(TokenError, match="no row ids"):
        split(sources, ids.drop(columns="_row_left"))
    with pytest.raises(TokenError, match="unknown source"):
        split(Sources(), ids)
    with pytest.raises(InputError):
        split(sources, ids.to_numpy())
