"""Commitments of many records at once. Bytes: docs/format.md section 5."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import numpy as np

from backstory.columns.arrow_type import flatten
from backstory.columns.encode import BLOCK_ROWS, encode_columns
from backstory.columns.salt import ShardSalts
from backstory.columns.tree import leaf_hashes_of, split_hashes
from backstory.errors import FormatError
from backstory.records.commitment import FIELD_PREFIX, SALT_SIZE, commitment_prefix, fields_prefix

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = "row"
"""Group name of the commitments to rows of a dataset about people."""


def commitments(table: pa.Table, group: str, group_salts: np.ndarray, *, by_field: bool = False) -> bytes:
    """Commit to each row of a group's columns.

    Args:
        table: The group's columns.
        group: The group's name.
        group_salts: uint8, (rows, 32).
        by_field: Whether the group is committed to by field.

    Returns:
        32 bytes a row, concatenated.
    """
    if by_field:
        return _field_commitments(table, group, group_salts)
    prefix = np.frombuffer(commitment_prefix(group), np.uint8)
    hashes = []
    for start in range(0, table.num_rows, BLOCK_ROWS):
        part = group_salts[start : start + BLOCK_ROWS]
        heads = np.hstack((np.broadcast_to(prefix, (len(part), len(prefix))), part))
        hashes.append(encode_columns(flatten(table.slice(start, BLOCK_ROWS)), heads).hashes())
    return b"".join(hashes)


def field_salts(group_salts: np.ndarray, index: int) -> np.ndarray:
    """Return the salts of one field of many records.

    Args:
        group_salts: The group's salts, uint8, (rows, 32).
        index: Which of the group's columns, in byte order of their names.

    Returns:
        uint8, (rows, 32).
    """
    return _as_rows(_hashes(FIELD_PREFIX, group_salts, index.to_bytes(4, "little")))


def field_leaves(table: pa.Table, group_salts: np.ndarray) -> list[np.ndarray]:
    """Return the leaves of every field of a group, in byte order of the columns' names.

    Args:
        table: The group's columns, of at most one block.
        group_salts: uint8, (rows, 32).

    Returns:
        For each column uint8, (rows, 32).
    """
    columns = sorted(flatten(table), key=lambda column: column.name.encode())
    leaves = []
    for index, column in enumerate(columns):
        salted = field_salts(group_salts, index)
        heads = np.hstack((np.zeros((len(salted), 1), np.uint8), salted))
        leaves.append(_as_rows(encode_columns([column], heads).hashes()))
    return leaves


def _field_commitments(table: pa.Table, group: str, group_salts: np.ndarray) -> bytes:
    hashes = []
    for start in range(0, table.num_rows, BLOCK_ROWS):
        level = field_leaves(table.slice(start, BLOCK_ROWS), group_salts[start : start + BLOCK_ROWS])
        prefix = fields_prefix(group, len(level))
        while len(level) > 1:  # as `tlog.hashing.hash_level`, for all records at once
            pairs = [_as_rows(_hashes(b"\x01", np.hstack(level[at : at + 2]))) for at in range(0, len(level) - 1, 2)]
            level = pairs + level[2 * len(pairs) :]
        hashes.append(_hashes(prefix, level[0]))
    return b"".join(hashes)


def _hashes(prefix: bytes, rows: np.ndarray, suffix: bytes = b"") -> bytes:
    """Return the SHA-256 of each row between a prefix and a suffix, concatenated."""
    size = len(prefix) + rows.shape[1] + len(suffix)
    data = np.empty((len(rows), size), np.uint8)
    data[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    data[:, len(prefix) : len(prefix) + rows.shape[1]] = rows
    data[:, len(prefix) + rows.shape[1] :] = np.frombuffer(suffix, np.uint8)
    sha256 = hashlib.sha256
    return b"".join([sha256(one).digest() for (one,) in struct.iter_unpack(f"{size}s", data.tobytes())])


def _as_rows(hashes: bytes) -> np.ndarray:
    return np.frombuffer(hashes, np.uint8).reshape(-1, SALT_SIZE)


def personal_leaves(table: pa.Table, salt_key: bytes) -> bytes:
    """Return the leaf hashes of a dataset about people: leaves over salted commitments to its rows.

    Args:
        table: The snapshot.
        salt_key: The snapshot's salt key.

    Source: docs/format.md section 9.
    """
    return kept_leaves(table, ShardSalts.whole(salt_key, table.num_rows, 1))


def kept_leaves(table: pa.Table, kept: ShardSalts) -> bytes:
    """Return the leaf hashes of a dataset about people from which rows may have been erased; see `row_commitments`."""
    return leaf_hashes_of(split_hashes(row_commitments(table, kept)))


def row_commitments(table: pa.Table, kept: ShardSalts) -> bytes:
    """Return the commitments to the rows of a dataset about people, 32 bytes each; of erased rows those that were kept.

    Args:
        table: The snapshot with all its rows, erased ones as nulls.
        kept: What opens it.

    Raises:
        FormatError: It is of another number of rows, or is that of a segment's shard.
    """
    if kept.rows != table.num_rows or kept.groups != 1:
        raise FormatError(f"a table about people: expected salts of {table.num_rows} rows, got {kept.rows}")
    hashes = commitments(table, ROW_GROUP, kept.cut(0, kept.rows)[:, 0])
    if not kept.erased:
        return hashes
    if len(kept.commitments) != kept.erased:
        raise FormatError("a table about people: the commitments to its erased rows are not there")
    rows = _as_rows(hashes).copy()
    rows[~kept.has(0, kept.rows)[:, 0]] = kept.commitments
    return rows.tobytes()
