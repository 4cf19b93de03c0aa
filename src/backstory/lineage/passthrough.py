"""Which sources a row-mixing step mixes: those whose columns it aggregates or groups by.

A frame that reaches a group may carry the ids of sources the step never looks at: a weather row joined to a flight has
no part in a mean of delays. A column belongs to a source if every one of its values is the source's own value at the
position its row names. That is compared, value by value, not guessed from names. A column that belongs to none was
computed from something, and then every source of the frame stays. See docs/adr/0005.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backstory.columns.arrow_type import decoded, unchunked
from backstory.frames.equality import same_values
from backstory.frames.key import find_duplicate, row_codes
from backstory.lineage.resolve import BROKEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.lineage.group import GroupNode
    from backstory.lineage.source import Origin


def mixed_references(node: GroupNode) -> list[str]:
    """Return the references of a group's input whose rows it mixes.

    Returns:
        The smallest choice found, by taking the reference that carries most columns first; all references if a column
        is carried by none, or if rows of the choice take part more than once: then a join multiplied them, and how
        often a value counts is up to the other side of it. In the input's order.
    """
    inputs = node.load_inputs()
    carried = {name: _carried_columns(inputs, node.refs[name], origin) for name, origin in node.origins.items()}
    left = set(inputs.column_names)
    chosen: set[str] = set()
    while left:
        best = max(carried, key=lambda name: len(carried[name] & left))
        if not carried[best] & left:
            return list(node.refs)
        chosen.add(best)
        left -= carried[best]
    names = [name for name in node.refs if name in chosen]
    rows = row_codes(pa.table({name: node.refs[name] for name in names}), names)
    return names if find_duplicate(rows) is None else list(node.refs)


def _carried_columns(inputs: pa.Table, positions: NDArray[np.signedinteger[Any]], origin: Origin) -> set[str]:
    """Return the columns whose every value is the origin's at the row's position."""
    if (positions == BROKEN).any():
        return set()
    carried = set()
    for table, first, rows in _tables(origin):
        inside = (positions >= first) & (positions < first + rows)
        if not inside.all() and (positions[~inside] >= 0).any():
            return _carried_by_parts(inputs, positions, origin)
        indices = pa.array(positions - first, pa.int64(), mask=positions < 0)
        for name in inputs.column_names:
            if name in table.column_names and same_values(_taken(table, name, indices), inputs[name]):
                carried.add(name)
    return carried


def _carried_by_parts(inputs: pa.Table, positions: NDArray[np.signedinteger[Any]], origin: Origin) -> set[str]:
    """As `_carried_columns`, where the rows come from several parts of a source."""
    carried = set(inputs.column_names)
    for table, first, rows in _tables(origin):
        inside = (positions >= first) & (positions < first + rows)
        part = inputs.filter(pa.array(inside))
        indices = pa.array(positions[inside] - first, pa.int64())
        for name in list(carried):
            if name not in table.column_names or not same_values(_taken(table, name, indices), part[name]):
                carried.discard(name)
    unmatched = inputs.filter(pa.array(positions < 0))
    return {name for name in carried if unmatched[name].null_count == unmatched.num_rows}


def _tables(origin: Origin) -> list[tuple[pa.Table, int, int]]:
    """Return the tables positions point into, each with its first position and its number of rows."""
    if isinstance(origin, tuple):
        return [(snapshot.table(), snapshot.first_position, snapshot.rows) for snapshot in origin]
    outputs = origin.load_outputs().take(pa.array(np.argsort(origin.order)))
    return [(outputs, 0, origin.groups)]


def _taken(table: pa.Table, name: str, indices: pa.Array) -> pa.Array:
    return decoded(unchunked(table[name])).take(indices)
