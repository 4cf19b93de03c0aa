"""Sketches of columns: exact counts, ranks within their bound, small, and the same for the same values."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from backstory.frames.sketch import equal_ranks, parse_sketches, points_of, same_sketches, sketch_of
from backstory.records import canonical


def of(**columns):
    """Return the sketches of features by name."""
    features = pa.StructArray.from_arrays([pa.array(column) for column in columns.values()], names=list(columns))
    return {column.name: column for column in sketch_of(pa.table({"feature": features}))}


def test_nulls_and_nans_are_counted_apart():
    """A row without a value and one with NaN are counted, each as what it is."""
    (column,) = of(x=[1.0, None, float("nan"), 4.0]).values()
    assert (column.rows, column.nulls, column.nans, column.values) == (4, 1, 1, 2)


def test_categories_are_counted():
    """Texts, bools and few integers come with how often each came, the most frequent first."""
    found = of(t=["b", "a", "b"], y=[True, True, None], n=[3, 3, 2])
    assert [list(column.counts.items()) for column in found.values()] == [
        [("b", 2), ("a", 1)],
        [("true", 2)],
        [("3", 2), ("2", 1)],
    ]


def test_rare_and_long_categories_are_others():
    """At most 32 categories are listed, none of more than 64 characters; the others are counted together."""
    (column,) = of(t=[f"{at % 40}" for at in range(400)] + ["x" * 65] * 7 + ["0"]).values()
    assert len(column.counts) == 32
    assert next(iter(column.counts.items())) == ("0", 11)
    assert sum(column.counts.values()) + column.others == 408


def test_lists_are_not_measured():
    """Lists have neither order nor categories: of them only the nulls are counted."""
    (column,) = of(x=[[1.0], None, [2.0, 3.0]]).values()
    assert (column.nulls, len(column.points), column.counts) == (1, 0, None)


def test_records_that_come_by_turns_are_sampled_alike():
    """Of many values not always every second is taken: two kinds that take turns both come in."""
    (column,) = of(x=np.arange(70_000) % 2 * 5.0 + np.random.default_rng(0).normal(size=70_000)).values()
    assert np.mean(column.points > 2.5) == 0.5
    assert column.ordered == -(-70_000 // 3)


def test_flags_are_counted_each():
    """Of flags it is counted how many rows have each."""
    flags = pa.array(['["null:a","range:b"]', None, '["null:a"]'])
    (column,) = sketch_of(pa.table({"flags": flags}))
    assert (column.counts, column.nulls) == ({"null:a": 2, "range:b": 1}, 1)


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=400), st.integers(16, 128))
def test_ranks_are_known(values, points):
    """The rank of any value is known to half of what a point stands for."""
    rising = np.sort(np.array(values))
    kept = equal_ranks(rising, points)
    whole = np.searchsorted(rising, rising, side="right") / len(rising)
    told = np.searchsorted(kept, rising, side="right") / len(kept)
    bound = 0.5 / len(kept) + 1 / len(rising) if len(kept) < len(rising) else 0
    assert np.max(np.abs(whole - told)) <= bound + 1e-12


def test_it_is_read_as_it_was_written():
    """Sketches go through canonical JSON unchanged, infinities too."""
    numbers = np.random.default_rng(0).normal(size=3000)
    numbers[:2] = np.inf, -np.inf
    made = tuple(of(x=numbers, n=np.arange(3000) % 5, t=["a"] * 3000, d=pa.array([None] * 3000)).values())
    written = canonical.encode([column.document() for column in made])
    assert same_sketches(made, parse_sketches(json.loads(written), 3000))


def test_the_same_values_have_the_same_sketch():
    """Nothing is drawn: made again it has the same bytes, also of many values."""
    numbers = np.random.default_rng(0).normal(size=100_000)
    first, second = (of(x=numbers)["feature.x"].document() for _ in range(2))
    assert first == second


def test_it_is_small():
    """The sketches of a model with 20 features of all kinds are no more than 20 KB."""
    chance = np.random.default_rng(0)
    columns = {f"number_{at}": chance.normal(size=5000) for at in range(12)}
    columns |= {f"count_{at}": chance.integers(0, 30, 5000) for at in range(4)}
    columns |= {f"text_{at}": [f"category {one}" for one in chance.integers(0, 99, 5000)] for at in range(4)}
    features = pa.StructArray.from_arrays([pa.array(column) for column in columns.values()], names=list(columns))
    table = pa.table({"feature": features, "output": chance.normal(size=5000), "decision": [True] * 5000})
    assert len(canonical.encode([column.document() for column in sketch_of(table)])) <= 20_000
    assert points_of(22) >= 50
