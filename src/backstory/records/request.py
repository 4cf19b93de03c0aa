"""Requests as facts: what a person asked for under their rights, and each answer to it.

A later record of the same request (`of`) says what happened: the person was identified, the term was extended, it was
fulfilled or refused, a recipient was told. Bytes: docs/format.md section 39.
"""

from __future__ import annotations

from backstory.records.fact import FactKind, open_column, sealed_column
from backstory.records.sensitivity import IDENTIFYING, PSEUDONYMOUS, STAFF, STRUCTURAL

RECEIVED, IDENTIFIED, EXTENDED, FULFILLED, REFUSED, NOTIFIED = (
    "received",
    "identified",
    "extended",
    "fulfilled",
    "refused",
    "notified",
)
"""States of the records of kind `request`; the first begins one."""

ANSWERED: frozenset[str] = frozenset({FULFILLED, REFUSED})
"""States that end its clock."""

TYPES = (
    "access",
    "contest",
    "erasure",
    "explanation",
    "human-review",
    "objection",
    "portability",
    "rectification",
    "restriction",
)
"""What a person may ask for."""

REQUEST = FactKind(
    kind="request",
    columns=(
        open_column("state"),
        open_column("of", "bytes", STRUCTURAL),
        open_column("type"),
        open_column("ground"),
        open_column("rule"),
        open_column("received", "timestamp[UTC]"),
        open_column("due", "timestamp[UTC]"),
        open_column("at", "timestamp[UTC]"),
        sealed_column("subject", PSEUDONYMOUS, "subject"),
        sealed_column("case", PSEUDONYMOUS, "subject"),
        sealed_column("about", PSEUDONYMOUS, "subject", {"list": "bytes"}),
        sealed_column("text", IDENTIFYING, "text"),
        sealed_column("recipient", IDENTIFYING, "text"),
        sealed_column("who", STAFF, "staff"),
    ),
)
"""Records of requests and of what became of them."""
