"""Files that were never given their names: a writer was killed while it wrote them.

They are no part of the archive, and may hold what was erased since: keys as they were, a shard from before it was
rewritten.
"""

from __future__ import annotations

import contextlib

from backstory.ledger.ledger import Ledger
from backstory.records.sensitivity import DOMAINS
from backstory.storage.disk import TEMPORARY_PREFIX

WRITING_NS = 600 * 10**9
"""Whoever wrote a file so long ago and gave it no name is taken for dead."""


def remove_half_written(ledger: Ledger) -> None:
    """Remove what dead writers left beside segments, shards and keys.

    Raises:
        StorageError: A file could not be removed.
    """
    layout, before_ns = ledger.layout, ledger.world.now_ns() - WRITING_NS
    keys = (layout.keys, *(layout.keys / domain for domain in DOMAINS))
    for folder in (layout.segments, layout.vault, *keys, layout.master):
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(FileNotFoundError):  # its writer lives, and is done with it
                if path.stat().st_ctime_ns < before_ns:  # written with the time of another
                    ledger.world.disk.remove(path)
