"""Timing: several runs, and ratios of runs made in turn, because machines drift."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        value: The figure, with its unit.
        target: What is promised, empty for a floor.
        met: Whether it is kept; None for a floor.
    """

    what: str
    value: str
    target: str = ""
    met: bool | None = None


def seconds(function: Callable[[], object]) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def median_seconds(function: Callable[[], object], runs: int) -> float:
    """Return the median time of several calls after one that is not counted."""
    function()
    return statistics.median(seconds(function) for _ in range(runs))


def fastest_of_each(first: Callable[[], object], second: Callable[[], object], runs: int) -> tuple[float, float]:
    """Time two functions in turn and return the fastest run of each, in seconds.

    The fastest run is the one that other work on the machine disturbed least.
    """
    first()
    second()
    pairs = [(seconds(first), seconds(second)) for _ in range(runs)]
    return min(a for a, _ in pairs), min(b for _, b in pairs)
