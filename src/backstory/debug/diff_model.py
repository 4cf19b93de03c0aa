"""What differs between two model versions, in the order in which one leads to the next: rows first, figures last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backstory.debug.case import Workshop
from backstory.debug.diff_parts import (
    ABSENT,
    Change,
    Documents,
    StageDiff,
    changes_below,
    changes_of,
    environment_stage,
    stage_of,
)
from backstory.debug.diff_training import REORDERED, compare_training
from backstory.records.canonical import JsonObject, JsonValue

_KIND = ("class", "classes", "format", "framework", "hyperparameters", "seeds", "trusted", "versions")
"""Members of `model` that say what was to be fitted; `content` is what it became."""
_STEP = {
    "class": "class",
    "params": "parameters",
    "in": "columns it takes",
    "out": "columns it gives",
    "state": "what it learned",
}
"""What may differ about a fitted step, by member, and how to call it."""


def diff_models(shop: Workshop, documents: Documents, before: str, after: str) -> tuple[StageDiff, ...]:
    """Compare two model versions stage by stage.

    Args:
        shop: The archive.
        documents: Opens documents.
        before: Digest of the document of one version.
        after: Of the other.
    """
    if before == after:
        return (StageDiff(name="model", same=True, said="the same version"),)
    one, two = documents.open(before), documents.open(after)
    rows = compare_training(shop, one.get("training"), two.get("training"))
    kind, other = (
        {name: value for name, value in _object(side, "model").items() if name in _KIND} for side in (one, two)
    )
    return (
        rows,
        _features(documents, one, two),
        _target(one, two, reordered=rows.said == REORDERED),
        stage_of("hyperparameters", tuple(changes_of(kind, other))),
        stage_of("code", tuple(changes_of(one.get("code"), two.get("code")))),
        environment_stage(documents, one.get("environment"), two.get("environment")),
        _fitted(documents, one.get("fitted"), two.get("fitted")),
        _content(_object(one, "model"), _object(two, "model")),
        stage_of("metrics", tuple(changes_of(one.get("metrics"), two.get("metrics")))),
        stage_of("contract", tuple(changes_of(one.get("contract"), two.get("contract"), "contract"))),
    )


def _object(document: JsonObject, name: str) -> JsonObject:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _features(documents: Documents, one: JsonObject, two: JsonObject) -> StageDiff:
    """Compare columns of the training rows and the feature sets the versions are bound to."""
    schemas = [_object(side, "training").get("schema") for side in (one, two)]
    changes: list[Change] = []
    if schemas[0] != schemas[1]:
        columns = [_types(documents.open(named)) if isinstance(named, str) else {} for named in schemas]
        changes += changes_of(columns[0], columns[1])
        if not changes:
            changes.append(Change(name="order of columns", before=list(columns[0]), after=list(columns[1])))
    sets = changes_below(documents, one.get("features"), two.get("features"))
    changes += [Change(name=f"feature set: {c.name}", before=c.before, after=c.after) for c in sets]
    return stage_of("features", tuple(changes))


def _types(schema: JsonObject) -> JsonObject:
    """Return the columns of a schema, in order, each with its type."""
    columns = schema.get("columns")
    return {str(c["name"]): c.get("type") for c in columns if isinstance(c, dict)} if isinstance(columns, list) else {}


def _target(one: JsonObject, two: JsonObject, *, reordered: bool) -> StageDiff:
    changes = tuple(changes_of(one.get("target"), two.get("target"), "digest in order"))
    said = "of rows in another order it cannot be compared by digest" if changes and reordered else ""
    return stage_of("target", changes, said)


def _fitted(documents: Documents, before: JsonValue, after: JsonValue) -> StageDiff:
    """Compare fitted steps by name; the first that differs is named."""
    if before == after:
        return StageDiff(name="fitted steps", same=True)
    one, two = (_steps(documents.open(side)) if isinstance(side, str) else {} for side in (before, after))
    changes = tuple(_step_changes(one, two))
    said = f"first {changes[0].name}" if changes else "the same steps, told otherwise"
    return StageDiff(name="fitted steps", same=not changes, said=said, changes=changes)


def _steps(document: JsonObject) -> dict[str, dict[str, Any]]:
    steps = document.get("steps")
    return {str(step["name"]): step for step in steps if isinstance(step, dict)} if isinstance(steps, list) else {}


def _step_changes(one: dict[str, dict[str, Any]], two: dict[str, dict[str, Any]]) -> Iterator[Change]:
    for name in dict.fromkeys([*one, *two]):
        called = name or "the model"
        if name not in one or name not in two:
            classes = (str(side[name].get("class")) if name in side else ABSENT for side in (one, two))
            yield Change(name=called, before=next(classes), after=next(classes))
            continue
        for member, what in _STEP.items():
            before, after = one[name].get(member), two[name].get(member)
            if before != after:
                yield Change(name=f"{called}: {what}", before=before, after=after)


def _content(one: JsonObject, two: JsonObject) -> StageDiff:
    names = ("content", "replayable", "reason")
    changes = tuple(
        Change(name=name, before=one.get(name), after=two.get(name)) for name in names if one.get(name) != two.get(name)
    )
    return stage_of("fitted model", changes, "" if changes else "equal to the bit")
