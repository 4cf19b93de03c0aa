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


def timed_in_turn(first: Callable[[], object], second: Callable[[], object], runs: int) -> list[tuple[float, float]]:
    """Time two functions in turn, after one call of each that is not counted, and return each pair in seconds.

    A machine that drifts slows both calls of a pair; the median of their ratios is what the two differ by.
    """
    first()
    second()
    return [(seconds(first), seconds(second)) for _ in range(runs)]
