"""Why did the model say this? From one prediction to its rows, features, model, code and proof."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.python_value import python_rows, python_value
from backstory.columns.seal import merge_columns
from backstory.errors import NotFoundError
from backstory.frames.watch import flags_of
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found, records_now
from backstory.ledger.sealed import erased_groups, open_rows
from backstory.lineage.deployments import knows_deployments, served_by
from backstory.lineage.feature_story import tell_features
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.registry import determinism_of, find_version
from backstory.lineage.showing import Shown, seen_column, show_record
from backstory.lineage.showing_rows import see_row
from backstory.lineage.store import note_sealed_positions
from backstory.lineage.story import NO_LINEAGE, RowStory, Story
from backstory.lineage.trace import Tracer
from backstory.models.determinism import Determinism
from backstory.records import canonical
from backstory.records.access import SHOWN, Scope, Viewer
from backstory.records.canonical import JsonObject
from backstory.records.envelope import ENVELOPE, NO_ROW, OUTCOME
from backstory.records.identity import id_text, time_text
from backstory.records.limits import ACCESS_IDS_MAX
from backstory.records.manifest import Manifest
from backstory.records.redaction import Redaction, shown_as
from backstory.records.schema import Schema, escape_name
from backstory.records.sensitivity import CONFIDENTIAL, OPERATIONAL

_STRUCTURE = frozenset({"classification", "environment", "method", "model", "refs", "v"})
_NAMES = frozenset({"digest", "name", "version"})
"""What of context and model is structure: names and digests."""

SAMPLE_ROWS = 5
"""Rows of a group that a story names; how many there are it always says."""


def tell_story(ledger: Ledger, tracer: Tracer, gate: Viewer, found: Found) -> Story:
    """Return the backstory of a prediction.

    Sealed values are opened only through the gate; without it the story says what is sealed.

    Raises:
        VerificationError: Something the prediction refers to was changed.
        NotFoundError: Something it refers to is gone.
    """
    shown = show_record(ledger, gate, found, "why")
    record, sealed, erased, gate = shown.values, shown.sealed, shown.erased, shown.gate
    context = ledger.document(record["context"].hex())
    references = parse_references(context.get("refs"))
    environment = context.get("environment")
    features = _plain_struct(record.get("feature"))
    positions = record.get("row") or {}
    model = _model_document(ledger, context)
    rows = [
        _with_contracts(tracer, _row_story(tracer, shown, name, reference, positions, tuple(features)), reference)
        if not _is_gone(found.schema, name, erased)
        else RowStory(reference=name, kind=_kind(reference), grade=reference.grade, state="erased")
        for name, reference in references.items()
    ]
    story = Story(
        id=found.id,
        time=time_text(found.table["time"][0].value),
        status=record["status"],
        error=record["error"],
        request_id=record["request_id"],
        output=record.get("output"),
        decision=record.get("decision"),
        features=features,
        rows=tuple(rows),
        sealed=sealed,
        erased=erased,
        redacted=shown.redacted,
        classes={group: found.schema.sensitivity_of(group) for group in sealed},
        column_classes={column.name: column.sensitivity for column in found.schema.columns[len(ENVELOPE) :]},
        environment=ledger.document(environment) if isinstance(environment, str) else {},
        model=model,
        method=canonical.text_of(context, "method"),
        context=context,
        outcomes=tuple(_outcomes(ledger, gate, found)),
        proof=_proof(ledger, found),
        steps=json.loads(record.get("steps") or "{}"),
        flags=tuple(flags_of(record.get("flags"))),
        attributions=_plain_struct(record.get("attribution")),
        attribution_base=record.get("attribution_base"),
        lineage=tell_features(ledger, context, model, list(features)),
        training_contracts=_training_contracts(tracer, model),
        determinism=None if model is None else _determinism(ledger, model),
        served=served_by(ledger, found) if model is not None and knows_deployments(ledger) else None,
    )
    return _without_business(story, shown)


def _without_business(story: Story, shown: Shown) -> Story:
    """Return a story without what its documents say of business and operation, where these are not seen as they are."""
    hidden: list[tuple[str, str]] = []
    if shown.views[OPERATIONAL] != "clear":
        story = replace(story, environment={})
        hidden.append(("environment", OPERATIONAL))
    if shown.views[CONFIDENTIAL] != "clear":
        model = story.model
        story = replace(
            story,
            context={name: value for name, value in story.context.items() if name in _STRUCTURE},
            model=None if model is None else {name: value for name, value in model.items() if name in _NAMES},
            lineage=NO_LINEAGE,
            training_contracts=(),
        )
        hidden += [("context", CONFIDENTIAL), ("lineage", CONFIDENTIAL), ("model", CONFIDENTIAL)]
    more = tuple(
        Redaction(field=name, class_=class_, view="none", reason=shown.gate.reason(class_, shown.views[class_]))
        for name, class_ in hidden
    )
    return replace(story, redacted=(*story.redacted, *more))


def _is_gone(schema: Schema, reference: str, erased: tuple[str, ...]) -> bool:
    """Say whether a row reference of a record was erased."""
    name = f"row.{escape_name(reference)}"
    return any(column.name == name and column.group in erased for column in schema.columns)


def _kind(reference: Reference) -> str:
    return "source" if reference.group is None else "group"


def _model_document(ledger: Ledger, context: JsonObject) -> JsonObject | None:
    model = context.get("model")
    if not isinstance(model, dict):
        return None
    return {**ledger.document(canonical.text_of(model, "digest")), **model}


def _row_story(
    tracer: Tracer,
    shown: Shown,
    name: str,
    reference: Reference,
    positions: dict[str, Any],
    features: tuple[str, ...],
) -> RowStory:
    kind = _kind(reference)
    sealed = RowStory(reference=name, kind=kind, grade=reference.grade, state="sealed")
    position = positions.get(name)
    if isinstance(position, str) or (reference.personal and name not in positions):
        return sealed
    if position is None:
        return RowStory(reference=name, kind=kind, grade="broken", state="broken")
    if position == NO_ROW:
        return RowStory(reference=name, kind=kind, grade=reference.grade, state="no row")
    if reference.group is not None:  # the rows of many: what decides about this record does not decide about them
        document = tracer.dataset(reference.group)
        if "sealed_edges" in document and not shown.any_gate.allows(["positions"]):
            return sealed
        note_sealed_positions(shown.any_gate, "why", document)
        return _group_story(tracer, shown, name, reference, reference.group, position, features)
    part = reference.part_of(position)
    row = RowStory(
        reference=name, kind=kind, grade=reference.grade, state="row", position=position, digest=part.dataset
    )
    seen = see_row(tracer, shown, part, position)
    if reference.personal:
        if not seen.note():
            return sealed
        if tracer.is_erased(part, position):
            return replace(row, state="erased")
    values = seen.values(python_rows(tracer.row(part, position))[0])
    keys = tracer.dataset(part.dataset).get("key")
    return replace(
        row,
        key={str(key): values[str(key)] for key in keys if str(key) in values} if isinstance(keys, list) else {},
        values=values,
        features=tuple(feature for feature in features if feature in values),
        redacted=seen.redacted(name),
    )


def _with_contracts(tracer: Tracer, row: RowStory, reference: Reference) -> RowStory:
    """Return a row's story with the verdicts on the data it is from; of a group, all that any of its rows is from."""
    if row.state in {"broken", "erased", "no row"}:
        return row
    if row.kind == "source" and row.digest:
        verdict = tracer.verdicts.of(row.digest)
        return row if verdict is None else replace(row, contracts=(verdict,))
    return replace(row, contracts=tracer.verdicts.below([reference]))


def _determinism(ledger: Ledger, model: JsonObject) -> Determinism | None:
    return determinism_of(ledger, find_version(ledger, canonical.text_of(model, "digest")))


def _training_contracts(tracer: Tracer, model: JsonObject | None) -> tuple[JsonObject, ...]:
    training = None if model is None else model.get("training")
    return tracer.verdicts.below(parse_references(training.get("refs")).values()) if isinstance(training, dict) else ()


def _group_story(
    tracer: Tracer, shown: Shown, name: str, reference: Reference, digest: str, number: int, features: tuple[str, ...]
) -> RowStory:
    edges = tracer.edges(digest)
    members = {ref: edges.members(number, ref) for ref in edges.refs}
    present = {ref: rows[rows >= 0] for ref, rows in members.items()}
    by, aggs = edges.document.get("by"), edges.document.get("aggs")
    return RowStory(
        reference=name,
        kind="group",
        grade=reference.grade,
        state="row",
        position=number,
        digest=digest,
        key=_group_key(tracer, shown, edges.refs, present, [str(key) for key in by] if isinstance(by, list) else []),
        members={ref: len(rows) for ref, rows in present.items()},
        sample={ref: rows[:SAMPLE_ROWS].tolist() for ref, rows in present.items()},
        features=tuple(feature for feature in features if isinstance(aggs, dict) and feature in aggs),
    )


def _group_key(
    tracer: Tracer, shown: Shown, refs: dict[str, Reference], members: dict[str, Any], by: list[str]
) -> dict[str, Any]:
    """Return the group's key values as its first member row has them, where a source has all of them.

    A list is no key: rows were made of it, and which of its values is this group's the row does not say.
    """
    for ref, rows in members.items():
        if refs[ref].group is None and len(rows):
            part, position = refs[ref].part_of(int(rows[0])), int(rows[0])
            seen = see_row(tracer, shown, part, position)
            if refs[ref].personal and not seen.note():
                continue
            row = tracer.row(part, position)
            if set(by) <= {field.name for field in row.schema if not pa.types.is_nested(field.type)}:
                return seen.values(python_rows(row.select(by))[0])
    return {}


def _outcomes(ledger: Ledger, gate: Viewer, found: Found) -> list[dict[str, Any]]:
    """Return what was recorded later about a prediction, oldest first; what no other corrects stands."""
    key = found.table["id"][0].as_py()
    wanted = pa.scalar(key, pa.large_binary())
    outcomes = []
    sealed, unsealed = records_now(ledger, OUTCOME)
    for _, manifest in sealed:
        if manifest.last_id < key.hex():
            continue
        reader = ledger.segment(manifest, checked=True)
        table = reader.read_groups(range(reader.group_count))
        rows = pc.indices_nonzero(pc.equal(table["of"].cast(pa.large_binary()), wanted)).to_pylist()
        schema = ledger.schema(manifest.schema)
        erased = [{"erased": True} if _is_outcome_gone(ledger, manifest, schema, row) else {} for row in rows]
        if rows and _note_outcomes(gate, schema, table, rows) and manifest.shard is not None:
            begin = rows[0]
            run = table.slice(begin, rows[-1] - begin + 1)
            with contextlib.suppress(NotFoundError):  # the shard or its keys are not here: said of each
                run = merge_columns(run, open_rows(ledger, manifest, begin, run))
            table, rows = run.take([row - begin for row in rows]), list(range(len(rows)))
        found_here = _outcome_values(gate, schema, table, rows, "sealed")
        outcomes += [outcome | said for outcome, said in zip(found_here, erased, strict=True)]
    for schema, table in unsealed:
        rows = pc.indices_nonzero(pc.equal(table["of"].cast(pa.large_binary()), wanted)).to_pylist()
        if rows:
            _note_outcomes(gate, schema, table, rows)
            outcomes += _outcome_values(gate, schema, table, rows, "unsealed")
    corrected = {outcome["corrects"] for outcome in outcomes}
    return [outcome | {"stands": outcome["id"] not in corrected} for outcome in outcomes]


def _is_outcome_gone(ledger: Ledger, manifest: Manifest, schema: Schema, row: int) -> bool:
    """Say whether the value of an outcome was erased, or its keys are not here."""
    group = next((column.group for column in schema.columns if column.name == "value"), None)
    try:
        return group is not None and group in erased_groups(ledger, manifest, row)
    except NotFoundError:
        return True


def _note_outcomes(gate: Viewer, schema: Schema, table: pa.Table, rows: list[int]) -> bool:
    """Record that sealed outcomes are shown as far as they are; say whether any is."""
    if not schema.groups:
        return False
    views = gate.views()
    scope = Scope(ids=tuple(table["id"].take(rows).to_pylist()[:ACCESS_IDS_MAX]))
    gate.show("why", schema.groups, len(rows), scope, views)
    return any(views[schema.sensitivity_of(group)] in SHOWN for group in schema.groups)


def _outcome_values(
    gate: Viewer, schema: Schema, table: pa.Table, rows: list[int], proof: str
) -> Iterator[dict[str, Any]]:
    (column,) = (column for column in schema.columns if column.name == "value")
    seen = seen_column(column, gate.views())
    for row in rows:
        is_there = seen.view in SHOWN and "value" in table.column_names
        value = shown_as(python_value(table["value"][row]), seen, gate.pseudonym) if is_there else None
        corrects = table["corrects"][row].as_py() if "corrects" in table.column_names else None
        yield {
            "corrects": None if corrects is None else id_text(corrects),
            "id": id_text(table["id"][row].as_py()),
            "proof": proof,
            "redacted": None if seen.as_it_is else gate.reason(seen.class_, seen.view),
            "time": time_text(table["time"][row].value),
            "value": value,
        }


def _proof(ledger: Ledger, found: Found) -> JsonObject:
    """Say under which checkpoint the record was proven, or that no proof covers it yet."""
    key = "pinned key" if ledger.log.authenticated else "self-consistent, not authenticated"
    if found.place is None:
        return {"key": key, "state": "unsealed"}
    checkpoint = ledger.log.checkpoint()
    return {
        "entry": found.place.position,
        "key": key,
        "origin": checkpoint.origin,
        "root": checkpoint.root.hex(),
        "segment": found.place.manifest.file.name,
        "seq": str(found.place.manifest.first_seq + found.place.row),
        "state": "sealed",
        "stream": found.place.manifest.stream,
        "tree_size": checkpoint.size,
    }


def _plain_struct(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}
