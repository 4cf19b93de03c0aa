"""Corrections as facts: what a recorded prediction should have been made with. Bytes: docs/format.md section 38.

The original stays as it was, for whoever may see it: a correction is said beside it, and says who made it and why.
"""

from __future__ import annotations

from backstory.records.fact import FactKind, open_column, sealed_column
from backstory.records.sensitivity import IDENTIFYING, PSEUDONYMOUS, STAFF, STRUCTURAL

CORRECTION = FactKind(
    kind="correction",
    columns=(
        open_column("of", "bytes", STRUCTURAL),
        sealed_column("subject", PSEUDONYMOUS, "subject"),
        sealed_column("values", IDENTIFYING, "text"),
        sealed_column("reason", IDENTIFYING, "text"),
        sealed_column("who", STAFF, "staff"),
    ),
)
"""`of` is the id of the prediction, `values` canonical JSON: by feature the value it should have had, as text."""
