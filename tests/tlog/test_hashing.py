"""Leaf hashes, node hashes and roots."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tlog.grown_log import RFC6962, numbered_entries, recursive_root, unhex

from backstory.tlog.hashing import EMPTY_ROOT, hash_leaf, hash_node, root_hash

LEAF_HASHES = unhex(RFC6962["leaf_hashes"])


def test_leaf_hashes_are_those_of_the_vectors():
    """The eight classic leaf inputs hash to the published leaf hashes."""
    assert [hash_leaf(data) for data in unhex(RFC6962["leaf_inputs"])] == LEAF_HASHES


@pytest.mark.parametrize(("size", "root"), RFC6962["roots"].items())
def test_root_of_small_trees(size, root):
    """Trees of 0 to 8 leaves have the published roots."""
    assert root_hash(LEAF_HASHES[: int(size)]).hex() == root


def test_complete_subtrees():
    """Every level of the full tree of 8 leaves is made of the node hashes of the one below."""
    levels = [unhex(level) for level in RFC6962["complete_subtree_nodes"]]
    for below, above in pairwise(levels):
        assert [hash_node(*below[at : at + 2]) for at in range(0, len(below), 2)] == above


def test_empty_root():
    """A tree without leaves has the hash of nothing as its root."""
    assert root_hash([]) == EMPTY_ROOT


@pytest.fixture(scope="module")
def large_leaf_hashes():
    """The leaf hashes of the tree of 70,000 leaves."""
    return [hash_leaf(entry) for entry in numbered_entries(0, 70_000)]


@pytest.mark.parametrize(("size", "root"), RFC6962["large_tree"]["roots"].items())
def test_root_of_large_trees(large_leaf_hashes, size, root):
    """Trees around every tile boundary up to 70,000 leaves have the published roots."""
    assert root_hash(large_leaf_hashes[: int(size)]).hex() == root


@given(st.integers(0, 300))
def test_root_is_the_recursive_one(size):
    """Pairing level by level gives the tree that RFC 6962 defines by recursion."""
    leaf_hashes = [hash_leaf(entry) for entry in numbered_entries(0, size)]
    assert root_hash(leaf_hashes) == recursive_root(leaf_hashes)
