"""Replacing keys of sealed values: nothing is lost, whatever fails, and older copies and old keys open nothing."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
import threading

import pytest
from tests.ledger.test_every_operation import each_failure, on_ledger
from tests.support.ledgers import SEALED, QuickDisk, lose, make_batch, new_recorder, reopen
from tests.support.vaults import KeyService, manifest_in, new_vault, sealed_rows

import backstory
from backstory.cli.exit_codes import CONFLICT, NOT_FOUND, OK
from backstory.cli.main import run
from backstory.columns.people import index_file_key
from backstory.errors import BackstoryError, NotFoundError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.rekey import domains_in_use, rekey_domain, rotate_master
from backstory.storage.encryption import decrypt
from backstory.storage.index_file import open_index
from backstory.storage.keys import open_keys
from backstory.storage.layout import read_layout
from backstory.storage.shard_file import open_sections, open_shard_file, read_head
from backstory.storage.vault import OPENING_MAGIC, Vault
from backstory.storage.world import World
from backstory.verify.archive import verify_archive


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An archive with sealed values, and what they are."""
    ledger = new_vault(tmp_path_factory.mktemp("vault") / "archive", 20)
    rows = sealed_rows(ledger)
    ledger.close()
    return ledger.layout.root, rows


def problems(root, **options):
    """Return what an audit finds that is more than a note."""
    report = verify_archive(root, workers=1, **options)
    return [one for one in report.findings if one.severity != "note"]


def test_another_master_key_opens_the_same_values(made, tmp_path):
    """After a rotation everything opens, the log says so, and a copy of the key files from before opens nothing."""
    root = shutil.copytree(made[0], tmp_path / "archive")
    ledger = reopen(root)
    assert domains_in_use(ledger) == ["personal", "special"]
    assert rotate_master(ledger, "personal", "rotation") == 3  # of the shard, its index, the tokens
    assert sealed_rows(ledger) == made[1]
    entry = ledger.log.entry(ledger.catalog.entries("vault.rekeyed")[-1])
    assert (entry["domain"], entry["keys"], entry["reason"], entry["count"]) == ("personal", "master", "rotation", "3")
    name = manifest_in(ledger).shard.name
    shutil.copy(made[0] / "keys" / f"{name}.json", root / "keys" / f"{name}.json")
    with pytest.raises(NotFoundError, match="master key"):
        sealed_rows(ledger)
    with pytest.raises(NotFoundError, match="domain"):
        rotate_master(ledger, "salaries", "rotation")
    ledger.close()
    assert {one.severity for one in problems(root)} == {"unknown"}


def test_without_the_master_keys_an_audit_says_unknown(made, tmp_path):
    """Whoever has the archive and not the master keys verifies what is open; sealed values are unknown, not failed."""
    root = shutil.copytree(made[0], tmp_path / "archive")
    shutil.rmtree(root / "master")
    found = problems(root)
    assert {one.severity for one in found} == {"unknown"}
    assert {"master/master-personal.json", "master/master-special.json"} <= {one.place for one in found}


def test_a_rotation_survives_the_failure_of_any_operation(made, tmp_path, monkeypatch):
    """Whatever fails, all values open; a rotation the log speaks of has ended: with one master key in the file."""
    for root, _ in each_failure(
        monkeypatch, tmp_path, made[0], on_ledger(lambda one: rotate_master(one, "personal", "rotation")), step=9
    ):
        ledger, masters = reopen(root, seed=5), root / "master" / "master-personal.json"
        assert sealed_rows(ledger) == made[1]
        assert not ledger.catalog.entries("vault.rekeyed") or masters.read_text().count('"key"') == 1
        rotate_master(ledger, "personal", "rotation")
        assert sealed_rows(ledger) == made[1]
        assert masters.read_text().count('"key"') == 1
        ledger.close()
        assert problems(root) == []


def test_a_master_key_in_another_process(tmp_path):
    """A key service wraps in place of files: with it an archive is written, read, verified; without it, not opened."""
    service = KeyService(tmp_path)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            root = tmp_path / "archive"
            backstory.init(root, origin="example.org/service", wrapper=service).close()
        with backstory.open(root, actor="a", purpose="b", wrapper=service) as archive:
            commitment = archive._ledger.commit_text("purpose", "a test")
            assert archive._ledger.text_of(commitment, "purpose") == "a test"
            assert not archive.verify(check=False).failed
        asked = service.asked
        assert asked
        ledger = Ledger(root, World(), writable=True, vkey=None, actor=None)
        with pytest.raises(NotFoundError, match="service:1"):
            ledger.text_of(commitment, "purpose")
        ledger.close()
        ledger = Ledger(root, World(), writable=True, vkey=None, actor=None, wrappers={"personal": service})
        rotate_master(ledger, "personal", "compromise")
        ledger.close()
        ledger = Ledger(root, World(), writable=True, vkey=None, actor=None)
        assert ledger.text_of(commitment, "purpose") == "a test"
        ledger.close()
    finally:
        service.close()


def opens(path, keys):
    """Say whether somebody who has some keys can read a file of a vault, or a part of it."""
    place = path.name if path.parent.name == "openings" else f"{path.parent.name}/{path.name}"
    for key in keys:
        with contextlib.suppress(BackstoryError):
            if path.suffix == ".people":
                with path.open("rb") as file:
                    drawn = [index_file_key(one, key) for one in keys]
                    return bool(open_index(file, path.name, drawn, range))
            if path.suffix != ".shard":
                return bool(decrypt(key, path.read_bytes()[len(OPENING_MAGIC) :], place))
            with open_shard_file(path) as file:
                named = {section.domain: {section.key: key} for section in read_head(file, path.name)[0]}
            for domain in named:
                with contextlib.suppress(VerificationError):
                    return bool(open_sections(path, named.get, [domain]))
    return False


def with_everything(root):
    """Let an archive hold something of each kind that is sealed, unsealed records too, and return it open."""
    ledger = reopen(root)
    texts = [ledger.commit_text("purpose", f"purpose {number}") for number in range(3)]
    ledger.vault.plans.write("0f", b"whom to erase", bytes(range(32)))
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, SEALED, 100, 2))
    lose(recorder)
    return ledger, texts


def test_old_keys_open_nothing_of_what_is_there(made, tmp_path):
    """After a rekey whoever had every key reads no file of the vault; its owner reads all."""
    root = shutil.copytree(made[0], tmp_path / "archive")
    ledger, texts = with_everything(root)
    stolen = [key for name in ledger.keys.names() if "/" not in name for key in ledger.keys.get(name).values()]
    files = [path for path in (root / "vault").rglob("*") if path.is_file()]
    assert len(files) == 6
    assert all(opens(path, stolen) for path in files)
    rekey_domain(ledger, "personal", "compromise")
    rekey_domain(ledger, "special", "compromise")
    files = [path for path in (root / "vault").rglob("*") if path.is_file()]
    assert len(files) > 6  # what was in the spool is sealed
    assert ledger.spool.stream_names() == []
    assert not any(opens(path, stolen) for path in files)
    assert [ledger.text_of(text, "purpose") for text in texts] == [f"purpose {number}" for number in range(3)]
    assert ledger.vault.plans.read("0f") == b"whom to erase"
    ledger.vault.plans.remove("0f")
    ledger.close()
    assert problems(root) == []


def test_a_rekey_survives_the_failure_of_any_operation(made, tmp_path, monkeypatch):
    """Whatever fails, everything opens; the next rekey ends with keys that were never beside those of before."""
    template = shutil.copytree(made[0], tmp_path / "template")
    ledger, texts = with_everything(template)
    stolen = [key for name in ledger.keys.names() if "/" not in name for key in ledger.keys.get(name).values()]
    ledger.close()
    act = on_ledger(lambda one: rekey_domain(one, "personal", "compromise"))
    for root, _ in each_failure(monkeypatch, tmp_path, template, act, step=67):
        ledger = reopen(root, seed=5)
        assert [ledger.text_of(text, "purpose") for text in texts] == [f"purpose {number}" for number in range(3)]
        assert ledger.vault.plans.read("0f") == b"whom to erase"
        rekey_domain(ledger, "personal", "compromise")
        assert not any(opens(path, stolen) for path in (root / "vault").rglob("*") if path.is_file())
        assert all(len(ledger.keys.get(f"openings-{text[:2]}")) == 1 for text in texts)
        ledger.vault.plans.remove("0f")
        ledger.close()
        assert problems(root) == []


class Waiting(QuickDisk):
    """A disk that is in the middle of writing an opening until it is told to go on."""

    def __init__(self):
        self.begun, self.go_on = threading.Event(), threading.Event()

    def write_with(self, path, fill, **options):
        """Write, after a while."""
        if path.parent.name == "openings":
            self.begun.set()
            assert self.go_on.wait(60)
        super().write_with(path, fill, **options)


def test_an_opening_that_is_being_written_is_not_lost(made, tmp_path):
    """Keys of openings are replaced after the openings that are being written under them are there."""
    root = shutil.copytree(made[0], tmp_path / "archive")
    disk = Waiting()
    ledger, other = reopen(root), Vault(root / "vault", open_keys(read_layout(root), disk), disk)
    commitment = "a4" * 32
    writing = threading.Thread(target=other.write_opening, args=(commitment, {"name": "a"}))
    writing.start()
    assert disk.begun.wait(60)
    replacing = threading.Thread(target=ledger.vault.rekey_openings, args=("a4", bytes(32)))
    replacing.start()
    replacing.join(0.1)
    disk.go_on.set()
    writing.join(60)
    replacing.join(60)
    assert ledger.vault.read_opening(commitment) == {"name": "a"}
    assert ledger.keys.get("openings-a4") == {"2": bytes(32)}
    ledger.close()


_READING = """
import sys
from pathlib import Path
from backstory.ledger.ledger import Ledger
from backstory.storage.world import World

ledger = Ledger(Path(sys.argv[1]), World(), writable=False, vkey=None, actor=None)
print("ready", flush=True)
print({ledger.text_of(sys.argv[2], "purpose") for _ in range(400)})
"""


def test_an_opening_can_be_read_while_its_key_is_replaced(made, tmp_path):
    """Another process reads an opening at any moment: under the keys of before, or under those of after."""
    root = shutil.copytree(made[0], tmp_path / "archive")
    ledger = reopen(root)
    text = ledger.commit_text("purpose", "a test")
    with subprocess.Popen([sys.executable, "-c", _READING, root, text], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        while other.poll() is None:
            ledger.vault.rekey_openings(text[:2], ledger.world.random_bytes(32))
        assert other.stdout.read() == "{'a test'}\n"
    ledger.close()


def test_the_command_line_changes_keys(made, tmp_path, capsys):
    """`rotate-master` and `rekey` say what they did, of each domain or of one, and for which reason."""
    root = shutil.copytree(made[0], tmp_path / "archive")
    assert run(["keys", "rotate-master", str(root), "--json"]) == OK
    assert json.loads(capsys.readouterr().out) == {"changed": {"personal": "3", "special": "1"}, "reason": "rotation"}
    assert run(["keys", "rekey", str(root), "--domain", "special", "--compromised"]) == OK
    assert capsys.readouterr().out.startswith("special: 1 shard under a new key\n")
    assert run(["keys", "rekey", str(root), "--domain", "salaries"]) == NOT_FOUND
    ledger = reopen(root)
    assert sealed_rows(ledger) == made[1]
    ledger.close()


def test_vault_keys_and_master_keys_live_apart(tmp_path, capsys):
    """Three places, three backups: `init` puts each where it is told, and nothing where something is."""
    places = {name: tmp_path / "else" / name for name in ("vault", "keys", "master")}
    options = [text for name, place in places.items() for text in (f"--{name}", str(place))]
    assert run(["init", str(tmp_path / "a"), "--origin", "example.org/a", *options]) == OK
    ledger = reopen(tmp_path / "a")
    ledger.commit_text("purpose", "a test")
    ledger.close()
    assert not any((tmp_path / "a" / name).exists() for name in places)
    assert all(any(place.iterdir()) for place in places.values())
    assert run(["init", str(tmp_path / "b"), "--origin", "example.org/b", *options]) == CONFLICT
    assert not (tmp_path / "b").exists()
    capsys.readouterr()
