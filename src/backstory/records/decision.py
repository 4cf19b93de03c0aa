"""Decisions as facts: what was decided with predictions, by whom, why, and who verified it.

A record of state `draft` or `final` is a decision; one of state `verified` is a person's verdict on a draft. What leads
from one thing about a person to another is sealed with the person's id, so that erasing the person leaves no link
between the person's records. Bytes: docs/format.md section 39.
"""

from __future__ import annotations

from typing import Literal

from backstory.records.fact import FactKind, open_column, sealed_column
from backstory.records.sensitivity import IDENTIFYING, PSEUDONYMOUS, STAFF, STRUCTURAL

Automation = Literal["solely-automated", "human-approved", "human-decided"]
"""Who decided: a program alone; a program, and a person let it pass; a person, with its support."""

Reliance = Literal["sole", "principal", "one-of-several", "disregarded"]
"""What the predictions were among the things the decision stands on."""

Action = Literal["accepted", "modified", "overrode", "disregarded", "reversed", "escalated", "stopped"]
"""What was done with what the model said; `reversed` is done to an earlier decision."""

AGAINST: frozenset[str] = frozenset({"modified", "overrode", "disregarded", "reversed", "stopped"})
"""Actions that are not what the model, or the decision before, said: each needs a ground."""

DRAFT, VERIFIED, FINAL = "draft", "verified", "final"
"""States of the records of kind `decision`."""

Confirmation = Literal["confirmed", "disputed"]
"""What a verifier says of a draft."""

DECISION = FactKind(
    kind="decision",
    columns=(
        open_column("state"),
        open_column("of", "bytes", STRUCTURAL),
        open_column("domain"),
        open_column("domain_entry", "uint64", STRUCTURAL),
        open_column("automation"),
        open_column("reliance"),
        open_column("action"),
        open_column("ground"),
        open_column("adverse", "bool"),
        open_column("models", {"list": "string"}),
        open_column("map"),
        open_column("reason_count", "uint32"),
        open_column("verdict"),
        open_column("decided", "timestamp[UTC]"),
        sealed_column("subject", PSEUDONYMOUS, "subject"),
        sealed_column("case", PSEUDONYMOUS, "subject"),
        sealed_column("predictions", PSEUDONYMOUS, "subject", {"list": "bytes"}),
        sealed_column("reverses", PSEUDONYMOUS, "subject", "bytes"),
        sealed_column("outcome", PSEUDONYMOUS, "outcome"),
        sealed_column("reasons", PSEUDONYMOUS, "outcome", {"list": "string"}),
        sealed_column("text", IDENTIFYING, "text"),
        sealed_column("factors", IDENTIFYING, "text", {"list": "string"}),
        sealed_column("shown", IDENTIFYING, "text", "bytes"),
        sealed_column("page", IDENTIFYING, "text", "bytes"),
        sealed_column("who", STAFF, "staff"),
        sealed_column("role", STAFF, "staff"),
        sealed_column("authority", STAFF, "staff"),
        sealed_column("competence", STAFF, "staff"),
        sealed_column("signature", STAFF, "staff"),
        sealed_column("opened", STAFF, "staff", "timestamp[UTC]"),
    ),
)
"""Records of decisions and of verdicts on them."""
