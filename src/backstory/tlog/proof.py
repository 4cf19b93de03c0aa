"""Inclusion and consistency proofs of RFC 6962 section 2.1: making them and checking them.

An inclusion proof shows that one leaf is at its place under a root; a consistency proof shows that a log only grew
between two roots. Neither says anything about leaves it does not touch, nor that what was logged was true.

A proof is a list of hashes, leaf side first. The checks take nothing on trust: lengths, hash sizes and numbers are all
part of what must hold, and anything else raises `VerificationError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backstory.errors import InputError, VerificationError
from backstory.tlog.hashing import EMPTY_ROOT, hash_level, hash_node
from backstory.tlog.limits import HASH_SIZE, PROOF_HASHES_MAX, TREE_SIZE_MAX
from backstory.tlog.tree import RangeReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backstory.tlog.tile import ReadTile


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Make an inclusion proof from all leaf hashes of a tree.

    Args:
        leaf_hashes: Leaf hashes in order, 32 bytes each.
        index: The leaf to prove, from 0.

    Returns:
        Sibling hashes from leaf to root.

    Raises:
        InputError: There is no such leaf.
    """
    _check_index(index, len(leaf_hashes))
    proof: list[bytes] = []
    level = leaf_hashes
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        level = hash_level(level)
        index >>= 1
    return proof


def tile_inclusion_proof(read_tile: ReadTile, index: int, size: int) -> list[bytes]:
    """Make an inclusion proof from a log's tiles.

    Args:
        read_tile: Gives a tile's bytes at `size`.
        index: The leaf to prove, from 0.
        size: Leaves of the tree to prove it in.

    Returns:
        Sibling hashes from leaf to root.

    Raises:
        InputError: There is no such leaf.
        FormatError: A tile has another size than its path says.
    """
    tiles = RangeReader(read_tile, size)
    _check_index(index, size)
    proof: list[bytes] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _largest_power_below(end - first)
        if index < middle:
            proof.append(tiles.read_hash(middle, end))
            end = middle
        else:
            proof.append(tiles.read_hash(first, middle))
            first = middle
    proof.reverse()
    return proof


def tile_consistency_proof(read_tile: ReadTile, old_size: int, size: int) -> list[bytes]:
    """Make a consistency proof from a log's tiles.

    Args:
        read_tile: Gives a tile's bytes at `size`.
        old_size: Leaves of the earlier tree; 0 gives an empty proof.
        size: Leaves of the later tree.

    Returns:
        The proof's hashes; none where the sizes are equal.

    Raises:
        InputError: The earlier tree is the larger one.
        FormatError: A tile has another size than its path says.
    """
    tiles = RangeReader(read_tile, size)
    if not 0 <= old_size <= size:
        raise InputError(f"no consistency proof: expected an old size from 0 to {size}, got {old_size}")
    if old_size in {0, size}:
        return []
    proof: list[bytes] = []
    first, end = 0, size
    while end != old_size:
        middle = first + _largest_power_below(end - first)
        if old_size <= middle:
            proof.append(tiles.read_hash(middle, end))
            end = middle
        else:
            proof.append(tiles.read_hash(first, middle))
            first = middle
    # Where the old tree is itself one of the subtrees, the checker has its root already.
    if first:
        proof.append(tiles.read_hash(first, end))
    proof.reverse()
    return proof


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf is at its place in the tree with this root.

    Args:
        leaf_hash: Hash of the leaf, from `hash_leaf`, 32 bytes.
        index: Position of the leaf, from 0.
        size: Leaves the root stands for, at least 1.
        proof: Sibling hashes from leaf to root, at most `PROOF_HASHES_MAX` of 32 bytes.
        root: The root, from a verified checkpoint or manifest, 32 bytes.

    Raises:
        VerificationError: The index is outside the tree, the proof has another length than index and size demand, a
            hash has another size, or the proof leads to another root.
    """
    if not 0 <= index < size <= TREE_SIZE_MAX:
        raise VerificationError(
            f"inclusion does not verify: expected an index from 0 to below the size {size}, got {index}"
        )
    _check_hashes("inclusion", (leaf_hash, root), proof)
    node, last = index, size - 1
    computed = leaf_hash
    for sibling in proof:
        if last == 0:
            raise VerificationError(
                f"inclusion does not verify: proof of {len(proof)} hashes is too long (leaf {index} of {size})"
            )
        if node & 1 or node == last:
            computed = hash_node(sibling, computed)
            node, last = _climb_to_right_child(node, last)
        else:
            computed = hash_node(computed, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise VerificationError(
            f"inclusion does not verify: proof of {len(proof)} hashes is too short (leaf {index} of {size})"
        )
    _check_root(f"inclusion of leaf {index}", root, computed)


def verify_consistency(old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the later tree begins with all leaves of the earlier one.

    An old size of 0 proves nothing about the later tree; then only the empty root and the empty proof are checked.

    Args:
        old_size: Leaves of the earlier tree.
        size: Leaves of the later tree.
        old_root: Root of the earlier tree, 32 bytes.
        root: Root of the later tree, 32 bytes.
        proof: The proof's hashes, at most `PROOF_HASHES_MAX` of 32 bytes.

    Raises:
        VerificationError: The log shrank, the proof has another length than the sizes demand, a hash has another size,
            or the proof leads to another root on either side.
    """
    if not 0 <= old_size <= size <= TREE_SIZE_MAX:
        raise VerificationError(f"consistency does not verify: expected an old size from 0 to {size}, got {old_size}")
    _check_hashes("consistency", (old_root, root), proof)
    if old_size == 0:
        _check_root("empty log", EMPTY_ROOT, old_root)
    if old_size == size:
        _check_root(f"log of {size} entries", old_root, root)
    if old_size in {0, size}:
        if proof:
            raise VerificationError(f"consistency does not verify: expected an empty proof from {old_size} to {size}")
        return
    _walk_consistency(old_size, size, old_root, root, proof)


def _walk_consistency(old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Rebuild both roots from the proof, for 0 < old size < size."""
    # An old tree of a power of two is one subtree of the later tree, and the proof leaves its root out.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    length_message = f"consistency does not verify: proof of {len(proof)} hashes is too %s ({old_size} to {size})"
    if not proof:
        raise VerificationError(length_message % "short")
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_computed = computed = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise VerificationError(length_message % "long")
        if node & 1 or node == last:
            old_computed = hash_node(sibling, old_computed)
            computed = hash_node(sibling, computed)
            node, last = _climb_to_right_child(node, last)
        else:
            computed = hash_node(computed, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise VerificationError(length_message % "short")
    _check_root(f"log of {old_size} entries", old_root, old_computed)
    _check_root(f"log of {size} entries", root, computed)


def _climb_to_right_child(node: int, last: int) -> tuple[int, int]:
    """Climb levels without a sibling: on the right edge a lone subtree moves up until it is a right child."""
    while node and not node & 1:
        node, last = node >> 1, last >> 1
    return node, last


def _largest_power_below(count: int) -> int:
    """Return the largest power of two strictly below `count`, which is where RFC 6962 splits."""
    return 1 << (count - 1).bit_length() - 1


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise InputError(f"no inclusion proof: expected an index from 0 to below the size {size}, got {index}")


def _check_hashes(what: str, ends: tuple[bytes, bytes], proof: Sequence[bytes]) -> None:
    if len(proof) > PROOF_HASHES_MAX:
        raise VerificationError(f"{what} does not verify: expected at most {PROOF_HASHES_MAX} hashes, got {len(proof)}")
    if any(len(digest) != HASH_SIZE for digest in (*ends, *proof)):
        raise VerificationError(f"{what} does not verify: expected hashes of {HASH_SIZE} bytes")


def _check_root(what: str, expected: bytes, computed: bytes) -> None:
    if computed != expected:
        raise VerificationError(f"{what} does not verify: expected root {expected.hex()}, got {computed.hex()}")
