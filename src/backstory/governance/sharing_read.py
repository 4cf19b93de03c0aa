"""Reading the records a figure is made of: predictions with their outcomes, and whom each is about.

A record is about the person it was recorded with, else the one its rows are about. One about several people counts for
nobody: no bound on the rows of one person would hold for it. So does one with sealed values that does not say whose,
and one whose sealed values were erased.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.id_text import subject_column
from backstory.columns.seal import merge_columns
from backstory.errors import ForbiddenError, InputError
from backstory.governance.sharing_question import Question
from backstory.governance.sharing_rows import Rows, Values, fitting_rows, values_of
from backstory.ledger.read import records_now
from backstory.ledger.sealed import erased_values, open_rows
from backstory.lineage.reconcile import moment_ns
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.registry import find_version
from backstory.lineage.retry import despite_merges
from backstory.records.envelope import OUTCOME, PREDICTION
from backstory.records.identity import parse_time
from backstory.records.schema import Schema, escape_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.governance.access import AccessGate
    from backstory.ledger.ledger import Ledger
    from backstory.lineage.trace import Tracer
    from backstory.records.manifest import Manifest

SHARE: Final = "share"
"""What a policy permits whoever may make figures, and what reads for them are recorded as."""


class FigureRows:
    """Reads the rows of one question."""

    def __init__(self, ledger: Ledger, gate: AccessGate, tracer: Tracer, question: Question) -> None:
        """Ask an archive, through a gate.

        Raises:
            NotFoundError: There is no such model.
            QueryError: A moment is none.
        """
        self._ledger = ledger
        self._gate = gate
        self._tracer = tracer
        self._question = question
        self._model = None if question.model is None else find_version(ledger, question.model)
        self._since = moment_ns(question.since, "sharing: expected since")
        self._until = moment_ns(question.until, "sharing: expected until")
        self._models: dict[bytes, str | None] = {}
        self._subjects: dict[str, pa.Array | None] = {}

    def require_open(self) -> None:
        """Insist that what is asked of can be read, and that columns are there, before anything of a budget is spent.

        What is looked at is in the log: schemas and counts of segments.

        Raises:
            ForbiddenError: It is sealed, and the gate lets nothing through; or no archive open for writing.
            InputError: No record has such a column.
        """
        schemas = [schema for kind in (PREDICTION, OUTCOME) for schema, _, _ in self._of_kind(kind)]
        there = {column.name for schema in schemas for column in schema.columns}
        for name in self._question.columns:
            if _column_name(name) not in there:
                raise InputError(f"sharing: no record has a column {name!r}")
        is_personal = any(schema.groups for schema in schemas)
        if is_personal and self._question.unit == "record":
            raise ForbiddenError(
                "sharing: expected a budget of unit subject: these predictions are about people, and one person may "
                "have many records"
            )
        if is_personal and (self._gate.purpose is None or (self._gate.policy is None and not self._gate.allows())):
            raise ForbiddenError(
                "sharing: what figures are made of is sealed: expected an archive open for writing, with an actor and "
                "a purpose; the audience sees noise, whoever makes figures could see values"
            )

    def read(self) -> list[Rows]:
        """Return the rows that fit, by where they were found.

        Raises:
            ForbiddenError: Values are sealed, and the gate lets nothing through.
            VerificationError: Records or sealed values were changed.
        """
        return despite_merges(self._ledger, self._read)

    def _read(self) -> list[Rows]:
        outcomes = self._outcomes() if "outcome" in self._question.columns else None
        parts = []
        for schema, table, excluded in self._tables(PREDICTION):
            columns = {
                name: outcomes.of(table["id"]) if name == "outcome" and outcomes is not None else _values(table, name)
                for name in self._question.columns
            }
            people, several = self._people(schema, table)
            if any(name == "model" for name, _ in self._question.by):
                names = [self._model_of(context) for context in table["context"].to_pylist()]
                table = table.append_column("model", pa.array(names, pa.large_string()))  # noqa: PLW2901
            left_out = excluded | several | ~self._asked(table)
            parts.append(fitting_rows(self._question, table, people, columns, excluded=left_out))
        return parts

    # --- records ------------------------------------------------------------------------------------------------------

    def _of_kind(self, kind: str) -> Iterator[tuple[Schema, Manifest | None, pa.Table | None]]:
        """Yield what of a kind of record may be read: segments, and tables that are not sealed yet."""
        sealed, waiting = records_now(self._ledger, kind)
        for _, manifest in sealed:
            if kind != PREDICTION or self._may_count(manifest):
                yield self._ledger.schema(manifest.schema), manifest, None
        for schema, table in waiting:
            yield schema, None, table

    def _tables(self, kind: str) -> Iterator[tuple[Schema, pa.Table, NDArray[np.bool_]]]:
        """Yield the records of a kind, opened as far as they are asked for, and which are gone.

        The read is recorded before the first of them is read.
        """
        found = [(schema, self._needed(schema), manifest, table) for schema, manifest, table in self._of_kind(kind)]
        sealed = [(needed, m.count if m else t.num_rows if t else 0) for _, needed, m, t in found if needed]
        if sealed:
            self._gate.note_read(SHARE, sorted({g for needed, _ in sealed for g in needed}), sum(n for _, n in sealed))
        for schema, needed, manifest, table in found:
            if manifest is not None:
                yield (schema, *self._opened(manifest, needed))
            elif table is not None:
                yield schema, table, np.zeros(table.num_rows, np.bool_)

    def _opened(self, manifest: Manifest, needed: list[str]) -> tuple[pa.Table, NDArray[np.bool_]]:
        reader = self._ledger.segment(manifest, checked=True)
        table = reader.read_groups(range(reader.group_count))
        gone = pc.is_null(unchunked(table["id"])).to_numpy(zero_copy_only=False).copy()  # disposed of
        if manifest.shard is not None and needed:
            table = merge_columns(table, open_rows(self._ledger, manifest, 0, table, needed))
            erased = erased_values(self._ledger, manifest, 0, manifest.count)
            for group in needed:
                gone |= erased[group]
        return table, gone

    def _needed(self, schema: Schema) -> list[str]:
        """Return the sealed groups that hold what is asked for, and whom records are about."""
        asked = {_column_name(name) for name in self._question.columns}
        return sorted(
            {
                column.group
                for column in schema.columns
                if column.group is not None
                and (column.name in asked or column.name == "subject" or column.name.startswith("row."))
            }
        )

    def _may_count(self, manifest: Manifest) -> bool:
        first, last = sorted((parse_time(manifest.first_time), parse_time(manifest.last_time)))
        in_time = (self._until is None or first < self._until) and (self._since is None or last >= self._since)
        return in_time and any(self._context_fits(bytes.fromhex(context)) for context in manifest.contexts)

    def _asked(self, table: pa.Table) -> NDArray[np.bool_]:
        """Return which records are of the model and the time that are asked for."""
        times = unchunked(table["time"]).cast(pa.int64()).to_numpy(zero_copy_only=False)
        contexts = unchunked(table["context"])
        fitting = [one for one in pc.unique(contexts).to_pylist() if one is not None and self._context_fits(one)]
        mask = pc.is_in(contexts, value_set=pa.array(fitting, contexts.type)).to_numpy(zero_copy_only=False)
        if self._since is not None:
            mask &= times >= self._since
        if self._until is not None:
            mask &= times < self._until
        return np.asarray(mask, bool)

    def _context_fits(self, context: bytes) -> bool:
        if self._model is None:
            return True
        found = self._model_of(context)
        if found is None:
            return False
        whole = self._question.model == self._model.name
        return found.rpartition(":")[0] == self._model.name and (
            whole or found == f"{self._model.name}:{self._model.version}"
        )

    def _model_of(self, context: bytes) -> str | None:
        if context not in self._models:
            model = self._ledger.document(context.hex()).get("model")
            self._models[context] = f"{model.get('name')}:{model.get('version')}" if isinstance(model, dict) else None
        return self._models[context]

    # --- people -------------------------------------------------------------------------------------------------------

    def _people(self, schema: Schema, table: pa.Table) -> tuple[pa.Array, NDArray[np.bool_]]:
        """Return whom each record is about, and which are about several people, or about one who is not named."""
        count = table.num_rows
        people, several = pa.nulls(count, pa.large_string()), np.zeros(count, np.bool_)
        if self._question.unit == "record":
            return people, several
        unnamed = bool(schema.groups)
        if "subject" in table.column_names:
            people = unchunked(table["subject"]).cast(pa.large_string())
        references = {
            f"row.{escape_name(one.name)}": one
            for context in pc.unique(table["context"]).to_pylist()
            if context is not None
            for one in parse_references(self._ledger.document(context.hex()).get("refs")).values()
            if one.personal and one.parts
        }
        columns = {column.name for column in schema.columns}
        given = pc.is_valid(people)
        found = pa.nulls(count, pa.large_string())
        for name in sorted(references.keys() & columns):
            reference = references[name]
            whose = self._whose(reference, pc.struct_field(unchunked(table["row"]), [reference.name]))
            several |= pc.fill_null(pc.not_equal(found, whose), fill_value=False).to_numpy(zero_copy_only=False)
            found = pc.coalesce(found, whose)
        whom = pc.if_else(given, people, found)
        several &= ~given.to_numpy(zero_copy_only=False)
        return whom, several | (pc.is_null(whom).to_numpy(zero_copy_only=False) & unnamed)

    def _whose(self, reference: Reference, positions: pa.Array) -> pa.Array:
        """Return whom rows of a source are about; null for rows of one that does not say."""
        places = np.asarray(positions.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
        whose = pa.nulls(len(places), pa.large_string())
        for part in reference.parts:
            if part.dataset not in self._subjects:
                self._subjects[part.dataset] = self._column(part.dataset)
            subjects = self._subjects[part.dataset]
            if subjects is not None:
                inside = (places >= part.first) & (places < part.end)
                own = subjects.take(pa.array(np.where(inside, places - part.first, 0), mask=~inside))
                whose = pc.coalesce(whose, own)
        return whose

    def _column(self, dataset: str) -> pa.Array | None:
        subject = self._tracer.dataset(dataset).get("subject")
        if not isinstance(subject, str):
            return None
        column = subject_column(self._tracer.columns(dataset, None, [subject])[subject])
        self._gate.note_read(SHARE, ["source"], len(column))
        return column

    # --- outcomes -----------------------------------------------------------------------------------------------------

    def _outcomes(self) -> _Outcomes:
        tables = [table.select(["time", "of", "value"]) for _, table, _ in self._tables(OUTCOME)]
        return _Outcomes(tables)


class _Outcomes:
    """The latest outcome of each prediction."""

    def __init__(self, tables: list[pa.Table]) -> None:
        of = pa.chunked_array([c for t in tables for c in t["of"].cast(pa.large_binary()).chunks], pa.large_binary())
        times = pa.chunked_array([c for t in tables for c in t["time"].cast(pa.int64()).chunks], pa.int64())
        values = [values_of(unchunked(table["value"])) for table in tables]
        self._numbers = _stacked([v.numbers for v in values], tables, pa.float64())
        self._texts = _stacked([v.texts for v in values], tables, pa.large_string())
        self._truths = _stacked([v.truths for v in values], tables, pa.bool_())
        latest = pa.table({"of": of, "time": times, "place": pa.array(np.arange(len(of)))})
        latest = latest.sort_by([("time", "descending"), ("place", "descending")])
        ids = unchunked(latest["of"])
        first = pc.index_in(pc.unique(ids), value_set=ids)
        self._ids = ids.take(first)
        self._places = unchunked(latest["place"]).take(first)

    def of(self, ids: pa.ChunkedArray) -> Values:
        """Return the outcomes of predictions."""
        place = self._places.take(pc.index_in(unchunked(ids).cast(pa.large_binary()), value_set=self._ids))
        return Values(numbers=self._numbers.take(place), texts=self._texts.take(place), truths=self._truths.take(place))


def _stacked(parts: list[pa.Array | None], tables: list[pa.Table], kind: pa.DataType) -> pa.Array:
    """Return parts of one kind one after the other, nulls where one has none."""
    arrays = [
        pa.nulls(table.num_rows, kind) if part is None else part for part, table in zip(parts, tables, strict=True)
    ]
    return unchunked(pa.chunked_array(arrays, kind))


def _values(table: pa.Table, name: str) -> Values:
    """Return the values of a column of predictions; none where they have no such column."""
    top, _, field = name.partition(".")
    if top not in table.column_names:
        return Values()
    column = unchunked(table[top])
    if not field:
        return values_of(column)
    if not pa.types.is_struct(column.type) or column.type.get_field_index(field) < 0:
        return Values()
    return values_of(pc.struct_field(column, [field]))


def _column_name(name: str) -> str:
    """Return the name a column of a question has in schemas."""
    top, _, field = name.partition(".")
    return {"outcome": "value"}.get(top, top) if not field else f"{top}.{escape_name(field)}"
