"""Our proof files in the hands of a reader that others wrote."""

import pytest
from tests.tlog.grown_log import GrownLog, numbered_entries

from backstory.tlog.checkpoint import Checkpoint
from backstory.tlog.note import sign_note
from backstory.tlog.proof import tile_inclusion_proof
from backstory.tlog.proof_file import ProofFile, encode_proof_file
from backstory.tlog.signer import Ed25519Signer

tlogproof = pytest.importorskip("proofbundle.tlogproof", reason="requirements/foreign.txt is not installed")

ORIGIN = "example.org/delays"
SIGNER = Ed25519Signer.from_seed(ORIGIN, bytes(range(32)))


@pytest.mark.parametrize("extra", [None, b"any bytes\x00\xff"])
@pytest.mark.parametrize(("index", "size"), [(0, 1), (5, 8), (299, 300), (256, 1_111)])
def test_proof_files_are_accepted(index, size, extra):
    """The foreign reader accepts our files for their own leaf and refuses them for another."""
    log = GrownLog(numbered_entries(0, size))
    note = sign_note(Checkpoint(origin=ORIGIN, size=size, root=log.root).encode(), SIGNER)
    proof = tuple(tile_inclusion_proof(log.read_tile, index, size))
    text = encode_proof_file(ProofFile(extra=extra, index=index, proof=proof, note=note)).decode()
    assert tlogproof.parse_tlog_proof(text)["extra"] == extra
    result = tlogproof.verify_tlog_proof(text, b"entry-%d" % index, SIGNER.vkey, expected_origin=ORIGIN)
    assert (result["ok"], result["tree_size"], result["root"]) == (True, size, log.root)
    assert not tlogproof.verify_tlog_proof(text, b"entry-x", SIGNER.vkey, expected_origin=ORIGIN)["ok"]


def test_files_are_the_same_bytes():
    """The foreign writer makes the same file from the same parts."""
    log = GrownLog(numbered_entries(0, 300))
    note = sign_note(Checkpoint(origin=ORIGIN, size=300, root=log.root).encode(), SIGNER)
    proof = tile_inclusion_proof(log.read_tile, 270, 300)
    ours = encode_proof_file(ProofFile(extra=b"extra", index=270, proof=tuple(proof), note=note))
    assert ours.decode() == tlogproof.format_tlog_proof(270, proof, note.decode(), extra=b"extra")
