"""`backstory merge`: few larger files instead of many small ones."""

from __future__ import annotations

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import open_ledger
from backstory.cli.options import ASKING, Asking
from backstory.cli.progress import progress
from backstory.lineage.plain import count_text


def merge(*, asking: Asking = ASKING) -> None:
    """Merge small segment files into larger ones. No proof changes: receipts stay as they are.

    Args:
        asking: Which archive.
    """
    from backstory.ledger.merge import merge_all

    with progress("merging"), open_ledger(asking, writable=True) as ledger:
        count = merge_all(ledger)
        size = ledger.log.checkpoint().size
    if asking.json:
        print_json({"replaced": count.replaced, "tree_size": size, "written": count.written})
    elif count.replaced:
        print_text(f"merged {count_text(count.replaced, 'file')} into {count.written:,}; tree size {size}")
    else:
        print_text(f"nothing to merge; tree size {size}")
