"""Log and lock store of different moments: opening for writing refuses, and says which is older and what to do."""

from __future__ import annotations

import shutil

import pytest
from tests.support.ledgers import new_ledger, reopen

from backstory.errors import BackstoryError, ConflictError, StorageError, VerificationError
from backstory.ledger.create import create_archive
from backstory.ledger.ledger import Ledger
from backstory.storage.layout import read_layout
from backstory.storage.world import World


@pytest.fixture
def two(tmp_path):
    """An archive of three entries, and a copy of it from when it had two."""
    ledger = new_ledger(tmp_path / "archive")
    ledger.append([{"type": "test", "name": "a"}])
    shutil.copytree(ledger.layout.root, tmp_path / "copy")
    ledger.append([{"type": "test", "name": "b"}])
    ledger.close()
    return ledger.layout.root, tmp_path / "copy"


def put_back(copy, root, name):
    """Put a file or directory back from a copy."""
    target = root / name
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    shutil.copytree(copy / name, target) if (copy / name).is_dir() else shutil.copy(copy / name, target)


def test_a_log_older_than_the_lock_store_is_refused(two):
    """With the log put back from a copy, nothing is written."""
    put_back(two[1], two[0], "log")
    with pytest.raises(
        VerificationError, match=r"log is older.* has 2 entries, and 3 were committed.*backstory restore"
    ):
        reopen(two[0])


def test_a_lock_store_older_than_the_log_is_refused(two):
    """With the lock store put back from a copy, nothing is written."""
    put_back(two[1], two[0], "lock.sqlite")
    with pytest.raises(VerificationError, match=r"lock store is older.* says 2 entries, and 3 are.*backstory restore"):
        reopen(two[0])


def test_another_branch_is_refused(two):
    """Where log and lock store were each written to, from one copy, nothing is written, and both are evidence."""
    other = reopen(two[1])
    other.append([{"type": "test", "name": "another"}])
    other.close()
    put_back(two[1], two[0], "lock.sqlite")
    with pytest.raises(VerificationError, match=r"two branches.*Keep both"):
        reopen(two[0])


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/000.p/3"])
def test_a_log_that_lost_a_file_is_refused(two, name):
    """Without its checkpoint, or a tile at its edge, nothing is written."""
    (two[0] / "log" / "1" / name).unlink()
    with pytest.raises((VerificationError, StorageError), match=r"put .*back"):
        reopen(two[0])


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/000.p/3"])
def test_a_log_with_a_changed_file_is_refused(two, name):
    """With a flipped bit in its checkpoint or a tile at its edge, nothing is written."""
    path = two[0] / "log" / "1" / name
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(VerificationError, match="put"):
        reopen(two[0])


def test_reading_does_not_ask_the_lock_store(two):
    """A copy without a lock store, as a backup that leaves it out, answers questions."""
    (two[1] / "lock.sqlite").unlink()
    reader = Ledger(two[1], World(), writable=False, vkey=None, actor=None)
    assert reader.log.checkpoint().size == 2


def test_a_lock_store_elsewhere_is_not_put_back_with_the_archive(tmp_path):
    """With the lock store outside, the whole archive put back from a copy is noticed."""
    root, store = tmp_path / "archive", tmp_path / "elsewhere" / "store.sqlite"
    create_archive(root, "example.org/test", World(), lock=store)
    shutil.copytree(root, tmp_path / "copy")
    reopen(root).append([{"type": "test", "name": "a"}])
    shutil.rmtree(root)
    shutil.copytree(tmp_path / "copy", root)
    with pytest.raises(VerificationError, match="log is older"):
        reopen(root)
    assert read_layout(root).lock == store
    assert not (root / "lock.sqlite").exists()


def test_a_lock_store_that_is_there_is_not_taken_for_a_new_archive(tmp_path):
    """`init` with the lock store of another archive changes nothing."""
    store = tmp_path / "store.sqlite"
    create_archive(tmp_path / "a", "example.org/a", World(), lock=store)
    with pytest.raises(ConflictError, match="no lock store"):
        create_archive(tmp_path / "b", "example.org/b", World(), lock=store)
    assert not (tmp_path / "b").exists()


def test_a_clock_that_goes_back_stops_nothing(tmp_path):
    """Entries have the time the clock said, in whatever order; their index says which came first, and all verifies."""
    ledger = new_ledger(tmp_path / "archive")
    ledger.append([{"type": "test", "name": "a"}])
    earlier = reopen(ledger.layout.root)  # a clock that begins anew
    earlier.append([{"type": "test", "name": "b"}])
    times = [entry["time"] for entry in earlier.find_entries("test")]
    assert times == sorted(times, reverse=True)
    assert earlier.log.entry(2)["name"] == "b"


def test_settings_that_are_not_known_are_refused(two):
    """A `backstory.toml` with a setting of a later version is not read past it."""
    path = two[0] / "backstory.toml"
    path.write_text(path.read_text() + 'mirror = "elsewhere"\n')
    with pytest.raises(BackstoryError):
        reopen(two[0])
