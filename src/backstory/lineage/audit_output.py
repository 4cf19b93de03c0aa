"""What one run of an audited step gave: its rows by what they are made of, and how two runs differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, unchunked
from backstory.frames.table import Frame, column_names, column_values, drop_columns, row_count, to_arrow
from backstory.frames.token import id_columns
from backstory.lineage.group import GroupNode, MixNode
from backstory.lineage.resolve import resolve
from backstory.lineage.source import Origin, Sources
from backstory.lineage.window import WindowNode

if TYPE_CHECKING:
    from numpy.typing import NDArray

Influence: TypeAlias = Literal["own", "declared", "others"]
"""By which rows a column changes: those its row names, those in a group it names, or others."""

ROWS = "(rows)"
"""Stands for a column where rows themselves come or go."""

_Claim: TypeAlias = "Callable[[str, NDArray[np.int64]], NDArray[np.bool_]]"
"""Tells which output rows name some input rows of a frame."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Table:
    """One frame a run gave.

    Attributes:
        prefix: Stands before its columns' names, where there are several frames.
        values: Its columns without ids.
        labels: For each row what it is made of, as numbers.
        named: For each id column the name of the frame it is of, and the input row that each row names; -1 for none.
        declared: Tell which rows name a group an input row went into.
    """

    prefix: str
    values: pa.Table
    labels: NDArray[np.int64]
    named: tuple[tuple[str, NDArray[np.int64]], ...]
    declared: tuple[_Claim, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Output:
    """What one run gave.

    Attributes:
        tables: Its frames.
        problems: What is wrong with their ids, in words.
    """

    tables: tuple[_Table, ...]
    problems: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [table.prefix + name for table in self.tables for name in table.values.column_names]

    def named(self, frame: str) -> NDArray[np.int64]:
        """Return the rows of a frame of the input that some row of it names."""
        found = [positions for table in self.tables for name, positions in table.named if name == frame]
        rows = np.unique(np.concatenate([np.zeros(0, np.int64), *found]))
        return rows[rows >= 0]

    @property
    def rows(self) -> int:
        """Number of rows of all frames."""
        return sum(table.values.num_rows for table in self.tables)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """Rows in which a column of two runs differs.

    Attributes:
        column: Its name, or `(rows)`.
        table: Number of the frame.
        before: Rows of the first run.
        after: The same rows in the second; empty for rows that went, as `before` is for rows that came.
    """

    column: str
    table: int
    before: NDArray[np.int64]
    after: NDArray[np.int64]


def read_output(
    sources: Sources, frames: list[Frame], references: Mapping[str, str], interned: dict[object, int]
) -> Output:
    """Take the ids off what a run gave, and read them.

    Args:
        sources: The session's registry.
        frames: What it gave; eager.
        references: Name of each frame of the input, by the name its ids go by.
        interned: Numbers of groups by their keys: the same in all runs, as their ids are not.
    """
    tables, problems = [], []
    for number, frame in enumerate(frames, 1):
        ids = id_columns(column_names(frame))
        of_groups: list[NDArray[np.int64]] = []
        named: list[tuple[str, NDArray[np.int64]]] = []
        declared: list[_Claim] = []
        for column in ids:
            resolved = resolve(sources, column, column_values(frame, column))
            positions = np.asarray(resolved.positions, np.int64)
            if resolved.failure is not None:
                problems.append(resolved.failure)
            elif isinstance(resolved.origin, MixNode):
                of_groups.append(_group_labels(resolved.origin, positions, interned))
                declared.append(_through(resolved.origin, positions, references))
            elif resolved.origin[0].name in references:
                named.append((references[resolved.origin[0].name], positions))
        if not named and not declared:
            problems.append(f"the frame it returned as number {number} has no row ids of what it was given")
        labels = [positions for _, positions in named] or of_groups or [np.arange(row_count(frame))]
        tables.append(
            _Table(
                prefix="" if len(frames) == 1 else f"{number}.",
                values=to_arrow(drop_columns(frame, ids)),
                labels=np.stack(labels, axis=1),
                named=tuple(named),
                declared=tuple(declared),
            )
        )
    return Output(tables=tuple(tables), problems=tuple(problems))


def differences(first: Output, second: Output) -> Iterator[Change]:
    """Yield in which rows which columns of two runs differ; rows are matched by what they are made of."""
    for number, (before, after) in enumerate(zip(first.tables, second.tables, strict=False)):
        own, other = _matched(before.labels, after.labels)
        for name in dict.fromkeys([*before.values.column_names, *after.values.column_names]):
            if name in before.values.column_names and name in after.values.column_names:
                columns = (before.values[name].take(pa.array(own)), after.values[name].take(pa.array(other)))
                changed = _unequal(*(decoded(unchunked(column)) for column in columns))
            else:
                changed = np.ones(len(own), np.bool_)
            if changed.any():
                yield Change(column=before.prefix + name, table=number, before=own[changed], after=other[changed])
        gone = np.setdiff1d(np.arange(len(before.labels)), own)
        come = np.setdiff1d(np.arange(len(after.labels)), other)
        nothing = np.zeros(0, np.int64)
        if len(gone):
            yield Change(column=ROWS, table=number, before=gone, after=nothing)
        if len(come):
            yield Change(column=ROWS, table=number, before=nothing, after=come)


def influences(
    first: Output, second: Output, frame: str, rows: NDArray[np.int64], change: Change
) -> dict[Influence, int]:
    """Return in how many of the rows that differ the changed input rows are their own, declared, or others.

    Args:
        first: The run before the change.
        second: The run after it.
        frame: Name of the frame in which rows were changed.
        rows: The rows.
        change: What differs.
    """
    own = np.zeros(max(len(change.before), len(change.after)), np.bool_)
    declared = own.copy()
    for output, places in ((first, change.before), (second, change.after)):
        if len(places):
            table = output.tables[change.table]
            for name, positions in table.named:
                own |= np.isin(positions[places], rows) & (name == frame)
            for claim in table.declared:
                declared |= claim(frame, rows)[places]
    counts: dict[Influence, int] = {
        "own": int(own.sum()),
        "declared": int((declared & ~own).sum()),
        "others": int((~declared & ~own).sum()),
    }
    return {kind: count for kind, count in counts.items() if count}


def _through(node: MixNode, positions: NDArray[np.int64], references: Mapping[str, str]) -> _Claim:
    def claim(frame: str, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        reached = np.append(_reached(node, frame, rows, references), False)  # for -1, no group
        return reached[np.maximum(positions, -1)]

    return claim


def _reached(node: MixNode, frame: str, rows: NDArray[np.int64], references: Mapping[str, str]) -> NDArray[np.bool_]:
    """Return which groups some rows of a frame went into, through groups too."""
    taking_part = np.zeros(len(next(iter(node.refs.values()))), np.bool_)
    for name, positions in node.refs.items():
        origin: Origin = node.origins[name]
        if isinstance(origin, MixNode):
            inner = np.append(_reached(origin, frame, rows, references), False)
            taking_part |= inner[np.maximum(positions, -1)]
        elif references.get(origin[0].name) == frame:
            taking_part |= np.isin(positions, rows)
    reached = np.zeros(node.groups, np.bool_)
    if isinstance(node, GroupNode):
        reached[node.codes[taking_part]] = True
    elif isinstance(node, WindowNode):
        before = np.concatenate(([0], np.cumsum(taking_part)))
        reached = before[node.ends] > before[node.begins]
    return reached


def _group_labels(node: MixNode, positions: NDArray[np.int64], interned: dict[object, int]) -> NDArray[np.int64]:
    """Return for each row the number of its group's key; windows have none, and get the number of the row."""
    if not isinstance(node, GroupNode):
        return np.arange(len(positions))
    keys = list(zip(*(node.load_outputs()[name].to_pylist() for name in node.by), strict=True))
    numbers = np.full(node.groups + 1, -1, np.int64)
    numbers[node.order] = [interned.setdefault((node.name, key), len(interned)) for key in keys]
    return numbers[np.maximum(positions, -1)]


def _matched(first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of two runs that are the same: made of the same, and of the rest those that begin with the same."""
    if first.shape == second.shape and (first == second).all():
        rows = np.arange(len(first))
        return rows, rows
    own, other = _paired(first, second)
    rest, other_rest = np.setdiff1d(np.arange(len(first)), own), np.setdiff1d(np.arange(len(second)), other)
    more, other_more = _paired(first[rest, :1], second[other_rest, :1])
    return np.concatenate([own, rest[more]]), np.concatenate([other, other_rest[other_more]])


def _paired(first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of two tables that are equal, the n-th of several equal ones with the n-th."""
    if not len(first) or not len(second) or first.shape[1] != second.shape[1]:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    _, codes = np.unique(np.concatenate([first, second]), axis=0, return_inverse=True)
    codes = codes.reshape(-1)
    turns, other_turns = _with_turn(codes[: len(first)]), _with_turn(codes[len(first) :])
    _, own, other = np.intersect1d(turns, other_turns, assume_unique=True, return_indices=True)
    return own, other


def _with_turn(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return codes that tell the first, second … row of a code apart."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.searchsorted(ordered, ordered)
    turns = np.empty(len(codes), np.int64)
    turns[order] = np.arange(len(codes)) - starts
    return codes * (1 << 32) + turns


def _unequal(first: pa.Array, second: pa.Array) -> NDArray[np.bool_]:
    """Return in which rows two columns differ; null equals null, NaN equals NaN."""
    if first.type != second.type:
        common = pa.float64() if _is_number(first.type) and _is_number(second.type) else pa.string()
        try:
            first, second = first.cast(common), second.cast(common)
        except pa.ArrowException:
            return _unequal_objects(first, second)
    try:
        unequal = pc.fill_null(pc.not_equal(first, second), False).to_numpy(zero_copy_only=False)  # noqa: FBT003
    except pa.ArrowException:
        return _unequal_objects(first, second)
    if pa.types.is_floating(first.type):
        unequal = unequal & ~(_is_nan(first) & _is_nan(second))
    nulls = (column.is_null().to_numpy(zero_copy_only=False) for column in (first, second))
    return np.asarray(unequal | np.logical_xor(*nulls))


def _unequal_objects(first: pa.Array, second: pa.Array) -> NDArray[np.bool_]:
    return np.array([one != other for one, other in zip(first.to_pylist(), second.to_pylist(), strict=True)], np.bool_)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_nan(column: pa.Array) -> Any:
    return pc.fill_null(pc.is_nan(column), False).to_numpy(zero_copy_only=False)  # noqa: FBT003
