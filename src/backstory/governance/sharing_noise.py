"""The noise of figures: OpenDP's mechanisms, with the scale that a loss of privacy asks for.

Nothing here draws noise itself, and none of it comes from the archive's `World`: OpenDP samples exactly, from the
operating system's randomness, so noise cannot be drawn again from a seed. What a mechanism loses is what OpenDP's own
map of it says for so many rows of one person; a scale is searched for with which that is at most what was asked.

Numbers are counted in whole steps of a grid before they are added up, so no sum rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from backstory.errors import InputError

if TYPE_CHECKING:
    from decimal import Decimal

    from numpy.typing import NDArray

Result = TypeVar("Result")

STEPS: Final = 1 << 24
"""Steps of the grid between 0 and the largest size a value may have."""
SURE: Final = 0.05
"""How often noise may be larger than what is said of it."""
_CANDIDATES: Final = 1 << 10
_THRESHOLD_MAX: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What a mechanism adds.

    Attributes:
        mechanism: `laplace` adds to each number; `laplace-threshold` also leaves out what is then small; `exponential`
            chooses among candidates.
        scale: Its scale, in the unit of what it is added to.
        error: In 95 of 100 answers each number is at most so far from the one without noise; for `exponential` in
            ranks.
    """

    mechanism: str
    scale: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Numbers of rows by cell, with noise.

    Attributes:
        noise: What is added to each.
        run: Given the cell of each row, from 0 on, returns the number of each cell.
    """

    noise: Noise
    run: Callable[[NDArray[np.int64]], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Sums by cell, with noise.

    Attributes:
        noise: What is added to each.
        run: Given the value and the cell of each row, returns the sum of each cell.
    """

    noise: Noise
    run: Callable[[NDArray[np.float64], NDArray[np.int64]], list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Quantiles by cell, chosen among candidates.

    Attributes:
        noise: How they are chosen.
        run: Given the value and the cell of each row, returns the quantile of each cell.
    """

    noise: Noise
    run: Callable[[NDArray[np.float64], NDArray[np.int64]], list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Numbers of rows by a text that nobody listed before, with noise; texts of few rows are left out.

    Attributes:
        noise: What is added to each.
        threshold: From which number on, with its noise, a text is in the answer.
        run: Given the text of each row, returns the number of each.
    """

    noise: Noise
    threshold: int
    run: Callable[[Sequence[str]], dict[str, int]]


def plan_counts(cells: int, rows_each: int, epsilon: Decimal, sure: float = SURE) -> Counts:
    """Plan to count rows by cell, each row in one cell.

    Args:
        cells: How many cells there are.
        rows_each: How many rows one person has at most.
        epsilon: What may be lost of all cells together.
        sure: How often the noise of a cell may be larger than is said.

    Raises:
        InputError: The extra `privacy` is not installed, or the loss is too small to be kept.
    """
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.symmetric_distance()
    by_cell = dp.make_count_by_categories(
        *space, categories=list(range(cells)), null_category=False, MO="L1Distance<i64>", TOA="i64"
    )
    measurement, scale = _fitting(lambda scale: by_cell >> dp.then_laplace(scale), rows_each, epsilon)
    return Counts(
        noise=Noise(mechanism="laplace", scale=scale, error=_accuracy(scale, sure)),
        run=lambda own: [int(number) for number in _invoked(measurement, own)],
    )


def plan_sums(cells: int, rows_each: int, epsilon: Decimal, bounds: tuple[float, float], sure: float = SURE) -> Sums:
    """Plan to add values up by cell, each row in one cell; values outside the bounds count as the nearer bound.

    A cell at a time: rows of one person that are in several cells cost together what they would in one, as what a
    Laplace mechanism loses rises with the number of rows in proportion.

    Args:
        cells: How many cells there are.
        rows_each: How many rows one person has at most.
        epsilon: What may be lost of all cells together.
        bounds: The least and the largest value.
        sure: How often the noise of a cell may be larger than is said.

    Raises:
        InputError: The extra `privacy` is not installed, or the loss is too small to be kept.
    """
    dp = _opendp()
    low, high = bounds
    step = max(abs(low), abs(high)) / STEPS
    within = round(low / step), round(high / step)
    space = dp.vector_domain(dp.atom_domain(bounds=within, T="i64")), dp.symmetric_distance()
    total = dp.make_sum(*space)
    measurement, scale = _fitting(lambda scale: total >> dp.then_laplace(scale), rows_each, epsilon)

    def run(values: NDArray[np.float64], own: NDArray[np.int64]) -> list[float]:
        steps = np.clip(np.rint(np.clip(values, low, high) / step), *within).astype(np.int64)
        return [int(_invoked(measurement, steps[own == cell])) * step for cell in range(cells)]

    return Sums(noise=Noise(mechanism="laplace", scale=scale * step, error=_accuracy(scale, sure) * step), run=run)


def plan_quantiles(
    cells: int, rows_each: int, epsilon: Decimal, bounds: tuple[float, float], share: float
) -> Quantiles:
    """Plan to find the value below which a share of the rows of each cell lies, as near as candidates allow.

    Args:
        cells: How many cells there are.
        rows_each: How many rows one person has at most.
        epsilon: What may be lost of all cells together.
        bounds: The least and the largest candidate; there are 1,025, evenly spaced.
        share: The share, from 0 to 1.

    Raises:
        InputError: The extra `privacy` is not installed, or the loss is too small to be kept.
    """
    dp = _opendp()
    low, high = bounds
    candidates = [low + (high - low) * place / _CANDIDATES for place in range(_CANDIDATES + 1)]
    space = dp.vector_domain(dp.atom_domain(T="f64", nan=False)), dp.symmetric_distance()
    measurement, scale = _fitting(
        lambda scale: dp.make_private_quantile(
            *space, dp.max_divergence(), candidates=candidates, alpha=share, scale=scale
        ),
        rows_each,
        epsilon,
    )

    def run(values: NDArray[np.float64], own: NDArray[np.int64]) -> list[float]:
        inside = np.clip(values, low, high)
        return [float(_invoked(measurement, inside[own == cell])) for cell in range(cells)]

    return Quantiles(
        noise=Noise(mechanism="exponential", scale=scale, error=scale * math.log(len(candidates) / SURE)), run=run
    )


def plan_found(rows_each: int, epsilon: Decimal, delta: Decimal) -> Found:
    """Plan to count rows by a text of theirs; which texts there are is part of the answer, so it needs a delta.

    Args:
        rows_each: How many rows one person has at most.
        epsilon: What may be lost.
        delta: How likely more may be lost: that a text of one person alone shows.

    Raises:
        InputError: The extra `privacy` is not installed, or the loss is too small to be kept.
    """
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(T="String")), dp.symmetric_distance()
    by_text = dp.make_count_by(*space, TV="i64")

    def at(scale: float, threshold: int) -> Any:  # noqa: ANN401  a measurement of OpenDP
        return by_text >> dp.then_laplace_threshold(scale=scale, threshold=threshold)

    budget, small = _within(epsilon), _within(delta)
    try:
        scale = dp.binary_search(lambda scale: at(scale, _THRESHOLD_MAX).map(rows_each)[0] <= budget, T=float)
        threshold = dp.binary_search(
            lambda least: at(scale, least).map(rows_each)[1] <= small, bounds=(rows_each + 1, _THRESHOLD_MAX)
        )
    except (dp.OpenDPException, ValueError) as error:
        raise _too_little(error) from None
    measurement = at(scale, threshold)
    if not (measurement.map(rows_each)[0] <= budget and measurement.map(rows_each)[1] <= small):
        raise AssertionError("OpenDP's scale and threshold do not keep the loss they were searched for")
    return Found(
        noise=Noise(mechanism="laplace-threshold", scale=scale, error=_accuracy(scale, SURE)),
        threshold=threshold,
        run=lambda texts: {str(text): int(number) for text, number in _invoked(measurement, list(texts)).items()},
    )


def _fitting(make: Callable[[float], Any], rows_each: int, epsilon: Decimal) -> tuple[Any, float]:
    """Return the measurement of the least scale that loses no more than epsilon where so many rows change."""
    dp = _opendp()
    budget = _within(epsilon)
    try:
        scale = dp.binary_search_param(make, d_in=rows_each, d_out=budget, T=float)
    except (dp.OpenDPException, ValueError) as error:
        raise _too_little(error) from None
    measurement = make(scale)
    if not measurement.map(rows_each) <= budget:
        raise AssertionError("OpenDP's scale does not keep the loss it was searched for")
    return measurement, float(scale)


def _within(loss: Decimal) -> float:
    """Return the largest float that is not above a decimal."""
    near = float(loss)
    return near if type(loss)(near) <= loss else math.nextafter(near, 0.0)


def _too_little(error: Exception) -> InputError:
    return InputError(f"sharing: expected a loss that noise can be found for ({type(error).__name__} of OpenDP)")


def _accuracy(scale: float, sure: float) -> float:
    return float(_opendp().discrete_laplacian_scale_to_accuracy(scale, sure))


def _invoked(measurement: Any, data: object) -> Any:  # noqa: ANN401  a measurement of OpenDP, and its answer
    """Draw an answer; an error of OpenDP's may hold what it was given, so only its kind is told."""
    dp = _opendp()
    try:
        return measurement(data)
    except dp.OpenDPException as error:
        kind = type(error).__name__
    raise InputError(f"sharing: the mechanism could not be run ({kind} of OpenDP); what it would have lost is spent")


@cache
def _opendp() -> Any:  # noqa: ANN401  the parts of OpenDP that are used here, by name
    """Return what is used of OpenDP. Its `prelude` loads scikit-learn and takes seconds, so the parts are named.

    Raises:
        InputError: It is not installed.
    """
    try:
        from opendp import accuracy, domains, measurements, metrics, mod, transformations
        from opendp.measures import max_divergence
    except ImportError:
        raise InputError(
            "sharing: differentially private figures need OpenDP: pip install 'backstory[privacy]'"
        ) from None
    mod.enable_features("contrib")
    parts = {
        "OpenDPException": mod.OpenDPException,
        "atom_domain": domains.atom_domain,
        "binary_search": mod.binary_search,
        "binary_search_param": mod.binary_search_param,
        "discrete_laplacian_scale_to_accuracy": accuracy.discrete_laplacian_scale_to_accuracy,
        "make_count_by": transformations.make_count_by,
        "make_count_by_categories": transformations.make_count_by_categories,
        "make_private_quantile": measurements.make_private_quantile,
        "make_sum": transformations.make_sum,
        "max_divergence": max_divergence,
        "symmetric_distance": metrics.symmetric_distance,
        "then_laplace": measurements.then_laplace,
        "then_laplace_threshold": measurements.then_laplace_threshold,
        "vector_domain": domains.vector_domain,
    }
    return SimpleNamespace(**parts)
