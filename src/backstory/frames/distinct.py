"""How many values are distinct: the smallest hashes of what was seen, which merge and are the same in every order.

Below 1,024 distinct values the count is exact; beyond, the share of all hashes that the kept ones take up tells it
within some 3 %. Hashes tell nothing about values, but equal values have equal hashes: of data about people a sketch is
sealed. Bytes: docs/format.md section 23. Source: Z. Bar-Yossef et al., "Counting distinct elements in a data stream",
2002.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import FlatColumn
from backstory.columns.encode import encode_columns
from backstory.errors import FormatError
from backstory.records.row import MAGIC

if TYPE_CHECKING:
    from numpy.typing import NDArray

HASHES_MAX: Final = 1024
_HASH_SIZE: Final = 8
_DIGEST_SIZE: Final = 32
_PAYLOAD_AT: Final = len(MAGIC) + 5
"""Where the payload of the only cell stands in a row: behind the header's count and the tag."""
_HASH_COUNT: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class DistinctSketch:
    """The smallest hashes of the values seen.

    Attributes:
        data: At most 1,024 distinct hashes, ascending, 8 bytes each, little-endian.
    """

    data: bytes = b""

    def with_hashes(self, hashes: NDArray[np.uint64]) -> DistinctSketch:
        """Return the sketch after more values."""
        kept = self._hashes()
        if len(kept) == HASHES_MAX:
            hashes = hashes[hashes < kept[-1]]
            if not len(hashes):
                return self
        return DistinctSketch(np.unique(np.concatenate((kept, hashes)))[:HASHES_MAX].astype("<u8").tobytes())

    def merge(self, other: DistinctSketch) -> DistinctSketch:
        """Return the sketch of what either has seen."""
        return self.with_hashes(other._hashes())

    def estimate(self) -> int:
        """Return how many distinct values were seen, nearly."""
        kept = self._hashes()
        if len(kept) < HASHES_MAX:
            return len(kept)
        return round((HASHES_MAX - 1) * _HASH_COUNT / (int(kept[-1]) + 1))

    def _hashes(self) -> NDArray[np.uint64]:
        return np.frombuffer(self.data, "<u8")


def parse_sketch(data: bytes) -> DistinctSketch:
    """Read a sketch.

    Raises:
        FormatError: Not ascending distinct hashes, or too many.
    """
    if len(data) % _HASH_SIZE or len(data) > HASHES_MAX * _HASH_SIZE:
        raise FormatError(f"profile: expected at most {HASHES_MAX} hashes of {_HASH_SIZE} bytes, got {len(data)} bytes")
    hashes = np.frombuffer(data, "<u8")
    if (hashes[1:] <= hashes[:-1]).any():
        raise FormatError("profile: expected ascending hashes of distinct values")
    return DistinctSketch(data)


def hashes_of(column: FlatColumn) -> NDArray[np.uint64]:
    """Return the hashes of a column's values, of each at least once.

    Args:
        column: Without nulls and NaN.
    """
    type_ = column.values.type
    if _is_fixed(type_):
        return _mixed(encode_columns([column]).fixed[:, _PAYLOAD_AT : _PAYLOAD_AT + _HASH_SIZE])
    values = column.values if pa.types.is_nested(type_) else pc.unique(column.values)
    hashes = encode_columns([FlatColumn(name=column.name, type=column.type, values=values)]).hashes()
    first: NDArray[np.uint64] = np.frombuffer(hashes, "<u8")[:: _DIGEST_SIZE // _HASH_SIZE]
    return first


def _is_fixed(type_: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(type_)) and not pa.types.is_decimal(type_)


def _mixed(payloads: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the hashes of payloads: the last steps of SplitMix64, so that near numbers have far hashes."""
    x: NDArray[np.uint64] = np.ascontiguousarray(payloads).view("<u8")[:, 0] + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
