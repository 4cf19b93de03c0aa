"""A job that is killed again and again and then run twice at once has every row exactly once.

`BACKSTORY_JOB_ROWS` says how large it is; `make soak` takes 5,000,000 rows.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.support.archives import ORIGIN

import backstory

ROWS = int(os.environ.get("BACKSTORY_JOB_ROWS", "10000"))
PARTS = 25 if ROWS >= 1_000_000 else 20
KILLS = 5
MADE_MAX = PARTS // KILLS - 2
"""Parts one process makes before it is to be killed: few enough that none comes to the end."""
PEAK_MAX = 10**9
"""Bytes of memory a process of the job may take, however large the job."""


class Runner:
    """The program of `tests/crash/job.py`, running."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("job.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, path: Path, kill_after: int | None = None, share: float = 0.0) -> list[str]:
        """Let a child run the job; return what it said.

        Args:
            path: The archive.
            kill_after: Kill it after so many parts that it made; None to let it end.
            share: How far into the next part, as a share of what its last step took.
        """
        self.process.stdin.write(f"{path} {ROWS} {PARTS}\n")
        self.process.stdin.flush()
        said: list[str] = []
        child, killer, began = 0, None, time.monotonic()
        while True:
            line = self.process.stdout.readline().strip()
            assert line, "the program ended"
            said.append(line)
            word, _, value = line.partition(" ")
            if word == "ended":
                break
            if word == "started":
                child = int(value)
            made = sum(line.startswith("made") for line in said)
            if killer is None and kill_after == made and word != "kept":
                seconds = (time.monotonic() - began) * share
                killer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
                killer.start()
            began = time.monotonic()
        if killer is not None:
            killer.join()
        return said


@pytest.fixture
def runners() -> Iterator[list[Runner]]:
    """Two programs that run the job, ready."""
    programs = [Runner(), Runner()]
    for program in programs:
        assert program.process.stdout.readline() == "ready\n"
    yield programs
    for program in programs:
        program.process.communicate()


def test_a_job_killed_and_run_twice_at_once_has_every_row_once(runners: list[Runner], tmp_path: Path):
    """Killed five times and rerun by two processes at once, a job has the expected records, each row once."""
    draw = random.Random(22)
    path = tmp_path / "audit"
    backstory.init(path, origin=ORIGIN).close()
    made: list[str] = []
    for _ in range(KILLS):
        said = runners[0].run(path, draw.randint(0, MADE_MAX), draw.uniform(0, 1))
        assert said[-1] == f"ended {signal.SIGKILL}"
        made += [line for line in said if line.startswith("made")]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda runner: runner.run(path), runners))
    for said in both:
        assert said[-1] == "ended 0"
        assert max(int(line.split()[1]) for line in said if line.startswith("peak")) < PEAK_MAX
        made += [line for line in said if line.startswith("made")]
    assert len(made) == len(set(made)) <= PARTS, "nobody was told twice that a part was made now"
    with backstory.open(path) as archive:
        report = archive.verify()
        assert archive._ledger.spool.stream_names() == []
        assert archive.job("nightly", run="2026-11-22").done(PARTS - 1)
        (end,) = archive._ledger.find_entries("job.finished")
        compared = archive.reconcile(count=ROWS)
    assert {finding.severity for finding in report.findings} <= {"note"}, str(report)
    assert (compared.recorded, compared.difference, compared.unknown_streams) == (ROWS, 0, ())
    assert (end["expected"], end["records"], end["parts"]) == (str(ROWS), str(ROWS), str(PARTS))
    tables = [pq.read_table(file, columns=["feature.n"]) for file in (path / "segments").glob("*.parquet")]
    counts = np.bincount(np.concatenate([table.column(0).to_numpy() for table in tables]))
    assert (report.counts["records"], len(counts), counts.min(), counts.max()) == (ROWS, ROWS, 1, 1)
