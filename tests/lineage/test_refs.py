"""Row references: an array like any other, that knows which features it belongs to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.model_selection import KFold, train_test_split
from sklearn.preprocessing import StandardScaler

from backstory.errors import AlignmentError
from backstory.lineage.refs import LineageWarning
from backstory.lineage.source import Sources
from backstory.lineage.split import split

N = 60


def make(container=pd.DataFrame, **kwargs):
    """Split a source of distinct rows."""
    rng = np.random.default_rng(5)
    data = {"a": rng.normal(size=N), "b": rng.integers(0, 9, N), "s": [f"name {i % 13}" for i in range(N)]}
    data["a"][7] = np.nan
    frame = container(data, **kwargs)
    sources = Sources()
    return split(sources, sources.fix(frame, "left", salt=3)[0])


ORDER = np.random.default_rng(1).permutation(N)


@pytest.mark.parametrize(
    "key",
    [
        np.array([3, 1, 1, -1]),
        [3, 1],
        [],
        slice(10, 2, -3),
        np.arange(N) % 3 == 0,
        [True] * 5 + [False] * (N - 5),
        pd.Series([4, 2]),
        5,
        (np.array([2, 9]), Ellipsis),
    ],
    ids=["ints", "list", "empty", "slice", "mask", "list-mask", "series", "one", "ellipsis"],
)
def test_indexing_is_that_of_an_array(key):
    """Every way to index an array selects the same rows, twice over too."""
    _, rows = make()
    plain = np.atleast_1d(np.arange(N)[np.array([], int) if isinstance(key, list) and not key else key])
    assert rows[key].positions["left"].tolist() == plain.tolist()
    assert len(rows[key]) == len(plain)
    assert rows[key].shape == plain.shape
    assert rows[key][::-1].selector.tolist() == plain[::-1].tolist()


def test_out_of_range_is_an_index_error():
    """Positions and masks that do not fit raise as an array does, and iteration ends."""
    _, rows = make()
    for key in (N, np.array([N]), [True]):
        with pytest.raises(IndexError):
            rows[key]
    assert [row.positions["left"][0] for row in rows] == list(range(N))


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame, pa.table])
def test_train_test_split_carries_them(container):
    """scikit-learn splits features and references alike, and the parts still belong together."""
    features, rows = make(container)
    part, other, kept, rest = train_test_split(features, rows, test_size=0.3, random_state=1)
    kept.check(part)
    rest.check(other)
    assert sorted([*kept.positions["left"], *rest.positions["left"]]) == list(range(N))
    with pytest.raises(AlignmentError, match="length"):
        kept.check(other)


def test_cross_validation_indexes_them():
    """Folds of a cross-validation select references and features alike."""
    features, rows = make()
    for train, test in KFold(4, shuffle=True, random_state=2).split(features):
        rows[train].check(features.iloc[train])
        rows[test].check(features.iloc[test])


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame, pa.table])
def test_the_split_itself_is_aligned(container):
    """Unchanged features pass, whole or with fewer or more columns, as array too."""
    features, rows = make(container)
    rows.check(features)
    rows.check(features.select(["s"]) if container is not pd.DataFrame else features[["s"]])
    numbers = features.drop(columns="s") if container is pd.DataFrame else features.drop(["s"])
    rows.check(numbers)
    rows[ORDER].check(features.take(ORDER) if container is not pl.DataFrame else features[ORDER])


def test_other_containers_are_compared_by_value():
    """The same values in another library, or as an array, pass; reordered they do not."""
    features, rows = make()
    others = [pl.from_pandas(features), pa.Table.from_pandas(features, preserve_index=False), features.to_numpy()]
    for other in others:
        rows.check(other)
        with pytest.raises(AlignmentError):
            rows[ORDER].check(other)
    with pytest.raises(AlignmentError, match="nothing in common"):
        rows.check(features[["a", "b"]].to_numpy())


def test_narrower_floats_are_compared_as_such():
    """Features cast to float32 are still the same rows."""
    sources = Sources()
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=N), "b": np.arange(N) / 3})
    features, rows = split(sources, sources.fix(frame, "left", salt=3)[0])
    rows.check(features.to_numpy(np.float32))
    with pytest.raises(AlignmentError):
        rows.check(features.to_numpy(np.float32)[ORDER])


def test_reordered_pandas_is_refused():
    """A frame sorted after the split is refused by its index, even where values agree."""
    features, rows = make()
    with pytest.raises(AlignmentError, match="reordered"):
        rows.check(features.sort_values("a"))
    with pytest.raises(AlignmentError, match="reordered"):
        rows.check(features.assign(a=1.0, b=1, s="x").iloc[ORDER])
    with pytest.raises(AlignmentError):
        rows.check(features.sort_values("a").reset_index(drop=True))
    rows[ORDER].check(features.iloc[ORDER])


def test_a_telling_index_allows_transformed_values():
    """Transformed features pass with an index that tells rows apart, and not with 0, 1, 2, …."""
    features, rows = make()
    scaler = StandardScaler().set_output(transform="pandas")
    with pytest.raises(AlignmentError, match="'a'"):
        rows.check(scaler.fit_transform(features[["a", "b"]]))
    order = ORDER[:40]
    rows[order].check(scaler.transform(features[["a", "b"]].iloc[order]))
    with pytest.raises(AlignmentError, match="other rows"):
        rows[order].check(features.iloc[order].set_axis(range(100, 140)))


def test_an_index_that_repeats_tells_nothing():
    """With a doubled index, as concat leaves it, values decide."""
    features, rows = make(pd.DataFrame, index=[0, 1] * (N // 2))
    rows.check(features)
    swapped = np.arange(N)
    swapped[[2, 4]] = [4, 2]
    with pytest.raises(AlignmentError):
        rows.check(features.iloc[swapped])


def test_the_caller_can_vouch():
    """Vouched-for references pass with any features of their length, and are no longer exact."""
    features, rows = make()
    vouched = rows.assume_aligned()
    vouched.check(features.iloc[ORDER])
    vouched[ORDER].check(np.zeros((N, 3)))
    assert vouched[:3].grades == {"left": "declared"}
    assert rows.grades == {"left": "exact"}
    with pytest.raises(AlignmentError, match="length"):
        vouched.check(features.head(3))


def test_later_changes_to_the_split_are_seen():
    """A frame changed in place after the split is not taken for what was split."""
    features, rows = make()
    features.loc[:, "a"] = features["a"].to_numpy()[ORDER]
    with pytest.raises(AlignmentError):
        rows.check(features)


def test_what_cannot_be_compared_is_refused():
    """Something that is no table is refused, and points to the caller's word."""
    _, rows = make()
    with pytest.raises(AlignmentError, match="assume_aligned"):
        rows.check(np.zeros((N, 2, 2)))


@pytest.mark.parametrize("value", [1, "x", np.nan])
@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_column_of_one_value_shows_no_order(container, value):
    """Where it is all that features share with the split, their order is the caller's word, which is up to the data."""
    sources = Sources()
    table = container({"c": [value] * 4, "v": [1, 2, 3, 4]})
    _, rows = split(sources, sources.fix(table, "left", salt=3)[0])
    with pytest.warns(LineageWarning, match="nothing shows") as caught:
        checked = rows.check(container({"c": [value] * 4, "new": [9, 8, 7, 6]}))
    assert (checked.grades, caught[0].filename) == ({"left": "declared"}, __file__)
    assert rows.check(container({"c": [value] * 4})) is rows
    assert rows[:1].check(container({"c": [value], "new": [9]})).grades == {"left": "exact"}
    assert rows.check(container({"c": [value] * 4, "v": [1, 2, 3, 4], "new": [9, 8, 7, 6]})) is rows
