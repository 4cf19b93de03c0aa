"""Pages for a notebook: one element, every value escaped, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from html import escape

from backstory.lineage.page import Page, Row, Section

_CELL = "padding:2px 14px 2px 0;text-align:left;vertical-align:top;white-space:pre-wrap;overflow-wrap:anywhere"
_WHOLE = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.45;max-width:1000px"
_LOUD = "color:#b00020;font-weight:bold"


def page_html(page: Page) -> str:
    """Return a page as an HTML element."""
    alarms = "".join(f'<div role="alert" style="{_LOUD}">{escape(alarm)}</div>' for alarm in page.alarms)
    facts = _table((), tuple(Row(cells=fact) for fact in page.facts)) if page.facts else ""
    sections = "".join(_section(section) for section in page.sections)
    return (
        f'<div class="backstory" style="{_WHOLE}">'
        f'<div style="font-size:15px;font-weight:bold;margin-bottom:4px">{escape(page.headline)}</div>'
        f"{alarms}{facts}{sections}</div>"
    )


def _section(section: Section) -> str:
    title = f'<div style="font-weight:bold;margin:10px 0 2px">{escape(section.title)}</div>'
    return title + _table(section.columns, section.rows)


def _table(columns: tuple[str, ...], rows: tuple[Row, ...]) -> str:
    head = "".join(f'<th style="{_CELL};opacity:.65;font-weight:normal">{escape(column)}</th>' for column in columns)
    body = "".join(_row(row, labelled=not columns) for row in rows)
    return f'<table style="border-collapse:collapse">{f"<tr>{head}</tr>" if head else ""}{body}</table>'


def _row(row: Row, *, labelled: bool) -> str:
    style = f"{_CELL};{_LOUD}" if row.loud else _CELL
    cells = []
    for number, cell in enumerate(row.cells):
        tag = "th" if labelled and not number else "td"
        extra = ";opacity:.65;font-weight:normal" if tag == "th" and not row.loud else ""
        cells.append(f'<{tag} style="{style}{extra}">{escape(cell)}</{tag}>')
    return f"<tr>{''.join(cells)}</tr>"
