"""Timing: several runs, the median, and ratios of runs made in turn, because machines drift."""

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


def paired_ratio(first: Callable[[], object], second: Callable[[], object], runs: int) -> tuple[float, float, float]:
    """Time two functions in turn.

    Returns:
        Median of the ratios first ÷ second pair by pair, and the two medians in seconds.
    """
    first()
    second()
    pairs = [(seconds(first), seconds(second)) for _ in range(runs)]
    return (
        statistics.median(a / b for a, b in pairs),
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
    )
