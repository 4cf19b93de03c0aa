"""What the outside sees of a restored or rotated log: witnesses, workers, verifiers of receipts, the command line."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pytest
from tests.support.ledgers import OPEN, make_batch, new_ledger, new_recorder, reopen, world

import backstory
from backstory.cli.exit_codes import CONFLICT, FAILED, OK, UNVERIFIED
from backstory.cli.main import run
from backstory.errors import StorageError, VerificationError
from backstory.ledger.restore import restore
from backstory.ledger.rotate import list_keys, rotate_key
from backstory.ledger.seal import seal_all
from backstory.storage.log_file import read_log_file
from backstory.tlog.checkpoint import open_checkpoint
from backstory.tlog.key import ValidKey
from backstory.tlog.proof import tile_consistency_proof
from backstory.tlog.witness import AddCheckpoint, Submission, admit, judge

ORIGIN = "example.org/loans"


def submit(ledger, old_size, logs):
    """Return what a witness makes of the published checkpoint of a log of which it cosigned a smaller tree."""
    note = (ledger.layout.log / "checkpoint").read_bytes()
    size = ledger.log.checkpoint().size
    read_tile = partial(read_log_file, ledger.layout.log)
    proof = tile_consistency_proof(read_tile, old_size, size) if 0 < old_size < size else []
    return admit(AddCheckpoint(old_size=old_size, proof=tuple(proof), note=note).encode(), logs)


def test_a_witness_refuses_the_old_log_put_back_and_takes_the_new_one(tmp_path):
    """The rolled-back log is refused under its old origin, whoever shows it; the restored one is a new log, from 0."""
    ledger = new_ledger(tmp_path / "archive")
    ledger.append([{"type": "test", "name": "a"}])
    shutil.copytree(ledger.layout.root, tmp_path / "copy")
    old_keys = {ledger.layout.config.origin: [ValidKey.parse(ledger.layout.config.vkey)]}
    ledger.append([{"type": "test", "name": "b"}])
    latest = submit(ledger, 0, old_keys).checkpoint
    rolled_back = reopen(tmp_path / "copy")
    rolled_back.append([{"type": "test", "name": "another b"}])
    assert judge(submit(rolled_back, 0, old_keys), latest).status == 409
    rolled_back.append([{"type": "test", "name": "c"}])
    forked = submit(rolled_back, latest.size, old_keys)
    assert judge(forked, latest).status == 422
    restored = restore(tmp_path / "copy", world(3), rolled_back=True).restored
    new = submit(reopen(tmp_path / "copy"), 0, {restored.origin: [ValidKey.parse(restored.vkey)]})
    assert isinstance(new, Submission)
    assert judge(new, None) is None


def test_a_witness_that_has_the_list_of_keys_follows_a_rotation(tmp_path):
    """With the keys as `list_keys` gives them, checkpoints from before, at and after a rotation are taken."""
    ledger = new_ledger(tmp_path / "archive")
    notes = [(ledger.layout.log / "checkpoint").read_bytes()]
    rotate_key(ledger)
    notes.append((ledger.layout.log / "checkpoint").read_bytes())
    ledger.append([{"type": "test", "name": "a"}])
    notes.append((ledger.layout.log / "checkpoint").read_bytes())
    keys = [ValidKey.parse(valid.text) for valid in list_keys(ledger)]
    assert [open_checkpoint(note, ledger.layout.config.origin, keys).size for note in notes] == [1, 2, 3]


def test_a_workers_spool_made_before_a_rotation_is_sealed_after_it(tmp_path):
    """Workers go on with the spool they have, whichever of the log's keys it names."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        model = archive.register(lambda rows: [1.0] * len(rows), name="constant")
        archive.spool(tmp_path / "spool", [model])
        rotate_key(archive._ledger)
        assert archive.collect(tmp_path / "spool") == 0


def test_a_backup_from_before_a_rotation_is_restored_with_the_list_of_keys(tmp_path):
    """The copy knows the first key only: with the list, checkpoints of the later key count as what is known."""
    ledger = new_ledger(tmp_path / "archive")
    shutil.copytree(ledger.layout.root, tmp_path / "copy")
    rotate_key(ledger)
    ledger.append([{"type": "test", "name": "a"}])
    keys = "\n".join(valid.text for valid in list_keys(ledger))
    last = (ledger.layout.log / "checkpoint").read_bytes()
    with pytest.raises(VerificationError):
        restore(tmp_path / "copy", world(3), last=last)
    restored = restore(tmp_path / "copy", world(3), last=last, vkey=keys).restored
    assert (restored.previous.size, restored.lost) == (1, 2)


@pytest.fixture
def audit(tmp_path, monkeypatch, capsys):
    """An archive in `audit`, made by the command line, with its lock store outside."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "audit", "--origin", ORIGIN, "--lock", "locks/store.sqlite", "--ml-dsa", "--json"]) == OK
    return json.loads(capsys.readouterr().out)


def test_keys_on_the_command_line(audit, capsys):
    """`init` prints both keys, `keys rotate` the new one, and `keys list` all of them, as `--vkey` takes them."""
    assert run(["keys", "rotate", "audit", "--json"]) == OK
    rotated = json.loads(capsys.readouterr().out)
    assert (rotated["retired"], rotated["from"]) == (audit["vkey"], 3)
    assert run(["keys", "list", "-a", "audit", "--json"]) == OK
    listed = json.loads(capsys.readouterr().out)["keys"]
    assert listed == [f"{audit['vkey']} until 3", f"{audit['ml_dsa']} from 2", f"{rotated['vkey']} from 3"]
    assert run(["keys", "add-ml-dsa", "audit"]) == CONFLICT
    assert run(["verify", "-a", "audit", "--vkey", audit["vkey"]]) == OK
    assert run(["verify", "-a", "audit", "--vkey", "\n".join(listed)]) == OK


def test_restore_on_the_command_line(audit, tmp_path, capsys):
    """`restore` is refused where nothing is wrong, restores what was put back, and says what is lost."""
    assert run(["restore", "audit"]) == CONFLICT
    shutil.copytree("audit", "copy")
    ledger = reopen(tmp_path / "audit")
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 2))
    recorder.close()
    ledger.append([{"type": "test", "name": "a"}])
    shutil.copy("audit/log/1/checkpoint", "last.note")
    shutil.rmtree("audit")
    shutil.copytree("copy", "audit")
    assert run(["seal", "-a", "audit"]) == FAILED
    assert "backstory restore" in capsys.readouterr().err
    assert run(["restore", "audit", "--last", "last.note", "--vkey", audit["vkey"], "--json"]) == OK
    done = json.loads(capsys.readouterr().out)
    assert (done["restored"]["origin"], done["restored"]["lost"], done["gaps"]) == (f"{ORIGIN}/2", "1", [])
    assert run(["verify", "-a", "audit", "--vkey", done["restored"]["vkey"]]) == OK
    assert (tmp_path / "locks" / "store-2.sqlite").is_file()


@pytest.fixture
def away(audit, tmp_path):
    """A copy of the archive, two records sealed and three waiting, on a machine without its lock store."""
    ledger = reopen(tmp_path / "audit")
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 2))
    recorder.sync()
    seal_all(ledger)
    recorder.record(make_batch(ledger, OPEN, 2, 3))
    recorder.sync()
    shutil.copytree("audit", "copy")
    recorder.close()
    shutil.rmtree("locks")
    return audit


def test_a_copy_without_the_lock_store_is_audited_as_far_as_it_goes(away, capsys):
    """Nothing fails: that it may be an older state is said to be unknown, and who can tell, and the way out."""
    assert run(["verify", "-a", "copy", "--vkey", away["vkey"], "--json"]) == UNVERIFIED
    found = [one for one in json.loads(capsys.readouterr().out)["findings"] if one["severity"] != "note"]
    assert [(one["severity"], one["place"].rpartition("/")[2]) for one in found] == [("unknown", "store.sqlite")]
    assert "backstory restore" in found[0]["what"]
    assert [
        word for word in ("older state", "--against", "--policy", "monitor") if word not in found[0]["meaning"]
    ] == []


def test_a_lock_store_that_was_in_the_archive_and_is_gone_fails(away, tmp_path):
    """Whoever took it away cannot pass for somebody with a copy: not with a link to nowhere either."""
    with backstory.init(tmp_path / "inside", origin=ORIGIN):
        pass
    lock = tmp_path / "inside" / "lock.sqlite"
    lock.unlink()
    assert run(["verify", "-a", "inside"]) == FAILED
    lock.symlink_to(tmp_path / "locks" / "store.sqlite")
    assert run(["verify", "-a", "inside"]) == FAILED


def test_a_copy_without_the_lock_store_is_not_written_to(away, tmp_path):
    """What is said holds for the operator who lost it, and for whoever has a copy."""
    with pytest.raises(StorageError, match=r"put it back.*backstory restore.*copy.*read"):
        reopen(tmp_path / "copy")


def test_a_restore_is_the_way_out_where_the_lock_stores_disk_is_lost(away, capsys):
    """As the message says: the new log has a lock store where the old one was, and the archive is whole again."""
    assert run(["restore", "audit", "--vkey", away["vkey"], "--json"]) == OK
    vkey = json.loads(capsys.readouterr().out)["restored"]["vkey"]
    assert run(["verify", "-a", "audit", "--vkey", vkey]) == OK
