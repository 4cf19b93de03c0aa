"""The mathematics of drift: tests that hold, alarms where there is drift, none where there is none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.debug.drift_measures import (
    FLOORS,
    Floors,
    chi_square,
    compare,
    compare_rates,
    fisher,
    kolmogorov,
    together,
)
from backstory.debug.drift_read import spread_of, spreads_of_profile
from backstory.errors import InputError
from backstory.frames.profile import profile_of
from backstory.frames.sketch import sketch_of

SEEDS = 300
COLUMNS = ("x", "y", "n", "t")


def table_of(chance, rows):
    """Return rows of two kinds of numbers, small counts, and texts."""
    y = chance.exponential(size=rows)
    y[chance.random(rows) < 0.05] = np.nan
    texts = np.array(["a", "b", "c", "d"])[chance.choice(4, rows, p=[0.6, 0.2, 0.15, 0.05])]
    return pa.table({"x": chance.normal(size=rows), "y": y, "n": chance.poisson(3, rows), "t": texts})


def spreads(table, points=54):
    """Return what sketches say of the columns of a table."""
    features = pa.StructArray.from_arrays(
        [column.combine_chunks() for column in table.columns], names=table.column_names
    )
    return {column.name: spread_of(column) for column in sketch_of(pa.table({"feature": features}), points)}


def alarms(now, then, alpha=0.01):
    """Return which measures of which columns raise an alarm."""
    found = [(name, one) for name in now for one in compare(now[name], then[name])]
    return {(name.partition(".")[2], m.kind) for name, m in found if m.p <= alpha / len(found) and m.effect >= m.floor}


@pytest.fixture(scope="module")
def references():
    """What training says, and what a period says, of the same distributions."""
    chance = np.random.default_rng(10_000)
    return spreads_of_profile(profile_of([table_of(chance, 20_000)])), spreads(table_of(chance, 20_000))


@given(st.integers(0, 300), st.integers(1, 300), st.integers(0, 300), st.integers(1, 300))
def test_fisher_is_exact(k, n, m, of):
    """Fisher's test gives twice the tail of the hypergeometric distribution."""
    from scipy.stats import hypergeom

    k, m = min(k, n), min(m, of)
    above = k * (n + of) >= (k + m) * n
    tail = hypergeom.sf(k - 1, n + of, k + m, n) if above else hypergeom.cdf(k, n + of, k + m, n)
    assert fisher((k, n), (m, of)) == pytest.approx(min(1, 2 * tail), rel=1e-6, abs=1e-12)


@given(st.floats(0, 300), st.integers(1, 60))
def test_chi_square_is_exact(statistic, freedom):
    """The tail of the chi-square distribution is that of SciPy."""
    from scipy.stats import chi2

    assert chi_square(statistic, freedom) == pytest.approx(chi2.sf(statistic, freedom), rel=1e-8, abs=1e-13)


def test_kolmogorov_is_near():
    """The tail of Kolmogorov's distribution is that of SciPy, for many values."""
    from scipy.stats import kstwobign

    assert kolmogorov(0.02, 10_000) == pytest.approx(kstwobign.sf(2.0), rel=0.05)


@pytest.mark.parametrize("against", [0, 1], ids=["training", "period"])
def test_no_shift_raises_alarms_in_at_most_one_percent(references, against):
    """Of 300 periods without drift, of 200 to 1,000 rows, at most 1 % raise an alarm."""
    false = 0
    for seed in range(SEEDS):
        chance = np.random.default_rng(seed)
        false += bool(alarms(spreads(table_of(chance, int(chance.integers(200, 1000)))), references[against]))
    assert false <= SEEDS // 100


SHIFTS = {
    "mean": (("x", "ks"), lambda table, _: replaced(table, "x", table["x"].to_numpy() + 0.5)),
    "variance": (("x", "psi"), lambda table, _: replaced(table, "x", table["x"].to_numpy() * 1.8)),
    "nulls": (("y", "nulls"), lambda table, chance: nulled(table, "y", chance.random(table.num_rows) < 0.08)),
    "unseen": (("t", "unseen"), lambda table, chance: nulled(table, "t", chance.random(table.num_rows) < 0.04, "new")),
    "counts": (("n", "ks"), lambda table, _: replaced(table, "n", table["n"].to_numpy() + 1)),
}


def replaced(table, name, values):
    """Return a table with other values in a column."""
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def nulled(table, name, where, value=None):
    """Return a table with one value in some rows of a column."""
    return replaced(
        table, name, [value if hit else one for one, hit in zip(table[name].to_pylist(), where, strict=True)]
    )


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("against", [0, 1], ids=["training", "period"])
def test_injected_shifts_are_found(references, shift, against):
    """Every period of 1,500 rows with a shift injected raises the alarm of its kind, and no other column does."""
    expected, inject = SHIFTS[shift]
    for seed in range(20):
        chance = np.random.default_rng(seed)
        found = alarms(spreads(inject(table_of(chance, 1500), chance)), references[against])
        assert expected in found
        assert {column for column, _ in found} == {expected[0]}


def test_a_mix_of_categories_is_found_against_a_period(references):
    """Another mix of the same categories is a distance of distributions."""
    now = spreads(replaced(table_of(np.random.default_rng(0), 2000), "t", ["a", "b"] * 1000))
    assert alarms(now, references[1]) == {("t", "psi")}


def test_a_fall_of_decisions_is_found():
    """A rate of decisions that falls by ten points of 1,000 rows is an alarm; by one of a million it is too small."""
    fall = compare_rates("decision", (500, 1000), (6000, 10_000), FLOORS.rate)
    assert fall.p < 1e-6
    assert fall.effect >= fall.floor
    small = compare_rates("decision", (590_000, 1_000_000), (600_000, 1_000_000), FLOORS.rate)
    assert small.p < 1e-6
    assert small.effect < small.floor


def test_what_is_sure_but_small_is_no_alarm():
    """A shift of a hundredth of a deviation in 200,000 rows is no alarm."""
    chance = np.random.default_rng(0)
    one, other = (pa.table({"x": chance.normal(shift, size=200_000)}) for shift in (0, 0.03))
    assert alarms(spreads(other), spreads(one)) == set()


def test_many_rare_new_categories_are_found(references):
    """New categories of one row each are found although only the most frequent are listed."""
    chance = np.random.default_rng(0)
    texts = [f"typo {at}" if chance.random() < 0.1 else "a" for at in range(20_000)]
    now = spreads(replaced(table_of(chance, 20_000), "t", texts))
    (unseen,) = [one for one in compare(now["feature.t"], references[0]["feature.t"]) if one.kind == "unseen"]
    assert unseen.value == pytest.approx(0.1, abs=0.01)


def test_categories_missing_by_chance_are_no_alarm():
    """Rare categories that a small reference happens not to have raise no alarm."""
    rare = np.array(["often", *(f"rare {at}" for at in range(29))])
    likely = [0.71, *[0.01] * 29]
    false = 0
    for seed in range(100):
        chance = np.random.default_rng(seed)
        then, now = (pa.table({"t": rare[chance.choice(30, rows, p=likely)]}) for rows in (120, 2000))
        false += ("t", "unseen") in alarms(spreads(now), spreads_of_profile(profile_of([then])))
    assert false <= 1


def test_a_small_reference_has_fewer_bins():
    """The edges of bins are values of the reference: of few values as many bins would be sure far too often."""
    sure = 0
    for seed in range(SEEDS):
        chance = np.random.default_rng(seed)
        now, then = (spreads(pa.table({"x": chance.normal(size=rows)}), 1000)["feature.x"] for rows in (1000, 50))
        sure += sum(one.kind == "psi" and one.p < 0.01 for one in compare(now, then))
    assert sure <= SEEDS // 50


def test_a_part_without_values_hides_no_categories():
    """Counts of categories stay where a part of a period has no value at all, of any type."""
    known = spreads(pa.table({"t": ["a", "b"] * 50}))["feature.t"]
    empty = spreads(pa.table({"t": pa.nulls(100)}))["feature.t"]
    assert together([known, empty]).counts == {"a": 50, "b": 50}


def test_what_is_too_unlikely_for_a_number_is_not_summed_up():
    """Where the first term is below any number the test is 0 at once, however many rows there are."""
    assert fisher((6 * 10**11, 10**12), (4 * 10**11, 10**12)) == 0


@pytest.mark.parametrize("floor", [0, -1, float("nan"), float("inf")])
def test_a_floor_is_above_zero(floor):
    """An effect is told in parts of its floor, so there is none of 0."""
    with pytest.raises(InputError, match="ks"):
        Floors(ks=floor)


def test_few_rows_are_not_compared(references):
    """Of fewer than 50 rows nothing is said."""
    now = spreads(table_of(np.random.default_rng(0), 49))
    assert all(compare(now[name], references[1][name]) == [] for name in now)


def test_parts_add_up_to_the_whole():
    """The spreads of parts together are near that of the whole, with the same counts."""
    table = table_of(np.random.default_rng(0), 6000)
    whole, parts = spreads(table), [spreads(table.slice(at, 1500)) for at in range(0, 6000, 1500)]
    for name, one in whole.items():
        both = together([part[name] for part in parts])
        assert (both.rows, both.nulls, both.counts) == (one.rows, one.nulls, one.counts)
        if len(one.points):
            assert np.max(np.abs(both.below(one.points) - one.below(one.points))) <= both.error + one.error + 1e-9
