"""Row tokens: self-checking 64-bit names of the rows of one snapshot.

A token rides through the caller's own joins, filters and sorts as an ordinary column `_row_<source>`. Whatever happens
to it there (a cast, a mean, a fill) is found here, because its low 16 bits are a check over position and salt.

This module does not know which sources exist, and it cannot find a *valid* token on a wrong row.

Specification: docs/format.md section 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

ROW_PREFIX: Final = "_row_"
"""Every column whose name starts so is an id column, and never a feature."""

POSITION_MAX: Final = (1 << 37) - 2
"""Highest position: its token still fits the 53 bits a float64 keeps exactly."""

_CHECK_BITS: Final = np.uint64(16)
_CHECK_SHARE: Final = 1 / (1 << 16)
_FIRST_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_SECOND_MULTIPLIER: Final = np.uint64(0xBF58476D1CE4E5B9)
_FLOAT_EXACT_MAX: Final = 1 << 53
_TOKEN_BYTES: Final = 8
# 512 KiB an intermediate column: memory that is used again and again, where whole columns would be new each time.
_CHUNK_ROWS: Final = 1 << 16
# A column this many times longer than its snapshot (a small table joined to a large one) is compared with all the
# tokens there are, which costs half.
_TABLE_PAYS_FROM: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenColumn:
    """The tokens of one id column, whatever type the column came in.

    Attributes:
        tokens: One token a row; 0 where the row has none or an invalid one.
        none: Rows that name no row: null, NaN or 0.
        invalid: Rows whose value cannot be a token: negative, fractional, too large, or of a type tokens do not fit.
        flaw: What the column's type says about the damage, or "" if it says nothing.
    """

    tokens: NDArray[np.uint64]
    none: NDArray[np.bool_]
    invalid: NDArray[np.bool_]
    flaw: str


def id_columns(names: Iterable[str]) -> list[str]:
    """Return the names that are id columns, in their order."""
    return [name for name in names if isinstance(name, str) and name.startswith(ROW_PREFIX)]


def mint_tokens(positions: NDArray[np.int64], salt: int) -> NDArray[np.uint64]:
    """Make the tokens of some positions.

    Args:
        positions: Positions from 0 to `POSITION_MAX`.
        salt: The snapshot's 64 random bits.

    Returns:
        One token a position.

    Raises:
        LimitError: A position is out of range.
    """
    if positions.size and (positions.min() < 0 or positions.max() > POSITION_MAX):
        message = f"cannot name rows: expected positions from 0 to {POSITION_MAX}, got one outside"
        raise LimitError(message)
    unsigned = np.ascontiguousarray(positions).view(np.uint64)
    tokens = np.empty(unsigned.shape, np.uint64)
    for chunk in _chunks(unsigned.size):
        tokens[chunk] = _tokens_at(unsigned[chunk], salt)
    return tokens


def check_tokens(tokens: NDArray[np.uint64], salt: int, first_position: int, rows: int) -> NDArray[np.bool_]:
    """Tell which tokens name a row of one snapshot.

    Args:
        tokens: Tokens of any origin; 0 is never valid.
        salt: The snapshot's salt.
        first_position: The snapshot's first position.
        rows: The snapshot's number of rows.

    Returns:
        True where position and check bits both fit.
    """
    position = (tokens >> _CHECK_BITS) - np.uint64(1)
    inside = position - np.uint64(first_position) < np.uint64(rows)
    valid: NDArray[np.bool_] = inside & (_tokens_at(position, salt) == tokens)
    return valid


def positions_of(tokens: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the position each token names; -1 for token 0."""
    return ((tokens >> _CHECK_BITS) - np.uint64(1)).view(np.int64)


def sound_positions(
    values: NDArray[Any], salt: int, first_position: int, rows: int
) -> NDArray[np.signedinteger[Any]] | None:
    """Return the positions of a column in which every value is a token of one snapshot or names no row.

    This is what nearly every column is, in one pass over it: the value must be the very token of the position it names.

    Args:
        values: An id column.
        salt: The snapshot's salt.
        first_position: The snapshot's first position.
        rows: The snapshot's number of rows, at least one.

    Returns:
        One position a row, -1 where the value is 0 or NaN, in 32 bits where the snapshot's last position fits; None if
        a value is anything else, or of a type other than uint64 and float64: `read_tokens` tells what.
    """
    if values.dtype not in (np.uint64, np.float64):
        return None
    is_small = first_position + rows <= np.iinfo(np.int32).max
    positions: NDArray[np.signedinteger[Any]] = np.empty(values.shape, np.int32 if is_small else np.int64)
    table = None
    if rows * _TABLE_PAYS_FROM <= values.size:
        minted = mint_tokens(np.arange(first_position, first_position + rows, dtype=np.int64), salt)
        # Before the tokens stands the 0 of rows that have none.
        table = np.concatenate((np.zeros(1, np.uint64), minted)).astype(values.dtype)
    for chunk in _chunks(values.size):
        tokens = values[chunk]
        if tokens.dtype == np.float64:
            if (tokens < 0).any():
                return None
            tokens = np.fmax(tokens, 0.0)  # of NaN and a number it is the number
            numbers = _whole(tokens * _CHECK_SHARE)
        else:
            numbers = (tokens >> _CHECK_BITS).view(np.int64)
        if table is not None:
            # What points outside is compared with the first or last entry, and differs from it.
            sound = table.take(numbers - first_position if first_position else numbers, mode="clip") == tokens
        else:
            whole = tokens if tokens.dtype == np.uint64 else _whole(tokens).view(np.uint64)
            sound = check_tokens(whole, salt, first_position, rows)
            sound &= whole == tokens
            sound |= tokens == 0
        if not sound.all():
            return None
        np.subtract(numbers, 1, out=positions[chunk], casting="unsafe")
    return positions


def read_tokens(values: Any) -> TokenColumn:
    """Read an id column of any type back into tokens.

    Args:
        values: A one-dimensional NumPy array, or a pyarrow array or chunked array.

    Returns:
        The tokens, with the rows that have none and the rows that cannot be tokens marked.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return _read_arrow(values)
    if values.dtype == object:
        return _read_objects(values)
    return _read_numpy(values)


def _read_numpy(values: NDArray[Any]) -> TokenColumn:
    kind, width = values.dtype.kind, values.dtype.itemsize
    if kind == "u" and width == _TOKEN_BYTES:
        tokens = values.astype(np.uint64, copy=False)
        nothing = np.zeros(tokens.shape, np.bool_)
        return TokenColumn(tokens=tokens, none=tokens == 0, invalid=nothing, flaw="")
    if kind == "i" and width == _TOKEN_BYTES:
        invalid = values < 0
        tokens = values.astype(np.uint64)
        tokens[invalid] = 0
        return TokenColumn(tokens=tokens, none=values == 0, invalid=invalid, flaw="")
    if kind == "f" and width == _TOKEN_BYTES:
        return _read_floats(values)
    if kind in "uif":
        # A narrower type has cut tokens off. The few that come out whole cannot be told from accidents.
        none = (values == 0) | np.isnan(values)
        return _nothing_valid(none, f"a cast to {values.dtype.name}, which is too narrow for row ids")
    return _nothing_valid(np.zeros(values.shape, np.bool_), f"values of type {values.dtype.name} in an id column")


def _read_floats(values: NDArray[np.float64]) -> TokenColumn:
    none = np.isnan(values) | (values == 0)
    whole = _whole(values)
    # What has a fraction, is too large, or is no number, does not come back as it was.
    good = (whole == values) & (whole > 0) & (values <= _FLOAT_EXACT_MAX)
    invalid = ~(good | none)
    fractional = bool((np.floor(values[invalid]) != values[invalid]).any())
    flaw = "arithmetic on row ids, such as a mean or a rolling window" if fractional else ""
    return TokenColumn(tokens=np.where(good, whole, 0).view(np.uint64), none=none, invalid=invalid, flaw=flaw)


def _read_arrow(values: Any) -> TokenColumn:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_null(kind):
        return _nothing(len(array))
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _nothing_valid(
            pc.is_null(array).to_numpy(zero_copy_only=False), f"values of type {kind} in an id column"
        )
    filled = array.fill_null(0) if array.null_count else array
    return _read_numpy(filled.to_numpy(zero_copy_only=False))


def _read_objects(values: NDArray[Any]) -> TokenColumn:
    try:
        return _read_arrow(pa.array(values, from_pandas=True))
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return _nothing_valid(np.zeros(values.shape, np.bool_), "values of several types in an id column")


def _nothing(rows: int) -> TokenColumn:
    return TokenColumn(
        tokens=np.zeros(rows, np.uint64), none=np.ones(rows, np.bool_), invalid=np.zeros(rows, np.bool_), flaw=""
    )


def _nothing_valid(none: NDArray[np.bool_], flaw: str) -> TokenColumn:
    return TokenColumn(tokens=np.zeros(none.shape, np.uint64), none=none, invalid=~none, flaw=flaw)


def _whole(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cut fractions off; of what is too large, or no number, something comes out that is not equal to it."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.int64)


def _tokens_at(positions: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    tokens = positions + np.uint64(1)
    tokens <<= _CHECK_BITS
    tokens |= _check_bits(positions, salt)
    return tokens


def _chunks(rows: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK_ROWS) for start in range(0, rows, _CHUNK_ROWS))


def _check_bits(positions: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    mixed = positions ^ np.uint64(salt)
    mixed *= _FIRST_MULTIPLIER
    mixed ^= mixed >> np.uint64(29)
    mixed *= _SECOND_MULTIPLIER
    mixed >>= np.uint64(48)
    return mixed
