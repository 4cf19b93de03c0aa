"""What the stream of accesses says: its open columns, as anybody can read them."""

from __future__ import annotations

from typing import Any

from backstory.columns.python_value import python_rows
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now

_NAMES = ["id", "question", "outcome", "role", "classes", "groups", "records", "policy", "grant"]


def accesses(ledger: Ledger, question: str | None = None, *, since: int = 0) -> list[dict[str, Any]]:
    """Return accesses, oldest first, that wait or were sealed since the log had a size: question, groups, and so on."""
    sealed, waiting = records_now(ledger, "access")
    tables = [table for _, table in waiting]
    for index, manifest in sealed:
        if index < since:
            continue
        reader = ledger.segment(manifest, checked=True)
        tables.append(reader.read_groups(range(reader.group_count)))
    rows = sorted((row for table in tables for row in python_rows(table.select(_NAMES))), key=lambda row: row["id"])
    return [row for row in rows if question is None or row["question"] == question]
