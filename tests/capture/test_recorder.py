"""The recorder: what is acknowledged is durable, whatever threads, forks and failing disks do."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from queue import SimpleQueue

import pyarrow as pa
import pytest
from tests.support.disks import WiredDisk
from tests.support.ledgers import OPEN, SEALED, make_batch, make_row, new_ledger, new_recorder

import backstory
from backstory.capture import recorder as recorder_module
from backstory.capture.enclosing import Enclosing
from backstory.capture.policy import Policy
from backstory.capture.recorder import Batch, Recorder, RowTarget
from backstory.errors import ConflictError, StorageError
from backstory.ledger.read import find_record
from backstory.ledger.seal import seal_all
from backstory.records.envelope import prediction_schema
from backstory.storage.disk import Disk
from backstory.storage.fork import renew_in_child
from backstory.storage.spool import Spool
from backstory.verify.archive import verify_archive


@pytest.fixture
def ledger(tmp_path):
    """A new archive."""
    return new_ledger(tmp_path / "archive")


def test_ids_and_numbers_rise_whatever_the_clock_does(ledger):
    """With a clock that stands, runs back and jumps, ids rise and sequence numbers have no gaps."""
    times = itertools.cycle([5, 5, 3, 10**6, 0, 7])
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
def test_nothing_is_called_durable_that_is_in_no_file(tmp_path, durability):
    """While nothing can be flushed, waiting and closing say so; once it can, all is there once."""
    disk = WiredDisk()
    ledger = new_ledger(tmp_path / "archive", disk=disk)
    recorder = new_recorder(ledger, durability)
    batch = make_batch(ledger, OPEN, 0, 1)
    recorder.record(batch)
    recorder.sync()
    disk.failing_syncs, disk.is_fixed = 10**6, True
    acts = [lambda: [recorder.record(batch), recorder.sync()], recorder.sync, recorder.close, recorder.close]
    for act in acts:
        with pytest.raises(StorageError):
            act()
    assert recorder.status().failure is not None
    disk.failing_syncs, disk.is_fixed = 0, False
    recorder.close()
    assert seal_all(ledger) == recorder.status().recorded == 2
    assert not verify_archive(ledger.layout.root, workers=1).failed


@pytest.mark.parametrize("durability", ["sync", "group"])
def test_a_failed_fsync_loses_and_doubles_nothing(tmp_path, durability):
    """Where an fsync failed everything not yet durable is in another file, and recording goes on."""
    disk = WiredDisk()
    ledger = new_ledger(tmp_path / "archive", disk=disk)
    recorder = new_recorder(ledger, durability)
    ids = []
    for number in range(6):
        disk.failing_syncs = number % 2
        ids += recorder.record(make_batch(ledger, OPEN, number, 1)).ids
        recorder.sync()
    recorder.close()
    assert seal_all(ledger) == 6
    assert [find_record(ledger, each, "prediction").table["output"][0].as_py() for each in ids] == list(range(6))
    assert not verify_archive(ledger.layout.root, workers=1).failed


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


# --- rows ---------------------------------------------------------------------------------------------------------


def test_rows_and_batches_of_threads_are_dense(ledger):
    """Eight threads that record rows and batches leave distinct ids, rising along a stream without a gap."""
    recorder = new_recorder(ledger, "group")
    target, row, batch = RowTarget(OPEN), make_row(ledger, 1), make_batch(ledger, OPEN, 0, 3)
    given = [[] for _ in range(8)]

    def record(mine):
        for n in range(50):
            if n % 5:
                mine.append(recorder.record_row(target, list(row)))
            else:
                mine.extend(int(each.replace("-", ""), 16) for each in recorder.record(batch).ids)

    threads = [threading.Thread(target=record, args=(mine,)) for mine in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()
    (info,) = ledger.spool.streams()
    tables = [ledger.spool.table(info, OPEN, frame) for frame in ledger.spool.frames(info, 0)]
    seqs = [seq for table in tables for seq in table["seq"].to_pylist()]
    ids = [int.from_bytes(each, "big") for table in tables for each in table["id"].to_pylist()]
    assert seqs == list(range(8 * (40 + 30)))
    assert ids == sorted(set(ids))
    assert sorted(each for mine in given for each in mine) == ids
    assert all(mine == sorted(mine) for mine in given)
    assert seal_all(ledger) == len(ids)


def test_ids_of_rows_rise_whatever_the_clock_does(ledger):
    """With a clock that stands, runs back and jumps, ids of rows and batches rise."""
    times = itertools.cycle([5, 5, 3, 10**6, 0, 7])
    object.__setattr__(ledger.world, "now_ns", lambda: next(times) * 10**6)
    recorder = new_recorder(ledger)
    target, batch, ids = RowTarget(OPEN), make_batch(ledger, OPEN, 0, 2), []
    for number in range(30):
        ids.append(recorder.record_row(target, make_row(ledger, number)))
        ids += [int(each.replace("-", ""), 16) for each in recorder.record(batch).ids]
    assert ids == sorted(set(ids))
    recorder.close()
    assert seal_all(ledger) == 90


def test_sync_means_on_disk_when_it_returns(ledger):
    """With durability `sync` another process finds a row in the spool as soon as it was recorded."""
    recorder = new_recorder(ledger, "sync")
    target = RowTarget(OPEN)
    other = Spool(ledger.layout.spool, ledger.keys, Disk())
    for number in range(3):
        recorder.record_row(target, make_row(ledger, number))
        (info,) = other.streams()
        assert sum(frame.count for frame in other.frames(info, 0)) == number + 1
        assert recorder.status().durable == number + 1
    recorder.close()


def test_threads_share_their_fsyncs(tmp_path):
    """Rows of several threads are made durable together: what waits while one flush runs needs one more."""
    disk = WiredDisk()
    ledger = new_ledger(tmp_path / "archive", disk=disk)
    recorder = new_recorder(ledger, "sync")
    target = RowTarget(OPEN)
    recorder.record_row(target, make_row(ledger, 0))
    before = disk.syncs
    disk.writes_go_on.clear()
    rows = [make_row(ledger, number) for number in range(1, 9)]
    threads = [threading.Thread(target=recorder.record_row, args=(target, row)) for row in rows]
    held = target.stream.io
    with held:
        for thread in threads:
            thread.start()
        while target.stream.next_seq < 9:  # all have their number; none can flush
            threading.Event().wait(0.001)
        disk.writes_go_on.set()
    for thread in threads:
        thread.join()
    assert recorder.status().durable == 9
    assert disk.syncs - before < 8
    recorder.close()


def test_a_stream_too_many_that_cannot_be_closed_loses_nothing(tmp_path, monkeypatch):
    """Where the oldest stream must give way and cannot be made durable, it stays, with the rows that wait in it."""
    monkeypatch.setattr(recorder_module, "STREAMS_OPEN_MAX", 2)
    disk = WiredDisk()
    ledger = new_ledger(tmp_path / "archive", disk=disk)
    recorder = new_recorder(ledger, "sync")
    schemas = [_schema_of(number) for number in range(3)]
    for schema in schemas[:-1]:
        recorder.record(_batch_of(ledger, schema))
    disk.failing_syncs, disk.is_fixed = 10**6, True
    with pytest.raises(StorageError):
        recorder.record(_batch_of(ledger, schemas[0]))
    with pytest.raises(StorageError):
        recorder.record(_batch_of(ledger, schemas[-1]))
    disk.failing_syncs, disk.is_fixed = 0, False
    recorder.record(_batch_of(ledger, schemas[-1]))
    recorder.close()
    status = recorder.status()
    assert (status.recorded, status.refused) == (4, 1)
    assert seal_all(ledger) == status.recorded


def test_a_stream_whose_end_could_not_be_said_is_written_no_more(tmp_path):
    """Whoever waited to make it durable has nothing to do: it was given up, and may be sealed and removed."""
    disk = WiredDisk()
    ledger = new_ledger(tmp_path / "archive", disk=disk)
    recorder = new_recorder(ledger, "sync")
    recorder.record(make_batch(ledger, OPEN, 0, 2))
    stream = recorder._streams[OPEN.digest]
    disk.failing_syncs, disk.is_fixed = 10**6, True
    with pytest.raises(StorageError):
        stream.retire()
    disk.failing_syncs, disk.is_fixed = 0, False
    assert stream.is_retired
    assert seal_all(ledger) == 2
    stream.sync()
    stream.sync(stream.next_seq)
    assert list(ledger.layout.spool.iterdir()) == []
    recorder.abandon()


def _schema_of(number):
    features = [("feature.x", "float64"), (f"feature.y{number}", "int64")]
    return prediction_schema(
        rows=[], personal_rows=[], features=features, outputs=[("output", "float64")], decision=None, subject=False
    )


def _batch_of(ledger, schema):
    names = [column.name.removeprefix("feature.") for column in schema.columns if column.name.startswith("feature.")]
    features = pa.StructArray.from_arrays([pa.array([0.5]), pa.array([1])], names=names)
    body = pa.table({"feature": features, "output": pa.array([1.0])})
    context = ledger.put_document({"model": {"name": "delay"}, "v": 1})
    return Batch(schema=schema, context=context, status="ok", error=None, request_id=None, body=body)


def test_a_thread_the_system_does_not_give_is_asked_for_again(ledger, monkeypatch):
    """Where no thread can be started the record is refused; with threads again, everything becomes durable."""
    recorder = Recorder(ledger.spool, ledger.blobs, ledger.world, Policy(on_failure="open", buffer_size=200))
    start = threading.Thread.start

    def fail(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    target = RowTarget(OPEN)
    assert recorder.record_row(target, make_row(ledger, 0)) is None
    monkeypatch.setattr(threading.Thread, "start", start)
    assert all(recorder.record_row(target, make_row(ledger, number)) for number in range(1, 20))
    recorder.close()
    status = recorder.status()
    assert (status.recorded, status.durable, status.refused) == (19, 19, 1)


def test_the_thread_survives_whoever_seals(ledger):
    """An error of what is called after a sync is in the status, and what is recorded still becomes durable."""
    said: SimpleQueue[str | None] = SimpleQueue()

    def fail_once():
        said.put(recorder.status().failure)
        if said.qsize() == 1:
            raise ValueError("no seal")

    recorder = Recorder(ledger.spool, ledger.blobs, ledger.world, on_sync=fail_once)
    recorder.record(make_batch(ledger, OPEN, 0, 1))
    while said.qsize() < 2:  # the thread tries again by itself
        threading.Event().wait(0.01)
    recorder.record(make_batch(ledger, OPEN, 1, 1))
    while said.qsize() < 3:
        threading.Event().wait(0.01)
    assert [said.get() for _ in range(3)] == [None, "no seal", None]
    recorder.close()
    assert recorder.status().durable == 2


def test_an_interrupted_ring_is_no_silence(ledger):
    """A signal handler may raise where the thread is woken: the next record wakes it, and both become durable."""

    class Bell(SimpleQueue):
        def put(self, item):
            if not interrupted:
                interrupted.append(item)
                raise KeyboardInterrupt
            super().put(item)

    interrupted: list[None] = []
    recorder, target = new_recorder(ledger, "group"), RowTarget(OPEN)
    recorder._bell = Bell()
    with pytest.raises(KeyboardInterrupt):
        recorder.record_row(target, make_row(ledger, 0))
    recorder.record_row(target, make_row(ledger, 1))
    for _ in range(3_000):
        if recorder.status().durable == 2:
            break
        threading.Event().wait(0.01)
    assert recorder.status().durable == 2
    recorder.close()


def test_an_interruption_loses_nothing_that_was_given_up(ledger):
    """A signal handler raises while it is recorded: whoever comes next records that one and the others."""
    recorder, ended, stops = new_recorder(ledger), [], [KeyboardInterrupt]

    def end(number):
        if number == 1 and stops:
            raise stops.pop()
        ended.append(number)

    for number in range(4):
        recorder.defer(functools.partial(end, number))
    with pytest.raises(KeyboardInterrupt):
        recorder.sync()
    recorder.sync()
    assert ended == [0, 1, 2, 3]
    recorder.close()


def test_what_was_given_up_is_recorded_by_a_recorder_that_closes(ledger):
    """Also where its thread is in the middle of that."""
    recorder, begun = new_recorder(ledger, "group"), threading.Event()

    def end():
        begun.set()
        while not recorder._closing:
            threading.Event().wait(0.001)
        recorder.record(make_batch(ledger, SEALED, 1, 1))

    recorder.record(make_batch(ledger, OPEN, 0, 1))
    recorder.defer(end)
    assert begun.wait(30)
    recorder.close()
    assert (recorder.status().durable, recorder.status().refused) == (2, 0)


def test_a_row_does_not_wait_for_a_batch(tmp_path):
    """While a batch is being written to a slow disk, single records are taken, and follow it."""
    disk = WiredDisk()
    ledger = new_ledger(tmp_path / "archive", disk=disk)
    recorder = new_recorder(ledger, "group")
    target = RowTarget(OPEN)
    recorder.record_row(target, make_row(ledger, 0))
    recorder.sync()
    disk.writes_go_on.clear()
    batch = threading.Thread(target=recorder.record, args=[make_batch(ledger, OPEN, 1, 5)])
    batch.start()
    while not target.stream.io.locked():
        threading.Event().wait(0.001)
    row = threading.Thread(target=recorder.record_row, args=[target, make_row(ledger, 6)])
    row.start()
    row.join(30)
    assert not row.is_alive()
    disk.writes_go_on.set()
    batch.join()
    recorder.close()
    assert seal_all(ledger) == 7
    assert not verify_archive(ledger.layout.root, workers=1).failed


@pytest.mark.parametrize("on_failure", ["closed", "open"])
def test_a_closed_recorder_is_a_failure_like_others(ledger, on_failure):
    """A prediction made while the service ends goes out, counted, if the policy says so; else there is an error."""
    recorder = Recorder(ledger.spool, ledger.blobs, ledger.world, Policy(on_failure=on_failure))
    recorder.close()
    if on_failure == "closed":
        with pytest.raises(ConflictError):
            recorder.record(make_batch(ledger, OPEN, 0, 1))
    assert on_failure == "closed" or recorder.record(make_batch(ledger, OPEN, 0, 1)) is None
    assert recorder.status().refused == (on_failure == "open")
    recorder.close()  # as every recorder is when the process ends
    seal_all(ledger)
    closed = list(ledger.find_entries("stream.closed"))
    assert [int(entry["mark"]["refused"]) for entry in closed] == [1] * (on_failure == "open")


def test_streams_that_left_the_spool_are_forgotten(ledger, monkeypatch):
    """Of kinds of records that come and go nothing stays in memory but their counts."""
    monkeypatch.setattr(recorder_module, "STREAMS_OPEN_MAX", 1)
    monkeypatch.setattr(recorder_module, "_RETIRED_MAX", 2)
    recorder = new_recorder(ledger)
    for number in range(12):
        recorder.record(_batch_of(ledger, _schema_of(number)))
        seal_all(ledger)
    assert len(recorder.streams()) <= 4
    assert recorder.status().recorded == recorder.status().durable == 12
    recorder.close()


def locks_of(path):
    """Return where the locks are that may be held for long, of an archive that was used."""
    archive = backstory.init(path, origin="example.org/locks")
    archive.traced(lambda x: x)(1.0)
    calls, ledger = archive._calls, archive._ledger
    return [
        (archive, "_lock"),
        (archive._recorder, "_lock"),
        (calls, "_lock"),
        (calls._capture, "_lock"),
        (calls._capture.types, "_lock"),
        (calls._store, "_lock"),
        (ledger.catalog, "_lock"),
        (ledger.hasher, "_lock"),
        (Enclosing, "_lock"),
    ]


def held_in_a_thread(locks):
    """Take locks in a thread; return what lets it go on, and the thread."""
    are_held, go_on = threading.Event(), threading.Event()

    def hold():
        for owner, name in locks:
            getattr(owner, name).acquire()
        are_held.set()
        go_on.wait(30)
        for owner, name in locks:
            getattr(owner, name).release()

    thread = threading.Thread(target=hold)
    thread.start()
    assert are_held.wait(30)
    return go_on, thread


def take_in_child(locks):
    """Return how many of them a forked child cannot take."""
    child = os.fork()
    if child == 0:
        os._exit(sum(not getattr(owner, name).acquire(timeout=5) for owner, name in locks))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_locks_held_for_long_are_new_in_a_child(tmp_path):
    """A child forked while a thread held a lock that is kept during writes can take it."""
    locks = locks_of(tmp_path / "archive")
    go_on, thread = held_in_a_thread(locks)
    assert take_in_child(locks) == 0
    go_on.set()
    thread.join()
    locks[0][0].close()


def test_every_lock_of_an_object_is_new_in_a_child():
    """One does not take the place of another."""
    owner = threading.Event()
    for name in ("guard", "other"):
        setattr(owner, name, threading.Lock())
        renew_in_child(owner, name, threading.Lock)
    with owner.guard, owner.other:
        assert take_in_child([(owner, "guard"), (owner, "other")]) == 0
