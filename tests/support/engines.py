"""One table in every library, and one way to ask each for what all of them have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from backstory.frames.table import to_arrow


def relation(table: pa.Table) -> Any:
    """Return a table as a DuckDB relation of a connection of its own."""
    return duckdb.connect().from_arrow(table)


ENGINES: dict[str, Callable[[pa.Table], Any]] = {
    "pandas": lambda table: table.to_pandas(),
    "polars": pl.from_arrow,
    "polars-lazy": lambda table: pl.from_arrow(table).lazy(),  # type: ignore[union-attr]
    "arrow": lambda table: table,
    "duckdb": relation,
}
"""A frame of each library, by name."""


def rows_of_frame(frame: Any) -> list[dict[str, Any]]:
    """Return the rows of any frame as dicts; missing values are None, whatever the library calls them."""
    if isinstance(frame, pd.DataFrame):
        frame = pa.Table.from_pandas(frame, preserve_index=False)
    rows = to_arrow(frame).to_pylist()
    return [{name: None if _is_nan(value) else value for name, value in row.items()} for row in rows]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and np.isnan(value)
