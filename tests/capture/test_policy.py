"""Where records cannot be written, what the policy says is done, and what was refused is counted in the log."""

from __future__ import annotations

import threading

import pandas as pd
import pytest
from tests.support.disks import WiredDisk
from tests.support.ledgers import OPEN, lose, make_batch, make_row, new_ledger

from backstory.capture.policy import Policy
from backstory.capture.prediction import Call, Capture
from backstory.capture.recorder import Recorder, RowTarget
from backstory.errors import BusyError, InputError, StorageError
from backstory.ledger.seal import seal_all
from backstory.storage.world import World
from backstory.verify.archive import verify_archive


@pytest.fixture
def disk():
    """A disk with switches."""
    return WiredDisk()


@pytest.fixture
def ledger(tmp_path, disk):
    """A new archive on that disk."""
    return new_ledger(tmp_path / "archive", disk=disk)


@pytest.fixture
def record(ledger):
    """Return a function that gives a recorder's next row, numbered from 0."""
    target, numbers = RowTarget(OPEN), iter(range(10**6))
    return lambda recorder: recorder.record_row(target, make_row(ledger, next(numbers)))


def make_recorder(ledger, **policy):
    """Return a recorder with a policy."""
    return Recorder(ledger.spool, ledger.blobs, ledger.world, Policy(**policy))


def closed(ledger):
    """Return the one entry that ends a stream."""
    (entry,) = ledger.find_entries("stream.closed")
    return entry


@pytest.mark.parametrize(
    "words",
    [
        {"durability": "soon"},
        {"durability": None},
        {"on_full": "drop"},
        {"on_failure": "ignore"},
        {"on_full": "spill"},
        {"spill": "/elsewhere"},
        {"buffer_size": 0},
    ],
    ids=str,
)
def test_a_word_that_is_none_is_refused(words):
    """A policy is what its words can say, with a spill directory exactly where it is used."""
    with pytest.raises(InputError, match="policy: expected"):
        Policy(**words)


def test_the_policy_is_on_the_record(ledger, record):
    """A stream's description and its first entry say by which policy it records."""
    recorder = make_recorder(ledger, durability="async", on_full="refuse", on_failure="open")
    record(recorder)
    (info,) = ledger.spool.streams()
    recorder.close()
    seal_all(ledger)
    (opened,) = ledger.find_entries("stream.opened")
    assert opened["policy"] == info.policy == {"durability": "async", "on_failure": "open", "on_full": "refuse"}
    assert opened["opened"] == info.opened


def test_refuse_counts_what_it_refuses(ledger, disk, record):
    """Rows above the buffer are refused at once; the end of the stream says how many."""
    recorder = make_recorder(ledger, on_full="refuse", buffer_size=1)
    disk.writes_go_on.clear()
    ids = [record(recorder)]
    for _ in range(3):
        with pytest.raises(BusyError):
            record(recorder)
    disk.writes_go_on.set()
    recorder.sync()
    ids.append(record(recorder))
    assert (recorder.status().recorded, recorder.status().refused) == (2, 3)
    recorder.close()
    assert seal_all(ledger) == len(set(ids)) == 2
    mark = closed(ledger)["mark"]
    assert (mark["recorded"], mark["refused"], closed(ledger)["clean"]) == ("2", "3", True)


def test_a_living_stream_tells_what_it_refused(ledger, disk, record):
    """Sealed while its writer lives, a stream that refused says so in a heartbeat, once."""
    recorder = make_recorder(ledger, on_full="refuse", buffer_size=1)
    disk.writes_go_on.clear()
    record(recorder)
    with pytest.raises(BusyError):
        record(recorder)
    disk.writes_go_on.set()
    recorder.sync()
    for _ in range(2):
        seal_all(ledger)
    (heartbeat,) = ledger.find_entries("stream.heartbeat")
    assert heartbeat["mark"]["refused"] == "1"
    recorder.close()


def test_block_waits_until_there_is_room(ledger, disk, record):
    """Rows above the buffer wait for the writer, and none is refused."""
    recorder = make_recorder(ledger, on_full="block", buffer_size=1)
    disk.writes_go_on.clear()
    record(recorder)
    done = threading.Event()
    thread = threading.Thread(target=lambda: [record(recorder), done.set()])
    thread.start()
    assert not done.wait(0.1)
    disk.writes_go_on.set()
    thread.join(10)
    assert done.is_set()
    recorder.close()
    assert seal_all(ledger) == 2
    assert closed(ledger)["mark"]["refused"] == "0"


@pytest.mark.parametrize("way", ["rows", "batches"])
def test_spill_goes_on_elsewhere(tmp_path, ledger, disk, record, way):
    """While the spool's disk is full records go to the other directory; all are sealed and both are cleared away."""
    recorder = make_recorder(ledger, durability="sync", on_full="spill", spill=str(tmp_path / "spill"))
    for number in range(9):
        disk.full = {ledger.layout.spool} if 3 <= number < 6 else set()
        record(recorder) if way == "rows" else recorder.record(make_batch(ledger, OPEN, number, 1))
    assert any(path.is_file() for path in (tmp_path / "spill").rglob("*"))
    recorder.close()
    assert seal_all(ledger) == 9
    assert list(ledger.layout.spool.iterdir()) == list((tmp_path / "spill").iterdir()) == []
    assert (closed(ledger)["clean"], closed(ledger)["mark"]["refused"]) == (True, "0")
    report = verify_archive(ledger.layout.root, workers=1)
    assert (report.failed, report.counts["records"]) == (False, 9)


@pytest.mark.parametrize("way", ["rows", "batches"])
def test_fail_closed_gives_no_prediction_without_its_record(ledger, disk, record, way):
    """By default what cannot be written is an error, and counted once the disk takes it."""
    recorder = make_recorder(ledger, durability="sync")
    record(recorder)
    disk.full = {ledger.layout.spool}
    with pytest.raises(StorageError):
        record(recorder) if way == "rows" else recorder.record(make_batch(ledger, OPEN, 1, 1))
    disk.full = set()
    recorder.close()
    sealed, mark = seal_all(ledger), closed(ledger)["mark"]
    assert (mark["recorded"], sealed + int(mark["refused"])) == (str(sealed), 2), "each is one or the other"


def test_fail_open_gives_predictions_without_ids(ledger, disk):
    """With `open` a prediction whose record cannot be written is given out, without an id, and counted."""
    recorder = make_recorder(ledger, durability="sync", on_failure="open")
    capture = Capture(recorder, ledger.blobs, lambda: None, lambda _: None)
    call = Call(model={"name": "double"}, method="predict", features=pd.DataFrame({"x": [1.0, 2.0]}))
    assert len(capture.predict(call, lambda frame: frame["x"] * 2).ids) == 2
    disk.full = {ledger.layout.spool}
    predictions = capture.predict(call, lambda frame: frame["x"] * 2)
    assert (list(predictions.output), list(predictions.ids)) == ([2.0, 4.0], [])
    disk.full = set()
    recorder.close()
    assert seal_all(ledger) == 2
    mark = closed(ledger)["mark"]
    assert (mark["recorded"], mark["refused"]) == ("2", "2")


def test_what_no_stream_could_take_is_counted_at_the_end(ledger, disk, record):
    """Rows refused because not even a stream could be opened are in the log when the recorder is closed."""
    recorder = make_recorder(ledger, on_failure="open")
    disk.full = {ledger.layout.spool}
    assert [record(recorder) for _ in range(4)] == [None] * 4
    assert recorder.status().refused == 4
    disk.full = set()
    recorder.close()
    assert seal_all(ledger) == 0
    assert (closed(ledger)["next_seq"], closed(ledger)["mark"]["refused"], closed(ledger)["clean"]) == ("0", "4", True)


def test_a_mark_that_could_not_be_written_is_written_later(ledger, disk, record):
    """Where only the count of what was refused is left to write and that fails, the stream comes back."""
    recorder = make_recorder(ledger, durability="async", on_failure="open")
    record(recorder)
    recorder.sync()
    disk.full = {ledger.layout.spool}
    recorder.record(make_batch(ledger, OPEN, 0, 5))
    with pytest.raises(StorageError):
        recorder.sync()
    disk.full = set()
    assert record(recorder) is not None
    recorder.close()
    assert seal_all(ledger) == 2
    assert closed(ledger)["mark"]["refused"] == "5"


def test_a_stream_whose_process_died_is_not_clean(ledger, record):
    """Without a last word of its writer a stream's end says so, and how far it was sealed."""
    recorder = make_recorder(ledger, durability="sync")
    record(recorder)
    lose(recorder)
    assert seal_all(ledger) == 1
    assert (closed(ledger)["clean"], closed(ledger)["next_seq"]) == (False, "1")


@pytest.mark.parametrize("jump_ns", [3 * 10**9, -3 * 10**9])
def test_a_clock_that_was_set_is_marked(ledger, jump_ns):
    """When the clock moves against one that nobody sets, a mark says by how much, and ids rise on."""
    clock = {"now": 10**18, "monotonic": 0}
    own = World(now_ns=lambda: clock["now"], monotonic_ns=lambda: clock["monotonic"], disk=ledger.world.disk)
    recorder = Recorder(ledger.spool, ledger.blobs, own, Policy(durability="sync"))
    target, ids = RowTarget(OPEN), []
    for step in (0, jump_ns, 0):
        clock["now"] += 10**6 + step
        clock["monotonic"] += 10**6
        ids.append(recorder.record_row(target, make_row(ledger, 0)))
        mark = ledger.spool.last_mark(target.stream.info)
        assert (mark is None) is (len(ids) == 1)
    assert mark[0]["jump_ns"] == str(jump_ns)
    assert ids == sorted(set(ids))
    seal_all(ledger)
    (heartbeat,) = ledger.find_entries("stream.heartbeat")
    assert heartbeat["mark"]["jump_ns"] == str(jump_ns)
    recorder.close()
