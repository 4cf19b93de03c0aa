"""Every step of writing may fail, before or after it took effect; nothing acknowledged is lost, nothing is doubled.

Here a step is one of a `Disk`. Each operation of the system fails in `test_every_operation`.
"""

from __future__ import annotations

import shutil

import pytest
from tests.support.ledgers import OPEN, SEALED, QuickDisk, make_batch, new_ledger, new_recorder, reopen

from backstory.errors import StorageError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import find_record
from backstory.ledger.seal import seal_all
from backstory.records.manifest import CLOSED_TYPE, MANIFEST_TYPE
from backstory.storage.lock import LockStore
from backstory.verify.archive import verify_archive

OPERATIONS = ("write_with", "remove", "make_directory", "commit")
STEPS_MAX = 60
RECORDS = 3


class Fault:
    """Fails one operation, the `at`-th of a kind, before it takes effect or after."""

    def __init__(self, operation: str, at: int, *, persisted: bool) -> None:
        """Plan the failure."""
        self.operation, self.left, self.persisted = operation, at, persisted
        self.happened = False

    def run(self, operation, act):
        """Do something, and fail if it is its turn."""
        self.left -= operation == self.operation
        if self.happened or self.left >= 0 or operation != self.operation:
            return act()
        self.happened = True
        if self.persisted:
            act()
        raise StorageError(f"{operation} failed")


class FaultyDisk(QuickDisk):
    """A disk whose operations fail as planned."""

    fault: Fault | None = None

    def write_with(self, path, fill, *, mode=0o644, replace=True):
        """Write, or fail."""
        self._run("write_with", lambda: super(FaultyDisk, self).write_with(path, fill, mode=mode, replace=replace))

    def remove(self, path):
        """Remove, or fail."""
        self._run("remove", lambda: super(FaultyDisk, self).remove(path))

    def make_directory(self, path, *, mode=0o755):
        """Create, or fail."""
        self._run("make_directory", lambda: super(FaultyDisk, self).make_directory(path, mode=mode))

    def _run(self, operation, act):
        return self.fault.run(operation, act) if self.fault else act()


class FaultyLock(LockStore):
    """A lock store whose commit fails as planned."""

    fault: Fault

    def commit(self, old, size, note, heads, leases=None):
        """Commit, or fail."""
        self.fault.run("commit", lambda: super(FaultyLock, self).commit(old, size, note, heads, leases))


def with_faults(ledger: Ledger, fault: Fault) -> None:
    """Let an open archive's disk and lock store fail as planned."""
    ledger.world.disk.fault = fault
    lock = FaultyLock(ledger.layout.lock)
    lock.fault = fault
    ledger.lock = lock
    ledger._sequencer = None


def insist_whole(root, ids):
    """Insist that an archive verifies after recovery and holds exactly these records, sealed, once each."""
    ledger = reopen(root)
    seal_all(ledger)
    report = verify_archive(root, workers=1, vkey=ledger.layout.config.vkey)
    assert not report.failed
    assert not report.incomplete
    assert report.counts["records"] == len(ids)
    assert all(find_record(ledger, identity, "prediction").place is not None for identity in ids)
    entries = [entry for _, entry in ledger.log.entries(0, ledger.log.checkpoint().size)]
    manifests = [(entry["stream"], entry["first_seq"]) for entry in entries if entry["type"] == MANIFEST_TYPE]
    closed = {entry["stream"]: entry for entry in entries if entry["type"] == CLOSED_TYPE}
    sealed = {stream for stream, _ in manifests}
    assert len(set(manifests)) == len(manifests)
    assert len(closed) == len([entry for entry in entries if entry["type"] == CLOSED_TYPE])
    assert sealed == {stream for stream, entry in closed.items() if entry["next_seq"] != "0"}
    assert all(int(entry["mark"]["refused"]) for stream, entry in closed.items() if stream not in sealed)
    assert ledger.spool.streams() == []
    assert not [path for path in ledger.layout.keys.iterdir() if path.name.startswith("spool-")]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A new archive."""
    return new_ledger(tmp_path_factory.mktemp("fresh") / "archive").layout.root


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """An archive with records about persons in its spool whose writer is gone, and their ids."""
    root = tmp_path_factory.mktemp("recorded") / "archive"
    ledger = new_ledger(root)
    recorder = new_recorder(ledger)
    ids = recorder.record(make_batch(ledger, SEALED, 0, RECORDS)).ids
    recorder.close()
    return root, ids


@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "persisted"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_sealing_survives_every_fault(tmp_path, recorded, operation, persisted):
    """Whichever step of sealing fails, the same process completes it when it tries again."""
    original, ids = recorded
    for at in range(STEPS_MAX):
        root = tmp_path / str(at)
        shutil.copytree(original, root)
        ledger = reopen(root, disk=FaultyDisk())
        fault = Fault(operation, at, persisted=persisted)
        with_faults(ledger, fault)
        try:
            seal_all(ledger)
        except StorageError:
            seal_all(ledger)
        insist_whole(root, ids)
        if not fault.happened:
            break
    assert 0 < at < STEPS_MAX - 1


@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "persisted"])
@pytest.mark.parametrize("operation", ["write_with", "make_directory"])
def test_recording_survives_every_fault(tmp_path, fresh, operation, persisted):
    """Whichever step of recording fails, what was acknowledged is there, and the rest was refused."""
    for at in range(STEPS_MAX):
        root = tmp_path / str(at)
        shutil.copytree(fresh, root)
        ledger = reopen(root, disk=FaultyDisk())
        ledger.world.disk.fault = fault = Fault(operation, at, persisted=persisted)
        recorder = new_recorder(ledger)
        ids = []
        for schema in (SEALED, OPEN, SEALED):
            try:
                ids += recorder.record(make_batch(ledger, schema, len(ids), RECORDS)).ids
            except StorageError:
                continue
        recorder.close()
        insist_whole(root, ids)
        if not fault.happened:
            break
    assert 0 < at < STEPS_MAX - 1


class FullDisk(QuickDisk):
    """A disk that runs out of space, half way through a file."""

    room = 10**9

    def write_with(self, path, fill, *, mode=0o644, replace=True):
        """Write, or stop in the middle."""

        def fill_to_the_brim(temporary):
            fill(temporary)
            size = temporary.stat().st_size
            if size > self.room:
                with temporary.open("r+b") as file:
                    file.truncate(self.room)
                raise OSError(28, "No space left on device")
            self.room -= size

        super().write_with(path, fill_to_the_brim, mode=mode, replace=replace)


def test_a_full_disk_while_sealing_loses_nothing(tmp_path, recorded):
    """With any amount of space left, sealing succeeds or says that there is no space, and works once there is."""
    original, ids = recorded
    told = set()
    for step in range(STEPS_MAX):
        root = tmp_path / str(step)
        shutil.copytree(original, root)
        disk = FullDisk()
        ledger = reopen(root, disk=disk)
        disk.room = room = step * 1500
        try:
            seal_all(ledger)
        except StorageError as error:
            told.add((error.details.get("errno"), "No space left" in str(error)))
            disk.room = 10**9
            assert not list(root.rglob(".new-*"))
            seal_all(ledger)
            insist_whole(root, ids)
            continue
        break
    assert 5_000 < room < STEPS_MAX * 1500 - 1500
    insist_whole(root, ids)
    assert told == {(28, True)}
