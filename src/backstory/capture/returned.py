"""From what a traced function returned to a column of its records: whatever it is, there is a way to record it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from backstory.capture.output import output_column
from backstory.capture.plain import one_value, plain_value
from backstory.capture.prediction import Begun
from backstory.capture.single import output_value
from backstory.errors import LimitError, OutputLengthError
from backstory.records.limits import COLUMN_COUNT_MAX

WIDTH_MAX = COLUMN_COUNT_MAX // 4
"""Features, or outputs, that are columns of a record; more of them are one value."""
_NOT_ROWS = (str, bytes, bytearray, memoryview, Mapping)
"""What has a length and is one value."""


def output_of(output: Any, begun: Begun) -> pa.Array:  # noqa: ANN401
    """Return what to record of what a function returned, one value a row.

    A value that is not one a row of a table stands on each of the rows: the call as a whole returned it.
    """
    rows, sealed = begun.table.num_rows, begun.seals_output
    for way in (_one_a_row, _one_for_all):
        with contextlib.suppress(Exception):  # it may raise anything when it is asked, or have no common type
            column = way(output, rows, sealed=sealed)
            insist_few(column.type)
            begun.capture.typed(begun.call, {"output": column})
            return column
    return _on_each(one_value(output), rows)


def has_many(output: Any) -> bool:  # noqa: ANN401
    """Say whether an output has more values by name than are columns of a record."""
    return type(output) is dict and len(output) > WIDTH_MAX


def insist_few(type_: pa.DataType) -> None:
    """Refuse more values by name than are columns of a record.

    Raises:
        LimitError: There are more.
    """
    if pa.types.is_struct(type_) and type_.num_fields > WIDTH_MAX:
        raise LimitError(f"recording: expected at most {WIDTH_MAX} columns, got {type_.num_fields}")


def _one_a_row(output: Any, rows: int, *, sealed: bool) -> pa.Array:  # noqa: ANN401
    if rows == 1 or isinstance(output, _NOT_ROWS):
        raise OutputLengthError("recording: expected an output of several rows, got one", expected=rows, got=1)
    # Arrow does not survive a list that holds itself.
    listed = list(map(plain_value, output)) if isinstance(output, list | tuple) else output
    return output_column(listed, rows, None, sealed=sealed)[0]


def _one_for_all(output: Any, rows: int, *, sealed: bool) -> pa.Array:  # noqa: ANN401
    return _on_each(one_value(output) if has_many(output) else output_value(output, sealed=sealed), rows)


def _on_each(values: pa.Array, rows: int) -> pa.Array:
    return values if len(values) == rows else pa.concat_arrays([values] * rows)
