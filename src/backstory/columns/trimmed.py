"""Hashing segments of which records are gone: what was kept of these stands in for their rows.

Bytes: docs/format.md section 41.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.tree import HASH_SIZE, leaf_hashes, subtree_roots
from backstory.errors import FormatError
from backstory.records.limits import SUBTREE_ROWS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def gone_rows(ids: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
    """Return, as an array of booleans, which records are gone: those without an id."""
    gone: NDArray[np.bool_] = pc.is_null(ids).to_numpy(zero_copy_only=False)
    return gone


def gone_runs(gone: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return of which runs of 256 records all are gone."""
    return np.array([gone[at : at + SUBTREE_ROWS].all() for at in range(0, len(gone), SUBTREE_ROWS)], dtype=bool)


def with_stubs(leaves: bytes, ids: pa.ChunkedArray, stubs: pa.Array) -> bytes:
    """Return leaf hashes with those kept of records that are gone in their places; zeros where a whole run is gone.

    Args:
        leaves: Leaf hashes of the rows, whatever is in the place of those that are gone.
        ids: Ids of the records.
        stubs: The kept hashes.

    Raises:
        FormatError: A hash is missing or none.
    """
    gone = gone_rows(ids)
    hashes = np.frombuffer(leaves, np.uint8).reshape(-1, HASH_SIZE).copy()
    hashes[gone] = 0
    kept = gone & ~np.repeat(gone_runs(gone), SUBTREE_ROWS)[: len(gone)]
    found = stubs.filter(pa.array(kept))
    if found.null_count or any(len(stub) != HASH_SIZE for stub in found.to_pylist()):
        raise FormatError("trimmed segment: the leaf hash of a record that is gone is missing")
    hashes[kept] = np.frombuffer(b"".join(found.to_pylist()), np.uint8).reshape(-1, HASH_SIZE)
    return hashes.tobytes()


def roots_with_gone(leaves: bytes, ids: pa.ChunkedArray, stored: bytes) -> bytes:
    """Return the roots of runs of 256 records: hashed, or the stored one where all records of a run are gone.

    Args:
        leaves: Leaf hashes, as `with_stubs` gives them.
        ids: Ids of the records.
        stored: The stored roots of these runs.
    """
    dead = gone_runs(gone_rows(ids))
    if len(stored) != len(dead) * HASH_SIZE:
        raise FormatError("trimmed segment: expected a stored root for each run of records")
    roots = np.frombuffer(stored, np.uint8).reshape(-1, HASH_SIZE).copy()
    alive = np.repeat(~dead, SUBTREE_ROWS)[: len(ids)]
    hashed = subtree_roots(np.frombuffer(leaves, np.uint8).reshape(-1, HASH_SIZE)[alive].tobytes())
    roots[~dead] = np.frombuffer(hashed, np.uint8).reshape(-1, HASH_SIZE)
    return roots.tobytes()


def leaf_hashes_of_rows(table: pa.Table, rows: NDArray[np.bool_]) -> bytes:
    """Return the leaf hashes of some rows of a table, 32 bytes for each of all; zeros for the others."""
    hashes = np.zeros((table.num_rows, HASH_SIZE), np.uint8)
    hashes[rows] = np.frombuffer(leaf_hashes(table.filter(pa.array(rows))), np.uint8).reshape(-1, HASH_SIZE)
    return hashes.tobytes()
