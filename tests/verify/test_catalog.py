"""The catalog is compared with the log, row by row: a wrong one hides what is recorded, and proves nothing."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3

import pytest
from tests.support.ledgers import OPEN, make_batch, new_ledger, new_recorder, reopen

from backstory.ledger.merge import FILES_MIN, merge_all
from backstory.ledger.seal import seal_all
from backstory.verify.archive import verify_archive

PLACE = "catalog.sqlite"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """An archive with a merged file and one that is not."""
    root = tmp_path_factory.mktemp("original") / "archive"
    ledger = new_ledger(root)
    recorder = new_recorder(ledger)
    for turn in range(FILES_MIN + 1):
        recorder.record(make_batch(ledger, OPEN, turn, 1))
        seal_all(ledger)
        if turn == FILES_MIN - 1:
            merge_all(ledger)
    recorder.close()
    seal_all(ledger)
    ledger.close()
    return root


@pytest.fixture
def copy(original, tmp_path):
    """A copy to change."""
    return shutil.copytree(original, tmp_path / "archive")


def findings(root):
    """Return what is said of the catalog."""
    return [finding for finding in verify_archive(root, workers=1).findings if finding.place == PLACE]


CHANGES = {
    "DELETE FROM entry WHERE position = 3": 3,
    "DELETE FROM segment WHERE position = 2": 2,
    "UPDATE entry SET name = 'x' WHERE position = 4": 4,
    "UPDATE segment SET first_seq = first_seq + 1 WHERE position = 2": 2,
    "UPDATE segment SET merged = NULL WHERE position = 2": 2,
    "INSERT INTO segment SELECT position - 1, kind, stream, 99, 100, first_id, last_id, merged FROM segment "
    "WHERE position = 2": 1,
    "INSERT INTO entry VALUES (999, 'test', NULL)": 999,
    "UPDATE indexed SET size = size + 1": None,
    "PRAGMA user_version = 1": None,
    "DROP TABLE segment": None,
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_other_row_is_named(copy, change):
    """A row that is missing, too many or wrong is named by its entry."""
    assert findings(copy) == []
    with contextlib.closing(sqlite3.connect(copy / PLACE, isolation_level=None)) as connection:
        connection.execute(change)
    (finding,) = findings(copy)
    assert (finding.severity, finding.index) == ("failed", CHANGES[change])
    assert "reindex" in finding.what


def test_one_that_is_behind_or_gone_is_a_note(copy, original):
    """Whoever opens the archive for writing brings it to the log."""
    reopen(copy).append([{"type": "test"}])
    shutil.copy(original / PLACE, copy / PLACE)
    assert [finding.severity for finding in findings(copy)] == ["note"]
    (copy / PLACE).unlink()
    assert [finding.severity for finding in findings(copy)] == ["note"]


def test_one_that_others_bring_forward_meanwhile_is_sound(copy):
    """An archive may be appended to, entry after entry, while its catalog is compared with its log."""
    other = reopen(copy)

    def append(_what, _done, _total):
        other.append([{"type": "test"}])

    report = verify_archive(copy, workers=1, progress=append)
    assert other.catalog.size > report.counts["entries"]
    assert [finding for finding in report.findings if finding.severity == "failed"] == []


def test_one_whose_writer_was_stopped_is_a_note(copy, tmp_path):
    """A journal that waits to be rolled back is no damage."""
    path = copy / PLACE
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    for number in range(3_000):
        connection.execute("INSERT INTO entry VALUES (?, 'test', ?)", [10_000 + number, "x" * 100])
    shutil.copytree(copy, tmp_path / "left")
    connection.execute("ROLLBACK")
    connection.close()
    assert {finding.severity for finding in findings(tmp_path / "left")} == {"note"}
