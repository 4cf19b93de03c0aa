"""Checking trees of persons: their leaves against the roots in documents, and against the rows they are said to be of.

Positions, groups and rows are each checked against their own roots elsewhere.
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
from backstory.verify.erasure import is_lost
from backstory.verify.trained_people import TrainedPeople

if TYPE_CHECKING:
    import pyarrow as pa

_MEANS_LEAVES = "proofs that a person is in this dataset or training set, or is not, can no longer be made"
_MEANS_ROWS = "proofs that a person is in this dataset or training set, or is not, cannot be believed"
_MEANS_GONE = "erased, or kept elsewhere: proofs about persons cannot be made from here"
_MEANS_NOT_COMPARED = "whether the persons of the trees are those of the rows was not looked at"
_COUNTED = "persons"


def check_subjects(audit: Audit, found: Blobs) -> None:
    """Check every tree of persons that is to be read."""
    due = [place for place, is_new in sorted(found.trees.items()) if is_new or found.read_old]
    if not due:
        return
    audit.counts[_COUNTED] = 0
    store = audit.keys
    vault = Vault(audit.layout.vault, store, Disk())
    keys = store if _is_library_here(audit) else None
    for digest, name in due:
        if is_lost(audit, name):
            continue
        try:
            document, trees = _trees_in(audit, digest)
            for holder, tree in trees:
                if name == f"{tree.key}.shard":
                    tags = _check_leaves(tree, vault.read_table(name))
                    audit.counts[_COUNTED] += len(tags)
                    key = None if keys is None else _key(keys, name, tree)
                    if key is not None:
                        of = ("dataset" if holder is document else "model", document.get("name"), digest)
                        subjects = _subjects_of(audit, vault, holder, None if holder is not document else digest)
                        _compare(audit, key, holder, tags, subjects, " ".join(map(str, of)))
        except NotFoundError as error:
            audit.add("unknown", f"vault/{name}", error, meaning=_MEANS_GONE)
        except BackstoryError as error:
            audit.add("failed", f"vault/{name}", error, meaning=_MEANS_LEAVES)


def _trees_in(audit: Audit, digest: str) -> tuple[JsonObject, list[tuple[JsonObject, SubjectTree]]]:
    """Return a document, and the objects in it that hold a tree of persons, each with it."""
    document = canonical.parse_object(BlobStore(audit.layout.blobs, Disk()).get(digest), f"document {digest}")
    holders = (one for one in (document, document.get("training")) if isinstance(one, dict))
    return document, [(one, tree) for one in holders if (tree := tree_of(one)) is not None]


def _is_library_here(audit: Audit) -> bool:
    """Say whether tags can be computed, to compare the persons of trees with those of rows."""
    try:
        VrfKey(bytes(32))
    except InputError as error:
        audit.add("unknown", "trees of persons", error, meaning=_MEANS_NOT_COMPARED)
        return False
    return True


def _key(keys: KeyStore, name: str, tree: SubjectTree) -> VrfKey:
    """Return the key a tree was built with.

    Raises:
        FormatError: The key that is here is another one.
        NotFoundError: It is not here.
    """
    key = VrfKey(keys.key(name, "seed"))
    if key.public.hex() != tree.key:
        raise FormatError(f"keys/{name}.json is not the key its tree of persons was built with")
    return key


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


def _subjects_of(audit: Audit, vault: Vault, holder: JsonObject, dataset: str | None) -> set[str] | None:
    """Return the people that the rows of a dataset, or those below a training set, are about; None if they are gone."""
    if dataset is None:
        try:
            return TrainedPeople(BlobStore(audit.layout.blobs, Disk()), vault).subjects(holder)
        except NotFoundError:
            return None  # said where positions and rows are checked
    try:
        table = vault.read_table(f"{dataset}.shard")
    except BackstoryError:
        return None  # said where rows are checked
    column = canonical.text_of(holder, "subject")
    if column not in table.column_names:
        raise FormatError(f"dataset {dataset}: its rows have no column {column!r} of persons")
    return subject_texts(table[column])


def _compare(
    audit: Audit, key: VrfKey, holder: JsonObject, tags: set[bytes], subjects: set[str] | None, place: str
) -> None:
    """Compare the people of a tree with those of its rows, where these are here."""
    if subjects is None:
        return
    context = tree_context(holder)
    if {output[:TAG_SIZE] for output in key.outputs(subject_message(context, one) for one in subjects)} != tags:
        audit.add("failed", place, "the persons of its tree are not those of its rows", meaning=_MEANS_ROWS)
