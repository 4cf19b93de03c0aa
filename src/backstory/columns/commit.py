"""Salts and commitments of many records at once. Bytes: docs/format.md section 5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from backstory.columns.arrow_type import flatten
from backstory.columns.encode import BLOCK_ROWS, encode_columns
from backstory.columns.tree import leaf_hashes_of, split_hashes
from backstory.records.commitment import SALT_SIZE, commitment_prefix

if TYPE_CHECKING:
    import pyarrow as pa

_AES_BLOCK_SIZE = 16
ROW_GROUP = "row"
"""Group name of the commitments to rows of a dataset about people."""


def salts(salt_key: bytes, first_row: int, rows: int, groups: int) -> np.ndarray:
    """Cut the salts of a run of rows from the key stream of a salt key.

    Args:
        salt_key: 32 bytes, used for one shard only.
        first_row: First row of the run.
        rows: Rows in the run.
        groups: Sealed groups of the schema.

    Returns:
        uint8, (rows, groups, 32).
    """
    counter = first_row * groups * SALT_SIZE // _AES_BLOCK_SIZE
    cipher = Cipher(algorithms.AES256(salt_key), modes.CTR(counter.to_bytes(_AES_BLOCK_SIZE, "big")))
    stream = cipher.encryptor().update(bytes(rows * groups * SALT_SIZE))
    return np.frombuffer(stream, np.uint8).reshape(rows, groups, SALT_SIZE)


def commitments(table: pa.Table, group: str, group_salts: np.ndarray) -> bytes:
    """Commit to each row of a group's columns.

    Args:
        table: The group's columns.
        group: The group's name.
        group_salts: uint8, (rows, 32).

    Returns:
        32 bytes a row, concatenated.
    """
    prefix = np.frombuffer(commitment_prefix(group), np.uint8)
    hashes = []
    for start in range(0, table.num_rows, BLOCK_ROWS):
        part = group_salts[start : start + BLOCK_ROWS]
        heads = np.hstack((np.broadcast_to(prefix, (len(part), len(prefix))), part))
        hashes.append(encode_columns(flatten(table.slice(start, BLOCK_ROWS)), heads).hashes())
    return b"".join(hashes)


def personal_leaves(table: pa.Table, salt_key: bytes) -> bytes:
    """Return the leaf hashes of a dataset about people: leaves over salted commitments to its rows.

    Args:
        table: The snapshot.
        salt_key: The snapshot's salt key.

    Source: docs/format.md section 9.
    """
    row_salts = salts(salt_key, 0, table.num_rows, 1)[:, 0]
    return leaf_hashes_of(split_hashes(commitments(table, ROW_GROUP, row_salts)))
