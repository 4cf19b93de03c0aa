"""Proofs of membership made without an archive, by an operator who has every key and signs what suits: for tests."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from tests.support.receipts import ORIGIN, SIGNER

from backstory.columns.vrf import VrfKey
from backstory.records import canonical
from backstory.records.membership import TAG_SIZE, subject_message, tree_context
from backstory.records.row import encode_row
from backstory.tlog.checkpoint import Checkpoint, sign_checkpoint
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.proof import inclusion_proof
from backstory.tlog.proof_file import ProofFile
from backstory.verify.membership_file import AskedRow, AskedSubject, Leaf, MembershipClaim, encode_membership

KEY = VrfKey(hashlib.sha256(b"subjects").digest())
OTHER_KEY = VrfKey(hashlib.sha256(b"another").digest())
SCHEMA = canonical.encode(
    {"columns": [{"name": "n", "type": "int64"}, {"name": "t", "type": "string"}], "kind": "dataset", "v": 1}
)
_TIME = "2026-03-01T12:00:00.000000000Z"


def row_of(number: int) -> bytes:
    """Return the encoding of a made-up row."""
    return encode_row([("n", "int64", number), ("t", "string", f"row {number}")])


def tag_of(holder: dict, subject: str, key: VrfKey = KEY) -> bytes:
    """Return the tag of a person in a tree."""
    return key.outputs([subject_message(tree_context(holder), subject)])[0][:TAG_SIZE]


def personal_document(subjects, *, key: VrfKey = KEY, name: str = "people") -> dict:
    """Return the document of a dataset about people, with an honest tree."""
    holder = {"content": "0" * 64, "key": [], "name": name, "personal": True, "rows": "40", "root": "1" * 64,
              "schema": "2" * 64, "subject": "customer", "v": 1}  # fmt: skip
    return {**holder, "subjects": tree_member(holder, subjects, key)}


def model_document(subjects) -> dict:
    """Return the document of a model version, with an honest tree."""
    training = {"content": "3" * 64, "personal": True, "refs": {}, "root": "4" * 64, "rows": "20"}
    training["subjects"] = tree_member(training, subjects, KEY)
    return {"name": "credit", "training": training, "v": 1}


def tree_member(holder: dict, subjects, key: VrfKey) -> dict:
    """Return what a document says of an honest tree."""
    tags = sorted(tag_of(holder, one, key) for one in subjects)
    root = root_hash([hash_leaf(tag) for tag in tags])
    return {"count": str(len(tags)), "key": key.public.hex(), "root": root.hex()}


def open_document(rows) -> dict:
    """Return the document of a dataset about nobody, with its sorted root."""
    leaves = sorted(hash_leaf(row) for row in rows)
    return {"columns": [], "key": [], "name": "rates", "root": "5" * 64, "rows": str(len(leaves)),
            "schema": hashlib.sha256(SCHEMA).hexdigest(), "sorted": root_hash(leaves).hex(), "v": 1}  # fmt: skip


def proof_of(document: dict, **changes) -> ProofFile:
    """Return the proof of an entry that names a document, in a log of three entries."""
    digest = canonical.digest_of(document)
    kind, type_ = ("model", "model.registered") if "training" in document else ("dataset", "source.fixed")
    entry = {kind: digest, "name": document["name"], "time": _TIME, "type": type_, "v": 1}
    entry |= {"version": "1"} if kind == "model" else {}
    entries = [b"{}", canonical.encode({**entry, **changes}), b"[]"]
    leaves = [hash_leaf(one) for one in entries]
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=3, root=root_hash(leaves)), SIGNER)
    return ProofFile(extra=entries[1], index=1, proof=tuple(inclusion_proof(leaves, 1)), note=note)


def holder_of(document: dict) -> dict:
    """Return the object that holds a document's tree."""
    return document.get("training", document)


def leaf_at(leaves, hashes, index: int) -> Leaf:
    """Return a leaf of a tree with its path."""
    return Leaf(index=index, leaf=leaves[index], path=tuple(inclusion_proof(hashes, index)))


def honest_claim(document: dict, asked: str | bytes, members) -> MembershipClaim:
    """Return the honest claim about a person (text) or a row (bytes) in a tree of some members."""
    if isinstance(asked, bytes):
        leaves = hashes = sorted(hash_leaf(row) for row in members)
        leaf, of = hash_leaf(asked), AskedRow(row=asked, schema=SCHEMA)
    else:
        holder = holder_of(document)
        leaves = sorted(tag_of(holder, one) for one in members)
        hashes = [hash_leaf(tag) for tag in leaves]
        leaf = tag_of(holder, asked)
        of = AskedSubject(text=asked, proof=KEY.prove(subject_message(tree_context(holder), asked)))
    at = sum(one < leaf for one in leaves)
    present = leaf in leaves
    numbers = [at] if present else [one for one in (at - 1, at) if 0 <= one < len(leaves)]
    return MembershipClaim(
        present=present,
        document=canonical.encode(document),
        leaves=tuple(leaf_at(leaves, hashes, number) for number in numbers),
        log=proof_of(document),
        asked=of,
    )


def write(claim: MembershipClaim, **changes) -> bytes:
    """Write a claim, changed as the operator likes."""
    return encode_membership(replace(claim, **changes))
