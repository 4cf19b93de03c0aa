"""The salts of a shard, in blocks: so that some can be destroyed and the others stay derivable.

A salt key gives a key for each block of 256 rows, a block key the salts of its rows. Of a shard from which values were
erased the salt key is gone; kept are the keys of the blocks in which nothing was erased, and of the other blocks the
salts of what remains. Bytes: docs/format.md sections 5 and 37.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from backstory.errors import FormatError
from backstory.records.commitment import SALT_SIZE
from backstory.records.limits import COLUMN_COUNT_MAX, SUBTREE_ROWS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AES_BLOCK_SIZE = 16
_KEY_SIZE = 32
_HEAD = struct.Struct("<QI")
"""How many rows there were before anything was erased, and how many groups."""


def block_keys(salt_key: bytes, first: int, count: int) -> NDArray[np.uint8]:
    """Return the keys of some blocks of 256 rows.

    Args:
        salt_key: 32 bytes, used for one section of one shard only.
        first: First block.
        count: How many.

    Returns:
        uint8, (count, 32).
    """
    stream = _key_stream(salt_key, first * _KEY_SIZE, count * _KEY_SIZE)
    return np.frombuffer(stream, np.uint8).reshape(count, _KEY_SIZE)


def salts(salt_key: bytes, first_row: int, rows: int, groups: int) -> NDArray[np.uint8]:
    """Derive the salts of a run of rows from a salt key.

    Args:
        salt_key: 32 bytes, used for one section of one shard only.
        first_row: First row of the run.
        rows: Rows in the run.
        groups: Sealed groups of the section.

    Returns:
        uint8, (rows, groups, 32).
    """
    first, end = _blocks_of(first_row, rows)
    return _cut(block_keys(salt_key, first, end - first), first_row, rows, groups)


def _blocks_of(first_row: int, rows: int) -> tuple[int, int]:
    return first_row // SUBTREE_ROWS, -(-(first_row + rows) // SUBTREE_ROWS)


def _cut(keys: NDArray[np.uint8], first_row: int, rows: int, groups: int) -> NDArray[np.uint8]:
    """Derive the salts of a run of rows from the keys of its blocks."""
    drawn = np.empty((rows, groups, SALT_SIZE), np.uint8)
    size = groups * SALT_SIZE
    into = drawn.reshape(-1)
    at = skipped = first_row % SUBTREE_ROWS
    done = 0
    for key in keys:
        count = min(SUBTREE_ROWS - at, rows - done)
        stream = _key_stream(key.tobytes(), at * size, count * size)
        into[done * size : (done + count) * size] = np.frombuffer(stream, np.uint8)
        done, at = done + count, 0
    assert done == rows, (skipped, rows, len(keys))  # noqa: S101  the caller gave the keys of all blocks
    return drawn


def _key_stream(key: bytes, offset: int, size: int) -> bytes:
    """Return a part of AES-256 in counter mode from an all-zero counter; the offset is one of a cipher's block."""
    counter = (offset // _AES_BLOCK_SIZE).to_bytes(_AES_BLOCK_SIZE, "big")
    return Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor().update(bytes(size))


@dataclass(frozen=True, kw_only=True)
class ShardSalts:
    """What opens the commitments of one section of a shard.

    Attributes:
        rows: How many rows it was sealed with.
        groups: Sealed groups of the section.
        keys: uint8, (blocks, 32): the key of each block of 256 rows; zeros where something of it was erased.
        is_touched: bool, (blocks): in which blocks something was erased.
        is_kept: bool, (rows of touched blocks, groups): which salts of those remain.
        explicit: uint8, (rows of touched blocks, groups, 32): those salts; zeros for the others.
        commitments: uint8, (erased rows, 32): of a table whose leaves are commitments, those of its erased rows.
    """

    rows: int
    groups: int
    keys: NDArray[np.uint8]
    is_touched: NDArray[np.bool_]
    is_kept: NDArray[np.bool_]
    explicit: NDArray[np.uint8]
    commitments: NDArray[np.uint8]

    @classmethod
    def whole(cls, salt_key: bytes, rows: int, groups: int) -> ShardSalts:
        """Return the salts of a section from which nothing was erased."""
        count = _blocks_of(0, rows)[1]
        return cls(
            rows=rows,
            groups=groups,
            keys=block_keys(salt_key, 0, count),
            is_touched=np.zeros(count, np.bool_),
            is_kept=np.zeros((0, groups), np.bool_),
            explicit=np.zeros((0, groups, SALT_SIZE), np.uint8),
            commitments=np.zeros((0, SALT_SIZE), np.uint8),
        )

    def cut(self, first: int, rows: int) -> NDArray[np.uint8]:
        """Return the salts of a run of rows: uint8, (rows, groups, 32), zeros for what was erased."""
        low, high = _blocks_of(first, rows)
        drawn = _cut(self.keys[low:high], first, rows, self.groups)
        if not len(self.is_kept):
            return drawn
        numbers = self._explicit_at[first : first + rows]
        there = numbers >= 0
        if there.any():
            drawn[there] = self.explicit[numbers[there]]
        return drawn

    def has(self, first: int, rows: int) -> NDArray[np.bool_]:
        """Return which values of a run of rows are still there: bool, (rows, groups)."""
        kept = np.ones((rows, self.groups), np.bool_)
        if not len(self.is_kept):
            return kept
        numbers = self._explicit_at[first : first + rows]
        there = numbers >= 0
        if there.any():
            kept[there] = self.is_kept[numbers[there]]
        return kept

    @property
    def erased(self) -> int:
        """How many values (a group of a row each) were erased."""
        return int(self.is_kept.size - np.count_nonzero(self.is_kept))

    @cached_property
    def present(self) -> NDArray[np.int64]:
        """Which rows have values left, ascending."""
        return np.flatnonzero(self.has(0, self.rows).any(axis=1))

    @cached_property
    def _explicit_at(self) -> NDArray[np.int64]:
        """For each row its number among those of touched blocks; −1 for the others."""
        of_row = np.repeat(self.is_touched, SUBTREE_ROWS)[: self.rows]
        numbers = np.full(self.rows, -1, np.int64)
        numbers[of_row] = np.arange(np.count_nonzero(of_row))
        return numbers

    def without(self, gone: NDArray[np.bool_], commitments: NDArray[np.uint8] | None = None) -> ShardSalts:
        """Return what is left once more values are erased.

        Args:
            gone: bool, (rows, groups): what is to be erased; what was erased before stays so.
            commitments: uint8, (rows, 32): of a table whose leaves are commitments, those of all its rows.
        """
        padded = np.zeros((len(self.is_touched) * SUBTREE_ROWS, self.groups), np.bool_)
        padded[: self.rows] = gone
        touched = self.is_touched | padded.reshape(len(self.is_touched), -1).any(axis=1)
        of_row = np.flatnonzero(np.repeat(touched, SUBTREE_ROWS)[: self.rows])
        kept = np.zeros((len(of_row), self.groups), np.bool_)
        explicit = np.zeros((len(of_row), self.groups, SALT_SIZE), np.uint8)
        done = 0
        for block in np.flatnonzero(touched).tolist():
            first = block * SUBTREE_ROWS
            count = min(SUBTREE_ROWS, self.rows - first)
            kept[done : done + count] = self.has(first, count) & ~gone[first : first + count]
            explicit[done : done + count] = self.cut(first, count)
            done += count
        explicit[~kept] = 0
        keys = np.where(touched[:, None], np.uint8(0), self.keys)
        left = np.zeros((0, SALT_SIZE), np.uint8)
        if commitments is not None:
            left = commitments[of_row[~kept.any(axis=1)]]
        return ShardSalts(
            rows=self.rows,
            groups=self.groups,
            keys=keys,
            is_touched=touched,
            is_kept=kept,
            explicit=explicit,
            commitments=left,
        )

    def encode(self) -> bytes:
        """Return the bytes of docs/format.md section 37."""
        return b"".join((
            _HEAD.pack(self.rows, self.groups),
            np.packbits(self.is_touched, bitorder="little").tobytes(),
            self.keys[~self.is_touched].tobytes(),
            np.packbits(self.is_kept, bitorder="little").tobytes(),
            self.explicit[self.is_kept].tobytes(),
            self.commitments.tobytes(),
        ))  # fmt: skip


def parse_salts(data: bytes, what: str) -> ShardSalts:
    """Read what `ShardSalts.encode` gave.

    Raises:
        FormatError: It is something else.
    """
    reader = _Reader(data, f"{what}: its salts are malformed")
    rows, groups = _HEAD.unpack(reader.take(_HEAD.size).tobytes())
    if not 0 < groups <= COLUMN_COUNT_MAX or rows > len(data) * 8 * SUBTREE_ROWS:  # a bit a block
        raise FormatError(f"{what}: its salts are malformed")
    count = _blocks_of(0, rows)[1]
    touched = reader.bits(count)
    keys = np.zeros((count, _KEY_SIZE), np.uint8)
    keys[~touched] = reader.take(int(np.count_nonzero(~touched)) * _KEY_SIZE).reshape(-1, _KEY_SIZE)
    explicit_rows = int(np.count_nonzero(np.repeat(touched, SUBTREE_ROWS)[:rows]))
    kept = reader.bits(explicit_rows * groups).reshape(explicit_rows, groups)
    explicit = np.zeros((explicit_rows, groups, SALT_SIZE), np.uint8)
    explicit[kept] = reader.take(int(np.count_nonzero(kept)) * SALT_SIZE).reshape(-1, SALT_SIZE)
    rest = reader.rest()
    gone = int(np.count_nonzero(~kept.any(axis=1)))
    if len(rest) not in {0, gone * SALT_SIZE}:
        raise FormatError(f"{what}: its salts are malformed")
    return ShardSalts(
        rows=rows,
        groups=groups,
        keys=keys,
        is_touched=touched,
        is_kept=kept,
        explicit=explicit,
        commitments=rest.reshape(-1, SALT_SIZE),
    )


class _Reader:
    """Takes bytes one piece after another."""

    def __init__(self, data: bytes, problem: str) -> None:
        """Begin at the first byte."""
        self._data = np.frombuffer(data, np.uint8)
        self._problem = problem
        self._at = 0

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return the next bytes."""
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise FormatError(self._problem)
        self._at += size
        return piece

    def bits(self, count: int) -> NDArray[np.bool_]:
        """Return the next bits, the least of a byte first; those that fill up the last byte are zero."""
        bits = np.unpackbits(self.take(-(-count // 8)), bitorder="little").astype(np.bool_)
        if bits[count:].any():
            raise FormatError(self._problem)
        return bits[:count]

    def rest(self) -> NDArray[np.uint8]:
        """Return what is left."""
        return self._data[self._at :]
