"""Each operation on files and locks may fail, before or after it took effect; then a stranger's audit still passes.

`BACKSTORY_FAULTS=all` lets every operation of the longer acts fail in both ways; else some do, and the ways take turns:
an odd step between them lets each kind of operation fail in both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import replace

import pytest
from tests.support.faults import Operations, watched
from tests.support.ledgers import BEGAN_NS, SEALED, make_batch, new_ledger, new_recorder, reopen, world

from backstory.errors import BackstoryError, ConflictError
from backstory.ledger.ledger import Ledger
from backstory.ledger.restore import restore
from backstory.ledger.rotate import list_keys, rotate_key
from backstory.ledger.seal import LEASE_NS, seal_all
from backstory.storage.disk import Disk
from backstory.storage.layout import read_layout
from backstory.verify.archive import verify_archive

TILE = 256
OPERATIONS_MIN = 20
BOTH_WAYS = os.environ.get("BACKSTORY_FAULTS") == "all"


@pytest.fixture(scope="module")
def almost_full(tmp_path_factory):
    """An archive whose log is one entry short of a full tile."""
    ledger = new_ledger(tmp_path_factory.mktemp("almost") / "archive")
    ledger.append([{"type": "test", "name": f"{n}"} for n in range(TILE - 2)])
    ledger.close()
    return ledger.layout.root


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """An archive with a stream to be sealed."""
    ledger = new_ledger(tmp_path_factory.mktemp("template") / "archive")
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, SEALED, 0, 3))
    recorder.close()
    ledger.close()
    return ledger.layout.root


def each_failure(monkeypatch, folder, template, act, *, both_ways=BOTH_WAYS, step=1):
    """Yield, for each operation of an act on an archive's directory, the archive after that one failed.

    With it whether the act returned in spite of it. Failing with anything but an error of ours is a fault too.
    """
    at, persists = 0, False
    while True:
        root = folder / f"{at}-{persists}"
        shutil.copytree(template, root)
        operations = Operations(fails_at=at, persists=persists)
        run = act(root)
        returned = True
        with watched(monkeypatch, operations):
            try:
                run()
            except BackstoryError:
                returned = False
        assert not operations.missed
        if at >= len(operations.seen):
            assert at > OPERATIONS_MIN
            return
        yield root, returned
        for closed in (path for path in root.rglob("*") if path.is_dir()):
            closed.chmod(0o755)  # a restored log's predecessor is read-only
        shutil.rmtree(root)
        at, persists = (at + persists, not persists) if both_ways else (at + step, not persists)


def on_ledger(act):
    """Return an act on an archive's directory that opens it first, on a disk that flushes."""

    def prepare(root):
        ledger = reopen(root, disk=Disk())
        return lambda: act(ledger)

    return prepare


def insist_sound(root):
    """Insist that an archive passes an audit that was told the pinned key."""
    report = verify_archive(root, workers=1)
    assert not report.failed, report.findings
    assert not report.incomplete, report.findings


def test_a_commit_survives_the_failure_of_any_operation(tmp_path, monkeypatch, almost_full):
    """An entry whose commit failed anywhere is in the log once or not at all, and what was acknowledged is."""
    entry = {"type": "test", "name": "the one"}
    act = on_ledger(lambda ledger: ledger.append([entry]))
    for root, returned in each_failure(monkeypatch, tmp_path, almost_full, act, both_ways=True):
        ledger = reopen(root)
        assert returned <= len(ledger.find_entries("test", "the one")) <= 1
        ledger.append([{"type": "test", "name": "the next"}])
        ledger.close()
        insist_sound(root)


def test_sealing_survives_the_failure_of_any_operation(tmp_path, monkeypatch, template):
    """Records whose sealing failed anywhere are sealed by the next opener, once."""
    for root, _ in each_failure(monkeypatch, tmp_path, template, on_ledger(seal_all), step=3):
        ledger = reopen(root)
        seal_all(ledger)
        assert sum(ledger.lock.heads().values()) == 3
        ledger.close()
        insist_sound(root)


def test_a_rotation_survives_the_failure_of_any_operation(tmp_path, monkeypatch, template):
    """A rotation that failed anywhere took place or did not; either way the next opener can write, and rotate."""
    pinned = reopen(template).layout.config.vkey
    for root, returned in each_failure(monkeypatch, tmp_path, template, on_ledger(rotate_key), step=3):
        ledger = Ledger(root, world(3), writable=True, vkey=pinned, actor=None)
        assert len(list_keys(ledger)) >= 1 + returned
        ledger.append([{"type": "test", "name": "the next"}])
        assert rotate_key(ledger).key.vkey != pinned
        assert [path.name for path in ledger.layout.keys.glob("log-*")] == ["log-1.json"]
        ledger.close()
        insist_sound(root)


def test_a_restore_survives_the_failure_of_any_operation(tmp_path, monkeypatch, template):
    """A restore that failed anywhere took place or did not, and can be begun again."""

    def act(root):
        return lambda: restore(root, world(4, Disk()), rolled_back=True)

    for root, returned in each_failure(monkeypatch, tmp_path, template, act, step=17):
        incarnation = read_layout(root).config.incarnation
        assert incarnation == "2" or not returned
        with contextlib.suppress(ConflictError):  # where nothing was left to do
            restore(root, world(5), rolled_back=incarnation == "1")
        ledger = reopen(root)
        assert [path.name for path in ledger.layout.keys.glob("log-*")] == ["log-2.json"]
        assert not (root / "log" / "1").stat().st_mode & 0o222
        ledger.append([{"type": "test", "name": "the next"}])
        ledger.world = replace(ledger.world, now_ns=lambda: BEGAN_NS + 2 * LEASE_NS)  # a lease may have been left
        seal_all(ledger)
        assert sum(ledger.lock.heads().values()) == 3
        ledger.close()
        insist_sound(root)
