"""The catalog holds positions only, and can be lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from tests.support.ledgers import OPEN, SEALED, catalog_rows, make_batch, new_ledger, new_recorder, reopen, world

from backstory.catalog.catalog import Catalog
from backstory.errors import ConflictError
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all

ENTRIES = [(0, {"type": "a", "name": "n"}), (1, {"type": "b"}), (2, {"type": "a", "name": "m"})]


@pytest.fixture
def path(tmp_path):
    """Where a catalog will be."""
    return tmp_path / "catalog.sqlite"


def test_entries_are_found_by_type_and_name(path):
    """Positions come oldest first, by type or by type and name."""
    catalog = Catalog(path)
    catalog.catch_up(ENTRIES)
    assert (catalog.entries("a"), catalog.entries("a", "m"), catalog.entries("c"), catalog.size) == ([0, 2], [2], [], 3)


def test_entries_are_indexed_once(path):
    """Catching up again, from anywhere, by anyone, adds what is new and nothing else."""
    first, second = Catalog(path), Catalog(path)
    first.catch_up(ENTRIES[:2])
    second.catch_up(ENTRIES)
    first.catch_up(ENTRIES)
    assert catalog_rows(path)[0] == ("indexed", 0, 3)
    assert len(catalog_rows(path)) == 4
    assert first.entries("a") == [0, 2]


def test_a_gap_is_not_indexed(path):
    """Entries after one that is missing wait until it comes."""
    catalog = Catalog(path)
    catalog.catch_up(ENTRIES[1:])
    assert catalog.size == 0
    catalog.catch_up(ENTRIES)
    assert catalog.size == 3


@pytest.mark.parametrize("content", [b"no database", bytes(4096), b"SQLite format 3\x00" + b"\xff" * 200])
def test_a_damaged_catalog_is_replaced(path, content):
    """A file that is no catalog gives way to a new one."""
    path.write_bytes(content)
    catalog = Catalog(path)
    assert catalog.size == 0
    catalog.catch_up(ENTRIES)
    assert Catalog(path).entries("a") == [0, 2]


def test_a_catalog_of_another_version_is_replaced(path):
    """Tables of another version are not read."""
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE other (a); PRAGMA user_version = 99;")
    connection.close()
    assert Catalog(path).size == 0


def test_a_closed_catalog_says_so(path):
    """Every question after closing is a conflict, not a crash."""
    catalog = Catalog(path)
    catalog.close()
    for ask in (catalog.clear, lambda: catalog.size, lambda: catalog.entries("a")):
        with pytest.raises(ConflictError):
            ask()


def test_deleted_it_is_built_again_equal(tmp_path):
    """A catalog rebuilt from the log is equal to the one that was lost."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    for schema in (OPEN, SEALED):
        recorder.record(make_batch(ledger, schema, 0, 3))
    recorder.close()
    seal_all(ledger)
    before = catalog_rows(ledger.layout.catalog)
    ledger.catalog.close()
    ledger.layout.catalog.unlink()
    reopen(ledger.layout.root)
    assert catalog_rows(ledger.layout.catalog) == before


MISSING = [
    "DELETE FROM segment WHERE first_seq = 0",
    "DELETE FROM entry WHERE position = 1",
    "DELETE FROM entry WHERE position = (SELECT max(position) FROM entry)",
    "UPDATE segment SET end_seq = end_seq - 1",
    "UPDATE segment SET stream = '00'",
    "DELETE FROM segment; UPDATE entry SET type = 'x' WHERE type = 'segment.sealed'",
]


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("change", MISSING)
def test_a_catalog_in_which_something_is_missing_is_built_again(tmp_path, change, writable):
    """Opening an archive counts what its catalog names, against the log's size and the lock store's heads."""
    ledger = new_ledger(tmp_path / "archive")
    recorder = new_recorder(ledger)
    for first in (0, 3):
        recorder.record(make_batch(ledger, OPEN, first, 3))
        seal_all(ledger)
    recorder.close()
    seal_all(ledger)
    before = catalog_rows(ledger.layout.catalog)
    segments = ledger.catalog.segments("prediction")
    ledger.close()
    with closing(sqlite3.connect(ledger.layout.catalog)) as connection:
        connection.executescript(change)
    opened = Ledger(ledger.layout.root, world(), writable=writable, vkey=None, actor=None)
    assert opened.catalog.segments("prediction") == segments
    assert (catalog_rows(ledger.layout.catalog) == before) == writable  # a reader leaves the file as it is


@pytest.mark.parametrize("content", [None, b"no database", bytes(4096)])
def test_a_catalog_that_is_only_read_is_not_written(path, content):
    """A reader starts from the file in memory, and from nothing where the file is none."""
    if content is None:
        catalog = Catalog(path)
        catalog.catch_up(ENTRIES[:2])
        catalog.close()
        content = path.read_bytes()
    path.write_bytes(content)
    reading = Catalog(None, start=path)
    reading.catch_up(ENTRIES)
    assert (reading.entries("a"), reading.size) == ([0, 2], 3)
    assert path.read_bytes() == content
