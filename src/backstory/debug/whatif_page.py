"""What a model would have said, laid out: the counts, then the largest changes, or of one prediction each stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from backstory.columns.python_value import python_rows
from backstory.debug.diff_page import stage_sections
from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import count_text, label, shown

if TYPE_CHECKING:
    from backstory.debug.whatif import WhatIf

PREDICTIONS_SHOWN = 10
"""So many predictions are named for a reader, those that changed most first; `.table` has them all."""


DIGITS = 8
"""Digits of an output in the table; `.table` has all."""


def whatif_page(answer: WhatIf) -> Page:
    """Return an answer for a reader."""
    counts = answer.counts
    computed = counts["asked"] - counts["not_computed"]
    changed = ", ".join(f"{counts[what]:,} {what}" for what in ("features", "outputs", "decisions"))
    first = next((stage.name for stage in answer.stages if stage.same is False), None)
    words = f"of {count_text(computed, 'prediction')} changed: {changed}"
    if answer.stages:
        words = "nothing changes" if first is None else f"first changes: {first}"
    facts = [
        ("asked", count_text(counts["asked"], "prediction")),
        ("equal", ", ".join(stage.name for stage in answer.stages if stage.same)),
        ("trained on these rows, not trained again", ", ".join(answer.trained)),
    ]
    return Page(
        headline=f"with {answer.what}: {words}",
        alarms=(*_alarms(answer), *answer.cautions),
        facts=tuple(fact for fact in facts if fact[1]),
        sections=tuple(_sections(answer)),
    )


def _alarms(answer: WhatIf) -> Iterator[str]:
    for reason, count in answer.not_computed.items():
        yield f"{count_text(count, 'prediction')} not computed: {reason}"


def _sections(answer: WhatIf) -> Iterator[Section]:
    if answer.stages:
        yield from stage_sections(answer.stages)
        return
    rows = [row for row in python_rows(answer.table) if row["output_changed"] or row["changed"]]
    rows.sort(key=lambda row: -(row["difference"] or 0.0))
    lines = [
        (
            row["id"],
            _short(row["before"]),
            _short(row["after"]),
            ""
            if row["decision_before"] == row["decision_after"] or row["decision_after"] is None
            else f"{row['decision_before']} → {row['decision_after']}",
            ", ".join(map(label, row["changed"] or [])),
        )
        for row in rows[:PREDICTIONS_SHOWN]
    ]
    if lines:
        more = f", the first {len(lines)} of {len(rows):,}" if len(rows) > len(lines) else ""
        title = f"What changed, the largest difference first{more}"
        yield Section(title=title, columns=("id", "before", "after", "decision", "features"), rows=rows_of(lines))


def _short(value: Any) -> str:  # noqa: ANN401  any recorded value
    """Return an output for a table; floats with the digits that a comparison by eye needs."""
    if isinstance(value, dict):
        return ", ".join(f"{label(name)} {_short(one)}" for name, one in value.items())
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else shown(value)
