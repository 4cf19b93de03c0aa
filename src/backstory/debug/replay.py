"""What a replay showed of one prediction, as values and as a page.

Level 0 only looks at digests, level 1 begins at the recorded features, level 2 at the source rows; see `replaying`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backstory.debug.features_again import Stage
from backstory.debug.runner import RanIn
from backstory.debug.verdict import Verdict
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Section, facts_section, rows_of
from backstory.lineage.plain import count_text, plain, shown

LEVELS = {
    0: "digests only: nothing was run",
    1: "from the recorded features",
    2: "from the source rows",
}
"""What each level begins at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay(Answer):
    """What a replay showed.

    Attributes:
        id: Id of the prediction.
        verdict: `exact`: same bytes. `equivalent`: within the stated tolerance, or the same bytes where the model's
            class promises none. `same-decision`: outside it, but the decision is the same and further from the
            threshold than the difference. `diverged`: neither. `not-replayable`: something is missing, see `reason`.
        reason: Why, in a sentence.
        level: 0 digests, 1 from the recorded features, 2 from the source rows.
        recorded: The recorded output.
        replayed: The output now.
        difference: Largest absolute difference of numeric outputs, None where it cannot be computed.
        batch_rows: Rows of the call it was made in.
        alone: Whether the row was given to the model by itself.
        stages: What was done, in order, with the verdict of each.
        first_diverging: Name of the first stage that diverged; None where none did.
        environment: What differs between the recorded environment and the one it ran in: name to both values.
        ran_in: `present`: this process. `recorded`: the recorded environment, made again.
        determinism: The model's determinism class; None where it was not recorded.
        promise: What that class lets this replay promise, in words.
    """

    id: str
    verdict: Verdict
    reason: str
    level: int = 1
    recorded: Any = None
    replayed: Any = None
    difference: float | None = None
    batch_rows: int = 0
    alone: bool = False
    stages: tuple[Stage, ...] = ()
    first_diverging: str | None = None
    environment: dict[str, tuple[str, str]]
    ran_in: RanIn = "present"
    determinism: str | None = None
    promise: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the replay as values JSON has."""
        return {
            "alone": self.alone,
            "batch_rows": self.batch_rows,
            "determinism": self.determinism,
            "difference": plain(self.difference),
            "environment": {name: list(pair) for name, pair in self.environment.items()},
            "first_diverging": self.first_diverging,
            "id": self.id,
            "level": self.level,
            "promise": self.promise,
            "ran_in": self.ran_in,
            "reason": self.reason,
            "recorded": plain(self.recorded),
            "replayed": plain(self.replayed),
            "stages": [stage.to_dict() for stage in self.stages],
            "verdict": self.verdict,
        }

    def __repr__(self) -> str:
        """Return the verdict on one line."""
        return f"<Replay of {self.id}: {self.verdict}, {self.reason}>"

    def _page(self) -> Page:
        return replay_page(self)


def replay_page(found: Replay) -> Page:
    """Return a replay for a reader: verdict and why, both outputs, the stages, what differs about the environment."""
    at = f" at stage {found.first_diverging}" if found.first_diverging else ""
    alarm = f"the prediction diverged{at}: {found.reason}"
    facts = [("prediction", found.id), ("level", f"{found.level}: {LEVELS[found.level]}")]
    if found.verdict != "not-replayable" and found.level:
        facts += [("recorded", shown(found.recorded)), ("replayed", shown(found.replayed))]
        given = "alone; its call had" if found.alone else "in its batch of"
        facts.append(("row", f"{given} {count_text(found.batch_rows, 'row')}"))
        facts.append(("promised", found.promise))
    if found.level:
        facts.append(("environment", environment_words(found)))
    return Page(
        headline=f"{found.verdict}: {found.reason}",
        alarms=(alarm,) if found.verdict == "diverged" else (),
        facts=tuple(facts),
        sections=tuple(_sections(found)),
    )


def environment_words(found: Replay) -> str:
    """Return which environment a replay ran in, and whether that is the recorded one."""
    where = "the recorded environment, made again" if found.ran_in == "recorded" else "today's"
    count = len(found.environment)
    return f"{where}; {count_text(count, 'difference')} from the recorded one" if count else where


def _sections(found: Replay) -> list[Section]:
    stages = rows_of((stage.name, stage.verdict, f"{stage.seconds:.3f}", stage.note) for stage in found.stages)
    sections = [Section(title="Stages", columns=("stage", "verdict", "seconds", ""), rows=stages)]
    if found.environment:
        sections.append(environment_section(found.environment))
    return sections


def environment_section(changes: dict[str, tuple[str, str]]) -> Section:
    """Return what differs between the recorded environment and the one a replay ran in."""
    return facts_section("Environment", [(name, f"was {then}, is {now}") for name, (then, now) in changes.items()])
