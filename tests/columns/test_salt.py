"""Salts of blocks: derived from one key, destroyed one by one, and the others stay what they were."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from backstory.columns.salt import ShardSalts, block_keys, parse_salts, salts
from backstory.errors import FormatError

KEY = bytes(range(32))
ROWS = st.integers(1, 700)


def key_stream(key, blocks):
    """Return AES-256 in counter mode, built by hand from the block cipher alone."""
    one = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    return b"".join(one.update(number.to_bytes(16, "big")) for number in range(blocks))


@st.composite
def erasures(draw):
    """A shard's shape, and some of its values."""
    rows, groups = draw(ROWS), draw(st.integers(1, 3))
    places = st.tuples(st.integers(0, rows - 1), st.integers(0, groups - 1))
    gone = np.zeros((rows, groups), np.bool_)
    for row, group in draw(st.lists(places, max_size=8)):
        gone[row, group] = True
    return gone


@given(st.integers(0, 2000), st.integers(0, 600), st.integers(1, 5))
def test_a_salt_does_not_depend_on_where_a_run_begins(first, rows, groups):
    """The salts of a run are a slice of those of the whole section."""
    assert (salts(KEY, first, rows, groups) == salts(KEY, 0, first + rows, groups)[first:]).all()


def test_salts_are_those_of_aes_in_counter_mode():
    """A block's key is cut from the salt key's stream, its salts from the block key's, row by row, group by group."""
    keys = key_stream(KEY, 4)
    assert block_keys(KEY, 0, 2).tobytes() == keys
    of_block = key_stream(keys[32:64], 2 * 2 * 3)
    assert salts(KEY, 256, 3, 2).tobytes() == of_block
    assert salts(KEY, 255, 2, 2)[1].tobytes() == of_block[:64]


@given(erasures(), erasures())
def test_an_erasure_takes_its_salts_and_no_others(gone, later):
    """What is left has the salts it had; what is gone is marked, and neither it nor its block's key is in the bytes."""
    rows, groups = gone.shape
    more = np.zeros_like(gone)
    more[: len(later[:rows]), : later.shape[1]] = later[:rows, :groups]
    whole = ShardSalts.whole(KEY, rows, groups)
    drawn, left = whole.cut(0, rows), whole.without(gone).without(more)
    erased = gone | more
    assert (left.has(0, rows) == ~erased).all()
    assert (left.cut(0, rows)[~erased] == drawn[~erased]).all()
    assert not left.cut(0, rows)[erased].any()
    assert (left.erased, list(left.present)) == (erased.sum(), list(np.flatnonzero(~erased.all(axis=1))))
    data = left.encode()
    for row, group in np.argwhere(erased):
        assert drawn[row, group].tobytes() not in data
        assert whole.keys[row // 256].tobytes() not in data
    again = parse_salts(data, "test")
    assert again.encode() == data
    assert (again.cut(0, rows) == left.cut(0, rows)).all()


@given(erasures(), st.integers(0, 699), st.integers(1, 300))
def test_a_run_is_a_slice_whatever_was_erased(gone, first, count):
    """Asked for a run, what is left answers as for the whole."""
    rows = len(gone)
    left = ShardSalts.whole(KEY, rows, gone.shape[1]).without(gone)
    first = min(first, rows - 1)
    count = min(count, rows - first)
    assert (left.cut(first, count) == left.cut(0, rows)[first : first + count]).all()
    assert (left.has(first, count) == left.has(0, rows)[first : first + count]).all()


def test_erased_rows_of_a_table_leave_their_commitments():
    """Of a table the commitments to its erased rows are kept in their order, earlier erasures included."""
    table = np.arange(300 * 32, dtype=np.uint8).reshape(300, 32)
    gone = np.zeros((300, 1), np.bool_)
    gone[[3, 290]] = True
    left = ShardSalts.whole(KEY, 300, 1).without(gone, table)
    gone[7] = True
    left = parse_salts(left.without(gone, table).encode(), "test")
    assert (left.commitments == table[[3, 7, 290]]).all()


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b[:11], lambda _: b"\xff" * 12])
def test_malformed_salts_are_refused(change):
    """Bytes that are cut, longer, or promise more than there is are no salts."""
    gone = np.zeros((300, 2), np.bool_)
    gone[5, 1] = True
    data = ShardSalts.whole(KEY, 300, 2).without(gone).encode()
    with pytest.raises(FormatError):
        parse_salts(change(data), "test")
