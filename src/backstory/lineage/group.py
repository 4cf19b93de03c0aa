"""Groups: row-mixing steps whose lineage is kept.

`group` runs the caller's own library and keeps, beside the result, the number of the group each input row went into.
The step is never inverted here: from a group to its rows is a question, asked later and rarely.

What an aggregation means is what the library says: pandas and pyarrow skip nulls in `first`, `last` and `nunique`,
polars counts them. `std` has n-1 in the denominator everywhere. The lineage of an output row is every row of its group,
skipped values included.

Specification: docs/format.md section 11.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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

    from backstory.records.canonical import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixNode(ABC):
    """One row-mixing step: a group, or the windows of `lineage.window`.

    Attributes:
        name: The step's name; its ids are in `_row_<name>`.
        by: The key columns.
        aggs: For each output column, the input column and the aggregation.
        groups: Number of groups of rows; they are numbered from 0.
        salt: The 64 random bits in the step's tokens.
        order: For each row of the step's result, the number of its group.
        refs: For each reference name of the input, one position for each row that took part.
        origins: What those positions point into: parts of sources, or other steps.
        load_inputs: Gives the columns the step looked at, of the rows that took part, as they were.
        load_outputs: Gives the step's columns of its result, without ids, in its own order.
    """

    name: str
    by: tuple[str, ...]
    aggs: Mapping[str, tuple[str, str]]
    groups: int
    salt: int
    order: NDArray[np.uint32]
    refs: Mapping[str, NDArray[np.signedinteger[Any]]]
    origins: Mapping[str, Origin]
    load_inputs: Callable[[], pa.Table]
    load_outputs: Callable[[], pa.Table]

    @abstractmethod
    def memberships(self) -> dict[str, pa.Array]:
        """Return the columns of the edge table that say which rows went where."""

    def document(self) -> JsonObject:
        """Return what the step's document says of it, without its edges."""
        return {
            "aggs": {output: [column, function] for output, (column, function) in self.aggs.items()},
            "by": list(self.by),
            "groups": str(self.groups),
            "name": self.name,
            "v": 1,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupNode(MixNode):
    """A group: which input rows went into which output row, numbered by first appearance.

    Attributes:
        dropna: True if rows with a null key took no part.
        rows: Number of rows of the input, those that took no part included.
        codes: For each row that took part, the number of its group.
    """

    dropna: bool
    rows: int
    codes: NDArray[np.uint32]

    def memberships(self) -> dict[str, pa.Array]:
        """Return the number of each row's group."""
        return {"group": pa.array(self.codes, pa.uint32())}

    def document(self) -> JsonObject:
        """Return what the group's document says of it, without its edges."""
        return {**MixNode.document(self), "dropna": self.dropna}


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
        frame: A pandas, polars or pyarrow frame or a DuckDB relation, with at least one id column. A lazy frame or
            relation is run once.
        by: Key column or columns.
        name: The group's name.
        salt: 64 random bits, drawn for this call.
        dropna: Leave out rows with a null in a key, as pandas does; with False they make groups, as polars does.
        aggs: Output columns: `route_mean=("dep_delay", "mean")`. One of mean, sum, count, min, max, std, first, last,
            nunique.

    Returns:
        The library's own result (pandas: keys as columns, sorted; polars and pyarrow: in order of appearance; DuckDB:
        in that of the first ids; lazy for a lazy frame, a table for a record batch) with the column `_row_<name>`, and
        the group. Categories without rows make no group.

    Raises:
        ColumnError: A column is missing or an id column, or an output name is taken.
        InputError: An aggregation is unknown, or the name cannot be used.
        TokenError: There is no id column, or a token does not check.
    """
    require_name(name, salt)
    keys = names_given(by)
    names = column_names(frame)
    ids = require_ids(frame, names)
    require_plan(names, keys, name, aggs)
    result = aggregate(frame, keys, aggs, ids, dropna=dropna)
    resolved = [resolve_whole(sources, result.input, column) for column in ids]
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
        load_inputs=later(result.input, [*keys, *(column for column, _ in aggs.values())], result.taking_part),
        load_outputs=later(result.frame, [*keys, *aggs], None),
    )
    sources.add(name, node)
    tokens = mint_tokens(order.astype(np.int64), salt)
    return result.as_given(with_column(result.frame, ROW_PREFIX + name, tokens)), node


def later(frame: Frame, names: list[str], rows: NDArray[np.bool_] | None) -> Callable[[], pa.Table]:
    """Return a way to have some columns of a frame as they are now; nothing is converted before it is asked for.

    Args:
        frame: A frame that was run.
        names: The columns; one may stand more than once.
        rows: Which of its rows; None for all.
    """
    held = hold(select_columns(frame, list(dict.fromkeys(names))))

    def load() -> pa.Table:
        table = to_arrow(held)
        return table if rows is None else table.filter(pa.array(rows))

    return load


def require_plan(names: list[str], by: tuple[str, ...], name: str, aggs: Mapping[str, tuple[str, str]]) -> None:
    """Refuse what cannot be grouped, or not traced: columns that are missing or ids, unknown aggregations.

    Args:
        names: Columns of the input.
        by: Key columns.
        name: Name of the step.
        aggs: For each output column, an input column and an aggregation.

    Raises:
        ColumnError: A column is missing or an id column, or an output name is that of a key.
        InputError: There is no key or no aggregation, or one of another form or unknown.
    """
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


def resolve_whole(sources: Sources, frame: Frame, column: str) -> Resolved:
    """Read an id column of which every token must check.

    Raises:
        TokenError: One does not.
    """
    resolved = resolve(sources, column, column_values(frame, column))
    if resolved.failure is not None:
        raise TokenError(resolved.failure, column=column)
    return resolved


def _by_first_appearance(numbers: NDArray[np.int64], groups: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return each input row's group number, and each output row's, counting groups as they first appear."""
    rank = np.empty(groups, np.uint32)
    rank[np.argsort(first_rows(numbers, groups))] = np.arange(groups, dtype=np.uint32)
    return rank[numbers], rank
