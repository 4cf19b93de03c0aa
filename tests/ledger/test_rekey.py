"""Replacing the master key of a domain: no value is lost, whatever fails, and older copies open nothing."""

from __future__ import annotations

import contextlib
import io
import json
import shutil

import pytest
from tests.ledger.test_every_operation import each_failure, on_ledger
from tests.support.ledgers import reopen
from tests.support.vaults import KeyService, manifest_in, new_vault, sealed_rows

import backstory
from backstory.cli.exit_codes import CONFLICT, NOT_FOUND, OK
from backstory.cli.main import run
from backstory.errors import NotFoundError
from backstory.ledger.ledger import Ledger
from backstory.ledger.rekey import domains_in_use, rotate_master
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
    """Whatever fails, all values open, and the next rotation ends with one master key in the file."""
    for root, _ in each_failure(
        monkeypatch, tmp_path, made[0], on_ledger(lambda one: rotate_master(one, "personal", "rotation")), step=9
    ):
        ledger = reopen(root, seed=5)
        assert sealed_rows(ledger) == made[1]
        rotate_master(ledger, "personal", "rotation")
        assert sealed_rows(ledger) == made[1]
        assert (root / "master" / "master-personal.json").read_text().count('"key"') == 1
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
