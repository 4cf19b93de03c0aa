"""Sealing: several processes at once, damaged streams, large batches, receipts."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.ledgers import BEGAN_NS, OPEN, SEALED, make_batch, new_ledger, new_recorder, reopen, world

from backstory.errors import BackstoryError, ConflictError, ForbiddenError, NotFoundError, VerificationError
from backstory.ledger import seal
from backstory.ledger.ledger import Ledger
from backstory.ledger.log import LogReader
from backstory.ledger.read import find_record
from backstory.ledger.receipt import make_receipt
from backstory.ledger.seal import seal_all, seal_stream
from backstory.ledger.sealed import open_rows
from backstory.storage import spool_frames
from backstory.storage import spool_writer as spool_writer_module
from backstory.verify.archive import verify_archive
from backstory.verify.receipt import verify_receipt

ROOT = Path(__file__).parents[2]

WRITER = """
import sys
from pathlib import Path
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all
from backstory.storage.world import World
from tests.support.ledgers import OPEN, QuickDisk, make_batch, new_recorder
ledger = Ledger(Path(sys.argv[1]), World(disk=QuickDisk()), writable=True, vkey=None, actor=None)
recorder = new_recorder(ledger)
for n in range(50):
    ledger.append([{"type": "test", "name": sys.argv[2] + str(n)}])
    if n % 10 == 0:
        print(*recorder.record(make_batch(ledger, OPEN, n, 3)).ids)
        seal_all(ledger)
recorder.close()
seal_all(ledger)
"""


def test_two_processes_write_at_once(tmp_path):
    """Two processes that append, record and seal at once leave every entry and every record of both."""
    root = tmp_path / "archive"
    reader = new_ledger(root)
    command = [sys.executable, "-c", WRITER, str(root)]
    processes = [subprocess.Popen([*command, name], cwd=ROOT, stdout=subprocess.PIPE, text=True) for name in "ab"]
    ids = [identity for process in processes for identity in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(ids) == 30
    assert all(find_record(reader, identity, "prediction") for identity in ids), "by a process that opened it before"
    seal_all(reader)
    names = [entry["name"] for entry in reader.find_entries("test")]
    assert sorted(names) == sorted(f"{process}{n}" for process in "ab" for n in range(50))
    report = verify_archive(root, workers=1)
    assert (report.failed, report.counts["records"]) == (False, 30)


def test_a_damaged_stream_does_not_keep_others_unsealed(tmp_path):
    """What lies before the damage and all other streams are sealed, and what follows it stays in the spool."""
    ledger = new_ledger(tmp_path / "archive")
    for _ in range(3):
        recorder = new_recorder(ledger)
        for first in range(3):
            recorder.record(make_batch(ledger, OPEN, first, 1))
        recorder.close()
    path = ledger.layout.spool / ledger.spool.streams()[0].stream / "frames-0"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for _ in range(2):
        with pytest.raises(BackstoryError, match="damaged"):
            seal_all(ledger)
    report = verify_archive(ledger.layout.root, workers=1)
    assert report.counts["records"] == 1 + 3 + 3
    assert [f.place for f in report.findings if f.severity == "failed"] == [f"spool/{path.parent.name}"]
    assert path.read_bytes() == data


def test_a_torn_tail_is_told_in_the_log(tmp_path):
    """When a crash cut a write short, `stream.closed` says how many bytes are unknown, and what was whole is sealed."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 2))
    recorder.close()
    with next(ledger.layout.spool.glob("*/frames-0")).open("ab") as file:
        file.write(b"\x99\x00\x00\x00torn")
    assert seal_all(ledger) == 2
    (closed,) = ledger.find_entries("stream.closed")
    assert (closed["next_seq"], closed["unknown_bytes"]) == ("2", "8")


def test_a_stream_of_one_torn_frame_is_told_in_the_log(tmp_path):
    """Where a crash cut the only write short, the stream ends at 0 and its bytes are said to be unknown."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 2))
    recorder.close()
    path = next(ledger.layout.spool.glob("*/frames-0"))
    os.truncate(path, 500)
    assert seal_all(ledger) == 0
    (closed,) = ledger.find_entries("stream.closed")
    assert (closed["next_seq"], closed["unknown_bytes"]) == ("0", str(500 - len(spool_frames.MAGIC)))
    assert (closed["clean"], closed["mark"]) == (False, {})


@pytest.mark.parametrize("stage", ["before writing", "after writing", "before removing"])
def test_a_sealer_that_outlives_its_lease_changes_nothing(tmp_path, monkeypatch, stage):
    """Wherever a sealer is stopped for longer than its lease, what another sealed meanwhile stays as it is."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    ids = recorder.record(make_batch(ledger, SEALED, 0, 2)).ids
    recorder.close()
    (info,) = ledger.spool.streams()
    later = dataclasses.replace(world(seed=7), now_ns=lambda: BEGAN_NS + 2 * seal.LEASE_NS)
    other = Ledger(ledger.layout.root, later, writable=True, vkey=None, actor=None)
    name = "_remove_orphans" if stage == "before removing" else "write_segment"
    act = getattr(seal, name)

    def stopped(own, *arguments):
        monkeypatch.setattr(seal, name, act)
        result = act(own, *arguments) if stage == "after writing" else None
        assert seal_stream(other, info) == 2
        return result or act(own, *arguments)

    monkeypatch.setattr(seal, name, stopped)
    with pytest.raises(ConflictError):
        seal_stream(ledger, info)
    report = verify_archive(ledger.layout.root, workers=1)
    assert (report.failed, report.counts["records"]) == (False, 2)
    found = find_record(other, ids[1], "prediction")
    assert open_rows(other, found.place.manifest, 1, found.table)["subject"].to_pylist() == ["person 1"]


def test_a_commit_insists_on_the_lease(tmp_path):
    """The lease is checked in the transaction that commits: nothing comes between."""
    ledger = new_ledger(tmp_path / "archive")
    ledger.lock.take_lease("stream", "another", 0, 1)
    size = ledger.log.checkpoint().size
    with pytest.raises(ConflictError):
        ledger.append([{"type": "test"}], None, {"stream": "one"})
    assert ledger.log.checkpoint().size == size


def test_a_slow_sealer_does_not_commit_what_another_took_over(tmp_path):
    """A sealer whose lease was taken stops before the commit, and the records are sealed once."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, SEALED, 0, 2))
    recorder.close()
    (info,) = ledger.spool.streams()
    original = ledger.lock.take_lease
    leases = iter([True, False])
    ledger.lock.take_lease = lambda *_arguments: next(leases)
    with pytest.raises(ConflictError):
        seal_stream(ledger, info)
    ledger.lock.take_lease = original
    assert seal_all(ledger) == 2
    assert not verify_archive(ledger.layout.root, workers=1).failed


def test_long_streams_become_several_segments(tmp_path, monkeypatch):
    """Segments never exceed their limits of rows and contexts, and cut batches where they must."""
    monkeypatch.setattr(seal, "SEGMENT_ROWS_MAX", 300)
    monkeypatch.setattr(seal, "SEGMENT_CONTEXTS_MAX", 2)
    monkeypatch.setattr(spool_writer_module, "INLINE_SIZE_MAX", 10_000)
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    for n, rows in enumerate((700, 1, 1, 1, 299)):
        recorder.record(make_batch(ledger, OPEN, 0, rows, model=f"{n}"))
    recorder.close()
    assert seal_all(ledger) == 1002
    entries = [entry for _, entry in ledger.log.entries(0, ledger.log.checkpoint().size)]
    sealed = [entry for entry in entries if entry["type"] == "segment.sealed"]
    assert max(int(entry["count"]) for entry in sealed) == 300
    assert max(len(entry["contexts"]) for entry in sealed) == 2
    assert not verify_archive(ledger.layout.root, workers=1).failed


def test_every_row_of_a_segment_has_a_receipt(tmp_path):
    """At each place of the tree a receipt verifies, with the opened groups and nothing of the others."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    ids = recorder.record(make_batch(ledger, SEALED, 0, 600)).ids
    recorder.close()
    seal_all(ledger)
    vkey = ledger.layout.config.vkey
    for row in (0, 1, 255, 256, 511, 512, 599):
        found = find_record(ledger, ids[row], "prediction")
        receipt = verify_receipt(make_receipt(ledger, found, ("features",)).data, vkey=vkey)
        assert (receipt.id, receipt.seq, receipt.sealed) == (ids[row], row, ("output", "subject"))
        assert receipt.opened == {"features": {"feature.name": f"name {row}", "feature.x": row / 2}}
        assert f"person {row}" not in str(receipt.to_dict())
    with pytest.raises(VerificationError):
        verify_receipt(make_receipt(ledger, found, ()).data, vkey=new_ledger(tmp_path / "b", seed=5).layout.config.vkey)


def test_every_changed_byte_of_a_receipt_is_refused(tmp_path):
    """A receipt with one bit flipped anywhere does not verify, or says what it said."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    ids = recorder.record(make_batch(ledger, SEALED, 0, 3)).ids
    recorder.close()
    seal_all(ledger)
    vkey = ledger.layout.config.vkey
    data = make_receipt(ledger, find_record(ledger, ids[1], "prediction"), ("output", "subject")).data
    sound = verify_receipt(data, vkey=vkey)
    for at in range(0, len(data), 5):
        try:
            receipt = verify_receipt(data[:at] + bytes([data[at] ^ 1 << at % 7]) + data[at + 1 :], vkey=vkey)
        except BackstoryError:
            continue
        assert receipt == sound


def test_a_record_in_the_spool_has_no_receipt(tmp_path):
    """Before it is sealed a record is found, and says that nothing proves it yet."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    (identity,) = recorder.record(make_batch(ledger, OPEN, 0, 1)).ids
    found = find_record(ledger, identity, "prediction")
    assert found.place is None
    with pytest.raises(ConflictError):
        make_receipt(ledger, found, ())
    recorder.close()


def test_an_archive_open_for_reading_is_not_written(tmp_path):
    """Without the right to write, appending is refused."""
    root = new_ledger(tmp_path / "archive").layout.root
    ledger = Ledger(root, world(), writable=False, vkey=None, actor=None)
    with pytest.raises(ForbiddenError):
        ledger.append([{"type": "test"}])


def test_a_log_without_its_staged_file_is_not_guessed(tmp_path):
    """When a commit is neither published nor staged, opening says so and changes nothing."""
    ledger = new_ledger(tmp_path / "archive")
    size, note = ledger.lock.checkpoint()
    ledger.lock.commit(note, size + 1, note + b"x", {})
    with pytest.raises(BackstoryError):
        reopen(ledger.layout.root)
    assert (ledger.layout.log / "checkpoint").read_bytes() == note


def test_entries_of_a_changed_log_are_refused(tmp_path):
    """An entry that is not the one the checkpoint commits to is never given out."""
    ledger = new_ledger(tmp_path / "archive")
    ledger.append([{"type": "test", "name": "Ada"}])
    path = ledger.layout.log / "tile" / "entries" / "000.p" / "2"
    path.write_bytes(path.read_bytes().replace(b"Ada", b"Bob"))
    with pytest.raises(VerificationError):
        LogReader(ledger.layout, None).entry(1)
    with pytest.raises(NotFoundError):
        LogReader(ledger.layout, None).entry(2)
