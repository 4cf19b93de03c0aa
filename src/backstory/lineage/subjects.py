"""Trees of persons: which people the rows of a dataset version or a training set are about, made provable either way.

A tree is built where `provable="subjects"` asked for it. Its leaves stay in the vault, so that a proof of one person
reads nobody's rows. Each tree has a private key of its own, which goes with the leaves when anybody in it is erased:
who has it can ask the tree about any id. Bytes: docs/format.md section 25.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from backstory.columns.tree import leaf_hashes_of, root_of_subtrees, subtree_roots
from backstory.columns.vrf import VrfKey
from backstory.errors import NotFoundError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.records.canonical import JsonObject
from backstory.records.membership import TAG_SIZE, SubjectTree, subject_message, tree_context
from backstory.storage.keys import KEY_SIZE

_SEED, _SHARD_KEY = "seed", "shard_key"


def keep_tree(ledger: Ledger, holder: JsonObject, subjects: Iterable[str]) -> JsonObject:
    """Build the tree of persons of a dataset version or a training set, and keep its leaves in the vault.

    Args:
        ledger: The archive.
        holder: The object the tree's member will stand in, otherwise complete.
        subjects: Ids of the persons.

    Returns:
        The member.
    """
    seed, shard_key = ledger.world.random_bytes(KEY_SIZE), ledger.world.random_bytes(KEY_SIZE)
    key = VrfKey(seed)
    context = tree_context(holder)
    outputs = key.outputs(subject_message(context, subject) for subject in sorted(set(subjects)))
    tags = sorted(output[:TAG_SIZE] for output in outputs)
    tree = SubjectTree(count=len(tags), key=key.public.hex(), root=_root(tags))
    name = shard_name(tree)
    ledger.keys.put(name, {_SEED: seed, _SHARD_KEY: shard_key})
    ledger.vault.write_table(name, pa.table({"tag": pa.array(tags, pa.binary())}), shard_key)
    return tree.document()


def tags_of(ledger: Ledger, tree: SubjectTree) -> list[bytes]:
    """Return the leaves of a tree of persons.

    Raises:
        NotFoundError: They were erased.
        VerificationError: They are not those the document commits to.
    """
    if not ledger.keys.has(shard_name(tree)):
        raise NotFoundError(
            "membership: the tree of persons was closed when somebody in it was erased, or its key is kept elsewhere; "
            "proofs given out before stay valid"
        )
    tags = [bytes(tag) for tag in ledger.vault.read_table(shard_name(tree))["tag"].to_pylist()]
    if len(tags) != tree.count or _root(tags) != tree.root or tags != sorted(set(tags)):
        raise VerificationError(f"membership: the leaves in vault/{shard_name(tree)} are not those of the tree")
    return tags


def subject_key(ledger: Ledger, tree: SubjectTree) -> VrfKey:
    """Return the private key that a tree of persons was built with.

    Raises:
        NotFoundError: It is not here: it was destroyed when somebody in the tree was erased, or is kept elsewhere.
        VerificationError: The key that is here is another one.
    """
    name = shard_name(tree)
    key = VrfKey(ledger.keys.key(name, _SEED))
    if key.public.hex() != tree.key:
        raise VerificationError(f"membership: keys/{name}.json is not the key the tree was built with")
    return key


def shard_name(tree: SubjectTree) -> str:
    """Return the name of the shard with the leaves of a tree."""
    return f"{tree.key}.shard"


def _root(tags: list[bytes]) -> str:
    return root_of_subtrees(subtree_roots(leaf_hashes_of(tags))).hex()
