"""Which predictions, features and models did these rows reach? From source rows forward, exactly.

Rows reach a prediction directly, by its reference to them, or through groups they were mixed into, however deep. The
answer is read from the reference columns of the segments, whose bytes are checked against the log first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.id_text import id_texts
from backstory.columns.seal import pick_columns
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import merge_columns, records_now
from backstory.ledger.sealed import read_shard
from backstory.lineage.page import page_text
from backstory.lineage.plain import plain
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.registry import Registered, all_versions
from backstory.lineage.store import note_sealed_positions
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject
from backstory.records.envelope import PREDICTION
from backstory.records.identity import time_text
from backstory.records.schema import Schema

if TYPE_CHECKING:
    from rich.panel import Panel

_COLUMNS = ("id", "time", "context", "seq", "stream")

Masks: TypeAlias = dict[tuple[str, int], np.ndarray]
"""Rows asked about: for each dataset version, by its digest and where its positions begin, a mask over its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Rows that are asked about.

    Attributes:
        masks: The rows.
        left_out: Dataset versions in which they could not be looked for, by digest, and why.
    """

    masks: Masks
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedModel:
    """A model version trained on some of the rows.

    Attributes:
        name: Name of the model.
        version: Number of the version.
        digest: Its digest.
        direct: How many of its training rows refer to them directly.
        through_groups: How many of its training rows refer to a group they went into.
    """

    name: str
    version: int
    digest: str
    direct: int
    through_groups: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What rows reached.

    Attributes:
        source: Name of the source.
        rows: How many rows were asked about.
        versions: How many of them are of each dataset version, by digest.
        predictions: One row a prediction reached: `id`, `time`, `model`, `version`, `via` (the reference), `position`.
        models: Model versions trained on some of the rows.
        features: Features the rows can have changed, with the references they came through.
        counts: How many predictions, models and features.
        sealed: Segments, and runs of records not in one yet, whose sealed references were left out, as no purpose was
            given to open them.
        left_out: Dataset versions in which the rows could not be looked for, as they lack a column or were erased, by
            digest, and why.
    """

    source: str
    rows: int
    predictions: pa.Table
    models: tuple[ReachedModel, ...]
    features: dict[str, tuple[str, ...]]
    counts: dict[str, int]
    versions: dict[str, int]
    sealed: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole answer as values JSON has."""
        times = [{"time": time_text(moment.value)} for moment in self.predictions["time"]]
        rest = self.predictions.drop_columns(["time"]).to_pylist()
        return {
            "counts": self.counts,
            "features": plain(self.features),
            "left_out": self.left_out,
            "models": [asdict(model) for model in self.models],
            "predictions": [row | moment for row, moment in zip(rest, times, strict=True)],
            "rows": self.rows,
            "sealed": self.sealed,
            "source": self.source,
            "versions": self.versions,
        }

    def __repr__(self) -> str:
        """Return the counts on one line."""
        from backstory.lineage.impact_page import impact_page

        return f"<Impact: {impact_page(self).headline}>"

    def __str__(self) -> str:
        """Return the answer as text: counts, then models, features and the first predictions."""
        from backstory.lineage.impact_page import impact_page

        return page_text(impact_page(self))

    def __rich__(self) -> Panel:
        """Return the answer for a terminal."""
        from backstory.lineage.impact_page import impact_page
        from backstory.lineage.page_rich import page_rich

        return page_rich(impact_page(self))

    def _repr_html_(self) -> str:
        """Return the answer for a notebook."""
        from backstory.lineage.impact_page import impact_page
        from backstory.lineage.page_html import page_html

        return page_html(impact_page(self))


@dataclass(slots=True)
class _Reach:
    """Positions reached so far, by what they are positions in; remembers what was asked before."""

    tracer: Tracer
    gate: Gate
    datasets: Masks
    known: dict[str, np.ndarray] = field(default_factory=dict)

    def of_reference(self, reference: Reference, positions: np.ndarray) -> np.ndarray:
        """Return which of some positions of a reference are reached."""
        reached = np.zeros(len(positions), bool)
        if reference.group is not None:
            mask = self.of_group(reference.group)
            inside = positions >= 0
            reached[inside] = mask[positions[inside]]
            return reached
        for part in reference.parts:
            asked = self.datasets.get((part.dataset, part.first))
            if asked is not None:
                inside = (positions >= part.first) & (positions < part.first + part.rows)
                reached[inside] |= asked[positions[inside] - part.first]
        return reached

    def of_group(self, group: str) -> np.ndarray:
        """Return a mask over the nodes of a group: those that some reached row went into.

        A group that is sealed and may not be opened reaches nothing: nor may the references of records to it.
        """
        mask = self.known.get(group)
        if mask is None:
            document = self.tracer.dataset(group)
            mask = np.zeros(canonical.count_of(document, "groups"), bool)
            refs = {name: ref for name, ref in parse_references(document.get("refs")).items() if self.can_reach(ref)}
            if refs and ("sealed_edges" not in document or self.gate.allows()):
                note_sealed_positions(self.gate, "impact", document)
                edges = self.tracer.edges(group)
                codes = np.empty(len(edges.order), np.int64)
                codes[edges.order] = np.repeat(np.arange(len(mask)), np.diff(edges.starts))
                for name, reference in refs.items():
                    mask[codes[self.of_reference(reference, edges.positions[name])]] = True
            self.known[group] = mask
        return mask

    def can_reach(self, reference: Reference) -> bool:
        """Say whether a reference can lead to the rows at all."""
        if reference.group is not None:
            return bool(self.of_group(reference.group).any())
        return any((part.dataset, part.first) in self.datasets for part in reference.parts)


def find_impact(ledger: Ledger, tracer: Tracer, gate: Gate, source: str, chosen: Chosen) -> Impact:
    """Return what rows of a source reached.

    Args:
        ledger: The archive.
        tracer: Reads its lineage.
        gate: Opens references to people.
        source: Name of the source.
        chosen: The rows asked about.
    """
    reach = _Reach(tracer, gate, chosen.masks)
    parts: list[pa.Table] = []
    features: dict[str, set[str]] = {}
    sealed = 0
    versions = {version.digest: version for version in all_versions(ledger)}
    for table, left_sealed in _reference_tables(ledger, gate):
        sealed += left_sealed
        parts += _hits(ledger, reach, table, versions, features)
    predictions = pa.concat_tables(parts) if parts else _empty()
    of_version: dict[str, int] = {}
    for (digest, _), mask in chosen.masks.items():
        of_version[digest] = of_version.get(digest, 0) + int(mask.sum())
    models = tuple(_reached_models(ledger, tracer, reach, gate))
    return Impact(
        source=source,
        rows=sum(of_version.values()),
        versions=of_version,
        predictions=predictions,
        models=models,
        features={name: tuple(sorted(via)) for name, via in sorted(features.items())},
        counts={
            "predictions": pc.count_distinct(predictions["id"]).as_py(),
            "models": len(models),
            "features": len(features),
        },
        sealed=sealed,
        left_out=chosen.left_out,
    )


def _reference_tables(ledger: Ledger, gate: Gate) -> Iterator[tuple[pa.Table, bool]]:
    """Yield id, time, context and `row` of all predictions, in runs, and whether some of a run's `row` stays sealed."""
    sealed, unsealed = records_now(ledger, PREDICTION)
    for _, manifest in sealed:
        reader = ledger.segment(manifest, checked=True)
        table = reader.read_groups(range(reader.group_count), _wanted(reader.arrow_schema.names))
        groups = _reference_groups(ledger.schema(manifest.schema)) if manifest.shard is not None else []
        if groups and manifest.shard is not None and gate.allows():
            gate.pass_through("impact", groups, manifest.count)
            table, groups = merge_columns(table, read_shard(ledger, manifest.shard).select(["row"])), []
        yield table, bool(groups)
    for schema, whole in unsealed:
        table, groups = whole, _reference_groups(schema)
        if groups and gate.allows():
            gate.pass_through("impact", groups, table.num_rows)
            groups = []
        elif groups:
            table = pick_columns(table, [column.name for column in schema.open_columns])
        yield table.select(_wanted(table.column_names)), bool(groups)


def _wanted(present: list[str]) -> list[str]:
    return [name for name in (*_COLUMNS, "row") if name in present]


def _reference_groups(schema: Schema) -> list[str]:
    """Return the sealed groups that hold references; those about the weather at a person's flight are open."""
    return sorted({c.group for c in schema.columns if c.group is not None and c.name.startswith("row.")})


def _hits(
    ledger: Ledger, reach: _Reach, table: pa.Table, versions: dict[str, Registered], features: dict[str, set[str]]
) -> Iterator[pa.Table]:
    if "row" not in table.column_names or not table.num_rows:
        return
    rows = table["row"].combine_chunks()
    contexts = table["context"].combine_chunks().dictionary_encode()
    numbers = contexts.indices.to_numpy()
    for number, digest in enumerate(contexts.dictionary.to_pylist()):
        context = ledger.document(digest.hex())
        of_context = np.flatnonzero(numbers == number)  # a position means nothing under another context's references
        for name, reference in parse_references(context.get("refs")).items():
            if rows.type.get_field_index(name) < 0 or not reach.can_reach(reference):
                continue
            positions = rows.field(name).fill_null(-2).to_numpy(zero_copy_only=False)[of_context]
            hit = reach.of_reference(reference, positions)
            if hit.any():
                for feature in _features_from(reach.tracer, reference, context):
                    features.setdefault(feature, set()).add(name)
                yield _prediction_rows(table, of_context[hit], name, positions[hit], context, versions)


def _prediction_rows(
    table: pa.Table,
    hit: np.ndarray,
    name: str,
    positions: np.ndarray,
    context: JsonObject,
    versions: dict[str, Registered],
) -> pa.Table:
    taken = table.select(["id", "time"]).take(pa.array(hit))
    model = context.get("model")
    version = versions.get(str(model.get("digest"))) if isinstance(model, dict) else None
    count = len(hit)
    return pa.table(
        {
            "id": id_texts(taken["id"]),
            "time": taken["time"].combine_chunks(),
            "model": pa.repeat(pa.scalar(version.name if version else None, pa.string()), count),
            "version": pa.repeat(pa.scalar(version.version if version else None, pa.int64()), count),
            "via": pa.repeat(name, count),
            "position": pa.array(positions),
        }
    )


def _empty() -> pa.Table:
    fields = [("id", pa.string()), ("time", pa.timestamp("ns", "UTC")), ("model", pa.string())]
    return pa.schema([*fields, ("version", pa.int64()), ("via", pa.string()), ("position", pa.int64())]).empty_table()


def _features_from(tracer: Tracer, reference: Reference, context: JsonObject) -> set[str]:
    """Return features that come through a reference: a source's columns, a group's aggregates, by name."""
    container = context.get("container")
    columns = container.get("columns") if isinstance(container, dict) else None
    names = {str(column) for column in columns} if isinstance(columns, list) else set()
    if reference.group is not None:
        aggs = tracer.dataset(reference.group).get("aggs")
        return names & set(aggs) if isinstance(aggs, dict) else set()
    own: set[str] = set()
    for part in reference.parts:
        own |= tracer.column_names(part.dataset)
    return names & own


def _reached_models(ledger: Ledger, tracer: Tracer, reach: _Reach, gate: Gate) -> Iterator[ReachedModel]:
    """Yield the model versions that were trained on some of the rows."""
    for version in all_versions(ledger):
        training = ledger.document(version.digest).get("training")
        if not isinstance(training, dict):
            continue
        if training.get("personal") is True and not gate.allows():
            continue
        references = parse_references(training.get("refs"))
        if not any(reach.can_reach(reference) for reference in references.values()):
            continue
        note_sealed_positions(gate, "impact", training)
        positions = tracer.training(training)
        direct = through = 0
        for name, reference in references.items():
            count = int(reach.of_reference(reference, positions[name]).sum())
            direct, through = (direct, max(through, count)) if reference.group else (max(direct, count), through)
        if direct or through:
            yield ReachedModel(
                name=version.name, version=version.version, digest=version.digest, direct=direct, through_groups=through
            )
