"""What was disposed of stays away: files are merged, logs restored, copies put back, and bundles made all the same."""

from __future__ import annotations

import shutil

import pytest
from tests.support.ledgers import OPEN, SEALED, make_batch, new_recorder
from tests.support.retention import PAYLOAD, SKELETON, Clock, acting, in_force, recorded, timed_ledger, timed_world

from backstory.errors import BusyError, NotFoundError
from backstory.governance.disposal import execute_disposal, propose_disposal
from backstory.governance.hold import place_hold
from backstory.governance.keeping import Keeping
from backstory.governance.proposal import decide
from backstory.governance.retention_scope import Scope, key_of_id
from backstory.ledger.forget import forget_again
from backstory.ledger.merge import FILES_MIN, MergeCount, merge_all
from backstory.ledger.read import find_record, manifests, read_place
from backstory.ledger.receipt import make_receipt
from backstory.ledger.restore import restore
from backstory.ledger.seal import seal_all
from backstory.storage.vault import MARK
from backstory.verify.archive import verify_archive
from backstory.verify.receipt import verify_receipt

PLACES = ("vault", "keys", "master")


def failures(root):
    """Return what a verification finds that is worse than a note."""
    return [one for one in verify_archive(root, workers=1).findings if one.severity != "note"]


def dispose(ledger):
    """Let Ann propose, Bob approve and Ann execute; return the disposal."""
    proposal = propose_disposal(ledger)
    with acting(ledger, "bob"):
        decide(ledger, proposal.index, "approved")
    return execute_disposal(ledger, proposal.index)


@pytest.fixture
def clock():
    """A clock that the test sets."""
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    """An archive with two rules: values go after 6 months, rows after 24."""
    ledger = timed_ledger(tmp_path / "a", clock)
    in_force(ledger, PAYLOAD, SKELETON)
    yield ledger
    ledger.close()


def test_a_trimmed_file_stays_beside_those_that_are_merged(ledger, clock):
    """Of one stream the old files are trimmed and the young ones merged; all that is there can be read and proven."""
    recorder, ids = new_recorder(ledger), []
    for _ in range(2):
        ids += recorder.record(make_batch(ledger, OPEN, len(ids), 3)).ids
        seal_all(ledger)
    place_hold(ledger, "m", Scope(predictions=frozenset([key_of_id(ids[4])])), "legal", clock.now + 10**18)
    clock.on(800)
    for _ in range(FILES_MIN):
        ids += recorder.record(make_batch(ledger, OPEN, len(ids), 3)).ids
        seal_all(ledger)
    recorder.close()
    seal_all(ledger)
    receipt = make_receipt(ledger, find_record(ledger, str(ids[0]), "prediction"), ()).data
    assert dispose(ledger).count == 5
    trimmed = {path.name for path in ledger.layout.segments.iterdir() if ".trim" in path.name}
    assert merge_all(ledger) == MergeCount(replaced=FILES_MIN, written=1)
    assert trimmed < {path.name for path in ledger.layout.segments.iterdir()}
    for name in ids[4:5] + ids[6:]:
        found = find_record(ledger, str(name), "prediction")
        assert read_place(ledger, found.place).id == str(name)
        assert verify_receipt(make_receipt(ledger, found, ()).data, vkey=ledger.layout.config.vkey).id == str(name)
    assert verify_receipt(receipt, vkey=ledger.layout.config.vkey).id == str(ids[0])
    assert failures(ledger.layout.root) == []


def test_what_was_merged_is_trimmed(ledger, clock):
    """A file of many segments loses rows of each, once more rows later, and still leads to each one's root."""
    recorder, ids = new_recorder(ledger), []
    for _ in range(FILES_MIN):
        ids += recorder.record(make_batch(ledger, OPEN, len(ids), 3)).ids
        seal_all(ledger)
    recorder.close()
    seal_all(ledger)
    assert merge_all(ledger).written == 1
    kept = frozenset(map(key_of_id, ids[1:5]))
    place_hold(ledger, "m", Scope(predictions=kept), "legal", clock.now + 10**18)
    clock.on(800)
    assert dispose(ledger).count == len(ids) - 4
    assert merge_all(ledger).written == 0
    assert {one.hex() for one in kept} == {
        one.as_py().hex()
        for _, manifest in manifests(ledger, "prediction")
        for one in ledger.segment(manifest, checked=True).read_groups([0])["id"].drop_null()
    }
    assert failures(ledger.layout.root) == []


def test_a_log_whose_end_is_lost_takes_the_trimmed_file_again(ledger, clock, tmp_path):
    """Rows that an older log has and the file has not stay gone: a restore names the file that is there."""
    ids = recorded(ledger, 5, OPEN)
    place_hold(ledger, "m", Scope(predictions=frozenset(ids[:1])), "legal", clock.now + 10**18)
    root, lock = ledger.layout.root, ledger.layout.lock
    clock.on(800)
    copies = [shutil.copytree(ledger.layout.log, tmp_path / "log"), shutil.copy(lock, tmp_path / "lock")]
    last = (ledger.layout.log / "checkpoint").read_bytes()
    log = ledger.layout.log
    dispose(ledger)
    ledger.close()
    shutil.rmtree(log)
    shutil.copytree(copies[0], log)
    shutil.copy(copies[1], lock)
    done = restore(root, timed_world(clock, 3), last=last, rolled_back=True)
    assert done.adopted.aside == ()
    again = timed_ledger(root, clock, seed=4)
    assert find_record(again, ids[0].hex(), "prediction").place is not None
    with pytest.raises(NotFoundError):
        find_record(again, ids[1].hex(), "prediction")
    assert list(Keeping(again, clock.now).overdue()) == []
    again.close()
    assert failures(root) == []


@pytest.mark.parametrize("places", [("vault",), ("keys",), ("vault", "keys"), ("a", "vault", "keys")])
def test_no_copy_brings_values_back(tmp_path, clock, places):
    """Whatever is put back from before a disposal, values that went do not open, and rows go at their time."""
    now, before = tmp_path / "now", tmp_path / "before"
    ledger = timed_ledger(now / "a", clock, **{name: now / name for name in PLACES})
    in_force(ledger, PAYLOAD, SKELETON)
    recorded(ledger, 3)
    clock.on(200)
    ledger.close()
    shutil.copytree(now, before)
    ledger = timed_ledger(now / "a", clock, seed=2)
    assert dispose(ledger).count == 3 * len(SEALED.groups)
    ledger.close()
    for name in places:
        shutil.rmtree(now / name)
        shutil.copytree(before / name, now / name)
    ledger = timed_ledger(now / "a", clock, seed=3)
    forget_again(ledger)
    ((_, manifest),) = manifests(ledger, "prediction")
    with pytest.raises(NotFoundError):
        ledger.vault.read_table(manifest.shard.name)
    assert ledger.keys.sweep() == {}
    clock.on(800)
    if places == ("vault",):  # keys are here whose shard is not: it may be put back, so nobody can say what is left
        with pytest.raises(NotFoundError):
            propose_disposal(ledger)
    else:
        assert dispose(ledger).count == 3
        assert list(Keeping(ledger, clock.now).overdue()) == []
    ledger.close()
    assert not verify_archive(now / "a", workers=1).failed


def test_no_shard_is_judged_while_another_process_rewrites_the_vault(tmp_path, clock):
    """A shard that is being rewritten is older than its keys for a moment, and stays."""
    ledger = timed_ledger(tmp_path / "a", clock)
    in_force(ledger, PAYLOAD, SKELETON)
    recorded(ledger, 3)
    clock.on(200)
    dispose(ledger)
    (ledger.layout.vault / MARK).unlink()
    with ledger.vault.hold(), pytest.raises(BusyError):
        forget_again(ledger)
    assert not (ledger.layout.vault / MARK).exists()
    forget_again(ledger)
    assert (ledger.layout.vault / MARK).exists()
    ledger.close()
