"""Which factors do some predictions share more than others? The arithmetic; it reads nothing.

A factor is a column of codes: what each prediction had of it. For every value, and for pairs of values, the bad
predictions that have it are counted against all that have it. What is found first is what explains most (the signed G
statistic, a likelihood: a file whose days are all bad explains more than any day of it, and a day that alone is bad
more than its file). The predictions it selects are then taken away, and the rest is searched again.

Every value that could have been found counts as a test, and of pairs all that so many predictions can have: only pairs
frequent among the bad are looked at, but by the very chance that is tested. Half of the error goes to values, half to
pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from backstory.debug.rootcause_statistics import Counts, risk_ratio, signed_g

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.integer]
    Floats: TypeAlias = NDArray[np.float64]
    Mask: TypeAlias = NDArray[np.bool_]

SUPPORT = 20
ERROR = 0.05
BEATS_PARENTS = 1.15
"""Times the G of either of its values that a pair must have."""
SAME = 0.95
"""Jaccard index from which the data cannot tell two selections apart."""
RIVALS_KEPT = 3
FINDINGS_MAX = 20
_BAD_MIN, _TABLE_MAX = 3, 1 << 21
_PAIRS_COMPARED = 50
_CODE = np.int32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Factor:
    """A column of what predictions have.

    Attributes:
        name: What it is.
        level: How coarse it is: of several names for the same predictions the one with the lowest comes first.
        codes: For each prediction the number of its value; −1 where it has none.
        values: How many values there are.
        later: Whether it is looked at only for what nothing else explains: what predictions show, not where they come
            from.
        rows_of: The source whose rows it is about; None for any other.
        names_rows: Whether it says which rows these are, such as their file, and not what they hold. Within them what
            rows hold is no second factor: a broken file is the finding, not its highest values.
    """

    name: str
    level: int
    codes: Ints
    values: int
    later: bool = False
    rows_of: str | None = None
    names_rows: bool = False

    def pairs_with(self, other: Factor) -> bool:
        """Say whether the two together say more than the narrower of them."""
        return self.rows_of is None or self.rows_of != other.rows_of or not (self.names_rows or other.names_rows)


Selection: TypeAlias = "tuple[tuple[int, int], ...]"
"""One or two factors, by index, and a value of each: predictions that have them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enriched:
    """A selection in which bad predictions are more frequent.

    Attributes:
        selection: What is selected.
        same: Other selections of nearly the same predictions.
        counts: How many are inside and outside, of those that were left when it was found.
        g: The signed G statistic.
        risk_ratio: How many times more frequent bad ones are inside.
        low: Lower bound of the 95% confidence interval of that.
        high: Its upper bound.
        p: Probability of as much by chance, times the number of tests.
        rivals: Values that stood out beside it and no longer do without the predictions it selects, as they were then.
    """

    selection: Selection
    counts: Counts
    g: float
    risk_ratio: float
    low: float
    high: float
    p: float
    same: tuple[Selection, ...] = ()
    rivals: tuple[Enriched, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What was found.

    Attributes:
        findings: First what explains most.
        unexplained: Bad predictions that nothing explains.
        single_tests: How many values could have been found.
        pair_tests: How many pairs could have been.
    """

    findings: tuple[Enriched, ...]
    unexplained: int
    single_tests: int
    pair_tests: int


def search(
    factors: Sequence[Factor], bad: Mask, *, support: int = SUPPORT, error: float = ERROR, pairs: bool = True
) -> Searched:
    """Find what bad predictions share.

    Args:
        factors: The factors, each with a code for every prediction.
        bad: Which predictions are bad; the others are what they are compared with.
        support: How many predictions a value must select, and how many bad ones a pair.
        error: Probability that anything is found where there is nothing.
        pairs: Whether to look at pairs.
    """
    left = _Left(
        rows=np.arange(len(bad)), bad=np.asarray(bad, bool), codes=[np.asarray(one.codes + 1, _CODE) for one in factors]
    )
    tests = _Tests(factors, left, support, error, pairs=pairs)
    findings: list[Enriched] = []
    for later in sorted({False, *(one.later for one in factors)}):
        open_ = [index for index, one in enumerate(factors) if later or not one.later]
        while len(findings) < FINDINGS_MAX:
            found = _first(factors, left, open_, tests, support)
            if found is None:
                break
            best, stood_out = found
            left = left.without(left.selected(best.selection))
            findings.append(_with_rivals(best, stood_out, left, tests))
    return Searched(
        findings=tuple(findings),
        unexplained=int(left.bad.sum()),
        single_tests=tests.singles,
        pair_tests=tests.pairs,
    )


def selected(factors: Sequence[Factor], selection: Selection) -> Mask:
    """Return which predictions a selection selects."""
    return _all_of([factors[index].codes == value for index, value in selection])


def _all_of(masks: Sequence[Mask]) -> Mask:
    return np.asarray(np.logical_and.reduce(masks), bool)


@dataclass(slots=True, eq=False)
class _Left:
    """The predictions that nothing explains yet; codes are one higher than given, 0 is none.

    Attributes:
        rows: Their numbers.
        bad: Which are bad.
        codes: Their codes of each factor.
        single: Of each factor looked at, how many bad ones and how many in all have each value.
    """

    rows: Ints
    bad: Mask
    codes: list[Ints]
    single: dict[int, tuple[Ints, Ints, Floats]] = field(default_factory=dict)

    def without(self, mask: Mask) -> _Left:
        keep = ~mask
        return _Left(rows=self.rows[keep], bad=self.bad[keep], codes=[codes[keep] for codes in self.codes])

    def selected(self, selection: Selection) -> Mask:
        return _all_of([self.codes[index] == value + 1 for index, value in selection])

    def counts(self, factor: int, values: int) -> tuple[Ints, Ints, Floats]:
        """Return of each value the bad ones, all, and G; those of none are left out."""
        if factor not in self.single:
            codes = self.codes[factor]
            bad = np.bincount(codes[self.bad], minlength=values + 1)[1:]
            inside = np.bincount(codes, minlength=values + 1)[1:]
            self.single[factor] = bad, inside, signed_g(bad, inside, int(self.bad.sum()), len(self.bad))
        return self.single[factor]


class _Tests:
    """How many tests there are, and what chance allows for."""

    def __init__(self, factors: Sequence[Factor], left: _Left, support: int, error: float, *, pairs: bool) -> None:
        frequent = [int((left.counts(i, one.values)[1] >= support).sum()) for i, one in enumerate(factors)]
        most = len(left.rows) // support
        self.singles = sum(frequent)
        self.with_pairs = pairs
        self.pairs = 0
        if pairs:
            self.pairs = sum(min(a * b, most) for i, a in enumerate(frequent) for b in frequent[:i])
        self._error = error / (2 if pairs else 1)
        self.g_single, self.g_pair = (self._least(tests) for tests in (self.singles, self.pairs))

    def _least(self, tests: int) -> float:
        return NormalDist().inv_cdf(self._error / max(tests, 1) / 2) ** 2

    def p(self, g: float, order: int) -> float:
        """Return the probability of such a G by chance in any of the tests."""
        tests = (self.singles if order == 1 else self.pairs) * (2 if self.with_pairs else 1)
        return min(1.0, math.erfc(math.sqrt(max(g, 0.0) / 2)) * tests)


def _first(
    factors: Sequence[Factor], left: _Left, open_: Sequence[int], tests: _Tests, support: int
) -> tuple[Enriched, list[Enriched]] | None:
    """Return what explains most of what is left, and which other values stand out; None if nothing does."""
    if not left.bad.any() or left.bad.all():
        return None
    singles = sorted(_singles(factors, left, open_, tests, support), key=lambda one: -one.g)
    pairs = sorted(_pairs(factors, left, open_, tests, support), key=lambda one: -one.g) if tests.with_pairs else []
    candidates = [*singles[:1], *pairs[:1]]
    if not candidates:
        return None
    best = max(candidates, key=lambda one: one.g)
    mask = left.selected(best.selection)
    same = {best.selection, *_same_values(factors, left, mask), *_same_pairs(left, mask, pairs)}
    order = min(len(one) for one in same)  # a pair that is no more than one of its values says nothing more
    names = sorted((one for one in same if len(one) == order), key=lambda one: _coarseness(factors, one))
    named = _enriched(names[0], left, tests, None)
    kept = set(names)
    others = [one for one in singles if one.selection not in kept]
    return replace(named, same=tuple(names[1:])), others


def _coarseness(factors: Sequence[Factor], selection: Selection) -> tuple[bool, int, Selection]:
    """Return what orders names for the same predictions: where they come from before what they show, the coarsest."""
    levels = [factors[index].level for index, _ in selection]
    return any(factors[index].later for index, _ in selection), sum(levels), selection


def _singles(
    factors: Sequence[Factor], left: _Left, open_: Sequence[int], tests: _Tests, support: int
) -> Iterator[Enriched]:
    for index in open_:
        bad, inside, g = left.counts(index, factors[index].values)
        for value in np.flatnonzero((g >= tests.g_single) & (inside >= support) & (bad >= _BAD_MIN)).tolist():
            found = _enriched(((index, value),), left, tests, (int(bad[value]), int(inside[value])))
            if found.low > 1:
                yield found


def _pairs(
    factors: Sequence[Factor], left: _Left, open_: Sequence[int], tests: _Tests, support: int
) -> Iterator[Enriched]:
    """Yield pairs of values that explain more than either: looked for among the bad, then counted in all."""
    total, all_bad = len(left.bad), int(left.bad.sum())
    bad_rows = np.flatnonzero(left.bad)
    frequent = [one for index in open_ if (one := _Frequent.of(factors[index], index, left, bad_rows, support))]
    pure = signed_g(np.arange(all_bad + 1), np.arange(all_bad + 1), all_bad, total)
    for at, first in enumerate(frequent):
        for second in frequent[:at]:
            if not factors[first.index].pairs_with(factors[second.index]):
                continue
            cells, bad = _counted(first, first.of_bad, second, second.of_bad)
            row, column = np.divmod(cells, second.width)
            inner = (bad >= support) & (row > 0) & (column > 0)
            cells, bad, row, column = cells[inner], bad[inner], row[inner], column[inner]
            least = np.maximum(tests.g_pair, BEATS_PARENTS * np.maximum(first.g[row], second.g[column]))
            may = pure[bad] >= least
            if not may.any():
                continue
            cells, bad, row, column, least = cells[may], bad[may], row[may], column[may], least[may]
            inside = _inside(cells, first, second, left)
            g = signed_g(bad, inside, all_bad, total)
            for place in np.flatnonzero(g >= least).tolist():
                values = (
                    (second.index, int(second.value[column[place]])),
                    (first.index, int(first.value[row[place]])),
                )
                found = _enriched(values, left, tests, (int(bad[place]), int(inside[place])))
                if found.low > 1:
                    yield found


@dataclass(slots=True, kw_only=True, eq=False)
class _Frequent:
    """A factor narrowed to the values that enough bad predictions have, numbered from 1; 0 is any other.

    Attributes:
        index: Index of the factor.
        number: The number of each code.
        value: The value of each number.
        g: Its G.
        of_bad: Numbers of the bad predictions.
        of_all: Numbers of all, once somebody asked.
    """

    index: int
    number: Ints
    value: Ints
    g: Floats
    of_bad: Ints
    of_all: Ints | None = None

    @property
    def width(self) -> int:
        return len(self.value)

    @classmethod
    def of(cls, factor: Factor, index: int, left: _Left, bad_rows: Ints, support: int) -> _Frequent | None:
        bad, inside, g = left.counts(index, factor.values)
        values = np.flatnonzero((bad >= support) & (inside < len(left.bad)))
        if not len(values):
            return None
        number = np.zeros(factor.values + 1, _CODE)
        number[values + 1] = np.arange(1, len(values) + 1)
        return cls(
            index=index,
            number=number,
            value=np.concatenate(([-1], values)),
            g=np.concatenate(([0.0], g[values])),
            of_bad=number[left.codes[index][bad_rows]],
        )

    def all_numbers(self, left: _Left) -> Ints:
        if self.of_all is None:
            self.of_all = self.number[left.codes[self.index]]
        return self.of_all


def _counted(first: _Frequent, of_first: Ints, second: _Frequent, of_second: Ints) -> tuple[Ints, Ints]:
    """Return the pairs of numbers that come together, as cells of a table, and how often."""
    if first.width * second.width > _TABLE_MAX:
        cells, counts = np.unique(of_first.astype(np.int64) * second.width + of_second, return_counts=True)
        return cells, counts
    counts = np.bincount(of_first * _CODE(second.width) + of_second, minlength=first.width * second.width)
    cells = np.flatnonzero(counts)
    return cells, counts[cells]


def _inside(cells: Ints, first: _Frequent, second: _Frequent, left: _Left) -> Ints:
    """Return how many predictions are in each of some cells."""
    known, counts = _counted(first, first.all_numbers(left), second, second.all_numbers(left))
    return counts[np.searchsorted(known, cells)]


def _enriched(selection: Selection, left: _Left, tests: _Tests, counted: tuple[int, int] | None) -> Enriched:
    if counted is None:
        mask = left.selected(selection)
        counted = int((mask & left.bad).sum()), int(mask.sum())
    bad, inside = counted
    total, all_bad = len(left.bad), int(left.bad.sum())
    counts = Counts(bad_inside=bad, all_inside=inside, bad_outside=all_bad - bad, all_outside=total - inside)
    g = float(signed_g(np.array(bad), np.array(inside), all_bad, total))
    ratio, low, high = risk_ratio(counts)
    return Enriched(
        selection=selection, counts=counts, g=g, risk_ratio=ratio, low=low, high=high, p=tests.p(g, len(selection))
    )


def _same_values(factors: Sequence[Factor], left: _Left, mask: Mask) -> Iterator[Selection]:
    """Yield the values that select nearly what a mask does."""
    size = int(mask.sum())
    for index, factor in enumerate(factors):
        both = np.bincount(left.codes[index][mask], minlength=factor.values + 1)[1:]
        inside = left.counts(index, factor.values)[1]
        for value in np.flatnonzero(both >= SAME * (size + inside - both)).tolist():
            yield ((index, value),)


def _same_pairs(left: _Left, mask: Mask, pairs: Sequence[Enriched]) -> Iterator[Selection]:
    size = int(mask.sum())
    for pair in pairs[:_PAIRS_COMPARED]:
        both = int((left.selected(pair.selection) & mask).sum())
        if both >= SAME * (size + pair.counts.all_inside - both):
            yield pair.selection


def _with_rivals(best: Enriched, stood_out: Sequence[Enriched], left: _Left, tests: _Tests) -> Enriched:
    """Add the values that stood out beside it and no longer do, one of each factor."""
    rivals: dict[int, Enriched] = {}
    for one in stood_out:
        ((index, _),) = one.selection
        if index not in rivals and len(rivals) < RIVALS_KEPT and not _stands_out(one.selection, left, tests):
            rivals[index] = one
    return replace(best, rivals=tuple(rivals.values()))


def _stands_out(selection: Selection, left: _Left, tests: _Tests) -> bool:
    mask = left.selected(selection)
    bad, inside = np.count_nonzero(mask & left.bad), np.count_nonzero(mask)
    return bool(signed_g(np.array(bad), np.array(inside), int(left.bad.sum()), len(mask)) >= tests.g_single)
