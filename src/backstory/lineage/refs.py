"""Row references: for every row of a feature table, which source rows and groups it came from.

`RowRefs` goes wherever an array goes (`train_test_split(X, y, rows)`, `rows[mask]`), and can say whether a table is
still the one it was split from. It holds positions, never tokens: the check bits have done their work.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from backstory.frames.table import Frame
from backstory.lineage.alignment import check_alignment, require_length
from backstory.lineage.resolve import BROKEN
from backstory.lineage.source import Origin

if TYPE_CHECKING:
    from numpy.typing import NDArray

Grade: TypeAlias = Literal["exact", "declared", "probed", "coarse", "broken"]
"""How sure a lineage edge is: DESIGN section 2."""


class LineageWarning(UserWarning):
    """Lineage lost its exactness, visibly: some rows are recorded as broken, coarse, or on the caller's word."""


def warn_of_lineage(message: str) -> None:
    """Give a `LineageWarning` for the line of the caller's program that led here."""
    frame, level = sys._getframe(), 1  # noqa: SLF001  what warnings itself counts by
    while frame.f_back is not None and f"{frame.f_globals.get('__name__')}.".startswith("backstory."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, LineageWarning, stacklevel=level)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowRefs:
    """Row references, indexable like a one-dimensional array.

    Attributes:
        positions: For each reference name (an id column without `_row_`), one position a row: 0 or more, -1 where the
            row matched none, -2 where the token was broken.
        origins: What the positions of each reference point into.
        grades: How sure each reference is: `exact` for a source, `declared` for a group, `broken` where a row is.
        rows: Number of rows.
        features: The features as they were split off, protected from later changes.
        selector: Rows of `features` these references were narrowed to, in order; None for all.
        aligned_by_caller: True if the caller vouches for the order of rows; nothing is compared then.
    """

    positions: Mapping[str, NDArray[np.signedinteger[Any]]]
    origins: Mapping[str, Origin]
    grades: Mapping[str, Grade]
    rows: int
    features: Frame
    selector: NDArray[np.int64] | None
    aligned_by_caller: bool

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.rows

    @property
    def shape(self) -> tuple[int]:
        """The shape of an array of as many rows."""
        return (self.rows,)

    @property
    def names(self) -> tuple[str, ...]:
        """The reference names, in the order of the id columns."""
        return tuple(self.positions)

    def __getitem__(self, key: Any) -> RowRefs:
        """Return the references of some rows.

        Args:
            key: Positions, a boolean mask, a slice, a list, or one position, which gives references of one row.

        Raises:
            IndexError: A position is out of range, or a mask of another length.
        """
        if isinstance(key, tuple):
            # Array libraries write rows[key, ...] for "the first axis".
            key = key[0]
        selector = np.arange(self.rows)[np.asarray(key, np.intp) if isinstance(key, list) and not key else key]
        selector = np.atleast_1d(selector)
        positions = {name: values[selector] for name, values in self.positions.items()}
        return replace(
            self,
            positions=positions,
            grades={name: self._grade(name, values) for name, values in positions.items()},
            rows=len(selector),
            selector=selector if self.selector is None else self.selector[selector],
        )

    def check(self, features: Any) -> RowRefs:
        """Refuse features that are not of these rows in this order.

        Args:
            features: What a model is about to be given: any table or array of features.

        Returns:
            These references; on the caller's word, with a `LineageWarning`, where all that the features share with the
            rows that were split has one value in these rows, so that nothing shows their order.

        Raises:
            AlignmentError: The lengths differ, the rows were reordered, or there is nothing to compare.
        """
        require_length(self.rows, features)
        if self.aligned_by_caller or check_alignment(self.features, self.selector, features):
            return self
        warn_of_lineage(
            "nothing shows that the features are in the order of the row references, so the edges are recorded as "
            "declared: expected a column of the rows that were split, or an index, with more than one value in these "
            "rows, got one value in all they share; if they are aligned, pass rows.assume_aligned()"
        )
        return self.assume_aligned()

    def assume_aligned(self) -> RowRefs:
        """Return the same references, taken on the caller's word to be in the order of any features given later.

        Lengths are still compared. What was `exact` becomes `declared`.
        """
        return replace(
            self,
            grades={name: "broken" if grade == "broken" else "declared" for name, grade in self.grades.items()},
            aligned_by_caller=True,
        )

    def _grade(self, name: str, positions: NDArray[np.signedinteger[Any]]) -> Grade:
        if self.grades[name] != "broken":
            return self.grades[name]
        is_broken = bool((positions == BROKEN).any())
        return grade_of(self.origins[name], is_broken=is_broken, aligned_by_caller=self.aligned_by_caller)


def grade_of(origin: Origin, *, is_broken: bool, aligned_by_caller: bool = False) -> Grade:
    """Return how sure a reference is.

    Args:
        origin: What it points into.
        is_broken: Whether a token in it did not check.
        aligned_by_caller: True if the order of rows is the caller's word.
    """
    if is_broken:
        return "broken"
    return "exact" if isinstance(origin, tuple) and not aligned_by_caller else "declared"
