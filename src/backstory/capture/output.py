"""From what a model returned to a column of the record, and to what a context says of its form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from backstory.capture.plain import one_value
from backstory.errors import ModelError, OutputLengthError
from backstory.frames.table import to_arrow
from backstory.records.canonical import JsonObject

_MATRIX = 2


def may_name_columns(names: Iterable[object]) -> bool:
    """Say whether names of values in a dict may name columns of a record about a person, which stand in clear.

    Only those that a program could use as names are taken for its own; others may be data, such as an address.

    >>> may_name_columns(["score", "label"]), may_name_columns(["anna@example.org"])
    (True, False)
    """
    return all(isinstance(name, str) and name.isidentifier() for name in names)


def output_column(
    output: Any,  # noqa: ANN401
    rows: int,
    names: Sequence[str] | None,
    *,
    sealed: bool = False,
) -> tuple[pa.Array, JsonObject]:
    """Return a model's output as one Arrow array and a description of its form.

    Args:
        output: Array or tensor of one or two dimensions, Series, frame, list, or (for one row) a single value or dict.
        rows: Rows the model was given.
        names: Names of the columns of a two-dimensional output, if it has so many; else they are numbered.
        sealed: Whether it is about people: dicts whose names may be data are then values, as JSON text.

    Returns:
        An array of `rows` values, a struct where the model returns several values a row; and
        `{"dtype": …, "kind": …, "names": […]}`.

    Raises:
        OutputLengthError: Not one output a row.
        ModelError: The output has no encoding.
    """
    form: JsonObject = {"dtype": str(getattr(output, "dtype", None) or type(output).__name__), "kind": "values"}
    if hasattr(output, "detach"):
        output = output.detach().cpu().numpy()  # a tensor of PyTorch, which need not be installed
    if isinstance(output, dict):
        output = [output]
    elif rows == 1 and (np.isscalar(output) or output is None):
        output, form["kind"] = [output], "value"
    if hasattr(output, "to_numpy") and getattr(output, "ndim", 1) == 1 and not hasattr(output, "columns"):
        output = output.to_numpy()
    if not hasattr(output, "__len__") or isinstance(output, set | frozenset):
        msg = f"model output: expected an array, a frame or a list, got {type(output).__name__}"
        raise ModelError(msg)
    if len(output) != rows:
        msg = f"model output: expected {rows} rows as in the input, got {len(output)}"
        raise OutputLengthError(msg, expected=rows, got=len(output))
    if sealed and _has_names_of_data(output):
        return pa.concat_arrays([one_value(row) for row in output]), form
    array = _several(output, names, form) if _is_wide(output) else _single(output)
    return array, form


def _is_wide(output: Any) -> bool:  # noqa: ANN401
    if isinstance(output, list | tuple):
        return bool(len(output)) and isinstance(output[0], dict)
    return getattr(output, "ndim", 1) == _MATRIX or hasattr(output, "columns")


def _has_names_of_data(output: Any) -> bool:  # noqa: ANN401
    rows = output if isinstance(output, list | tuple) else ()
    return any(isinstance(row, dict) and not may_name_columns(row) for row in rows)


def _several(output: Any, names: Sequence[str] | None, form: JsonObject) -> pa.Array:  # noqa: ANN401
    if isinstance(output, np.ndarray):
        has_names = names is not None and len(names) == output.shape[1]
        table = to_arrow(np.asarray(output), names if has_names else None)
    else:
        table = to_arrow(output)
    form["names"] = list(table.column_names)
    return pa.StructArray.from_arrays([column.combine_chunks() for column in table.columns], names=table.column_names)


def _single(output: Any) -> pa.Array:  # noqa: ANN401
    try:
        return pa.array(output, from_pandas=False)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        msg = f"model output: values of {getattr(output, 'dtype', type(output).__name__)} have no encoding"
        raise ModelError(msg) from None  # the other error quotes the value
