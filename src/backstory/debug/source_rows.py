"""The source rows that predictions were made of, as frames a preparation can be run on again.

From references and positions to the rows themselves: those referred to, and the members of groups referred to, groups
of groups included. They get ids of this session that name the recorded positions, for as long as a preparation runs.
Nothing is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import decoded, unchunked
from backstory.debug.case import ERASED, Workshop
from backstory.errors import ColumnError, ForbiddenError, InputError, NotFoundError
from backstory.frames.library import Library, as_library
from backstory.frames.table import require_columns, with_column
from backstory.frames.token import ROW_PREFIX, mint_tokens
from backstory.lineage.loading import origin_of
from backstory.lineage.plain import count_text
from backstory.lineage.reference import Part, Reference
from backstory.lineage.source import NOTHING_SAID, Snapshot
from backstory.lineage.store import note_sealed_positions
from backstory.records import canonical
from backstory.records.access import Scope

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUESTION = "recompute"
Fed: TypeAlias = Literal["traced", "all"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Correction:
    """Values that rows of a source should have had.

    Attributes:
        source: The source's name.
        dataset: Digest of the dataset version the rows are of.
        positions: The rows, by the positions that row references have: the first of the part and how many before.
        values: The corrected values by column: one for all of the rows, or, in a table, one for each of them in order.
    """

    source: str
    dataset: str
    positions: NDArray[np.int64]
    values: Mapping[str, Any] | pa.Table


@dataclass(slots=True, kw_only=True, eq=False)
class Wanted:
    """Rows of one source.

    Attributes:
        parts: The parts they are of.
        positions: Arrays of their positions.
    """

    parts: dict[Part, None] = field(default_factory=dict)
    positions: list[NDArray[np.int64]] = field(default_factory=list)

    @property
    def is_of_several(self) -> bool:
        """Whether they are of several versions of the source: parts of one have positions of their own."""
        ordered = sorted(self.parts, key=lambda part: part.first)
        return any(one.end > other.first for one, other in pairwise(ordered))

    def join(self, other: Wanted) -> None:
        """Want the rows of another, too."""
        self.parts |= other.parts
        self.positions += other.positions


def rows_behind(
    shop: Workshop,
    references: Mapping[str, Reference],
    positions: Mapping[str, NDArray[np.int64]],
    apart: frozenset[str] = frozenset(),
) -> dict[str, dict[str, Wanted]]:
    """Return which rows of which sources some row references lead to, through groups too.

    Args:
        shop: The archive; what its gate lets through is noted.
        references: What the positions point to.
        positions: For each reference the positions; those below 0 are of no row.
        apart: Names of groups whose rows are wanted apart from the others: a step makes that group.

    Returns:
        By name of such a group, or "" for all others, the rows by name of their source.

    Raises:
        ForbiddenError: Rows are about people, and the gate lets nothing through.
    """
    found: dict[str, dict[str, Wanted]] = {"": {}}
    waiting = [("", reference, positions.get(name)) for name, reference in references.items()]
    while waiting:
        owner, reference, places = waiting.pop()
        if places is None:
            raise ForbiddenError(f"the rows of {reference.name} are sealed: {shop.gate.lacking()}")
        real = np.unique(places[places >= 0]).astype(np.int64)
        if reference.group is None:
            wanted = Wanted(parts=dict.fromkeys(reference.parts), positions=[real])
            found.setdefault(owner, {}).setdefault(reference.name, Wanted()).join(wanted)
            continue
        document = shop.ledger.document(reference.group)
        note_sealed_positions(shop.gate, QUESTION, document)
        edges = shop.tracer.edges(reference.group)
        turns = np.zeros(len(next(iter(edges.positions.values()), ())) + 1, np.int64)
        np.add.at(turns, edges.begins[real], 1)
        np.add.at(turns, edges.ends[real], -1)
        inside = np.flatnonzero(np.cumsum(turns)[:-1] > 0)
        members = inside if edges.order is None else edges.order[inside]
        inner = reference.name if reference.name in apart else owner
        waiting += [(inner, edges.refs[name], values[members]) for name, values in edges.positions.items()]
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Feed:
    """Rows of one source, to be given to a step.

    Attributes:
        name: The source's name.
        snapshots: The parts they are of, under ids of this session.
        rows: The rows with the corrections made, in the order of the source.
        positions: Position of each.
        corrected: How many of them were corrected.
        with_nulls: Columns that have nulls somewhere in the source, which decides the type pandas gives them.
        is_read: Whether the archive had read the source itself; pandas then holds whole numbers with nulls as floats.
    """

    name: str
    snapshots: tuple[Snapshot, ...]
    rows: pa.Table
    positions: NDArray[np.int64]
    corrected: int
    with_nulls: frozenset[str]
    is_read: bool

    def frame(self, library: Library) -> Any:  # noqa: ANN401  a frame of any library
        """Return the rows as a frame of a library, with their ids."""
        tokens = np.zeros(len(self.positions), np.uint64)
        for one in self.snapshots:
            inside = (self.positions >= one.first_position) & (self.positions < one.first_position + one.rows)
            tokens[inside] = mint_tokens(self.positions[inside], one.salt)
        if library != "pandas":
            return as_library(with_column(self.rows, ROW_PREFIX + self.name, tokens), library)
        return with_column(
            as_library(self.rows, library, self.with_nulls, floats=self.is_read), ROW_PREFIX + self.name, tokens
        )


def feed_of(shop: Workshop, name: str, wanted: Wanted, fed: Fed, corrections: Iterable[Correction]) -> Feed:
    """Return rows of a source to be given to a step, under new ids of this session.

    Args:
        shop: The archive; what its gate lets through is noted.
        name: The source's name.
        wanted: The rows.
        fed: `traced` for these rows alone, `all` for all of their parts.
        corrections: Values they should have had; those of other sources and rows are passed over.

    Raises:
        ForbiddenError: The rows are about people, and the gate lets nothing through.
        InputError: They are of two versions of the source, or a correction cannot be made.
        NotFoundError: They were erased.
        VerificationError: They were changed.
    """
    parts = sorted(wanted.parts, key=lambda part: part.first)
    if wanted.is_of_several:
        raise InputError(
            f"the rows of {name} are of {len(parts)} versions of it: expected one; where a group was made of another, "
            "give the function that makes it under the group's name, as steps={'<group>': …, 'features': …}"
        )
    positions = np.unique(np.concatenate([np.zeros(0, np.int64), *wanted.positions]))
    snapshots, tables, places, with_nulls, corrected = [], [], [], set(), 0
    for part in parts:
        whole = version_rows(shop, part.dataset, name)
        gone = shop.tracer.erased(part.dataset)
        left = whole.filter(pa.array(~gone)) if gone.any() else whole
        with_nulls |= {field.name for field, column in zip(left.schema, left.columns, strict=True) if column.null_count}
        snapshots.append(_snapshot(shop, name, part, whole))
        own = positions[(positions >= part.first) & (positions < part.end)]
        if fed == "all":
            own = np.arange(part.first, part.end, dtype=np.int64)
        if gone[own - part.first].any():
            count = int(np.count_nonzero(gone[own - part.first]))
            raise NotFoundError(f"{count_text(count, 'row')} of {name} that it was made from: {ERASED}")
        rows = whole if fed == "all" else whole.take(pa.array(own - part.first))
        for correction in corrections:
            if correction.source == name and correction.dataset == part.dataset:
                rows, count = _corrected(rows, own, correction)
                corrected += count
        tables.append(rows)
        places.append(own)
    return Feed(
        name=name,
        snapshots=tuple(snapshots),
        rows=pa.concat_tables(tables, promote_options="permissive"),
        positions=np.concatenate(places),
        corrected=corrected,
        with_nulls=frozenset(with_nulls),
        is_read=any(_is_read(shop, name, part) for part in parts),
    )


def version_rows(shop: Workshop, dataset: str, name: str) -> pa.Table:
    """Return all rows of a dataset version.

    Raises:
        ForbiddenError: They are about people, and the gate lets nothing through.
        NotFoundError: They were erased.
        VerificationError: They were changed.
    """
    document = shop.tracer.dataset(dataset)
    if document.get("personal") is True:
        if not shop.gate.allows():
            raise ForbiddenError(f"rows of {name} are about people: {shop.gate.lacking()}")
        shop.gate.pass_through(QUESTION, ["source"], canonical.count_of(document, "rows"), Scope(dataset=dataset))
    return shop.tracer.columns(dataset, None)


def _snapshot(shop: Workshop, name: str, part: Part, whole: pa.Table) -> Snapshot:
    return Snapshot(
        name=name,
        part=None,
        first_position=part.first,
        rows=part.rows,
        salt=shop.store.draw_salt(),
        key=(),
        subject=None,
        origin=None,
        about=NOTHING_SAID,
        provable=frozenset(),
        columns=frozenset(whole.column_names),
        load=lambda: whole,
        sample=lambda rows, column: whole[column].take(pa.array(rows)),
    )


def _is_read(shop: Workshop, name: str, part: Part) -> bool:
    entries = shop.ledger.find_entries("source.fixed", name)
    return any(entry.get("dataset") == part.dataset and bool(origin_of(shop.ledger, entry)) for entry in entries)


def _corrected(rows: pa.Table, positions: NDArray[np.int64], correction: Correction) -> tuple[pa.Table, int]:
    """Return rows with their corrected values, and how many of them there are."""
    given = correction.values
    names = given.column_names if isinstance(given, pa.Table) else list(given)
    require_columns(rows.column_names, names, f"source {correction.source}")
    is_there = np.isin(correction.positions, positions)
    where = np.searchsorted(positions, np.asarray(correction.positions)[is_there])
    for name in names:
        number = rows.column_names.index(name)
        kind = rows.schema.field(number).type
        value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
        try:
            if isinstance(given, pa.Table):
                values = unchunked(given[name].cast(value_type)).filter(pa.array(is_there))
            else:
                values = pa.array([given[name]] * len(where), value_type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise ColumnError(
                f"correction: expected values of type {value_type} for {name!r}, got others ({correction.source})"
            ) from None
        index = np.arange(rows.num_rows)
        index[where] = rows.num_rows + np.arange(len(where))
        column = pa.concat_arrays([decoded(unchunked(rows[name])), values]).take(pa.array(index))
        rows = rows.set_column(number, name, column.dictionary_encode() if pa.types.is_dictionary(kind) else column)
    return rows, len(where)
