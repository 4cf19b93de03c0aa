"""`backstory log`: the entries of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_ledger
from backstory.cli.options import ASKING, Asking
from backstory.errors import QueryError

if TYPE_CHECKING:
    from backstory.lineage.page import Page

LIMIT = 50
"""Entries printed unless told otherwise."""

_ABOUT = ("name", "version", "alias", "kind", "count", "stream", "question", "records", "origin")
"""Members that tell a reader which entry this is, in this order."""


def log(*, first: int | None = None, limit: int = LIMIT, asking: Asking = ASKING) -> None:
    """List entries of the log, each proven under the checkpoint; the newest without --first.

    Args:
        first: Index of the first entry to list. [default: so that the newest are listed]
        limit: How many at most.
        asking: Which archive.
    """
    if limit < 1 or (first is not None and first < 0):
        raise QueryError("log: expected a --limit of at least 1 and a --first of at least 0")
    with open_ledger(asking) as ledger:
        size = ledger.log.checkpoint().size
        if first is not None and first > size:
            raise QueryError(f"log: expected a --first of at most the tree size {size}, got {first}")
        begin = max(size - limit, 0) if first is None else first
        entries = list(ledger.log.entries(begin, min(begin + limit, size)))
    if asking.json:
        print_json({"entries": [{"index": index, "entry": entry} for index, entry in entries], "tree_size": size})
    else:
        print_page(_page(entries, size))


def _page(entries: list[tuple[int, dict[str, Any]]], size: int) -> Page:
    from backstory.lineage.page import Page, Row, Section
    from backstory.lineage.plain import count_text, to_second

    rows = tuple(
        Row(cells=(str(index), to_second(str(entry.get("time", ""))), str(entry["type"]), _about(entry)))
        for index, entry in entries
    )
    section = Section(title="Entries", columns=("index", "time", "type", "about"), rows=rows)
    headline = f"{count_text(len(rows), 'entry', 'entries')} of tree size {size}"
    return Page(headline=headline, sections=(section,) if rows else ())


def _about(entry: dict[str, Any]) -> str:
    return ", ".join(f"{name} {entry[name]}" for name in _ABOUT if entry.get(name) is not None)
