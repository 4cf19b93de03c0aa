"""What changed between two tables: columns first, by their digests, then rows, by key or by content.

A column whose digests are equal is not read, unless rows have to be found by their whole content. Rows are compared by
their hashes, sorted outside of memory where they are many: what stands under one hash on both sides belongs together.
Of the row that is there most often, each takes 40 bytes of memory. Values are fetched for some rows only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import FlatColumn, flatten
from backstory.columns.encode import BLOCK_ROWS, encode_columns
from backstory.columns.leaf_sort import MEMORY_BYTES, Sorter
from backstory.columns.python_value import python_rows
from backstory.errors import ColumnError, KeyNotUniqueError
from backstory.records.schema import split_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.records.canonical import JsonValue

Way: TypeAlias = Literal["position", "key", "content"]
"""How rows of two tables find each other: their keys stand at the same positions, they have keys, or by content."""
Read: TypeAlias = Callable[[list[str]], Iterator[pa.Table]]
_Records: TypeAlias = "NDArray[np.void]"
_Positions: TypeAlias = "NDArray[np.int64]"

_HASH: Final = 16
_POSITION: Final = 7
_RECORD: Final = np.dtype([("id", f"V{_HASH}"), ("side", "u1"), ("row", f"V{_HASH}"), ("position", f"V{_POSITION}")])
"""What is sorted: what finds the row, which side it is of, what is compared, and where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two tables that are compared.

    Attributes:
        label: What it is called.
        rows: Number of rows.
        types: Logical type of each column by its flattened name, in table order.
        digests: Digest of each column by its flattened name.
        key: Columns that identify a row; empty if none do.
        personal: Whether it is about people: hashes of its rows stay in memory.
        read: Gives the rows of some columns anew, in order, as tables; the columns by their names in the table.
    """

    label: str
    rows: int
    types: Mapping[str, JsonValue]
    digests: Mapping[str, str]
    key: tuple[str, ...]
    personal: bool
    read: Read


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """One row that is on both sides with other values.

    Attributes:
        before: Its position in the first table.
        after: Its position in the second.
        key: Its key.
        cells: Of each changed column the two values.
    """

    before: int
    after: int
    key: Mapping[str, Any]
    cells: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What became of the columns.

    Attributes:
        added: In the second table only.
        removed: In the first table only.
        retyped: Of another logical type: before and after.
        changed: With other values, or the same in another order.
        same: Equal from the first row to the last.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    retyped: Mapping[str, tuple[JsonValue, JsonValue]]
    changed: tuple[str, ...]
    same: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What became of the rows: how many, and some of them.

    Attributes:
        way: How rows were found: by position, as the keys of both stand at the same positions, by key or by content.
        key: Columns of the key; empty without one.
        added: How many are in the second table only.
        removed: How many are in the first only.
        changed: How many are in both with other values.
        added_rows: Some of the added, with their columns.
        added_positions: Where these stand in the second table.
        removed_rows: Some of the removed.
        removed_positions: Where these stand in the first table.
        changes: Some of the changed.
    """

    way: Way
    key: tuple[str, ...]
    added: int
    removed: int
    changed: int
    added_rows: pa.Table
    added_positions: tuple[int, ...]
    removed_rows: pa.Table
    removed_positions: tuple[int, ...]
    changes: tuple[RowChange, ...]


def compare_columns(before: Side, after: Side) -> Columns:
    """Return what became of the columns, without reading a row."""
    shared = [name for name in before.types if name in after.types]
    retyped = {
        name: (before.types[name], after.types[name]) for name in shared if before.types[name] != after.types[name]
    }
    comparable = [name for name in shared if name not in retyped]
    same = tuple(name for name in comparable if before.digests[name] == after.digests[name])
    return Columns(
        added=tuple(name for name in after.types if name not in before.types),
        removed=tuple(name for name in before.types if name not in after.types),
        retyped=retyped,
        changed=tuple(name for name in comparable if name not in same),
        same=same,
    )


def compare_rows(before: Side, after: Side, columns: Columns, limit: int, memory_bytes: int = MEMORY_BYTES) -> Rows:
    """Return what became of the rows, over the columns that both tables have with one type.

    Args:
        before: The first table.
        after: The second.
        columns: What became of the columns.
        limit: How many rows of each kind to fetch.
        memory_bytes: How much of memory the hashes of rows may take.

    Raises:
        ColumnError: The tables share no column by which rows could be compared.
        KeyNotUniqueError: Two rows of a table have the same key.
    """
    way, key = _way(before, after, columns)
    shared = [*columns.same, *columns.changed]
    if not shared:
        raise ColumnError("data diff: expected a column of the same name and type in both tables, got none")
    found = _Found(limit)
    if columns.changed:  # or all rows are the same, and as many
        compared = {"position": list(columns.changed), "key": [*key, *columns.changed], "content": shared}[way]
        names = [name for name in before.types if name in compared]
        sorter = Sorter(None if before.personal or after.personal else memory_bytes, _RECORD.itemsize)
        for number, side in enumerate((before, after)):
            for records in _records(side, names, way, key, number):
                sorter.add(records)
        found = _match(sorter, way, limit)
    shown = [name for name in before.types if name in key or name in columns.changed]
    removed, added = found.positions("removed"), found.positions("added")
    return Rows(
        way=way,
        key=key,
        added=found.counts["added"],
        removed=found.counts["removed"],
        changed=found.counts["changed"],
        added_rows=_fetch(after, added, list(after.types)),
        added_positions=tuple(added),
        removed_rows=_fetch(before, removed, list(before.types)),
        removed_positions=tuple(removed),
        changes=_changes(before, after, found.pairs(), key, shown),
    )


def _way(before: Side, after: Side, columns: Columns) -> tuple[Way, tuple[str, ...]]:
    """Return how rows find each other, and the columns of the key."""
    key = before.key if not after.key or after.key == before.key else ()
    key = key or (after.key if not before.key else ())
    if not key or any(name not in columns.same and name not in columns.changed for name in key):
        return "content", ()
    return ("position" if set(key) <= set(columns.same) else "key"), key


def _records(side: Side, names: list[str], way: Way, key: tuple[str, ...], number: int) -> Iterator[bytes]:
    """Yield what is sorted of one table, block by block."""
    position = 0
    for table in side.read(_tops(names)):
        for start in range(0, table.num_rows, BLOCK_ROWS):
            flat = [column for column in flatten(table.slice(start, BLOCK_ROWS)) if column.name in names]
            count = len(flat[0].values)
            places = np.arange(position, position + count, dtype=">u8")
            records = np.zeros(count, _RECORD)
            records["side"] = number
            records["position"] = places.view("u1").reshape(-1, 8)[:, -_POSITION:].copy().view(f"V{_POSITION}")[:, 0]
            if way == "content":
                records["id"] = _hashes(flat)
            else:
                keys, values = ([one for one in flat if (one.name in key) is is_key] for is_key in (True, False))
                records["row"] = _hashes(values) if values else np.zeros(count, f"V{_HASH}")
                records["id"] = _hashes(keys) if way == "key" else _padded(places)
            yield records.tobytes()
            position += count


def _hashes(columns: Sequence[FlatColumn]) -> NDArray[np.void]:
    """Return the first half of each row's hash."""
    return np.frombuffer(encode_columns(columns).hashes(), f"V{_HASH}")[::2]


def _padded(places: NDArray[np.uint64]) -> NDArray[np.void]:
    wide = np.zeros((len(places), _HASH), np.uint8)
    wide[:, :8] = places.view("u1").reshape(-1, 8)
    return wide.view(f"V{_HASH}")[:, 0]


class _Found:
    """Rows that are not the same on both sides: how many, and the positions of the first ones."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.counts = {"added": 0, "removed": 0, "changed": 0}
        self._first: dict[str, _Positions] = {kind: np.zeros((0, 2), np.int64) for kind in self.counts}

    def add(self, kind: str, before: _Positions, after: _Positions) -> None:
        """Take in rows by their positions on both sides; where a side has none, twice by that on the other."""
        self.counts[kind] += len(before)
        pairs = np.concatenate((self._first[kind], np.stack((before, after), axis=1)))
        self._first[kind] = pairs[np.argsort(pairs[:, 0], kind="stable")[: self._limit]]

    def positions(self, kind: str) -> list[int]:
        """Return the positions of the first rows of a kind."""
        return [int(position) for position in self._first[kind][:, 0]]

    def pairs(self) -> list[tuple[int, int]]:
        """Return the positions of the first changed rows on both sides."""
        return [(int(before), int(after)) for before, after in self._first["changed"]]


def _match(sorter: Sorter, way: Way, limit: int) -> _Found:
    """Put together what stands under one hash. A hash whose records may go on waits for the next ones."""
    found = _Found(limit)
    waiting = np.zeros(0, _RECORD)
    for data in sorter.records():
        records = np.concatenate((waiting, np.frombuffer(data, _RECORD)))
        if not len(records):
            continue
        last = int(np.argmax(records["id"] == records["id"][-1]))
        _match_whole(records[:last], way, found)
        waiting = records[last:]
    _match_whole(waiting, way, found)
    return found


def _match_whole(records: _Records, way: Way, found: _Found) -> None:
    """Put together records of which every hash is whole: of each the first side's come before the second's."""
    if not len(records):
        return
    begins = np.concatenate(([True], records["id"][1:] != records["id"][:-1]))
    group = np.cumsum(begins) - 1
    is_after = records["side"] == 1
    groups = int(group[-1]) + 1
    counts = [np.bincount(group[is_side], minlength=groups) for is_side in (~is_after, is_after)]
    place = _places(records)
    for count, is_side in zip(counts, (~is_after, is_after), strict=True):
        if way == "content" or (count <= 1).all():
            continue
        twice = place[is_side & (group == np.argmax(count > 1))]
        raise KeyNotUniqueError(
            f"data diff: expected the key to be unique, got the same in rows {twice[0]} and {twice[1]}",
            rows=[int(row) for row in twice[:2]],
        )
    first = np.flatnonzero(begins)[group]
    rank = np.arange(len(records)) - first - np.where(is_after, counts[0][group], 0)
    removed = ~is_after & (rank >= counts[1][group])
    added = is_after & (rank >= counts[0][group])
    found.add("removed", place[removed], place[removed])
    found.add("added", place[added], place[added])
    if way != "content":
        pairs = np.flatnonzero(~is_after & (counts[1][group] == 1))
        pairs = pairs[records["row"][pairs] != records["row"][pairs + 1]]
        found.add("changed", place[pairs], place[pairs + 1])


def _places(records: _Records) -> _Positions:
    wide = np.zeros((len(records), 8), np.uint8)
    wide[:, 1:] = np.ascontiguousarray(records["position"]).view("u1").reshape(-1, _POSITION)
    return wide.view(">u8")[:, 0].astype(np.int64)


def _fetch(side: Side, positions: Sequence[int], names: list[str]) -> pa.Table:
    """Return the rows at some positions, in this order, with the columns these flattened names are of."""
    wanted = np.sort(np.asarray(positions, np.int64))
    parts: list[pa.Table] = []
    begin = 0
    if not len(wanted):
        return next(iter(side.read(_tops(names)))).slice(0, 0)
    for table in side.read(_tops(names)):
        end = begin + table.num_rows
        inside = wanted[(wanted >= begin) & (wanted < end)]
        if len(inside):
            parts.append(table.take(pa.array(inside - begin)))
        begin = end
        if begin > wanted[-1]:
            break
    order = np.searchsorted(wanted, np.asarray(positions, np.int64))
    return pa.concat_tables(parts).take(pa.array(order))


def _changes(
    before: Side, after: Side, pairs: list[tuple[int, int]], key: tuple[str, ...], shown: list[str]
) -> tuple[RowChange, ...]:
    """Return the changed rows with the cells that differ; a struct is one cell."""
    if not pairs:
        return ()
    old = _fetch(before, [pair[0] for pair in pairs], shown)
    new = _fetch(after, [pair[1] for pair in pairs], shown)
    tops = _tops(key)
    differ = {
        name: _hashes(flatten(old.select([name]))) != _hashes(flatten(new.select([name]))) for name in old.column_names
    }
    rows = zip(pairs, python_rows(old), python_rows(new), strict=True)
    return tuple(
        RowChange(
            before=pair[0],
            after=pair[1],
            key={name: one[name] for name in tops},
            cells={name: (one[name], two[name]) for name in one if name not in tops and differ[name][number]},
        )
        for number, (pair, one, two) in enumerate(rows)
    )


def _tops(names: Sequence[str]) -> list[str]:
    """Return the names, in the table, of the columns that flattened columns are of."""
    return list(dict.fromkeys(split_name(name)[0] for name in names))
