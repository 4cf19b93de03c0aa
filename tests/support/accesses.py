"""What the stream of accesses says: its open columns, as anybody can read them."""

from __future__ import annotations

from typing import Any

from backstory.columns.python_value import python_rows
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now

_NAMES = ["id", "question", "outcome", "role", "classes", "groups", "records", "policy", "grant"]


def accesses(ledger: Ledger, question: str | None = None) -> list[dict[str, Any]]:
    """Return accesses, oldest first, sealed ones and those that wait: their question, groups, records and so on."""
    sealed, waiting = records_now(ledger, "access")
    tables = [table for _, table in waiting]
    for _, manifest in sealed:
        reader = ledger.segment(manifest, checked=True)
        tables.append(reader.read_groups(range(reader.group_count)))
    rows = sorted((row for table in tables for row in python_rows(table.select(_NAMES))), key=lambda row: row["id"])
    return [row for row in rows if question is None or row["question"] == question]
