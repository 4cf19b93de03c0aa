"""Notices as facts: what a person was told, on which ground, when, and by when they had to be.

A later record of the same notice (`of`) says that it was sent, delivered or failed. Bytes: docs/format.md section 39.
"""

from __future__ import annotations

from backstory.records.fact import FactKind, open_column, sealed_column
from backstory.records.sensitivity import IDENTIFYING, PSEUDONYMOUS, STAFF, STRUCTURAL

ISSUED, EXEMPT, SENT, DELIVERED, UNSENT = "issued", "exempt", "sent", "delivered", "failed"
"""States of the records of kind `notice`; the first two begin one."""

NOTICE = FactKind(
    kind="notice",
    columns=(
        open_column("state"),
        open_column("of", "bytes", STRUCTURAL),
        open_column("type"),
        open_column("ground"),
        open_column("template"),
        open_column("language"),
        open_column("channel"),
        open_column("rule"),
        open_column("began", "timestamp[UTC]"),
        open_column("due", "timestamp[UTC]"),
        open_column("at", "timestamp[UTC]"),
        sealed_column("subject", PSEUDONYMOUS, "subject"),
        sealed_column("case", PSEUDONYMOUS, "subject"),
        sealed_column("decision", PSEUDONYMOUS, "subject", "bytes"),
        sealed_column("request", PSEUDONYMOUS, "subject", "bytes"),
        sealed_column("digest", IDENTIFYING, "text", "bytes"),
        sealed_column("content", IDENTIFYING, "text", "bytes"),
        sealed_column("who", STAFF, "staff"),
    ),
)
"""Records of notices and of what became of them."""
