"""Windows: what each row looks back on, and the lineage of that.

`window` adds to every row of a frame what the earlier rows of its entity come to. Each row has a window of its own; the
windows overlap, so their rows are not kept one by one: the rows of the frame are kept once, by entity and time, and a
window is a range in that order.

A window's lineage is the rows in its range, skipped values included. The row itself is not in it unless `closed` says
so, and not where it only says whose window it is: it is known by the ids of its own.

Specification: docs/format.md section 27.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backstory.errors import ColumnError, LimitError
from backstory.frames.table import Frame, column_names, names_given, require_columns, with_column
from backstory.frames.token import ROW_PREFIX, id_columns, mint_tokens
from backstory.frames.window import Span, aggregate_windows, span_of
from backstory.lineage.group import MixNode, later, require_plan, resolve_whole
from backstory.lineage.source import Sources, require_name
from backstory.lineage.split import require_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.records.canonical import JsonObject

_ROWS_MAX = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowNode(MixNode):
    """Windows: for each row of a frame a range of its rows, by entity and time; what `refs` has is in that order.

    Attributes:
        time: The column with the moment.
        span: How far a row looks back.
        begins: For each place in that order, the first place of its window.
        ends: For each place, the place behind the last.
    """

    time: str
    span: Span
    begins: NDArray[np.uint32]
    ends: NDArray[np.uint32]

    def memberships(self) -> dict[str, pa.Array]:
        """Return each row's window, as a range of rows."""
        return {"begin": pa.array(self.begins, pa.uint32()), "end": pa.array(self.ends, pa.uint32())}

    def document(self) -> JsonObject:
        """Return what the windows' document says of them, without their edges."""
        unit = "" if self.span.is_number else "ns"
        reach = {"last": str(self.span.rows)} if self.span.width is None else {"window": f"{self.span.width}{unit}"}
        return {**MixNode.document(self), **reach, "closed": self.span.closed, "kind": "window", "time": self.time}


def window(
    sources: Sources,
    frame: Frame,
    *,
    by: str | Sequence[str],
    time: str,
    name: str,
    salt: int,
    window: str | int | timedelta | None = None,
    rows: int | None = None,
    closed: str = "left",
    **aggs: tuple[str, str],
) -> tuple[Frame, WindowNode]:
    """Add to each row what the earlier rows of its entity come to, and keep which rows those are.

    Args:
        sources: The session's registry; the windows are added to it.
        frame: A pandas, polars or pyarrow frame or a DuckDB relation, with at least one id column.
        by: Column or columns that make the entity.
        time: Column with the moment.
        name: Name of the windows.
        salt: 64 random bits, drawn for this call.
        window: How far a row looks back.
        rows: How many rows it looks back on at most, instead.
        closed: Which ends belong to the window.
        aggs: Output columns: `spend=("amount", "sum")`.

    Returns:
        The frame with the output columns and `_row_<name>`, in its order (a relation in that of its ids), and the
        windows.

    Raises:
        ColumnError: A column is missing, an id column or of a type that does not fit, or an output name is taken.
        InputError: Window, rows, closed, an aggregation or the name cannot be used.
        TokenError: There is no id column, or a token does not check.
        LimitError: The frame has too many rows.
    """
    require_name(name, salt)
    keys = names_given(by)
    names = column_names(frame)
    ids = require_ids(frame, names)
    require_plan(names, keys, name, aggs)
    _require_columns(names, time, name, aggs)
    span = span_of(window, rows, closed)
    result = aggregate_windows(frame, keys, time, span, aggs, ids)
    if len(result.order) >= _ROWS_MAX:
        raise LimitError(f"too many rows for windows: expected less than 2^32, got {len(result.order)} ({name})")
    resolved = [resolve_whole(sources, result.frame, column) for column in ids]
    inputs = [*keys, time, *(column for column, _ in aggs.values())]
    places = np.empty(len(result.order), np.int64)
    places[result.order] = np.arange(len(places))
    node = WindowNode(
        name=name,
        by=keys,
        aggs=dict(aggs),
        groups=len(places),
        salt=salt,
        order=places.astype(np.uint32),
        refs={column.reference: column.positions[result.order] for column in resolved},
        origins={column.reference: column.origin for column in resolved},
        load_inputs=partial(_in_order, later(result.frame, inputs, None), result.order),
        load_outputs=lambda: result.values,
        time=time,
        span=span,
        begins=result.begins.astype(np.uint32),
        ends=result.ends.astype(np.uint32),
    )
    sources.add(name, node)
    return result.as_given(with_column(result.frame, ROW_PREFIX + name, mint_tokens(places, salt))), node


def _in_order(load: Callable[[], pa.Table], order: NDArray[np.int64]) -> pa.Table:
    return load().take(pa.array(order))


def _require_columns(names: list[str], time: str, name: str, aggs: Mapping[str, Any]) -> None:
    where = f"the input of the windows {name}"
    if not isinstance(time, str) or id_columns([time]):
        raise ColumnError(f"window: expected time= to name a column other than row ids ({name})")
    require_columns(names, [time], where)
    taken = [output for output in (*aggs, ROW_PREFIX + name) if output in names]
    if taken:
        raise ColumnError(
            f"output name is taken: expected a new one, got {taken[0]!r}, which {where} has", columns=taken
        )
