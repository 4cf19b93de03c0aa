"""Which predictions, features and models did these rows reach? From source rows forward, exactly.

Rows reach a prediction directly, by its reference to them, or through groups they were mixed into, however deep. The
answer is counted from the reference columns of the segments, whose bytes are checked against the log first; ids are
read when somebody asks for them.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.id_text import id_texts
from backstory.columns.python_value import python_value
from backstory.errors import NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import records_now
from backstory.ledger.sealed import read_shard
from backstory.lineage.answer import Answer
from backstory.lineage.footing import stands_on
from backstory.lineage.impact_page import PREDICTIONS_SHOWN
from backstory.lineage.page import Page
from backstory.lineage.plain import count_text, plain
from backstory.lineage.reach import Chosen, Reach
from backstory.lineage.reached_people import ReachedPeople
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.registry import Registered, all_versions
from backstory.lineage.scan import Hits, Line, Scan, Way, note_hits
from backstory.lineage.store import note_sealed_positions
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject
from backstory.records.envelope import PREDICTION
from backstory.records.identity import time_text
from backstory.records.names import names_instead
from backstory.records.schema import dataset_columns

_FIELDS = (
    ("id", pa.string()),
    ("time", pa.timestamp("ns", "UTC")),
    ("model", pa.string()),
    ("version", pa.int64()),
    ("via", pa.string()),
    ("position", pa.int64()),
    ("request_id", pa.string()),
)
PREDICTION_SCHEMA = pa.schema(_FIELDS)
"""What an answer says of each prediction, one row for each way it was reached."""


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


@dataclass(frozen=True, kw_only=True)
class Impact(Answer):
    """What rows, a model or a feature reached: counts, and on demand the predictions, cases and people.

    Attributes:
        what: What was asked about, in words.
        source: Name of the source; None where a model or a feature was asked about.
        rows: How many rows were asked about.
        versions: How many of them are of each dataset version, by digest.
        models: Model versions trained on some of the rows.
        features: Features the rows can have changed, with the references they came through.
        counts: How many predictions, models and features.
        lines: How many rows `predictions` has.
        by_model: How many of the predictions are of each model version, as `name:version`; "" where there is none.
        sealed: Segments, and runs of records not in one yet, whose sealed references were left out, as no purpose was
            given to open them; only those that can lead to the rows.
        sealed_models: Model versions whose sealed training rows were not looked at for the same reason.
        left_out: Dataset versions in which the rows could not be looked for, as they lack a column or were erased, by
            digest, and why.
        _shown: The first rows of `predictions`, which are at hand when the archive is closed.
        _found: Reads what was found, from the open archive.
    """

    what: str
    source: str | None
    rows: int
    models: tuple[ReachedModel, ...]
    features: dict[str, tuple[str, ...]]
    counts: dict[str, int]
    versions: dict[str, int]
    by_model: dict[str, int]
    lines: int
    _shown: pa.Table = field(repr=False)
    _found: Found = field(repr=False)
    sealed: int = 0
    sealed_models: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    def batches(self) -> Iterator[pa.Table]:
        """Yield `predictions` a piece at a time, in memory that does not grow with how many there are."""
        return self._found.batches()

    @functools.cached_property
    def predictions(self) -> pa.Table:
        """One row for each way a prediction was reached.

        `id`, `time`, `model`, `version`, `via` (the reference), `position`, `request_id`.
        """
        if self._shown.num_rows == self.lines:
            return self._shown
        return pa.concat_tables([PREDICTION_SCHEMA.empty_table(), *self.batches()])

    def first(self, count: int) -> pa.Table:
        """Return the first rows of `predictions`, without reading more than it takes."""
        found = self._shown
        if found.num_rows < min(count, self.lines):
            found = PREDICTION_SCHEMA.empty_table()
            for batch in self.batches():
                found = pa.concat_tables([found, batch])
                if found.num_rows >= count:
                    break
        return found.slice(0, count)

    @functools.cached_property
    def cases(self) -> list[str]:
        """The ids of the requests the predictions answered, each once; predictions that had none are not among them."""
        return self._found.cases()

    @functools.cached_property
    def subjects(self) -> list[str]:
        """The people the predictions are about, each once; the log then says that they were read.

        The person a prediction was recorded with; where there is none those whom its own rows are about, by the
        `subject` of their source, but nobody of the rows of its groups.

        Raises:
            ForbiddenError: Some are about people, and the archive was not opened with an actor and a purpose.
        """
        return self._found.subjects()

    @functools.cached_property
    def decisions(self) -> dict[Any, int]:
        """How many of the predictions were decided how; sealed decisions are counted with a purpose only."""
        return self._found.decisions()

    def export(self, path: str | Path) -> int:
        """Write `predictions` to a file in constant memory and return how many lines it has.

        Args:
            path: By its ending Parquet (`.parquet`), CSV (`.csv`) or JSON lines (`.jsonl`, `.ndjson`).

        Raises:
            InputError: The file's name has another ending.
            StorageError: It cannot be written.
        """
        from backstory.lineage.impact_export import export_tables

        return export_tables(self._found.ledger.world.disk, Path(path), PREDICTION_SCHEMA, self.batches())

    def to_dict(self, *, predictions: bool = True) -> dict[str, Any]:
        """Return the answer as values JSON has.

        Args:
            predictions: With every prediction, in memory.
        """
        answer = {
            "by_model": self.by_model,
            "counts": self.counts,
            "features": plain(self.features),
            "left_out": self.left_out,
            "models": [asdict(model) for model in self.models],
            "rows": self.rows,
            "sealed": self.sealed,
            "sealed_models": self.sealed_models,
            "source": self.source,
            "versions": self.versions,
            "what": self.what,
        }
        if not predictions:
            return answer
        times = [{"time": time_text(moment.value)} for moment in self.predictions["time"]]
        rest = self.predictions.drop_columns(["time"]).to_pylist()
        return answer | {"predictions": [row | moment for row, moment in zip(rest, times, strict=True)]}

    def __repr__(self) -> str:
        """Return the counts on one line."""
        from backstory.lineage.impact_page import impact_page

        return f"<Impact: {impact_page(self, 0).headline}>"

    def _page(self) -> Page:
        from backstory.lineage.impact_page import impact_page

        return impact_page(self)


class Found:
    """Reads what is to be known of the predictions that were found, as often as it is asked."""

    def __init__(self, ledger: Ledger, gate: Gate, scan: Scan) -> None:
        """Read from an archive; sealed values through a gate."""
        self.ledger = ledger
        self._gate = gate
        self._scan = scan

    def batches(self) -> Iterator[pa.Table]:
        """Yield one row for each way a prediction was reached."""
        versions = {version.digest: version for version in all_versions(self.ledger)}
        for hits in self._scan.hits():
            for line in hits.lines:
                yield _prediction_rows(self.ledger, hits, line, versions)

    def cases(self) -> list[str]:
        """Return the ids of requests, each once, in the order of the records."""
        cases: dict[str, None] = {}
        for hits in self._scan.hits():
            cases |= dict.fromkeys(hits.take(hits.rows(), ["request_id"])["request_id"].unique().to_pylist())
        return [case for case in cases if case is not None]

    def subjects(self) -> list[str]:
        """Return the people, each once.

        Raises:
            ForbiddenError: Some predictions are about people and they may not be read.
        """
        people = ReachedPeople(self.ledger, self._gate)
        return list(dict.fromkeys(subject for hits in self._scan.hits() for subject in people.of(hits)))

    def decisions(self) -> dict[Any, int]:
        """Return how often each decision was made."""
        counted: Counter[Any] = Counter()
        for values, _ in self._values("decision"):
            if values is not None:
                for each in pc.value_counts(values):
                    counted[python_value(each["values"])] += each["counts"].as_py()
        counted.pop(None, None)
        return dict(counted.most_common())

    def _values(self, name: str) -> Iterator[tuple[pa.ChunkedArray | pa.Array | None, int]]:
        """Yield a column's values in what was found, each record once; None and how many where they stay sealed."""
        for manifest, runs in groupby(self._scan.hits(), key=lambda hits: hits.manifest):
            sealed = None
            for hits in runs:
                groups = {c.group for c in hits.schema.columns if c.name == name or c.name.startswith(f"{name}.")}
                hidden = sorted(group for group in groups if group is not None)
                rows = hits.rows()
                if hidden and not self._gate.allows():
                    yield None, len(rows)
                elif groups:
                    if hidden:
                        note_hits(self._gate, hidden, hits, rows)
                    if hidden and manifest is not None and manifest.shard is not None:
                        sealed = read_shard(self.ledger, manifest.shard)[name] if sealed is None else sealed
                        yield sealed.take(pa.array(rows)), 0
                    else:
                        yield hits.take(rows, [name])[name], 0


def impact_of_rows(ledger: Ledger, tracer: Tracer, gate: Gate, source: str, chosen: Chosen) -> Impact:
    """Return what rows of a source reached.

    Args:
        ledger: The archive.
        tracer: Reads its lineage.
        gate: Opens references to people.
        source: Name of the source.
        chosen: The rows asked about.
    """
    reach = Reach(tracer, gate, chosen.masks)
    of_version: dict[str, int] = {}
    for (digest, _), mask in chosen.masks.items():
        of_version[digest] = of_version.get(digest, 0) + int(mask.sum())
    rows = sum(of_version.values())

    def ways(context: JsonObject) -> Iterator[Way]:
        for name, reference in parse_references(context.get("refs")).items():
            reached = reach.of_reference(reference)
            if reached is not None:
                yield Way(via=name, reached=reached)

    def features(context: JsonObject, via: str | None) -> set[str]:
        return set() if via is None else _features_from(tracer, parse_references(context.get("refs"))[via], context)

    counted = _counted(ledger, gate, ways, features)
    models, sealed_models = _reached_models(ledger, tracer, reach, gate, chosen)

    def leads_there(context: str) -> bool:
        return _stands_on(tracer, ledger.document(context), chosen)

    return Impact(
        what=f"{count_text(rows, 'row')} of {source}",
        source=source,
        rows=rows,
        versions=of_version,
        models=models,
        features=counted.features,
        counts=counted.counts(len(models)),
        by_model=counted.by_model,
        lines=counted.lines,
        _shown=counted.shown,
        sealed=counted.scan.count_sealed(leads_there),
        sealed_models=sealed_models,
        left_out=chosen.left_out,
        _found=Found(ledger, gate, counted.scan),
    )


def impact_of_model(ledger: Ledger, gate: Gate, version: Registered) -> Impact:
    """Return what a model version reached: every prediction of it, and the features they had."""

    def ways(context: JsonObject) -> Iterator[Way]:
        if _model_digest(context) == version.digest:
            yield Way(via=None, reached=None)

    counted = _counted(ledger, gate, ways, lambda context, _: set(_columns_of(context)))
    return Impact(
        what=f"model {version.name}:{version.version}",
        source=None,
        rows=0,
        versions={},
        models=(),
        features=counted.features,
        counts=counted.counts(0),
        by_model=counted.by_model,
        lines=counted.lines,
        _shown=counted.shown,
        _found=Found(ledger, gate, counted.scan),
    )


def impact_of_feature(ledger: Ledger, gate: Gate, feature: str) -> Impact:
    """Return what a feature reached: predictions made with a column of that name, and models trained with it.

    Raises:
        NotFoundError: No model and no prediction has it.
    """

    def ways(context: JsonObject) -> Iterator[Way]:
        if feature in _columns_of(context):
            yield Way(via=None, reached=None)

    counted = _counted(ledger, gate, ways, lambda *_: {feature})
    models, names = [], set(counted.features)
    for version in all_versions(ledger):
        training = ledger.document(version.digest).get("training")
        if isinstance(training, dict):
            columns = set(dataset_columns(ledger.document(canonical.text_of(training, "schema"))))
            names |= columns
            if feature in columns:
                rows = canonical.count_of(training, "rows")
                models.append(_reached_model(version, direct=rows, through=0))
    if not models and not counted.features:
        raise NotFoundError(
            f"impact: no model and no prediction has a feature {feature!r}{names_instead(feature, names)}"
        )
    return Impact(
        what=f"feature {feature}",
        source=None,
        rows=0,
        versions={},
        models=tuple(models),
        features={feature: ()},
        counts=counted.counts(len(models)) | {"features": 1},
        by_model=counted.by_model,
        lines=counted.lines,
        _shown=counted.shown,
        _found=Found(ledger, gate, counted.scan),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    """What was counted: see `Impact`."""

    scan: Scan
    by_model: dict[str, int]
    features: dict[str, tuple[str, ...]]
    lines: int
    shown: pa.Table

    def counts(self, models: int) -> dict[str, int]:
        """Return how many predictions, models and features there are."""
        return {"predictions": sum(self.by_model.values()), "models": models, "features": len(self.features)}


def contexts_now(ledger: Ledger) -> list[str]:
    """Return the contexts of all predictions, sealed or not, by their digests."""
    sealed, waiting = records_now(ledger, PREDICTION)
    contexts = {context for _, manifest in sealed for context in manifest.contexts}
    return sorted(
        contexts.union(*({one.hex() for one in table["context"].unique().to_pylist()} for _, table in waiting))
    )


def _counted(
    ledger: Ledger,
    gate: Gate,
    ways: Callable[[JsonObject], Iterator[Way]],
    features: Callable[[JsonObject, str | None], set[str]],
) -> _Count:
    """Count what is reached: the predictions by model, each once, and the features with what they came through."""
    known = functools.cache(lambda digest: tuple(ways(ledger.document(digest))))
    scan = Scan(ledger, gate, known)
    of_context: Counter[str] = Counter()
    seen: set[tuple[str, str | None]] = set()
    lines, shown = 0, PREDICTION_SCHEMA.empty_table()
    versions = {version.digest: version for version in all_versions(ledger)}
    for hits in scan.hits():
        for context, count in hits.counts():
            of_context[context] += count
        seen |= {(line.context, line.via) for line in hits.lines}
        lines += sum(len(line.rows) for line in hits.lines)
        for line in hits.lines:
            if shown.num_rows < PREDICTIONS_SHOWN:
                few = line.head(PREDICTIONS_SHOWN - shown.num_rows)
                shown = pa.concat_tables([shown, _prediction_rows(ledger, hits, few, versions)])
    names = {digest: f"{version.name}:{version.version}" for digest, version in versions.items()}
    by_model: Counter[str] = Counter()
    for context, count in of_context.items():
        by_model[names.get(_model_digest(ledger.document(context)), "")] += count
    through: dict[str, set[str]] = {}
    for digest, via in seen:
        for feature in features(ledger.document(digest), via):
            through.setdefault(feature, set()).update([] if via is None else [via])
    return _Count(
        scan=scan,
        by_model=dict(sorted(by_model.items())),
        features={name: tuple(sorted(via)) for name, via in sorted(through.items())},
        lines=lines,
        shown=shown,
    )


def _prediction_rows(ledger: Ledger, hits: Hits, line: Line, versions: Mapping[str, Registered]) -> pa.Table:
    version = versions.get(_model_digest(ledger.document(line.context)))
    taken = hits.take(line.rows, ["id", "time", "request_id"])
    count = len(line.rows)
    values = (
        id_texts(taken["id"]),
        taken["time"],
        pa.repeat(pa.scalar(version.name if version else None, pa.string()), count),
        pa.repeat(pa.scalar(version.version if version else None, pa.int64()), count),
        pa.repeat(pa.scalar(line.via, pa.string()), count),
        pa.nulls(count, pa.int64()) if line.positions is None else pa.array(line.positions, pa.int64()),
        taken["request_id"],
    )
    return pa.table(dict(zip(PREDICTION_SCHEMA.names, values, strict=True)), schema=PREDICTION_SCHEMA)


def _model_digest(context: JsonObject) -> str:
    model = context.get("model")
    return str(model.get("digest")) if isinstance(model, dict) else ""


def _columns_of(context: JsonObject) -> list[str]:
    """Return the names of the features of a context's records."""
    container = context.get("container")
    columns = container.get("columns") if isinstance(container, dict) else None
    return [str(column) for column in columns] if isinstance(columns, list) else []


def _features_from(tracer: Tracer, reference: Reference, context: JsonObject) -> set[str]:
    """Return features that come through a reference: a source's columns, a group's aggregates, by name."""
    names = set(_columns_of(context))
    if reference.group is not None:
        aggs = tracer.dataset(reference.group).get("aggs")
        return names & set(aggs) if isinstance(aggs, dict) else set()
    own: set[str] = set()
    for part in reference.parts:
        own |= tracer.column_names(part.dataset)
    return names & own


def _stands_on(tracer: Tracer, document: JsonObject, chosen: Chosen) -> bool:
    """Say whether references of a context or a training set can lead to rows that are asked about."""
    parts = stands_on(tracer, parse_references(document.get("refs")))
    return any((part.dataset, part.first) in chosen.masks for part in parts)


def _reached_models(
    ledger: Ledger, tracer: Tracer, reach: Reach, gate: Gate, chosen: Chosen
) -> tuple[tuple[ReachedModel, ...], int]:
    """Return the model versions that were trained on some of the rows, and how many stay sealed that may have been."""
    found: list[ReachedModel] = []
    sealed = 0
    for version in all_versions(ledger):
        training = ledger.document(version.digest).get("training")
        if not isinstance(training, dict):
            continue
        if training.get("personal") is True and not gate.allows():
            sealed += _stands_on(tracer, training, chosen)
            continue
        references = parse_references(training.get("refs"))
        ways = {name: way for name, ref in references.items() if (way := reach.of_reference(ref)) is not None}
        if not ways:
            continue
        note_sealed_positions(gate, "impact", training)
        positions = tracer.training(training)
        direct = through = 0
        for name, reached in ways.items():
            count = int(np.count_nonzero(reached.among(positions[name])))
            direct, through = (direct, max(through, count)) if references[name].group else (max(direct, count), through)
        if direct or through:
            found.append(_reached_model(version, direct=direct, through=through))
    return tuple(found), sealed


def _reached_model(version: Registered, *, direct: int, through: int) -> ReachedModel:
    return ReachedModel(
        name=version.name, version=version.version, digest=version.digest, direct=direct, through_groups=through
    )
