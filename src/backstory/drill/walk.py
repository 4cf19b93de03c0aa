"""Random predictions, walked end to end: why, replay, receipt, and the receipt's check by a stranger, each timed."""

from __future__ import annotations

import itertools
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from backstory.archive import Archive
from backstory.columns.draw import draw_some
from backstory.drill.copies import SCRATCH
from backstory.drill.openings import Reader
from backstory.errors import BackstoryError, ForbiddenError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import manifests
from backstory.lineage.story import Story
from backstory.records.canonical import JsonObject
from backstory.records.envelope import PREDICTION
from backstory.records.identity import id_text
from backstory.verify.receipt import verify_receipt

T = TypeVar("T")
STEPS = ("why", "replay", "receipt", "verify-receipt")
NOT_REPLAYABLE = "not-replayable"
DIVERGED = "diverged"
EXACT = "exact"
SEALED = "sealed"
"""In place of a replay's verdict, where nobody said who reads sealed values and what for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What became of one prediction.

    Attributes:
        id: Its id.
        replay: Verdict of the replay, or `failed`, or `sealed`.
        reason: Why that verdict.
        problem: The step that failed and why; empty if none did.
        milliseconds: How long each step took that was made.
        opened: Whether its sealed values were opened.
    """

    id: str
    replay: str
    reason: str
    problem: str
    milliseconds: dict[str, int]
    opened: bool

    @property
    def failed(self) -> bool:
        """Whether a step failed, or the model says something else now."""
        return bool(self.problem) or self.replay == DIVERGED

    @property
    def is_whole(self) -> bool:
        """Whether every step could be made."""
        return not self.problem and self.replay not in {NOT_REPLAYABLE, SEALED}

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values."""
        return {
            "failed": self.failed,
            "id": self.id,
            "milliseconds": dict(self.milliseconds),
            "opened": self.opened,
            "problem": self.problem or None,
            "reason": self.reason,
            "replay": self.replay,
        }


def choose(root: Path, end: int, count: int, seed: int) -> list[str]:
    """Return ids of random predictions that are sealed by entries before `end`, oldest first."""
    with closing(Ledger(root, SCRATCH, writable=False, vkey=None, actor=None)) as ledger:
        own = [one for at, one in manifests(ledger, PREDICTION) if at < end]
        ends = list(itertools.accumulate(manifest.count for manifest in own))
        total = ends[-1] if ends else 0
        found = []
        for number in sorted(draw_some(total, count, seed)):
            at = bisect_right(ends, number)
            row = number - (ends[at] - own[at].count)
            table = ledger.segment(own[at], checked=False).read_rows(row, 1)
            if (key := table["id"][0].as_py()) is not None:  # else it was disposed of
                found.append(id_text(key))
    return found


def walk(
    root: Path, keys: list[str], names: list[str], reader: Reader | None = None, sealed: frozenset[str] = frozenset()
) -> tuple[Walk, ...]:
    """Walk from each prediction to its story, its replay and its receipt, which is checked with these keys.

    Args:
        root: A copy, which is written to if sealed values are opened.
        keys: The keys.
        names: Ids of the predictions.
        reader: Who opens sealed values; None leaves them sealed.
        sealed: Which of the predictions have any.
    """
    opened = frozenset() if reader is None else sealed
    if reader is None:
        archive = Archive(root, mode="r", world=SCRATCH)
    else:
        archive = Archive(
            root, actor=reader.actor, purpose=reader.purpose, role=reader.role, case=reader.case, world=SCRATCH
        )
    with archive:
        return tuple(_walk_one(archive, name, keys, opened=name in opened) for name in names)


def _walk_one(archive: Archive, name: str, keys: list[str], *, opened: bool) -> Walk:
    took: dict[str, int] = {}

    def timed(step: str, action: Callable[[], T]) -> T:
        began = time.perf_counter()
        try:
            return action()
        finally:
            took[step] = round((time.perf_counter() - began) * 1000)

    replay, reason, problem = "failed", "", ""
    try:
        story = timed(STEPS[0], lambda: archive.why(name))
        if isinstance(story, Story) and story.sealed:
            replay, reason = SEALED, "its values are opened with an actor and a purpose alone"
        else:
            replayed = timed(STEPS[1], lambda: archive.replay(name))
            replay, reason = replayed.verdict, replayed.reason
            if opened and replay not in {EXACT, NOT_REPLAYABLE}:  # a report is passed around
                reason = "not the same bytes; by how much is sealed"
        receipt = timed(STEPS[2], lambda: archive.receipt(name).data)
        shown = timed(STEPS[3], lambda: verify_receipt(receipt, vkey=keys))
        if shown.id != name:
            problem = "verify-receipt: the receipt is of another record"
    except ForbiddenError as error:
        replay, reason = SEALED, str(error)
    except BackstoryError as error:
        problem = f"{list(took)[-1]}: {error}"
    return Walk(id=name, replay=replay, reason=reason, problem=problem, milliseconds=took, opened=opened)
