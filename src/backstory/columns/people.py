"""Who records are about, as keyed tokens with the rows of each: the index beside a shard.

Bytes: docs/format.md section 37.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backstory.columns.id_text import subject_column
from backstory.errors import FormatError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_TOKEN_SIZE = 16
_BLOCK_SIZE = 64
"""Of SHA-256: to so many bytes an HMAC fills its key up."""
_MESSAGE = b"backstory/person/v1\x00"
_COUNT = struct.Struct("<Q")
_ROW_SIZE = 4


def person_tokens(key: bytes, subjects: Iterable[str]) -> NDArray[np.uint8]:
    """Return the tokens of ids: HMAC-SHA-256, of which the two keyed states are made once and copied for each.

    Args:
        key: 32 bytes, used for nothing else.
        subjects: Ids of persons.

    Returns:
        uint8, (persons, 16).
    """
    padded = key.ljust(_BLOCK_SIZE, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + _MESSAGE)
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))
    found = []
    for subject in subjects:
        first, second = inner.copy(), outer.copy()
        first.update(subject.encode())
        second.update(first.digest())
        found.append(second.digest()[:_TOKEN_SIZE])
    return np.frombuffer(b"".join(found), np.uint8).reshape(-1, _TOKEN_SIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleIndex:
    """Which rows are about whom.

    Attributes:
        tokens: uint8, (persons, 16), sorted.
        counts: uint32, (persons): how many rows each has.
        rows: uint32: the rows, person by person, of each ascending.
    """

    tokens: NDArray[np.uint8]
    counts: NDArray[np.uint32]
    rows: NDArray[np.uint32]

    @classmethod
    def of(cls, key: bytes, subjects: pa.ChunkedArray) -> PeopleIndex:
        """Return the index of a column of ids; rows without one are about nobody."""
        coded = subject_column(subjects).dictionary_encode()
        tokens = person_tokens(key, coded.dictionary.to_pylist())
        first, second = _halves(tokens)
        order = np.lexsort((second, first))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        rows = np.flatnonzero(np.asarray(coded.indices.is_valid()))
        persons = rank[coded.indices.drop_null().to_numpy()]
        return cls(
            tokens=tokens[order],
            counts=np.bincount(persons, minlength=len(order)).astype(np.uint32),
            rows=rows[np.argsort(persons, kind="stable")].astype(np.uint32),
        )

    def rows_of(self, token: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the rows of a person, ascending."""
        firsts = _halves(self.tokens)[0]
        first = _halves(token[None, :])[0][0]
        for at in range(int(np.searchsorted(firsts, first)), int(np.searchsorted(firsts, first, side="right"))):
            if (self.tokens[at] == token).all():
                begin = int(self.counts[:at].sum())
                return self.rows[begin : begin + int(self.counts[at])].astype(np.int64)
        return np.zeros(0, np.int64)

    def without(self, rows: Collection[int]) -> PeopleIndex:
        """Return what is left without some rows, and without persons who have none left."""
        left = ~np.isin(self.rows, np.fromiter(rows, np.uint32, len(rows)))
        persons = np.repeat(np.arange(len(self.tokens)), self.counts)[left]
        counts = np.bincount(persons, minlength=len(self.tokens)).astype(np.uint32)
        there = counts > 0
        return PeopleIndex(tokens=self.tokens[there], counts=counts[there], rows=self.rows[left])

    def encode(self) -> bytes:
        """Return the bytes of docs/format.md section 37."""
        parts = self.tokens.tobytes(), self.counts.tobytes(), self.rows.tobytes()
        return b"".join((_COUNT.pack(len(self.tokens)), *parts))


def parse_people(data: bytes, what: str) -> PeopleIndex:
    """Read what `PeopleIndex.encode` gave.

    Raises:
        FormatError: It is something else.
    """
    count = _COUNT.unpack(data[: _COUNT.size])[0] if len(data) >= _COUNT.size else 0
    counts_at = _COUNT.size + count * _TOKEN_SIZE
    rows_at = counts_at + count * _ROW_SIZE
    if not _COUNT.size <= rows_at <= len(data) or (len(data) - rows_at) % _ROW_SIZE:
        raise FormatError(f"{what} is not an index of persons")
    index = PeopleIndex(
        tokens=np.frombuffer(data, np.uint8, count * _TOKEN_SIZE, _COUNT.size).reshape(-1, _TOKEN_SIZE),
        counts=np.frombuffer(data, "<u4", count, counts_at),
        rows=np.frombuffer(data, "<u4", offset=rows_at),
    )
    if int(index.counts.sum(dtype=np.uint64)) != len(index.rows):
        raise FormatError(f"{what} is not an index of persons")
    return index


def _halves(tokens: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the two halves of tokens as numbers, whose order is that of the tokens' bytes."""
    halves = np.ascontiguousarray(tokens).view(">u8").astype(np.uint64).reshape(-1, 2)
    return halves[:, 0], halves[:, 1]
