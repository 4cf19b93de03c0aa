"""Other values in some cells of a frame, of the same type: what an audit runs a step with again.

The column keeps its type, and all other cells keep their values. Pandas, polars and pyarrow; a lazy frame is run first.
"""

from __future__ import annotations

import datetime as dt
import decimal
import sys
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.draw import Draw
from backstory.frames.equality import same_values
from backstory.frames.table import Frame, column_names, column_values, kind_of, to_arrow

if TYPE_CHECKING:
    from numpy.typing import NDArray

Style: TypeAlias = Literal["other", "above", "below"]
"""What a cell gets: the value of another row, or one beyond the greatest or the least of the column."""

_TRIES = 8


def perturb(frame: Frame, column: str, rows: NDArray[np.int64], style: Style, draw: Draw) -> Frame | None:
    """Return a frame with other values in some rows of a column; None if there is no other value to give.

    Args:
        frame: An eager frame.
        column: Name of a column.
        rows: The rows.
        style: Which values; a column without an order of numbers or moments gets those of other rows.
        draw: Draws the other rows.
    """
    values = column_values(frame, column)
    extreme = None if style == "other" else _beyond(to_arrow(_only(frame, column)).column(0), style)
    count = len(values)
    index = np.arange(count)
    if extreme is None:
        index[rows] = _other_rows(values, rows, draw)
        extras: list[Any] = []
        if (index == np.arange(count)).all():
            flipped = _flipped(values)
            if flipped is None:
                return None
            index[rows], extras = count, [flipped]
    else:
        index[rows], extras = count, [extreme]
    return _taken(frame, column, index, extras)


def _only(frame: Frame, column: str) -> Frame:
    return frame.select([column]) if kind_of(frame) in ("arrow", "arrow-batch", "polars") else frame[[column]]


def _other_rows(values: Any, rows: NDArray[np.int64], draw: Draw) -> NDArray[np.int64]:
    """Return for each row another one with another value, or itself where none was found."""
    found = rows.copy()
    for _ in range(_TRIES):
        left = np.flatnonzero(found == rows)
        drawn = draw.below(len(values), len(left))
        for place, other in zip(left, drawn, strict=True):
            row = int(rows[place])
            if not same_values(values[row : row + 1], values[other : other + 1]):
                found[place] = other
    return found


def _beyond(values: pa.ChunkedArray, style: Style) -> Any:
    """Return a value beyond all others of a column, of its type; None if there is none."""
    kind = values.type
    known = values.drop_null()
    if not len(known):
        return None
    if pa.types.is_boolean(kind) or pa.types.is_dictionary(kind):
        return None
    if pa.types.is_integer(kind):
        least, most = pc.min_max(known).as_py().values()
        beyond = most + (most - least) + 1 if style == "above" else least - (most - least) - 1
        limits = np.iinfo(kind.to_pandas_dtype())
        return beyond if limits.min <= beyond <= limits.max else None
    if pa.types.is_floating(kind):
        numbers = known.to_numpy().astype(np.float64)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            return 1.0
        low, high = float(numbers.min()), float(numbers.max())
        return high + (high - low) + 1.0 if style == "above" else low - (high - low) - 1.0
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        chosen = pc.max(known) if style == "above" else pc.min(known)
        moment = chosen.as_py()
        day = dt.timedelta(days=30)
        return moment + day if style == "above" else moment - day
    if pa.types.is_decimal(kind):
        chosen = pc.max(known) if style == "above" else pc.min(known)
        return chosen.as_py() + decimal.Decimal(1 if style == "above" else -1)
    return None


def _flipped(values: Any) -> Any:
    """Return another value for a column that has one value only; None where none can be made up."""
    first = values[0]
    first = first.as_py() if isinstance(first, pa.Scalar) else first
    if isinstance(first, bool | np.bool_):
        return not first
    return f"{first}~" if isinstance(first, str) else None


def _taken(frame: Frame, column: str, index: NDArray[np.int64], extras: list[Any]) -> Frame | None:
    """Return a frame with a column's values taken from its own and some others behind them."""
    kind = kind_of(frame)
    try:
        if kind == "pandas":
            pandas = sys.modules["pandas"]
            series = frame[column]
            if extras:
                series = pandas.concat([series, pandas.Series(extras, dtype=series.dtype)])
            taken = series.take(index)
            taken.index = frame.index
            return frame.assign(**{column: taken}) if taken.dtype == frame[column].dtype else None
        if kind == "polars":
            polars = sys.modules["polars"]
            own = frame.get_column(column)
            if extras:
                own = polars.concat([own, polars.Series(column, extras).cast(own.dtype)])
            return frame.with_columns(own.gather(index))
        place = column_names(frame).index(column)
        whole = pa.chunked_array([to_arrow(frame).column(place).combine_chunks()])
        if extras:
            whole = pa.chunked_array([*whole.chunks, pa.array(extras, whole.type)])
        return to_arrow(frame).set_column(place, column, whole.take(pa.array(index)))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in {"polars", "pandas"}:
            return None
        raise
