"""Which sources a step mixes: found by values, after unions, lists and joins that multiply rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from backstory.lineage.group import group
from backstory.lineage.passthrough import mixed_references
from backstory.lineage.source import Sources


def _mixed(prepare: Any, by: str, column: str, **tables: dict[str, list[Any]]) -> list[str]:
    """Return the references a count over prepared tables mixes."""
    sources = Sources()
    frames = [
        sources.fix(pd.DataFrame(table), name, salt=number)[0] for number, (name, table) in enumerate(tables.items())
    ]
    _, node = group(sources, prepare(*frames), by, name="g", salt=99, dropna=False, n=(column, "count"))
    return mixed_references(node)


OLD = {"k": ["a", "b"], "v": [1.0, 2.0]}
NEW = {"k": ["a", "a"], "v": [4.0, 8.0]}
RATES = {"k": ["a", "b"], "rate": [2.0, 3.0]}


def test_a_union_mixes_its_sources_and_not_what_was_joined_to_it():
    """Rates stand beside every row and have no part in a count of values."""
    mixed = _mixed(
        lambda old, new, rates: pd.concat([old, new]).merge(rates, on="k"), "k", "v", old=OLD, new=NEW, rates=RATES
    )
    assert mixed == ["old", "new"]


def test_a_union_whose_values_were_computed_mixes_everything():
    """A column that is of neither source in one row may be of anything."""

    def prepare(old: pd.DataFrame, new: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
        frame = pd.concat([old, new]).merge(rates, on="k")
        return frame.assign(v=frame.v.where(frame.v != 8.0, frame.v * frame.rate))

    assert _mixed(prepare, "k", "v", old=OLD, new=NEW, rates=RATES) == ["old", "new", "rates"]


def test_values_filled_in_where_no_row_matched_are_computed():
    """A source that carries a column where it has rows does not where it has none and a value stands there."""
    left = {"k": ["a", "c"], "x": [1.0, 2.0]}
    mixed = _mixed(lambda left, rates: left.merge(rates, on="k", how="left"), "k", "rate", left=left, rates=RATES)
    assert mixed == ["left", "rates"]  # the key is of the left side
    mixed = _mixed(
        lambda left, rates: left.merge(rates, on="k", how="left").fillna({"rate": 0.0})[
            ["rate", "_row_left", "_row_rates"]
        ].assign(one=1.0), "one", "rate", left=left, rates=RATES,
    )  # fmt: skip
    assert mixed == ["left", "rates"]


LISTS = {"k": ["a", "b", "c"], "tags": [["x", None], ["y", "x"], []]}


@pytest.mark.parametrize(
    ("change", "mixed"),
    [
        (lambda frame: frame, ["lists"]),
        (lambda frame: frame[frame.tags != "y"], ["lists"]),
        (lambda frame: frame.assign(tags=frame.tags.fillna("?")), ["lists", "rates"]),
        (lambda frame: frame.assign(tags=frame.tags.where(frame.tags != "y")), ["lists", "rates"]),
        (lambda frame: frame.assign(tags=frame.tags.str.upper()), ["lists", "rates"]),
    ],
    ids=["as they were", "filtered", "filled", "emptied", "changed"],
)
def test_values_of_lists_are_of_the_row_that_has_the_list(change: Any, mixed: list[str]):
    """As long as each is one of the row's own list; otherwise they were computed."""
    rates = {**RATES, "k": ["a", "b"]}
    prepared = _mixed(
        lambda lists, rates: change(lists.explode("tags").merge(rates, on="k", how="left")), "tags", "k",
        lists=LISTS, rates=rates,
    )  # fmt: skip
    assert prepared == mixed


def test_of_sources_that_were_joined_the_one_that_multiplied_rows_is_mixed():
    """Prices taken several times are mixed with the sales they were joined to, not with the shops of these."""
    prices = {"item": ["a", "b"], "price": [1.0, 5.0], "kind": ["k", "k"]}
    sales = {"item": ["a", "a", "b"], "shop": ["s", "s", "t"]}
    shops = {"shop": ["s", "t"], "town": ["p", "q"]}
    mixed = _mixed(
        lambda prices, sales, shops: sales.merge(prices, on="item").merge(shops, on="shop"), "kind", "price",
        prices=prices, sales=sales, shops=shops,
    )  # fmt: skip
    assert mixed == ["sales", "prices"]


def test_rows_that_were_drawn_several_times_bring_no_other_source_in():
    """A bootstrap sample of a joined table mixes what the table would."""
    mixed = _mixed(
        lambda old, rates: old.merge(rates, on="k").iloc[np.array([0, 0, 1, 0])], "k", "v", old=OLD, rates=RATES
    )
    assert mixed == ["old"]
