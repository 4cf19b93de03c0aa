"""The recorder: what is acknowledged is durable, whatever threads, forks and failing disks do."""

from __future__ import annotations

import os
import threading

import pytest
from tests.support.ledgers import OPEN, SEALED, make_batch, new_ledger, new_recorder

from backstory.capture.recorder import Recorder
from backstory.errors import ConflictError, StorageError
from backstory.ledger.seal import seal_all
from backstory.storage import spool as spool_module
from backstory.verify.archive import verify_archive


@pytest.fixture
def ledger(tmp_path):
    """A new archive."""
    return new_ledger(tmp_path / "archive")


def test_ids_and_numbers_rise_whatever_the_clock_does(ledger):
    """With a clock that stands, runs back and jumps, ids rise and sequence numbers have no gaps."""
    times = iter([5, 5, 3, 10**6, 0, 7])
    object.__setattr__(ledger.world, "now_ns", lambda: next(times) * 10**6)
    recorder = new_recorder(ledger)
    batch = make_batch(ledger, OPEN, 0, 3)
    done = [recorder.record(batch) for _ in range(5)]
    ids = [identity for one in done for identity in one.ids]
    assert ids == sorted(set(ids))
    assert [one.first_seq for one in done] == [0, 3, 6, 9, 12]
    recorder.close()


def test_threads_share_a_stream(ledger):
    """Records of many threads have distinct ids and sequence numbers without gaps."""
    recorder = new_recorder(ledger, "group")
    batch = make_batch(ledger, OPEN, 0, 2)
    done = []
    threads = [
        threading.Thread(target=lambda: done.extend(recorder.record(batch) for _ in range(20))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.first_seq for one in done) == list(range(0, 160, 2))
    assert len({identity for one in done for identity in one.ids}) == 160
    recorder.close()
    assert seal_all(ledger) == 160


def test_a_forked_child_has_streams_of_its_own(ledger):
    """Parent and child record on after a fork, each into its own stream, and nothing of either is lost."""
    recorder = new_recorder(ledger, "group")
    batch = make_batch(ledger, SEALED, 0, 2)
    before = recorder.record(batch)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, recorder.record(batch).stream.encode())
            recorder.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    stream = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    after = recorder.record(batch)
    assert before.stream == after.stream != stream
    assert len(stream) == 32
    recorder.close()
    assert seal_all(ledger) == 6
    assert not verify_archive(ledger.layout.root, workers=1).failed


@pytest.mark.parametrize("durability", ["sync", "group"])
def test_nothing_is_called_durable_after_a_failed_fsync(ledger, monkeypatch, durability):
    """Once fsync failed, recording, waiting and closing say so: a later fsync that succeeds proves nothing."""
    recorder: Recorder = new_recorder(ledger, durability)
    batch = make_batch(ledger, OPEN, 0, 1)
    recorder.record(batch)
    recorder.sync()

    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(spool_module.os, "fdatasync", fail)
        with pytest.raises(StorageError):
            [recorder.record(batch), recorder.sync()]
    for act in (recorder.sync, lambda: recorder.record(batch), recorder.close):
        with pytest.raises(StorageError):
            act()


def test_a_failed_fsync_at_a_rotation_is_not_forgotten(ledger, monkeypatch):
    """Records appended before a frames file was full are not called durable when its last fsync failed."""
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 10)
    recorder = new_recorder(ledger, "sync")
    batch = make_batch(ledger, OPEN, 0, 1)
    recorder.record(batch)

    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(spool_module.os, "fdatasync", fail)
        with pytest.raises(StorageError):
            recorder.record(batch)
    for act in (recorder.sync, lambda: recorder.record(batch), recorder.close):
        with pytest.raises(StorageError):
            act()


def test_nothing_is_recorded_for_no_rows(ledger):
    """A call without rows leaves no record."""
    recorder = new_recorder(ledger)
    assert len(recorder.record(make_batch(ledger, OPEN, 0, 0)).ids) == 0
    assert recorder.record(make_batch(ledger, OPEN, 0, 1)).first_seq == 0
    recorder.close()
    assert seal_all(ledger) == 1


def test_a_closed_recorder_takes_no_records(ledger):
    """What comes after close is refused."""
    recorder = new_recorder(ledger)
    recorder.close()
    with pytest.raises(ConflictError):
        recorder.record(make_batch(ledger, OPEN, 0, 1))


def test_ids_are_a_sequence(ledger):
    """Ids count, index, slice and iterate as a list of them does."""
    recorder = new_recorder(ledger)
    ids = recorder.record(make_batch(ledger, OPEN, 0, 4)).ids
    listed = list(ids)
    assert (len(ids), ids[-1], ids[1:3], listed[0] in ids) == (4, listed[3], listed[1:3], True)
    with pytest.raises(IndexError):
        ids[4]
    recorder.close()
