"""One record as whoever asks may see it: what is shown, what stands in its place, and what its leaf commits to.

A redacted answer still verifies: each field that is not shown as it is comes with its class, the reason and the
commitment that a later disclosure opens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backstory.columns.python_value import python_rows
from backstory.columns.seal import pick_columns
from backstory.errors import NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found, Place
from backstory.ledger.sealed import erased_groups, open_rows
from backstory.records import canonical
from backstory.records.access import SHOWN, About, Gate, RecordRun, Scope, Viewer, Views
from backstory.records.canonical import JsonObject
from backstory.records.limits import ACCESS_IDS_MAX
from backstory.records.redaction import HIDDEN, SUBJECT, Redaction, Seen, shown_as
from backstory.records.schema import Column, Schema, split_name
from backstory.records.sensitivity import CONFIDENTIAL

_ENVELOPE = frozenset({"error", "request_id", "status"})
_BUSINESS = ("decision", "explanation", "options")
"""What of a context is a business secret: thresholds, and how a model was asked."""
_WHOLE = frozenset({"attribution", "attribution_base", "flags", "steps"})
"""Columns that are shown as they are or not at all: their values are made of many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A record as it is shown.

    Attributes:
        values: Its values by column; structs for dotted names.
        sealed: Sealed groups of which nothing is shown.
        redacted: Fields that are not shown as they are.
        erased: Sealed groups that were erased.
        views: How each class is seen.
        gate: A gate that decides about this record.
        any_gate: The gate that decides about any.
        about: What of the record decides who may see it.
        features: Classes of its features, by name.
    """

    values: dict[str, Any]
    sealed: tuple[str, ...]
    redacted: tuple[Redaction, ...]
    erased: tuple[str, ...]
    views: Views
    gate: Viewer
    any_gate: Viewer
    about: About
    features: Mapping[str, str]


def show_record(ledger: Ledger, gate: Viewer, found: Found, question: str) -> Shown:
    """Return a record as the gate's views show it; that sealed values are shown is on record before they are read.

    Args:
        ledger: The archive.
        gate: Decides, and records.
        found: The record.
        question: What is being asked.

    Raises:
        ForbiddenError: Not even that it exists may be shown, or the read cannot be recorded.
        VerificationError: Its sealed values were changed.
    """
    about = about_record(ledger, found)
    within = gate.within(about)
    within.require_open(question, ("D0",))
    views, schema = within.views(), found.schema
    opened = tuple(group for group in schema.groups if _is_shown(schema, group, views))
    scope = Scope(ids=(found.table["id"][0].as_py(),))
    if schema.groups:
        within.show(question, opened or schema.groups, 1, scope, views)
    gone = gone_groups(ledger, found)
    values = _open_values(ledger, found, [group for group in opened if group not in gone])
    for column in schema.columns:
        if column.group is None or column.group in opened:
            _redact(values, column, seen_column(column, views), gate)
    return Shown(
        values=values,
        sealed=tuple(group for group in schema.groups if group not in opened),
        redacted=_redactions(within, schema, views, commitments_of(found)),
        erased=gone,
        views=views,
        gate=within,
        any_gate=gate,
        about=about,
        features={
            split_name(column.name)[1]: column.sensitivity
            for column in schema.columns
            if column.name.startswith("feature.")
        },
    )


def seen_column(column: Column, views: Views) -> Seen:
    """Return how a column of a record is seen."""
    return Seen(class_=column.sensitivity, view=views[column.sensitivity], is_subject=column.name == SUBJECT)


def about_record(ledger: Ledger, found: Found) -> About:
    """Return what of a record decides who may see it."""
    table = found.table
    model = ledger.document(table["context"][0].as_py().hex()).get("model")
    return About(
        request_id=table["request_id"][0].as_py(),
        model=canonical.text_of(model, "name") if isinstance(model, dict) else None,
        time_ns=table["time"][0].value,
        subject=lambda: subject_of(ledger, found),
    )


def subject_of(ledger: Ledger, found: Found) -> str | None:
    """Return whom a record is about, for deciding who may see it; None where it does not say, or it was erased."""
    groups = [column.group for column in found.schema.columns if column.name == SUBJECT and column.group is not None]
    if not groups:
        return None
    if found.place is None:
        values = found.table
    elif found.place.manifest.shard is None or groups[0] in gone_groups(ledger, found):
        return None
    else:
        values = open_rows(ledger, found.place.manifest, found.place.row, found.table, groups)
    value = values[SUBJECT][0].as_py()
    return None if value is None else str(value)


def gone_groups(ledger: Ledger, found: Found) -> tuple[str, ...]:
    """Return the sealed groups of a record that were erased: it says what is committed to and is no more.

    Where the whole shard or its keys are gone, all of them.
    """
    if found.place is None or found.place.manifest.shard is None:
        return ()
    try:
        return erased_groups(ledger, found.place.manifest, found.place.row)
    except NotFoundError:
        return found.schema.groups


def commitments_of(found: Found) -> dict[str, str]:
    """Return what a record commits to, by sealed group, in hex; nothing while it waits to be sealed."""
    if found.place is None or "commitment" not in found.table.column_names:
        return {}
    return {group: value.hex() for group, value in found.table["commitment"][0].as_py().items()}


def open_classes(schemas: Iterable[Schema], contexts: Iterable[JsonObject]) -> tuple[str, ...]:
    """Return the classes of what stands open in records and their contexts: a receipt shows all of it."""
    found = {column.sensitivity for schema in schemas for column in schema.open_columns}
    return tuple(sorted(found | ({CONFIDENTIAL} if any(map(has_business, contexts)) else set())))


def has_business(context: JsonObject) -> bool:
    """Say whether a context says business secrets: thresholds, and how a model was asked."""
    return any(context.get(name) is not None for name in _BUSINESS)


def without_business(context: JsonObject) -> JsonObject:
    """Return a context without its business secrets."""
    return {name: value for name, value in context.items() if name not in _BUSINESS}


def note_places(gate: Gate, question: str, groups: Sequence[str], places: Sequence[Place]) -> None:
    """Record that sealed values of records in the log are read as they are, so many at a time as one access can name.

    Raises:
        ForbiddenError: It is not allowed; nothing may be read.
    """
    runs = [RecordRun(stream=one.manifest.stream, first=one.manifest.first_seq + one.row, count=1) for one in places]
    for first in range(0, len(runs), ACCESS_IDS_MAX):
        some = tuple(runs[first : first + ACCESS_IDS_MAX])
        gate.pass_through(question, groups, len(some), Scope(runs=some))


def _is_shown(schema: Schema, group: str, views: Views) -> bool:
    return any(views[column.sensitivity] in SHOWN for column in schema.group_columns(group))


def _open_values(ledger: Ledger, found: Found, groups: list[str]) -> dict[str, Any]:
    table, schema = found.table, found.schema
    if found.place is None:  # the spool holds everything; show what the segment will show
        names = [column.name for column in schema.columns if column.group is None or column.group in groups]
        return python_rows(pick_columns(table, names))[0]
    values = python_rows(table)[0]
    if not groups or found.place.manifest.shard is None:
        return values
    opened = open_rows(ledger, found.place.manifest, found.place.row, table, groups)
    for name, value in python_rows(opened)[0].items():
        values[name] = {**values[name], **value} if isinstance(values.get(name), dict) else value
    return values


def _redactions(gate: Viewer, schema: Schema, views: Views, commitments: Mapping[str, str]) -> tuple[Redaction, ...]:
    seen = ((column, seen_column(column, views)) for column in schema.columns)
    return tuple(
        Redaction(
            field=column.name,
            class_=one.class_,
            view=one.view,
            reason=gate.reason(one.class_, one.view),
            group=column.group,
            commitment=None if column.group is None else commitments.get(column.group),
        )
        for column, one in seen
        if not one.as_it_is
    )


def _redact(values: dict[str, Any], column: Column, seen: Seen, gate: Viewer) -> None:
    """Put what a view shows in the place of a column's value, in values that are nested as its name is."""
    if seen.as_it_is:
        return
    *path, last = split_name(column.name)
    inner: Any = values
    for name in path:
        inner = inner.get(name) if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or last not in inner:
        return
    if not path and last in _ENVELOPE:
        inner[last] = HIDDEN
    elif seen.view in SHOWN and (path or [last])[0] not in _WHOLE:
        inner[last] = shown_as(inner[last], seen, gate.pseudonym)
    else:
        del inner[last]
