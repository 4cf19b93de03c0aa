"""Several processes on one archive: every record of each is sealed once, whoever seals it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.archives import ORIGIN

import backstory

_WRITER = """
import sys
import numpy as np
import pandas as pd
import backstory

path, rounds = sys.argv[1], int(sys.argv[2])
with backstory.open(path) as archive:
    print("ready", flush=True)
    sys.stdin.readline()
    @archive.traced
    def score(amount: float) -> float:
        return amount * 2
    for number in range(rounds):
        score(float(number))
        if number % 10 == 9:
            archive.flush()
    archive.flush()
    found = archive.search("true")
    print(len(found), flush=True)
"""


def _start(path: Path, rounds: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(rounds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive into which two processes recorded 60 calls each, at the same time, while others opened it."""
    path = tmp_path_factory.mktemp("processes") / "audit"
    backstory.init(path, origin=ORIGIN).close()
    processes = [_start(path, 60), _start(path, 60)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for _ in range(10):
        backstory.open(path).close()
        backstory.open(path, mode="r").close()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    return path


def test_every_record_of_both_writers_is_sealed_once(written: Path):
    """120 records, 120 ids, none left in the spool."""
    with backstory.open(written, mode="r") as archive:
        found = archive.search("true")
        assert len(found) == 120
        assert found["id"].is_unique
        assert sorted(found["output"]) == sorted([2.0 * number for number in range(60)] * 2)
        assert archive.why(found["id"][0]).proof["state"] == "sealed"
        assert archive.why(found["id"][119]).proof["state"] == "sealed"


def test_the_archive_of_both_writers_verifies(written: Path):
    """One log, two streams, no gap."""
    with backstory.open(written) as archive:
        assert not archive.verify(workers=1).failed


def test_a_reader_sees_what_another_process_has_not_sealed(tmp_path: Path):
    """Records in the spool of a living process are found, and said to be unsealed."""
    path = tmp_path / "audit"
    with backstory.init(path, origin=ORIGIN) as archive:
        archive.traced(abs)(-1.0)
        archive._recorder.sync()
        with backstory.open(path, mode="r") as reader:
            name = reader.search("true")["id"][0]
            assert reader.why(name).proof["state"] == "unsealed"
            archive.flush()
            assert reader.why(name).proof["state"] == "sealed"
