"""What differs between two contexts: the model, how it was called, code and environment, what references mean."""

from __future__ import annotations

from collections.abc import Iterable

from backstory.debug.case import Workshop
from backstory.debug.diff_model import diff_models
from backstory.debug.diff_parts import Change, Documents, StageDiff, changes_of, environment_stage, stage_of
from backstory.lineage import registry
from backstory.records.canonical import JsonObject, JsonValue

_CALL = ("method", "options", "output", "tile")
_OTHER_STAGES = frozenset({*_CALL, "code", "container", "decision", "environment", "features", "model", "refs"})
"""Members that have stages of their own. All others say how records were written, such as what they were compared with
and how they were explained; they change no output."""


def diff_contexts(shop: Workshop, documents: Documents, before: str, after: str) -> tuple[StageDiff, ...]:
    """Compare two contexts stage by stage.

    Args:
        shop: The archive.
        documents: Opens documents.
        before: Digest of one context.
        after: Of the other.
    """
    if before == after:
        return (StageDiff(name="context", same=True, said="the same context"),)
    one, two = documents.open(before), documents.open(after)
    return (
        stage_of("references", tuple(changes_of(one.get("refs"), two.get("refs")))),
        compare_container(one, two),
        *compare_contexts(shop, documents, one, two),
        compare_rule(one, two),
        stage_of("recording", tuple(changes_of(_recording(one), _recording(two)))),
    )


def compare_contexts(shop: Workshop, documents: Documents, one: JsonObject, two: JsonObject) -> tuple[StageDiff, ...]:
    """Compare what turned features into outputs: feature set, model, call, code, environment."""
    return (
        stage_of("feature set", tuple(changes_of(one.get("features"), two.get("features"), "features"))),
        _model(shop, documents, one.get("model"), two.get("model")),
        stage_of("call", tuple(changes_of(_members(one, _CALL), _members(two, _CALL)))),
        stage_of("code", tuple(changes_of(one.get("code"), two.get("code"), "code"))),
        environment_stage(documents, one.get("environment"), two.get("environment")),
    )


def compare_container(one: JsonObject, two: JsonObject) -> StageDiff:
    """Compare what the model was given besides the values: library, columns, types."""
    return stage_of("container", tuple(changes_of(one.get("container"), two.get("container"))))


def compare_rule(one: JsonObject, two: JsonObject) -> StageDiff:
    """Compare the rules that made decisions of outputs."""
    return stage_of("decision rule", tuple(changes_of(one.get("decision"), two.get("decision"), "rule")))


def _recording(context: JsonObject) -> JsonObject:
    return _members(context, context.keys() - _OTHER_STAGES)


def _members(context: JsonObject, names: Iterable[str]) -> JsonObject:
    return {name: context[name] for name in sorted(names) if name in context}


def _model(shop: Workshop, documents: Documents, before: JsonValue, after: JsonValue) -> StageDiff:
    """Compare the model versions; of other ones, say in which stages they differ."""
    if before == after:
        return StageDiff(name="model", same=True, said=model_text(shop, before))
    if not isinstance(before, dict) or not isinstance(after, dict):
        change = Change(name="version", before=model_text(shop, before), after=model_text(shop, after))
        return stage_of("model", (change,))
    stages = diff_models(shop, documents, str(before.get("digest")), str(after.get("digest")))
    version = Change(name="version", before=model_text(shop, before), after=model_text(shop, after))
    differing = [stage for stage in stages if stage.same is False]
    said = f"the versions differ first in {differing[0].name}" if differing else "equal but for the name"
    found = tuple(
        Change(name=_called(stage, change), before=change.before, after=change.after)
        for stage in differing
        for change in stage.changes[:1]
    )
    return StageDiff(name="model", same=False, said=said, changes=(version, *found))


def _called(stage: StageDiff, change: Change) -> str:
    return change.name if change.name.startswith(stage.name) else f"{stage.name}: {change.name}"


def model_text(shop: Workshop, model: JsonValue) -> str:
    """Return the name and number of the version a context names."""
    if not isinstance(model, dict):
        return "none"
    digest = model.get("digest")
    fitting = [one for one in registry.all_versions(shop.ledger) if one.digest == digest]
    return f"{fitting[0].name}:{fitting[0].version}" if fitting else str(digest)
