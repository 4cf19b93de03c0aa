"""Our log in the hands of a verifier that others wrote, and that shares no code with ours."""

import pytest
from aics_tlog.checkpoint import checkpoint_from_note, verify_checkpoint
from aics_tlog.cli import main
from aics_tlog.note import parse_vkey
from aics_tlog.tiles import FileSystemTileReader, TileVerificationError, read_entry
from aics_tlog.tree import verify_consistency, verify_inclusion
from aics_tlog.verified import audit_tiles
from tests.tlog.grown_log import GrownLog, numbered_entries

from backstory.tlog.checkpoint import Checkpoint
from backstory.tlog.note import sign_note
from backstory.tlog.proof import tile_consistency_proof, tile_inclusion_proof
from backstory.tlog.signer import Ed25519Signer

ORIGIN = "example.org/delays"
SIGNER = Ed25519Signer.from_seed(ORIGIN, bytes(range(32)))
OLD_SIZE = 300
SIZE = 1_111


@pytest.fixture(scope="module")
def log():
    """A log grown in uneven batches."""
    grown = GrownLog()
    for size in (1, 17, 255, 256, 257, OLD_SIZE, 1_024, SIZE):
        grown.append(numbered_entries(grown.size, size))
    return grown


@pytest.fixture
def folder(log, tmp_path):
    """The same log as files."""
    checkpoint = Checkpoint(origin=ORIGIN, size=log.size, root=log.root)
    (tmp_path / "checkpoint").write_bytes(sign_note(checkpoint.encode(), SIGNER))
    for path, data in log.files.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return tmp_path


def test_checkpoint_is_accepted(folder, log):
    """The foreign verifier reads our checkpoint and accepts our signature."""
    checkpoint, note = checkpoint_from_note((folder / "checkpoint").read_bytes())
    result = verify_checkpoint(note, parse_vkey(SIGNER.vkey), expected_origin=ORIGIN)
    assert (result.ok, result.log_ok, result.error) == (True, True, None)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (ORIGIN, SIZE, log.root)


def test_changed_checkpoint_is_refused(folder):
    """The foreign verifier refuses our checkpoint with another size."""
    data = (folder / "checkpoint").read_bytes().replace(b"\n1111\n", b"\n1112\n")
    _, note = checkpoint_from_note(data)
    assert not verify_checkpoint(note, parse_vkey(SIGNER.vkey), expected_origin=ORIGIN).ok


def test_every_file_is_accepted(folder, log):
    """The foreign full audit accepts every tile and every entry bundle."""
    report = audit_tiles(FileSystemTileReader(folder), SIZE, log.root)
    assert (report.size, report.tiles, report.bundles) == (SIZE, 6, 5)
    assert read_entry(FileSystemTileReader(folder), 777, SIZE) == b"entry-777"


@pytest.mark.parametrize("path", ["tile/entries/000", "tile/0/002", "tile/entries/004.p/87", "tile/1/000.p/4"])
def test_audit_finds_damage(folder, log, path):
    """The foreign audit is worth something: it finds one flipped bit in any file."""
    data = bytearray((folder / path).read_bytes())
    data[100] ^= 1
    (folder / path).write_bytes(data)
    with pytest.raises(TileVerificationError):
        audit_tiles(FileSystemTileReader(folder), SIZE, log.root)


@pytest.mark.parametrize("index", [0, 255, 256, 777, 1_023, 1_024, 1_110])
def test_inclusion_proofs_are_accepted(log, index):
    """The foreign check accepts our inclusion proofs."""
    proof = tile_inclusion_proof(log.read_tile, index, SIZE)
    assert verify_inclusion(log.leaf_hashes[index], index, SIZE, proof, log.root)


@pytest.mark.parametrize("old_size", [1, 17, 255, 256, 257, OLD_SIZE, 1_024])
def test_consistency_proofs_are_accepted(log, old_size):
    """The foreign check accepts our consistency proofs from every earlier size."""
    proof = tile_consistency_proof(log.read_tile, old_size, SIZE)
    old_root = GrownLog(numbered_entries(0, old_size)).root
    assert verify_consistency(old_size, SIZE, old_root, log.root, proof)


def test_command_line_accepts_the_folder(folder, log, capsys):
    """The foreign command line, given folder and key alone, accepts our checkpoint and a leaf."""
    shared = ["--tiles", str(folder), "--log-key", SIGNER.vkey, "--origin", ORIGIN]
    leaf = ["--index", "777", "--leaf-hash", log.leaf_hashes[777].hex()]
    assert main(["verify-checkpoint", *shared]) == 0
    assert main(["verify-inclusion", *shared, *leaf]) == 0
    leaf[1] = "778"
    assert main(["verify-inclusion", *shared, *leaf]) == 1
    assert capsys.readouterr().err == ""
