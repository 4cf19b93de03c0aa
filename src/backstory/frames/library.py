"""Arrow rows as a frame of the library that code of the user's expects."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

import pyarrow as pa

from backstory.frames.table import Frame

Library: TypeAlias = Literal["pandas", "polars", "polars-lazy", "arrow", "duckdb"]


def as_library(rows: pa.Table, library: Library, with_nulls: Collection[str] = (), *, floats: bool = False) -> Frame:
    """Return rows as a frame of a library.

    Args:
        rows: The rows.
        library: The library.
        with_nulls: Columns that have nulls in other rows of their table, if not in these: pandas then has another type
            for whole numbers and bools, which it is given here too.
        floats: Whether pandas holds such whole numbers as floats, as when it reads them, rather than nullable.
    """
    if library == "arrow":
        return rows
    if library == "duckdb":
        import duckdb

        return duckdb.from_arrow(rows)
    if library == "pandas":
        return _as_pandas(rows, with_nulls, floats=floats)
    import polars as pl

    frame = pl.DataFrame(pl.from_arrow(rows))
    return frame.lazy() if library == "polars-lazy" else frame


def _as_pandas(rows: pa.Table, with_nulls: Collection[str], *, floats: bool) -> Frame:
    import pandas as pd

    frame = rows.to_pandas()
    for name in with_nulls:
        kind = rows.schema.field(name).type
        if pa.types.is_integer(kind) and floats:
            frame[name] = frame[name].astype("float64")
        elif pa.types.is_integer(kind):
            nullable = pd.api.types.pandas_dtype(str(kind).replace("i", "I", 1).replace("uI", "UI"))
            frame[name] = rows[name].to_pandas(types_mapper={kind: nullable}.get)
        elif pa.types.is_boolean(kind):
            frame[name] = frame[name].astype(object)
    return frame
