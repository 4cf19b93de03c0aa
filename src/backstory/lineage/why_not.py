"""Why a row is not there: dropped by which step, left out of which training set, or used after all.

A step counts for a model where every row of the source that the model was trained on came out of it: only then can the
row have been dropped on the way to that model. Where no such step dropped a row it is said to be left out, not why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from backstory.errors import ForbiddenError, InputError, NotFoundError, QueryError
from backstory.frames.row_set import RowSet
from backstory.ledger.ledger import Ledger
from backstory.lineage.answer import Answer
from backstory.lineage.footing import Footing, stands_on
from backstory.lineage.page import Page
from backstory.lineage.reach import Chosen
from backstory.lineage.reference import Part, parse_references
from backstory.lineage.registry import Registered, all_versions
from backstory.lineage.rows import Rows, listed_keys, select_rows
from backstory.lineage.step_store import KeptStep, read_step, step_references
from backstory.lineage.store import note_sealed_positions
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access import About, Gate, Scope
from backstory.records.canonical import JsonObject

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUESTION = "why-not"

Verdict: TypeAlias = Literal["used", "through-groups", "dropped", "left-out", "other-version"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropping:
    """A step that dropped some of the rows.

    Attributes:
        name: The step's name.
        digest: Digest of its document.
        function: The function's qualified name.
        code: Digest of the function's text.
        commit: Commit of the code that ran; None where it was in no repository.
        grade: How sure the step's edges are.
        rows: How many of the rows it dropped.
    """

    name: str
    digest: str
    function: str
    code: str
    commit: str | None
    grade: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVerdict:
    """What became of the rows on their way to one model version.

    Attributes:
        name: Name of the model.
        version: Number of the version.
        digest: Its digest.
        used: How many rows it was trained on.
        through_groups: How many it was not trained on, but went into groups that its training rows refer to.
        dropped: How many were dropped by a step all its training rows of the source came out of.
        left_out: How many no such step dropped, and are nevertheless not in its training set.
        other_version: How many are of a dataset version that it was not trained on.
    """

    name: str
    version: int
    digest: str
    used: int
    through_groups: int
    dropped: int
    left_out: int
    other_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyNot(Answer):
    """Why rows are not there.

    Attributes:
        source: Name of the source.
        rows: How many rows were found and asked about.
        missing: Which of the keys asked about no fixed version has, counted from 0.
        models: For each model version trained on rows of the source, what became of them.
        steps: The steps that dropped some of them.
        verdicts: A row for each row and model: `dataset`, `position`, `model`, `version`, `verdict`, and `step`: which
            dropped it, or which of those recorded it came out of last. Without a model where none was trained on it.
        sealed: How many models and steps were not looked at, as their rows are sealed and no purpose was given.
        left_out: Dataset versions in which the rows could not be looked for, by digest, and why.
    """

    source: str
    rows: int
    missing: tuple[int, ...]
    models: tuple[ModelVerdict, ...]
    steps: tuple[Dropping, ...]
    verdicts: pa.Table
    sealed: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole answer as values JSON has."""
        return {
            "left_out": self.left_out,
            "missing": list(self.missing),
            "models": [asdict(model) for model in self.models],
            "rows": self.rows,
            "sealed": self.sealed,
            "source": self.source,
            "steps": [asdict(step) for step in self.steps],
            "verdicts": self.verdicts.to_pylist(),
        }

    def __repr__(self) -> str:
        """Return the answer on one line."""
        from backstory.lineage.why_not_page import why_not_page

        return f"<WhyNot: {why_not_page(self).headline}>"

    def _page(self) -> Page:
        from backstory.lineage.why_not_page import why_not_page

        return why_not_page(self)


_SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("position", pa.int64()),
        ("model", pa.string()),
        ("version", pa.int64()),
        ("verdict", pa.string()),
        ("step", pa.string()),
    ]
)


def explain_absence(
    ledger: Ledger,
    tracer: Tracer,
    gate: Gate,
    source: str,
    *,
    rows: Rows | None,
    keys: Any,
    where: str | None,
    version: str | None,
    model: Registered | None,
) -> WhyNot:
    """Return why rows of a source are not in training sets; see `Archive.why_not`.

    Raises:
        NotFoundError: No such source or version, no row fits, or a position is of no row.
        QueryError: Not exactly one of rows, keys and where, or a malformed one.
        ForbiddenError: The source or the model is about people and no purpose was given.
        InputError: The model was registered without rows.
    """
    chosen, missing = _choose(ledger, tracer, gate, source, rows=rows, keys=keys, where=where, version=version)
    asked = {
        Part(dataset=dataset, first=first, rows=len(mask)): np.flatnonzero(mask)
        for (dataset, first), mask in chosen.masks.items()
    }
    steps, sealed = _steps_of(ledger, tracer, gate, set(asked))
    verdicts: list[pa.Table] = []
    models: list[ModelVerdict] = []
    candidates = [model] if model is not None else all_versions(ledger)
    of_source = {Part(dataset=d, first=f, rows=r) for d, f, r in _parts_of(ledger, source)}
    for one in candidates if asked else ():
        training = ledger.document(one.digest).get("training")
        if model is not None and not isinstance(training, dict):
            raise InputError(
                f"{QUESTION}: expected a model that was registered with rows=, got {one.name}:{one.version}"
            )
        parts = stands_on(tracer, parse_references(training.get("refs"))) if isinstance(training, dict) else set()
        if model is None and of_source.isdisjoint(parts):
            continue
        if model is None and isinstance(training, dict) and training.get("personal") is True and not gate.allows():
            sealed += 1
            continue
        footing = Footing(tracer, gate, QUESTION)
        if isinstance(training, dict) and not of_source.isdisjoint(parts):
            footing.add_training(training)
        tables = [_of_model(one, part, wanted, footing, steps) for part, wanted in asked.items()]
        verdicts += tables
        models.append(_counted(one, tables))
    if not models:
        verdicts = [_without_model(part, wanted, steps) for part, wanted in asked.items()]
    return WhyNot(
        source=source,
        rows=sum(len(wanted) for wanted in asked.values()),
        missing=missing,
        models=tuple(models),
        steps=tuple(_droppings(steps, asked)),
        verdicts=pa.concat_tables(verdicts) if verdicts else _SCHEMA.empty_table(),
        sealed=sealed,
        left_out=chosen.left_out,
    )


@dataclass(frozen=True, slots=True)
class _Asking:
    """The gate, told that it is this question that reads."""

    gate: Gate

    def allows(self, groups: Sequence[str] | None = None) -> bool:
        return self.gate.allows(groups)

    def lacking(self, groups: Sequence[str] | None = None) -> str:
        return self.gate.lacking(groups)

    def pass_through(self, question: str, groups: Sequence[str], records: int, scope: Scope | None = None) -> None:  # noqa: ARG002
        self.gate.pass_through(QUESTION, groups, records, scope)

    def require_open(self, question: str, classes: Sequence[str] = ("D0", "D1", "D2")) -> None:  # noqa: ARG002
        self.gate.require_open(QUESTION, classes)

    @property
    def bound_subject(self) -> str | None:
        return self.gate.bound_subject

    def within(self, about: About) -> _Asking:
        return _Asking(self.gate.within(about))


def _choose(
    ledger: Ledger, tracer: Tracer, gate: Gate, source: str, *, keys: Any, **choice: Any
) -> tuple[Chosen, tuple[int, ...]]:
    """Return the rows asked about, and which of the keys no version has."""
    asking = _Asking(gate)
    try:
        return select_rows(ledger, tracer, asking, source, keys=keys, **choice), ()
    except (ForbiddenError, NotFoundError, QueryError) as error:
        missing = error.details.get("missing")
        if not isinstance(missing, list):
            said = str(error).replace("impact: ", f"{QUESTION}: ", 1)
            raise type(error)(said, **error.details) from None
    found = [key for number, key in enumerate(listed_keys(keys)) if number not in set(missing)]
    if not found:
        return Chosen(masks={}), tuple(missing)
    return select_rows(ledger, tracer, asking, source, keys=found, **choice), tuple(missing)


def _parts_of(ledger: Ledger, source: str) -> Iterator[tuple[str, int, int]]:
    for entry in ledger.find_entries("source.fixed", source):
        yield (
            canonical.text_of(entry, "dataset"),
            canonical.count_of(entry, "first"),
            canonical.count_of(entry, "rows"),
        )


def _steps_of(
    ledger: Ledger, tracer: Tracer, gate: Gate, parts: set[Part]
) -> tuple[dict[Part, list[tuple[KeptStep, str]]], int]:
    """Return the steps that worked on each part, oldest first, with their name for it; and how many stay sealed."""
    found: dict[Part, list[tuple[KeptStep, str]]] = {part: [] for part in parts}
    sealed = 0
    digests = dict.fromkeys(canonical.text_of(entry, "step") for entry in ledger.find_entries("step.recorded"))
    for digest in digests:
        document = ledger.document(digest)
        names = {part: name for name, ref in step_references(document).items() for part in ref.parts if part in parts}
        if names and "sealed_edges" in document and not gate.allows():
            sealed += 1
        elif names:
            note_sealed_positions(gate, QUESTION, document)
            table = tracer.positions(document) if "sealed_edges" in document else None
            step = read_step(ledger, digest, table)
            for part, name in names.items():
                found[part].append((step, name))
    return found, sealed


def _of_model(
    model: Registered,
    part: Part,
    wanted: NDArray[np.int64],
    footing: Footing,
    steps: dict[Part, list[tuple[KeptStep, str]]],
) -> pa.Table:
    """Return the verdicts on rows of one part for one model."""
    positions = wanted + part.first
    direct, through = footing.direct.get(part), footing.through.get(part)
    if direct is None and through is None:
        return _table(part, positions, model, np.full(len(wanted), "other-version", object), None)
    verdict = np.full(len(wanted), "left-out", object)
    step = np.full(len(wanted), None, object)
    used = direct if direct is not None and direct.any() else through
    trained = RowSet.of_mask(used, part.first) if used is not None else RowSet.of_range(0, 0)
    for kept, name in steps[part]:
        if name not in kept.dropped or not trained <= kept.rows_in[name] - kept.dropped[name]:
            continue
        dropped = _among(kept.dropped[name], positions)
        is_first = dropped & (verdict != "dropped")
        verdict[is_first] = "dropped"
        came_out = _among(kept.rows_in[name], positions) & ~dropped & (verdict != "dropped")
        step[is_first | came_out] = kept.name
    if through is not None:
        verdict[through[wanted]] = "through-groups"
    if direct is not None:
        verdict[direct[wanted]] = "used"
    step[(verdict == "used") | (verdict == "through-groups")] = None
    return _table(part, positions, model, verdict, step)


def _without_model(part: Part, wanted: NDArray[np.int64], steps: dict[Part, list[tuple[KeptStep, str]]]) -> pa.Table:
    """Return the verdicts on rows that no model was trained on: whether a step dropped them."""
    positions = wanted + part.first
    verdict = np.full(len(wanted), "left-out", object)
    step = np.full(len(wanted), None, object)
    for kept, name in steps[part]:
        if name in kept.dropped:
            dropped = _among(kept.dropped[name], positions) & (verdict != "dropped")
            verdict[dropped], step[dropped] = "dropped", kept.name
    return _table(part, positions, None, verdict, step)


def _among(rows: RowSet, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of some positions, ascending, are in a set."""
    asked = RowSet.of_positions(positions)
    return np.isin(positions, (rows & asked).positions(), assume_unique=True)


def _table(
    part: Part,
    positions: NDArray[np.int64],
    model: Registered | None,
    verdict: NDArray[np.object_],
    step: NDArray[np.object_] | None,
) -> pa.Table:
    count = len(positions)
    columns = {
        "dataset": pa.repeat(part.dataset, count),
        "position": pa.array(positions),
        "model": pa.repeat(pa.scalar(model and model.name, pa.string()), count),
        "version": pa.repeat(pa.scalar(model and model.version, pa.int64()), count),
        "verdict": pa.array(verdict, pa.string()),
        "step": pa.nulls(count, pa.string()) if step is None else pa.array(step, pa.string()),
    }
    return pa.table(columns, _SCHEMA)


def _counted(model: Registered, tables: list[pa.Table]) -> ModelVerdict:
    found = [verdict for table in tables for verdict in table["verdict"].to_pylist()]
    return ModelVerdict(
        name=model.name,
        version=model.version,
        digest=model.digest,
        used=found.count("used"),
        through_groups=found.count("through-groups"),
        dropped=found.count("dropped"),
        left_out=found.count("left-out"),
        other_version=found.count("other-version"),
    )


def _droppings(
    steps: dict[Part, list[tuple[KeptStep, str]]], asked: dict[Part, NDArray[np.int64]]
) -> Iterator[Dropping]:
    """Yield the steps that dropped some of the rows."""
    rows: dict[str, int] = {}
    documents: dict[str, JsonObject] = {}
    for part, of_part in steps.items():
        wanted = RowSet.of_positions(asked[part] + part.first)
        for kept, name in of_part:
            documents[kept.digest] = kept.document
            rows[kept.digest] = rows.get(kept.digest, 0) + len(wanted & kept.dropped.get(name, RowSet.of_range(0, 0)))
    for digest, document in documents.items():
        code = document.get("code")
        commit = code.get("commit") if isinstance(code, dict) else None
        if rows[digest] and isinstance(code, dict):
            yield Dropping(
                name=canonical.text_of(document, "name"),
                digest=digest,
                function=canonical.text_of(code, "function"),
                code=canonical.text_of(code, "digest"),
                commit=commit if isinstance(commit, str) else None,
                grade=canonical.text_of(document, "grade"),
                rows=rows[digest],
            )
