"""What training a model again showed, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backstory.debug.features_again import Stage
from backstory.debug.verdict import Verdict
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Section, facts_section, rows_of

_NAMED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Something about a training that is not as it was.

    Attributes:
        name: `rows`, `order`, `features`, `parameters`, `chance`, `environment`, `code`, `fitted step`.
        said: What differs, in words.
        changes: What of it, with both values as texts.
    """

    name: str
    said: str
    changes: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining(Answer):
    """What training a model again showed.

    Attributes:
        model: The version, `name:number`.
        digest: Digest of its document.
        verdict: `exact`: the same model, by its content digest. `diverged`: another. `not-replayable`: see `reason`.
        reason: Why, in a sentence.
        recorded: The recorded content digest.
        retrained: That of the model that came out; None if none did.
        rows: How many training rows there are.
        stages: What was done, in order, with the verdict of each.
        first_diverging: Name of the first stage that diverged; None where none did.
        differences: What is not as it was; where the same model came out, what made no difference.
    """

    model: str
    digest: str
    verdict: Verdict
    reason: str
    recorded: str
    retrained: str | None = None
    rows: int = 0
    stages: tuple[Stage, ...] = ()
    first_diverging: str | None = None
    differences: tuple[Difference, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "differences": [
                {"changes": [list(change) for change in one.changes], "name": one.name, "said": one.said}
                for one in self.differences
            ],
            "digest": self.digest,
            "first_diverging": self.first_diverging,
            "level": 3,
            "model": self.model,
            "reason": self.reason,
            "recorded": self.recorded,
            "retrained": self.retrained,
            "rows": self.rows,
            "stages": [stage.to_dict() for stage in self.stages],
            "verdict": self.verdict,
        }

    def __repr__(self) -> str:
        """Return the verdict on one line."""
        return f"<Retraining of {self.model}: {self.verdict}, {self.reason}>"

    def _page(self) -> Page:
        return retraining_page(self)


def retraining_page(found: Retraining) -> Page:
    """Return a training that was made again for a reader."""
    facts = [("recorded content", found.recorded)]
    facts += [("content now", found.retrained)] if found.retrained else []
    facts += [("training rows", f"{found.rows:,}")] if found.rows else []
    sections = []
    if found.stages:
        lines = [(stage.name, stage.verdict, f"{stage.seconds:.2f} s", stage.note) for stage in found.stages]
        sections.append(Section(title="Stages", rows=rows_of(lines), columns=("stage", "verdict", "took", "")))
    for one in found.differences:
        lines_of = [(name, f"was {then}, is {now}") for name, then, now in one.changes[:_NAMED_MAX]]
        if len(one.changes) > _NAMED_MAX:
            lines_of.append(("…", f"{len(one.changes) - _NAMED_MAX:,} more"))
        sections.append(facts_section(f"{one.name}: {one.said}", lines_of))
    return Page(
        headline=f"training {found.model} again: {found.verdict}, {found.reason}",
        facts=tuple(facts),
        sections=tuple(sections),
    )
