"""From positions to rows and back: kept snapshots, edge tables and their inverses.

Inverses are built when first asked for and kept for the session; memory is bounded by the number of groups kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from backstory.errors import NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.lineage.reference import Part, Reference, parse_references
from backstory.lineage.store import checked_shard, personal_snapshot, snapshot_reader
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.storage.segment import ParquetReader

if TYPE_CHECKING:
    import pyarrow as pa

_GROUPS_KEPT = 16
_READERS_KEPT = 64
"""Each holds an open file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Edges:
    """A positions table with its inverse by group.

    Attributes:
        document: The group's document.
        refs: What each `row.<name>` points to.
        positions: For each reference the positions, one an input row; −2 where broken.
        order: Input rows sorted by group.
        starts: Where each group begins in `order`; one more than groups.
    """

    document: JsonObject
    refs: dict[str, Reference]
    positions: dict[str, np.ndarray]
    order: np.ndarray
    starts: np.ndarray

    def members(self, group: int, name: str) -> np.ndarray:
        """Return the positions that went into a group through a reference, in input order."""
        rows = self.order[self.starts[group] : self.starts[group + 1]]
        return np.asarray(self.positions[name][rows])


class Tracer:
    """Reads kept snapshots and groups of one archive."""

    def __init__(self, ledger: Ledger) -> None:
        """Trace lineage in an archive."""
        self._ledger = ledger
        self._edges: OrderedDict[str, Edges] = OrderedDict()
        self._reader = lru_cache(_READERS_KEPT)(partial(snapshot_reader, ledger))

    def dataset(self, digest: str) -> JsonObject:
        """Return a dataset version's document."""
        return self._ledger.document(digest)

    def column_names(self, digest: str) -> set[str]:
        """Return the names of a dataset version's columns."""
        columns = self._ledger.document(canonical.text_of(self.dataset(digest), "schema")).get("columns")
        return {str(c["name"]) for c in columns if isinstance(c, dict)} if isinstance(columns, list) else set()

    def row(self, part: Part, position: int) -> pa.Table:
        """Return one row of a kept snapshot.

        Raises:
            NotFoundError: The snapshot was erased.
        """
        return self.rows(part.dataset, position - part.first, 1)

    def rows(self, dataset: str, first: int, count: int) -> pa.Table:
        """Return a run of rows of a kept snapshot."""
        reader = self._reader(dataset)
        if reader is None:
            return personal_snapshot(self._ledger, dataset).slice(first, count)
        return reader.read_rows(first, count)

    def columns(self, dataset: str, table: str | None, names: list[str] | None = None) -> pa.Table:
        """Return some or all columns of a kept snapshot; for `table` see `snapshot_reader`."""
        reader = self._reader(dataset, table)
        if reader is None:
            whole = personal_snapshot(self._ledger, dataset)
            return whole if names is None else whole.select(names)
        return reader.read_groups(range(reader.group_count), names)

    def edges(self, group: str) -> Edges:
        """Return a group's edge table and its inverse."""
        kept = self._edges.get(group)
        if kept is not None:
            self._edges.move_to_end(group)
            return kept
        document = self._ledger.document(group)
        table = self.positions(document)
        codes = table["group"].to_numpy()
        groups = canonical.count_of(document, "groups")
        edges = Edges(
            document=document,
            refs=parse_references(document.get("refs")),
            positions=_positions(table),
            order=np.argsort(codes, kind="stable"),
            starts=np.concatenate(([0], np.cumsum(np.bincount(codes, minlength=groups)))),
        )
        self._edges[group] = edges
        if len(self._edges) > _GROUPS_KEPT:
            self._edges.popitem(last=False)
        return edges

    def training(self, document: JsonObject) -> dict[str, np.ndarray]:
        """Return the training rows of a model version: for each reference the positions, in training order."""
        return _positions(self.positions(document))

    def positions(self, document: JsonObject) -> pa.Table:
        """Return the positions table a group or training set refers to.

        Raises:
            NotFoundError: It refers to none, or it was erased.
            VerificationError: It is not the one the document names.
        """
        blob, sealed = document.get("edges"), document.get("sealed_edges")
        if isinstance(blob, str):
            reader = ParquetReader(self._ledger.blobs.checked_path(blob))
            return reader.read_groups(range(reader.group_count))
        if isinstance(sealed, str):
            return checked_shard(self._ledger, sealed, canonical.text_of(document, "root"))
        msg = "lineage: the document refers to no positions table"
        raise NotFoundError(msg)


def _positions(table: pa.Table) -> dict[str, np.ndarray]:
    """Return the struct column `row` as NumPy, broken positions as −2."""
    column = table["row"].combine_chunks()
    return {
        field.name: column.field(index).fill_null(-2).to_numpy(zero_copy_only=False)
        for index, field in enumerate(column.type)
    }
