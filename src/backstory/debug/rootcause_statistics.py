"""The statistics of a table of two by two: bad and all predictions, inside a selection and outside."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.integer]
    Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Bad and all predictions, inside a selection and outside."""

    bad_inside: int
    all_inside: int
    bad_outside: int
    all_outside: int


def signed_g(bad: Ints, inside: Ints, all_bad: int, total: int) -> Floats:
    """Return the G statistic of a table of two by two, negative where bad ones are rarer inside.

    Args:
        bad: Bad predictions inside.
        inside: Predictions inside.
        all_bad: Bad predictions.
        total: Predictions.
    """
    table = _xlogx(total)
    cells = table[bad] + table[inside - bad] + table[all_bad - bad] + table[total - inside - all_bad + bad]
    rows = table[inside] + table[total - inside]
    columns = table[all_bad] + table[total - all_bad] - table[total]
    g = np.maximum(2 * (cells - rows - columns), 0)
    return np.asarray(np.where(bad * total >= inside * all_bad, g, -g), np.float64)


def risk_ratio(counts: Counts) -> tuple[float, float, float]:
    """Return how many times more frequent bad ones are inside, and the 95% interval of that.

    Half a prediction is added to each cell where there is no bad one outside, or no good one inside.
    """
    a, n, c, m = counts.bad_inside, counts.all_inside, counts.bad_outside, counts.all_outside
    more = 0.5 if c == 0 or a in (0, n) else 0.0
    inside, outside = (a + more) / (n + 2 * more), (c + more) / (m + 2 * more) if m or more else 1.0
    ratio = inside / outside
    spread = 1 / (a + more) - 1 / (n + 2 * more) + 1 / (c + more) - 1 / (m + 2 * more)
    width = math.exp(NormalDist().inv_cdf(0.975) * math.sqrt(max(spread, 0.0)))
    return ratio, ratio / width, ratio * width


@functools.lru_cache(maxsize=2)
def _xlogx(most: int) -> Floats:
    """Return x·ln x of all counts up to one: counts are whole numbers, and there are far more tables than counts."""
    counts = np.arange(most + 1, dtype=np.float64)
    return np.asarray(counts * np.log(np.maximum(counts, 1)))
