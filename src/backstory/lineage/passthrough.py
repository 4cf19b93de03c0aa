"""Which sources a row-mixing step mixes: those whose columns it aggregates or groups by.

A frame that reaches a group may carry the ids of sources the step never looks at: a weather row joined to a flight has
no part in a mean of delays. A column belongs to a source if every one of its values is the source's own value at the
position its row names; to several, as after a union, if each has all values where it has a row. That is compared,
value by value, not guessed from names. A column that belongs to none was computed from something, and then every source
of the frame stays. See docs/adr/0005.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, unchunked
from backstory.frames.equality import same_values
from backstory.frames.key import find_duplicate, row_codes
from backstory.lineage.resolve import BROKEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.lineage.group import MixNode
    from backstory.lineage.source import Origin


def mixed_references(node: MixNode) -> list[str]:
    """Return the references of a group's or window's input whose rows it mixes.

    Returns:
        The smallest choice found, by taking the reference that carries most columns first; all references if a column
        is carried by none. Those that multiplied rows of the choice are in it too: how often a value counts is up to
        them. In the input's order.
    """
    inputs = node.load_inputs()
    carried = {name: _carried_columns(inputs, node.refs[name], origin) for name, origin in node.origins.items()}
    without = {name: pa.array(node.refs[name] < 0) for name in carried}
    whole = {
        name: {column for column in columns if _all_null(inputs[column], without[name])}
        for name, columns in carried.items()
    }
    chosen: set[str] = set()

    def is_carried(column: str) -> bool:
        """Say whether the choice carries a column together, as a union does: of each row one of it."""
        parts = [without[name] for name in chosen if column in carried[name]]
        return bool(parts) and _all_null(inputs[column], functools.reduce(pc.and_, parts))

    for column in inputs.column_names:
        if not any(column in columns for columns in whole.values()):
            chosen.update(name for name, columns in carried.items() if column in columns)
            if not is_carried(column):
                return list(node.refs)
    left = {column for column in inputs.column_names if not is_carried(column)}
    while left:
        best = max(whole, key=lambda name: len(whole[name] & left))
        chosen.add(best)
        left -= whole[best]
    return _with_multipliers(node, [name for name in node.refs if name in chosen])


def _all_null(values: pa.ChunkedArray, rows: pa.Array) -> bool:
    """Say whether a column has no value in some rows."""
    return bool(values.null_count == len(values) or values.filter(rows).null_count == rows.true_count)


def _with_multipliers(node: MixNode, chosen: list[str]) -> list[str]:
    """Return the choice with those whose rows differ where the rows of the choice are the same.

    A join with them took a row of the choice several times. Where rows are the same in all references, none did: it was
    drawn more than once, or its list made rows.
    """
    codes = row_codes(pa.table({name: node.refs[name] for name in chosen}), chosen)
    if find_duplicate(codes) is None:
        return chosen
    added = set(chosen)
    while True:
        counts = {name: _count(codes, node.refs[name]) for name in node.refs if name not in added}
        most = max(counts.values(), default=0)
        if most <= len(np.unique(codes)):
            return [name for name in node.refs if name in added]
        finest = [name for name, count in counts.items() if count == most]
        # A step made of the rows of a source is as fine as it: then it was the source that was joined.
        named = [name for name in finest if isinstance(node.origins[name], tuple)] or finest
        added.update(named)
        codes = row_codes(pa.table({"codes": codes, **{name: node.refs[name] for name in named}}), ["codes", *named])


def _count(codes: NDArray[np.int64], positions: NDArray[np.signedinteger[Any]]) -> int:
    return len(np.unique(row_codes(pa.table({"codes": codes, "positions": positions}), ["codes", "positions"])))


def _carried_columns(inputs: pa.Table, positions: NDArray[np.signedinteger[Any]], origin: Origin) -> set[str]:
    """Return the columns whose every value is the origin's, in the rows that have one of it."""
    if (positions == BROKEN).any():
        return set()
    present = positions >= 0
    if not present.all():
        inputs, positions = inputs.filter(pa.array(present)), positions[present]
    carried = set(inputs.column_names) if len(positions) else set()
    for table, first, rows in _tables(origin):
        inside = (positions >= first) & (positions < first + rows)
        is_whole = bool(inside.all())
        part = inputs if is_whole else inputs.filter(pa.array(inside))
        indices = pa.array(positions - first if is_whole else positions[inside] - first, pa.int64())
        carried = {
            name for name in carried if name in table.column_names and _carries(table[name], indices, part[name])
        }
    return carried


def _carries(source: pa.ChunkedArray, indices: pa.Array, values: pa.ChunkedArray) -> bool:
    """Say whether values are a source's own, or each is out of the list its row has."""
    own = decoded(unchunked(source)).take(indices)
    if _is_list(own.type) and not _is_list(values.type):
        return _are_of_lists(own, decoded(unchunked(values)))
    return same_values(own, values)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _are_of_lists(lists: pa.Array, values: pa.Array) -> bool:
    """Say whether each value is in the list beside it; a null may be of no list, or of one without values."""
    parents, items = lists.value_parent_indices(), lists.flatten()
    try:
        beside = values.cast(items.type).take(parents)
        same = pc.fill_null(pc.equal(items, beside), fill_value=False)
    except (pa.ArrowException, NotImplementedError):  # of types that cannot be compared
        return False
    found = pc.and_(pc.is_null(values), pc.equal(pc.fill_null(pc.list_value_length(lists), 0), 0))
    rows = found.to_numpy(zero_copy_only=False).copy()
    rows[parents.filter(pc.or_(same, pc.and_(pc.is_null(items), pc.is_null(beside)))).to_numpy()] = True
    return bool(rows.all())


def _tables(origin: Origin) -> list[tuple[pa.Table, int, int]]:
    """Return the tables positions point into, each with its first position and its number of rows."""
    if isinstance(origin, tuple):
        return [(snapshot.table(), snapshot.first_position, snapshot.rows) for snapshot in origin]
    outputs = origin.load_outputs().take(pa.array(np.argsort(origin.order)))
    return [(outputs, 0, origin.groups)]
