"""pandas frames as containers: dtypes, categories, missing markers of object columns, block order.

Part of `backstory.frames.container`, which is the module to use. pandas is handed in by the caller of `rebuild`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from backstory.frames.container_layout import describe_layout, empty_array

if TYPE_CHECKING:
    from backstory.frames.table import Frame

CATEGORIES_MAX: Final = 4096

_OBJECT_TYPES: Final = frozenset(
    {"empty", "string", "bytes", "boolean", "integer", "floating", "decimal", "date", "datetime", "datetime64"}
)
_TEXT_TYPES: Final = frozenset({"object", "str", "string"})
_EXACT_NUMPY_KINDS: Final = "biufmM"
_MASKED: Final = frozenset(f"{sign}{width}" for sign in ("Int", "UInt") for width in (8, 16, 32, 64)) | frozenset(
    {"Float32", "Float64", "boolean", "string", "string[python]", "str"}
)


def describe(frame: Frame) -> tuple[dict[str, Any], str | None]:
    """Describe a pandas frame; the second value says why it cannot be rebuilt, if so."""
    pandas = sys.modules["pandas"]
    details: dict[str, Any] = {"kind": "pandas", "dtypes": [], "missing": {}, "categories": {}, **_layout(frame)}
    problem: str | None = None
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        text, reason = str(dtype), None
        if isinstance(dtype, pandas.CategoricalDtype):
            found, reason = _describe_categories(dtype)
            details["categories"][name] = found
        elif dtype.kind == "O" and isinstance(dtype, np.dtype):
            marker, reason = _missing_marker(pandas, frame[name])
            details["missing"][name] = marker
        elif isinstance(dtype, np.dtype):
            exact = dtype.kind in _EXACT_NUMPY_KINDS and dtype.name != "longdouble" and dtype.isnative
            reason = None if exact else f"is {text}"
        else:
            if isinstance(dtype, pandas.StringDtype) and text == "string" and dtype.storage == "python":
                text = "string[python]"
            reason = None if _is_kept(pandas, dtype, text) else f"is {text}"
        details["dtypes"].append(text)
        if reason is not None and problem is None:
            problem = f"column {name!r} {reason}"
    return details, problem


def rebuild(pandas: ModuleType, container: dict[str, Any], table: pa.Table) -> Frame:
    """Make the pandas frame of a description from its values."""
    names, dtypes = container["columns"], container["dtypes"]
    if container["order"] == "C" or "steps" in container:
        block = empty_array((table.num_rows, len(names)), np.dtype(dtypes[0]), container)
        for position, name in enumerate(names):
            block[:, position] = table.column(name).to_numpy()
        return pandas.DataFrame(block, columns=pandas.Index(names), copy=False)
    columns = {
        name: _rebuild_column(pandas, container, name, text, table.column(name))
        for name, text in zip(names, dtypes, strict=True)
    }
    return pandas.DataFrame(columns, index=pandas.RangeIndex(table.num_rows), columns=pandas.Index(names))


def _layout(frame: Frame) -> dict[str, Any]:
    """Say how `to_numpy` lays the frame out: sums of a linear model differ in the last bit between C and F order."""
    kinds = set(frame.dtypes)
    if len(kinds) != 1:
        return {"order": "F"}
    dtype = next(iter(kinds))
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
        return {"order": "F"}
    # A slice of rows keeps the strides of the block; several blocks are always laid out anew, in F order.
    some = (frame if len(frame) <= 2 else frame.iloc[:2]).to_numpy()  # noqa: PLR2004 - two lie as all do
    is_anew = some.strides == (dtype.itemsize, dtype.itemsize * len(some))
    layout = describe_layout(some.strides, some.shape if is_anew else frame.shape, dtype.itemsize)
    has_order = min(frame.shape) > 1 or "steps" in layout
    return layout if has_order else {"order": "F"}


def _describe_categories(dtype: Any) -> tuple[dict[str, Any], str | None]:
    index = dtype.categories
    found: dict[str, Any] = {"ordered": bool(dtype.ordered), "dtype": str(index.dtype)}
    if len(index) > CATEGORIES_MAX:
        return found, f"has more than {CATEGORIES_MAX} categories"
    numbers = isinstance(index.dtype, np.dtype) and index.dtype.kind in "iu"
    if numbers or (str(index.dtype) in _TEXT_TYPES and all(isinstance(value, str) for value in index)):
        found["values"] = [str(value) for value in index]
    else:
        return found, f"has categories of type {index.dtype}"
    return found, None


def _missing_marker(pandas: ModuleType, column: Any) -> tuple[str, str | None]:
    missing = column[column.isna()]
    kinds = {"none" if value is None else "nan" if isinstance(value, float) else "other" for value in missing}
    inferred = pandas.api.types.infer_dtype(column, skipna=True)
    if inferred not in _OBJECT_TYPES:
        return "none", f"holds objects of type {inferred}"
    if len(kinds) > 1 or "other" in kinds:
        return "mixed", "marks missing values in several ways"
    return (next(iter(kinds)) if kinds else "none"), None


def _is_kept(pandas: ModuleType, dtype: Any, text: str) -> bool:
    if not (text in _MASKED or isinstance(dtype, pandas.DatetimeTZDtype | pandas.ArrowDtype)):
        return False
    try:
        return bool(pandas.api.types.pandas_dtype(text) == dtype)
    except (TypeError, ValueError, NotImplementedError):
        return False


def _rebuild_column(
    pandas: ModuleType, container: dict[str, Any], name: str, text: str, column: pa.ChunkedArray
) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if text == "category":
        return _rebuild_categories(pandas, container["categories"][name], column)
    if text == "object":
        marker = float("nan") if container["missing"][name] == "nan" else None
        # Given as a Series: a bare array of text would be taken for the newer string type.
        return pandas.Series([marker if value is None else value for value in column.to_pylist()], dtype=object)
    dtype = pandas.api.types.pandas_dtype(text)
    if not isinstance(dtype, np.dtype):
        return dtype.__from_arrow__(_cast_for(pandas, dtype, column))
    if dtype.kind in "mM":
        unit = np.datetime_data(dtype)[0]
        column = column.cast(pa.timestamp(unit) if dtype.kind == "M" else pa.duration(unit))
    return column.to_numpy().astype(dtype, copy=False)


def _cast_for(pandas: ModuleType, dtype: Any, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if isinstance(dtype, pandas.ArrowDtype):
        return column.cast(dtype.pyarrow_dtype)
    if isinstance(dtype, pandas.DatetimeTZDtype):
        return column.cast(pa.timestamp(dtype.unit, str(dtype.tz)))
    return column


def _rebuild_categories(pandas: ModuleType, found: dict[str, Any], column: pa.ChunkedArray) -> Any:
    dtype = pandas.api.types.pandas_dtype(found["dtype"])
    numbers = isinstance(dtype, np.dtype) and dtype.kind in "iu"
    values = [int(value) for value in found["values"]] if numbers else found["values"]
    index = pandas.Index(values, dtype=dtype)
    # By position in the list, so that no comparison of types stands between a value and its code.
    positions = {value: position for position, value in enumerate(values)}
    codes = [-1 if value is None else positions[value] for value in column.to_pylist()]
    return pandas.Categorical.from_codes(codes, categories=index, ordered=found["ordered"])
