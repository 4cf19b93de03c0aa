"""The columns every record has, and the schemas of predictions and outcomes. Bytes: docs/format.md section 6."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backstory.records.canonical import JsonValue
from backstory.records.classification import FEATURE, NO_CLASSES, Classes, ColumnClass
from backstory.records.schema import Column, Schema, escape_name, split_name
from backstory.records.sensitivity import (
    IDENTIFYING,
    OPERATIONAL,
    PERSONAL,
    PSEUDONYMOUS,
    STRUCTURAL,
    group_name,
)

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
    classes: Classes = NO_CLASSES,
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
        classes: What people confirmed of the columns.

    Returns:
        The schema. As soon as a record is about a person, its features, output and decision are sealed, and each
        class is in a group of its own; docs/format.md section 35.
    """
    personal = set(personal_rows)
    placing = _Placing(classes, about_person=subject or bool(personal), features=[name for name, _ in features])
    columns = list(ENVELOPE)
    for name in rows:
        group = "subject" if name in personal else None
        class_ = OPERATIONAL if group is None else PSEUDONYMOUS
        columns.append(Column(name=f"row.{escape_name(name)}", type="int64", sensitivity=class_, group=group))
    columns += [placing.feature(n, t) for n, t in features]
    columns += [placing.result(n, t, "output") for n, t in outputs]
    if decision is not None:
        columns.append(placing.result("decision", decision, "decision"))
    columns += [placing.derived(n, t, "attribution", "features") for n, t in attributions]
    if flags:
        columns.append(placing.derived("flags", "string", "flags", "features"))
    if steps:
        columns.append(placing.derived("steps", "string", "steps", "steps"))
    if subject:
        columns.append(Column(name="subject", type="string", sensitivity=PSEUDONYMOUS, group="subject"))
    return Schema(kind=PREDICTION, columns=tuple(columns), fields=_by_field(columns, classes))


def outcome_schema(type_: JsonValue, *, sealed: bool, classes: Classes = NO_CLASSES, corrects: bool = False) -> Schema:
    """Return the schema of outcomes whose value has a logical type.

    Args:
        type_: The type.
        sealed: Whether they are of predictions about people.
        classes: What people confirmed of the predictions' columns.
        corrects: Whether each corrects another outcome of its prediction.
    """
    value = _Placing(classes, about_person=sealed, features=()).result("value", type_, "outcome")
    links = ["of", "corrects"] if corrects else ["of"]
    columns = [*ENVELOPE, *(Column(name=name, type="bytes", sensitivity=STRUCTURAL) for name in links), value]
    return Schema(kind=OUTCOME, columns=tuple(columns))


def seals(classes: Classes, column: str, *, about_person: bool) -> bool:
    """Say whether a column of records is sealed.

    Args:
        classes: What people confirmed of the columns.
        column: As a model's classification names it; `steps` are what is told of all that happened.
        about_person: Whether the records are about people.
    """
    found = classes.column(column)
    if found is not None:
        return _is_sealed(found, about_person=about_person)
    return about_person or (column == "steps" and classes.is_personal)


class _Placing:
    """Where the columns of one kind of record go."""

    def __init__(self, classes: Classes, *, about_person: bool, features: Sequence[str]) -> None:
        self._classes, self._about_person = classes, about_person
        given = [self._feature_class(name) for name in features]
        known = [one.sensitivity for one in given if one is not None]
        known += [IDENTIFYING] * (about_person or classes.is_personal)
        self._derived = ColumnClass(name="", sensitivity=max(known)) if known else None

    def feature(self, name: str, type_: JsonValue) -> Column:
        return self._column(name, type_, "features", self._feature_class(name))

    def result(self, name: str, type_: JsonValue, called: str) -> Column:
        """Return a column of what came of the features, or of what was decided or turned out."""
        usual = ColumnClass(name=called, sensitivity=PSEUDONYMOUS) if self._about_person else None
        group = "outcome" if called == "outcome" else "output"
        return self._column(name, type_, group, self._classes.column(called) or usual)

    def derived(self, name: str, type_: JsonValue, called: str, group: str) -> Column:
        """Return a column that tells of all features."""
        return self._column(name, type_, group, self._classes.column(called) or self._derived)

    def _feature_class(self, name: str) -> ColumnClass | None:
        found = self._classes.column(FEATURE + escape_name(split_name(name)[1]))
        return found or (ColumnClass(name=name, sensitivity=IDENTIFYING) if self._about_person else None)

    def _column(self, name: str, type_: JsonValue, base: str, given: ColumnClass | None) -> Column:
        if given is None:
            return Column(name=name, type=type_, sensitivity=OPERATIONAL)
        is_sealed = _is_sealed(given, about_person=self._about_person)
        group = group_name(base, given.sensitivity) if is_sealed else None
        return Column(name=name, type=type_, sensitivity=given.sensitivity, group=group)


def _is_sealed(given: ColumnClass, *, about_person: bool) -> bool:
    return given.sensitivity in PERSONAL or (about_person and not given.open)


def _by_field(columns: Iterable[Column], classes: Classes) -> tuple[str, ...]:
    """Return the groups of features and outputs that are committed to by field."""
    groups = {
        column.group
        for column in columns
        if column.group is not None
        and column.sensitivity in classes.fields
        and column.group.partition(".")[0] in {"features", "output"}
    }
    return tuple(sorted(groups, key=str.encode))
