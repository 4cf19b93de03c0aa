"""`backstory data overlap`: what two sets of rows share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backstory.cli.answer import print_json, print_page
from backstory.cli.archives import open_archive
from backstory.cli.exit_codes import FAILED, OK, PARTIAL
from backstory.cli.options import Asking, Opening
from backstory.cli.progress import progress

if TYPE_CHECKING:
    from backstory.lineage.overlap import By


def overlap(first: str, second: str, by: By, asking: Asking, opening: Opening, *, disjoint: bool) -> int:
    """Print what two sets of rows share; fail if they share anything and were to be disjoint."""
    with progress("comparing"), open_archive(asking, opening) as archive:
        answer = archive.data.overlap(first, second, by=by)
    if asking.json:
        print_json(answer.to_dict())
    else:
        from backstory.lineage.overlap_page import overlap_page

        print_page(overlap_page(answer))
    if disjoint and not answer.is_empty:
        return FAILED
    return PARTIAL if answer.sealed else OK
