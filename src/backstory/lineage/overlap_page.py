"""What two sets of rows share, laid out: the counts of each source, then the first shared rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import count_text
from backstory.lineage.story_page import OPEN_HINT

if TYPE_CHECKING:
    from backstory.lineage.overlap import Overlap

ROWS_SHOWN = 10
"""So many shared rows are named for a reader; `.rows` and `to_dict()` have them all."""

_SAME = {"row": "", "key": " by key", "content": " by content"}


def overlap_page(answer: Overlap) -> Page:
    """Return an answer for a reader, the verdict first."""
    shared = sum(source.shared for source in answer.sources)
    persons = sum(source.subjects or 0 for source in answer.sources)
    through = sum(source.through_groups for source in answer.sources)
    told = [f"{count_text(shared, 'row')}{_SAME[answer.by]}"] if shared else []
    told += [f"{count_text(through, 'row')} through groups"] if through else []
    told += [count_text(persons, "person")] if persons else []
    return Page(
        headline=f"{answer.a} and {answer.b} share {', '.join(told) or 'nothing'}",
        alarms=(f"PARTIAL: persons not compared: {OPEN_HINT}",) if answer.sealed else (),
        sections=tuple(section for section in _sections(answer) if section.rows),
    )


def _sections(answer: Overlap) -> Iterator[Section]:
    counts = (
        (
            source.source,
            f"{source.rows_a:,}",
            f"{source.rows_b:,}",
            f"{source.shared:,}",
            f"{source.through_groups:,}",
            "" if source.subjects is None else f"{source.subjects:,}",
        )
        for source in answer.sources
    )
    columns = ("source", "rows of a", "rows of b", "shared", "through groups", "persons")
    yield Section(title="Sources of both", columns=columns, rows=rows_of(counts))
    first = answer.rows.slice(0, ROWS_SHOWN).to_pylist()
    more = answer.rows.num_rows - len(first)
    title = f"Shared rows: the first {len(first)} of {answer.rows.num_rows:,}" if more else "Shared rows"
    lines = (
        (f"{row['source']} {row['position_a']}", "" if answer.by == "row" else f"{row['source']} {row['position_b']}")
        for row in first
    )
    yield Section(title=title, columns=("row", "" if answer.by == "row" else "like"), rows=rows_of(lines))
