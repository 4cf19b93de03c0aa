"""Small cells of tables, and what would give them away."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import LimitError
from backstory.governance.suppression import CELLS_MAX, margins, suppress


def table(counts):
    """Return a table of rows and columns by cell."""
    return {(str(row), str(column)): n for row, line in enumerate(counts) for column, n in enumerate(line)}


def test_small_cells_are_hidden():
    """Without totals only small cells are hidden; an empty cell is nobody's."""
    found = suppress({("a",): 9, ("b",): 10, ("c",): 0})
    assert found.cells == {("a",)}


def test_difference_to_a_total_gives_nothing_away():
    """Beside a total a second cell is hidden, the smallest that makes both together large enough."""
    counts = {("a",): 2, ("b",): 30, ("c",): 12}
    assert suppress(counts, margins(counts)).cells == {("a",), ("c",)}


def test_small_total_is_hidden():
    """A total of few people is not shown, and so betrays none of its cells."""
    counts = table([[3, 4], [50, 60]])
    found = suppress(counts, margins(counts))
    assert frozenset({("0", "0"), ("0", "1")}) in found.totals


def test_too_many_cells_are_refused():
    """The work grows with the cells, so there is an end to them."""
    with pytest.raises(LimitError):
        suppress({(str(n),): 1 for n in range(CELLS_MAX + 1)})


def test_ring_with_a_bridge():
    """Two hidden cells in every line are not enough where elimination still finds one."""
    counts = table([[50, 3, 0, 0], [60, 12, 0, 0], [0, 4, 90, 80], [0, 0, 70, 60]])
    assert not _follows(counts, suppress(counts, margins(counts)))


@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=2, max_size=4))
def test_no_small_cell_follows(counts):
    """Whatever the table: a small cell is hidden, does not follow from what is shown, nor do few people together."""
    counts = table(counts)
    found = suppress(counts, margins(counts))
    assert {cell for cell, n in counts.items() if 0 < n < 10} <= found.cells
    assert not _follows(counts, found)
    for total in set(margins(counts)) - found.totals:
        hidden = total & found.cells
        assert not hidden or sum(counts[cell] for cell in hidden) >= 10


def _follows(counts, found):
    """Return small cells that a rank says follow from the totals shown: another way than the one that is tested."""
    hidden = sorted(found.cells)
    rows = [[float(cell in total) for cell in hidden] for total in set(margins(counts)) - found.totals]
    if not hidden or not rows:
        return []
    matrix = np.array(rows)
    rank = np.linalg.matrix_rank(matrix)
    unit = np.eye(len(hidden))
    return [
        cell
        for place, cell in enumerate(hidden)
        if 0 < counts[cell] < 10 and np.linalg.matrix_rank(np.vstack([matrix, unit[place]])) == rank
    ]
