"""What the tests of this folder share: the published vectors, and a log held in a dictionary."""

import json
from hashlib import sha256
from pathlib import Path

from backstory.tlog.hashing import EMPTY_ROOT, hash_leaf, hash_node
from backstory.tlog.tree import grow

VECTORS = Path(__file__).parent.parent / "vectors"
RFC6962 = json.loads((VECTORS / "rfc6962_vectors.json").read_text(encoding="utf-8"))
C2SP = json.loads((VECTORS / "c2sp_examples.json").read_text(encoding="utf-8"))
ML_DSA = json.loads((VECTORS / "ml_dsa.json").read_text(encoding="utf-8"))


def unhex(texts):
    """Turn a list of hexadecimal texts into bytes."""
    return [bytes.fromhex(text) for text in texts]


def digest(data):
    """Return the SHA-256 of bytes as the vectors write it."""
    return sha256(data).hexdigest()


def numbered_entries(first, end):
    """Return the entries `entry-<first>` up to, not including, `entry-<end>`."""
    return [b"entry-%d" % number for number in range(first, end)]


def recursive_root(leaf_hashes):
    """Compute a root as RFC 6962 section 2.1 defines it, for comparison."""
    if not leaf_hashes:
        return EMPTY_ROOT
    if len(leaf_hashes) == 1:
        return leaf_hashes[0]
    middle = 1
    while middle * 2 < len(leaf_hashes):
        middle *= 2
    return hash_node(recursive_root(leaf_hashes[:middle]), recursive_root(leaf_hashes[middle:]))


class GrownLog:
    """A log in memory that refuses to give a path other bytes."""

    def __init__(self, entries=()):
        self.size = 0
        self.root = EMPTY_ROOT
        self.files = {}
        self.leaf_hashes = []
        self.append(entries)

    def append(self, entries):
        """Grow by some entries."""
        growth = grow(self.size, entries, self.read_tile)
        for path, data in growth.files.items():
            assert self.files.setdefault(path, data) == data, path
        self.size, self.root = growth.size, growth.root
        self.leaf_hashes += [hash_leaf(entry) for entry in entries]

    def read_tile(self, tile):
        """Give the bytes of a tile."""
        return self.files[tile.path]
