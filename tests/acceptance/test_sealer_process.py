"""The process that seals beside a service: when there is one, what it does, and that nothing depends on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.support.archives import ORIGIN
from tests.support.ledgers import world

import backstory
from backstory.archive import Archive, sealing
from backstory.errors import InputError

ENOUGH = 6_000
"""Rows that are more than a session of these tests keeps to itself."""
MANY = 70_000
"""Rows that are more than any session does, and are sealed at once."""
_PATIENCE_SECONDS = 60

_SERVICE = """
import sys
import threading
import numpy as np
import pandas as pd
import backstory
from backstory.archive import sealing

def double(frame):
    return frame["x"].to_numpy() * 2.0

sealing.START_ROWS = 5_000
with backstory.open(sys.argv[1]) as archive:
    model = archive.register(double, name="double")
    archive.predict(model, pd.DataFrame({"x": np.arange(6_000.0)}), method="__call__").wait("durable")
    process = archive._sealing.process
    while process.pid is None:
        threading.Event().wait(0.01)
    print(process.pid, flush=True)
    sys.stdin.readline()
"""


def double(frame: pd.DataFrame) -> np.ndarray:
    """Stand for a model."""
    return frame["x"].to_numpy() * 2.0


def record(archive: Archive, rows: int) -> None:
    """Record so many predictions durably."""
    model = archive.register(double, name="double")
    archive.predict(model, pd.DataFrame({"x": np.arange(float(rows))}), method="__call__").wait("durable")


def until(what: Callable[[], bool]) -> None:
    """Wait for something another process does."""
    pause = threading.Event()
    for _ in range(_PATIENCE_SECONDS * 20):
        if what():
            return
        pause.wait(0.05)
    pytest.fail("waited for nothing")


def sealed(archive: Archive) -> int:
    """Return how many records are sealed."""
    return sum(archive._ledger.lock.heads().values())


def start(archive: Archive, rows: int = ENOUGH) -> int:
    """Record enough for the process to start and return its id once it is there."""
    record(archive, rows)
    until(lambda: archive._sealing.process.pid is not None)
    return archive._sealing.process.pid


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new archive, closed; fewer rows than elsewhere are reason enough to start a process."""
    monkeypatch.setattr(sealing, "START_ROWS", 5_000)
    backstory.init(tmp_path / "audit", origin=ORIGIN).close()
    return tmp_path / "audit"


@pytest.mark.parametrize(
    "options", [{"sealer": "none"}, {"mode": "r"}, {"world": world()}, {}], ids=["none", "reading", "world", "short"]
)
def test_no_process_where_none_is_wanted(path: Path, options: dict[str, object], monkeypatch: pytest.MonkeyPatch):
    """Asked for none, reading, in a world of its own, or with little to seal, a session starts no process."""
    if options:
        monkeypatch.setattr(sealing, "START_ROWS", 1)
    with backstory.open(path, **options) as archive:
        if options.get("mode") != "r":
            record(archive, 10)
            archive._sealing.after_sync()
        process = archive._sealing.process
        assert process is None or process.pid is None


def test_a_sealer_that_is_none_is_refused(path: Path):
    """The word is checked."""
    with pytest.raises(InputError, match="'process' or 'none'"):
        backstory.open(path, sealer="thread")


def test_much_is_sealed_without_being_asked(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Records of a living session get into the log without a flush, and the process ends with the session."""
    monkeypatch.undo()
    assert sealing.START_ROWS < MANY
    with backstory.open(path) as archive:
        pid = start(archive, MANY)
        until(lambda: sealed(archive) == MANY)
        process = archive._sealing.process._process
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with backstory.open(path, mode="r") as archive:
        report = archive.verify(workers=1)
    assert (report.counts["records"], report.findings) == (MANY, ())


def test_few_that_wait_long_are_sealed(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Few records are reason enough once they have waited."""
    monkeypatch.setattr(sealing, "START_SECONDS", 0.05)
    with backstory.open(path) as archive:
        record(archive, 10)
        until(lambda: archive._sealing.process.pid is not None)


def test_a_killed_process_costs_nothing(path: Path, caplog: pytest.LogCaptureFixture):
    """Killed in the middle of it, its work is done by `close`; that it died is in the log."""
    with backstory.open(path) as archive:
        os.kill(start(archive), signal.SIGKILL)
        until(lambda: archive._sealing.process._process.poll() is not None)
        record(archive, 10)
        until(lambda: any("ended with -9" in message for message in caplog.messages))
    with backstory.open(path) as archive:
        assert archive.verify(workers=1).counts["records"] == ENOUGH + 10
        assert not archive._ledger.spool.stream_names()


def test_a_killed_process_is_followed_by_another(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Once it has rested, a process that died is replaced."""
    monkeypatch.setattr("backstory.archive.sealer.RESTART_NS", 0)
    with backstory.open(path) as archive:
        first = start(archive, MANY)
        os.kill(first, signal.SIGKILL)
        record(archive, MANY)
        until(lambda: archive._sealing.process.pid not in {None, first})
        until(lambda: sealed(archive) == 2 * MANY)


def test_a_stopped_process_is_killed_in_the_end(path: Path, monkeypatch: pytest.MonkeyPatch):
    """One that does not end is not waited for longer than stated."""
    monkeypatch.setattr("backstory.archive.sealer.END_SECONDS", 0.2)
    with backstory.open(path) as archive:
        os.kill(start(archive), signal.SIGSTOP)
    with backstory.open(path) as archive:
        assert archive.verify(workers=1).counts["records"] == ENOUGH


def test_the_process_ends_with_a_killed_service(path: Path):
    """A service killed with -9 leaves no process behind, and what it recorded is sealed by the next opener."""
    service = subprocess.Popen(
        [sys.executable, "-c", _SERVICE, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert service.stdout.readline().strip().isdecimal()
    service.kill()
    _, said = service.communicate(timeout=_PATIENCE_SECONDS)  # ends when all who hold its stderr have
    assert said == ""
    with backstory.open(path) as archive:
        assert archive.verify(workers=1).counts["records"] == ENOUGH


def test_two_services_have_one_on_duty_each_record_once(path: Path):
    """Two services, a process each: every record is sealed once."""
    command = [sys.executable, "-c", _SERVICE, str(path)]
    services = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    pids = {service.stdout.readline().strip() for service in services}
    assert len(pids) == 2
    for service in services:
        service.stdin.close()
    for service in services:
        service.wait(_PATIENCE_SECONDS)
        service.stdout.close()
    assert [service.returncode for service in services] == [0, 0]
    with backstory.open(path, mode="r") as archive:
        report = archive.verify(workers=1)
    assert (report.counts["records"], report.findings) == (2 * ENOUGH, ())


def test_a_forked_child_leaves_it_to_the_parent(path: Path):
    """A child of fork ends without a word to the parent's process, and keeps no end of its pipe."""
    with backstory.open(path) as archive:
        pid = start(archive, MANY)
        child = os.fork()
        if child == 0:
            gone = archive._sealing.process.pid is None
            archive.close()
            os._exit(0 if gone else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert archive._sealing.process.pid == pid
        until(lambda: sealed(archive) == MANY)
        process = archive._sealing.process._process
    assert process.returncode == 0
