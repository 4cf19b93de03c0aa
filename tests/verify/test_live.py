"""Verifying an archive while others write to it: growth is no damage, and damage is not taken for growth."""

from __future__ import annotations

import shutil

import pytest
from tests.support.ledgers import OPEN, make_batch, new_ledger, new_recorder

from backstory.ledger.seal import seal_all
from backstory.storage import spool_writer as spool_writer_module
from backstory.verify import archive as archive_module
from backstory.verify.archive import verify_archive


@pytest.fixture
def ledger(tmp_path):
    """A new archive, open for writing."""
    return new_ledger(tmp_path / "archive")


def verify_while(monkeypatch, ledger, step, act):
    """Verify an archive and do something right before one of the steps."""
    check = getattr(archive_module, step)

    def later(*arguments):
        act()
        return check(*arguments)

    monkeypatch.setattr(archive_module, step, later)
    return verify_archive(ledger.layout.root, workers=1)


@pytest.mark.parametrize(("before", "added"), [(0, 1), (5, 10), (250, 10), (254, 1), (255, 300)])
def test_a_log_that_grows_is_sound(monkeypatch, ledger, before, added):
    """Tiles and bundles of a later size, also where they replaced partial ones, are no damage."""
    if before:
        ledger.append([{"type": "test"}] * before)
    report = verify_while(monkeypatch, ledger, "check_log", lambda: ledger.append([{"type": "test"}] * added))
    assert (report.findings, report.tree_size) == ((), before + 1)


def test_a_spool_that_is_sealed_meanwhile_is_sound(monkeypatch, ledger):
    """Records that a sealer takes out of the spool are not missing."""
    monkeypatch.setattr(spool_writer_module, "ROTATE_SIZE", 10)
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 2))

    def seal_and_go_on():
        recorder.record(make_batch(ledger, OPEN, 2, 2))
        seal_all(ledger)
        recorder.record(make_batch(ledger, OPEN, 4, 2))

    report = verify_while(monkeypatch, ledger, "check_spool", seal_and_go_on)
    recorder.close()
    assert not report.failed


def test_a_changed_file_of_a_later_size_is_named(monkeypatch, ledger):
    """What a newer tile says about entries under the checkpoint must be what the checkpoint says."""
    path = ledger.layout.log / "tile" / "0" / "000.p" / "3"

    def grow():
        ledger.append([{"type": "test"}])
        path.write_bytes(b"x" + path.read_bytes()[1:])

    ledger.append([{"type": "test"}])
    report = verify_while(monkeypatch, ledger, "check_log", grow)
    assert [f.place for f in report.findings if f.severity == "failed"] == ["log/1/tile/0/000.p/3"]


def test_a_log_and_lock_put_back_are_found(ledger, tmp_path):
    """Where checkpoint and lock store are of an earlier day, the tiles of the later one tell."""
    ledger.append([{"type": "test"}])
    for path in (ledger.layout.lock, ledger.layout.log / "checkpoint"):
        shutil.copy(path, tmp_path / path.name)
    ledger.append([{"type": "test"}])
    for path in (ledger.layout.lock, ledger.layout.log / "checkpoint"):
        shutil.copy(tmp_path / path.name, path)
    report = verify_archive(ledger.layout.root, workers=1)
    assert any("longer once" in f.what for f in report.findings if f.severity == "failed")


@pytest.mark.parametrize(("rows", "said"), [(1, "1 record is ... it yet"), (2, "2 records are ... them yet")])
def test_what_waits_is_counted(ledger, rows, said):
    """One record is told as one."""
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, rows))
    (note,) = verify_archive(ledger.layout.root, workers=1).findings
    recorder.close()
    assert note.what == said.replace("...", "recorded and not yet sealed: no proof covers")
