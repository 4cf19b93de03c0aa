"""Keeping sets of rows as blobs, and reading them: of training and evaluation rows, and of rows that steps dropped.

A document that names one has `{"count":"…","row_set":"<digest>"}`. Bytes: docs/format.md section 24.
"""

from __future__ import annotations

from backstory.errors import FormatError
from backstory.frames.row_set import RowSet
from backstory.ledger.ledger import Ledger
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue


def keep_row_set(ledger: Ledger, rows: RowSet) -> JsonObject:
    """Store a set of rows; return the object that names it."""
    return {"count": str(len(rows)), "row_set": ledger.blobs.put(rows.to_bytes())}


def read_row_set(ledger: Ledger, named: JsonValue) -> RowSet:
    """Return a set of rows that a document names.

    Raises:
        FormatError: The document does not name one, or it has another number of rows.
        VerificationError: It was changed.
    """
    if not isinstance(named, dict):
        raise FormatError(f"row set: expected an object that names one, got {type(named).__name__}")
    rows = RowSet.of_bytes(ledger.blobs.get(canonical.text_of(named, "row_set")))
    if len(rows) != canonical.count_of(named, "count"):
        raise FormatError(f"row set: expected {canonical.count_of(named, 'count')} rows, got {len(rows)}")
    return rows
