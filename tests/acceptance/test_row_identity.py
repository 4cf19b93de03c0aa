"""Rows keep their identity through what people do to frames, and where they lose it that is said."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tests.support.archives import ORIGIN, fitted, loans
from tests.support.lineage import claimed_rows, rows_of

import backstory
from backstory.archive import Archive
from backstory.errors import AlignmentError, PreparationError, TokenError


def _score(frame: Any) -> np.ndarray:
    return np.asarray(frame, dtype="float64").sum(axis=1)


def _predicted(archive: Archive, frame: Any, features: list[str]) -> list[str]:
    """Split a token frame, predict with a plain function, and return the ids."""
    table, rows = archive.split(frame, features)
    version = archive.register(_score, name="sum")
    return list(archive.predict(version, table, rows=rows, method="__call__").wait("sealed").ids)


# --- joins and parts --------------------------------------------------------------------------------------------------


def test_both_sides_of_a_self_join_are_kept(archive: Archive):
    """A table joined with itself gives two references, told apart by the join's suffixes."""
    people = pd.DataFrame({"person": ["p", "q", "r"], "boss": ["q", "r", "r"], "pay": [1.0, 2.0, 4.0]})
    frame = archive.source(people, "staff", key="person")
    frame = frame.merge(frame, left_on="boss", right_on="person", suffixes=("_own", "_boss"))
    ids = _predicted(archive, frame, ["pay_own", "pay_boss"])
    named = [rows_of(archive, name) for name in ids]
    assert named == [
        {"staff_own": 0, "staff_boss": 1},
        {"staff_own": 1, "staff_boss": 2},
        {"staff_own": 2, "staff_boss": 2},
    ]


def test_parts_of_one_source_have_positions_of_their_own(archive: Archive):
    """May and June put together lead each to their own snapshot."""
    may = archive.source(pd.DataFrame({"day": ["m1", "m2"], "x": [1.0, 2.0]}), "sales", part="may")
    june = archive.source(pd.DataFrame({"day": ["j1", "j2"], "x": [3.0, 4.0]}), "sales", part="june")
    ids = _predicted(archive, pd.concat([june, may], ignore_index=True), ["x"])
    told = [archive.why(name).rows[0] for name in ids]
    assert [row.values["day"] for row in told] == ["j1", "j2", "m1", "m2"]  # noqa: PD011  a story is no frame
    assert [row.position for row in told] == [2, 3, 0, 1]


def test_a_row_without_a_match_names_no_row(archive: Archive):
    """The empty side of a left join is `no row`, not a guess and not broken."""
    left = archive.source(pd.DataFrame({"k": [1, 2], "x": [1.0, 2.0]}), "left")
    right = archive.source(pd.DataFrame({"k": [1], "y": [5.0]}), "right")
    ids = _predicted(archive, left.merge(right, on="k", how="left"), ["x", "y"])
    states = [{row.reference: row.state for row in archive.why(name).rows} for name in ids]
    assert states == [{"left": "row", "right": "row"}, {"left": "row", "right": "no row"}]


# --- groups -----------------------------------------------------------------------------------------------------------


def test_a_group_of_a_group_leads_to_source_rows(archive: Archive):
    """The sum over zones of means over streets names the rows of all its streets."""
    table = pd.DataFrame({"zone": ["a", "a", "a", "b"], "street": ["s", "s", "t", "u"], "x": [1.0, 2.0, 3.0, 4.0]})
    frame = archive.source(table, "houses")
    streets = archive.group(frame, ["zone", "street"], name="street", mean_x=("x", "mean"))
    zones = archive.group(streets, "zone", name="zone", sum_x=("mean_x", "sum"))
    ids = _predicted(archive, zones, ["sum_x"])
    assert [claimed_rows(archive, name) for name in ids] == [{"houses": {0, 1, 2}}, {"houses": {3}}]


def test_impact_goes_up_through_a_group_of_a_group(archive: Archive):
    """A row reaches the predictions made from the group of its group, and no others."""
    table = pd.DataFrame({"zone": ["a", "a", "b"], "street": ["s", "t", "u"], "x": [1.0, 2.0, 4.0]})
    frame = archive.source(table, "houses")
    streets = archive.group(frame, ["zone", "street"], name="street", mean_x=("x", "mean"))
    zones = archive.group(streets, "zone", name="zone", sum_x=("mean_x", "sum"))
    ids = _predicted(archive, zones, ["sum_x"])
    assert archive.impact("houses", rows=[1]).predictions["id"].to_pylist() == [ids[0]]


def test_both_sides_of_a_fan_out_are_members(archive: Archive):
    """How often a price counts in a mean is up to the sales it was joined to: both are members."""
    prices = archive.source(pd.DataFrame({"item": ["a", "b"], "price": [1.0, 5.0]}), "prices")
    sales = archive.source(pd.DataFrame({"item": ["a", "a", "b"], "shop": ["s", "s", "s"]}), "sales")
    means = archive.group(sales.merge(prices, on="item"), "shop", name="shop", mean_price=("price", "mean"))
    (name,) = _predicted(archive, means, ["mean_price"])
    assert claimed_rows(archive, name) == {"prices": {0, 1}, "sales": {0, 1, 2}}


def test_the_other_side_of_a_fan_out_is_a_member_where_its_own_columns_are_not_aggregated(archive: Archive):
    """Grouping and aggregating columns of the one side alone, after a join that multiplied its rows."""
    prices = archive.source(pd.DataFrame({"item": ["a", "b"], "kind": ["k", "k"], "price": [1.0, 5.0]}), "prices")
    sales = archive.source(pd.DataFrame({"item": ["a", "a", "b"]}), "sales")
    means = archive.group(sales.merge(prices, on="item"), "kind", name="kind", mean_price=("price", "mean"))
    (name,) = _predicted(archive, means, ["mean_price"])
    assert claimed_rows(archive, name) == {"prices": {0, 1}, "sales": {0, 1, 2}}


def test_a_source_that_changed_no_value_is_no_member(archive: Archive):
    """A rate of 1.0 everywhere cannot be told from no rate: docs/adr/0005 has this limit."""
    rates = archive.source(pd.DataFrame({"place": ["p"], "rate": [1.0]}), "rates")
    sales = archive.source(pd.DataFrame({"place": ["p", "p"], "price": [2.0, 4.0]}), "sales")
    frame = sales.merge(rates, on="place").assign(price=lambda frame: frame.price * frame.rate)
    means = archive.group(frame, "place", name="place", mean_price=("price", "mean"))
    (name,) = _predicted(archive, means, ["mean_price"])
    assert claimed_rows(archive, name) == {"sales": {0, 1}}


# --- other processes --------------------------------------------------------------------------------------------------


def test_suffixed_tokens_are_understood_in_a_new_session(tmp_path: Path):
    """Also where a join had renamed the id columns."""
    table = pd.DataFrame({"person": ["p", "q"], "boss": ["q", "q"], "pay": [1.0, 2.0]})
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        frame = archive.source(table, "staff", key="person")
        frame = frame.merge(frame, left_on="boss", right_on="person", suffixes=("_own", "_boss"))
        _predicted(archive, frame, ["pay_own", "pay_boss"])
    with backstory.open(tmp_path / "audit") as archive:
        ids = _predicted(archive, pickle.loads(pickle.dumps(frame)), ["pay_own", "pay_boss"])
        assert [rows_of(archive, name) for name in ids] == [
            {"staff_own": 0, "staff_boss": 1},
            {"staff_own": 1, "staff_boss": 1},
        ]


# --- alignment --------------------------------------------------------------------------------------------------------


@pytest.fixture
def aligned(archive: Archive) -> tuple[Archive, Any, Any, Any]:
    """A model, features and their row references."""
    frame = archive.source(loans(), "loans", key="loan")
    features, rows = archive.split(frame, ["amount", "years"])
    return archive, archive.register(fitted(loans()), name="credit"), features, rows


REORDERED = [
    pytest.param(lambda table: table.iloc[::-1], id="reversed"),
    pytest.param(lambda table: table.iloc[::-1].reset_index(drop=True), id="reversed and index reset"),
    pytest.param(lambda table: table.sort_values("amount", ignore_index=True), id="sorted and index reset"),
    pytest.param(lambda table: pl.from_pandas(table).sample(fraction=1.0, shuffle=True, seed=3), id="polars shuffled"),
    pytest.param(lambda table: table.to_numpy()[np.random.default_rng(3).permutation(len(table))], id="array permuted"),
    pytest.param(lambda table: table.to_numpy()[::-1], id="array reversed"),
]


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("reorder", REORDERED)
def test_reordered_features_are_refused(reorder: Any, aligned: tuple[Archive, Any, Any, Any]):
    """A prediction is never pinned to another row: features in another order than the references are refused."""
    archive, model, features, rows = aligned
    with pytest.raises(AlignmentError):
        archive.predict(model, reorder(features), rows=rows)
    assert archive.search("true").empty


def test_reordered_polars_features_are_refused(archive: Archive):
    """A shuffled polars frame, which has no index to tell, is found by its values."""
    frame = archive.source(pl.from_pandas(loans()), "loans")
    features, rows = archive.split(frame, ["amount", "years"])
    model = archive.register(fitted(loans()), name="credit")
    with pytest.raises(AlignmentError):
        archive.predict(model, features.sample(fraction=1.0, shuffle=True, seed=3), rows=rows)


@pytest.mark.parametrize("size", [0, 1, 39, 41])
def test_references_of_another_length_are_refused(size: int, aligned: tuple[Archive, Any, Any, Any]):
    """Frame and references of different length are refused, with both lengths."""
    archive, model, features, rows = aligned
    longer = pd.concat([features, features]).iloc[:size]
    with pytest.raises(AlignmentError, match=f"40.*{size}"):
        archive.predict(model, longer, rows=rows)


def test_references_go_through_train_test_split(aligned: tuple[Archive, Any, Any, Any]):
    """Split together with the features, each prediction still leads to its own row."""
    from sklearn.model_selection import train_test_split

    archive, model, features, rows = aligned
    _, test, _, test_rows = train_test_split(features, rows, test_size=0.3, random_state=5)
    ids = archive.predict(model, test, rows=test_rows).ids
    assert [rows_of(archive, name)["loans"] for name in ids] == test.index.tolist()


def test_transformed_features_are_aligned_by_their_index(aligned: tuple[Archive, Any, Any, Any]):
    """Scaled values under the split's own index are the same rows."""
    archive, model, features, rows = aligned
    chosen = rows[[9, 3, 5]]
    scaled = features.iloc[[9, 3, 5]] / 2.0
    assert [rows_of(archive, name)["loans"] for name in archive.predict(model, scaled, rows=chosen).ids] == [9, 3, 5]


# --- preparations -----------------------------------------------------------------------------------------------------


@pytest.fixture
def with_holes(archive: Archive) -> tuple[Archive, pd.DataFrame, pd.DataFrame]:
    """Two frames whose left join leaves an id column with nulls and duplicate rows."""
    left = pd.DataFrame({"k": [1, 1, 2, 3], "x": [1.0, 1.0, 2.0, np.nan]})
    right = pd.DataFrame({"k": [1, 3], "y": [5.0, 6.0]})
    return archive, archive.source(left, "left"), archive.source(right, "right")


PREPARATIONS = [
    pytest.param(lambda left, right: left.merge(right, on="k", how="left").dropna(), id="dropna"),
    pytest.param(
        lambda left, right: left.merge(right[["k", *_ids(right)]], on="k", how="left").dropna(), id="dropna of ids"
    ),
    pytest.param(lambda left, right: left.merge(right, on="k", how="left").drop_duplicates(), id="drop_duplicates"),
    pytest.param(lambda left, right: left.merge(right, on="k", how="left").fillna(0), id="fillna"),
    pytest.param(lambda left, right: left.merge(right, on="k", how="left").fillna(1.5), id="fillna with a fraction"),
]


def _ids(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name.startswith("_row_")]


@pytest.mark.parametrize("preparation", PREPARATIONS)
def test_a_preparation_over_all_columns_is_refused_or_changes_nothing(
    preparation: Any, with_holes: tuple[Archive, pd.DataFrame, pd.DataFrame]
):
    """`prepare` gives the result there would be without ids, or refuses loudly."""
    archive, left, right = with_holes
    plain = preparation(left.drop(columns=_ids(left)), right.drop(columns=_ids(right)))
    try:
        result = archive.prepare(preparation, left, right)
    except (PreparationError, TokenError):
        return
    pd.testing.assert_frame_equal(result.drop(columns=_ids(result)), plain)


def test_a_dropna_that_sees_ids_is_refused(with_holes: tuple[Archive, pd.DataFrame, pd.DataFrame]):
    """Rows that only an id column makes incomplete would be lost: refused."""
    archive, left, right = with_holes
    with pytest.raises(PreparationError, match="dropna"):
        archive.prepare(lambda a, b: a.merge(b[["k", *_ids(b)]], on="k", how="left").dropna(), left, right)


def test_a_drop_duplicates_that_sees_ids_is_refused(with_holes: tuple[Archive, pd.DataFrame, pd.DataFrame]):
    """Rows that only an id column tells apart would be kept: refused."""
    archive, left, _ = with_holes
    with pytest.raises(PreparationError):
        archive.prepare(lambda frame: frame.drop_duplicates(), left)
