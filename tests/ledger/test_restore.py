"""Restoring: a new log that carries what is proven of the old one and says what is lost."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from tests.support.ledgers import OPEN, SEALED, make_batch, new_ledger, new_recorder, reopen, world

from backstory.errors import BusyError, ConflictError, FormatError, VerificationError
from backstory.ledger.create import create_archive
from backstory.ledger.ledger import Ledger
from backstory.ledger.merge import FILES_MIN, merge_all
from backstory.ledger.read import find_record
from backstory.ledger.receipt import make_receipt
from backstory.ledger.restore import Gap, _roots, restore
from backstory.ledger.rotate import add_ml_dsa, list_keys, rotate_key
from backstory.ledger.seal import seal_all
from backstory.ledger.sequencer import hold_log
from backstory.storage.keys import hold_keys
from backstory.tlog.checkpoint import open_checkpoint
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.key import VerifierKey
from backstory.verify.archive import verify_archive
from backstory.verify.receipt import verify_receipt


def record(ledger, count=3, schema=OPEN):
    """Record and seal some predictions as a writer that then ends, and return their ids."""
    recorder = new_recorder(ledger)
    ids = list(recorder.record(make_batch(ledger, schema, 0, count)).ids)
    recorder.close()
    seal_all(ledger)
    return ids


def note_of(ledger):
    """Return the published checkpoint."""
    return (ledger.layout.log / "checkpoint").read_bytes()


def insist_sound(root):
    """Insist that an audit finds nothing that fails."""
    report = verify_archive(root, workers=1)
    assert not report.failed, report.findings


def put_back(copy, root, *names):
    """Put an archive, or some of it, back from a copy."""
    for name in names or [path.name for path in copy.iterdir()]:
        target = root / name
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        shutil.copytree(copy / name, target) if (copy / name).is_dir() else shutil.copy(copy / name, target)


@pytest.fixture
def old(tmp_path):
    """An archive with three records of two streams, one of them about people."""
    ledger = new_ledger(tmp_path / "archive")
    ids = record(ledger, 2) + record(ledger, 1, SEALED)
    return ledger, ids


@pytest.fixture
def copy(tmp_path, old):
    """A copy of it from then."""
    return shutil.copytree(old[0].layout.root, tmp_path / "copy")


def test_a_restored_log_says_what_it_goes_on_with_and_what_is_lost(old, copy):
    """The entry names the old log, its tree and the newest one known, and how many entries are lost."""
    ledger, _ = old
    root, config = ledger.layout.root, ledger.layout.config
    kept = ledger.log.checkpoint()
    record(ledger)
    last, newest = note_of(ledger), ledger.log.checkpoint()
    put_back(copy, root)
    done = restore(root, world(3), last=last).restored
    entry = reopen(root).log.entry(kept.size)
    assert entry["previous"] == {
        "origin": config.origin, "root": kept.root.hex(), "size": str(kept.size), "vkey": config.vkey
    }  # fmt: skip
    assert entry["last_known"] == {"root": newest.root.hex(), "size": str(newest.size)}
    assert entry["lost"] == str(newest.size - kept.size)
    assert (entry["origin"], entry["vkey"]) == (done.origin, done.vkey)
    assert done.origin == f"{config.origin}/2"


def test_a_checkpoint_from_the_lost_part_says_which_entries_are_lost(old, copy, tmp_path):
    """Against a log that was restored it is a finding that names them, and does not speak of a rewritten past."""
    ledger, _ = old
    kept = ledger.log.checkpoint().size
    record(ledger)
    last, newest = note_of(ledger), ledger.log.checkpoint().size
    (tmp_path / "kept.note").write_bytes(last)
    put_back(copy, ledger.layout.root)
    restore(ledger.layout.root, world(3), last=last)
    found = verify_archive(ledger.layout.root, workers=1, against=[tmp_path / "kept.note"]).findings
    (meaning,) = [finding.meaning for finding in found if finding.severity == "failed"]
    assert meaning.startswith(f"entries {kept} to {newest - 1} of the log before")


def test_old_records_keep_their_place_and_their_old_receipts(old, copy):
    """Old receipts verify under the old key, new ones of the same records under the new, at the same index."""
    ledger, ids = old
    before = make_receipt(ledger, find_record(ledger, ids[0], "prediction"), ()).data
    old_key = ledger.layout.config.vkey
    restored = restore(copy, world(3), rolled_back=True).restored
    again = reopen(copy)
    after = make_receipt(again, find_record(again, ids[0], "prediction"), ()).data
    first, second = verify_receipt(before, vkey=old_key), verify_receipt(after, vkey=restored.vkey)
    assert (first.id, first.leaf_index) == (second.id, second.leaf_index)
    with pytest.raises(VerificationError):
        verify_receipt(after, vkey=old_key)


@pytest.mark.parametrize("older", ["log", "lock.sqlite"])
def test_log_and_lock_store_of_different_moments_are_restored(old, copy, older):
    """Whichever was put back, the new log has all entries that are there and goes on; what is lost is counted."""
    ledger, _ = old
    record(ledger)
    ledger.close()
    newest = ledger.log.checkpoint().size
    put_back(copy, ledger.layout.root, older)
    kept = reopen(copy).log.checkpoint().size if older == "log" else newest
    restored = restore(ledger.layout.root, world(3)).restored
    assert restored.previous.size == kept
    assert restored.lost == (newest - kept if older == "log" else None)
    again = reopen(ledger.layout.root)
    assert again.log.checkpoint().size > kept
    record(again)


def test_segments_that_only_lost_entries_named_are_named_again(old, copy):
    """With the log put back and the segments not, their records are in the log again and can be proven."""
    ledger, _ = old
    ids = record(ledger) + record(ledger, 2, SEALED)
    ledger.close()
    put_back(copy, ledger.layout.root, "log")
    done = restore(ledger.layout.root, world(3))
    assert (done.adopted.records, done.adopted.aside, done.gaps) == (5, (), ())
    again = reopen(ledger.layout.root)
    for identity in ids:
        receipt = make_receipt(again, find_record(again, identity, "prediction"), ())
        assert verify_receipt(receipt.data, vkey=done.restored.vkey).id == identity
    insist_sound(ledger.layout.root)


def test_a_changed_segment_is_not_named_again(old, copy):
    """One whose rows do not lead to its subtree roots is set aside, and the records it held are a gap."""
    ledger, _ = old
    root = ledger.layout.root
    before = set(ledger.layout.segments.iterdir())
    record(ledger)
    ledger.close()
    (segment,) = set(ledger.layout.segments.iterdir()) - before
    segment.write_bytes(next(iter(before)).read_bytes())
    put_back(copy, root, "log")
    done = restore(root, world(3))
    assert (done.adopted.records, done.adopted.aside) == (0, (segment.name,))
    assert (root / "lost" / "1" / segment.name).is_file()
    assert done.gaps == (Gap(stream=segment.name.split("-")[0], first_seq=0, end_seq=3),)
    insist_sound(ledger.layout.root)


def test_a_merged_file_whose_entry_is_lost_is_named_again(tmp_path):
    """With the log put back to before a merge, the merged file holds the records again."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    for n in range(FILES_MIN):
        ids = recorder.record(make_batch(ledger, OPEN, n, 2)).ids
        seal_all(ledger)
    recorder.close()
    seal_all(ledger)
    ledger.close()
    copy = shutil.copytree(ledger.layout.root, tmp_path / "copy")
    again = reopen(ledger.layout.root)
    assert merge_all(again).written == 1
    again.close()
    put_back(copy, ledger.layout.root, "log")
    done = restore(ledger.layout.root, world(3))
    assert done.adopted.aside == ()
    opened = reopen(ledger.layout.root)
    assert find_record(opened, ids[0], "prediction").place is not None
    assert len(list(opened.layout.segments.iterdir())) == 1
    insist_sound(ledger.layout.root)


def test_records_in_the_spool_are_sealed(old, copy):
    """What the spool still has, though it was sealed in the lost part of the log, is sealed again."""
    ledger, _ = old
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 2))
    seal_all(ledger)
    recorder.record(make_batch(ledger, OPEN, 2, 1))
    recorder.close()
    put_back(copy, ledger.layout.root, "log", "segments")
    done = restore(ledger.layout.root, world(3))
    assert (done.sealed, done.gaps) == (3, ())
    insist_sound(ledger.layout.root)


def test_records_that_nothing_holds_any_more_are_told(old, copy):
    """What the old lock store says was sealed, and is in no segment and no spool, is a gap."""
    ledger, _ = old
    record(ledger)
    heads = ledger.lock.heads()
    put_back(copy, ledger.layout.root, "log", "segments")
    done = restore(ledger.layout.root, world(3))
    (stream,) = set(heads) - set(reopen(copy).lock.heads())
    assert done.gaps == (Gap(stream=stream, first_seq=0, end_seq=3),)
    insist_sound(ledger.layout.root)


def test_damaged_entries_end_what_is_carried(old):
    """With a bundle damaged, the largest tree that a signed checkpoint vouches for is carried."""
    ledger, _ = old
    size = rotate_key(ledger).first
    record(ledger)
    ledger.close()
    newest = ledger.log.checkpoint().size
    (ledger.layout.log / "tile" / "entries" / "000.p" / str(newest)).write_bytes(b"\0")
    restored = restore(ledger.layout.root, world(3)).restored
    assert (restored.previous.size, restored.lost) == (size, newest - size)
    insist_sound(ledger.layout.root)


def test_a_checkpoint_of_another_branch_stops_a_restore(old, copy):
    """Where a signed checkpoint contradicts the log here, nothing is restored: it is evidence of two logs."""
    ledger, _ = old
    ledger.append([{"type": "test", "name": "a"}])
    other = reopen(copy)
    other.append([{"type": "test", "name": "b"}])
    other.append([{"type": "test", "name": "c"}])
    with pytest.raises(VerificationError, match="another branch"):
        restore(copy, world(3), last=note_of(ledger))
    assert reopen(copy).layout.config.incarnation == "1"


def test_a_checkpoint_of_another_log_is_refused(old, copy, tmp_path):
    """What is given as the last one known has to be signed by this log's key."""
    other = new_ledger(tmp_path / "other", seed=8)
    with pytest.raises(VerificationError):
        restore(copy, world(3), last=note_of(other))


def test_an_archive_in_order_is_not_restored(old):
    """Where nothing is wrong a restore is refused, unless somebody says that all of it was put back."""
    with pytest.raises(ConflictError, match="--rolled-back"):
        restore(old[0].layout.root, world(3))


def test_with_all_of_it_put_back_the_loss_is_not_known(old, copy):
    """Without a later checkpoint the entry does not claim that nothing is lost."""
    restored = restore(copy, world(3), rolled_back=True).restored
    assert (restored.last_known, restored.lost) == (None, None)


def test_a_signing_key_that_is_lost_is_a_reason_to_restore_once_somebody_says_so(old):
    """An archive nobody can sign for any more goes on under a new key; that a key is not here does not show that."""
    ledger, _ = old
    ledger.close()
    ledger.keys.destroy("log-1")
    with pytest.raises(ConflictError, match="only the signing key is not in the key store"):
        restore(ledger.layout.root, world(3))
    restore(ledger.layout.root, world(3), rolled_back=True)
    record(reopen(ledger.layout.root))


def test_the_old_log_stays_as_evidence_and_its_key_does_not(old):
    """The old directory is as it was and read-only; nobody can sign for the old log any more."""
    ledger, _ = old
    add_ml_dsa(ledger)
    before = note_of(ledger)
    ledger.close()
    restore(ledger.layout.root, world(3), rolled_back=True)
    log = ledger.layout.root / "log" / "1"
    assert (log / "checkpoint").read_bytes() == before
    assert not any(path.stat().st_mode & 0o222 for path in [log, *log.rglob("*")])
    assert [path.name for path in ledger.layout.keys.glob("log-*")] == ["log-2.json"]


def test_whoever_pinned_the_old_key_is_told(old):
    """The old key does not open a restored archive, and the message says that it was restored."""
    ledger, _ = old
    pinned = ledger.layout.config.vkey
    restore(ledger.layout.root, world(3), rolled_back=True)
    with pytest.raises(VerificationError, match=r"restored: its origin is example.org/test/2"):
        Ledger(ledger.layout.root, world(4), writable=False, vkey=pinned, actor=None)


def test_a_process_that_was_open_writes_no_more(old):
    """Whoever had the archive open when it was restored cannot go on writing to the old log."""
    ledger, _ = old
    restore(ledger.layout.root, world(3), rolled_back=True)
    with pytest.raises(ConflictError, match="restored meanwhile"):
        ledger.append([{"type": "test", "name": "late"}])


def test_a_restored_archive_is_restored_and_rotated_again(old):
    """The third log goes on with the second, and all keys are listed with what they speak for."""
    ledger, _ = old
    root, sizes = ledger.layout.root, [ledger.log.checkpoint().size]
    restore(root, world(3), rolled_back=True)
    second = reopen(root)
    sizes.append(rotate_key(second).first)
    second.close()
    restored = restore(root, world(4), rolled_back=True).restored
    third = reopen(root)
    assert restored.origin == "example.org/test/3"
    keys = list_keys(third)
    assert [key.last for key in keys[:3]] == [sizes[0], sizes[1], sizes[1]]
    assert [key.first for key in keys] == [0, sizes[0] + 1, sizes[1], sizes[1] + 1]


def test_the_first_checkpoint_of_the_new_log_is_of_the_new_origin(old):
    """A checkpoint of the restored log is none of the old one, by name and by key."""
    ledger, _ = old
    restored = restore(ledger.layout.root, world(3), rolled_back=True).restored
    note = note_of(reopen(ledger.layout.root))
    assert open_checkpoint(note, restored.origin, [VerifierKey.parse(restored.vkey)]).origin == restored.origin
    with pytest.raises(VerificationError):
        open_checkpoint(note, ledger.layout.config.origin, [VerifierKey.parse(ledger.layout.config.vkey)])


def test_a_restored_archive_verifies(old):
    """The audit that knows nothing of the writer accepts it under the new key."""
    ledger, _ = old
    restored = restore(ledger.layout.root, world(3), rolled_back=True).restored
    report = verify_archive(ledger.layout.root, workers=1, vkey=restored.vkey)
    assert (report.failed, report.incomplete) == (False, False), report.findings


def test_what_a_process_that_was_open_had_not_sealed_stays_as_the_restore_sealed_it(old):
    """Whoever had the archive open finds no leftover of its own in the segments that the restored log names."""
    ledger, _ = old
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 2))
    assert restore(ledger.layout.root, world(3), rolled_back=True).sealed == 2
    recorder.record(make_batch(ledger, OPEN, 2, 1))
    with pytest.raises(ConflictError, match="restored meanwhile"):
        seal_all(ledger)
    recorder.close()
    again = reopen(ledger.layout.root)
    assert seal_all(again) == 1
    again.close()
    insist_sound(ledger.layout.root)


def test_a_process_that_was_open_is_told_though_the_old_log_is_gone(old, tmp_path):
    """Whoever had the archive open is told what happened, not that some file cannot be opened."""
    ledger, _ = old
    restore(ledger.layout.root, world(3), rolled_back=True)
    ledger.layout.log.chmod(0o755)
    ledger.layout.log.rename(tmp_path / "evidence")
    with pytest.raises(ConflictError, match="restored meanwhile"):
        ledger.append([{"type": "test", "name": "late"}])


def test_the_lock_store_of_another_archive_stays(tmp_path):
    """Where another archive's lock store has the name that the new one would have, the new one gets another name."""
    roots = {name: tmp_path / name for name in ("loans", "loans-2")}
    for seed, (name, root) in enumerate(roots.items()):
        create_archive(root, f"example.org/{name}", world(seed), lock=tmp_path / "locks" / f"{name}.sqlite")
    restore(roots["loans"], world(3), rolled_back=True)
    assert {path.name for path in (tmp_path / "locks").iterdir()} == {
        "loans.sqlite", "loans-2.sqlite", "loans-2b.sqlite"
    }  # fmt: skip
    for root in roots.values():
        ledger = reopen(root)
        record(ledger)
        ledger.close()
        insist_sound(root)
    assert restore(roots["loans"], world(4), rolled_back=True).restored.previous_origin == "example.org/loans/2"
    assert Path(reopen(roots["loans"]).layout.lock).name == "loans-3.sqlite"


def test_an_archive_put_back_without_its_permissions_is_restored_again(old, tmp_path):
    """That the former log can be written again does not make a restore that ended one that was cut short."""
    ledger, _ = old
    root = ledger.layout.root
    restore(root, world(3), rolled_back=True)
    for path in [root / "log" / "1", *(root / "log" / "1").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    copy = shutil.copytree(root, tmp_path / "copy of the second")
    second = reopen(root)
    record(second)
    second.close()
    put_back(copy, root, "log")
    assert restore(root, world(4)).restored.origin == "example.org/test/3"
    insist_sound(root)


def test_two_restores_at_once_are_refused(old):
    """One begins the new log, the other is told to wait; a rotation of the key counts as one."""
    ledger, _ = old
    with hold_keys(ledger.layout.keys), pytest.raises(BusyError):
        restore(ledger.layout.root, world(3), rolled_back=True)


def test_what_is_committed_until_the_log_is_held_is_carried(old, tmp_path):
    """A commit between looking for checkpoints and holding the log is in the new log."""
    ledger, _ = old
    root = ledger.layout.root
    newer = shutil.copytree(root, tmp_path / "newer")
    later = reopen(newer)
    later.append([{"type": "test", "name": "just now"}])
    later.close()
    done = []
    thread = threading.Thread(target=lambda: done.append(restore(root, world(3), rolled_back=True)))
    writer = ledger.layout.log / "writer"
    with hold_log(ledger.layout.log):
        thread.start()
        waits = f":{writer.stat().st_ino} "
        pause = threading.Event()
        while not any("->" in line and waits in line for line in Path("/proc/locks").read_text().splitlines()):
            pause.wait(0.001)
        shutil.copytree(newer / "log", root / "log", dirs_exist_ok=True, ignore=shutil.ignore_patterns("writer"))
        shutil.copy(newer / "lock.sqlite", root)
    thread.join()
    assert done[0].restored.previous.size == later.log.checkpoint().size


def test_roots_of_many_sizes_are_those_of_each(old):
    """Roots computed in one reading of the entries are those that RFC 6962 gives each size."""
    ledger, _ = old
    ledger.append([{"type": "test", "name": f"{n}"} for n in range(300)])
    leaves = [hash_leaf(ledger.log.entry_bytes(n)) for n in range(ledger.log.checkpoint().size)]
    sizes = set(range(len(leaves) + 1))
    assert _roots(ledger.layout.log, sizes) == {size: root_hash(leaves[:size]) for size in sizes}


def test_an_incarnation_that_is_no_number_is_told(old):
    """Settings that no restore wrote are malformed to one."""
    ledger, _ = old
    config = ledger.layout.config_file
    config.write_text(config.read_text().replace('incarnation = "1"', 'incarnation = "first"'))
    ledger.layout.log.rename(ledger.layout.log.with_name("first"))
    with pytest.raises(FormatError, match="number"):
        restore(ledger.layout.root, world(3), rolled_back=True)
