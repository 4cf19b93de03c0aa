"""Sets of row positions: one form in bytes, read back whole or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import FormatError, InputError
from backstory.frames.row_set import RUNS_MAX, RowSet, is_ascending
from backstory.frames.token import POSITION_MAX

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "row_set.json").read_text("utf-8"))
NEAR = st.integers(0, 400)
FAR = st.integers(0, POSITION_MAX)
POSITIONS = st.sets(NEAR | FAR, max_size=90)


def row_set(positions):
    """Return the set of some positions."""
    return RowSet.of_positions(np.array(sorted(positions), np.int64))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["what"])
def test_bytes_are_those_of_the_vectors(vector):
    """The bytes of a set are pinned, and read back as the same positions."""
    positions = {int(p) for first, rows in vector["runs"] for p in range(int(first), int(first) + int(rows))}
    assert row_set(positions).to_bytes().hex() == vector["bytes"]
    assert set(RowSet.of_bytes(bytes.fromhex(vector["bytes"])).positions().tolist()) == positions


@given(positions=POSITIONS)
def test_what_is_written_is_read_back(positions):
    """A set read from its bytes has the same positions, ascending."""
    assert RowSet.of_bytes(row_set(positions).to_bytes()).positions().tolist() == sorted(positions)


@given(first=POSITIONS, second=POSITIONS)
def test_operations_are_those_of_sets(first, second):
    """Intersection, difference and inclusion agree with Python's sets."""
    one, other = row_set(first), row_set(second)
    assert set((one & other).positions().tolist()) == first & second
    assert set((one - other).positions().tolist()) == first - second
    assert (one <= other) is (first <= second)


@given(first=POSITIONS, second=POSITIONS)
def test_equal_sets_have_equal_bytes(first, second):
    """However a set came about, its bytes are those of a set made of its positions."""
    made = row_set(first) - row_set(second)
    assert made.to_bytes() == row_set(first - second).to_bytes()


@given(mask=st.lists(st.booleans(), max_size=300), first=st.integers(0, 1 << 33))
def test_masks_are_counted_from_their_first_row(mask, first):
    """The set of a mask has the positions at which it holds."""
    wanted = [first + row for row, is_in in enumerate(mask) if is_in]
    assert RowSet.of_mask(np.array(mask, bool), first).positions().tolist() == wanted


@given(positions=st.sets(NEAR, min_size=1), data=st.data())
def test_changed_bytes_are_never_the_same_set(positions, data):
    """A changed byte is refused or gives another set, never a second form of the same one."""
    whole = row_set(positions).to_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    try:
        found = RowSet.of_bytes(changed)
    except FormatError:
        return
    assert set(found.positions().tolist()) != positions


@pytest.mark.parametrize(("runs", "kind"), [(RUNS_MAX, 0), (RUNS_MAX + 1, 1)])
def test_few_runs_are_ranges(runs, kind):
    """Up to 62 runs are written one by one, more as a bitmap."""
    assert row_set(range(0, 2 * runs, 2)).to_bytes()[5] == kind


BITMAP = row_set(range(0, 200, 2)).to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"BSRS\x01",
        b"BSRS\x02" + bytes(9),
        row_set({1}).to_bytes() + b"\0",
        *(BITMAP[:end] for end in (14, 15, 22, 30, len(BITMAP) - 1)),
    ],
)
def test_other_bytes_are_refused(data):
    """What is cut short, longer, or of another version is no set."""
    with pytest.raises(FormatError):
        RowSet.of_bytes(data)


@pytest.mark.parametrize("position", [-1, POSITION_MAX + 1])
def test_positions_outside_are_refused(position):
    """No set holds a position no row can have."""
    with pytest.raises(InputError):
        RowSet.of_positions(np.array([position], np.int64))


@pytest.mark.parametrize(
    ("positions", "is_set"), [([0, 3, 4], True), ([3, 3], False), ([4, 3], False), ([-1, 3], False), ([], False)]
)
def test_only_what_ascends_is_a_set(positions, is_set):
    """Positions that repeat, go back or name no row are not a set."""
    assert is_ascending(np.array(positions, np.int64)) is is_set


def test_rows_at_random_stay_small():
    """Four fifths of a million rows, drawn at random, are less than 0.15 MB, as of ten million less than 1.5 MB."""
    mask = np.random.default_rng(0).random(1_000_000) < 0.8
    assert len(RowSet.of_mask(mask).to_bytes()) < 150_000


def test_rows_split_by_time_are_a_few_bytes():
    """The first 8 million rows are less than 1 KB."""
    assert len(RowSet.of_range(0, 8_000_000).to_bytes()) < 1_000
