"""Predictions with their sealed values, as far as whoever asks may see them: by person, by model, by time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.seal import merge_columns, pick_columns
from backstory.ledger.ledger import Ledger
from backstory.ledger.people_index import find_people_rows
from backstory.ledger.read import records_now
from backstory.ledger.sealed import open_rows
from backstory.lineage.hits import Hits
from backstory.lineage.registry import Registered
from backstory.lineage.search import flat_records
from backstory.lineage.search_shown import masked_table, redacted_columns
from backstory.records import canonical
from backstory.records.access import SHOWN, About, Scope, Viewer, Views
from backstory.records.envelope import PREDICTION
from backstory.records.limits import ACCESS_IDS_MAX
from backstory.records.manifest import Manifest
from backstory.records.redaction import SUBJECT, Redaction
from backstory.records.schema import Schema

QUESTION = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which predictions are asked for.

    Attributes:
        subject: About this person; None for anybody.
        model: Of this version, or, if `any_version`, of this model; None for any.
        any_version: Whether all versions of the model are meant.
        since: Recorded at or after this moment, in nanoseconds since 1970; None for any.
        until: Recorded before.
    """

    subject: str | None = None
    model: Registered | None = None
    any_version: bool = False
    since: int | None = None
    until: int | None = None

    def is_of(self, context: canonical.JsonObject) -> bool:
        """Say whether a context is of the model."""
        named = context.get("model")
        if self.model is None:
            return True
        key = "name" if self.any_version else "digest"
        return isinstance(named, dict) and named.get(key) == getattr(self.model, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Records of one place.

    Attributes:
        manifest: The manifest of their segment; None while they wait in the spool.
        schema: Their schema.
        table: All records there: what the segment has of them, all columns in the spool.
        rows: Those that are meant, ascending.
    """

    manifest: Manifest | None
    schema: Schema
    table: pa.Table
    rows: np.ndarray


def find_predictions(ledger: Ledger, gate: Viewer, wanted: Wanted, limit: int | None) -> Hits:
    """Return predictions, oldest first.

    Args:
        ledger: The archive.
        gate: Decides how they are seen, and records that they are.
        wanted: Which.
        limit: How many at most; None for all.

    Raises:
        ForbiddenError: A person is named, and whom predictions are about may not be seen; or none may be seen at all.
        StorageError: A segment cannot be read.
        VerificationError: Records or their sealed values were changed.
    """
    parts: list[tuple[pa.Table, Schema]] = []
    redacted: dict[str, Redaction] = {}
    total = hidden = 0
    for run in _runs(ledger, wanted):
        for views, rows in _by_views(ledger, gate, run, wanted):
            if views["D0"] != "clear" or (wanted.subject is not None and views["D3"] not in SHOWN):
                hidden += len(rows)
                continue
            total += len(rows)
            parts.append((_shown(ledger, gate, run, rows, views), run.schema))
            redacted.update((one.field, one) for one in redacted_columns(gate, run.schema.columns, views))
    if not total:
        _insist_may_ask(gate, wanted, hidden)
    return Hits(total=total, not_compared=0, parts=parts, limit=limit, redacted=tuple(redacted.values()))


def _insist_may_ask(gate: Viewer, wanted: Wanted, hidden: int) -> None:
    """Refuse where nothing is shown to whoever may not see it, whether or not there is anything.

    Raises:
        ForbiddenError: They may not; the refusal is recorded.
    """
    if hidden:
        gate.require_open(QUESTION, ("D0",))
    if wanted.subject is not None and gate.views(About(subject=lambda: wanted.subject))["D3"] not in SHOWN:
        gate.pass_through(QUESTION, ["subject"], 0)


def _runs(ledger: Ledger, wanted: Wanted) -> Iterator[_Run]:
    """Yield the records that fit, place by place."""
    sealed, waiting = records_now(ledger, PREDICTION)
    theirs = None
    if wanted.subject is not None:
        found = find_people_rows(ledger, wanted.subject)
        theirs = {(manifest.stream, manifest.first_seq): rows for manifest, rows in found}
    for _, manifest in sealed:
        own = None if theirs is None else theirs.get((manifest.stream, manifest.first_seq))
        if theirs is not None and own is None:
            continue
        if not any(wanted.is_of(ledger.document(context)) for context in manifest.contexts):
            continue
        reader = ledger.segment(manifest, checked=True)
        table = reader.read_groups(range(reader.group_count))
        rows = _fitting(ledger, table, wanted)
        rows = rows if own is None else np.intersect1d(rows, own)
        if len(rows):
            yield _Run(manifest=manifest, schema=ledger.schema(manifest.schema), table=table, rows=rows)
    for schema, table in waiting:
        rows = _fitting(ledger, table, wanted)
        if wanted.subject is not None:
            there = SUBJECT in table.column_names
            same = (
                pc.equal(table[SUBJECT].cast(pa.string()), wanted.subject)
                if there
                else pa.nulls(len(table), pa.bool_())
            )
            rows = np.intersect1d(rows, pc.indices_nonzero(pc.fill_null(same, fill_value=False)).to_numpy())
        if len(rows):
            yield _Run(manifest=None, schema=schema, table=table, rows=rows)


def _fitting(ledger: Ledger, table: pa.Table, wanted: Wanted) -> np.ndarray:
    """Return the rows of a model and a period."""
    contexts = [one for one in pc.unique(table["context"]).to_pylist() if one is not None]
    fitting = [one for one in contexts if wanted.is_of(ledger.document(one.hex()))]
    fits = pc.is_in(table["context"], pa.array(fitting, table["context"].type))
    for bound, compare in ((wanted.since, pc.greater_equal), (wanted.until, pc.less)):
        if bound is not None:
            fits = pc.and_(fits, compare(table["time"], pa.scalar(bound, pa.timestamp("ns", "UTC"))))
    return np.asarray(pc.indices_nonzero(fits).to_numpy(), np.int64)


def _by_views(ledger: Ledger, gate: Viewer, run: _Run, wanted: Wanted) -> Iterator[tuple[Views, np.ndarray]]:
    """Yield how the records of a run are seen, and which are seen so."""
    picked = run.table.take(pa.array(run.rows))
    names = {context: _model_name(ledger, context) for context in pc.unique(picked["context"]).to_pylist()}
    subjects = _Subjects(ledger, run, wanted)
    found: dict[tuple[tuple[str, str], ...], tuple[Views, list[int]]] = {}
    columns = (
        picked["request_id"].to_pylist(),
        picked["context"].to_pylist(),
        picked["time"].cast(pa.int64()).to_pylist(),
    )
    for row, request_id, context, time_ns in zip(run.rows.tolist(), *columns, strict=True):
        about = About(
            request_id=request_id,
            model=names[context],
            time_ns=time_ns,
            subject=lambda row=row: subjects.of(row),  # type: ignore[misc]
        )
        views = gate.views(about)
        found.setdefault(tuple(sorted(views.items())), (views, []))[1].append(row)
    yield from ((views, np.array(rows)) for views, rows in found.values())


def _model_name(ledger: Ledger, context: bytes) -> str | None:
    model = ledger.document(context.hex()).get("model")
    return canonical.text_of(model, "name") if isinstance(model, dict) else None


class _Subjects:
    """Whom the records of a run are about, opened when that decides who may see them."""

    def __init__(self, ledger: Ledger, run: _Run, wanted: Wanted) -> None:
        self._ledger, self._run, self._wanted = ledger, run, wanted
        self._column: pa.ChunkedArray | None = None

    def of(self, row: int) -> str | None:
        if self._wanted.subject is not None:
            return self._wanted.subject
        groups = [c.group for c in self._run.schema.columns if c.name == SUBJECT and c.group is not None]
        if not groups:
            return None
        if self._column is None:
            opened = _sealed_values(self._ledger, self._run, self._run.table, 0, groups)
            self._column = opened[SUBJECT]
        value = self._column[row].as_py()
        return None if value is None else str(value)


def _sealed_values(ledger: Ledger, run: _Run, table: pa.Table, first: int, groups: list[str]) -> pa.Table:
    if run.manifest is None:
        return pick_columns(table, [column.name for column in run.schema.columns if column.group in groups])
    return open_rows(ledger, run.manifest, first, table, groups)


def _shown(ledger: Ledger, gate: Viewer, run: _Run, rows: np.ndarray, views: Views) -> pa.Table:
    """Return records as they are seen, flat; of those with something hidden what they commit to, too."""
    schema, first = run.schema, int(rows[0])
    asked = [
        group
        for group in schema.groups
        if any(views[column.sensitivity] in SHOWN for column in schema.group_columns(group))
    ]
    if schema.groups:
        _note(gate, run, rows, asked or list(schema.groups), views)
    table = run.table.slice(first, int(rows[-1]) - first + 1)
    at = pa.array(rows - first)
    shown = pick_columns(table, [column.name for column in schema.open_columns])
    if asked:
        shown = merge_columns(shown, _sealed_values(ledger, run, table, first, asked))
    hidden = [
        group for group in schema.groups if any(views[c.sensitivity] != "clear" for c in schema.group_columns(group))
    ]
    commitments = {}
    if run.manifest is not None and hidden:
        picked = table["commitment"].combine_chunks().take(at)
        commitments = {f"commitment.{group}": _hex(pc.struct_field(picked, group)) for group in hidden}
    flat = masked_table(flat_records(ledger, shown.take(at), is_sealed=run.manifest is not None), schema, views, gate)
    for name, column in commitments.items():
        flat = flat.append_column(name, column)
    return flat


def _note(gate: Viewer, run: _Run, rows: np.ndarray, groups: list[str], views: Views) -> None:
    """Record that records are shown, so many at a time as one record of an access can name."""
    for first in range(0, len(rows), ACCESS_IDS_MAX):
        some = rows[first : first + ACCESS_IDS_MAX]
        ids = tuple(run.table["id"].take(pa.array(some)).to_pylist())
        gate.show(QUESTION, groups, len(some), Scope(ids=ids), views)


def _hex(values: pa.Array) -> pa.Array:
    return pa.array([value.hex() for value in values.to_pylist()], pa.string())
