"""A signing key that is somewhere else: in another process, as it would be in a hardware module or behind a service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import backstory
from backstory.errors import ConflictError, ForbiddenError, VerificationError
from backstory.ledger.restore import restore
from backstory.storage.world import World
from backstory.tlog.signer import Ed25519Signer

ORIGIN = "example.org/held-elsewhere"
HOLDER = """
import sys
from backstory.tlog.signer import Ed25519Signer
signer = Ed25519Signer.generate(sys.argv[1])
print(signer.vkey, flush=True)
for line in sys.stdin:
    print(signer.sign(bytes.fromhex(line)).hex(), flush=True)
"""
SOURCES = Path(backstory.__file__).parents[1]


class RemoteSigner:
    """Signs with a key that another process holds and never gives out."""

    def __init__(self, name: str) -> None:
        """Start that process and ask for its public key."""
        self.name = name
        command = [sys.executable, "-c", HOLDER, name]
        environment = {"PYTHONPATH": str(SOURCES)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.vkey = self.process.stdout.readline().strip()

    def sign(self, message: bytes) -> bytes:
        """Have a message signed."""
        self.process.stdin.write(message.hex() + "\n")
        self.process.stdin.flush()
        return bytes.fromhex(self.process.stdout.readline())


@pytest.fixture(scope="module")
def signer():
    """A signer whose key another process holds."""
    remote = RemoteSigner(ORIGIN)
    yield remote
    remote.process.stdin.close()
    remote.process.wait()
    remote.process.stdout.close()


@pytest.fixture
def root(tmp_path, signer, capsys):
    """An archive of that key."""
    backstory.init(tmp_path / "audit", origin=ORIGIN, signer=signer).close()
    return tmp_path / "audit"


def test_an_archive_is_written_with_a_key_it_never_holds(root, signer):
    """Predictions are recorded, sealed and signed, and `keys/` has no signing key."""
    with backstory.open(root, signer=signer, vkey=signer.vkey) as archive:
        archive.traced(round)(2.5)
    with backstory.open(root, mode="r", vkey=signer.vkey) as archive:
        assert archive.verify().counts["records"] == 1
    assert not list((root / "keys").glob("log-*"))


def test_without_the_signer_the_archive_is_not_written(root):
    """Opening for writing without it, or with another, is refused, and reading is not."""
    with pytest.raises(ForbiddenError, match="signer="):
        backstory.open(root)
    with pytest.raises(ForbiddenError, match="expected to sign with"):
        backstory.open(root, signer=Ed25519Signer.generate(ORIGIN))
    backstory.open(root, mode="r").close()


def test_a_key_that_is_elsewhere_is_no_reason_to_restore(root, signer):
    """Without its signer an archive that is whole is not restored, unless somebody says that the key is lost."""
    with pytest.raises(ConflictError, match="signer="):
        restore(root, World())
    backstory.open(root, signer=signer).close()
    assert restore(root, World(), rolled_back=True).restored.origin == f"{ORIGIN}/2"


def test_a_signer_makes_no_sense_for_reading(root, signer):
    """A signer given with mode `r` is refused."""
    with pytest.raises(ForbiddenError, match="mode 'rw'"):
        backstory.open(root, mode="r", signer=signer)


def test_a_signature_that_does_not_hold_gets_nowhere(root, signer):
    """Where the signer gives a wrong signature nothing is committed, and the next right one is."""

    class Broken:
        """A signer with a fault."""

        name, vkey = signer.name, signer.vkey

        def sign(self, message):
            """Sign something else."""
            return signer.sign(message + b"?")

    before = (root / "log" / "1" / "checkpoint").read_bytes()
    archive = backstory.open(root, signer=Broken())
    archive.traced(round)(2.5)
    with pytest.raises(VerificationError):
        archive.close()
    assert (root / "log" / "1" / "checkpoint").read_bytes() == before
    with backstory.open(root, signer=signer) as again:
        assert again.verify().counts["records"] == 1
