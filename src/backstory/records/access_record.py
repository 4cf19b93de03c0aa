"""Accesses as facts: who saw, was refused or gave out which sealed values, and what for. Bytes: docs/format.md, 40."""

from __future__ import annotations

from backstory.records.canonical import JsonValue
from backstory.records.fact import FactKind, open_column, sealed_column
from backstory.records.sensitivity import PSEUDONYMOUS, SECURITY, STAFF

ALLOWED, DENIED, REDACTED = "allowed", "denied", "redacted"
"""What came of a question: what was asked for was read; nothing was; some of it was shown as a role may see it."""

EXPORT = "export"
"""The question of the access that says which records are in a report that is given out, after those that read them."""

SCOPE_GROUP = "scope"
"""Name of the group that says which records were read, without its class: an erasure may drop it and nothing else."""

_RUN: JsonValue = {
    "struct": [
        {"name": "stream", "type": "string"},
        {"name": "first", "type": "uint64"},
        {"name": "count", "type": "uint64"},
    ]
}

ACCESS = FactKind(
    kind="access",
    columns=(
        open_column("question"),
        open_column("outcome"),
        open_column("role"),
        open_column("classes", {"list": "string"}),
        open_column("groups", {"list": "string"}),
        open_column("records", "uint64"),
        open_column("named", "bool"),
        open_column("policy", "uint64"),
        open_column("grant", "uint64"),
        sealed_column("actor", STAFF, "staff"),
        sealed_column("purpose", SECURITY, "why"),
        sealed_column("case", SECURITY, "why"),
        sealed_column("ids", PSEUDONYMOUS, SCOPE_GROUP, {"list": "bytes"}),
        sealed_column("runs", PSEUDONYMOUS, SCOPE_GROUP, {"list": _RUN}),
        sealed_column("dataset", PSEUDONYMOUS, SCOPE_GROUP),
        sealed_column("positions", PSEUDONYMOUS, SCOPE_GROUP, {"list": "int64"}),
    ),
)
"""One access. `question` is the verb (`why`, `search`, `bundle`); `outcome` one of the three above; `role` the role of
who asked, null without one; `classes` and `groups` what was asked for; `records` of how many records, `named` whether
it was said which; `policy` the index of the proposal that brought the policy in force, `grant` that of the grant used,
both null where there was none.

Sealed: `actor` (group `staff.D6`); `purpose` and `case` (`why.D7`); and what was read (`scope.D3`): records by `ids`,
or by `runs` of a stream where there are many, or rows of a `dataset` by `positions` (any where that is null)."""
