"""Finding the change that turned good into bad, in as few trials as there are bits in the answer.

Pure: what is tried is a function from a configuration to good, bad or skip. One dimension is halved as `git bisect`
does it. Of several, each is first swapped alone; if none of them turns the result by itself, a smallest set that does
is found by delta debugging (Zeller and Hildebrandt, IEEE TSE 28(2), 2002). Each dimension found is then halved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from backstory.errors import QueryError

Outcome: TypeAlias = Literal["good", "bad", "skip"]
Configuration: TypeAlias = tuple[int, ...]
"""For each dimension which of its values is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """Something that changed, step by step.

    Attributes:
        name: What it is, such as `model delay`.
        values: Its values from good to bad, at least two, each named for a reader.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One configuration that was tried.

    Attributes:
        at: The configuration.
        outcome: What came of it; `skip` where it could not be tried.
        note: Why, or what came out.
    """

    at: Configuration
    outcome: Outcome
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """A dimension that is needed to turn the result.

    Attributes:
        dimension: Which of the dimensions, from 0.
        last_good: The last value that is good.
        first_bad: The first value after it that is bad; the values between could not be tried.
    """

    dimension: int
    last_good: int
    first_bad: int

    @property
    def is_exact(self) -> bool:
        """Whether nothing between the two is left."""
        return self.first_bad == self.last_good + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """Which changes turned the result.

    Attributes:
        causes: Each a set of changes that turns the result by itself, and no part of which does.
        untested: Dimensions that could not be swapped alone.
    """

    causes: tuple[tuple[Culprit, ...], ...]
    untested: tuple[int, ...]


class Trials:
    """Tries configurations, each once."""

    def __init__(
        self,
        test: Callable[[Configuration], tuple[Outcome, str]],
        known: Sequence[Trial] = (),
        told: Callable[[Trial], None] = lambda _: None,
    ) -> None:
        """Try with a test.

        Args:
            test: Returns what comes of a configuration, and a note.
            known: What was tried before, or needs no trial.
            told: Is told each new trial.
        """
        self._test = test
        self._told = told
        self.done: dict[Configuration, Trial] = {trial.at: trial for trial in known}
        self.count = 0

    def outcome(self, at: Configuration) -> Outcome:
        """Return what comes of a configuration."""
        if at not in self.done:
            outcome, note = self._test(at)
            self.count += 1
            self.done[at] = Trial(at=at, outcome=outcome, note=note)
            self._told(self.done[at])
        return self.done[at].outcome


def find_flip(dimensions: Sequence[Dimension], trials: Trials) -> Flip:
    """Find the changes between the good and the bad end that turned the result.

    Args:
        dimensions: What changed.
        trials: Tries configurations.

    Returns:
        The changes. A result that turned more than once on the way is turned by each; one of them is named.

    Raises:
        QueryError: There is nothing to look between, or the ends are not what they are said to be.
    """
    if not dimensions or any(len(one.values) < 2 for one in dimensions):  # noqa: PLR2004
        raise QueryError("bisect: expected something that changed, with at least two values")
    last = tuple(len(one.values) - 1 for one in dimensions)
    for at, expected in ((tuple(0 for _ in last), "good"), (last, "bad")):
        outcome = trials.outcome(at)
        if outcome != expected:
            named = ", ".join(one.values[value] for one, value in zip(dimensions, at, strict=True))
            note = trials.done[at].note
            raise QueryError(f"bisect: expected the {expected} end to be {expected}, got {outcome} ({named}: {note})")
    if len(dimensions) == 1:
        return Flip(causes=((_halve(trials, last, frozenset({0}), 0),),), untested=())
    alone = {at: trials.outcome(_swapped(last, frozenset({at}))) for at in range(len(dimensions))}
    sets = [frozenset({at}) for at, outcome in alone.items() if outcome == "bad"]
    if not sets:
        sets = [_smallest(trials, last)]
    causes = tuple(tuple(_halve(trials, last, needed, at) for at in sorted(needed)) for needed in sets)
    return Flip(causes=causes, untested=tuple(at for at, outcome in alone.items() if outcome == "skip"))


def _swapped(last: Configuration, changed: frozenset[int]) -> Configuration:
    """Return the good end with some dimensions at their bad end."""
    return tuple(value if at in changed else 0 for at, value in enumerate(last))


def _smallest(trials: Trials, last: Configuration) -> frozenset[int]:
    """Return a set of dimensions that turns the result and of which no dimension can be left out (ddmin)."""
    needed, parts = sorted(range(len(last))), 2
    while len(needed) > 1:
        size = -(-len(needed) // parts)
        chunks = [needed[begin : begin + size] for begin in range(0, len(needed), size)]
        fewer = next(_turning(trials, last, chunks, needed), None)
        if fewer is None and size == 1:
            break
        needed, parts = (needed, min(2 * parts, len(needed))) if fewer is None else (fewer, max(parts - 1, 2))
    return frozenset(needed)


def _turning(trials: Trials, last: Configuration, chunks: list[list[int]], needed: list[int]) -> Iterator[list[int]]:
    """Yield parts of a set, then what is left without each, that turn the result."""
    rests = [[at for at in needed if at not in chunk] for chunk in chunks]
    for some in [*chunks, *rests]:
        if 0 < len(some) < len(needed) and trials.outcome(_swapped(last, frozenset(some))) == "bad":
            yield some


def _halve(trials: Trials, last: Configuration, needed: frozenset[int], dimension: int) -> Culprit:
    """Return where one dimension of a set turns the result, the others of it being bad, and all else good."""
    ends = _swapped(last, needed)

    def outcome(value: int) -> Outcome:
        return trials.outcome(tuple(value if at == dimension else end for at, end in enumerate(ends)))

    good, bad = 0, last[dimension]
    skipped: set[int] = set()
    while True:
        left = [value for value in range(good + 1, bad) if value not in skipped]
        if not left:
            return Culprit(dimension=dimension, last_good=good, first_bad=bad)
        middle = (good + bad) / 2
        value = min(left, key=lambda one: abs(one - middle))
        found = outcome(value)
        if found == "skip":
            skipped.add(value)
        elif found == "good":
            good = value
        else:
            bad = value


def steps_left(values: int) -> int:
    """Return about how many trials it takes to find one of so many changes.

    >>> steps_left(64)
    6
    """
    return max(values - 1, 1).bit_length()


def known_outcomes(document: Mapping[str, object], dimensions: Sequence[Dimension]) -> list[Trial]:
    """Return trials from their JSON form.

    Raises:
        QueryError: It is not of that form, or of configurations there are not.
    """
    kept = document.get("trials")
    trials = []
    for one in kept if isinstance(kept, list) else [None]:
        match one:
            case [[*at], "good" | "bad" | "skip" as outcome, str(note)] if _is_configuration(at, dimensions):
                trials.append(Trial(at=tuple(at), outcome=outcome, note=note))
            case _:
                raise QueryError("bisect: expected trials in the state file, got something else")
    return trials


def _is_configuration(at: Sequence[object], dimensions: Sequence[Dimension]) -> bool:
    return len(at) == len(dimensions) and all(
        type(value) is int and 0 <= value < len(one.values) for value, one in zip(at, dimensions, strict=True)
    )
