"""A burst far beyond capacity: what was acknowledged is stored, what was refused is counted, nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.crash.burst import RECORDS, THREADS
from tests.support.ledgers import new_ledger, reopen

from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all
from backstory.records.identity import id_text
from backstory.records.manifest import CLOSED_TYPE, MANIFEST_TYPE
from backstory.verify.archive import verify_archive

ROOT = Path(__file__).parents[2]
POLICIES = ("block", "refuse", "spill")
PROCESSES = 4
TRIED = PROCESSES * THREADS * RECORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What four processes were told while they recorded into one archive.

    Attributes:
        ledger: The archive, sealed.
        kept: The ids they were given.
        refused: How many records each process was refused.
        spilled: Whether all of them wrote to the other directory.
    """

    ledger: Ledger
    kept: list[str]
    refused: list[int]
    spilled: bool


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Burst]:
    """A burst under each policy."""
    roots = {policy: tmp_path_factory.mktemp(policy) / "archive" for policy in POLICIES}
    for root in roots.values():
        new_ledger(root)
    program = [sys.executable, "-m", "tests.crash.burst", *(f"{policy}={root}" for policy, root in roots.items())]
    running = [subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    said = [[json.loads(line) for line in process.communicate()[0].splitlines()] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES
    done = {}
    for (policy, root), parts in zip(roots.items(), zip(*said, strict=True), strict=True):
        ledger = reopen(root)
        seal_all(ledger)
        kept = [identity for part in parts for identity in part["kept"]]
        done[policy] = Burst(
            ledger=ledger,
            kept=kept,
            refused=[part["refused"] for part in parts],
            spilled=all(part["spilled"] for part in parts),
        )
    return done


@pytest.mark.parametrize("policy", POLICIES)
def test_what_was_acknowledged_is_stored_and_nothing_else(bursts, policy):
    """The ids that were given out are the ids of the archive, each once, and what was not given out was refused."""
    burst = bursts[policy]
    names = [entry["file"]["name"] for entry in burst.ledger.find_entries(MANIFEST_TYPE)]
    tables = [pq.read_table(burst.ledger.layout.segments / name, columns=["id"]) for name in names]
    stored = [id_text(value) for table in tables for value in table["id"].to_pylist()]
    assert sorted(stored) == sorted(burst.kept)
    assert len(burst.kept) + sum(burst.refused) == TRIED
    report = verify_archive(burst.ledger.layout.root, workers=1)
    assert not report.failed, str(report)
    assert burst.ledger.spool.stream_names() == []


@pytest.mark.parametrize("policy", POLICIES)
def test_what_was_refused_is_in_the_log(bursts, policy):
    """Each writer says at its end how many records it refused, and that is how many its callers saw refused."""
    burst = bursts[policy]
    closed = burst.ledger.find_entries(CLOSED_TYPE)
    assert sorted(int(entry["mark"]["refused"]) for entry in closed) == sorted(burst.refused)
    assert sum(int(entry["mark"]["recorded"]) for entry in closed) == len(burst.kept)
    assert all(entry["clean"] for entry in closed)
    assert (sum(burst.refused) > 0) is (policy == "refuse")
    assert burst.spilled is (policy == "spill")
