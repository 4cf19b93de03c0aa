"""Asking again where another process merged segments, and removed their files, while a question was answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from backstory.errors import StorageError
from backstory.ledger.ledger import Ledger
from backstory.records.merge import MOVED_TYPES

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
        merges = _moved(ledger)
        try:
            return ask()
        except StorageError:
            ledger.catch_up()
            if _moved(ledger) == merges:
                raise


def _moved(ledger: Ledger) -> list[int]:
    """Return the positions of the entries that say that records are in another file."""
    return [position for type_ in sorted(MOVED_TYPES) for position in ledger.catalog.entries(type_)]
