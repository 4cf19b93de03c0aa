"""`backstory reindex`: rebuild the catalog, and the indexes of persons that are missing."""

from __future__ import annotations

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_ledger
from backstory.cli.options import ASKING, Asking
from backstory.cli.progress import progress
from backstory.lineage.plain import count_text


def reindex(*, asking: Asking = ASKING) -> None:
    """Rebuild the catalog from the log, and make indexes of persons that are missing.

    Args:
        asking: Which archive.
    """
    from backstory.ledger.people_index import rebuild_people

    with progress("indexing"), open_ledger(asking) as ledger:
        count = ledger.reindex()
        made = rebuild_people(ledger)
    if asking.json:
        print_json({"entries": count, "people": made})
        return
    print_text(f"catalog rebuilt from {count_text(count, 'entry', 'entries')} of the log")
    if made:
        print_text(f"{count_text(made, 'index', 'indexes')} of persons made")
