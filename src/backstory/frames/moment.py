"""Moments that cannot be recorded: a row has nanoseconds in 64 bits, from the year 1677 to 2262.

`9999-12-31` for "until further notice" is found before anything refers to the rows, at the price of a look at the
smallest and the largest value of each column of moments. What is deeper inside a column is found when it is recorded.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import ColumnError
from backstory.frames.table import kind_of, select_columns, to_arrow

_TICK_NS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_INT64: Final = np.iinfo(np.int64)


def require_moments(frame: Any, where: str) -> None:
    """Refuse moments and durations that do not fit nanoseconds in 64 bits.

    Args:
        frame: A held frame.
        where: What it is, for messages.

    Raises:
        ColumnError: A column has some, or one of Python's does not fit Arrow.
    """
    for name in _of_moments(frame):
        column = to_arrow(select_columns(frame, [name])).column(0)
        if not pa.types.is_timestamp(column.type) and not pa.types.is_duration(column.type):
            continue
        tick = _TICK_NS[column.type.unit]
        ends = pc.min_max(column.cast(pa.int64())).as_py()
        if ends["min"] is None or (ends["min"] * tick >= _INT64.min and ends["max"] * tick <= _INT64.max):
            continue
        raise ColumnError(
            f"moments cannot be recorded: expected years from 1677 to 2262 (64 bits of nanoseconds), got others in "
            f"column {name!r} ({where}); give days as dates, or null for 'until further notice'",
            column=name,
        )


def _of_moments(frame: Any) -> list[str]:
    """Return the columns that may have moments or durations, coarser than nanoseconds."""
    kind = kind_of(frame)
    if kind == "pandas":
        types = zip(frame.columns, frame.dtypes, strict=True)
        return [name for name, type_ in types if _is_coarse(type_) or (type_.kind == "O" and _has_moments(frame[name]))]
    if kind == "polars":
        return [name for name, type_ in frame.schema.items() if type_.is_temporal()]
    if kind in {"arrow", "arrow-batch"}:
        return [field.name for field in frame.schema if pa.types.is_temporal(field.type)]
    return []


def _is_coarse(type_: Any) -> bool:
    return type_.kind in "mM" and "[ns" not in str(type_)


def _has_moments(series: Any) -> bool:
    # Missing values are None or NaN; to ask pandas for them would look at every cell.
    first = next((value for value in series.to_numpy() if value is not None and not isinstance(value, float)), None)
    return isinstance(first, datetime | timedelta)
