"""Is this table still the one the row references were split from, row by row?

A model that is given a reordered `X` with the row references of the old order would have every prediction pinned to
another person's rows. So features are compared before anything is recorded:

- by the pandas index, where it tells rows apart and is not just 0, 1, 2, …; the values may then have been transformed;
- otherwise by the values of the columns both tables have; an array is compared by position of its columns.

Columns that say the same of every row show nothing about a table that has more columns than them. That is up to the
data of a batch, so it is no reason to refuse it: it is told, and the order is the caller's word. Not found: rows that
were exchanged although all values compared agree.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from backstory.errors import AlignmentError, ColumnError, InputError
from backstory.frames.equality import same_values
from backstory.frames.table import Frame, column_names, column_values, kind_of, row_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WAY_OUT: Final = "if they are aligned all the same, pass rows.assume_aligned()"


def require_length(rows: int, features: Any) -> None:
    """Refuse features of another number of rows.

    Args:
        rows: Number of row references.
        features: Any table, or an array.

    Raises:
        AlignmentError: The lengths differ.
    """
    count = _count(features)
    if count != rows:
        raise AlignmentError(
            f"features and row references differ in length: expected {rows} rows, got {count}", expected=rows, got=count
        )


def check_alignment(split: Frame, selector: NDArray[np.int64] | None, features: Any) -> bool:
    """Refuse features that are not the split's rows in the order of the row references.

    Args:
        split: The features as `split` gave them.
        selector: Rows of `split` the references were narrowed to, in order; None for all of them.
        features: What the caller is about to use: any table or array, of the right length.

    Returns:
        Whether they are shown to be; False where all they share has one value in these rows.

    Raises:
        AlignmentError: The rows were reordered, or features have nothing that could be compared.
    """
    try:
        kind = kind_of(features)
    except InputError:
        raise AlignmentError(
            f"features cannot be compared with the rows that were split: got {type(features).__qualname__}; {_WAY_OUT}"
        ) from None
    if kind == "pandas" and kind_of(split) == "pandas" and _index_tells(split, selector, features):
        return True
    return _require_same_values(split, selector, features, kind)


def _count(features: Any) -> int:
    shape = getattr(features, "shape", None)
    if isinstance(shape, tuple) and shape:
        return int(shape[0])
    return row_count(features)


def _index_tells(split: Frame, selector: NDArray[np.int64] | None, features: Frame) -> bool:
    """Return True if the index shows the rows are aligned, False if it shows nothing.

    Raises:
        AlignmentError: It shows that they are not.
    """
    expected = split.index if selector is None else split.index.take(selector)
    counted = features.index.equals(sys.modules["pandas"].RangeIndex(len(features)))
    if features.index.equals(expected):
        return not counted and bool(features.index.is_unique)
    if features.index.is_unique and expected.is_unique and bool(features.index.isin(expected).all()):
        moved = int(np.argmax(np.asarray(features.index != expected)))
        raise AlignmentError(
            f"features were reordered: expected the index in the order of the row references, got another from row "
            f"{moved}; index the row references alike (rows[order]); {_WAY_OUT}",
            row=moved,
        )
    if not counted:
        raise AlignmentError(
            f"features are of other rows: expected the index the split had, got another; index the row references "
            f"alike (rows[mask]); {_WAY_OUT}"
        )
    return False


def _require_same_values(split: Frame, selector: NDArray[np.int64] | None, features: Frame, kind: str) -> bool:
    """Return whether values that differ from row to row were the same, or there was nothing else to be in order."""
    pairs = _pairs(column_names(split), features, kind)
    if not pairs:
        raise AlignmentError(
            f"features have nothing in common with the rows that were split: expected some of its columns; {_WAY_OUT}"
        )
    tells = len(pairs) >= len(column_names(features)) or row_count(features) <= 1
    for before, after in pairs:
        left = _taken(column_values(split, before), selector)
        right = features[:, after] if isinstance(after, int) else column_values(features, after)
        if not same_values(left, right):
            raise AlignmentError(
                f"features differ from the rows that were split: expected the same values in column {before!r}, got "
                f"others; were rows reordered, or values transformed under a plain 0, 1, 2, … index? {_WAY_OUT}",
                column=before,
            )
        tells = tells or not _is_constant(left)
    return tells


def _is_constant(values: Any) -> bool:
    # The ends first: they differ in nearly every column, and then nothing else is looked at.
    return same_values(values[:1], values[-1:]) and same_values(values[1:], values[:-1])


def _pairs(names: list[str], features: Frame, kind: str) -> list[tuple[str, str | int]]:
    if kind == "numpy":
        width = features.shape[1]
        return [(name, position) for position, name in enumerate(names)] if width == len(names) else []
    try:
        known = set(column_names(features))
    except ColumnError:
        # Columns without text names share none with the split.
        return []
    return [(name, name) for name in names if name in known]


def _taken(values: Any, selector: NDArray[np.int64] | None) -> Any:
    if selector is None:
        return values
    if not isinstance(values, np.ndarray) and not values.null_count and _is_number(values.type):
        # NumPy gathers from one piece; pyarrow looks up the chunk of every row.
        values = values.to_numpy()
    return values.take(selector)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
