"""From a question to its mechanisms, and from what they give to cells. Nothing here reads an archive.

The noise is known before any row is read, so it can stand in the log before the figure is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backstory.governance.sharing_noise import (
    SURE,
    Noise,
    plan_counts,
    plan_found,
    plan_quantiles,
    plan_sums,
)
from backstory.governance.sharing_question import Plain, Question
from backstory.governance.sharing_rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number of a figure.

    Attributes:
        keys: What its rows have in common, by name.
        value: The number, noise and all: a count may be below 0. None where noise left nothing to divide by.
        low: In 95 of 100 answers the number without noise is not below this; None of a quantile, whose error is one of
            ranks.
        high: Nor is it above this in as many.
    """

    keys: dict[str, Plain]
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a figure is made.

    Attributes:
        noise: What is added, one for each mechanism that is run.
        run: Given the rows that count, returns the cells.
    """

    noise: tuple[Noise, ...]
    run: Callable[[Rows], list[Cell]]


def plan(question: Question) -> Plan:
    """Return how a question is answered; what it loses is at most what it says.

    Raises:
        InputError: The extra `privacy` is not installed, or no noise can be found for the loss.
    """
    makers = {
        "count": _plan_count,
        "histogram": _plan_histogram,
        "mean": _plan_mean,
        "quantile": _plan_quantile,
        "rate": _plan_rate,
        "sum": _plan_sum,
    }
    return makers[question.statistic](question)


def _plan_count(question: Question) -> Plan:
    keys = question.keys
    counts = plan_counts(len(keys), question.rows_each, question.loss.epsilon)
    return Plan(
        noise=(counts.noise,),
        run=lambda rows: [
            _around(own, number, counts.noise.error) for own, number in zip(keys, counts.run(rows.cells), strict=True)
        ],
    )


def _plan_histogram(question: Question) -> Plan:
    if not question.bins:
        found = plan_found(question.rows_each, question.loss.epsilon, question.loss.delta)
        return Plan(
            noise=(found.noise,),
            run=lambda rows: [
                _around({str(question.of): text}, number, found.noise.error)
                for text, number in sorted(found.run(rows.texts.to_pylist()).items())
            ],
        )
    keys = [{**own, str(question.of): name} for own in question.keys for name in question.bins]
    counts = plan_counts(len(keys), question.rows_each, question.loss.epsilon)
    return Plan(
        noise=(counts.noise,),
        run=lambda rows: [
            _around(own, number, counts.noise.error) for own, number in zip(keys, counts.run(rows.cells), strict=True)
        ],
    )


def _plan_sum(question: Question) -> Plan:
    keys = question.keys
    sums = plan_sums(len(keys), question.rows_each, question.loss.epsilon, _bounds(question))
    return Plan(
        noise=(sums.noise,),
        run=lambda rows: [
            _around(own, total, sums.noise.error)
            for own, total in zip(keys, sums.run(rows.numbers, rows.cells), strict=True)
        ],
    )


def _plan_mean(question: Question) -> Plan:
    """Plan a mean: half of the loss for the sum of distances from the middle of the bounds, half for the count."""
    keys, (low, high) = question.keys, _bounds(question)
    middle, half = (low + high) / 2, (high - low) / 2
    part = question.loss.epsilon / 2
    sums = plan_sums(len(keys), question.rows_each, part, (-half, half), SURE / 2)
    counts = plan_counts(len(keys), question.rows_each, part, SURE / 2)

    def run(rows: Rows) -> list[Cell]:
        totals, numbers = sums.run(rows.numbers - middle, rows.cells), counts.run(rows.cells)
        cells = []
        for own, total, number in zip(keys, totals, numbers, strict=True):
            least, most = (max(number + sign * counts.noise.error, 1) for sign in (-1, 1))
            below, above = total - sums.noise.error, total + sums.noise.error
            answers = (
                total / max(number, 1),
                below / (least if below < 0 else most),
                above / (least if above > 0 else most),
            )
            value, bottom, top = (min(max(middle + answer, low), high) for answer in answers)
            cells.append(Cell(keys=own, value=value, low=bottom, high=top))
        return cells

    return Plan(noise=(sums.noise, counts.noise), run=run)


def _plan_rate(question: Question) -> Plan:
    """Plan a rate: rows that have the value and rows that have another one, counted apart."""
    keys = question.keys
    counts = plan_counts(2 * len(keys), question.rows_each, question.loss.epsilon, SURE / 2)
    error = counts.noise.error

    def share(true: float, false: float) -> float | None:
        true, false = max(true, 0.0), max(false, 0.0)
        return true / (true + false) if true + false else None

    def run(rows: Rows) -> list[Cell]:
        numbers = counts.run(rows.cells)
        cells = []
        for own, false, true in zip(keys, numbers[::2], numbers[1::2], strict=True):
            low, high = share(true - error, false + error), share(true + error, false - error)
            cells.append(
                Cell(
                    keys=own,
                    value=share(true, false),
                    low=0.0 if low is None else low,
                    high=1.0 if high is None else high,
                )
            )
        return cells

    return Plan(noise=(counts.noise,), run=run)


def _plan_quantile(question: Question) -> Plan:
    keys = question.keys
    chosen = plan_quantiles(
        len(keys), question.rows_each, question.loss.epsilon, _bounds(question), question.share or 0.5
    )
    return Plan(
        noise=(chosen.noise,),
        run=lambda rows: [
            Cell(keys=own, value=value, low=None, high=None)
            for own, value in zip(keys, chosen.run(rows.numbers, rows.cells), strict=True)
        ],
    )


def _around(keys: dict[str, Plain], value: float, error: float) -> Cell:
    return Cell(keys=keys, value=value, low=value - error, high=value + error)


def _bounds(question: Question) -> tuple[float, float]:
    if question.bounds is None:
        raise AssertionError("the question was not checked")
    return question.bounds
