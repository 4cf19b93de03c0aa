"""Asking again where another process merged segments, and removed their files, while a question was answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from backstory.errors import StorageError
from backstory.ledger.ledger import Ledger
from backstory.records.merge import MERGE_TYPE

T = TypeVar("T")


def despite_merges(ledger: Ledger, ask: Callable[[], T]) -> T:
    """Return the answer to a question that reads segments.

    Args:
        ledger: The archive.
        ask: Answers it, from what the log says by then.

    Raises:
        StorageError: A file is not there, or cannot be read, and it is not that there was a merge meanwhile.
    """
    while True:
        merges = ledger.catalog.entries(MERGE_TYPE)
        try:
            return ask()
        except StorageError:
            ledger.catch_up()
            if ledger.catalog.entries(MERGE_TYPE) == merges:
                raise
