"""Valid ids on wrong rows: do the features of some rows have the values their source rows have?

A token cannot tell that it was moved: ids pasted beside a frame of other rows, or beside columns that were each sorted
alone, all check. It shows in columns that kept their name: there the values agree with those of the source's rows no
more often than they would by chance.

This is a look at a sample when rows are recorded, and says nothing unless it must. A column counts only if its name is
that of one reference's source alone, and the alarm is raised only if no such column speaks for the rows: one that
agrees far beyond chance, or rises or falls with the source's as scaled and clipped numbers do. So nothing found is no
proof.

Nor does a column speak for the rows that has each of its values once, while more rows of the source have them: it is
the key of rows that were aggregated without group(), if another column has values of others of those rows. Two keys, or
values under new names, are not found: then the ids are of rows that did go in, and not of all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, is_text, unchunked
from backstory.errors import ColumnError
from backstory.frames.table import column_names, sampled_values
from backstory.lineage.refs import Grade, RowRefs, warn_of_lineage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from backstory.lineage.source import Origin, Snapshot

_Column: TypeAlias = "pa.Array | pa.ChunkedArray"

ROWS_MIN: Final = 8
"""Fewer rows show nothing: any two may differ."""

_SAMPLE_ROWS: Final = 64
_OTHER_ROWS: Final = 4_096
"""Rows of the source that are looked at for values that should be of one row."""
_COLUMNS_MAX: Final = 8
_AGREEMENT_MIN: Final = 0.5
"""Share of the way from agreement by chance to agreement everywhere (Cohen's kappa)."""


def grade_by_sample(rows: RowRefs, name: str) -> Grade:
    """Return how sure a reference is once some rows were compared with what it points to.

    Args:
        rows: Row references, with the features they were split from.
        name: One of their references.

    Returns:
        The grade it has; `coarse`, with a `LineageWarning`, if it is `exact` and all that can be compared speaks
        against it.
    """
    grade = rows.grades[name]
    doubt = doubt_of(rows, name) if grade == "exact" else None
    if doubt is None:
        return grade
    warn_of_lineage(f"{doubt}; the edge is recorded as coarse")
    return "coarse"


def doubt_of(rows: RowRefs, name: str) -> str | None:
    """Return what speaks against a reference, in words without a value; None if nothing must be said.

    Args:
        rows: Row references, with the features they were split from.
        name: One of their references.
    """
    origin = rows.origins[name]
    if len(rows) < ROWS_MIN or not isinstance(origin, tuple):
        return None
    against, keys = [], []
    for pair in _pairs(rows, name, origin):
        speaks = _speaks_for(pair.feature, pair.source)
        if speaks and not _stands_for_more(pair):
            return None
        if speaks:
            keys.append(pair.column)
        elif speaks is not None:
            against.append(pair.column)
    if not against or not all(_is_unique(rows, name, column) for column in keys):
        return None
    if keys:
        return (
            f"row ids may stand for more rows than they name: every value of column {keys[0]!r} is there once, more "
            f"rows of source {origin[0].name!r} have it, and column {against[0]!r} has other values than the rows that "
            "the ids name; likely cause: rows aggregated without group(). Give columns changed on purpose other names"
        )
    return (
        f"row ids may be on wrong rows: column {against[0]!r}, and every other that can be compared, has other values "
        f"than the rows of source {origin[0].name!r} that the ids name; likely cause: ids pasted beside other rows, or "
        "columns sorted by themselves. Give columns changed on purpose other names"
    )


class _Pair(NamedTuple):
    """A feature and the source's column of its name, in the same sampled rows, and where in the snapshot these are."""

    column: str
    feature: _Column
    source: _Column
    snapshot: Snapshot
    at: NDArray[np.signedinteger[Any]]


def _pairs(rows: RowRefs, name: str, origin: tuple[Snapshot, ...]) -> Iterator[_Pair]:
    """Yield features with the source's columns of their names."""
    positions = rows.positions[name]
    known = np.flatnonzero(positions >= 0)
    snapshot = _part_at(origin, int(positions[known[len(known) // 2]])) if len(known) else None
    if snapshot is None:
        return
    at = positions[known] - snapshot.first_position
    inside = np.flatnonzero((at >= 0) & (at < snapshot.rows))
    if len(inside) < ROWS_MIN:
        return
    inside = inside[np.unique(np.linspace(0, len(inside) - 1, _SAMPLE_ROWS).astype(np.intp))]
    taken = known[inside] if rows.selector is None else rows.selector[known[inside]]
    for column in _own_columns(rows, name, snapshot):
        try:
            source = snapshot.sample(at[inside], column)
            feature = sampled_values(rows.features, column, taken)
        except ColumnError:  # of no type that can be recorded, which is said where that is tried
            continue
        if source is not None:
            yield _Pair(column, feature, source, snapshot, at[inside])


def _stands_for_more(pair: _Pair) -> bool:
    """Say whether each value is there once, and rows of the source that are not named have some of them too."""
    values = _plain(pair.source)
    if pair.column in pair.snapshot.key or _repeats(values):
        return False
    others = np.unique(np.linspace(0, pair.snapshot.rows - 1, _OTHER_ROWS).astype(np.intp))
    others = others[~np.isin(others, pair.at)]
    found = pair.snapshot.sample(others, pair.column)
    try:
        return found is not None and bool(pc.any(pc.is_in(_plain(found).drop_null(), values.drop_null())).as_py())
    except (pa.ArrowException, NotImplementedError):  # of types that cannot be looked for
        return False


def _is_unique(rows: RowRefs, name: str, column: str) -> bool:
    """Say whether the rows of a reference have each value of a feature once."""
    known = np.flatnonzero(rows.positions[name] >= 0)
    return not _repeats(
        _plain(sampled_values(rows.features, column, known if rows.selector is None else rows.selector[known]))
    )


def _repeats(values: pa.Array) -> bool:
    try:
        return bool(pc.count_distinct(values, mode="all").as_py() < len(values))
    except (pa.ArrowException, NotImplementedError):  # lists and the like
        return True


def _part_at(origin: tuple[Snapshot, ...], position: int) -> Snapshot | None:
    return next((part for part in origin if 0 <= position - part.first_position < part.rows), None)


def _own_columns(rows: RowRefs, name: str, snapshot: Snapshot) -> list[str]:
    """Return features that can only be the snapshot's columns: no other reference has them, and no join left a twin."""
    own = snapshot.columns.difference(*(_columns_of(other) for key, other in rows.origins.items() if key != name))
    features = sorted(column_names(rows.features))
    with_next = zip(features, [*features[1:], ""], strict=True)
    found = [column for column, following in with_next if column in own and not following.startswith(column)]
    return found[:: max(1, -(-len(found) // _COLUMNS_MAX))]


def _columns_of(origin: Origin) -> frozenset[str]:
    if isinstance(origin, tuple):
        return frozenset[str]().union(*(snapshot.columns for snapshot in origin))
    return frozenset((*origin.by, *origin.aggs))


def _speaks_for(feature: _Column, source: _Column) -> bool | None:
    """Say whether a column has the source's values row by row, or moves with them; None if it does not tell."""
    left, right = _plain(feature), _plain(source)
    are_numbers = _is_number(left.type) and _is_number(right.type)
    if are_numbers and not pa.types.is_floating(left.type):
        left = left.cast(pa.float64(), safe=False)
    elif not are_numbers and left.type != right.type and not (is_text(left.type) and is_text(right.type)):
        return None
    try:
        right = right.cast(left.type, safe=False)
        both = pc.invert(pc.or_(pc.is_null(left, nan_is_null=True), pc.is_null(right, nan_is_null=True)))
        left, right = left.filter(both), right.filter(both)
        codes = pa.concat_arrays([left, right]).dictionary_encode().indices.to_numpy()
    except (pa.ArrowException, NotImplementedError):  # lists and the like, of which Arrow knows no equality
        return None
    ours, theirs = codes[: len(left)], codes[len(left) :]
    if len(ours) < ROWS_MIN or len(np.unique(ours)) == 1 or len(np.unique(theirs)) == 1:
        return None
    values = int(codes.max()) + 1
    by_chance = float(np.bincount(ours, minlength=values) @ np.bincount(theirs, minlength=values)) / len(ours) ** 2
    if np.mean(ours == theirs) - by_chance >= _AGREEMENT_MIN * (1 - by_chance):
        return True
    return are_numbers and _moves_with(left.to_numpy(), right.to_numpy())


def _plain(values: _Column) -> pa.Array:
    return decoded(unchunked(values) if isinstance(values, pa.ChunkedArray) else values)


def _moves_with(ours: NDArray[np.floating[Any]], theirs: NDArray[np.floating[Any]]) -> bool:
    """Say whether one column of numbers is a rising or falling function of the other."""
    order = np.lexsort((ours, theirs))
    ours, theirs = np.diff(ours[order]), np.diff(theirs[order])
    return not np.any(ours[theirs == 0]) and bool(np.all(ours >= 0) or np.all(ours <= 0))


def _is_number(type_: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(test(type_) for test in tests)
