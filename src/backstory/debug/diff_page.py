"""What is different, laid out as a good review says it: the first difference, what is equal in a line, the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from backstory.lineage.data_page import diff_page as data_diff_page
from backstory.lineage.impact_page import DIGITS_SHOWN
from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import TEXT_CHARACTERS_MAX, count_text, label, shown

if TYPE_CHECKING:
    from backstory.debug.diff import Diff
    from backstory.debug.diff_parts import StageDiff
    from backstory.debug.diff_swap import Swap

_DIGEST = re.compile(r"[0-9a-f]{64}")

CHANGES_SHOWN = 12
"""Changes of a stage that a page shows; `to_dict()` has all."""

_CAUSES = {
    "features": "the features alone change the output, the model does not",
    "model": "the model alone changes the output, the features do not",
    "both": "the features and the model each change the output",
    "neither alone": "neither the features nor the model alone change the output",
}


def diff_page(diff: Diff) -> Page:
    """Return an answer for a reader, the first difference first."""
    if diff.data is not None:
        return data_diff_page(diff.data)
    sealed = [f"{stage.name}: {stage.said}" for stage in diff.stages if stage.same is None]
    equal = [stage.name for stage in diff.stages if stage.same]
    facts = [
        ("before", diff.before),
        ("after", diff.after),
        ("equal", ", ".join(equal) or "nothing"),
        ("read", count_text(len(diff.opened), "document")),
    ]
    if diff.swap is not None and diff.swap.cause is None:
        facts.append(("not swapped", diff.swap.reason))
    return Page(
        headline=_headline(diff),
        alarms=tuple(f"PARTIAL: not compared, {what}" for what in sealed),
        facts=tuple(facts),
        sections=tuple(_sections(diff)),
    )


def _headline(diff: Diff) -> str:
    first = diff.first
    if first is None:
        open_ = sum(stage.same is not None for stage in diff.stages)
        rest = f"; {open_} of {len(diff.stages)} stages could be compared" if diff.same is None else ""
        return f"the two {diff.kind}s are equal" if diff.same else f"no difference was found{rest}"
    said = first.said or _few(first)
    cause = "" if diff.swap is None or diff.swap.cause is None else f"; {_CAUSES[diff.swap.cause]}"
    output = next((stage for stage in diff.stages if stage.name == "output"), None)
    to = ""
    if output is not None and output is not first:
        change = output.changes[0] if output.changes else None
        to = (
            "; the output is the same"
            if change is None
            else f"; the output {shown(change.before)} → {shown(change.after)}"
        )
        to = "" if output.same is None else to
    return f"first difference: {first.name}{': ' if said else ''}{said}{to}{cause}"


def _few(stage: StageDiff) -> str:
    """Return the first change of a stage in words, and how many more there are."""
    if not stage.changes:
        return ""
    first, more = stage.changes[0], len(stage.changes) - 1
    return f"{label(first.name)} {_value(first.before)} → {_value(first.after)}{f' and {more} more' if more else ''}"


def _sections(diff: Diff) -> Iterator[Section]:
    yield from stage_sections(diff.stages)
    if diff.swap is not None and diff.swap.outputs:
        yield _swap_section(diff.swap)


def stage_sections(stages: tuple[StageDiff, ...]) -> Iterator[Section]:
    """Yield a section for each stage that differs."""
    for stage in stages:
        title = f"{stage.name[0].upper()}{stage.name[1:]}"
        if stage.same is False and stage.changes:
            lines = [(label(c.name), _value(c.before), _value(c.after)) for c in stage.changes[:CHANGES_SHOWN]]
            if len(stage.changes) > CHANGES_SHOWN:
                lines.append(("…", f"{len(stage.changes) - CHANGES_SHOWN:,} more", ""))
            said = f": {stage.said}" if stage.said else ""
            yield Section(title=f"{title}{said}", columns=("", "before", "after"), rows=rows_of(lines))
        elif stage.same is False:
            yield Section(title=title, rows=rows_of([("", stage.said)]))


def _swap_section(swap: Swap) -> Section:
    names = ("features before", "features after")
    lines = [(name, *(shown(value) for value in row)) for name, row in zip(names, swap.outputs, strict=True)]
    return Section(
        title="Each one's features through each model, today",
        columns=("", "model before", "model after"),
        rows=rows_of(lines),
    )


def _value(value: Any) -> str:  # noqa: ANN401  any recorded value
    """Return a value for a reader; of a digest its first digits, and texts of our own without quotes."""
    if not isinstance(value, str) or not value.isprintable():
        return shown(value) or "none"
    if _DIGEST.fullmatch(value):
        return value[:DIGITS_SHOWN]
    return value if len(value) <= TEXT_CHARACTERS_MAX else shown(value)
