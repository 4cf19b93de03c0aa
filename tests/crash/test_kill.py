"""Killed at any moment, an archive has every record it acknowledged, once, and verifies.

`BACKSTORY_CRASH_ROUNDS` says how often; `make soak` kills 200 times.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.archives import ORIGIN

import backstory
from backstory.capture.recorder import Ids

ROUNDS = int(os.environ.get("BACKSTORY_CRASH_ROUNDS", "5"))
ROUNDS_PER_ARCHIVE = 12
"""Checking takes longer the more an archive holds, so a long run goes on in another one."""
LATEST_KILL_SECONDS = 0.5


class Recorder:
    """The program of `tests/crash/recorder.py`, running."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("recorder.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def run_and_kill(self, path: Path, seed: int, after: str, seconds: float) -> list[str]:
        """Let a child record, kill it some time after it `started` or `acknowledged`; return what it acknowledged."""
        self.process.stdin.write(f"{path} {seed}\n")
        self.process.stdin.flush()
        acknowledged: list[str] = []
        child, timer = 0, None
        while (line := self._line()) != "ended":
            first, second = line.split()
            if first == "started":
                child = int(second)
            else:
                acknowledged += Ids(int(first, 16), int(second))
            if timer is None and (after == "started" or acknowledged):
                timer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
                timer.start()
        assert timer is not None, "the recording child ended by itself"
        timer.join()
        return acknowledged

    def _line(self) -> str:
        line = self.process.stdout.readline()
        assert line, "the recording program ended"
        return line.strip()

    def close(self) -> None:
        """End the program."""
        self.process.communicate()


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    """The recording program."""
    program = Recorder()
    yield program
    program.close()


@pytest.mark.parametrize("start", range(0, ROUNDS, ROUNDS_PER_ARCHIVE))
def test_nothing_acknowledged_is_lost_or_doubled_by_a_kill(start: int, recorder: Recorder, tmp_path: Path):
    """After each kill the archive opens, verifies, and has every acknowledged id exactly once."""
    draw = random.Random(start)
    path = tmp_path / "audit"
    backstory.init(path, origin=ORIGIN).close()
    acknowledged: set[str] = set()
    for seed in range(start, min(start + ROUNDS_PER_ARCHIVE, ROUNDS)):
        after = draw.choice(["started", "acknowledged"])
        acknowledged.update(recorder.run_and_kill(path, seed, after, draw.uniform(0, LATEST_KILL_SECONDS)))
        with backstory.open(path) as archive:
            report = archive.verify(check=False, workers=1)
            found = archive.search("true")
            # A blob or segment whose entry was never written is noted, and no damage.
            assert {finding.severity for finding in report.findings} <= {"note"}, (seed, str(report))
            assert found["id"].is_unique, seed
            assert not acknowledged - set(found["id"]), seed
            assert report.counts["records"] == len(found), seed
            assert not archive._ledger.spool.streams(), seed
    assert acknowledged
