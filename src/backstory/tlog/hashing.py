"""Leaf and node hashes of RFC 6962 section 2.1, and the root of a list of leaves.

Segments, dataset versions and the log all use this tree. The prefixes 0 and 1 keep a node from being passed off as a
leaf.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

EMPTY_ROOT: Final = sha256(b"").digest()
"""Root of the tree without leaves."""


def hash_leaf(data: bytes) -> bytes:
    """Hash the content of one leaf.

    Args:
        data: The leaf's bytes; may be empty.

    Returns:
        32 bytes.
    """
    return sha256(b"\x00" + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent.

    Args:
        left: Hash of the left subtree, 32 bytes.
        right: Hash of the right subtree, 32 bytes.

    Returns:
        32 bytes.
    """
    return sha256(b"\x01" + left + right).digest()


def hash_level(hashes: Sequence[bytes]) -> list[bytes]:
    """Combine one level of a tree into the level above it.

    A last hash without a neighbour moves up unchanged; this gives the same tree as RFC 6962's split at the largest
    power of two, without its recursion.

    Args:
        hashes: Hashes from left to right, 32 bytes each.

    Returns:
        Half as many hashes, rounded up.
    """
    pairs = zip(hashes[::2], hashes[1::2], strict=False)
    parents = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
    if len(hashes) % 2:
        parents.append(hashes[-1])
    return parents


def root_hash(leaf_hashes: Sequence[bytes]) -> bytes:
    """Compute the root of a tree from its leaf hashes.

    Args:
        leaf_hashes: Leaf hashes in order, 32 bytes each; none gives `EMPTY_ROOT`.

    Returns:
        32 bytes.
    """
    if not leaf_hashes:
        return EMPTY_ROOT
    level = leaf_hashes
    while len(level) > 1:
        level = hash_level(level)
    return level[0]
