"""From positions to rows and back: kept snapshots, edge tables and their inverses.

Inverses are built when first asked for and kept for the session; memory is bounded by the number of groups kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from backstory.errors import FormatError, NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.lineage.contracts import KeptVerdicts
from backstory.lineage.reference import Part, Reference, parse_references
from backstory.lineage.referenced import Places
from backstory.lineage.row_sets import read_row_set
from backstory.lineage.store import checked_shard, erased_rows, personal_snapshot, snapshot_reader
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.storage.segment import ParquetReader

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_GROUPS_KEPT = 16
_READERS_KEPT = 64
"""Each holds an open file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Edges:
    """A positions table, and which of its rows went into each group: a range of them in some order, of windows too.

    Attributes:
        document: The group's document.
        refs: What each `row.<name>` points to.
        positions: For each reference the positions, one an input row; −2 where broken.
        order: Input rows sorted by group; None for windows, whose table is in the order of their ranges.
        begins: Where each group begins in that order.
        ends: Where it ends, exclusive.
    """

    document: JsonObject
    refs: dict[str, Reference]
    positions: dict[str, np.ndarray]
    order: np.ndarray | None
    begins: np.ndarray
    ends: np.ndarray

    def members(self, group: int, name: str) -> np.ndarray:
        """Return the positions that went into a group through a reference, in input order."""
        rows = slice(self.begins[group], self.ends[group])
        return np.asarray(self.positions[name][rows if self.order is None else self.order[rows]])

    def reached(self, rows: np.ndarray) -> np.ndarray:
        """Return the numbers of the groups that some of the rows of the table went into.

        Args:
            rows: A mask over the rows.
        """
        before = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(rows if self.order is None else rows[self.order], out=before[1:])
        return np.flatnonzero(before[self.ends] > before[self.begins])


class Tracer:
    """Reads kept snapshots and groups of one archive."""

    def __init__(self, ledger: Ledger, places: Places | None = None) -> None:
        """Trace lineage in an archive.

        Args:
            ledger: The archive.
            places: Where the rows are that it keeps by reference; what it says itself, if not given.
        """
        self._ledger = ledger
        self._places = places or Places(ledger)
        self.verdicts = KeptVerdicts(ledger)
        self._edges: OrderedDict[str, Edges] = OrderedDict()
        self._reader = lru_cache(_READERS_KEPT)(partial(snapshot_reader, ledger, places=self._places))

    def forget(self) -> None:
        """Let go of every table that was read, as after an erasure."""
        self._edges.clear()
        self._reader.cache_clear()

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

    def is_erased(self, part: Part, position: int) -> bool:
        """Say whether a row of a snapshot about people was erased, or all of it was, or its keys are not here."""
        return bool(self.erased(part.dataset)[position - part.first])

    def erased(self, dataset: str) -> NDArray[np.bool_]:
        """Return which rows of a dataset version were erased: of one that is not about people none."""
        document = self.dataset(dataset)
        if document.get("personal") is not True:
            return np.zeros(canonical.count_of(document, "rows"), np.bool_)
        return erased_rows(self._ledger, dataset, self._places)

    def rows(self, dataset: str, first: int, count: int) -> pa.Table:
        """Return a run of rows of a kept snapshot."""
        reader = self._reader(dataset)
        if reader is None:
            return personal_snapshot(self._ledger, dataset, self._places).slice(first, count)
        return reader.read_rows(first, count)

    def columns(self, dataset: str, table: str | None, names: list[str] | None = None) -> pa.Table:
        """Return some or all columns of a kept snapshot; for `table` see `snapshot_reader`."""
        reader = self._reader(dataset, table)
        if reader is None:
            whole = personal_snapshot(self._ledger, dataset, self._places)
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
        order, begins, ends = _ranges(table, document)
        edges = Edges(
            document=document,
            refs=parse_references(document.get("refs")),
            positions=_positions(table),
            order=order,
            begins=begins,
            ends=ends,
        )
        self._edges[group] = edges
        if len(self._edges) > _GROUPS_KEPT:
            self._edges.popitem(last=False)
        return edges

    def training(self, document: JsonObject) -> dict[str, np.ndarray]:
        """Return the training rows of a model version: for each reference the positions, in training order."""
        sets = document.get("sets")
        named = sets if isinstance(sets, dict) else {}
        found = {name: read_row_set(self._ledger, one).positions() for name, one in named.items()}
        if not found or isinstance(document.get("edges"), str):
            found |= _positions(self.positions(document))
        return found

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


def _ranges(table: pa.Table, document: JsonObject) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Return the order of a table's rows in which groups are ranges, None if it is their own, and the ranges.

    Raises:
        FormatError: Windows do not lie within the table.
    """
    if document.get("kind") == "window":
        begins, ends = (table[name].to_numpy().astype(np.int64) for name in ("begin", "end"))
        if (begins > ends).any() or ends.max(initial=0) > table.num_rows:
            msg = "lineage: expected windows within the rows of their table, got others"
            raise FormatError(msg)
        return None, begins, ends
    codes = table["group"].to_numpy()
    bounds = np.concatenate(([0], np.cumsum(np.bincount(codes, minlength=canonical.count_of(document, "groups")))))
    return np.argsort(codes, kind="stable"), bounds[:-1], bounds[1:]


def _positions(table: pa.Table) -> dict[str, np.ndarray]:
    """Return the struct column `row` as NumPy, broken positions as −2."""
    column = table["row"].combine_chunks()
    return {
        field.name: column.field(index).fill_null(-2).to_numpy(zero_copy_only=False)
        for index, field in enumerate(column.type)
    }
