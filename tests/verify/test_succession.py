"""Keys that changed, logs that were restored, keys that were swapped: what verification makes of them."""

from __future__ import annotations

import shutil

import pytest
from tests.support.ledgers import OPEN, ORIGIN, make_batch, new_ledger, new_recorder, reopen, world

from backstory.ledger.merge import FILES_MIN, merge_all
from backstory.ledger.read import find_record
from backstory.ledger.receipt import make_receipt
from backstory.ledger.restore import restore
from backstory.ledger.rotate import add_ml_dsa, list_keys, rotate_key
from backstory.ledger.seal import seal_all
from backstory.storage.layout import read_layout
from backstory.verify.archive import verify_archive
from backstory.verify.receipt import verify_receipt


def seal(ledger, first):
    """Record five numbered records and seal them; return their ids."""
    recorder = new_recorder(ledger)
    ids = list(recorder.record(make_batch(ledger, OPEN, first, 5)).ids)
    recorder.close()
    seal_all(ledger)
    return ids


@pytest.fixture
def ledger(tmp_path):
    """An archive with a few records, open for writing."""
    ledger = new_ledger(tmp_path / "archive")
    seal(ledger, 0)
    return ledger


def audit(ledger, **options):
    """Verify an archive; return the report and the places where evidence does not verify."""
    report = verify_archive(ledger.layout.root, workers=1, **options)
    return report, {finding.place for finding in report.findings if finding.severity == "failed"}


def test_a_pinned_key_is_followed_to_its_successors(ledger):
    """Whoever pinned the first key of three verifies, and is told that it was rotated."""
    pinned = ledger.layout.config.vkey
    for first in (10, 20):
        rotate_key(ledger)
        seal(ledger, first)
    report, failed = audit(ledger, vkey=pinned)
    assert (failed, report.authenticated) == (set(), True)
    assert any("2 changes of key" in finding.what for finding in report.findings)


def test_listed_keys_may_be_pinned_all_at_once(ledger):
    """What `keys list` prints, with sizes, is what a verifier takes."""
    rotate_key(ledger)
    seal(ledger, 10)
    lines = "\n".join(valid.text for valid in list_keys(ledger))
    report, failed = audit(ledger, vkey=lines)
    assert (failed, report.authenticated) == (set(), True)


def test_a_key_pinned_with_an_end_is_not_followed_to_a_thiefs(ledger, tmp_path):
    """Whoever stole a retired key rotates it to one of their own; who knows when it ended does not take that."""
    ledger.close()
    stolen = shutil.copytree(ledger.layout.root, tmp_path / "stolen")
    ledger = reopen(ledger.layout.root)
    seal(ledger, 10)
    rotate_key(ledger)
    pinned = "\n".join(valid.text for valid in list_keys(ledger))
    forged = reopen(stolen)
    rotate_key(forged)
    seal(forged, 50)
    report, failed = audit(forged, vkey=pinned)
    assert failed == {"backstory.toml"}
    assert "not the pinned one" in str(report)


def test_a_second_key_of_another_kind_may_be_pinned(ledger):
    """With an ML-DSA-44 key added, either of the keys authenticates."""
    second = add_ml_dsa(ledger)
    seal(ledger, 10)
    for vkey in (second.vkey, ledger.layout.config.vkey, None):
        assert audit(ledger, vkey=vkey)[1] == set()


def test_a_rotation_without_its_checkpoint_is_named(ledger):
    """The checkpoint both keys signed belongs to the entry that changes the key."""
    rotate_key(ledger)
    (path,) = (ledger.layout.log / "rotations").iterdir()
    path.unlink()
    assert audit(ledger)[1] == {f"entry {ledger.log.checkpoint().size - 1}"}


def test_a_key_swapped_with_its_log_is_caught_where_one_is_pinned(ledger, tmp_path):
    """An archive made again under another key verifies in itself, and is not the pinned one."""
    pinned = ledger.layout.config.vkey
    forged = new_ledger(tmp_path / "forged", seed=9)
    seal(forged, 0)
    report, failed = audit(forged)
    assert (failed, report.authenticated) == (set(), False)
    assert "not authenticated" in report.verdict
    report, failed = audit(forged, vkey=pinned)
    assert failed == {"backstory.toml"}
    assert "not the pinned one" in str(report)


def test_a_key_swapped_in_the_settings_alone_is_caught_without_a_pinned_one(ledger, tmp_path):
    """The log's own entries name its key."""
    other = new_ledger(tmp_path / "other", seed=9).layout.config
    config = ledger.layout.config_file
    config.write_text(config.read_text("utf-8").replace(ledger.layout.config.vkey, other.vkey), "utf-8")
    assert audit(ledger)[1] == {"log/1/checkpoint"}
    assert "backstory.toml names another" in str(audit(ledger)[0])


@pytest.fixture
def rolled_back(ledger, tmp_path):
    """An archive restored from a copy after more was recorded; what its auditor knew before and after that."""
    root, state = ledger.layout.root, tmp_path / "state.json"
    audit(ledger, state=state)
    copy = shutil.copytree(root, tmp_path / "copy")
    seal(ledger, 10)
    ledger.close()
    note = (ledger.layout.log / "checkpoint").read_bytes()
    lost = tmp_path / "lost.json"
    audit(ledger, state=lost)
    shutil.rmtree(root)
    shutil.copytree(copy, root)
    restore(root, world(3), last=note)
    return reopen(root), state, lost, note


def test_a_restored_archive_verifies_and_says_what_is_lost(rolled_back):
    """The new log goes on with the old one's entries; how many are lost is a note."""
    again, *_ = rolled_back
    seal(again, 20)
    report, failed = audit(again, vkey=read_layout(again.layout.root).config.vkey)
    assert (failed, report.incomplete, report.origin) == (set(), False, f"{ORIGIN}/2")
    (note,) = [finding.what for finding in report.findings if finding.what.startswith("restored")]
    assert "3 entries after it are lost" in note


def test_a_state_of_before_a_restore_goes_on_if_nothing_it_saw_is_lost(rolled_back):
    """An audit that saw no more than what was restored is followed."""
    again, state, _, _ = rolled_back
    report, failed = audit(again, state=state)
    assert (failed, report.counts["records"]) == (set(), 0)


def test_a_state_that_saw_what_is_lost_says_so(rolled_back):
    """What was audited and is gone is a finding, with the entries."""
    again, _, lost, note = rolled_back
    report, failed = audit(again, state=lost, against=[note.decode()])
    assert failed == {"state lost.json", "against the given checkpoint"}
    assert any("are lost" in (finding.meaning or "") for finding in report.findings)


@pytest.mark.parametrize("change", ["merged", "moved", "gone"])
def test_old_receipts_verify_whatever_became_of_the_files(tmp_path, change):
    """A receipt made before segments were merged, moved away or removed proves its record all the same."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    ids = []
    for turn in range(FILES_MIN):
        ids += recorder.record(make_batch(ledger, OPEN, turn, 1)).ids
        seal_all(ledger)
    recorder.close()
    seal_all(ledger)
    receipt = make_receipt(ledger, find_record(ledger, ids[3], "prediction"), ()).data
    if change == "merged":
        merge_all(ledger)
        assert make_receipt(ledger, find_record(ledger, ids[3], "prediction"), ()).id == ids[3]
    elif change == "moved":
        ledger.layout.segments.rename(tmp_path / "elsewhere")
    else:
        shutil.rmtree(ledger.layout.segments)
    assert verify_receipt(receipt, vkey=ledger.layout.config.vkey).id == ids[3]


def test_a_rotation_whose_last_step_is_missing_is_a_note(ledger):
    """The new key waits beside the old one's file: nothing is wrong, and the next opening ends it."""
    old = ledger.keys.get("log-1")
    rotate_key(ledger)
    ledger.keys.put("log-1-next", ledger.keys.get("log-1"))
    ledger.keys.put("log-1", old)
    report, failed = audit(ledger)
    assert failed == set()
    assert any("cut short" in finding.what for finding in report.findings if finding.place == "keys/log-1.json")
