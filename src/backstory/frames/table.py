"""Adapters over the tables people use: pandas, polars (eager, lazy), pyarrow, DuckDB, NumPy arrays, lists of dicts.

Every function takes the caller's own object, never changes it, and gives the same kind back. Native calls are used
throughout: what a table library does by itself is what the caller would have got without Backstory.

Rules kept here:

- column names are strings and are unique, or the frame is refused;
- `to_arrow` maps pandas' missing markers to null, and keeps NaN and null apart where the library does;
- messages name columns and types, never values; the errors of pyarrow quote values, so they are not chained.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from narwhals.stable.v2 import dependencies

from backstory.errors import ColumnError, InputError
from backstory.frames.relation import listed, relation_columns, relation_over, run_relation
from backstory.records.names import names_instead

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from numpy.typing import NDArray

Frame: TypeAlias = Any
"""A table of the caller's library. The libraries are optional, so no narrower type can be written down."""

FrameT = TypeVar("FrameT")
ColumnT = TypeVar("ColumnT", pa.Array, pa.ChunkedArray)

Kind: TypeAlias = Literal[
    "pandas", "polars", "polars-lazy", "arrow", "arrow-batch", "duckdb", "numpy", "records", "record"
]

LAZY: Final = frozenset({"polars-lazy", "duckdb"})
"""Kinds that run anew at each read, perhaps to rows in another order: `hold` runs them once."""

_ARROW_REFUSALS: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)
_VIEWS: Final = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_NO_ARROW_TYPE: Final = frozenset({"Object", "Int128", "UInt128"})
_COPY_ON_WRITE_SINCE: Final = 3
_DIMENSIONS: Final = 2
_MUTABLE: Final = (list, dict, set, bytearray, np.ndarray)


def kind_of(frame: object) -> Kind:
    """Say which kind of table an object is.

    Raises:
        InputError: It is none that Backstory knows.
    """
    if dependencies.is_pandas_dataframe(frame):
        return "pandas"
    if dependencies.is_polars_dataframe(frame):
        return "polars"
    if dependencies.is_polars_lazyframe(frame):
        return "polars-lazy"
    if isinstance(frame, pa.Table):
        return "arrow"
    if isinstance(frame, pa.RecordBatch):
        return "arrow-batch"
    if dependencies.is_duckdb_relation(frame):
        return "duckdb"
    if isinstance(frame, np.ndarray) and frame.ndim == _DIMENSIONS and frame.dtype.names is None:
        return "numpy"
    if isinstance(frame, dict):
        return "record"
    if isinstance(frame, list) and all(isinstance(row, dict) for row in frame):
        return "records"
    message = (
        "cannot read a table: expected a pandas, polars or pyarrow frame, a DuckDB relation, a two-dimensional array "
        "or dicts, "
        f"got {type(frame).__module__}.{type(frame).__qualname__}"
    )
    raise InputError(message)


def column_names(frame: Frame) -> list[str]:
    """Return the column names of a frame in order.

    Raises:
        ColumnError: A name is not a string, or stands twice.
        InputError: The object is not a table.
    """
    kind = kind_of(frame)
    if kind == "pandas":
        return _checked_names(frame.columns.tolist())
    if kind == "polars-lazy":
        return list(frame.collect_schema().names())
    if kind == "polars":
        return list(frame.columns)
    if kind in ("arrow", "arrow-batch"):
        return _checked_names(frame.schema.names)
    if kind == "duckdb":
        return relation_columns(frame)
    if kind == "numpy":
        return [str(position) for position in range(frame.shape[1])]
    rows = [frame] if kind == "record" else frame
    return _checked_names(list(dict.fromkeys(name for row in rows for name in row)))


def index_names(frame: Frame) -> list[Any]:
    """Return the names of what a pandas frame is indexed by; other frames have no index."""
    return list(frame.index.names) if kind_of(frame) == "pandas" else []


def row_count(frame: Frame) -> int:
    """Count the rows of a frame; a lazy frame or a relation is run for it."""
    kind = kind_of(frame)
    if kind == "duckdb":
        return int(frame.aggregate("count(*)").fetchall()[0][0])
    if kind == "polars-lazy":
        polars = sys.modules["polars"]
        return int(frame.select(polars.len()).collect().item())
    if kind in ("arrow", "arrow-batch"):
        return int(frame.num_rows)
    return 1 if kind == "record" else len(frame)


def with_column(frame: FrameT, name: str, values: NDArray[np.uint64]) -> FrameT:
    """Return the frame with one column more; the frame itself stays as it is.

    Args:
        frame: A pandas, polars or pyarrow frame; not a relation, whose rows have no order to put values beside.
        name: A name the frame does not have.
        values: One value a row.

    Raises:
        InputError: The container cannot carry a named column (an array, dicts).
    """
    native: Frame = frame
    kind = kind_of(native)
    result: Frame
    if kind == "pandas":
        result = native.copy(deep=False)
        # As a series on the same index, because an array would be copied once more.
        result[name] = sys.modules["pandas"].Series(values, index=native.index, copy=False)
    elif kind in ("polars", "polars-lazy"):
        polars = sys.modules["polars"]
        result = native.with_columns(polars.Series(name, values))
    elif kind in ("arrow", "arrow-batch"):
        result = native.append_column(name, pa.array(values))
    else:
        message = f"cannot add a column: expected a pandas, polars or pyarrow frame, got {kind} (column {name!r})"
        raise InputError(message)
    return result  # type: ignore[no-any-return]


def drop_columns(frame: FrameT, names: Sequence[str]) -> FrameT:
    """Return the frame without some of its columns; the frame itself if there are none to drop."""
    if not names:
        return frame
    native: Frame = frame
    kind = kind_of(native)
    if kind == "pandas":
        return native.drop(columns=list(names))  # type: ignore[no-any-return]
    if kind in ("polars", "polars-lazy"):
        return native.drop(list(names))  # type: ignore[no-any-return]
    dropped = set(names)
    return select_columns(frame, [name for name in column_names(native) if name not in dropped])


def select_columns(frame: FrameT, names: Sequence[str]) -> FrameT:
    """Return the frame with these columns only, in this order.

    Raises:
        ColumnError: A column is missing.
        InputError: The container has no named columns.
    """
    native: Frame = frame
    kind = kind_of(native)
    require_columns(column_names(native), names, "the frame")
    if kind == "pandas":
        return native[list(names)]  # type: ignore[no-any-return]
    if kind in ("polars", "polars-lazy", "arrow", "arrow-batch"):
        return native.select(list(names))  # type: ignore[no-any-return]
    if kind == "duckdb":
        return native.project(listed(names))  # type: ignore[no-any-return]
    message = f"cannot select columns: expected a pandas, polars or pyarrow frame, got {kind}"
    raise InputError(message)


def sampled_values(frame: Frame, name: str, rows: NDArray[np.signedinteger[Any]]) -> pa.Array | pa.ChunkedArray:
    """Return one column's values in some rows, by how many rows stand before each, in this order.

    Raises:
        ColumnError: Arrow cannot hold them.
        InputError: The container is none of pandas, polars (eager) and pyarrow.
    """
    kind = kind_of(frame)
    if kind == "pandas":
        series = frame[name]
        # pandas' own way of taking rows is many times slower where NumPy holds them.
        values = series.to_numpy()[rows] if isinstance(series.dtype, np.dtype) else series.iloc[rows]
        try:
            return pa.array(values, from_pandas=True)
        except _ARROW_REFUSALS:
            _refuse_type(name, str(values.dtype))
    if kind == "polars":
        return frame.get_column(name)[rows].to_arrow()
    if kind in ("arrow", "arrow-batch"):
        return without_views(frame.column(name)).take(rows)
    raise InputError(f"cannot take rows: expected a pandas, polars or pyarrow frame, got {kind}")


def names_given(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the column names somebody gave: one, several or none.

    Raises:
        ColumnError: It is something else.
    """
    if names is None or isinstance(names, str):
        return () if names is None else (names,)
    given: tuple[Any, ...] = tuple(names) if isinstance(names, Iterable) else (names,)
    _require_text(given)
    return given


def require_columns(present: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """Refuse a choice of columns that are not all there, or that names one twice.

    Raises:
        ColumnError: A wanted column is missing, is no text, or stands twice in `wanted`.
    """
    _require_text(wanted)
    known = set(present)
    missing = [name for name in wanted if name not in known]
    if missing:
        message = f"column not found: expected {_quoted(missing)} in {where}{names_instead(missing[0], present)}"
        raise ColumnError(message, columns=missing)
    doubled = [name for position, name in enumerate(wanted) if name in wanted[:position]]
    if doubled:
        message = f"column named twice: expected each column once, got {_quoted(doubled)} again ({where})"
        raise ColumnError(message, columns=doubled)


def column_values(frame: Frame, name: str) -> Any:
    """Return one column as a NumPy array where that loses nothing, else as a pyarrow array.

    Args:
        frame: Any table `kind_of` knows; a lazy one is run for this column.
        name: A column of it.

    Returns:
        A NumPy array (of objects for a pandas object column), or a pyarrow array or chunked array.

    Raises:
        ColumnError: There is no such column.
    """
    kind = kind_of(frame)
    require_columns(column_names(frame), [name], "the frame")
    if kind == "pandas":
        series = frame[name]
        return series.to_numpy() if isinstance(series.dtype, np.dtype) else pa.array(series, from_pandas=True)
    if kind == "polars-lazy":
        frame = frame.select(name).collect()
        kind = "polars"
    if kind == "polars":
        series = frame.get_column(name)
        return series.to_numpy() if series.dtype.is_numeric() and not series.null_count() else series.to_arrow()
    if kind in ("arrow", "arrow-batch"):
        return frame.column(name)
    if kind == "numpy":
        return frame[:, int(name)]
    if kind == "duckdb":
        frame = select_columns(frame, [name])
    return to_arrow(frame).column(name)


def frame_of_records(records: Any) -> Any:
    """Return one dict, or a list of dicts, as the pandas frame that models take.

    Args:
        records: A dict of one row's values by column, or a list of these.
    """
    import pandas as pd

    return pd.DataFrame([records] if isinstance(records, dict) else list(records))


def hold(frame: FrameT) -> FrameT:
    """Return the frame so held that what the caller does to theirs later does not reach it.

    Copies share memory where the library copies on write; an array is copied. So are lists, dicts and arrays in cells
    of a pandas frame. A frame given as dicts is not, and a buffer lent to two libraries at once (a NumPy array wrapped
    without copying, then written to) is not protected. A lazy frame is run, and a relation is: to an Arrow table.
    """
    native: Frame = frame
    kind = kind_of(native)
    if kind == "pandas":
        pandas = sys.modules["pandas"]
        return _with_own_cells(native.copy(deep=_version_of(pandas) < _COPY_ON_WRITE_SINCE))  # type: ignore[no-any-return]
    if kind == "polars-lazy":
        return native.collect()  # type: ignore[no-any-return]
    if kind == "polars":
        return native.clone()  # type: ignore[no-any-return]
    if kind == "duckdb":
        return run_relation(native)  # type: ignore[no-any-return]
    if kind == "numpy":
        return native.copy("K")  # type: ignore[no-any-return]
    return frame


def as_given(frame: Frame, held: Frame) -> Frame:
    """Return rows that were run as the kind they were given in: lazy again, or a relation of the same connection.

    Args:
        frame: What the caller gave.
        held: From `hold`, with columns more or fewer.
    """
    kind = kind_of(frame)
    if kind == "duckdb":
        return relation_over(frame, held)
    return held.lazy() if kind == "polars-lazy" else held


def _with_own_cells(frame: Frame) -> Frame:
    """Replace what could be changed inside the cells of a pandas frame by copies; the frame is one of ours."""
    pandas = sys.modules["pandas"]
    for position, dtype in enumerate(frame.dtypes):
        if dtype.kind == "O" and pandas.api.types.is_object_dtype(dtype):
            values = frame.iloc[:, position]
            if pandas.api.types.infer_dtype(values, skipna=True).startswith("mixed"):
                cells = [copy.deepcopy(value) if isinstance(value, _MUTABLE) else value for value in values]
                frame.isetitem(position, pandas.Series(cells, index=values.index, dtype=object))
    return frame


def to_arrow(frame: Frame, names: Sequence[str] | None = None) -> pa.Table:
    """Convert a frame to a pyarrow table.

    Args:
        frame: Any table `kind_of` knows. The index of a pandas frame is not kept.
        names: Column names for an array; "0", "1", … without them.

    Returns:
        A table without schema metadata. Missing values of pandas are null; NaN of polars, pyarrow and arrays stays NaN.

    Raises:
        ColumnError: A column holds values of several types, or of a type Arrow does not have.
        InputError: The object is not a table.
    """
    kind = kind_of(frame)
    if kind == "pandas":
        return _from_pandas(frame)
    if kind in ("polars", "polars-lazy"):
        return _from_polars(frame.collect() if kind == "polars-lazy" else frame)
    if kind == "arrow":
        column_names(frame)
        return _plain(frame)
    if kind == "arrow-batch":
        column_names(frame)
        return _plain(pa.Table.from_batches([frame]))
    if kind == "duckdb":
        return _plain(run_relation(frame))
    if kind == "numpy":
        return _from_numpy(frame, names)
    rows = [frame] if kind == "record" else frame
    return pa.table({name: _array_of([row.get(name) for row in rows], name) for name in column_names(frame)})


def _plain(table: pa.Table) -> pa.Table:
    """Return a table without metadata, and without views: of these Arrow cannot take rows."""
    for position, field in enumerate(table.schema):
        if field.type in _VIEWS:
            table = table.set_column(position, field.name, without_views(table.column(position)))
    return table.replace_schema_metadata(None)


def without_views(values: ColumnT) -> ColumnT:
    """Return a column as it is; one of views, of which Arrow cannot take rows, with the same values in one piece."""
    return values.cast(_VIEWS[values.type]) if values.type in _VIEWS else values


def _from_pandas(frame: Frame) -> pa.Table:
    infer = sys.modules["pandas"].api.types.infer_dtype
    for name in column_names(frame):
        column = frame[name]
        if column.dtype == object and infer(column, skipna=True).startswith("mixed"):
            _require_one_type({type(value).__name__ for value in column.dropna()}, name)
    try:
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except _ARROW_REFUSALS:
        pass
    for name in frame.columns:
        try:
            pa.array(frame[name], from_pandas=True)
        except _ARROW_REFUSALS:
            _refuse_type(name, str(frame[name].dtype))
    message = "cannot convert a pandas frame: expected columns Arrow can hold, got one it cannot"
    raise ColumnError(message)


def _from_polars(frame: Frame) -> pa.Table:
    for name, dtype in frame.schema.items():
        if str(dtype) in _NO_ARROW_TYPE:
            _refuse_type(name, str(dtype))
    return frame.to_arrow().replace_schema_metadata(None)


def _from_numpy(array: NDArray[Any], names: Sequence[str] | None) -> pa.Table:
    names = column_names(array) if names is None else _checked_names(list(names))
    if len(names) != array.shape[1]:
        message = f"cannot name the columns of an array: expected {array.shape[1]} names, got {len(names)}"
        raise ColumnError(message)
    columns = {}
    for position, name in enumerate(names):
        column = array[:, position]
        if column.dtype.kind in "OUS":
            columns[name] = _array_of(column.tolist(), name)
            continue
        try:
            columns[name] = pa.array(np.ascontiguousarray(column))
        except _ARROW_REFUSALS:
            _refuse_type(name, str(column.dtype))
    return pa.table(columns)


def _array_of(values: list[Any], name: str) -> pa.Array:
    """Convert Python objects; NaN among values that are not numbers means "missing", as pandas writes it."""
    types = {type(value).__name__ for value in values if value is not None and value == value}  # noqa: PLR0124
    if types != {"int", "float"}:
        _require_one_type(types, name)
    try:
        return pa.array(values, from_pandas=not types <= {"int", "float"})
    except _ARROW_REFUSALS:
        _refuse_type(name, " or ".join(sorted(types)))


def _require_one_type(types: set[str], name: str) -> None:
    if len(types) > 1:
        message = f"column of several types: expected one type in {name!r}, got {', '.join(sorted(types))}"
        raise ColumnError(message, column=name)


def _refuse_type(name: str, found: str) -> NoReturn:
    message = f"column has no encoding: expected a type Arrow can hold in {name!r}, got {found}"
    raise ColumnError(message, column=name)


def _require_text(names: Sequence[Any]) -> None:
    for position, name in enumerate(names):
        if not isinstance(name, str):
            message = f"column name is not text: expected str, got {type(name).__name__} (column {position})"
            raise ColumnError(message, position=position)


def _checked_names(names: list[Any]) -> list[str]:
    _require_text(names)
    if len(set(names)) != len(names):
        doubled = sorted({name for name in names if names.count(name) > 1})
        message = f"column name stands twice: expected each name once, got {_quoted(doubled)} again"
        raise ColumnError(message, columns=doubled)
    return names


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _version_of(module: ModuleType) -> int:
    return int(str(module.__version__).split(".", maxsplit=1)[0])
