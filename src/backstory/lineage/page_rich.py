"""Pages for a terminal, with rich. Values are never read as markup."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from backstory.lineage.page import Page, Section

_LOUD = "bold red"
_LABEL = "dim"


def page_rich(page: Page) -> Panel:
    """Return a page for a terminal: a panel with the headline as its title, alarms in red."""
    return Panel(
        Group(*_parts(page, indent=0)),
        title=Text(page.headline, "bold"),
        title_align="left",
        expand=False,
        padding=(0, 1),
    )


def page_plain(page: Page) -> Group:
    """Return a page as it is written without colour: no panel, sections indented under their titles."""
    return Group(Text(page.headline), *_parts(page, indent=2))


def _parts(page: Page, *, indent: int) -> Iterator[RenderableType]:
    for alarm in page.alarms:
        yield Text(f"!! {alarm}", _LOUD)
    if page.facts:
        grid = _grid()
        for label, value in page.facts:
            grid.add_row(Text(label, _LABEL), Text(value))
        yield grid
    for section in page.sections:
        yield Text()
        yield Text(section.title, "bold")
        yield Padding(_table(section), (0, 0, 0, indent))


def _table(section: Section) -> Table:
    if section.columns:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=_LABEL)
        for number, column in enumerate(section.columns):
            # The last column takes what is left; a long word there is folded, never cut.
            table.add_column(Text(column), overflow="fold", ratio=1 if number == len(section.columns) - 1 else None)
    else:
        table = _grid()
    for row in section.rows:
        style = _LOUD if row.loud else ""
        cells = (
            Text(cell, style or (_LABEL if not section.columns and not number else ""))
            for number, cell in enumerate(row.cells)
        )
        table.add_row(*cells)
    return table


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
