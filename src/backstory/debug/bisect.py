"""Which change flipped this prediction, or this figure over a sample: found by replaying what lies between two ends.

What was tried can be kept in a file, so that a search that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backstory.debug.bisection import (
    Configuration,
    Culprit,
    Dimension,
    Flip,
    Outcome,
    Trial,
    Trials,
    find_flip,
    known_outcomes,
    steps_left,
)
from backstory.debug.condition import Good, holds, like_the_good_end, told
from backstory.debug.levers import Rig
from backstory.errors import BackstoryError, QueryError
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import count_text
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.storage.disk import read_file, save_file

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change that is needed to turn the result.

    Attributes:
        what: What changed, such as `model delay`.
        good: Its last value that is good.
        bad: The first after it that is bad.
        untried: Values between the two, none of which could be tried.
    """

    what: str
    good: str
    bad: str
    untried: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as part of a sentence."""
        between = f", {count_text(len(self.untried), 'value')} between could not be tried" if self.untried else ""
        return f"{self.good} is good, {self.bad} is bad{between}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisection(Answer):
    """Which change turned good into bad.

    Attributes:
        predictions: How many predictions were replayed each time.
        dimensions: What changed, with its values from good to bad.
        causes: What turned the result; several where each does by itself. The changes of one cause do it only together.
        trials: What was tried, in order: the values, `good`, `bad` or `skip`, and a note.
        replays: How many configurations were replayed for it now; others were recorded, or tried before.
        untested: Dimensions that could not be swapped alone.
    """

    predictions: int
    dimensions: tuple[Dimension, ...]
    causes: tuple[tuple[Change, ...], ...]
    trials: tuple[tuple[tuple[str, ...], Outcome, str], ...]
    replays: int
    untested: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "causes": [
                [{"bad": one.bad, "good": one.good, "untried": list(one.untried), "what": one.what} for one in cause]
                for cause in self.causes
            ],
            "dimensions": [{"name": one.name, "values": list(one.values)} for one in self.dimensions],
            "predictions": self.predictions,
            "replays": self.replays,
            "trials": [{"at": list(at), "note": note, "outcome": outcome} for at, outcome, note in self.trials],
            "untested": list(self.untested),
        }

    def __repr__(self) -> str:
        """Return the answer on one line."""
        return f"<Bisection: {bisection_page(self).headline}>"

    def _page(self) -> Page:
        return bisection_page(self)


def bisect(
    rig: Rig,
    *,
    good: Good = None,
    state: Path | None = None,
    say: Say = lambda _: None,
) -> Bisection:
    """Find the change that turned one prediction, or a figure over some, from good to bad.

    Args:
        rig: The predictions, and what can be changed between two replays of them.
        good: What good means; of one prediction, where nothing is said, what the good end gave.
        state: File in which trials are kept, of sealed predictions without what came out; one that is there, of the
            same question, is gone on with.
        say: Is told each trial as it is done.

    Raises:
        QueryError: There is nothing to look between, the ends are not what they are said to be, the condition is
            malformed, or the file is of another question or would keep answers of a function.
        StorageError: The file cannot be read or written.
    """
    dimensions = rig.dimensions
    if state is not None and callable(good):
        raise QueryError(
            "bisect: expected good= in SQL where trials are kept: functions cannot be told from each other"
        )
    question = _question(rig, good)
    known = [] if state is None else _kept(state, question, dimensions)
    is_good = _meaning(rig, good)

    def test(at: Configuration) -> tuple[Outcome, str]:
        reason = rig.unplayable(at)
        if reason is not None:
            return "skip", reason
        try:
            outputs = rig.outputs(at)
        except BackstoryError as error:
            return "skip", str(error)
        return ("good" if is_good(outputs) else "bad"), told(outputs)

    def note(trial: Trial) -> None:
        say(_line(dimensions, trial))
        if state is not None:
            _keep(state, question, [*trials.done.values()], with_notes=not rig.is_sealed)

    named = " and ".join(f"{one.name} ({count_text(len(one.values), 'value')})" for one in dimensions)
    replays = count_text(sum(steps_left(len(one.values)) for one in dimensions), "replay")
    say(f"bisecting {named}: about {replays} beside the ends")
    trials = Trials(test, known, note)
    flip = find_flip(dimensions, trials)
    return _answer(rig, flip, trials)


def _meaning(rig: Rig, good: Good) -> Callable[[Any], bool]:
    """Return what says of outputs whether they are good."""
    if good is None:
        ends = rig.outputs(rig.good_end), rig.outputs(rig.bad_end)
        return like_the_good_end(*ends)
    return lambda outputs: holds(good, outputs)


def _answer(rig: Rig, flip: Flip, trials: Trials) -> Bisection:
    dimensions = rig.dimensions
    return Bisection(
        predictions=rig.predictions,
        dimensions=dimensions,
        causes=tuple(tuple(_change(dimensions, culprit) for culprit in cause) for cause in flip.causes),
        trials=tuple((_values(dimensions, trial.at), trial.outcome, trial.note) for trial in trials.done.values()),
        replays=rig.replays,
        untested=tuple(dimensions[at].name for at in flip.untested),
    )


def _change(dimensions: Sequence[Dimension], culprit: Culprit) -> Change:
    changed = dimensions[culprit.dimension]
    return Change(
        what=changed.name,
        good=changed.values[culprit.last_good],
        bad=changed.values[culprit.first_bad],
        untried=changed.values[culprit.last_good + 1 : culprit.first_bad],
    )


def _values(dimensions: Sequence[Dimension], at: Configuration) -> tuple[str, ...]:
    return tuple(one.values[value] for one, value in zip(dimensions, at, strict=True))


def _line(dimensions: Sequence[Dimension], trial: Trial) -> str:
    return f"[{', '.join(_values(dimensions, trial.at))}] {trial.outcome}: {trial.note}"


def _question(rig: Rig, good: Good) -> str:
    """Return a digest of what is asked, so that trials of another question are not taken for answers to this one."""
    document: JsonObject = {
        "dimensions": [{"name": one.name, "values": list(one.values)} for one in rig.dimensions],
        "good": good if isinstance(good, str) else None,
        "predictions": list(rig.ids),
        "steps": list(rig.steps),
    }
    return canonical.digest_of(document)


def _kept(state: Path, question: str, dimensions: Sequence[Dimension]) -> list[Trial]:
    if not state.exists():
        return []
    try:
        document = json.loads(read_file(state))
    except (ValueError, RecursionError):
        raise QueryError(f"bisect: expected a file of trials, got something else ({state})") from None
    if not isinstance(document, dict) or document.get("question") != question:
        raise QueryError(f"bisect: expected the trials of this question, got those of another ({state})")
    return known_outcomes(document, dimensions)


def _keep(state: Path, question: str, trials: Sequence[Trial], *, with_notes: bool) -> None:
    kept = [[list(trial.at), trial.outcome, trial.note if with_notes else ""] for trial in trials]
    document = {"question": question, "trials": kept, "v": 1}
    save_file(json.dumps(document, indent=1).encode(), state, "bisect", overwrite=True)


def bisection_page(answer: Bisection) -> Page:
    """Return an answer for a reader: the change, then what was tried."""
    told = [" together with ".join(f"{one.what}: {one}" for one in cause) for cause in answer.causes]
    counted = count_text(answer.replays, "replay")
    of = count_text(answer.predictions, "prediction")
    headline = f"{'; and by itself '.join(told)} ({counted} of {of})"
    return Page(
        headline=headline,
        alarms=tuple(_alarms(answer)),
        facts=tuple(
            (one.name, f"{one.values[0]} … {one.values[-1]} ({len(one.values):,})") for one in answer.dimensions
        ),
        sections=(
            Section(
                title="Trials",
                columns=("values", "outcome", "note"),
                rows=rows_of((", ".join(at), outcome, note) for at, outcome, note in answer.trials),
            ),
        ),
    )


def _alarms(answer: Bisection) -> Iterator[str]:
    yield from (f"{name} could not be swapped alone: nothing is said of it" for name in answer.untested)
    ends = [{one.values[0], one.values[-1]} for one in answer.dimensions]
    swaps = [at for at, outcome, _ in answer.trials if outcome == "skip" and all(map(set.__contains__, ends, at))]
    if len(swaps) > len(answer.untested) and any(len(cause) > 1 for cause in answer.causes):
        yield "some changes could not be tried together: fewer than these may be enough"
