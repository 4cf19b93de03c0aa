"""`backstory data check`: whether rows that are kept by reference are where they were, and the same."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import FAILED, OK, UNVERIFIED
from backstory.cli.options import Asking, Opening
from backstory.cli.progress import progress

if TYPE_CHECKING:
    from backstory.lineage.page import Page
    from backstory.lineage.referenced import PlaceCheck


def check(spec: str | None, asking: Asking, opening: Opening) -> int:
    """Read rows that are kept by reference again; print of each dataset version what became of it.

    Args:
        spec: A source, or a dataset version by its digest; None for all.
        asking: Which archive.
        opening: Who asks.

    Returns:
        The exit code: other rows somewhere, or nothing to compare with, or neither.
    """
    with progress("reading"), open_archive(asking, opening) as archive:
        found = archive.data.check(spec)
    if asking.json:
        print_json({"versions": [asdict(one) for one in found]})
    else:
        print_page(_page(found))
    states = {one.state for one in found} - {"same"}
    if "changed" in states:
        return FAILED
    return UNVERIFIED if states else OK


def _page(found: list[PlaceCheck]) -> Page:
    from backstory.lineage.impact_page import DIGITS_SHOWN
    from backstory.lineage.page import Page, Row, Section
    from backstory.lineage.plain import count_text

    rows = tuple(
        Row(
            cells=(one.name, f"{one.rows:,}", one.state, one.place, one.dataset[:DIGITS_SHOWN]),
            loud=one.state != "same",
        )
        for one in found
    )
    same = sum(one.state == "same" for one in found)
    versions = count_text(len(found), "dataset version")
    columns = ("source", "rows", "state", "place", "digest")
    return Page(
        headline=f"{versions} kept by reference, {same} the same" if found else "nothing is kept by reference",
        alarms=tuple(one.what for one in found if one.what),
        sections=(Section(title="Places", columns=columns, rows=rows),) if rows else (),
    )
