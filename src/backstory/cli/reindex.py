"""`backstory reindex`: rebuild the catalog."""

from __future__ import annotations

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_ledger
from backstory.cli.options import ASKING, Asking
from backstory.cli.progress import progress
from backstory.lineage.plain import count_text


def reindex(*, asking: Asking = ASKING) -> None:
    """Rebuild the catalog from the log.

    Args:
        asking: Which archive.
    """
    with progress("indexing"), open_ledger(asking) as ledger:
        count = ledger.reindex()
    if asking.json:
        print_json({"entries": count})
    else:
        print_text(f"catalog rebuilt from {count_text(count, 'entry', 'entries')} of the log")
