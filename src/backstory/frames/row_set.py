"""Sets of row positions: which rows of a table were trained on, dropped, evaluated.

One set has one form in bytes, so equal sets are equal blobs: runs of positions where they are few, as when rows were
split by time, otherwise a compressed bitmap. A list of positions is a set where it strictly ascends; what repeats or is
in another order is none, and does not come here.

Specification: docs/format.md section 24.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pyroaring import BitMap64

from backstory.errors import FormatError, InputError
from backstory.frames.token import POSITION_MAX

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC: Final = b"BSRS\x01"
RUNS_MAX: Final = 62
"""More runs than this are a bitmap; so many, with what stands before them, are 1,006 bytes."""

_RUNS, _BITMAP = 0, 1
_HEAD: Final = struct.Struct("<5sBQ")
_RUN: Final = np.dtype([("first", "<u8"), ("rows", "<u8")])


class RowSet:
    """Positions, each once, in ascending order. Does not change."""

    __slots__ = ("_bits",)

    def __init__(self, bits: BitMap64) -> None:
        """Take over a bitmap; see `of_positions` and `of_mask`."""
        self._bits = bits

    @classmethod
    def of_positions(cls, positions: NDArray[np.integer[Any]]) -> RowSet:
        """Return the set of some positions, in any order and however often each stands there.

        Raises:
            InputError: One is negative, or above `POSITION_MAX`.
        """
        if positions.size and not 0 <= int(positions.min()) <= int(positions.max()) <= POSITION_MAX:
            raise InputError(f"row set: expected positions from 0 to {POSITION_MAX}, got one outside")
        return cls(BitMap64(np.ascontiguousarray(positions, np.uint64)))

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_], first: int = 0) -> RowSet:
        """Return the positions at which a mask holds, counted from `first`."""
        return cls.of_positions(np.flatnonzero(mask) + first)

    @classmethod
    def of_range(cls, first: int, rows: int) -> RowSet:
        """Return `rows` positions from `first` on."""
        return cls(BitMap64(range(first, first + rows)))

    def __len__(self) -> int:
        """Return how many positions are in the set."""
        return len(self._bits)

    def __eq__(self, other: object) -> bool:
        """Say whether another set has the same positions."""
        return isinstance(other, RowSet) and self._bits == other._bits

    def __hash__(self) -> int:
        """Return a number that equal sets share."""
        return hash(self.to_bytes())

    def __and__(self, other: RowSet) -> RowSet:
        """Return the positions of both."""
        return RowSet(self._bits & other._bits)

    def __sub__(self, other: RowSet) -> RowSet:
        """Return the positions of this one that are not of the other."""
        return RowSet(self._bits - other._bits)

    def __le__(self, other: RowSet) -> bool:
        """Say whether all positions are the other's too."""
        return bool(self._bits <= other._bits)

    def positions(self) -> NDArray[np.int64]:
        """Return the positions, ascending."""
        return np.asarray(self._bits.to_array(), np.uint64).astype(np.int64)

    def to_bytes(self) -> bytes:
        """Return the set's one form in bytes."""
        runs = self._runs()
        if runs is not None:
            return _HEAD.pack(MAGIC, _RUNS, len(self)) + runs.tobytes()
        bits = self._bits.copy()
        bits.run_optimize()
        return _HEAD.pack(MAGIC, _BITMAP, len(self)) + bytes(bits.serialize())

    @classmethod
    def of_bytes(cls, data: bytes) -> RowSet:
        """Read a set.

        Raises:
            FormatError: It is no set, or not in its one form.
        """
        if len(data) < _HEAD.size or not data.startswith(MAGIC):
            raise FormatError("row set: expected the bytes of one, got others")
        _, kind, count = _HEAD.unpack_from(data)
        body = data[_HEAD.size :]
        found = cls(_bits_of_runs(body) if kind == _RUNS else _bits_of_bitmap(body))
        if kind not in (_RUNS, _BITMAP) or len(found) != count or found.to_bytes() != data:
            raise FormatError("row set: expected its one form, got another")
        return found

    def _runs(self) -> NDArray[Any] | None:
        """Return the runs of positions that follow each other; None if they are many."""
        firsts: list[int] = []
        ends: list[int] = []
        position = next(iter(self._bits), None)
        while position is not None:
            if len(firsts) == RUNS_MAX:
                return None
            end = _end_of_run(self._bits, position)
            firsts.append(position)
            ends.append(end)
            position = self._bits.next_set_bit(end) if end <= self._bits.max() else None
        runs = np.zeros(len(firsts), _RUN)
        runs["first"] = firsts
        runs["rows"] = np.array(ends, np.uint64) - runs["first"]
        return runs


def is_ascending(positions: NDArray[np.signedinteger[Any]]) -> bool:
    """Say whether positions are those of rows, each once and in ascending order: a set says all there is of them."""
    return bool(positions.size) and int(positions[0]) >= 0 and bool((positions[1:] > positions[:-1]).all())


def _end_of_run(bits: BitMap64, first: int) -> int:
    """Return the first position from `first` on that is not in the set, by doubling steps and then halving them."""
    low, step = first + 1, 1
    while bits.contains_range(low, low + step):
        low, step = low + step, step * 2
    while step > 1:
        step //= 2
        if bits.contains_range(low, low + step):
            low += step
    return low + 1 if low in bits else low


def _bits_of_runs(body: bytes) -> BitMap64:
    if len(body) % _RUN.itemsize:
        raise FormatError("row set: expected whole runs, got a part of one")
    bits = BitMap64()
    for first, rows in np.frombuffer(body, _RUN).tolist():
        if not 0 < rows <= POSITION_MAX + 1 - first:
            raise FormatError("row set: expected runs of positions, got one outside")
        bits.add_range(first, first + rows)
    return bits


def _bits_of_bitmap(body: bytes) -> BitMap64:
    try:
        bits = BitMap64.deserialize(body)
    except (ValueError, IndexError):
        raise FormatError("row set: expected a Roaring bitmap, got other bytes") from None
    if bits and bits.max() > POSITION_MAX:
        raise FormatError("row set: expected positions of rows, got one outside")
    return bits
