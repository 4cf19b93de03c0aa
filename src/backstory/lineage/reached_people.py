"""Whom predictions are about: the person each was recorded with, else those whom its rows are about.

Rows that came through a group are many people's; a prediction is not about them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import unchunked
from backstory.columns.id_text import subject_column
from backstory.errors import ForbiddenError
from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed import read_shard
from backstory.lineage.plain import count_text
from backstory.lineage.reference import Reference, parse_references
from backstory.lineage.scan import Hits, note_hits
from backstory.lineage.trace import Tracer
from backstory.records.access import Gate, Scope
from backstory.records.manifest import FileRef

_GIVEN = "subject"


class ReachedPeople:
    """Reads whom predictions are about, a run of them at a time, through the gate."""

    def __init__(self, ledger: Ledger, gate: Gate) -> None:
        """Read from an archive; sealed values through a gate."""
        self._ledger = ledger
        self._gate = gate
        self._tracer = Tracer(ledger)
        self._subjects: dict[str, pa.Array | None] = {}
        self._shard: tuple[FileRef, pa.Table] | None = None

    def of(self, hits: Hits) -> Iterator[str]:
        """Yield the people a run of predictions is about; one may come more than once.

        Raises:
            ForbiddenError: They are sealed, and no actor and purpose were given.
        """
        groups = {column.name: column.group for column in hits.schema.columns}
        references = {context: self._references(context) for context, _ in hits.of_contexts()}
        names = {f"row.{one.name}" for of_one in references.values() for one in of_one} | {_GIVEN}
        hidden = sorted({group for name in names if (group := groups.get(name)) is not None})
        rows = hits.rows()
        if hidden and not self._gate.allows():
            predictions = count_text(len(rows), "prediction")
            raise ForbiddenError(f"impact: whom {predictions} are about is sealed: {self._gate.lacking()}")
        if hidden:
            note_hits(self._gate, hidden, hits, rows)
        for context, own in hits.of_contexts():
            given = self._given(hits, own) if _GIVEN in groups else pa.nulls(len(own), pa.large_string())
            yield from given.unique().drop_null().to_pylist()
            rest = own[given.is_null().to_numpy(zero_copy_only=False)]
            for reference in references[context] if len(rest) else ():
                if f"row.{reference.name}" in groups:
                    yield from self._whose(reference, self._positions(hits, reference.name, rest))

    def _references(self, context: str) -> list[Reference]:
        """Return the references of a context that lead straight to rows about people."""
        found = parse_references(self._ledger.document(context).get("refs")).values()
        return [reference for reference in found if reference.personal and reference.parts]

    def _given(self, hits: Hits, rows: np.ndarray) -> pa.Array:
        shard = self._shard_of(hits)
        if shard is not None and _GIVEN in shard.column_names:
            return unchunked(shard[_GIVEN]).take(pa.array(rows))
        return unchunked(hits.take(rows, [_GIVEN])[_GIVEN])

    def _positions(self, hits: Hits, name: str, rows: np.ndarray) -> np.ndarray:
        shard = self._shard_of(hits)
        row = unchunked(hits.take(rows, ["row"])["row"]) if shard is None else unchunked(shard["row"])
        positions = row.field(name) if shard is None else row.field(name).take(pa.array(rows))
        return np.asarray(positions.fill_null(-1).to_numpy(zero_copy_only=False))

    def _whose(self, reference: Reference, positions: np.ndarray) -> Iterator[str]:
        """Yield the people whom rows are about; nobody for rows of a source that does not say whom."""
        for part in reference.parts:
            inside = positions[(positions >= part.first) & (positions < part.end)] - part.first
            if part.dataset not in self._subjects:
                self._subjects[part.dataset] = self._column(part.dataset)
            subjects = self._subjects[part.dataset]
            if len(inside) and subjects is not None:
                yield from subjects.take(pa.array(inside)).unique().drop_null().to_pylist()

    def _column(self, dataset: str) -> pa.Array | None:
        document = self._tracer.dataset(dataset)
        subject = document.get("subject")
        if not isinstance(subject, str):
            return None
        column = subject_column(self._tracer.columns(dataset, None, [subject])[subject])
        self._gate.pass_through("impact", ["source"], len(column), Scope(dataset=dataset))
        return column

    def _shard_of(self, hits: Hits) -> pa.Table | None:
        shard = None if hits.manifest is None else hits.manifest.shard
        if shard is None:
            return None
        if self._shard is None or self._shard[0] != shard:
            self._shard = (shard, read_shard(self._ledger, shard))
        return self._shard[1]
