"""Row tokens: minting, reading back whatever a library made of them, and refusing foreign ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import LimitError
from backstory.frames.token import (
    POSITION_MAX,
    check_tokens,
    id_columns,
    mint_tokens,
    positions_of,
    read_tokens,
)

salts = st.integers(0, 2**64 - 1)


def scalar_token(position: int, salt: int) -> int:
    """Follow docs/format.md section 10 with Python integers."""
    mask = 2**64 - 1
    x = ((position ^ salt) * 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 29)) * 0xBF58476D1CE4E5B9) & mask
    return (position + 1) << 16 | x >> 48


@given(st.lists(st.integers(0, POSITION_MAX), min_size=1, max_size=50), salts)
def test_formula(positions, salt):
    """Tokens are those of the format document, and survive float64."""
    tokens = mint_tokens(np.array(positions), salt)
    assert tokens.tolist() == [scalar_token(position, salt) for position in positions]
    assert positions_of(tokens).tolist() == positions
    assert tokens.astype(np.float64).astype(np.uint64).tolist() == tokens.tolist()


@given(salts, st.integers(0, POSITION_MAX - 100), st.integers(1, 100))
def test_own_tokens_pass(salt, first, rows):
    """A snapshot accepts every token of its own, and none outside its range of positions."""
    tokens = mint_tokens(np.arange(first, first + rows), salt)
    assert check_tokens(tokens, salt, first, rows).all()
    assert not check_tokens(tokens, salt, first + rows, rows).any()
    assert check_tokens(tokens, salt, first, rows - 1).sum() == rows - 1


def test_zero_is_never_valid():
    """Token 0 names no row of any snapshot."""
    assert not check_tokens(np.zeros(3, np.uint64), 5, 0, 10).any()


@given(salts, st.integers(0, 1000), st.integers(1, 5), st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_columns_longer_than_their_snapshot_are_checked_alike(salt, first, rows, noise):
    """A token passes or fails alone or in a long column, whatever the other values are."""
    own = mint_tokens(np.arange(first, first + rows), salt)
    column = np.concatenate([own, own + np.uint64(1), np.array(noise, np.uint64), own[::-1], own, own])
    alone = [check_tokens(column[i : i + 1], salt, first, rows).item() for i in range(len(column))]
    assert check_tokens(column, salt, first, rows).tolist() == alone


def test_long_columns_are_read_whole():
    """Columns longer than one block of work are minted and checked like short ones."""
    tokens = mint_tokens(np.arange(100_001), 3)
    tokens[70_000] += np.uint64(1)
    assert np.flatnonzero(~check_tokens(tokens, 3, 0, 100_001)).tolist() == [70_000]


def test_positions_have_a_limit():
    """A position whose token would not survive float64 is refused."""
    with pytest.raises(LimitError):
        mint_tokens(np.array([POSITION_MAX + 1]), 1)


def foreign_pass_rate(salts: np.ndarray, other: np.ndarray) -> tuple[float, bool]:
    """Return how often tokens 0 to 3 of one salt pass under another, and whether all four ever do."""
    passed = []
    for position in range(4):
        checks = []
        for salt in (salts, other):
            x = (np.uint64(position) ^ salt) * np.uint64(0x9E3779B97F4A7C15)
            x = (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            checks.append(x >> np.uint64(48))
        passed.append(checks[0] == checks[1])
    hits = np.array(passed)
    return float(hits.mean()), bool(hits.all(axis=0).any())


def test_random_salts_do_not_accept_each_other():
    """Of a million pairs of salts, a foreign token passes about once in 65,536, and four never all pass."""
    rng = np.random.default_rng(1)
    pairs = rng.integers(0, 2**64, (2, 1_000_000), dtype=np.uint64, endpoint=False)
    rate, all_four = foreign_pass_rate(pairs[0], pairs[1])
    assert 0.5 < rate * 65_536 < 2
    assert not all_four


@pytest.mark.parametrize("bits", range(64))
def test_salts_that_differ_in_one_bit_do_not_accept_each_other(bits):
    """Salts that share all bits but one are as foreign as any."""
    salts = np.random.default_rng(bits).integers(0, 2**64, 20_000, dtype=np.uint64, endpoint=False)
    rate, all_four = foreign_pass_rate(salts, salts ^ (np.uint64(1) << np.uint64(bits)))
    assert rate < 0.001
    assert not all_four


TOKENS = mint_tokens(np.arange(5), 99)


@pytest.mark.parametrize(
    "values",
    [
        TOKENS,
        TOKENS.astype(np.int64),
        TOKENS.astype(np.float64),
        TOKENS.astype(object),
        pa.array(TOKENS),
        pa.chunked_array([TOKENS[:2].astype(np.float64), TOKENS[2:].astype(np.float64)]),
        pa.array(TOKENS).dictionary_encode(),
    ],
    ids=["uint64", "int64", "float64", "object", "arrow", "chunked", "dictionary"],
)
def test_reads_every_type_that_holds_tokens(values):
    """A type that holds 64-bit integers or floats gives the tokens back."""
    read = read_tokens(values)
    assert read.tokens.tolist() == TOKENS.tolist()
    assert not read.none.any()
    assert not read.invalid.any()


@pytest.mark.parametrize(
    "values",
    [
        np.array([0, 0], np.uint64),
        np.array([np.nan, 0.0]),
        np.array([None, np.nan], object),
        pa.array([None, None], pa.uint64()),
        pa.nulls(2),
        pa.array([None, None], pa.string()),
    ],
    ids=["zero", "nan", "object", "null", "null-type", "null-string"],
)
def test_nothing_is_no_row(values):
    """Null, NaN and 0 say that a row matched none."""
    read = read_tokens(values)
    assert read.none.all()
    assert not read.invalid.any()


@pytest.mark.parametrize(
    "values",
    [
        np.array([-5, -1]),
        np.array([65_536.5, -65_536.0]),
        np.array([2.0**54, np.inf]),
        np.array([65_536, 131_072], np.int32),
        np.array([65_536, 131_072], np.float32),
        np.array([True, True]),
        np.array(["65536", "131072"]),
        np.array(["a", 1], object),
        np.array(["2020-01-01", "2020-01-02"], "datetime64[D]"),
        pa.array(["65536", "x"]),
    ],
    ids=["negative", "fraction", "large", "int32", "float32", "bool", "text", "mixed", "date", "arrow-text"],
)
def test_what_cannot_be_a_token_is_invalid(values):
    """Values and types tokens do not fit are invalid, not "no row"."""
    read = read_tokens(values)
    assert read.invalid.all()
    assert not read.none.any()
    assert not read.tokens.any()


def test_id_columns_are_told_by_their_prefix():
    """A suffixed id column is an id column too; a name that only contains the prefix is not."""
    assert id_columns(["a", "_row_x", "my_row_x", "_row_x_right"]) == ["_row_x", "_row_x_right"]
