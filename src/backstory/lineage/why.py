"""Why did the model say this? From one prediction to its rows, features, model, code and proof."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.python_value import python_rows, python_value
from backstory.columns.seal import pick_columns
from backstory.frames.watch import flags_of
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import Found, records_now
from backstory.ledger.sealed import open_rows
from backstory.lineage.deployments import knows_deployments, served_by
from backstory.lineage.feature_story import tell_features
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.registry import determinism_of, find_version
from backstory.lineage.store import note_sealed_positions
from backstory.lineage.story import RowStory, Story
from backstory.lineage.trace import Tracer
from backstory.models.determinism import Determinism
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject
from backstory.records.envelope import NO_ROW, OUTCOME
from backstory.records.identity import time_text

SAMPLE_ROWS = 5
"""Rows of a group that a story names; how many there are it always says."""


def tell_story(ledger: Ledger, tracer: Tracer, gate: Gate, found: Found) -> Story:
    """Return the backstory of a prediction.

    Sealed values are opened only through the gate; without it the story says what is sealed.

    Raises:
        VerificationError: Something the prediction refers to was changed.
        NotFoundError: Something it refers to is gone.
    """
    record, sealed = opened_record(ledger, gate, found, "why")
    context = ledger.document(record["context"].hex())
    references = parse_references(context.get("refs"))
    environment = context.get("environment")
    features = _plain_struct(record.get("feature"))
    positions = record.get("row") or {}
    model = _model_document(ledger, context)
    rows = [
        _with_contracts(tracer, _row_story(tracer, gate, name, reference, positions, tuple(features)), reference)
        for name, reference in references.items()
    ]
    return Story(
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
        classes={group: found.schema.sensitivity_of(group) for group in sealed},
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


def opened_record(ledger: Ledger, gate: Gate, found: Found, question: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a record's values, with its sealed groups if the gate lets them through, and the groups left sealed."""
    table, schema = found.table, found.schema
    if not schema.groups:
        return python_rows(table)[0], ()
    if not gate.allows():
        if found.place is None:  # the spool holds everything; show what the segment will show
            table = pick_columns(table, [column.name for column in schema.open_columns])
        return python_rows(table)[0], schema.groups
    gate.pass_through(question, schema.groups, 1)
    if found.place is None or found.place.manifest.shard is None:
        return python_rows(table)[0], ()
    values = open_rows(ledger, found.place.manifest, found.place.row, table)
    opened = python_rows(table)[0]
    for name, value in python_rows(values)[0].items():
        opened[name] = {**opened[name], **value} if isinstance(opened.get(name), dict) else value
    return opened, ()


def _model_document(ledger: Ledger, context: JsonObject) -> JsonObject | None:
    model = context.get("model")
    if not isinstance(model, dict):
        return None
    return {**ledger.document(canonical.text_of(model, "digest")), **model}


def _row_story(
    tracer: Tracer, gate: Gate, name: str, reference: Reference, positions: dict[str, Any], features: tuple[str, ...]
) -> RowStory:
    kind = "source" if reference.group is None else "group"
    if reference.personal and (name not in positions or not gate.allows()):
        return RowStory(reference=name, kind=kind, grade=reference.grade, state="sealed")
    position = positions.get(name)
    if position is None:
        return RowStory(reference=name, kind=kind, grade="broken", state="broken")
    if position == NO_ROW:
        return RowStory(reference=name, kind=kind, grade=reference.grade, state="no row")
    if reference.group is not None:
        note_sealed_positions(gate, "why", tracer.dataset(reference.group))
        return _group_story(tracer, gate, name, reference, reference.group, position, features)
    part = reference.part_of(position)
    document = tracer.dataset(part.dataset)
    if reference.personal:
        gate.pass_through("why", ["source"], 1)
    values = python_rows(tracer.row(part, position))[0]
    keys = document.get("key")
    return RowStory(
        reference=name,
        kind=kind,
        grade=reference.grade,
        state="row",
        position=position,
        digest=part.dataset,
        key={str(key): values[str(key)] for key in keys} if isinstance(keys, list) else {},
        values=values,
        features=tuple(feature for feature in features if feature in values),
    )


def _with_contracts(tracer: Tracer, row: RowStory, reference: Reference) -> RowStory:
    """Return a row's story with the verdicts on the data it is from; of a group, all that any of its rows is from."""
    if row.state in {"broken", "no row"}:
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
    tracer: Tracer, gate: Gate, name: str, reference: Reference, digest: str, number: int, features: tuple[str, ...]
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
        key=_group_key(tracer, gate, edges.refs, present, [str(key) for key in by] if isinstance(by, list) else []),
        members={ref: len(rows) for ref, rows in present.items()},
        sample={ref: rows[:SAMPLE_ROWS].tolist() for ref, rows in present.items()},
        features=tuple(feature for feature in features if isinstance(aggs, dict) and feature in aggs),
    )


def _group_key(
    tracer: Tracer, gate: Gate, refs: dict[str, Reference], members: dict[str, Any], by: list[str]
) -> dict[str, Any]:
    """Return the group's key values as its first member row has them, where a source has all of them.

    A list is no key: rows were made of it, and which of its values is this group's the row does not say.
    """
    for ref, rows in members.items():
        if refs[ref].group is None and len(rows):
            if refs[ref].personal:
                gate.pass_through("why", ["source"], 1)
            row = tracer.row(refs[ref].part_of(int(rows[0])), int(rows[0]))
            if set(by) <= {field.name for field in row.schema if not pa.types.is_nested(field.type)}:
                return python_rows(row.select(by))[0]
    return {}


def _outcomes(ledger: Ledger, gate: Gate, found: Found) -> list[dict[str, Any]]:
    """Return what was recorded later about a prediction, oldest first."""
    wanted = pa.scalar(found.table["id"][0].as_py(), pa.large_binary())
    outcomes = []
    sealed, unsealed = records_now(ledger, OUTCOME)
    for _, manifest in sealed:
        if manifest.last_id < found.table["id"][0].as_py().hex():
            continue
        reader = ledger.segment(manifest, checked=True)
        table = reader.read_groups(range(reader.group_count))
        mask = pc.equal(table["of"].cast(pa.large_binary()), wanted)
        rows = pc.indices_nonzero(mask).to_pylist()
        values, begin = (table["value"] if "value" in table.column_names else None), 0
        if rows and values is None and manifest.shard and gate.allows():
            gate.pass_through("why", ledger.schema(manifest.schema).groups, len(rows))
            begin = rows[0]
            values = open_rows(ledger, manifest, begin, table.slice(begin, rows[-1] - begin + 1))["value"]
        for row in rows:
            value = None if values is None else python_value(values[row - begin])
            outcomes.append({"time": time_text(table["time"][row].value), "value": value, "proof": "sealed"})
    for schema, table in unsealed:
        rows = pc.indices_nonzero(pc.equal(table["of"].cast(pa.large_binary()), wanted)).to_pylist()
        if rows and schema.groups and gate.allows():
            gate.pass_through("why", schema.groups, len(rows))
        for row in rows:
            value = None if schema.groups and not gate.allows() else python_value(table["value"][row])
            outcomes.append({"time": time_text(table["time"][row].value), "value": value, "proof": "unsealed"})
    return outcomes


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
