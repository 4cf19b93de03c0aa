"""A sealer that is paused while another takes its lease never doubles or drops a frame, wherever it is paused."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.ledgers import BEGAN_NS, SEALED, QuickDisk, make_batch, new_ledger, new_recorder, reopen, world

from backstory.errors import ConflictError, StorageError
from backstory.ledger.ledger import Ledger
from backstory.ledger.read import find_record
from backstory.ledger.seal import LEASE_NS, seal_all
from backstory.records.manifest import CLOSED_TYPE, MANIFEST_TYPE
from backstory.verify.archive import verify_archive

STEPS_MAX = 60
RECORDS = 3


class PausingDisk(QuickDisk):
    """A disk that does something else before its `at`-th sync or removal, once.

    Attributes:
        has_paused: Whether it came to that.
    """

    def __init__(self, at: int, meanwhile: Callable[[], None]) -> None:
        """Plan the pause."""
        self._left = at
        self._meanwhile = meanwhile
        self.has_paused = False

    def sync(self, path: Path) -> None:  # noqa: ARG002
        """Flush nothing, and perhaps pause: between writing a file, naming it, and flushing its name."""
        self._effect()

    def remove(self, path):
        """Remove, perhaps after a pause."""
        self._effect()
        super().remove(path)

    def _effect(self) -> None:
        self._left -= 1
        if self._left < 0 and not self.has_paused:
            self.has_paused = True
            self._meanwhile()


class Other:
    """Another sealer, which comes ten minutes later."""

    def __init__(self, root: Path) -> None:
        """Look at an archive."""
        self._root = root
        self._thread: threading.Thread | None = None

    def seal(self) -> None:
        """Seal; where the paused one holds the log, wait for that beside it as another process would."""
        if self._log_is_free():
            self._seal_later()
        else:
            self._thread = threading.Thread(target=self._seal_later)
            self._thread.start()

    def join(self) -> None:
        """Return when it has sealed, if it was ever asked to."""
        if self._thread is not None:
            self._thread.join()

    def _seal_later(self) -> None:
        later = dataclasses.replace(world(seed=7), now_ns=lambda: BEGAN_NS + 2 * LEASE_NS)
        with contextlib.suppress(ConflictError, StorageError):  # the one that was paused was first, after all
            seal_all(Ledger(self._root, later, writable=True, vkey=None, actor=None))

    def _log_is_free(self) -> bool:
        with (self._root / "log" / "1" / "writer").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """An archive with records about persons in its spool whose writer is gone, and their ids."""
    root = tmp_path_factory.mktemp("recorded") / "archive"
    ledger = new_ledger(root)
    recorder = new_recorder(ledger)
    ids = [i for first in (0, RECORDS) for i in recorder.record(make_batch(ledger, SEALED, first, RECORDS)).ids]
    recorder.close()
    return root, ids


def insist_once(root: Path, ids: list[str]) -> None:
    """Insist that an archive has these records, each once and sealed, and that each stream ended once."""
    ledger = reopen(root, seed=9)
    report = verify_archive(root, workers=1)
    assert not report.failed, str(report)
    assert not report.incomplete, str(report)
    assert report.counts["records"] == len(ids)
    assert all(find_record(ledger, identity, "prediction").place is not None for identity in ids)
    entries = [entry for _, entry in ledger.log.entries(0, ledger.log.checkpoint().size)]
    manifests = [(entry["stream"], entry["first_seq"]) for entry in entries if entry["type"] == MANIFEST_TYPE]
    closed = [entry["stream"] for entry in entries if entry["type"] == CLOSED_TYPE]
    assert len(set(manifests)) == len(manifests) == 1
    assert sorted(closed) == sorted(stream for stream, _ in manifests)
    assert ledger.spool.stream_names() == []


def test_a_sealer_paused_at_any_write_loses_and_doubles_nothing(tmp_path, recorded):
    """Before whichever write a sealer is paused, another that takes over and it itself seal each record once."""
    original, ids = recorded
    for at in range(STEPS_MAX):
        root = tmp_path / str(at)
        shutil.copytree(original, root)
        other = Other(root)
        disk = PausingDisk(at, other.seal)
        ledger = reopen(root, disk=disk)
        with contextlib.suppress(ConflictError, StorageError):
            seal_all(ledger)
        other.join()
        seal_all(reopen(root, seed=8))
        insist_once(root, ids)
        if not disk.has_paused:
            break
    assert 20 < at < STEPS_MAX - 1
