"""An erasure in a small log, signed with a known key."""

from __future__ import annotations

import hashlib

from tests.support.memberships import ORIGIN
from tests.support.receipts import SIGNER

from backstory.records import canonical
from backstory.records.canonical import JsonValue
from backstory.records.erasure import Erased, leaf_data, tree_leaves
from backstory.tlog.checkpoint import Checkpoint, sign_checkpoint
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.proof import inclusion_proof
from backstory.tlog.proof_file import ProofFile, encode_proof_file
from backstory.verify.erasure_certificate import ProvenLeaf, encode_certificate


def salt_of(text: str) -> bytes:
    """Return a salt that is the same in every run."""
    return hashlib.sha256(b"salt " + text.encode()).digest()


def certificate_of(texts: list[str], **said: JsonValue) -> bytes:
    """Return a certificate of an erasure of some things, named as in its leaves; its entry says what is given."""
    drawn = iter(range(1 << 20))
    hashes = {hash_leaf(leaf_data(salt_of(text), text)): text for text in texts}
    leaves = tree_leaves(list(hashes), lambda size: hashlib.sha256(b"other %d" % next(drawn)).digest()[:size])
    erased = Erased(
        ground="request",
        request=None,
        leaves=len(leaves),
        root=root_hash(leaves).hex(),
        counts="5" * 64,
        values=16,
        tables=16,
        rekeyed=False,
        complete=True,
        partial=False,
    )
    entry = canonical.encode({**erased.document(), "time": "2026-03-01T12:00:00.000000000Z", "v": 1, **said})
    entries = [hash_leaf(one) for one in (b"{}", entry, b"[]")]
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=3, root=root_hash(entries)), SIGNER)
    log = encode_proof_file(ProofFile(extra=entry, index=1, proof=tuple(inclusion_proof(entries, 1)), note=note))
    proven = [
        ProvenLeaf(index=at, salt=salt_of(hashes[leaf]), text=hashes[leaf], path=tuple(inclusion_proof(leaves, at)))
        for at, leaf in enumerate(leaves)
        if leaf in hashes
    ]
    return encode_certificate(proven, log)
