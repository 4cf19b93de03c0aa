"""Which row of what a preparation returned is the one of a prediction: the one whose ids name the same source rows.

Rows that come of the same source rows, as after an explode, are told apart by the groups they belong to: numbers of
groups are another in every run, so a group is known by the source rows that went into it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from backstory.columns.encode import iter_blocks
from backstory.frames.key import row_codes
from backstory.frames.table import LAZY, column_names, column_values, drop_columns, hold, kind_of, to_arrow
from backstory.frames.token import ROW_PREFIX, id_columns
from backstory.lineage.group import GroupNode, MixNode
from backstory.lineage.reference import Reference
from backstory.lineage.refs import RowRefs
from backstory.lineage.resolve import BROKEN, resolve
from backstory.lineage.source import Origin, Sources
from backstory.lineage.trace import Edges, Tracer

if TYPE_CHECKING:
    from numpy.typing import NDArray

NONE_CAME_OUT = "no row came out for it"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """A frame that a preparation returned.

    Attributes:
        values: Its columns without ids.
        positions: For each id column that names rows that were given, the position of each row.
        groups: The groups that its other id columns name, made in this run, with the number of each row.
        failures: What is wrong with its ids, in words.
        frame: The frame itself, in the library it came in.
        selector: Which rows of it; None for all.
    """

    values: pa.Table
    positions: Mapping[str, NDArray[np.int64]]
    groups: Mapping[str, tuple[MixNode, NDArray[np.int64]]]
    failures: tuple[str, ...]
    frame: Any
    selector: NDArray[np.int64] | None

    def take(self, rows: NDArray[np.int64], names: str | list[str]) -> Any:  # noqa: ANN401  of the library it came in
        """Return a column or columns of some rows, as the library of the frame has them."""
        index = rows if self.selector is None else self.selector[rows]
        kind = kind_of(self.frame)
        if kind == "pandas":
            return self.frame[names].iloc[index]
        if kind == "polars":
            return self.frame.select(names)[index] if isinstance(names, list) else self.frame[names][index]
        if isinstance(names, list):
            return self.frame.select(names).take(pa.array(index))
        return self.frame[names].take(pa.array(index))


def read_made(sources: Sources, frames: Sequence[Any], salts: frozenset[int]) -> Iterator[Made]:
    """Yield the frames a preparation returned that have ids of the rows it was given.

    Args:
        sources: The session's registry.
        frames: What it returned: frames with ids, or row references, which keep the features they were split from.
        salts: Of the sources it was given.
    """
    for frame in frames:
        if isinstance(frame, RowRefs):
            columns = [_Column(name, frame.origins[name], places) for name, places in frame.positions.items()]
            held, selector = frame.features, frame.selector
            values = to_arrow(held)
            values = values if selector is None else values.take(pa.array(selector))
        else:
            held, selector = hold(frame) if kind_of(frame) in LAZY else frame, None
            ids = id_columns(column_names(held))
            found = [
                resolve(sources, name, column_values(held, name))
                for name in ids
                if sources.find(name.removeprefix(ROW_PREFIX))
            ]
            columns = [_Column(one.reference, one.origin, one.positions, one.failure) for one in found]
            values = to_arrow(drop_columns(held, ids))
        named = {one.name: np.asarray(one.places, np.int64) for one in columns if _is_of(one.origin, salts)}
        groups = {
            one.name: (one.origin, np.asarray(one.places, np.int64))
            for one in columns
            if isinstance(one.origin, MixNode) and any(_is_of(inner, salts) for inner in one.origin.origins.values())
        }
        if named or groups:
            yield Made(
                values=values,
                positions=named,
                groups=groups,
                failures=tuple(one.failure for one in columns if one.failure is not None),
                frame=held,
                selector=selector,
            )


class _Column(NamedTuple):
    name: str
    origin: Origin
    places: NDArray[np.signedinteger[Any]]
    failure: str | None = None


def _is_of(origin: Origin, salts: frozenset[int]) -> bool:
    return isinstance(origin, tuple) and any(snapshot.salt in salts for snapshot in origin)


def match_rows(
    tracer: Tracer,
    references: Mapping[str, Reference],
    positions: Mapping[str, NDArray[np.int64]],
    made: Made,
    values: pa.Table,
) -> tuple[NDArray[np.int64], list[str]]:
    """Return for each prediction the row that is its own, or −1 and why there is none.

    Args:
        tracer: Reads what was recorded of groups.
        references: What the predictions' positions point to.
        positions: Their positions.
        made: What the preparation returned.
        values: Those of its columns that matter: rows that agree in them are one.
    """
    names = [name for name, one in references.items() if one.group is None and name in made.positions]
    labelled = [
        pair
        for name, one in references.items()
        if one.group is not None and name in made.groups
        for pair in _labels(tracer.edges(one.group), positions[name], *made.groups[name])
    ]
    own = [(positions[name].astype(np.int64), made.positions[name]) for name in names]
    asked, count = len(next(iter(positions.values()))), values.num_rows
    damaged = np.zeros(asked, np.bool_)
    for places, _ in own:
        damaged |= places == BROKEN
    sound = np.ones(count, np.bool_)
    for _, places in own:
        sound &= places != BROKEN
    pairs = own or labelled
    if not pairs:
        return np.full(asked, -1, np.int64), ["what came out has no ids that the prediction has"] * asked
    first = _Index(pairs, asked, sound)
    second = _Index([*own, *labelled], asked, sound) if own and labelled else None
    alike = _alike(values, first)
    chosen = np.where(damaged, -1, first.single())
    reasons = ["" if row >= 0 else NONE_CAME_OUT for row in chosen.tolist()]
    for row in np.flatnonzero(~damaged & (chosen < 0)).tolist():
        rows = first.rows(row)
        if len(rows) > 1 and second is not None and len({alike[at] for at in rows.tolist()}) > 1:
            rows = second.rows(row) if len(second.rows(row)) else rows
        if len(rows) and len({alike[at] for at in rows.tolist()}) == 1:
            chosen[row], reasons[row] = rows[0], ""
        elif len(rows):
            reasons[row] = f"{len(rows)} rows with different values came out for it"
    for row in np.flatnonzero(damaged).tolist():
        reasons[row] = "the id of one of its rows was broken when it was recorded"
    if made.failures:
        reasons = [made.failures[0] if reason == NONE_CAME_OUT else reason for reason in reasons]
    return chosen, reasons


class _Index:
    """Finds the rows that came out by what they are made of."""

    def __init__(
        self, pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]], asked: int, sound: NDArray[np.bool_]
    ) -> None:
        table = pa.table(
            {str(at): np.concatenate([then, now]).astype(np.int64, copy=False) for at, (then, now) in enumerate(pairs)}
        )
        codes = row_codes(table, table.column_names)
        self._asked, self._came = codes[:asked], codes[asked:][sound]
        self._rows = np.flatnonzero(sound)[np.argsort(self._came, kind="stable")]
        self._came = np.sort(self._came)
        self._low = np.searchsorted(self._came, self._asked)
        self._high = np.searchsorted(self._came, self._asked, "right")

    def rows(self, asked: int) -> NDArray[np.int64]:
        """Return the rows for one prediction, in their order."""
        return self._rows[self._low[asked] : self._high[asked]]

    def single(self) -> NDArray[np.int64]:
        """Return for each prediction its row where it has exactly one, else −1."""
        rows = np.append(self._rows, -1)[np.minimum(self._low, len(self._rows))]
        return np.where(self._high - self._low == 1, rows, -1)

    def doubled(self) -> NDArray[np.int64]:
        """Return all rows of predictions that more than one came out for."""
        many = np.flatnonzero(self._high - self._low > 1)
        parts = [self._rows[self._low[at] : self._high[at]] for at in many]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))


def _alike(values: pa.Table, index: _Index) -> NDArray[np.int64]:
    """Return numbers that are equal where rows are equal to the bit; rows nobody has to tell apart have their own."""
    numbers = np.arange(values.num_rows, dtype=np.int64)
    doubled = index.doubled()
    if len(doubled):
        seen: dict[bytes, int] = {}
        encoded = (row for block in iter_blocks(values.take(pa.array(doubled))) for row in block.rows())
        numbers[doubled] = [seen.setdefault(row, at) for row, at in zip(encoded, doubled.tolist(), strict=True)]
    return numbers


def _labels(
    edges: Edges, numbers: NDArray[Any], node: MixNode, made: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield for each source of a group labels of each prediction's group, and of that of each row that came out."""
    for name, one in edges.refs.items():
        if one.group is not None or name not in node.refs:
            continue
        then, now = edges.positions[name].astype(np.int64), np.asarray(node.refs[name], np.int64)
        if edges.order is None:  # a window is that of a row
            of_then, of_now = then, now
        else:
            total = np.concatenate(([np.uint64(0)], np.cumsum(_mixed(then[edges.order]), dtype=np.uint64)))
            of_then = (total[edges.ends] - total[edges.begins]).view(np.int64)
            if not isinstance(node, GroupNode):
                continue
            sums = np.zeros(node.groups, np.uint64)
            np.add.at(sums, node.codes, _mixed(now))
            of_now = sums.view(np.int64)
        yield _at(of_then, numbers), _at(of_now, made)


def _at(labels: NDArray[np.int64], numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Return the labels of some groups; 0 for none."""
    found = np.zeros(len(numbers), np.int64)
    is_there = numbers >= 0
    found[is_there] = labels[numbers[is_there]]
    return found


def _mixed(positions: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return positions so mixed that sums of different sets of them differ."""
    x = positions.view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
