"""An answer laid out for a reader: headline, alarms, facts, sections. The same for text, terminal and HTML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO

TEXT_WIDTH = 100
"""Columns of an answer as text. Ids and digests, at most 64 characters, fit on a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a section.

    Attributes:
        cells: What stands in the columns; a line break begins a new line in the cell.
        loud: Whether it must not be overlooked.
    """

    cells: tuple[str, ...]
    loud: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table with a title.

    Attributes:
        title: What it is about.
        columns: Names of the columns; empty for label and value.
        rows: The rows.
    """

    title: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer.

    Attributes:
        headline: The answer in a sentence.
        alarms: What must not be overlooked, each a sentence.
        facts: Labels and values that belong to the answer as a whole.
        sections: Everything else.
    """

    headline: str
    alarms: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    sections: tuple[Section, ...] = ()


def rows_of(lines: Iterable[tuple[str, ...]]) -> tuple[Row, ...]:
    """Return lines of cells as rows of a section."""
    return tuple(Row(cells=cells) for cells in lines)


def facts_section(title: str, facts: list[tuple[str, str]]) -> Section:
    """Return a section of labels and values."""
    return Section(title=title, rows=rows_of(facts))


def page_text(page: Page) -> str:
    """Return a page as plain text, at most `TEXT_WIDTH` columns wide where words allow."""
    from rich.console import Console  # slow to load, and only needed when an answer is shown

    from backstory.lineage.page_rich import page_plain

    console = Console(file=StringIO(), width=TEXT_WIDTH, color_system=None, legacy_windows=False, _environ={})
    with console.capture() as captured:
        console.print(page_plain(page))
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())
