"""What a model was given besides the values: library, types, missing markers, memory order.

`describe_container` writes down what an Arrow table of the same values does not say; `rebuild` makes the caller's kind
of table again, so that a replay gives the model exactly what it had. The index of a pandas frame is not kept: models do
not read it.

A container that cannot be rebuilt exactly says so (`"rebuildable": false`, `"reason": …`) when it is described; nothing
is approximated later. The description is JSON-safe and holds no floats, so it can stand in a context document. It does
hold the categories of categorical columns, which are values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from backstory.errors import InputError
from backstory.frames import container_arrow, container_pandas, container_polars
from backstory.frames.container_layout import describe_layout, empty_array
from backstory.frames.table import Frame, column_names, kind_of

if TYPE_CHECKING:
    import pyarrow as pa

_PLAIN_TYPES: Final = frozenset({"bool", "bytes", "float", "int", "str"})


def describe_container(frame: Frame) -> dict[str, Any]:
    """Describe a table so that `rebuild` can make the same from its values.

    Args:
        frame: Any table `kind_of` knows. A lazy frame is described as the eager frame it becomes.

    Returns:
        `kind` (pandas, polars, arrow, numpy, records), `columns`, `rebuildable`, `reason` where it is not, and what
        that kind needs besides.

    Raises:
        ColumnError: Column names are doubled or not text.
        InputError: The object is not a table.
    """
    kind = kind_of(frame)
    details: dict[str, Any]
    if kind == "pandas":
        details, reason = container_pandas.describe(frame)
    elif kind in ("polars", "polars-lazy"):
        details, reason = container_polars.describe(frame, lazy=kind == "polars-lazy")
    elif kind in ("arrow", "arrow-batch"):
        details, reason = container_arrow.describe(frame, batch=kind == "arrow-batch")
    elif kind == "numpy":
        details, reason = _describe_numpy(frame)
    else:
        details, reason = _describe_records([frame] if kind == "record" else frame, single=kind == "record")
    container = {"columns": column_names(frame), **details, "rebuildable": reason is None}
    if reason is not None:
        container["reason"] = reason
    return container


def rebuild(container: dict[str, Any], table: pa.Table) -> Frame:
    """Make the caller's kind of table from its description and its values.

    Args:
        container: From `describe_container`.
        table: The values, with at least the described columns (an array's by position), in any physical Arrow type that
            holds them.

    Returns:
        A new table of the described kind.

    Raises:
        InputError: The container cannot be rebuilt exactly.
    """
    if not container["rebuildable"]:
        raise InputError(f"cannot rebuild the input of a model: {container['reason']}", reason=container["reason"])
    kind = container["kind"]
    if kind == "pandas":
        import pandas as pd

        return container_pandas.rebuild(pd, container, table)
    if kind == "polars":
        import polars as pl

        return container_polars.rebuild(pl, container, table)
    if kind == "arrow":
        return container_arrow.rebuild(container, table)
    if kind == "numpy":
        return _rebuild_numpy(container, table)
    rows = table.select(container["columns"]).to_pylist()
    return rows[0] if container["single"] else rows


def _describe_numpy(array: np.ndarray[Any, Any]) -> tuple[dict[str, Any], str | None]:
    layout = describe_layout(array.strides, array.shape, array.itemsize)
    details: dict[str, Any] = {"kind": "numpy", "dtype": array.dtype.str, **layout}
    if array.dtype.kind == "O":
        details["missing"] = {}
        for position in range(array.shape[1]):
            marker, reason = _missing_marker(array[:, position].tolist())
            if reason is not None:
                return details, f"column {position} {reason}"
            if marker is not None:
                details["missing"][str(position)] = marker
        return details, None
    known = array.dtype.kind in "biufU" and array.dtype.name != "longdouble"
    return details, None if known else f"an array of {array.dtype.name} is not kept exactly"


def _missing_marker(values: list[Any]) -> tuple[str | None, str | None]:
    """Return the one missing marker of some objects (or None), and why they cannot be kept (or None)."""
    # NaN among numbers is a number; among other objects it is how pandas says "missing".
    missing = {"none" if value is None else "nan" for value in values if value is None or value != value}  # noqa: PLR0124
    types = {type(value).__name__ for value in values if value is not None and value == value}  # noqa: PLR0124
    if not types <= _PLAIN_TYPES or len(types) > 1:
        return None, f"holds objects of type {', '.join(sorted(types))}"
    if len(missing) > 1:
        return None, "holds both None and NaN"
    return (next(iter(missing)) if missing else None), None


def _rebuild_numpy(container: dict[str, Any], table: pa.Table) -> np.ndarray[Any, Any]:
    dtype = np.dtype(container["dtype"])
    array = empty_array((table.num_rows, table.num_columns), dtype, container)
    for position, column in enumerate(table.columns):
        if dtype.kind == "O":
            marker = float("nan") if container["missing"].get(str(position)) == "nan" else None
            array[:, position] = [marker if value is None else value for value in column.to_pylist()]
        elif dtype.kind == "U":
            array[:, position] = column.to_pylist()
        else:
            array[:, position] = column.to_numpy()
    return array


def _describe_records(rows: list[dict[str, Any]], *, single: bool) -> tuple[dict[str, Any], str | None]:
    details: dict[str, Any] = {"kind": "records", "single": single}
    if any(list(row) != list(rows[0]) for row in rows):
        return details, "rows have different keys"
    for name in rows[0] if rows else ():
        types = {type(row[name]).__name__ for row in rows if row[name] is not None}
        if not types <= _PLAIN_TYPES or len(types) > 1:
            return details, f"column {name!r} holds objects of type {', '.join(sorted(types))}"
    return details, None
