"""How far two sets of values of a column lie apart, and how likely chance alone does that. Pure mathematics.

A measure is an alarm only where it is both sure and large: its p-value is below the limit shared by all measures of a
period, and its effect at or above a floor. With a million rows everything is sure; with fifty anything looks large.
What sketches do not know exactly is never counted as drift: their rank errors are taken off before a test.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from backstory.errors import InputError
from backstory.frames.sketch import CHARACTERS_MAX

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS_MIN: Final = 50
"""Values on either side without which nothing is compared."""
_BINS: Final = 10
_BIN_MIN: Final = 30
"""Of a smaller reference the bins are fewer: their edges are values of its own, and chance moves what lies between."""
_EXPECTED_MIN: Final = 5.0
"""Categories of which fewer are expected on either side are compared as one."""
_TERMS: Final = 100
_TINY: Final = 1e-300

Kind = Literal["ks", "psi", "nulls", "unseen", "decision", "flagged", "errors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """How large an effect must be to raise an alarm.

    Attributes:
        psi: Population stability index over at most ten bins of the reference, or over categories.
        ks: Largest distance of the two cumulative distributions.
        rate: Difference of rates: of decisions and flags.
        nulls: Difference of the rates of rows without a value, NaN among them, and of failed calls.
        unseen: Rate of categories the reference does not have.
    """

    psi: float = 0.1
    ks: float = 0.05
    rate: float = 0.05
    nulls: float = 0.02
    unseen: float = 0.01

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            InputError: One is not above 0.
        """
        wrong = [name for name, value in asdict(self).items() if not 0 < value < math.inf]
        if wrong:
            raise InputError(f"drift: expected floors above 0, got others for {', '.join(wrong)}")


FLOORS: Final = Floors()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measure of one column.

    Attributes:
        kind: `ks`, `psi`; or a rate: `nulls`, `unseen`, `decision`, `flagged`, `errors`.
        value: The distance, or the rate now.
        reference: The rate in the reference; None of distances.
        effect: What is compared with the floor: the distance, or how far the rates lie apart.
        floor: The floor.
        p: How likely an effect like this is where nothing changed.
    """

    kind: Kind
    value: float
    reference: float | None
    effect: float
    floor: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """The values of a column in a set of rows.

    Attributes:
        rows: Number of rows.
        nulls: Rows without a value, or with NaN.
        points: Values, rising.
        weights: How many rows each stands for.
        error: How far the rank of a value may be off, as a part of 1.
        drawn: Of how many values the points are; fewer than there are where these were sampled.
        counts: How often each category came; None where that is not known.
        others: Rows of categories that are not in `counts`, or were not everywhere.
        others_each: How many of these a single category may have, unless its text is long.
        known: Categories that are known to be, without their counts; None where it is not known which are.
    """

    rows: int
    nulls: int
    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    error: float = 0.0
    drawn: float = 0.0
    counts: Mapping[str, int] | None = None
    others: int = 0
    others_each: int = 0
    known: frozenset[str] | None = None

    @property
    def values(self) -> int:
        """Rows with a value."""
        return self.rows - self.nulls

    def below(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the part of the values that are at or below each of some."""
        sums = np.concatenate([[0.0], np.cumsum(self.weights)])
        return np.asarray(sums[np.searchsorted(self.points, at, side="right")] / sums[-1])


def together(spreads: Sequence[Spread]) -> Spread:
    """Return the values of several sets of rows of one column as one."""
    if len(spreads) == 1:
        return spreads[0]
    points = np.concatenate([one.points for one in spreads])
    order = np.argsort(points, kind="stable")
    values, drawn = sum(one.values for one in spreads), [one for one in spreads if one.drawn]
    summed: Counter[str] = Counter()
    for one in spreads:
        summed.update(one.counts or {})
    told = [one for one in spreads if one.values] or spreads  # what has no value has nothing to count
    return Spread(
        rows=sum(one.rows for one in spreads),
        nulls=sum(one.nulls for one in spreads),
        points=points[order],
        weights=np.concatenate([one.weights for one in spreads])[order],
        error=sum(one.error * one.values for one in spreads) / values if values else 0.0,
        drawn=sum(one.values for one in drawn) ** 2 / sum(one.values**2 / one.drawn for one in drawn) if drawn else 0.0,
        counts=None if any(one.counts is None for one in told) else dict(summed),
        others=sum(one.others for one in spreads),
        others_each=sum(one.others_each for one in spreads),
    )


def compare(now: Spread, then: Spread, floors: Floors = FLOORS) -> list[Measure]:
    """Compare the values of a column with a reference: distances, nulls, categories the reference does not have."""
    found = []
    if min(now.rows, then.rows) >= ROWS_MIN:
        found.append(_rate_measure("nulls", (now.nulls, now.rows), (then.nulls, then.rows), floors.nulls))
    if min(now.values, then.values) < ROWS_MIN:
        return found
    both = now.drawn > 0 and then.drawn > 0
    if both:
        found.append(_ks(now, then, floors.ks))
    if now.counts is not None and then.counts is not None:
        found.append(_psi_of_counts(now, then, floors.psi))
    elif both:
        found.append(_psi_of_numbers(now, then, floors.psi))
    known = then.known if then.known is not None else _all_known(then)
    if known is not None and now.counts is not None:
        found.append(_unseen(now, then.values, known, floors.unseen))
    return found


def compare_rates(kind: Kind, now: tuple[int, int], then: tuple[int, int], floor: float) -> Measure | None:
    """Compare how often something came, of how many; None where there are too few."""
    return _rate_measure(kind, now, then, floor) if min(now[1], then[1]) >= ROWS_MIN else None


def _all_known(then: Spread) -> frozenset[str] | None:
    return frozenset(then.counts) if then.counts is not None and not then.others else None


def _unseen(now: Spread, then: int, known: frozenset[str], floor: float) -> Measure:
    """Say how many rows at least have a category that is not known.

    Of what is not listed those count that cannot all be of known categories. Rare categories are missing in a reference
    by chance: one that m rows have with likelihood p, n rows with p(1 - p)^m that these have not, at most 1/em.
    """
    counts = now.counts or {}
    new = [count for value, count in counts.items() if value not in known]
    rows = sum(new)
    if all(len(value) <= CHARACTERS_MAX for value in known):
        rows += max(0, now.others - len(known) * now.others_each)
    chance = min(then, math.ceil((len(known) + len(new)) / math.e))
    p = fisher((rows, now.values), (chance, then)) if rows * then > chance * now.values else 1.0
    rate = rows / now.values
    return Measure(kind="unseen", value=rate, reference=0.0, effect=rate, floor=floor, p=p)


def _rate_measure(kind: Kind, now: tuple[int, int], then: tuple[int, int], floor: float) -> Measure:
    rate, before = now[0] / now[1], then[0] / then[1]
    return Measure(kind=kind, value=rate, reference=before, effect=abs(rate - before), floor=floor, p=fisher(now, then))


def _ks(now: Spread, then: Spread, floor: float) -> Measure:
    at = np.union1d(now.points, then.points)
    distance = float(np.max(np.abs(now.below(at) - then.below(at))))
    sure = max(0.0, distance - now.error - then.error)
    size = now.drawn * then.drawn / (now.drawn + then.drawn)
    return Measure(kind="ks", value=distance, reference=None, effect=sure, floor=floor, p=kolmogorov(sure, size))


def _psi_of_numbers(now: Spread, then: Spread, floor: float) -> Measure:
    bins = max(2, min(_BINS, int(then.drawn) // _BIN_MIN))
    ranks = np.arange(1, bins) / bins
    sums = np.cumsum(then.weights)
    edges = np.unique(then.points[np.searchsorted(sums, ranks * sums[-1])])
    parts = [np.diff(np.concatenate([[0.0], one.below(edges), [1.0]])) for one in (now, then)]
    return _psi(parts[0] * now.drawn, parts[1] * then.drawn, 2 * (now.error + then.error), floor)


def _psi_of_counts(now: Spread, then: Spread, floor: float) -> Measure:
    """Compare how often each category came; rare ones, and those one side does not list, are one."""
    here, there = now.counts or {}, then.counts or {}
    share = now.values / (now.values + then.values)
    listed = [
        name
        for name in {**there, **here}
        if min(share, 1 - share) * (here.get(name, 0) + there.get(name, 0)) >= _EXPECTED_MIN
        and (name in here or not now.others)
        and (name in there or not then.others)
    ]
    parts = [np.array([side.get(name, 0) for name in listed], float) for side in (here, there)]
    rest = [max(0.0, one.values - part.sum()) for one, part in zip((now, then), parts, strict=True)]
    if min(share, 1 - share) * sum(rest) >= _EXPECTED_MIN:
        parts = [np.append(part, left) for part, left in zip(parts, rest, strict=True)]
    return _psi(parts[0], parts[1], 0.0, floor)


def _psi(now: NDArray[np.float64], then: NDArray[np.float64], error: float, floor: float) -> Measure:
    """Return the population stability index of counts by bin, and the p-value of Pearson's test that they are alike."""
    if len(now) < 2 or not now.sum() or not then.sum():  # noqa: PLR2004  one bin is always alike
        return Measure(kind="psi", value=0.0, reference=None, effect=0.0, floor=floor, p=1.0)
    smooth = [(counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (now, then)]
    index = float(np.sum((smooth[0] - smooth[1]) * np.log(smooth[0] / smooth[1])))
    parts = [counts / counts.sum() for counts in (now, then)]
    sure = np.maximum(0.0, np.abs(parts[0] - parts[1]) - error)
    both = (now + then) / (now.sum() + then.sum())
    size = now.sum() * then.sum() / (now.sum() + then.sum())
    there = both > 0
    statistic = float(size * np.sum(sure[there] ** 2 / both[there]))
    p = chi_square(statistic, int(there.sum()) - 1)
    return Measure(kind="psi", value=index, reference=None, effect=index, floor=floor, p=p)


# --- tests ------------------------------------------------------------------------------------------------------------


def kolmogorov(distance: float, size: float) -> float:
    """Return how likely two samples of one distribution lie this far apart; `size` is nm/(n+m).

    Source: Numerical Recipes, 3rd edition, section 14.3.3, with Stephens' correction.
    """
    at = (math.sqrt(size) + 0.12 + 0.11 / math.sqrt(size)) * distance
    if at < 0.2:  # noqa: PLR2004  the series does not converge below, where it is 1
        return 1.0
    terms = ((2.0 if k % 2 else -2.0) * math.exp(-2 * (k * at) ** 2) for k in range(1, _TERMS))
    return min(1.0, max(0.0, sum(terms)))


def chi_square(statistic: float, freedom: int) -> float:
    """Return how likely a chi-square variable is at or above a value: the upper regularised gamma function.

    Source: Numerical Recipes, 3rd edition, section 6.2: the series below a + 1, the continued fraction above.
    """
    a, x = freedom / 2, statistic / 2
    if x <= 0 or freedom < 1:
        return 1.0
    front = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for step in range(1, 10_000):
            term *= x / (a + step)
            total += term
            if term < total * 1e-15:
                break
        return max(0.0, 1 - total * front)
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    fraction = d
    for step in range(1, 10_000):
        factor = -step * (step - a)
        b += 2
        d = 1 / (factor * d + b or _TINY)
        c = b + factor / c or _TINY
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:  # noqa: PLR2004  no further digit
            break
    return min(1.0, front * fraction)


def fisher(now: tuple[int, int], then: tuple[int, int]) -> float:
    """Return how likely two rates lie this far apart on this side, twice: Fisher's exact test of k of n and l of m."""
    hits, rows = now[0] + then[0], now[1] + then[1]
    above = now[0] * rows >= hits * now[1]
    low, high = max(0, hits - then[1]), min(hits, now[1])
    ways = range(now[0], high + 1) if above else range(now[0], low - 1, -1)
    return min(1.0, 2 * sum(_hypergeometric(ways, hits, now[1], then[1])))


def _hypergeometric(ways: range, hits: int, here: int, there: int) -> Iterator[float]:
    """Yield how likely it is that so many of all hits are here, from a number on outwards, while that counts."""
    if not ways:
        return
    whole, first = _choose(here + there, hits), ways[0]
    chance = math.exp(_choose(here, first) + _choose(there, hits - first) - whole)
    begin = chance
    if not begin:  # smaller than any number, and so is what follows
        return
    for many in ways:
        yield chance
        if chance < begin * 1e-12:
            return
        if ways.step > 0:
            chance *= (here - many) * (hits - many) / ((many + 1) * (there - hits + many + 1))
        else:
            chance *= many * (there - hits + many) / ((here - many + 1) * (hits - many + 1))


def _choose(of: int, some: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)
