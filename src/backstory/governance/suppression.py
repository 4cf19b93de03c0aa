"""Small cells of tables: which are hidden, so that nobody is recognised, and which more, so that no difference tells.

This is for tables that are shown to people inside, once. It bounds nothing over several tables, as a privacy budget
does: figures that leave the archive are those of `archive.sharing`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Final, TypeAlias

from backstory.errors import LimitError

LEAST: Final = 10
"""Cells of fewer people are not shown."""
CELLS_MAX: Final = 2_000

Cell: TypeAlias = tuple[str, ...]
"""Where a count stands: its place on each axis of the table."""
Total: TypeAlias = frozenset[Cell]
"""Cells whose sum is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """What of a table is not shown.

    Attributes:
        cells: Cells that are hidden, because they are small or because they would give a small one away.
        totals: Totals that are hidden.
    """

    cells: frozenset[Cell]
    totals: frozenset[Total]


def margins(cells: Iterable[Cell]) -> list[Total]:
    """Return all totals of a table: of each line, plane and so on, and of the whole, where they are of several cells.

    >>> [sorted(total) for total in margins([("a", "x"), ("a", "y")])]
    [[('a', 'x'), ('a', 'y')]]
    """
    listed = sorted(set(cells))
    axes = range(len(listed[0])) if listed else range(0)
    found: dict[Total, None] = {}
    for kept in (one for size in range(len(axes)) for one in combinations(axes, size)):
        lines: dict[Cell, set[Cell]] = {}
        for cell in listed:
            lines.setdefault(tuple(cell[axis] for axis in kept), set()).add(cell)
        found.update(dict.fromkeys(frozenset(line) for line in lines.values() if len(line) > 1))
    return list(found)


def suppress(counts: Mapping[Cell, int], totals: Iterable[Total] = (), least: int = LEAST) -> Suppression:
    """Return what of a table must not be shown.

    A count of 1 to `least` - 1 is small. Hidden are all small cells and totals, and more until no small cell follows
    from what is shown by adding and subtracting, and the hidden cells of each total that is shown are together at least
    `least`. That somebody who knows more, or that no count is below 0, can narrow a count down is not looked at.

    Args:
        counts: How many people are in each cell.
        totals: Sums that are shown beside them, such as `margins`.
        least: How many people a cell must have to be shown.

    Raises:
        LimitError: There are more than 2,000 cells.

    >>> sorted(suppress({("a",): 3, ("b",): 40, ("c",): 20}, margins([("a",), ("b",), ("c",)])).cells)
    [('a',), ('c',)]
    """
    if len(counts) > CELLS_MAX:
        raise LimitError(f"suppression: expected at most {CELLS_MAX:,} cells, got {len(counts):,}")
    small = {cell for cell, count in counts.items() if 0 < count < least}
    hidden = set(small)
    given = list(dict.fromkeys(totals))
    shown = [total for total in given if not 0 < _sum(counts, total) < least]
    while True:
        betrayed = _betrayed(counts, shown, hidden, small, least)
        if betrayed is None:
            return Suppression(cells=frozenset(hidden), totals=frozenset(given) - frozenset(shown))
        cells, total = betrayed
        if cells:
            hidden.add(min(cells, key=lambda cell: (counts[cell], cell)))
        else:
            shown.remove(total)


def _betrayed(
    counts: Mapping[Cell, int], shown: list[Total], hidden: set[Cell], small: set[Cell], least: int
) -> tuple[list[Cell], Total] | None:
    """Return of a total that betrays a small cell what else of it can be hidden, and the total; None if none does."""
    for total in shown:
        inside = total & hidden
        if inside and _sum(counts, inside) < least:
            return [cell for cell in total - hidden if counts[cell]], total
    known = _determined(shown, hidden) & small
    for total in sorted(shown, key=len):
        if total & known:
            visible = [cell for cell in total - hidden if counts[cell]]
            if visible or total <= hidden:
                return visible, total
    if known:
        return [], next(total for total in shown if total & known)
    return None


def _sum(counts: Mapping[Cell, int], cells: Collection[Cell]) -> int:
    return sum(counts[cell] for cell in cells)


def _determined(shown: list[Total], hidden: set[Cell]) -> set[Cell]:
    """Return the hidden cells that follow exactly from totals, by elimination."""
    rows = [dict.fromkeys(total & hidden, Fraction(1)) for total in shown if total & hidden]
    reduced: dict[Cell, dict[Cell, Fraction]] = {}
    for row in rows:
        for pivot, other in reduced.items():
            if pivot in row:
                _subtract(row, other, row[pivot])
        if not row:
            continue
        pivot = min(row)
        scale = row[pivot]
        scaled = {cell: value / scale for cell, value in row.items()}
        for other in reduced.values():
            if pivot in other:
                _subtract(other, scaled, other[pivot])
        reduced[pivot] = scaled
    return {pivot for pivot, row in reduced.items() if len(row) == 1}


def _subtract(row: dict[Cell, Fraction], other: Mapping[Cell, Fraction], times: Fraction) -> None:
    for cell, value in other.items():
        left = row.get(cell, Fraction(0)) - times * value
        if left:
            row[cell] = left
        else:
            row.pop(cell, None)
