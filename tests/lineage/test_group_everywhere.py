"""`group` on every library: values and members against a plain list of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.engines import ENGINES, relation, rows_of_frame

from backstory.errors import ColumnError
from backstory.frames.aggregate import AGGREGATIONS
from backstory.frames.table import kind_of, to_arrow
from backstory.lineage.group import GroupNode, group
from backstory.lineage.passthrough import mixed_references
from backstory.lineage.source import Sources
from backstory.lineage.split import split

SKIPS_NULLS = {"pandas": {"first", "last", "nunique"}, "arrow": {"first", "last", "nunique"}, "duckdb": {"nunique"}}
"""Aggregations that do not take a null for a value; of the others no library does."""
EMPTY_SUM = {"pandas": 0.0, "polars": 0.0, "polars-lazy": 0.0}
AGGS = {name: ("v", name) for name in sorted(AGGREGATIONS)}
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        st.sampled_from([1, 2, None]),
        st.one_of(st.none(), st.integers(-8, 8).map(lambda n: n / 4)),
    ),
    min_size=1,
    max_size=9,
)


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    k, j, v = zip(*rows, strict=True)
    return pa.table({"k": pa.array(k, pa.string()), "j": pa.array(j, pa.int64()), "v": pa.array(v, pa.float64())})


def _model(engine: str, function: str, values: list[float | None]) -> Any:
    """Return an aggregation of the values of a group as the library means it."""
    engine = "polars" if engine == "polars-lazy" else engine
    known = [value for value in values if value is not None]
    taken = known if function in SKIPS_NULLS.get(engine, set()) else values
    match function:
        case "first" | "last":
            return taken[0 if function == "first" else -1] if taken else None
        case "nunique":
            return len(set(taken))
        case "count":
            return len(known)
        case "sum":
            return sum(known) if known else EMPTY_SUM.get(engine)
        case "std":
            return float(np.std(known, ddof=1)) if len(known) > 1 else None
        case "mean":
            return sum(known) / len(known) if known else None
    return {"min": min, "max": max}[function](known) if known else None


def members_by_key(frame: Any, node: GroupNode) -> dict[tuple[Any, ...], dict[str, list[int]]]:
    """Return for each key of a grouped frame the positions of each reference that went into it, sorted."""
    found = {}
    for row, number in zip(rows_of_frame(frame), node.order, strict=True):
        rows = node.codes == number
        found[tuple(row[name] for name in node.by)] = {
            name: sorted(positions[rows].tolist()) for name, positions in node.refs.items()
        }
    return found


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=12, deadline=None)
@given(rows=ROWS, dropna=st.booleans())
def test_values_and_members_are_those_of_a_plain_list(engine: str, rows: list[tuple[Any, ...]], dropna: bool):
    """Every aggregation over two keys, some of them null, is that of the rows the group names, and no row is left."""
    sources = Sources()
    frame, _ = sources.fix(ENGINES[engine](_table(rows)), "t", salt=3)
    grouped, node = group(sources, frame, ["k", "j"], name="g", salt=5, dropna=dropna, **AGGS)
    wanted: dict[tuple[Any, ...], list[int]] = {}
    for position, (k, j, _) in enumerate(rows):
        if not dropna or (k is not None and j is not None):
            wanted.setdefault((k, j), []).append(position)
    assert members_by_key(grouped, node) == {key: {"t": positions} for key, positions in wanted.items()}
    for row in rows_of_frame(grouped):
        values = [rows[position][2] for position in wanted[row["k"], row["j"]]]
        for function in AGGS:
            expected = _model(engine, function, values)
            assert row[function] == (expected if function != "std" or expected is None else pytest.approx(expected))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_kind_of_frame_is_kept(engine: str):
    """A grouped frame is one of the same library, lazy where it was lazy."""
    sources = Sources()
    frame, _ = sources.fix(ENGINES[engine](_table([("a", 1, 0.5)])), "t", salt=3)
    grouped, _ = group(sources, frame, "k", name="g", salt=5, m=("v", "max"))
    assert (kind_of(frame), kind_of(grouped)) == (engine, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_result_has_no_groups(engine: str):
    """Keys that are null everywhere make no group, and the columns are there all the same."""
    sources = Sources()
    frame, _ = sources.fix(ENGINES[engine](_table([(None, 1, 0.5), (None, 2, 1.5)])), "t", salt=3)
    grouped, node = group(sources, frame, "k", name="g", salt=5, m=("v", "max"))
    assert (node.groups, len(node.codes), rows_of_frame(grouped)) == (0, 0, [])
    assert to_arrow(grouped).column_names == ["k", "m", "_row_g"]


NAN_KEYS = pa.table({"k": pa.array([1.0, float("nan"), None, float("nan")]), "v": [1, 2, 4, 8]})


@pytest.mark.parametrize(
    ("engine", "sums"),
    [("pandas", [1]), ("polars", [1, 10]), ("polars-lazy", [1, 10]), ("arrow", [1, 10]), ("duckdb", [1, 10])],
)
def test_what_a_null_key_is_the_library_says(engine: str, sums: list[int]):
    """To pandas NaN is missing; to the others it is a number, equal to itself, and only null is missing."""
    sources = Sources()
    frame, _ = sources.fix(ENGINES[engine](NAN_KEYS), "t", salt=3)
    grouped, node = group(sources, frame, "k", name="g", salt=5, s=("v", "sum"))
    assert sorted(row["s"] for row in rows_of_frame(grouped)) == sums
    assert len(node.codes) == sum(sums).bit_count()


@pytest.mark.parametrize("marker", [None, np.nan, pd.NaT, pd.NA], ids=["None", "NaN", "NaT", "NA"])
def test_every_missing_marker_of_pandas_is_a_null_key(marker: Any):
    """Dropped, or one group of their own, in columns of objects and of times."""
    for key in (pd.Series(["a", marker, marker], dtype=object), pd.Series([pd.Timestamp(1), marker, marker])):
        sources = Sources()
        frame, _ = sources.fix(pd.DataFrame({"k": key, "v": [1, 2, 4]}), "t", salt=3)
        for dropna, codes in ((True, [0]), (False, [0, 1, 1])):
            _, node = group(sources, frame, "k", name=f"g{dropna:d}", salt=5, dropna=dropna, s=("v", "sum"))
            assert node.codes.tolist() == codes


@pytest.mark.parametrize(
    "make",
    [
        lambda: pd.DataFrame({"k": pd.Categorical(["b", "a", "b"], ["z", "b", "y", "a"]), "v": [1, 2, 4]}),
        lambda: pl.DataFrame({"k": pl.Series(["b", "a", "b"], dtype=pl.Enum(["z", "b", "y", "a"])), "v": [1, 2, 4]}),
        lambda: pa.table({"k": pa.DictionaryArray.from_arrays([1, 3, 1], ["z", "b", "y", "a"]), "v": [1, 2, 4]}),
        lambda: duckdb.connect().sql(
            "SELECT k::ENUM('z', 'b', 'y', 'a') AS k, v FROM (VALUES ('b', 1), ('a', 2), ('b', 4)) AS t(k, v)"
        ),
    ],
    ids=["pandas", "polars", "arrow", "duckdb"],
)
def test_categories_without_rows_make_no_group(make: Callable[[], Any]):
    """A category no row has is in no library a group, and the numbers of the others are right."""
    sources = Sources()
    ids, _ = sources.fix(make(), "t", salt=3)
    grouped, node = group(sources, ids, "k", name="g", salt=5, s=("v", "sum"))
    assert {row["k"]: row["s"] for row in rows_of_frame(grouped)} == {"a": 2, "b": 5}
    assert members_by_key(grouped, node) == {("a",): {"t": [1]}, ("b",): {"t": [0, 2]}}


# --- what frames go through before ------------------------------------------------------------------------------------


def _union(engine: str, first: Any, second: Any) -> Any:
    if engine == "pandas":
        return pd.concat([first, second], ignore_index=True)
    if engine in ("polars", "polars-lazy"):
        return pl.concat([first, second], how="diagonal")
    if engine == "arrow":
        return pa.concat_tables([first, second], promote_options="default")
    return first.query("f", "SELECT * FROM f UNION ALL BY NAME SELECT * FROM second")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_union_of_sources_has_two_id_columns_one_of_them_empty(engine: str):
    """Members of a group over both are named with the source they are of."""
    sources, con = Sources(), duckdb.connect()
    tables = [_table([("a", 1, 0.5), ("b", 1, 1.0)]), _table([("b", 2, 2.0), ("a", 2, 4.0), ("a", 3, 8.0)])]
    made = [con.from_arrow(table) if engine == "duckdb" else ENGINES[engine](table) for table in tables]
    first, _ = sources.fix(made[0], "old", salt=3)
    second, _ = sources.fix(made[1], "new", salt=4)
    grouped, node = group(sources, _union(engine, first, second), "k", name="g", salt=5, s=("v", "sum"))
    assert {row["k"]: row["s"] for row in rows_of_frame(grouped)} == {"a": 12.5, "b": 3.0}
    present = {
        key: {name: [row for row in rows if row >= 0] for name, rows in members.items()}
        for key, members in members_by_key(grouped, node).items()
    }
    assert present == {("a",): {"old": [0], "new": [1, 2]}, ("b",): {"old": [1], "new": [0]}}
    assert set(mixed_references(node)) == {"old", "new"}


LISTS = pa.table({"k": ["a", "b", "a"], "tags": pa.array([["x", "y"], ["x"], ["y", "y"]])})


def _exploded(engine: str, frame: Any) -> Any:
    if engine == "pandas":
        return frame.explode("tags")
    if engine in ("polars", "polars-lazy"):
        return frame.explode("tags")
    if engine == "arrow":
        lists = frame.column("tags").combine_chunks()
        rows = frame.drop_columns(["tags"]).take(lists.value_parent_indices())
        return rows.append_column("tags", lists.flatten())
    return frame.project("k, unnest(tags) AS tags, _row_t")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_exploded_row_is_a_member_as_often_as_it_is_used(engine: str):
    """A row whose list has a value twice is in that group twice."""
    sources = Sources()
    frame, _ = sources.fix(ENGINES[engine](LISTS), "t", salt=3)
    grouped, node = group(sources, _exploded(engine, frame), "tags", name="g", salt=5, n=("k", "count"))
    assert members_by_key(grouped, node) == {("x",): {"t": [0, 1]}, ("y",): {"t": [0, 2, 2]}}
    assert {row["tags"]: row["n"] for row in rows_of_frame(grouped)} == {"x": 2, "y": 3}


DRAWN = [2, 0, 2, 2, 1]


def _drawn(engine: str, frame: Any) -> Any:
    if engine == "pandas":
        return frame.iloc[DRAWN]
    if engine == "polars":
        return frame[DRAWN]
    if engine == "polars-lazy":
        return frame.select(pl.all().gather(DRAWN))
    if engine == "arrow":
        return frame.take(pa.array(DRAWN))
    draws = "(VALUES (2.0), (0.5), (2.0), (2.0), (1.0)) AS draws(drawn)"
    return frame.query("f", f"SELECT f.* FROM f JOIN {draws} ON f.v = draws.drawn")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_drawn_several_times_is_a_member_as_often(engine: str):
    """A bootstrap sample keeps its multiplicities, in groups and in the references of a split."""
    sources = Sources()
    frame, _ = sources.fix(ENGINES[engine](_table([("a", 1, 0.5), ("a", 1, 1.0), ("a", 1, 2.0)])), "t", salt=3)
    sample = _drawn(engine, frame)
    grouped, node = group(sources, sample, "k", name="g", salt=5, s=("v", "sum"))
    assert rows_of_frame(grouped)[0]["s"] == 7.5
    assert members_by_key(grouped, node) == {("a",): {"t": [0, 1, 2, 2, 2]}}
    _, rows = split(sources, sample)
    assert sorted(rows.positions["t"].tolist()) == sorted(DRAWN)


def _left_join(engine: str, left: Any, right: Any) -> Any:
    if engine == "pandas":
        return left.merge(right, on="j", how="left")
    if engine in ("polars", "polars-lazy"):
        return left.join(right, on="j", how="left")
    if engine == "arrow":
        return left.join(right, "j", join_type="left outer")
    return left.query("l", 'SELECT l.*, w, _row_right FROM l LEFT JOIN "right" USING (j)')


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_without_a_match_are_members_of_one_side(engine: str):
    """A group over a left join names the rows that matched, and no other of the right side."""
    sources, con = Sources(), duckdb.connect()
    tables = [_table([("a", 1, 0.5), ("a", 9, 1.0), ("b", 9, 2.0)]), pa.table({"j": [1, 2], "w": [10.0, 20.0]})]
    made = [con.from_arrow(table) if engine == "duckdb" else ENGINES[engine](table) for table in tables]
    left, _ = sources.fix(made[0], "left", salt=3)
    right, _ = sources.fix(made[1], "right", salt=4)
    grouped, node = group(sources, _left_join(engine, left, right), "k", name="g", salt=5, n=("w", "count"))
    assert members_by_key(grouped, node) == {
        ("a",): {"left": [0, 1], "right": [-1, 0]},
        ("b",): {"left": [2], "right": [-1]},
    }
    assert {row["k"]: row["n"] for row in rows_of_frame(grouped)} == {"a": 1, "b": 0}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_group_of_groups_names_groups(engine: str):
    """The second step's members are numbers of the first step's groups."""
    sources = Sources()
    rows = [("a", 1, 0.5), ("a", 2, 1.0), ("b", 1, 2.0), ("a", 1, 4.0)]
    frame, _ = sources.fix(ENGINES[engine](_table(rows)), "t", salt=3)
    inner, first = group(sources, frame, ["k", "j"], name="inner", salt=5, s=("v", "sum"))
    outer, node = group(sources, inner, "k", name="outer", salt=6, m=("s", "max"))
    assert {row["k"]: row["m"] for row in rows_of_frame(outer)} == {"a": 4.5, "b": 2.0}
    assert members_by_key(outer, node) == {("a",): {"inner": [0, 1]}, ("b",): {"inner": [2]}}
    assert node.origins["inner"] is first


# --- what SQL has of its own ------------------------------------------------------------------------------------------


def test_first_and_last_of_a_relation_are_in_the_order_of_ids():
    """Whatever order the query gives, the row with the first id is the first."""
    sources = Sources()
    frame, _ = sources.fix(relation(_table([("a", 1, 0.5), ("a", 1, 1.0), ("a", 1, 2.0)])), "t", salt=3)
    for direction in ("ASC", "DESC"):
        ordered = frame.order(f"v {direction}")
        grouped, _ = group(
            sources, ordered, "k", name=f"g{direction.lower()}", salt=5, f=("v", "first"), t=("v", "last")
        )
        assert rows_of_frame(grouped.project("f, t")) == [{"f": 0.5, "t": 2.0}]


def test_sums_of_integers_are_integers():
    """A sum of a relation's integers, which SQL makes a HUGEINT, is a BIGINT as in other libraries."""
    sources = Sources()
    frame, _ = sources.fix(relation(pa.table({"k": ["a"], "n": pa.array([3], pa.int32()), "b": [True]})), "t", salt=3)
    grouped, _ = group(sources, frame, "k", name="g", salt=5, n=("n", "sum"), b=("b", "sum"))
    assert list(map(str, grouped.types)) == ["VARCHAR", "BIGINT", "BIGINT", "UBIGINT"]


def test_names_of_sql_are_names():
    """Keys and columns with quotes, blanks and words of SQL can be grouped."""
    sources = Sources()
    table = pa.table({'k"1': ["a", "a"], "group by": [1, 2], "select *": [0.5, 1.5]})
    frame, _ = sources.fix(relation(table), "t", salt=3)
    aggs = {'m"': ("select *", "mean"), "from": ("select *", "first")}
    grouped, _ = group(sources, frame, ['k"1'], name="g", salt=5, **aggs)
    assert rows_of_frame(grouped.select(*map(duckdb.ColumnExpression, ('k"1', 'm"', "from")))) == [
        {'k"1': "a", 'm"': 1.0, "from": 0.5}
    ]


def test_a_join_that_leaves_a_name_twice_is_refused():
    """Which of the two columns is meant cannot be known."""
    sources = Sources()
    frame, _ = sources.fix(relation(_table([("a", 1, 0.5)])), "t", salt=3)
    doubled = frame.query("f", "SELECT * FROM f JOIN f AS g USING (k)")
    with pytest.raises(ColumnError, match="stands twice"):
        group(sources, doubled, "k", name="g", salt=5, m=("v", "max"))
