"""Preparations that must not notice the id columns.

An id column changes what looks at *all* columns: after a left join it is null where nothing matched, so a bare
`dropna()` removes those rows; it makes every row distinct, so a bare `drop_duplicates()` removes none. `prepare` runs a
preparation with and without ids and refuses a difference. `distinct` is a `drop_duplicates` that does not look at ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from backstory.errors import ColumnError, InputError, PreparationError, TokenError
from backstory.frames.equality import find_difference
from backstory.frames.key import first_appearance, first_rows, row_codes
from backstory.frames.relation import relation_over, run_in_order
from backstory.frames.table import (
    LAZY,
    Frame,
    as_given,
    column_names,
    column_values,
    drop_columns,
    hold,
    kind_of,
    require_columns,
    select_columns,
    to_arrow,
)
from backstory.frames.token import ROW_PREFIX, id_columns
from backstory.lineage.resolve import resolve
from backstory.lineage.source import Sources
from backstory.lineage.split import require_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

FrameT = TypeVar("FrameT")

Keep = Literal["first", "last", "none"]

_HINT = (
    "id columns take part in dropna(), drop_duplicates(), fillna() and nunique() over all columns: name the columns "
    "(subset=...), or use distinct(); a preparation that draws random numbers must draw the same each time"
)


def prepare(sources: Sources, fn: Callable[..., FrameT], *frames: Frame) -> FrameT:
    """Run a preparation, and refuse it if the id columns changed its result.

    Args:
        sources: The session's registry.
        fn: Takes the frames, returns one frame. It is called twice, and must not change its arguments.
        frames: Frames with id columns; others may be among them.

    Returns:
        The result, with id columns.

    Raises:
        PreparationError: The result differs from the one without ids in columns, types, rows, order or values; the
            order of a relation's rows is not compared, as SQL promises none.
        TokenError: The preparation lost the id columns, or changed ids.
    """
    plain = hold(fn(*(_without_ids(frame) for frame in frames)))
    given = fn(*frames)
    traced = hold(given)
    difference = find_difference(_in_order(plain, given), _in_order(_without_ids(traced), given))
    if difference is not None:
        raise PreparationError(
            f"row ids changed the result of a preparation: expected the same without and with them, but {difference}; "
            f"{_HINT}",
            difference=difference,
        )
    for column in require_ids(traced, column_names(traced)):
        failure = resolve(sources, column, column_values(traced, column)).failure
        if failure is not None:
            raise TokenError(failure, column=column)
    # What was compared is what is returned: a lazy frame run again may give another order.
    return as_given(given, traced)  # type: ignore[no-any-return]


def distinct(frame: FrameT, subset: str | Sequence[str] | None = None, keep: Keep = "first") -> FrameT:
    """Drop duplicate rows without regard to id columns; the row that is kept keeps its ids.

    It is recorded as the only one: it alone is what was used, and the equal rows that were dropped leave no trace in
    what is made from it. Where all of them are to be members, `group` by the columns that decide.

    Args:
        frame: A pandas, polars or pyarrow frame, or a DuckDB relation, whose rows are taken in the order of their ids.
        subset: Columns that decide; all but the id columns without it.
        keep: Which of several equal rows stays: the first, the last, or none of them.

    Returns:
        The remaining rows in their order.

    Raises:
        ColumnError: A column is missing or an id column, or there are no columns to decide by.
        InputError: The container cannot carry ids, or `keep` is unknown.
    """
    names = column_names(frame)
    columns = (
        [subset]
        if isinstance(subset, str)
        else list([name for name in names if not name.startswith(ROW_PREFIX)] if subset is None else subset)
    )
    if id_columns(columns) or not columns:
        raise ColumnError("cannot tell rows apart: expected columns other than row ids, got none or an id column")
    require_columns(names, columns, "the frame")
    if keep not in ("first", "last", "none"):
        raise InputError(f"cannot keep rows: expected first, last or none, got {keep!r}")
    native: Frame = frame
    kind = kind_of(native)
    if kind == "pandas":
        return native.drop_duplicates(subset=columns, keep=False if keep == "none" else keep)  # type: ignore[no-any-return]
    if kind in ("polars", "polars-lazy"):
        return native.unique(subset=columns, keep=keep, maintain_order=True)  # type: ignore[no-any-return]
    if kind in ("arrow", "arrow-batch"):
        return native.take(_rows_kept(native, columns, keep))  # type: ignore[no-any-return]
    if kind == "duckdb":
        rows = run_in_order(native, [*id_columns(names), *(name for name in names if not name.startswith(ROW_PREFIX))])
        return relation_over(native, rows.take(_rows_kept(rows, columns, keep)).select(names))  # type: ignore[no-any-return]
    raise InputError(f"cannot drop duplicates: expected a pandas, polars or pyarrow frame or a relation, got {kind}")


def _without_ids(frame: Frame) -> Frame:
    held = frame if kind_of(frame) in LAZY else hold(frame)
    return drop_columns(held, id_columns(column_names(held)))


def _in_order(held: Frame, given: Frame) -> Frame:
    """Return the rows of a relation in an order of their own: SQL promises none, so none is compared."""
    if kind_of(given) != "duckdb" or not held.num_columns:
        return held
    return run_in_order(relation_over(given, held), held.column_names)


def _rows_kept(frame: Frame, columns: list[str], keep: Keep) -> NDArray[np.int64]:
    codes = row_codes(to_arrow(select_columns(frame, columns)), columns)
    if keep == "last":
        codes = codes[::-1]
    numbers = first_appearance(codes)
    count = int(numbers.max(initial=-1)) + 1
    rows = first_rows(numbers, count)
    if keep == "none":
        rows = rows[np.bincount(numbers, minlength=count) == 1]
    if keep == "last":
        rows = len(codes) - 1 - rows
    return np.sort(rows)
