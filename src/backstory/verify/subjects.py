"""Checking trees of persons: their leaves against the roots in documents, and those of datasets against their rows.

Whether a training set is about exactly the persons of its tree is not looked at here: its positions, the groups they
lead through and the rows are each checked against their own roots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backstory.columns.id_text import subject_texts
from backstory.columns.tree import leaf_hashes_of, root_of_subtrees, subtree_roots
from backstory.columns.vrf import VrfKey
from backstory.errors import BackstoryError, FormatError, InputError, NotFoundError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.membership import TAG_SIZE, SubjectTree, subject_message, tree_context, tree_of
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import Disk
from backstory.storage.keys import KeyStore
from backstory.storage.vault import Vault
from backstory.verify.audit import Audit
from backstory.verify.blobs import Blobs

if TYPE_CHECKING:
    import pyarrow as pa

SUBJECT_KEY = "subjects"
_MEANS_LEAVES = "proofs that a person is in this dataset or training set, or is not, can no longer be made"
_MEANS_ROWS = "proofs that a person is in this dataset, or is not, cannot be believed"
_MEANS_GONE = "erased, or kept elsewhere: proofs about persons cannot be made from here"
_MEANS_NOT_COMPARED = "whether the persons of the trees are those of the rows was not looked at"
_COUNTED = "persons"


def check_subjects(audit: Audit, found: Blobs) -> None:
    """Check every tree of persons that is to be read."""
    due = [place for place, is_new in sorted(found.trees.items()) if is_new or found.read_old]
    if not due:
        return
    audit.counts[_COUNTED] = 0
    keys = KeyStore(audit.layout.keys, Disk())
    vault, key = Vault(audit.layout.vault, keys, Disk()), _key(audit, keys)
    for digest, name in due:
        try:
            document, trees = _trees_in(audit, digest)
            for holder, tree in trees:
                if name == f"{tree.root}.shard":
                    tags = _check_leaves(tree, vault.read_table(name))
                    audit.counts[_COUNTED] += len(tags)
                    if holder is document and key is not None and key.public.hex() == tree.key:
                        _check_rows(audit, vault, key, digest, document, tags)
        except NotFoundError as error:
            audit.add("unknown", f"vault/{name}", error, meaning=_MEANS_GONE)
        except BackstoryError as error:
            audit.add("failed", f"vault/{name}", error, meaning=_MEANS_LEAVES)


def is_subject_key(audit: Audit, found: Blobs, seed: bytes) -> bool:
    """Say whether a key is the one that all trees of persons were built with."""
    try:
        public = VrfKey(seed).public.hex()
    except InputError:
        return True  # not known, and said where the trees are checked
    return all(tree.key == public for digest, _ in found.trees for _, tree in _trees_in(audit, digest)[1])


def _trees_in(audit: Audit, digest: str) -> tuple[JsonObject, list[tuple[JsonObject, SubjectTree]]]:
    """Return a document, and the objects in it that hold a tree of persons, each with it."""
    document = canonical.parse_object(BlobStore(audit.layout.blobs, Disk()).get(digest), f"document {digest}")
    holders = (one for one in (document, document.get("training")) if isinstance(one, dict))
    return document, [(one, tree) for one in holders if (tree := tree_of(one)) is not None]


def _key(audit: Audit, keys: KeyStore) -> VrfKey | None:
    """Return the key the trees were built with; None without it, or of a damaged one, said where keys are checked."""
    try:
        return VrfKey(keys.key(SUBJECT_KEY, "seed"))
    except (InputError, NotFoundError) as error:
        audit.add("unknown", f"keys/{SUBJECT_KEY}.json", error, meaning=_MEANS_NOT_COMPARED)
    except BackstoryError:
        pass
    return None


def _check_leaves(tree: SubjectTree, table: pa.Table) -> set[bytes]:
    """Return the leaves of a tree after checking them.

    Raises:
        FormatError: They are not in order, or not those of the tree.
    """
    tags = [bytes(tag) for tag in table["tag"].to_pylist()] if table.column_names == ["tag"] else []
    if tags != sorted(set(tags)) or any(len(tag) != TAG_SIZE for tag in tags):
        raise FormatError("the leaves of its tree of persons are not sorted, or one is there twice")
    if len(tags) != tree.count or root_of_subtrees(subtree_roots(leaf_hashes_of(tags))).hex() != tree.root:
        raise FormatError("its leaves do not lead to the root of its tree of persons")
    return set(tags)


def _check_rows(audit: Audit, vault: Vault, key: VrfKey, digest: str, document: JsonObject, tags: set[bytes]) -> None:
    """Compare the persons of a dataset's rows with those of its tree, where the rows are here."""
    try:
        table = vault.read_table(f"{digest}.shard")
    except BackstoryError:
        return  # said where rows are checked
    column = canonical.text_of(document, "subject")
    if column not in table.column_names:
        raise FormatError(f"dataset {digest}: its rows have no column {column!r} of persons")
    subjects = subject_texts(table[column])
    context = tree_context(document)
    if {output[:TAG_SIZE] for output in key.outputs(subject_message(context, one) for one in subjects)} != tags:
        what = "the persons of its tree are not those of its rows"
        audit.add("failed", f"dataset {document.get('name')} {digest}", what, meaning=_MEANS_ROWS)
