"""Noise of figures: as large as theory says, and as small a difference as was paid for.

Each statistical test fails by chance once in a million runs at most.
"""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from scipy import stats

from backstory.errors import InputError
from backstory.governance.sharing_noise import SURE, plan_counts, plan_found, plan_quantiles, plan_sums

CHANCE = 1e-6
CELLS = 1_000
HALF = Decimal("0.5")


def draws(counts, rows, runs=5):
    """Return counts of cells that hold so many rows each; every cell is a draw of its own."""
    cells = np.repeat(np.arange(CELLS), rows)
    return np.concatenate([counts.run(cells) for _ in range(runs)]).astype(int)


@pytest.fixture(scope="module")
def counts():
    """Counts of many cells, in each of which noise is drawn anew."""
    return plan_counts(CELLS, 1, HALF)


@pytest.mark.parametrize("rows_each", [1, 4])
def test_scale_is_that_of_the_theory(rows_each):
    """The scale of counts is the rows of a person over epsilon; that of sums has the larger bound before it."""
    assert plan_counts(3, rows_each, HALF).noise.scale == pytest.approx(rows_each / 0.5)
    assert plan_sums(3, rows_each, HALF, (-10.0, 40.0)).noise.scale == pytest.approx(40 * rows_each / 0.5)


def test_noise_of_counts_is_discrete_laplace(counts):
    """What is added to counts has the distribution that the scale says: a chi-square test over its values."""
    noise = draws(counts, 7) - 7
    edge = 12
    ratio = math.exp(-1 / counts.noise.scale)
    inner = np.arange(-edge, edge + 1)
    chances = (1 - ratio) / (1 + ratio) * ratio ** np.abs(inner)
    seen = [np.sum(noise == value) for value in inner] + [np.sum(np.abs(noise) > edge)]
    expected = np.append(chances, 1 - chances.sum()) * len(noise)
    assert stats.chisquare(seen, expected).pvalue > CHANCE


def test_noise_of_sums_is_laplace():
    """On the fine grid of sums the noise is Laplace: a Kolmogorov-Smirnov test."""
    sums = plan_sums(CELLS, 1, HALF, (0.0, 100.0))
    found = np.concatenate([sums.run(np.full(CELLS, 50.0), np.arange(CELLS)) for _ in range(2)]) - 50
    assert stats.kstest(found, stats.laplace(scale=sums.noise.scale).cdf).pvalue > CHANCE


def test_error_that_is_said_holds(counts):
    """Noise is larger than the error that is said in about 5 of 100 answers, and no oftener."""
    beyond = np.sum(np.abs(draws(counts, 3) - 3) > counts.noise.error)
    assert stats.binomtest(int(beyond), 5 * CELLS, SURE, "greater").pvalue > CHANCE
    assert beyond > 0


def test_error_of_quantiles_holds():
    """The rank of a quantile is off by more than is said in at most 5 of 100 answers."""
    plan = plan_quantiles(200, 1, HALF, (0.0, 1024.0), 0.5)
    values = np.tile(np.arange(1025.0), 200)
    found = np.array(plan.run(values, np.repeat(np.arange(200), 1025)))
    beyond = np.sum(np.abs(found - 512) > plan.noise.error)
    assert stats.binomtest(int(beyond), 200, SURE, "greater").pvalue > CHANCE


def test_values_outside_the_bounds_count_as_bounds():
    """Infinite and huge values are the nearer bound, so no value can overflow a sum or stand out of it."""
    sums = plan_sums(1, 1, Decimal(100), (0.0, 1.0))
    (total,) = sums.run(np.array([np.inf, -np.inf, 1e300, -5.0]), np.zeros(4, int))
    assert total == pytest.approx(2, abs=1)


def test_planted_person_stays_within_epsilon(counts):
    """No event is over e to the epsilon times as likely with a person there; it comes near, so the test would see."""
    lowest = losses(draws(counts, 1, 20), draws(counts, 0, 20))
    assert lowest <= 0.5
    assert lowest > 0.3


def test_many_rows_of_a_planted_person_stay_within_epsilon():
    """A person with four rows in one cell is covered where four may count."""
    counts = plan_counts(CELLS, 4, HALF)
    assert losses(draws(counts, 4, 20), draws(counts, 0, 20)) <= 0.5


def test_slicing_tells_no_more_than_its_parts_together():
    """Ten slices that all have the planted person, for a tenth each, tell together no more than they cost together.

    The attacker adds all answers up and compares with the rest of the table, which they know.
    """
    counts = plan_counts(CELLS, 1, Decimal("0.1"))
    there = sum(draws(counts, 1, 4) for _ in range(10))
    gone = sum(draws(counts, 0, 4) for _ in range(10))
    assert losses(there, gone) <= 1.0


def test_planted_person_in_sums_and_quantiles():
    """A person at the edge of the bounds moves sums and quantiles within epsilon."""
    sums = plan_sums(CELLS, 1, HALF, (0.0, 100.0))
    cells = np.arange(CELLS)
    there = np.concatenate([sums.run(np.full(CELLS, 100.0), cells) for _ in range(5)])
    gone = np.concatenate([sums.run(np.zeros(0), cells[:0]) for _ in range(5)])
    assert losses(there, gone) <= 0.5
    few = np.arange(250)
    chosen = plan_quantiles(len(few), 1, HALF, (0.0, 100.0), 0.5)
    rest, where = np.tile([20.0, 40.0, 60.0], len(few)), np.repeat(few, 3)
    more = chosen.run(np.append(rest, np.full(len(few), 100.0)), np.append(where, few))
    assert losses(np.array(more), np.array(chosen.run(rest, where))) <= 0.5


def test_found_values_need_people():
    """A value that one person has does not show; one that many have does, with about their number."""
    found = plan_found(1, Decimal(1), Decimal("1e-9"))
    for _ in range(50):
        answer = found.run(["common"] * 500 + ["one of a kind"])
        assert set(answer) == {"common"}
        assert abs(answer["common"] - 500) < 40


def test_loss_without_noise_is_refused():
    """A loss for which no noise can be drawn is said to be one, not rounded to one that can."""
    with pytest.raises(InputError):
        plan_counts(1, 1, Decimal("1e-18"))


def losses(there, gone):
    """Return the largest loss of an event `at least so much` or `at most so much` that is certain but for chance."""
    total, largest = len(there), 0.0
    for edge in np.quantile(np.concatenate([there, gone]), np.linspace(0.02, 0.98, 25)):
        for one, other in ((there, gone), (gone, there)):
            for event in (lambda found, edge=edge: found >= edge, lambda found, edge=edge: found <= edge):
                low = stats.binomtest(int(event(one).sum()), total).proportion_ci(1 - CHANCE / 100, "exact").low
                high = stats.binomtest(int(event(other).sum()), total).proportion_ci(1 - CHANCE / 100, "exact").high
                if low > 0:
                    largest = max(largest, math.log(low / high))
    return largest
