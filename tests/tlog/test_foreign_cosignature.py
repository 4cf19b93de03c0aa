"""Our cosignatures in the hands of verifiers that others wrote, and theirs in ours."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.tlog.grown_log import GrownLog, numbered_entries

from backstory.tlog.checkpoint import Checkpoint, sign_checkpoint
from backstory.tlog.cosignature import cosign, find_cosignatures
from backstory.tlog.key import KeyKind, VerifierKey
from backstory.tlog.note import NoteSignature, add_signatures, parse_note
from backstory.tlog.policy import parse_policy
from backstory.tlog.proof import tile_consistency_proof, tile_inclusion_proof
from backstory.tlog.proof_file import ProofFile, encode_proof_file
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner
from backstory.tlog.witness import AddCheckpoint, parse_add_checkpoint

aics = pytest.importorskip("aics_tlog.cosign", reason="requirements/foreign.txt is not installed")
aics_protocol = pytest.importorskip("aics_witness.protocol")
bundle = pytest.importorskip("proofbundle.checkpoint")
bundle_proof = pytest.importorskip("proofbundle.tlogproof")
scales_signing = pytest.importorskip("tlog_scales.signing")
scales_tlog = pytest.importorskip("tlog_scales.tlog")

ORIGIN = "example.org/delays"
NAME = "witness.example/w1"
TIME = 1_767_225_600
SEED = bytes(range(100, 132))
LOG_SIGNER = Ed25519Signer.from_seed(ORIGIN, bytes(range(32)))
LOG = GrownLog(numbered_entries(0, 300))
CHECKPOINT = Checkpoint(origin=ORIGIN, size=300, root=LOG.root)
OTHER = Checkpoint(origin=ORIGIN, size=301, root=LOG.root)
SIGNED = sign_checkpoint(CHECKPOINT, LOG_SIGNER)
ED25519 = Ed25519Signer.from_seed(NAME, SEED, KeyKind.COSIGNATURE)
ML_DSA = MlDsaSigner.from_seed(NAME, SEED)
SIGNERS = pytest.mark.parametrize("signer", [ED25519, ML_DSA], ids=["04", "06"])


def _cosigned(signer, checkpoint=CHECKPOINT):
    return add_signatures(SIGNED, [cosign(checkpoint, signer, TIME)])


def test_aics_accepts_ours():
    """aics-tlog accepts our Ed25519 cosignature of this checkpoint, and not of another."""
    blob = cosign(CHECKPOINT, ED25519, TIME).signature
    public_key = VerifierKey.parse(ED25519.vkey).public_key
    assert aics.verify_cosignature(blob, NAME, public_key, ORIGIN, 300, LOG.root)
    assert aics.cosignature_timestamp(blob) == TIME
    assert not aics.verify_cosignature(blob, NAME, public_key, ORIGIN, 301, LOG.root)


def test_aics_makes_the_same():
    """aics-tlog makes the same cosignature, byte for byte."""
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    _, line = aics.sign_cosignature(key, NAME, TIME, ORIGIN, 300, LOG.root)
    theirs = NoteSignature(name=line.name, key_id=line.key_id, signature=line.signature)
    assert theirs == cosign(CHECKPOINT, ED25519, TIME)


@SIGNERS
def test_tlog_scales_accepts_ours(signer):
    """tlog-scales accepts our cosignatures of both kinds, and refuses those of another checkpoint."""
    vkeys = scales_signing.VkeySet(scales_signing.Vkey.from_string(signer.vkey))
    for checkpoint, count in ((CHECKPOINT, 1), (OTHER, 0)):
        read = scales_tlog.Checkpoint.from_text(_cosigned(signer, checkpoint).decode())
        assert len(vkeys.verify(read.signatures, read)) == count


def test_ours_accepts_tlog_scales():
    """An ML-DSA-44 cosignature that tlog-scales made counts for our policy."""
    theirs = scales_signing.MLDSA44CosignatureSigner(NAME, SEED)
    assert theirs.vkey.serialize() == ML_DSA.vkey
    line = theirs.sign(scales_tlog.Checkpoint(ORIGIN, 300, LOG.root, []))
    note = SIGNED + line.serialize().encode() + b"\n"
    policy = parse_policy(f"log {LOG_SIGNER.vkey}\nwitness W {ML_DSA.vkey}\nquorum W\n")
    assert [witness.name for witness in policy.check(note).witnesses] == ["W"]


@SIGNERS
def test_proofbundle_accepts_ours(signer):
    """The package proofbundle accepts our cosignatures of both kinds, and refuses those of another checkpoint."""
    result = bundle.verify_cosignature(_cosigned(signer).decode(), signer.vkey)
    assert (result["ok"], result["tree_size"], result["timestamp"]) == (True, 300, TIME)
    assert not bundle.verify_cosignature(_cosigned(signer, OTHER).decode(), signer.vkey)["ok"]


def test_proofbundle_accepts_a_witnessed_proof_file():
    """The package proofbundle accepts our proof file with two witnesses where two are asked for, and not for three."""
    lines = [
        cosign(CHECKPOINT, signer, TIME) for signer in (ED25519, MlDsaSigner.from_seed("witness.example/w2", SEED))
    ]
    proof = tuple(tile_inclusion_proof(LOG.read_tile, 270, 300))
    file = ProofFile(extra=None, index=270, proof=proof, note=add_signatures(SIGNED, lines))
    vkeys = [ED25519.vkey, MlDsaSigner.from_seed("witness.example/w2", SEED).vkey]
    for threshold, is_ok in ((2, True), (3, False)):
        result = bundle_proof.verify_tlog_proof(
            encode_proof_file(file).decode(), b"entry-270", LOG_SIGNER.vkey, vkeys,
            threshold=threshold, expected_origin=ORIGIN,
        )  # fmt: skip
        assert (result["ok"], result["log_ok"], result["inclusion_ok"]) == (is_ok, True, True)


def test_ours_accepts_proofbundle():
    """A cosignature that proofbundle made is the one we make, and counts."""
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    note = parse_note(bundle.cosign_checkpoint(SIGNED.decode(), key, NAME, TIME).encode())
    assert note.signatures[-1] == cosign(CHECKPOINT, ED25519, TIME)
    assert len(find_cosignatures(note, CHECKPOINT, [VerifierKey.parse(ED25519.vkey)])) == 1


def test_requests_are_the_same_bytes():
    """aics-witness reads our request, and writes it byte for byte as we do."""
    proof = tuple(tile_consistency_proof(LOG.read_tile, 6, 300))
    body = AddCheckpoint(old_size=6, proof=proof, note=SIGNED).encode()
    theirs = aics_protocol.parse_add_checkpoint_request(body)
    assert (theirs.old_size, theirs.proof, theirs.checkpoint) == (6, proof, SIGNED)
    assert aics_protocol.format_add_checkpoint_request(6, proof, SIGNED) == body
    assert parse_add_checkpoint(body).proof == proof
