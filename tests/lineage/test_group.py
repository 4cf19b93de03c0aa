"""Groups: the library's own values, and which rows went into them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from backstory.errors import ColumnError, InputError, TokenError
from backstory.frames.aggregate import AGGREGATIONS
from backstory.frames.equality import find_difference
from backstory.frames.table import drop_columns, kind_of, to_arrow
from backstory.lineage.group import GroupNode, group
from backstory.lineage.source import Sources
from backstory.lineage.split import split

DATA = {
    "k": ["b", "a", None, "b", "a", "c", None, "b"],
    "j": [1, 1, 1, 1, 2, 2, 2, 1],
    "v": [1.5, None, 3.0, 0.1, 0.2, 7.0, 8.0, None],
}
OTHER = {"j": [2, 1], "w": [0.5, 0.25]}
ENGINES = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "polars-lazy": pl.LazyFrame, "arrow": pa.table}
AGGS = {name: ("v", name) for name in sorted(AGGREGATIONS)}


def resolve_rows(node: GroupNode, number: int) -> dict[str, list[int]]:
    """Walk from one group to the positions of its sources, through groups of groups."""
    found: dict[str, list[int]] = {}
    for reference, positions in node.refs.items():
        mine = positions[node.codes == number]
        origin = node.origins[reference]
        if isinstance(origin, tuple):
            found.setdefault(reference, []).extend(mine.tolist())
            continue
        for inner in np.unique(mine[mine >= 0]):
            for name, rows in resolve_rows(origin, int(inner)).items():
                found.setdefault(f"{reference}/{name}", []).extend(rows)
    return {name: sorted(rows) for name, rows in found.items()}


@pytest.mark.parametrize("dropna", [True, False])
def test_values_are_those_of_pandas(dropna):
    """The grouped frame without ids is what pandas gives."""
    sources = Sources()
    ids, _ = sources.fix(pd.DataFrame(DATA), "left", salt=1)
    grouped, _ = group(sources, ids, ["k", "j"], name="g", salt=2, dropna=dropna, **AGGS)
    plain = pd.DataFrame(DATA).groupby(["k", "j"], as_index=False, dropna=dropna).agg(**AGGS)
    assert find_difference(plain, grouped.drop(columns="_row_g")) is None


@pytest.mark.parametrize("lazy", [False, True])
def test_values_are_those_of_polars(lazy):
    """The grouped frame without ids is what polars gives, lazy if the input was."""
    sources = Sources()
    plain = pl.DataFrame(DATA)
    ids, _ = sources.fix(plain.lazy() if lazy else plain, "left", salt=1)
    grouped, _ = group(sources, ids, "k", name="g", salt=2, dropna=False, **AGGS)
    column = pl.col("v")
    expected = plain.group_by("k", maintain_order=True).agg(
        *(getattr(column, "n_unique" if name == "nunique" else name)().alias(name) for name in AGGS)
    )
    assert isinstance(grouped, pl.LazyFrame) == lazy
    assert find_difference(expected, grouped.lazy().collect().drop("_row_g")) is None


def test_values_are_those_of_arrow():
    """The grouped table without ids is what pyarrow gives, under the names asked for."""
    sources = Sources()
    ids, _ = sources.fix(pa.table(DATA), "left", salt=1)
    grouped, _ = group(sources, ids, "k", name="g", salt=2, dropna=False, m=("v", "mean"), n=("v", "count"))
    plain = pa.table(DATA).group_by("k", use_threads=False).aggregate([("v", "mean"), ("v", "count")])
    assert find_difference(plain.rename_columns(["k", "m", "n"]), grouped.drop_columns(["_row_g"])) is None


def test_engines_agree_where_meanings_do():
    """Aggregations with one meaning give the same numbers in every library."""
    results = []
    for engine, make in ENGINES.items():
        sources = Sources()
        ids, _ = sources.fix(make(DATA), "left", salt=1)
        plan = {name: AGGS[name] for name in ("count", "max", "mean", "min", "std", "sum")}
        grouped, _ = group(sources, ids, "j", name="g", salt=2, **plan)
        results.append(to_arrow(drop_columns(grouped, ["_row_g"])).sort_by("j").to_pydict())
        assert kind_of(grouped) == engine
    for result in results[1:]:
        assert result.keys() == results[0].keys()
        for name, values in result.items():
            np.testing.assert_allclose(values, results[0][name], rtol=1e-15)


@pytest.mark.parametrize("engine", ENGINES)
def test_lineage_is_the_same_in_every_library(engine):
    """Left join, group, group of groups and join back resolve to the same rows in every library."""
    sources = Sources()
    left, _ = sources.fix(ENGINES[engine](DATA), "left", salt=11)
    right, _ = sources.fix(ENGINES[engine](OTHER), "right", salt=12)
    if engine == "pandas":
        frame = left.merge(right, on="j", how="left")
    elif engine == "arrow":
        frame = left.join(right, "j", join_type="left outer", use_threads=False)
    else:
        frame = left.join(right, on="j", how="left", maintain_order="left")
    inner, node = group(sources, frame, ["k", "j"], name="pair", salt=13, m=("v", "mean"))
    outer, top = group(sources, inner, "k", name="kind", salt=14, m=("m", "max"))
    assert (node.groups, node.rows, len(node.codes)) == (4, 8, 6)
    lineage = {}
    for key, token in zip(to_arrow(outer).column("k").to_pylist(), range(top.groups), strict=True):
        lineage[key] = resolve_rows(top, int(top.order[token]))
    assert lineage == {
        "a": {"pair/left": [1, 4], "pair/right": [0, 1]},
        "b": {"pair/left": [0, 3, 7], "pair/right": [1, 1, 1]},
        "c": {"pair/left": [5], "pair/right": [0]},
    }
    _, rows = split(sources, outer)
    assert rows.positions["kind"].tolist() == top.order.tolist()
    assert rows.origins["kind"] is top
    assert rows.grades["kind"] == "declared"


def test_numbers_follow_first_appearance():
    """Groups are numbered as they first appear in the input, whatever the order of the result."""
    sources = Sources()
    ids, _ = sources.fix(pd.DataFrame(DATA), "left", salt=1)
    grouped, node = group(sources, ids, "k", name="g", salt=2, n=("v", "count"))
    assert node.codes.tolist() == [0, 1, 0, 1, 2, 0]
    assert node.codes.dtype == np.uint32
    assert grouped["k"].tolist() == ["a", "b", "c"]
    assert node.order.tolist() == [1, 0, 2]
    assert node.refs["left"].tolist() == [0, 1, 3, 4, 5, 7]
    assert json.loads(json.dumps(node.aggs)) == {"n": ["v", "count"]}


def test_categories_without_rows_make_no_group():
    """Group numbers and output rows agree for categorical keys with categories that have no rows."""
    sources = Sources()
    key = pd.Categorical(["b", "a", "b"], categories=["z", "b", "y", "a"])
    ids, _ = sources.fix(pd.DataFrame({"k": key, "v": [1, 2, 3]}), "left", salt=1)
    grouped, node = group(sources, ids, "k", name="g", salt=2, s=("v", "sum"))
    for value, number in zip(grouped["s"], node.order, strict=True):
        assert sum([1, 2, 3][i] for i in resolve_rows(node, int(number))["left"]) == value


def test_merged_back_groups_name_their_rows():
    """After the group is merged back, each row names the group it was in."""
    sources = Sources()
    ids, _ = sources.fix(pd.DataFrame(DATA), "left", salt=1)
    grouped, node = group(sources, ids, "k", name="g", salt=2, m=("v", "sum"))
    features, rows = split(sources, ids.merge(grouped, on="k"), ["m"])
    for value, number in zip(features["m"], rows.positions["g"], strict=True):
        members = resolve_rows(node, int(number))["left"]
        assert np.nansum([DATA["v"][i] or 0 for i in members]) == value


def test_all_rows_may_take_no_part():
    """A key that is null everywhere gives an empty frame and no groups."""
    for make in (pd.DataFrame, pl.DataFrame, pa.table):
        sources = Sources()
        ids, _ = sources.fix(make({"k": pa.array([None, None], pa.string()), "v": [1, 2]}), "left", salt=1)
        grouped, node = group(sources, ids, "k", name="g", salt=2, s=("v", "sum"))
        assert (node.groups, len(node.codes), len(to_arrow(grouped))) == (0, 0, 0)


@pytest.mark.parametrize(
    ("by", "aggs", "error"),
    [
        ("nope", {"m": ("v", "mean")}, ColumnError),
        ([1], {"m": ("v", "mean")}, ColumnError),
        (1, {"m": ("v", "mean")}, ColumnError),
        ("k", {"m": ("nope", "mean")}, ColumnError),
        ("k", {"m": ("_row_left", "max")}, ColumnError),
        ("_row_left", {"m": ("v", "max")}, ColumnError),
        ("k", {"_row_m": ("v", "max")}, ColumnError),
        ("k", {"k": ("v", "max")}, ColumnError),
        ("k", {"m": ("v", "median")}, InputError),
        ("k", {}, InputError),
        ([], {"m": ("v", "mean")}, InputError),
    ],
)
def test_plans_that_cannot_be_traced_are_refused(by, aggs, error):
    """Missing and id columns, taken names, unknown aggregations and empty plans are refused."""
    sources = Sources()
    ids, _ = sources.fix(pd.DataFrame(DATA), "left", salt=1)
    with pytest.raises(error):
        group(sources, ids, by, name="g", salt=2, **aggs)
    assert not sources.find("g")


def test_groups_need_whole_ids():
    """Input without ids, or with damaged ones, is refused; names of sources are taken."""
    sources = Sources()
    ids, _ = sources.fix(pd.DataFrame(DATA), "left", salt=1)
    for damaged in (ids.drop(columns="_row_left"), ids.assign(_row_left=ids["_row_left"] + 1)):
        with pytest.raises(TokenError):
            group(sources, damaged, "k", name="g", salt=2, m=("v", "mean"))
    with pytest.raises(InputError, match="taken"):
        group(sources, ids, "k", name="left", salt=2, m=("v", "mean"))
    group(sources, ids, "k", name="g", salt=2, m=("v", "mean"))
    with pytest.raises(InputError, match="taken"):
        sources.fix(pd.DataFrame(DATA), "g", salt=3)
