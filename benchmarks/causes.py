"""Root causes: what it costs to look for what bad predictions share."""

from __future__ import annotations

import numpy as np

from backstory.debug.enrichment import Factor, search
from benchmarks.measure import Row, median_seconds

PREDICTIONS, FACTORS = 166_000, 31
SIZES = (2, 5, 20, 100, 365, 1_000, 4_000)
RUNS = 5
NOISE, INSIDE = 0.03, 0.5
SECONDS_MAX = 1.0


def cause_rows() -> list[Row]:
    """Return what a search for causes takes, of values and of pairs: with a broken file, and in noise alone."""
    random = np.random.default_rng(0)
    rows = random.integers(0, 4_400, PREDICTIONS)
    factors = [_factor("row", rows, 4_400), _factor("day", rows // 24, 184), _factor("file", rows // 168, 27)]
    for number in range(FACTORS - len(factors)):
        size = SIZES[number % len(SIZES)]
        factors.append(_factor(f"other {number}", (random.random(PREDICTIONS) ** 1.5 * size).astype(np.int32), size))
    noise = random.random(PREDICTIONS) < NOISE
    broken = noise | ((factors[2].codes == 3) & (random.random(PREDICTIONS) < INSIDE))
    what = f"root cause of {PREDICTIONS:,} predictions by {FACTORS} factors and their pairs"
    found = []
    for which, bad in (("a broken file among noise", broken), ("noise", noise)):
        taken = median_seconds(lambda bad=bad: search(factors, bad), RUNS)  # type: ignore[misc]
        met = taken <= SECONDS_MAX
        found.append(Row(what=f"{what}, {which}", value=f"{taken:.2f} s", target="<= 1 s", met=met))
    return found


def _factor(name: str, codes: np.ndarray, values: int) -> Factor:
    return Factor(name=name, level=0, codes=codes.astype(np.int32), values=values)
