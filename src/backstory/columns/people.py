"""Who records are about and what they lead to, as keyed tokens with the rows of each: the index beside a shard.

The index is cut into blocks by the first bits of the tokens, so that whoever looks for one reads one block. Bytes:
docs/format.md section 37.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, unchunked
from backstory.columns.id_text import subject_column
from backstory.errors import FormatError
from backstory.records.schema import Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUBJECT = "subject"
"""The column that says whom a record is about, and what the index calls it."""
_LINKS = ("bytes", {"list": "bytes"})
"""Types of columns that lead to other records."""
_TOKEN_SIZE = 16
_HMAC_BLOCK_SIZE = 64
"""Of SHA-256: to so many bytes an HMAC fills its key up."""
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_DOMAIN = "backstory/index/v1"
_FILE_DOMAIN = b"backstory/index-file/v1\0"
_COUNT = struct.Struct("<I")
_ROW_SIZE = 4
_BLOCK_TOKENS = 512
"""At most so many tokens are in a block on average: what is decrypted to look for one."""
_BLOCKS_MAX = 1 << 16
_PREFIX = struct.Struct(">I")


def group_of_subject(schema: Schema) -> str | None:
    """Return the sealed group that says whom records are about; None where they say so of nobody."""
    return next((column.group for column in schema.columns if column.name == SUBJECT), None)


def indexed_columns(schema: Schema) -> tuple[str, ...]:
    """Return the columns the index of a shard is made of; none where the records are about nobody.

    They are `subject`, and the ids in its sealed group, which lead from one thing of a person to another.
    """
    group = group_of_subject(schema)
    if group is None:
        return ()
    return (SUBJECT, *(column.name for column in schema.group_columns(group) if column.type in _LINKS))


def index_file_key(key: bytes, part: bytes) -> bytes:
    """Return the key an index is encrypted under: an index with tokens under another key does not open.

    Else whoever looked in it would find nobody, and would not know.

    Args:
        key: The key of the tokens.
        part: The key of the index's own key file.
    """
    return hmac.digest(key, _FILE_DOMAIN + part, "sha256")


def index_tokens(key: bytes, name: str, column: str, values: Iterable[bytes]) -> NDArray[np.uint8]:
    """Return the tokens of values: HMAC-SHA-256, of which the two keyed states are made once and copied for each.

    Args:
        key: 32 bytes, used for nothing else.
        name: Name of the index: what two have in common cannot be seen from their tokens.
        column: The values' column.
        values: Ids of persons in UTF-8, or ids of records.

    Returns:
        uint8, (values, 16).
    """
    padded = key.ljust(_HMAC_BLOCK_SIZE, b"\0")
    message = "".join(f"{part}\0" for part in (_DOMAIN, name, column)).encode()
    inner = hashlib.sha256(padded.translate(_INNER) + message)
    outer = hashlib.sha256(padded.translate(_OUTER))
    found = []
    for value in values:
        first, second = inner.copy(), outer.copy()
        first.update(value)
        second.update(first.digest())
        found.append(second.digest()[:_TOKEN_SIZE])
    return np.frombuffer(b"".join(found), np.uint8).reshape(-1, _TOKEN_SIZE)


def block_of(token: NDArray[np.uint8], blocks: int) -> int:
    """Return in which of a number of blocks, a power of two, a token is: its first bits."""
    (first,) = _PREFIX.unpack(token[: _PREFIX.size].tobytes())
    return int(first) * blocks >> 32


def leads_to(table: pa.Table, wanted: Mapping[str, Collection[Any]]) -> pa.Array:
    """Say of each row whether the value, or list of values, of some columns is, or has, one of given ones."""
    mask = pa.repeat(pa.scalar(value=True), table.num_rows)
    for name, ids in wanted.items():
        values, rows = _values(table[name])
        fits = rows.filter(pc.is_in(values, value_set=pa.array(list(ids), values.type)))
        mask = pc.and_(mask, pc.is_in(pa.array(np.arange(table.num_rows)), value_set=fits))
    return mask


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleIndex:
    """Which rows are about whom, and lead to what; or a block of it.

    Attributes:
        tokens: uint8, (tokens, 16), sorted.
        counts: uint32, (tokens): how many rows each has.
        rows: uint32: the rows, token by token, of each ascending.
    """

    tokens: NDArray[np.uint8]
    counts: NDArray[np.uint32]
    rows: NDArray[np.uint32]

    @classmethod
    def of(cls, key: bytes, name: str, columns: pa.Table) -> PeopleIndex:
        """Return the index of columns of ids; rows without one lead nowhere.

        Args:
            key: Key of the tokens.
            name: Name of the index.
            columns: The columns of `indexed_columns`.
        """
        tokens, owners, rows = [], [], []
        count = 0
        for column in columns.column_names:
            values, at = _values(columns[column])
            coded = values.dictionary_encode()
            tokens.append(index_tokens(key, name, column, map(_bytes, coded.dictionary.to_pylist())))
            owners.append(coded.indices.to_numpy(zero_copy_only=False).astype(np.int64) + count)
            rows.append(at.to_numpy(zero_copy_only=False))
            count += len(tokens[-1])
        whole = np.concatenate(tokens)
        first, second = _halves(whole)
        order = np.lexsort((second, first))
        rank = np.empty(count, np.int64)
        rank[order] = np.arange(count)
        of_rows, numbers = rank[np.concatenate(owners)], np.concatenate(rows)
        return cls(
            tokens=whole[order],
            counts=np.bincount(of_rows, minlength=count).astype(np.uint32),
            rows=numbers[np.argsort(of_rows, kind="stable")].astype(np.uint32),
        )

    def rows_of(self, token: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the rows of a token, ascending."""
        firsts = _halves(self.tokens)[0]
        first = _halves(token[None, :])[0][0]
        for at in range(int(np.searchsorted(firsts, first)), int(np.searchsorted(firsts, first, side="right"))):
            if (self.tokens[at] == token).all():
                begin = int(self.counts[:at].sum())
                return self.rows[begin : begin + int(self.counts[at])].astype(np.int64)
        return np.zeros(0, np.int64)

    def without(self, rows: Collection[int]) -> PeopleIndex:
        """Return what is left without some rows, and without tokens that have none left."""
        left = ~np.isin(self.rows, np.fromiter(rows, np.uint32, len(rows)))
        owners = np.repeat(np.arange(len(self.tokens)), self.counts)[left]
        counts = np.bincount(owners, minlength=len(self.tokens)).astype(np.uint32)
        there = counts > 0
        return PeopleIndex(tokens=self.tokens[there], counts=counts[there], rows=self.rows[left])

    def blocks(self) -> list[bytes]:
        """Return the bytes of its blocks, docs/format.md section 37."""
        blocks = 1
        while blocks * _BLOCK_TOKENS < len(self.tokens) and blocks < _BLOCKS_MAX:
            blocks *= 2
        firsts = _halves(self.tokens)[0]
        width = 64 - blocks.bit_length() + 1
        lowest = np.array([block << width for block in range(blocks)], np.uint64)
        ends = [*np.searchsorted(firsts, lowest[1:]).tolist(), len(firsts)]
        rows_before = np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])
        found, begin = [], 0
        for end in ends:
            rows = self.rows[rows_before[begin] : rows_before[end]]
            parts = self.tokens[begin:end].tobytes(), self.counts[begin:end].tobytes(), rows.tobytes()
            found.append(b"".join((_COUNT.pack(end - begin), *parts)))
            begin = end
        return found


def parse_people(blocks: Sequence[bytes], what: str) -> PeopleIndex:
    """Read blocks of what `PeopleIndex.blocks` gave.

    Raises:
        FormatError: They are something else.
    """
    parts = [_parse_block(data, what) for data in blocks]
    return PeopleIndex(
        tokens=np.concatenate([part.tokens for part in parts]),
        counts=np.concatenate([part.counts for part in parts]),
        rows=np.concatenate([part.rows for part in parts]),
    )


def _parse_block(data: bytes, what: str) -> PeopleIndex:
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


def _values(column: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Return the values of a column that are there, those in lists too, and the row of each."""
    values = decoded(unchunked(column))
    if pa.types.is_large_list(values.type) or pa.types.is_list(values.type):
        rows, values = pc.list_parent_indices(values), pc.list_flatten(values)
    elif pa.types.is_integer(values.type):  # ids of persons, as text
        rows, values = pa.array(np.arange(len(values))), subject_column(pa.chunked_array([values]))
    else:
        rows = pa.array(np.arange(len(values)))
    there = pc.is_valid(values)
    return values.filter(there), rows.cast(pa.int64()).filter(there)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _halves(tokens: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the two halves of tokens as numbers, whose order is that of the tokens' bytes."""
    halves = np.ascontiguousarray(tokens).view(">u8").astype(np.uint64).reshape(-1, 2)
    return halves[:, 0], halves[:, 1]
