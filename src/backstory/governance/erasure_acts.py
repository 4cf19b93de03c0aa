"""What acts of governance keep of a person beside records: scopes and lists of holds that ended, roles of their own.

A hold that is in force refuses the erasure; one that was released has done what it was for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from backstory.errors import NotFoundError
from backstory.governance.hold import Hold, holds
from backstory.governance.retention_list import read_list
from backstory.records import canonical

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.ledger.ledger import Ledger

_ASSIGNED = "role.assigned"


def openings_of_acts(ledger: Ledger, subject: str | None, ids: frozenset[bytes]) -> Iterator[str]:
    """Yield the commitments, in hex, whose openings name a person or predictions about them.

    Args:
        ledger: The archive.
        subject: The person's id as text; None for those that name predictions only.
        ids: Ids of the records about the person.
    """
    for hold in _released(ledger):
        try:
            scope = hold.scope(ledger)
        except NotFoundError:
            continue
        if subject in scope.subjects or not ids.isdisjoint(scope.predictions):
            yield hold.commitment
    if subject is None:
        return
    for entry in ledger.find_entries(_ASSIGNED):
        own, person = entry.get("subject"), canonical.text_of(entry, "person")
        if isinstance(own, str) and _says(ledger, own, "subject", subject):
            yield own
            yield person  # who has a role for what is about themselves


def listed_by_acts(ledger: Ledger, ids: Mapping[tuple[int, int], bytes]) -> dict[str, NDArray[np.int64]]:
    """Return rows of lists of released holds that lead to records, by name of the list's shard.

    Args:
        ledger: The archive.
        ids: The records, by manifest and row.
    """
    found = {}
    for digest in dict.fromkeys(digest for hold in _released(ledger) for digest in hold.documents):
        document = ledger.document(digest)
        kept = document.get("list")
        try:
            table = read_list(ledger, document)
        except NotFoundError:
            continue
        if table is None or not isinstance(kept, dict):
            continue
        places = zip(table["manifest"].to_pylist(), table["row"].to_pylist(), strict=True)
        rows = np.array([number for number, place in enumerate(places) if place in ids], np.int64)
        if len(rows):
            found[canonical.text_of(kept, "sealed_table")] = rows
    return found


def _released(ledger: Ledger) -> list[Hold]:
    return [hold for hold in holds(ledger) if hold.released is not None]


def _says(ledger: Ledger, commitment: str, group: str, text: str) -> bool:
    try:
        return ledger.text_of(commitment, group) == text
    except NotFoundError:
        return False
