"""Which predictions, features and models did these rows reach? From source rows forward, exactly.

Rows reach a prediction directly, by its reference to them, or through groups they were mixed into, however deep. The
answer is read from the reference columns of the segments; `verify` checks those against the log, a question does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.id_text import id_texts
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import merge_columns, records_now
from backstory.lineage.page import page_text
from backstory.lineage.plain import plain
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.registry import Registered, all_versions
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject
from backstory.records.envelope import PREDICTION
from backstory.records.identity import time_text

if TYPE_CHECKING:
    from rich.panel import Panel

_COLUMNS = ("id", "time", "context", "seq", "stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedModel:
    """A model version trained on some of the rows: how many of them, directly and through groups."""

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
        predictions: One row a prediction reached: `id`, `time`, `model`, `version`, `via` (the reference), `position`.
        models: Model versions trained on some of the rows.
        features: Features the rows can have changed, with the references they came through.
        counts: How many predictions, models and features.
        sealed: Sealed segments that were left out, as no purpose was given to open them.
    """

    source: str
    rows: int
    predictions: pa.Table
    models: tuple[ReachedModel, ...]
    features: dict[str, tuple[str, ...]]
    counts: dict[str, int]
    sealed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the whole answer as values JSON has."""
        times = [{"time": time_text(moment.value)} for moment in self.predictions["time"]]
        rest = self.predictions.drop_columns(["time"]).to_pylist()
        return {
            "counts": self.counts,
            "features": plain(self.features),
            "models": [asdict(model) for model in self.models],
            "predictions": [row | moment for row, moment in zip(rest, times, strict=True)],
            "rows": self.rows,
            "sealed": self.sealed,
            "source": self.source,
        }

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
    datasets: dict[str, np.ndarray]
    """For each dataset version of the source, a mask over its rows."""
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
            asked = self.datasets.get(part.dataset)
            if asked is not None:
                inside = (positions >= part.first) & (positions < part.first + part.rows)
                reached[inside] |= asked[positions[inside] - part.first]
        return reached

    def of_group(self, group: str) -> np.ndarray:
        """Return a mask over the nodes of a group: those that some reached row went into."""
        mask = self.known.get(group)
        if mask is None:
            edges = self.tracer.edges(group)
            mask = np.zeros(len(edges.starts) - 1, bool)
            for name, reference in edges.refs.items():
                if self.can_reach(reference):
                    codes = np.empty(len(edges.order), np.int64)
                    codes[edges.order] = np.repeat(np.arange(len(mask)), np.diff(edges.starts))
                    mask[codes[self.of_reference(reference, edges.positions[name])]] = True
            self.known[group] = mask
        return mask

    def can_reach(self, reference: Reference) -> bool:
        """Say whether a reference can lead to the rows at all."""
        if reference.group is not None:
            return bool(self.of_group(reference.group).any())
        return any(part.dataset in self.datasets for part in reference.parts)


def find_impact(ledger: Ledger, tracer: Tracer, gate: Gate, source: str, datasets: dict[str, np.ndarray]) -> Impact:
    """Return what rows of a source reached.

    Args:
        ledger: The archive.
        tracer: Reads its lineage.
        gate: Opens references to people.
        source: Name of the source.
        datasets: For each dataset version of it a mask over the rows asked about.
    """
    reach = _Reach(tracer, datasets)
    parts: list[pa.Table] = []
    features: dict[str, set[str]] = {}
    sealed = 0
    versions = {version.digest: version for version in all_versions(ledger)}
    for table in _reference_tables(ledger, gate):
        if table is None:
            sealed += 1
        else:
            parts += _hits(ledger, reach, table, versions, features)
    predictions = pa.concat_tables(parts) if parts else _empty()
    models = tuple(_reached_models(ledger, tracer, reach, gate))
    return Impact(
        source=source,
        rows=int(sum(mask.sum() for mask in datasets.values())),
        predictions=predictions,
        models=models,
        features={name: tuple(sorted(via)) for name, via in sorted(features.items())},
        counts={
            "predictions": pc.count_distinct(predictions["id"]).as_py(),
            "models": len(models),
            "features": len(features),
        },
        sealed=sealed,
    )


def _reference_tables(ledger: Ledger, gate: Gate) -> Iterator[pa.Table | None]:
    """Yield id, time, context and `row` of every prediction; None for a run whose references are sealed."""
    sealed, unsealed = records_now(ledger, PREDICTION)
    for _, manifest in sealed:
        reader = ledger.segment(manifest)
        wanted = [name for name in (*_COLUMNS, "row") if name in reader.arrow_schema.names]
        table = reader.read_groups(range(reader.group_count), wanted)
        if manifest.shard is not None:
            if not gate.allows():
                yield None
                continue
            gate.pass_through("impact", ["subject"], manifest.count)
            shard = ledger.vault.read_table(manifest.shard.name)
            table = merge_columns(table, shard.select([name for name in ("row",) if name in shard.column_names]))
        yield table
    for schema, table in unsealed:
        if schema.groups and not gate.allows():
            yield None
        else:
            yield table.select([name for name in (*_COLUMNS, "row") if name in table.column_names])


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
        for name, reference in parse_references(context.get("refs")).items():
            if not reach.can_reach(reference):
                continue
            positions = rows.field(name).fill_null(-2).to_numpy(zero_copy_only=False)
            hit = reach.of_reference(reference, positions) & (numbers == number)
            if hit.any():
                for feature in _features_from(reach.tracer, reference, context):
                    features.setdefault(feature, set()).add(name)
                yield _prediction_rows(table, np.flatnonzero(hit), name, positions, context, versions)


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
            "position": pa.array(positions[hit]),
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
        aggs = tracer.edges(reference.group).document.get("aggs")
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
        positions = tracer.training(training)
        direct = through = 0
        for name, reference in references.items():
            count = int(reach.of_reference(reference, positions[name]).sum())
            direct, through = (direct, max(through, count)) if reference.group else (max(direct, count), through)
        if direct or through:
            yield ReachedModel(
                name=version.name, version=version.version, digest=version.digest, direct=direct, through_groups=through
            )


def source_versions(ledger: Ledger, source: str) -> dict[str, JsonObject]:
    """Return the dataset versions of a source by digest, oldest first, each with its `source.fixed` entry."""
    return {canonical.text_of(entry, "dataset"): entry for entry in ledger.find_entries("source.fixed", source)}
