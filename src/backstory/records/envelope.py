"""The columns every record has, and the schemas of predictions and outcomes. Bytes: docs/format.md section 6."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backstory.records.canonical import JsonValue
from backstory.records.schema import Column, Schema, escape_name
from backstory.records.sensitivity import IDENTIFYING, OPERATIONAL, PSEUDONYMOUS, STRUCTURAL

PREDICTION, OUTCOME = "prediction", "outcome"
OK, FAILED = "ok", "error"

NO_ROW = -1
"""A row reference that says: the row matched none."""

ENVELOPE: tuple[Column, ...] = tuple(
    Column(name=name, type=type_, sensitivity=class_)
    for name, type_, class_ in (
        ("id", "bytes", STRUCTURAL),
        ("stream", "bytes", STRUCTURAL),
        ("seq", "uint64", STRUCTURAL),
        ("time", "timestamp[UTC]", STRUCTURAL),
        ("kind", "string", STRUCTURAL),
        ("status", "string", OPERATIONAL),
        ("error", "string", OPERATIONAL),
        ("context", "bytes", STRUCTURAL),
        ("batch_row", "uint32", STRUCTURAL),
        ("batch_rows", "uint32", STRUCTURAL),
        ("request_id", "string", OPERATIONAL),
    )
)

Field = tuple[str, JsonValue]
"""A column as its maker knows it: unescaped parts joined and escaped already, and its logical type."""


def prediction_schema(
    *,
    rows: Sequence[str],
    personal_rows: Iterable[str],
    features: Sequence[Field],
    outputs: Sequence[Field],
    decision: JsonValue,
    subject: bool,
    steps: bool = False,
    flags: bool = False,
    attributions: Sequence[Field] = (),
) -> Schema:
    """Return the schema of a kind of prediction.

    Args:
        rows: Names of the row references.
        personal_rows: Those of them that point to rows about people.
        features: Flattened names below `feature.` and types.
        outputs: Flattened names (`output` or `output.x`) and types.
        decision: Logical type of the decision, None where no rule decides.
        subject: Whether each record has a subject.
        steps: Whether each record has steps.
        flags: Whether each record was looked at for what differs from training and breaks a contract.
        attributions: Flattened names (`attribution.x`, `attribution_base`) and types, where it was asked why.

    Returns:
        The schema. As soon as a record is about a person, its features, output and decision are sealed.
    """
    personal = set(personal_rows)
    about_person = subject or bool(personal)
    columns = list(ENVELOPE)
    for name in rows:
        sealed = name in personal
        columns.append(_column(f"row.{escape_name(name)}", "int64", PSEUDONYMOUS, "subject", sealed=sealed))
    columns += [_column(n, t, IDENTIFYING, "features", sealed=about_person) for n, t in features]
    columns += [_column(n, t, PSEUDONYMOUS, "output", sealed=about_person) for n, t in outputs]
    if decision is not None:
        columns.append(_column("decision", decision, PSEUDONYMOUS, "output", sealed=about_person))
    columns += [_column(n, t, IDENTIFYING, "features", sealed=about_person) for n, t in attributions]
    if flags:
        columns.append(_column("flags", "string", IDENTIFYING, "features", sealed=about_person))
    if steps:
        columns.append(_column("steps", "string", IDENTIFYING, "steps", sealed=about_person))
    if subject:
        columns.append(_column("subject", "string", PSEUDONYMOUS, "subject", sealed=True))
    return Schema(kind=PREDICTION, columns=tuple(columns))


def outcome_schema(type_: JsonValue, *, sealed: bool) -> Schema:
    """Return the schema of outcomes whose value has a logical type."""
    columns = [
        *ENVELOPE,
        Column(name="of", type="bytes", sensitivity=STRUCTURAL),
        _column("value", type_, PSEUDONYMOUS, "outcome", sealed=sealed),
    ]
    return Schema(kind=OUTCOME, columns=tuple(columns))


def _column(name: str, type_: JsonValue, class_: str, group: str, *, sealed: bool) -> Column:
    if sealed:
        return Column(name=name, type=type_, sensitivity=class_, group=group)
    return Column(name=name, type=type_, sensitivity=OPERATIONAL)
