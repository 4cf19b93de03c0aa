"""Promises: every flush of an archive that gives them is promised once, by the thread that made it durable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.support.disks import WiredDisk
from tests.support.ledgers import (
    OPEN,
    ORIGIN,
    SEALED,
    lose,
    make_batch,
    make_row,
    new_ledger,
    new_recorder,
    reopen,
    world,
)

import backstory
from backstory.archive.promising import begin_promising, create_promise_key, promise_key, promise_of
from backstory.capture.promise import Promising
from backstory.capture.recorder import RowTarget
from backstory.errors import ConflictError, InputError, NotFoundError, StorageError
from backstory.ledger.read import find_record, spool_tables
from backstory.ledger.restore import restore
from backstory.ledger.rotate import rotate_key
from backstory.ledger.seal import seal_all
from backstory.records.promise import frame_digest, key_name, parse_kept, parse_promise_text
from backstory.storage import promises as promises_module
from backstory.storage.promises import PromiseStore
from backstory.storage.spool_frames import encode_frame
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.key import VerifierKey
from backstory.tlog.note import verify_note
from backstory.tlog.signer import Ed25519Signer
from backstory.verify.archive import verify_archive

ROOT = Path(__file__).parents[2]
DELAY = 60


class WatchedSigner:
    """A signer that notes who signs, and does something before."""

    def __init__(self, before=lambda: None):
        """Sign with a key of its own."""
        self._signer = Ed25519Signer.from_seed(key_name(ORIGIN), bytes(32))
        self._before = before
        self.threads = []

    @property
    def name(self):
        """Name of the key."""
        return self._signer.name

    @property
    def vkey(self):
        """The verifier key."""
        return self._signer.vkey

    def sign(self, message):
        """Sign."""
        self.threads.append(threading.current_thread().name)
        self._before()
        return self._signer.sign(message)


@pytest.fixture
def ledger(tmp_path):
    """A new archive."""
    return new_ledger(tmp_path / "archive")


def promising(ledger, durability="sync"):
    """Return a recorder that promises, and the key."""
    recorder = new_recorder(ledger, durability)
    return recorder, create_promise_key(ledger, recorder, DELAY)


def promise_by(recorder, ledger, signer):
    """Let a recorder promise with this signer."""
    store = PromiseStore(ledger.layout.root, ledger.world.disk)
    recorder.promiser.promising = Promising(layout=ledger.layout, signer=signer, delay=DELAY, store=store)


def kept(ledger):
    """Return every promise that is kept."""
    store = PromiseStore(ledger.layout.root, ledger.world.disk)
    return [parse_kept(line) for name in store.names() for line in store.lines(name)]


def promised_ids(ledger):
    """Return stream, seq and id of every promised record, in order."""
    runs = sorted((run for one in kept(ledger) for run in one.runs), key=lambda run: (run.stream, run.first_seq))
    return [(run.stream, seq, run.id_at(seq)) for run in runs for seq in range(run.first_seq, run.end_seq)]


def recorded_ids(ledger):
    """Return stream, seq and id of every record that waits in the spool, in order."""
    tables = [table for _, table in spool_tables(ledger, "prediction")]
    columns = [zip(*(table[name].to_pylist() for name in ("stream", "seq", "id")), strict=True) for table in tables]
    return sorted(
        (stream.hex(), seq, int.from_bytes(identity, "big")) for rows in columns for stream, seq, identity in rows
    )


def test_what_is_durable_is_promised_once_with_its_ids(ledger):
    """Records of single rows and of batches, in clear and encrypted, are each in one promise with their own id."""
    recorder, _ = promising(ledger, "group")
    target = RowTarget(OPEN)
    for number in range(5):
        recorder.record_row(target, make_row(ledger, number))
    recorder.record(make_batch(ledger, OPEN, 5, 3))
    recorder.record(make_batch(ledger, SEALED, 0, 4))
    recorder.sync()
    recorder.record_row(target, make_row(ledger, 8))
    recorder.sync()
    recorder.promiser.make()
    expected = recorded_ids(ledger)
    assert len(expected) == 13
    assert promised_ids(ledger) == expected
    recorder.close()


def test_a_promise_is_signed_by_the_key_the_log_names(ledger):
    """The note holds under the key of the entry, and says origin, delay and the root of its leaves."""
    recorder, vkey = promising(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 2))
    recorder.promiser.make()
    (one,) = kept(ledger)
    text = parse_promise_text(verify_note(one.note, [VerifierKey.parse(vkey)]))
    assert (text.origin, text.delay, text.leaves) == (ORIGIN, DELAY, len(one.runs))
    assert text.root == root_hash([hash_leaf(run.encode()) for run in one.runs])
    assert [entry["vkey"] for entry in ledger.find_entries("promise.key")] == [vkey]
    recorder.close()


@pytest.mark.parametrize("schema", [OPEN, SEALED])
def test_the_digest_is_of_the_frame_as_it_stands(schema, ledger):
    """With the salt, the bytes of the frame in the spool give the digest that was promised."""
    recorder, _ = promising(ledger)
    recorder.record(make_batch(ledger, schema, 0, 2))
    recorder.promiser.make()
    (info,), (one,) = ledger.spool.streams(), kept(ledger)
    (frame,) = ledger.spool.frames(info, 0)
    data = encode_frame(frame.kind, frame.first_seq, frame.count, frame.payload)
    assert frame_digest(one.salts[0], data) == one.runs[0].frame
    recorder.close()


def test_one_signature_a_flush_by_the_background_thread(ledger):
    """Whoever records signs nothing: all records of one flush have one signature, made by the thread that flushes."""
    recorder, signer = new_recorder(ledger, "group"), WatchedSigner()
    promise_by(recorder, ledger, signer)
    target = RowTarget(OPEN)
    for number in range(20):
        recorder.record_row(target, make_row(ledger, number))
    while not signer.threads:
        threading.Event().wait(0.005)
    recorder.close()
    assert signer.threads == ["backstory-sync"] * len(kept(ledger))
    assert len(signer.threads) < 20
    assert len(promised_ids(ledger)) == 20


def test_a_flush_that_failed_is_not_promised(tmp_path):
    """Frames that could not be made durable are promised when they are, in the file that stands in."""
    disk = WiredDisk()
    ledger = new_ledger(tmp_path / "archive", disk=disk)
    recorder, _ = promising(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 1))
    recorder.promiser.make()
    disk.failing_syncs, disk.is_fixed = 1, True
    with pytest.raises(StorageError):
        recorder.record(make_batch(ledger, OPEN, 1, 1))
    recorder.promiser.make()
    promised = len(promised_ids(ledger))
    disk.is_fixed = False
    recorder.sync()
    recorder.promiser.make()
    assert promised == 1
    assert promised_ids(ledger) == recorded_ids(ledger)
    recorder.close()


@pytest.mark.parametrize("error", [StorageError("no space left"), RuntimeError("Ada Lovelace")])
def test_a_promise_that_cannot_be_kept_costs_no_record(error, ledger, monkeypatch, caplog):
    """Where promises cannot be written, what was recorded is durable and sealed all the same, and it is said."""
    recorder, _ = promising(ledger)

    def refuse(*_):
        raise error

    monkeypatch.setattr(PromiseStore, "append", refuse)
    recorder.record(make_batch(ledger, OPEN, 0, 2))
    recorder.close()
    shown = "no space left" if isinstance(error, StorageError) else "RuntimeError"
    assert f"were not promised: {shown}" in caplog.text
    assert seal_all(ledger) == 2


def test_a_child_promises_its_own(ledger):
    """What a parent recorded before it forked is promised by the parent, once."""
    recorder, _ = promising(ledger, "async")
    recorder.record(make_batch(ledger, OPEN, 0, 2))
    child = os.fork()
    if child == 0:
        recorder.record(make_batch(ledger, OPEN, 2, 1))
        recorder.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    recorder.sync()
    recorder.promiser.make()
    assert promised_ids(ledger) == recorded_ids(ledger)
    assert len(recorded_ids(ledger)) == 3
    recorder.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from backstory.archive.promising import create_promise_key
from backstory.capture.recorder import Recorder
from backstory.capture.policy import Policy
from backstory.ledger.ledger import Ledger
from backstory.storage.promises import PromiseStore
from backstory.storage.world import World
from tests.support.ledgers import OPEN, make_batch
ledger = Ledger(Path(sys.argv[1]), World(), writable=True, vkey=None, actor=None)
recorder = Recorder(ledger.spool, ledger.blobs, ledger.world, Policy(durability="sync"))
create_promise_key(ledger, recorder, 60)
PromiseStore.append = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
recorder.record(make_batch(ledger, OPEN, 0, 3))
recorder.promiser.make()
"""


def test_killed_between_flush_and_promise_there_is_no_promise_and_nothing_else(ledger):
    """After kill -9 the records are there, the archive verifies, and nothing is kept of a promise."""
    root = ledger.layout.root
    done = subprocess.run([sys.executable, "-c", KILLED, str(root)], check=False, cwd=ROOT)
    ledger = reopen(root)
    assert done.returncode == -signal.SIGKILL
    assert kept(ledger) == []
    assert seal_all(ledger) == 3
    assert not verify_archive(root, workers=1).failed


def test_a_torn_line_is_no_promise(ledger):
    """The tail that a crash left in a file of promises is passed over, and the next one is found."""
    recorder, _ = promising(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 1))
    recorder.promiser.make()
    (path,) = (ledger.layout.root / "promises").iterdir()
    path.write_bytes(path.read_bytes() + b'{"leaves":"')
    assert len(kept(ledger)) == 1
    lose(recorder)


def test_switched_off_there_is_nothing(ledger):
    """An archive that gives no promises has no file of them, and says so when asked for one."""
    recorder = new_recorder(ledger)
    begin_promising(ledger, recorder)
    recorded = recorder.record(make_batch(ledger, OPEN, 0, 1))
    with pytest.raises(NotFoundError, match="not switched on"):
        promise_of(ledger, recorder, find_record(ledger, recorded.ids[0], "prediction"))
    recorder.close()
    assert not (ledger.layout.root / "promises").exists()


def test_the_next_to_open_goes_on(ledger):
    """Once switched on, whoever opens the archive for writing promises; a change of the delay is another entry."""
    recorder, vkey = promising(ledger)
    assert create_promise_key(ledger, recorder, DELAY) == vkey
    assert create_promise_key(ledger, recorder, 5) == vkey
    recorder.close()
    ledger = reopen(ledger.layout.root)
    recorder = new_recorder(ledger)
    begin_promising(ledger, recorder)
    recorder.record(make_batch(ledger, OPEN, 0, 1))
    recorder.close()
    (one,) = kept(ledger)
    assert parse_promise_text(verify_note(one.note, [VerifierKey.parse(vkey)])).delay == 5
    assert [entry["delay"] for entry in ledger.find_entries("promise.key")] == [str(DELAY), "5"]


def test_a_restored_log_does_not_give_out_the_key_of_the_one_before(ledger):
    """Promises are off in a restored log, though the entry that switched them on for the old one is carried over."""
    recorder, vkey = promising(ledger)
    recorder.close()
    ledger.close()
    restore(ledger.layout.root, world(3), rolled_back=True)
    ledger = reopen(ledger.layout.root)
    with pytest.raises(NotFoundError):
        promise_key(ledger)
    assert create_promise_key(ledger, new_recorder(ledger), DELAY) == promise_key(ledger) != vkey


def test_a_service_that_is_open_across_a_restore_promises_nothing_more(ledger, caplog):
    """What is durable after a restore is not promised for the log that has ended, and that is said once."""
    recorder, _ = promising(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 1))
    recorder.promiser.make()
    restore(ledger.layout.root, world(3), rolled_back=True)
    for number in range(1, 4):
        recorder.record(make_batch(ledger, OPEN, number, 1))
        recorder.promiser.make()
    assert len(promised_ids(ledger)) == 1
    assert caplog.text.count("the archive was restored") == 1
    lose(recorder)


def test_a_service_that_is_open_across_a_rotation_goes_on_promising(ledger):
    """Another key of the same log ends no promises."""
    recorder, _ = promising(ledger)
    for number in range(2):
        recorder.record(make_batch(ledger, OPEN, number, 1))
        recorder.promiser.make()
        rotate_key(ledger)
    assert len(promised_ids(ledger)) == 2
    lose(recorder)


def test_a_key_the_log_does_not_name_promises_nothing(ledger):
    """A key that was put into the key store by hand is not used."""
    recorder, _ = promising(ledger)
    ledger.keys.put("promise-1", {"seed": bytes(32)})
    recorder = new_recorder(ledger)
    begin_promising(ledger, recorder)
    assert recorder.promiser.promising is None


def test_a_damaged_key_keeps_nobody_from_recording(ledger, caplog):
    """An archive whose promise key cannot be read records all the same, without promises, and it is said."""
    promising(ledger)
    (ledger.layout.keys / "promise-1.json").write_bytes(b"{}")
    recorder = new_recorder(ledger)
    begin_promising(ledger, recorder)
    assert recorder.record(make_batch(ledger, OPEN, 0, 1)) is not None
    assert recorder.promiser.promising is None
    assert "promises: keys: file 'promise-1'" in caplog.text
    recorder.close()


@pytest.mark.parametrize("delay", [0, -1, 31_622_401, True, "60"])
def test_a_delay_is_a_number_of_seconds(delay, ledger):
    """A delay that no promise can say is refused before anything is written."""
    with pytest.raises(InputError):
        create_promise_key(ledger, new_recorder(ledger), delay)
    assert not ledger.keys.has("promise-1")


def test_what_is_kept_is_bounded(ledger, monkeypatch):
    """A large file gives way to a new one and is kept itself; the one before it goes."""
    monkeypatch.setattr(promises_module, "KEPT_SIZE", 100)
    recorder, _ = promising(ledger)
    for number in range(4):
        recorder.record(make_batch(ledger, OPEN, number, 1))
        recorder.promiser.make()
    (info,) = ledger.spool.streams()
    assert PromiseStore(ledger.layout.root, ledger.world.disk).names() == [f"{info.stream}.old"]
    assert [run.first_seq for one in kept(ledger) for run in one.runs] == [3]
    lose(recorder)


def test_what_is_stale_is_removed_by_the_next_to_open(ledger):
    """A file that was not appended to for longer than the delay, and a day, is gone; another stays."""
    recorder, _ = promising(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 1))
    recorder.record(make_batch(ledger, SEALED, 0, 1))
    recorder.close()
    old, young = sorted((ledger.layout.root / "promises").iterdir())
    now_ns = ledger.world.now_ns()
    os.utime(old, ns=(0, now_ns - 86_401 * 10**9))
    os.utime(young, ns=(0, now_ns - 86_000 * 10**9))
    begin_promising(ledger, new_recorder(ledger))
    assert sorted((ledger.layout.root / "promises").iterdir()) == [young]


def test_predictions_hand_out_their_promise(tmp_path):
    """From the front door: a prediction's promise is about it, sealed or not; one of none is refused."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        archive.promises(delay=DELAY)
        version = archive.register(lambda rows: [1.0] * len(rows), name="constant")
        made = archive.predict(version, [{"x": 1.0}, {"x": 2.0}], method="__call__")
        before = made.promise(1)
        archive.flush()
        assert archive.promise(made.ids[1]).data == before.data
        assert (before.id, made.promise().id) == (made.ids[1], made.ids[0])
        with pytest.raises(InputError):
            made.promise(2)
        saved = before.save(tmp_path / "one.promise")
        with pytest.raises(ConflictError):
            before.save(saved)


def test_jobs_and_workers_promise_nothing(tmp_path):
    """Records that may be discarded are not promised, and a worker holds no key to promise with."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        archive.promises(delay=DELAY)
        version = archive.register(lambda rows: [1.0] * len(rows), name="constant")
        with archive.job("nightly", run="1") as job:
            done = job.predict(version, [{"x": 1.0}], part=1, method="__call__")
        with pytest.raises(NotFoundError, match="by a worker or a job"):
            archive.promise(done.ids[0])
        archive.spool(tmp_path / "spool")
        with backstory.recorder(tmp_path / "spool") as worker:
            assert worker._recorder.promiser.promising is None
    assert not (tmp_path / "audit" / "promises").exists()
