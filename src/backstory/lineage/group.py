"""Groups: row-mixing steps whose lineage is kept.

`group` runs the caller's own library and keeps, beside the result, the number of the group each input row went into.
The step is never inverted here: from a group to its rows is a question, asked later and rarely.

What an aggregation means is what the library says: pandas and pyarrow skip nulls in `first`, `last` and `nunique`,
polars counts them. `std` has n-1 in the denominator everywhere. The lineage of an output row is every row of its group,
skipped values included.

Specification: docs/format.md section 11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backstory.errors import ColumnError, InputError, TokenError
from backstory.frames.aggregate import AGGREGATIONS, aggregate
from backstory.frames.key import first_rows
from backstory.frames.table import (
    Frame,
    column_names,
    column_values,
    hold,
    names_given,
    require_columns,
    select_columns,
    to_arrow,
    with_column,
)
from backstory.frames.token import ROW_PREFIX, id_columns, mint_tokens
from backstory.lineage.resolve import Resolved, resolve
from backstory.lineage.source import Origin, Sources, require_name
from backstory.lineage.split import require_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupNode:
    """One row-mixing step: which input rows went into which output row.

    Attributes:
        name: The group's name; its ids are in `_row_<name>`.
        by: The key columns.
        aggs: For each output column, the input column and the aggregation.
        dropna: True if rows with a null key took no part.
        groups: Number of groups; group numbers run from 0 by first appearance.
        salt: The 64 random bits in the group's tokens.
        rows: Number of rows of the input, those that took no part included.
        codes: For each row that took part, the number of its group.
        order: For each row of the grouped frame, the number of its group.
        refs: For each reference name of the input, one position for each row that took part.
        origins: What those positions point into: parts of sources, or other groups.
        load_inputs: Gives the key and aggregated columns of the rows that took part, as they were.
        load_outputs: Gives the grouped frame without ids, in its own order.
    """

    name: str
    by: tuple[str, ...]
    aggs: Mapping[str, tuple[str, str]]
    dropna: bool
    groups: int
    salt: int
    rows: int
    codes: NDArray[np.uint32]
    order: NDArray[np.uint32]
    refs: Mapping[str, NDArray[np.signedinteger[Any]]]
    origins: Mapping[str, Origin]
    load_inputs: Callable[[], pa.Table]
    load_outputs: Callable[[], pa.Table]


def group(
    sources: Sources,
    frame: Frame,
    by: str | Sequence[str],
    *,
    name: str,
    salt: int,
    dropna: bool = True,
    **aggs: tuple[str, str],
) -> tuple[Frame, GroupNode]:
    """Aggregate rows by key and keep which rows went where.

    Args:
        sources: The session's registry; the group is added to it.
        frame: A pandas, polars or pyarrow frame with at least one id column. A lazy frame is run once.
        by: Key column or columns.
        name: The group's name.
        salt: 64 random bits, drawn for this call.
        dropna: Leave out rows with a null in a key, as pandas does; with False they make groups, as polars does.
        aggs: Output columns: `route_mean=("dep_delay", "mean")`. One of mean, sum, count, min, max, std, first, last,
            nunique.

    Returns:
        The library's own result (pandas: keys as columns, sorted; polars and pyarrow: in order of appearance; lazy for
        a lazy frame, a table for a record batch) with the column `_row_<name>`, and the group.

    Raises:
        ColumnError: A column is missing or an id column, or an output name is taken.
        InputError: An aggregation is unknown, or the name cannot be used.
        TokenError: There is no id column, or a token does not check.
    """
    require_name(name, salt)
    keys = names_given(by)
    names = column_names(frame)
    ids = require_ids(names)
    _require_plan(names, keys, name, aggs)
    result = aggregate(frame, keys, aggs, ids, dropna=dropna)
    resolved = [_resolve(sources, result.input, column) for column in ids]
    codes, order = _by_first_appearance(result.numbers, result.groups)
    part = slice(None) if result.taking_part is None else result.taking_part
    node = GroupNode(
        name=name,
        by=keys,
        aggs=dict(aggs),
        dropna=dropna,
        groups=result.groups,
        salt=salt,
        rows=result.rows,
        codes=codes,
        order=order,
        refs={column.reference: column.positions[part] for column in resolved},
        origins={column.reference: column.origin for column in resolved},
        load_inputs=_later(result.input, [*keys, *(column for column, _ in aggs.values())], result.taking_part),
        load_outputs=_later(result.frame, [*keys, *aggs], None),
    )
    sources.add(name, node)
    return with_column(result.frame, ROW_PREFIX + name, mint_tokens(order.astype(np.int64), salt)), node


def _later(frame: Frame, names: list[str], rows: NDArray[np.bool_] | None) -> Callable[[], pa.Table]:
    """Return a way to have some columns of a frame as they are now; nothing is converted before it is asked for."""
    held = hold(select_columns(frame, list(dict.fromkeys(names))))

    def load() -> pa.Table:
        table = to_arrow(held)
        return table if rows is None else table.filter(pa.array(rows))

    return load


def _require_plan(names: list[str], by: tuple[str, ...], name: str, aggs: Mapping[str, tuple[str, str]]) -> None:
    if not by or not aggs:
        raise InputError(f"cannot group: expected at least one key and one aggregation, got {len(by)} and {len(aggs)}")
    for output, plan in aggs.items():
        if not isinstance(plan, tuple | list) or [type(part) for part in plan] != [str, str]:
            raise InputError(
                f"aggregation: expected {output}=(column, function), such as ('dep_delay', 'mean'), "
                f"got {type(plan).__name__} (group {name})"
            )
    inputs = dict.fromkeys(column for column, _ in aggs.values())
    reserved = id_columns([*by, *inputs, *aggs])
    if reserved:
        raise ColumnError(f"row ids cannot be grouped: expected other columns, got {reserved[0]!r}", columns=reserved)
    require_columns(names, by, f"the input of group {name}")
    require_columns(names, list(inputs), f"the input of group {name}")
    taken = [output for output in aggs if output in by]
    if taken:
        raise ColumnError(
            f"output name is taken: expected a new one, got key {taken[0]!r} (group {name})", columns=taken
        )
    unknown = sorted({function for _, function in aggs.values()} - AGGREGATIONS)
    if unknown:
        raise InputError(
            f"unknown aggregation: expected one of {', '.join(sorted(AGGREGATIONS))}, got {unknown[0]!r} (group {name})"
        )


def _resolve(sources: Sources, frame: Frame, column: str) -> Resolved:
    resolved = resolve(sources, column, column_values(frame, column))
    if resolved.failure is not None:
        raise TokenError(resolved.failure, column=column)
    return resolved


def _by_first_appearance(numbers: NDArray[np.int64], groups: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return each input row's group number, and each output row's, counting groups as they first appear."""
    rank = np.empty(groups, np.uint32)
    rank[np.argsort(first_rows(numbers, groups))] = np.arange(groups, dtype=np.uint32)
    return rank[numbers], rank
