"""Our tiles, checkpoints and proofs in the hands of two more verifiers that share no code with ours."""

import pytest
from cryptography.exceptions import InvalidSignature
from tests.tlog.grown_log import RFC6962, GrownLog, numbered_entries, unhex

from backstory.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from backstory.tlog.key import VerifierKey
from backstory.tlog.proof import tile_consistency_proof, tile_inclusion_proof, verify_inclusion
from backstory.tlog.proof_file import ProofFile, encode_proof_file, parse_proof_file
from backstory.tlog.signer import Ed25519Signer, MlDsaSigner

scales_cli = pytest.importorskip("tlog_scales.cli", reason="requirements/foreign.txt is not installed")
scales_reader = pytest.importorskip("tlog_scales.reader")
scales_signing = pytest.importorskip("tlog_scales.signing")
scales_tlog = pytest.importorskip("tlog_scales.tlog")
metamorphic = pytest.importorskip("metamorphic_log")

ORIGIN = "example.org/delays"
SIGNER = Ed25519Signer.from_seed(ORIGIN, bytes(range(32)))
ML_DSA = MlDsaSigner.from_seed(ORIGIN, bytes(range(32)))
SIZES = (1, 17, 255, 256, 257, 300, 1_024, 1_111)
SIZE = SIZES[-1]


@pytest.fixture(scope="module")
def log():
    """A log grown in uneven batches, and its roots on the way."""
    grown = GrownLog()
    grown.roots = {}
    for size in SIZES:
        grown.append(numbered_entries(grown.size, size))
        grown.roots[size] = grown.root
    return grown


def _note(log, size, *signers):
    return sign_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=log.roots[size]), *signers or (SIGNER,))


@pytest.fixture
def folder(log, tmp_path):
    """The log as files, signed with both of its keys."""
    (tmp_path / "checkpoint").write_bytes(_note(log, SIZE, SIGNER, ML_DSA))
    for path, data in log.files.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return tmp_path


@pytest.fixture
def reader(folder):
    """The reader of tlog-scales on these files."""
    return scales_reader.TilesReader(scales_cli.backend.LocalBackend(folder))


@pytest.mark.parametrize("signer", [SIGNER, ML_DSA], ids=["01", "06"])
def test_tlog_scales_accepts_the_checkpoint(reader, log, signer):
    """tlog-scales reads our checkpoint and accepts our Ed25519 and our ML-DSA-44 signature."""
    checkpoint = reader.get_checkpoint()
    checkpoint.verify(scales_signing.Vkey.from_string(signer.vkey))
    assert (checkpoint.origin, checkpoint.size, checkpoint.root_hash) == (ORIGIN, SIZE, log.root)


@pytest.mark.parametrize("signer", [SIGNER, ML_DSA], ids=["01", "06"])
def test_tlog_scales_refuses_a_changed_checkpoint(log, signer):
    """With another size under our signatures tlog-scales refuses the checkpoint."""
    text = _note(log, SIZE, SIGNER, ML_DSA).decode().replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n")
    with pytest.raises(InvalidSignature):
        scales_tlog.Checkpoint.from_text(text).verify(scales_signing.Vkey.from_string(signer.vkey))


def test_tlog_scales_reads_the_tiles(reader, log):
    """tlog-scales computes our root, our proofs and our entries from our tiles."""
    reader.get_checkpoint()
    assert reader.calculate_root_hash() == log.root
    for index in (0, 255, 256, 777, 1_110):
        assert reader.get_entry(index) == b"entry-%d" % index
        proof = reader.get_inclusion_proof(index, SIZE).node_hashes
        assert proof == tile_inclusion_proof(log.read_tile, index, SIZE)
    for old_size in SIZES:
        proof = reader.get_consistency_proof(old_size, SIZE).node_hashes
        assert proof == tile_consistency_proof(log.read_tile, old_size, SIZE)


def test_tlog_scales_finds_damage(folder, reader, log):
    """One flipped bit in a tile gives tlog-scales another root."""
    path = folder / "tile/1/000.p/4"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    reader.get_checkpoint()
    assert reader.calculate_root_hash() != log.root


def test_tlog_scales_checks_proofs(log):
    """tlog-scales accepts our proofs, and refuses each with one flipped bit."""
    inclusion = tile_inclusion_proof(log.read_tile, 777, SIZE)
    consistency = tile_consistency_proof(log.read_tile, 300, SIZE)
    scales_tlog.InclusionProof(777, SIZE, inclusion).check(log.leaf_hashes[777], log.root)
    scales_tlog.ConsistencyProof(300, SIZE, consistency).check(log.roots[300], log.root)
    for proof in (inclusion, consistency):
        proof[1] = bytes([proof[1][0] ^ 1]) + proof[1][1:]
    with pytest.raises(scales_tlog.InclusionProofInvalid):
        scales_tlog.InclusionProof(777, SIZE, inclusion).check(log.leaf_hashes[777], log.root)
    with pytest.raises(scales_tlog.ConsistencyProofInvalid):
        scales_tlog.ConsistencyProof(300, SIZE, consistency).check(log.roots[300], log.root)


def test_proof_file_of_tlog_scales(folder, log, capsys, monkeypatch):
    """A proof file that tlog-scales makes from our tiles is ours byte for byte, and holds."""
    monkeypatch.setattr("sys.argv", ["tlog-tiles", "gen-proof", str(folder), "777"])
    scales_cli.main()
    text = capsys.readouterr().out
    note = _note(log, SIZE, SIGNER, ML_DSA)
    file = parse_proof_file(text.encode())
    checkpoint = open_checkpoint(file.note, ORIGIN, [VerifierKey.parse(s.vkey) for s in (SIGNER, ML_DSA)])
    verify_inclusion(log.leaf_hashes[777], file.index, SIZE, file.proof, checkpoint.root)
    # ML-DSA-44 signatures differ each time; the rest is the same.
    ours = encode_proof_file(ProofFile(extra=None, index=777, proof=file.proof, note=note)).decode()
    assert ours.splitlines()[:-1] == text.splitlines()[:-1]


def test_metamorphic_accepts_the_checkpoint(log):
    """metamorphic-log accepts our checkpoint under our key, and refuses it with another size."""
    text = _note(log, SIZE).decode()
    head = metamorphic.checkpoint_verify(text, [SIGNER.vkey])
    assert (head.origin, head.size, bytes(head.root)) == (ORIGIN, SIZE, log.root)
    with pytest.raises(metamorphic.VerifyError):
        metamorphic.checkpoint_verify(text.replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n"), [SIGNER.vkey])


@pytest.mark.parametrize("index", [0, 255, 256, 777, 1_110])
def test_metamorphic_accepts_inclusion(log, index):
    """metamorphic-log accepts our inclusion proofs for their leaf and refuses them for another."""
    proof = tile_inclusion_proof(log.read_tile, index, SIZE)
    text = _note(log, SIZE).decode()
    metamorphic.checkpoint_verify_inclusion(text, [SIGNER.vkey], index, log.leaf_hashes[index], proof)
    with pytest.raises(metamorphic.VerifyError):
        metamorphic.checkpoint_verify_inclusion(text, [SIGNER.vkey], index, log.leaf_hashes[5], proof)


@pytest.mark.parametrize("old_size", SIZES[:-1])
def test_metamorphic_accepts_consistency(log, old_size):
    """metamorphic-log accepts our consistency proofs, and refuses each with one flipped bit."""
    proof = tile_consistency_proof(log.read_tile, old_size, SIZE)
    notes = [_note(log, size).decode() for size in (old_size, SIZE)]
    metamorphic.checkpoint_verify_consistency(*notes, [SIGNER.vkey], proof)
    proof[-1] = bytes([proof[-1][0] ^ 1]) + proof[-1][1:]
    with pytest.raises(metamorphic.VerifyError):
        metamorphic.checkpoint_verify_consistency(*notes, [SIGNER.vkey], proof)


def test_metamorphic_agrees_on_the_vectors():
    """metamorphic-log accepts and refuses the same published proofs as we do."""
    for case in RFC6962["inclusion_proofs"]:
        leaf_hash, root = unhex([case["leaf_hash"], case["root"]])
        metamorphic.verify_inclusion(case["index"], case["size"], leaf_hash, unhex(case["proof"]), root)
    for case in RFC6962["negative_cases"]:
        if case["kind"] == "inclusion":
            leaf_hash, root = unhex([case["leaf_hash"], case["root"]])
            with pytest.raises(metamorphic.VerifyError):
                metamorphic.verify_inclusion(case["index"], case["size"], leaf_hash, unhex(case["proof"]), root)
