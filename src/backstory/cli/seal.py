"""`backstory seal`: put what is recorded into the log."""

from __future__ import annotations

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_ledger
from backstory.cli.options import ASKING, Asking
from backstory.cli.progress import progress
from backstory.lineage.plain import count_text


def seal(*, asking: Asking = ASKING) -> None:
    """Put everything recorded so far into the log, under a signed checkpoint.

    Args:
        asking: Which archive.
    """
    from backstory.ledger.seal import seal_all

    with progress("sealing"), open_ledger(asking, writable=True) as ledger:
        count = seal_all(ledger)
        size = ledger.log.checkpoint().size
    if asking.json:
        print_json({"sealed": count, "tree_size": size})
    else:
        print_text(f"sealed {count_text(count, 'record')}; tree size {size}")
