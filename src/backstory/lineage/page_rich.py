"""Pages for a terminal, with rich. Values are never read as markup, and cannot move a terminal's cursor."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from backstory.lineage.page import Page, Section
from backstory.lineage.plain import printable

_LOUD = "bold red"
_LABEL = "dim"


def page_rich(page: Page) -> Panel:
    """Return a page for a terminal: a panel with the headline as its title, alarms in red."""
    title = _text(page.headline, "bold")
    return Panel(Group(*_parts(page, indent=0)), title=title, title_align="left", expand=False, padding=(0, 1))


def page_plain(page: Page) -> Group:
    """Return a page as it is written without colour: no panel, sections indented under their titles."""
    return Group(_text(page.headline), *_parts(page, indent=2))


def _parts(page: Page, *, indent: int) -> Iterator[RenderableType]:
    for alarm in page.alarms:
        yield _text(f"!! {alarm}", _LOUD)
    if page.facts:
        grid = _grid()
        for label, value in page.facts:
            grid.add_row(_text(label, _LABEL), _text(value))
        yield grid
    for section in page.sections:
        yield Text()
        yield Text(section.title, "bold")
        yield Padding(_table(section), (0, 0, 0, indent))


def _table(section: Section) -> Table:
    table = _grid()
    if section.columns:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=_LABEL)
        for number, column in enumerate(section.columns):
            # What names a row stays whole, to be copied; everything else is folded where it must be, never cut.
            table.add_column(Text(column), overflow="fold", no_wrap=not number)
    for row in section.rows:
        style = _LOUD if row.loud else ""
        first = style or ("" if section.columns else _LABEL)
        table.add_row(*(_text(cell, style if number else first) for number, cell in enumerate(row.cells)))
    return table


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, overflow="fold")
    grid.add_column(overflow="fold")
    return grid
