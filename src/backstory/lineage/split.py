"""Split a prepared frame into features and row references.

The id columns are taken off, so nothing of ours ever becomes a feature, and every token is checked on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

from backstory.errors import ColumnError, InputError, TokenError
from backstory.frames.table import (
    LAZY,
    Frame,
    column_names,
    column_values,
    drop_columns,
    hold,
    index_names,
    kind_of,
    require_columns,
    row_count,
    select_columns,
)
from backstory.frames.token import ROW_PREFIX, id_columns
from backstory.lineage.refs import RowRefs, grade_of, warn_of_lineage
from backstory.lineage.resolve import Resolved, resolve
from backstory.lineage.source import Sources

FrameT = TypeVar("FrameT")


def split(
    sources: Sources,
    frame: FrameT,
    features: Sequence[str] | None = None,
    *,
    on_broken: Literal["refuse", "grade"] = "refuse",
) -> tuple[FrameT, RowRefs]:
    """Take the id columns off a frame and read them.

    Args:
        sources: The session's registry.
        frame: A pandas, polars or pyarrow frame or a DuckDB relation with at least one id column. A lazy frame is run,
            and the features are then eager, because only a frame that was run has an order of rows; those of a relation
            are an Arrow table, in the order of its ORDER BY, or as DuckDB gave them.
        features: Columns to give to the model, in order; all but the id columns without it.
        on_broken: `refuse` raises for tokens that do not check; `grade` records those rows as broken and warns.

    Returns:
        The features, and one row reference for each of their rows.

    Raises:
        ColumnError: A feature is missing, named twice, or an id column.
        InputError: The container cannot hold id columns.
        TokenError: There is no id column, a token does not check, or its source is unknown.
    """
    kind = kind_of(frame)
    if kind in ("numpy", "record", "records"):
        raise InputError(f"cannot split: expected a pandas, polars or pyarrow frame with row ids, got {kind}")
    if kind in LAZY:
        frame = hold(frame)
    names = column_names(frame)
    ids = require_ids(frame, names)
    if features is not None:
        reserved = id_columns(features)
        if reserved:
            raise ColumnError(f"row ids are no features: expected other columns, got {reserved[0]!r}", columns=reserved)
        require_columns(names, features, "the frame to split")
    resolved = [resolve(sources, name, column_values(frame, name)) for name in ids]
    for column in resolved:
        _report(column, on_broken)
    table = drop_columns(frame, ids) if features is None else select_columns(frame, features)
    references = RowRefs(
        positions={column.reference: column.positions for column in resolved},
        origins={column.reference: column.origin for column in resolved},
        grades={column.reference: grade_of(column.origin, is_broken=column.is_broken) for column in resolved},
        rows=row_count(frame),
        features=hold(table),
        selector=None,
        aligned_by_caller=False,
    )
    return table, references


def require_ids(frame: Frame, names: Sequence[str]) -> list[str]:
    """Return the id columns among the column names of a frame.

    Raises:
        TokenError: There are none, or some are in the index.
    """
    hidden = id_columns(index_names(frame))
    if hidden:
        raise TokenError(
            f"row ids are in the index: expected them in columns, got {hidden[0]!r} there; use reset_index()",
            column=hidden[0],
        )
    ids = id_columns(names)
    if not ids:
        raise TokenError(
            f"no row ids: expected at least one column {ROW_PREFIX}<source>, got none; were they dropped by a column "
            "selection, or was the frame never given to source()?"
        )
    return ids


def _report(column: Resolved, on_broken: str) -> None:
    if column.failure is None:
        return
    if on_broken == "refuse":
        raise TokenError(column.failure, column=ROW_PREFIX + column.reference)
    warn_of_lineage(column.failure)
