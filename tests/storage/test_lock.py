"""The lock store: one commit wins, and leases run out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from backstory.errors import ConflictError, StorageError
from backstory.storage.lock import LockStore

INCREMENT = """
import sys
from pathlib import Path
from backstory.errors import ConflictError
from backstory.storage.lock import LockStore
lock = LockStore(Path(sys.argv[1]))
done = 0
while done < 30:
    size, note = lock.checkpoint()
    head = lock.heads().get("stream", 0)
    try:
        lock.commit(note, size + 1, b"%d" % (size + 1), {"stream": (head, head + 1)})
    except ConflictError:
        continue
    done += 1
"""


@pytest.fixture
def lock(tmp_path):
    """A new lock store."""
    return LockStore.create(tmp_path / "lock.sqlite", b"0")


def test_a_commit_replaces_what_it_saw(lock):
    """Checkpoint and heads move together."""
    lock.commit(b"0", 5, b"5", {"a": (0, 3), "b": (0, 2)})
    assert (lock.checkpoint(), lock.heads()) == ((5, b"5"), {"a": 3, "b": 2})


@pytest.mark.parametrize(
    ("old", "heads"),
    [(b"0", {"a": (3, 4)}), (b"5", {"a": (2, 4)}), (b"5", {"a": (3, 4), "b": (1, 2)}), (b"5", {"a": (4, 5)})],
    ids=["old checkpoint", "overlap", "new stream from 1", "gap"],
)
def test_a_commit_on_another_state_changes_nothing(lock, old, heads):
    """A checkpoint that moved, or a stream that is elsewhere, refuses the whole commit."""
    lock.commit(b"0", 5, b"5", {"a": (0, 3)})
    with pytest.raises(ConflictError):
        lock.commit(old, 6, b"6", heads)
    assert (lock.checkpoint(), lock.heads()) == ((5, b"5"), {"a": 3})


def test_a_path_that_cannot_be_looked_at_holds_none(tmp_path):
    """Where the file system itself refuses, the error is one of storage as where there is none."""
    with pytest.raises(StorageError, match="expected a file"):
        LockStore(tmp_path / ("x" * 300))


def test_two_processes_lose_no_commit(lock, tmp_path):
    """Two processes that each commit 30 times leave 60 commits."""
    command = [sys.executable, "-c", INCREMENT, str(tmp_path / "lock.sqlite")]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert (lock.checkpoint(), lock.heads()) == ((60, b"60"), {"stream": 60})


def test_a_lease_has_one_holder_until_it_runs_out(lock):
    """Another holder gets it after it ran out or was given back; the holder itself may renew it."""
    assert lock.take_lease("s", "a", now_ns=0, until_ns=10)
    assert not lock.take_lease("s", "b", now_ns=9, until_ns=20)
    assert lock.take_lease("s", "a", now_ns=9, until_ns=15)
    assert not lock.take_lease("s", "b", now_ns=15, until_ns=30)
    assert lock.take_lease("s", "b", now_ns=16, until_ns=30)
    assert not lock.take_lease("s", "a", now_ns=17, until_ns=30)
    lock.release_lease("s", "a")
    assert not lock.take_lease("s", "a", now_ns=17, until_ns=30)
    lock.release_lease("s", "b")
    assert lock.take_lease("s", "a", now_ns=17, until_ns=30)


def test_a_lock_store_is_never_made_on_the_fly(lock, tmp_path):
    """A missing one is an error, and so is a second one."""
    with pytest.raises(StorageError):
        LockStore(tmp_path / "none.sqlite")
    with pytest.raises(ConflictError):
        LockStore.create(tmp_path / "lock.sqlite", b"0")


def test_damage_is_an_error(lock, tmp_path):
    """A file that is no SQLite database, or has other tables, is said to be so."""
    lock.check()
    path = tmp_path / "lock.sqlite"
    data = path.read_bytes()
    for changed in (b"", b"x" * len(data), data[: len(data) // 2], data.replace(b"TABLE lease", b"TABLE leaze")):
        path.write_bytes(changed)
        with pytest.raises(StorageError):
            lock.check()


def test_a_read_only_lock_store_is_not_written(lock, tmp_path):
    """Opened for reading, it gives answers and takes no commit."""
    reader = LockStore(tmp_path / "lock.sqlite", writable=False)
    assert reader.checkpoint() == (0, b"0")
    with pytest.raises(StorageError):
        reader.commit(b"0", 1, b"1", {})
