"""Leaves and trees of many rows: RFC 6962 over whole tables.

A tree is built as the roots of its runs of 256 leaves, then the tree over those: the same root, and the run roots are
what a later proof needs (docs/format.md section 3).
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from backstory.columns.encode import iter_blocks
from backstory.records.limits import SUBTREE_ROWS
from backstory.tlog.hashing import EMPTY_ROOT, hash_node, root_hash

if TYPE_CHECKING:
    import pyarrow as pa

HASH_SIZE = 32
LEAF_PREFIX = b"\x00"
_NODE_SIZE = 65
_RUN_SIZE = SUBTREE_ROWS * HASH_SIZE


def leaf_hashes(table: pa.Table) -> bytes:
    """Return the leaf hashes of a table's rows, 32 bytes a row, concatenated."""
    return b"".join(block.hashes() for block in iter_blocks(table, LEAF_PREFIX))


def leaf_hashes_of(rows: Iterable[bytes]) -> bytes:
    """Return the leaf hashes of encoded rows or other leaf data, concatenated."""
    sha256 = hashlib.sha256
    return b"".join([sha256(LEAF_PREFIX + row).digest() for row in rows])


def subtree_roots(leaves: bytes) -> bytes:
    """Return the roots of the aligned runs of 256 leaves, concatenated.

    Args:
        leaves: Leaf hashes, 32 bytes each.
    """
    full = len(leaves) // HASH_SIZE // SUBTREE_ROWS * SUBTREE_ROWS * HASH_SIZE
    level = leaves[:full]
    width = SUBTREE_ROWS
    while width > 1:
        level = _parents(level)
        width //= 2
    rest = split_hashes(leaves[full:])
    return level + root_hash(rest) if rest else level


def root_of_subtrees(roots: bytes) -> bytes:
    """Return the root of the tree whose runs of 256 leaves have these roots."""
    return root_hash(split_hashes(roots))


class TreeBuilder:
    """A tree over leaves that come one run after the other; of what came it keeps a hash a level."""

    def __init__(self, *, keep_subtrees: bool = False) -> None:
        """Begin with no leaves.

        Args:
            keep_subtrees: Whether the roots of the runs of 256 leaves are wanted.
        """
        self._rest = b""
        self._peaks: list[tuple[int, bytes]] = []
        """Roots of the full subtrees of falling size, each with its height over a run of 256."""
        self._kept: list[bytes] | None = [] if keep_subtrees else None

    def add(self, leaves: bytes) -> None:
        """Take in leaf hashes, 32 bytes each."""
        data = self._rest + leaves
        full = len(data) // _RUN_SIZE * _RUN_SIZE
        roots, self._rest = subtree_roots(data[:full]), data[full:]
        if self._kept is not None:
            self._kept.append(roots)
        for root in split_hashes(roots):
            height, top = 0, root
            while self._peaks and self._peaks[-1][0] == height:
                top = hash_node(self._peaks.pop()[1], top)
                height += 1
            self._peaks.append((height, top))

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        peaks = [peak for _, peak in self._peaks] + split_hashes(subtree_roots(self._rest))
        if not peaks:
            return EMPTY_ROOT
        return functools.reduce(lambda right, left: hash_node(left, right), reversed(peaks))

    def subtrees(self) -> bytes:
        """Return the roots of the runs of 256 leaves so far, concatenated, if they are kept."""
        return b"".join(self._kept or []) + subtree_roots(self._rest)


def split_hashes(hashes: bytes) -> list[bytes]:
    """Cut concatenated 32-byte hashes apart."""
    return [hashes[i : i + HASH_SIZE] for i in range(0, len(hashes), HASH_SIZE)]


def _parents(level: bytes) -> bytes:
    """Hash neighbours of a level of even length together."""
    if not level:
        return b""
    nodes = np.empty((len(level) // (2 * HASH_SIZE), _NODE_SIZE), np.uint8)
    nodes[:, 0] = 1
    nodes[:, 1:] = np.frombuffer(level, np.uint8).reshape(-1, 2 * HASH_SIZE)
    sha256 = hashlib.sha256
    return b"".join([sha256(node).digest() for (node,) in struct.iter_unpack(f"{_NODE_SIZE}s", nodes.tobytes())])
