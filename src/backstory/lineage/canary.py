"""Valid ids on wrong rows: do the features of some rows have the values their source rows have?

A token cannot tell that it was moved: `groupby().max()` takes each column's largest value, so the largest token ends up
beside the values of other rows. Such rows show in columns that kept their name: here they agree with the source's row
their id names, there they do not. A column that agrees nowhere was transformed, or its order was changed; which of the
two, values do not tell, so the edge is the caller's word.

A sample is looked at, when rows are recorded. Found is what shows there; nothing found is no proof.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, unchunked
from backstory.frames.table import column_names, select_columns, take_rows, to_arrow
from backstory.lineage.refs import Grade, LineageWarning, RowRefs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.lineage.source import Snapshot

SAMPLE_ROWS: Final = 64


def grade_by_sample(rows: RowRefs, name: str) -> Grade:
    """Return how sure a reference is once some rows were compared with what it points to.

    Args:
        rows: Row references, with the features they were split from.
        name: One of their references.

    Returns:
        The grade it has, unless it is `exact` and the values speak against it: `coarse`, with a `LineageWarning`,
        where a column of the source's own name agrees in some rows and not in others; `declared` where one agrees in
        none.
    """
    grade, origin = rows.grades[name], rows.origins[name]
    if grade != "exact" or not isinstance(origin, tuple):
        return grade
    mixed: list[str] = []
    for snapshot in origin:
        for column, equal in _compared(rows, rows.positions[name], snapshot):
            if not any(equal):
                grade = "declared"
            elif not all(equal):
                mixed.append(column)
    if not mixed:
        return grade
    warnings.warn(
        f"row ids may be on wrong rows: column {mixed[0]!r} has the values of the rows of source {origin[0].name!r} in "
        "some rows and others elsewhere, so the edge is recorded as coarse; likely cause: an aggregation that was no "
        "group(), or a column sorted by itself. Give a column that was changed on purpose another name.",
        LineageWarning,
        stacklevel=2,
    )
    return "coarse"


def _compared(
    rows: RowRefs, positions: NDArray[np.signedinteger[Any]], snapshot: Snapshot
) -> list[tuple[str, list[bool]]]:
    """Return, for each feature the source has too, in which sampled rows the two are the same; nulls are left out."""
    end = snapshot.first_position + snapshot.rows
    inside = np.flatnonzero((positions >= snapshot.first_position) & (positions < end))
    sample = inside[np.unique(np.linspace(0, len(inside) - 1, SAMPLE_ROWS).astype(np.intp))] if len(inside) else inside
    names = [name for name in column_names(rows.features) if name in snapshot.columns]
    if not len(sample) or not names:
        return []
    at = sample if rows.selector is None else rows.selector[sample]
    features = to_arrow(take_rows(select_columns(rows.features, names), at))
    source = snapshot.sample(positions[sample] - snapshot.first_position, names)
    found = [(name, _equal(features[name], source[name])) for name in names]
    return [(name, equal) for name, equal in found if equal]


def _equal(left: pa.ChunkedArray, right: pa.ChunkedArray) -> list[bool]:
    """Return where two columns have the same value, row by row, without the rows in which one has none."""
    first, second = decoded(unchunked(left)), decoded(unchunked(right))
    try:
        equal = pc.equal(_known(first), _known(second.cast(first.type)))
    except (pa.ArrowException, NotImplementedError):
        return [False]  # of another type, so transformed
    return [value for value in equal.to_pylist() if value is not None]


def _known(values: pa.Array) -> pa.Array:
    """Return values with NaN as null."""
    return pc.if_else(pc.is_nan(values), None, values) if pa.types.is_floating(values.type) else values
