"""Forks and the ends of processes: every acknowledged row is recorded once, by whoever was asked to record it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.ledgers import new_ledger, reopen

from backstory.ledger.read import find_record
from backstory.ledger.seal import seal_all
from backstory.records.identity import id_text
from backstory.verify.archive import verify_archive

ROOT = Path(__file__).parents[2]

PROGRAM = """
import multiprocessing, os, sys, threading
from pathlib import Path
from backstory.capture.recorder import RowTarget
from backstory.ledger.ledger import Ledger
from backstory.storage.world import World
from tests.support.ledgers import OPEN, QuickDisk, make_batch, make_row, new_recorder

ledger = Ledger(Path(sys.argv[1]), World(disk=QuickDisk()), writable=True, vkey=None, actor=None)
recorder, target = new_recorder(ledger, "group"), RowTarget(OPEN)

def record(*numbers):
    ids = [recorder.record_row(target, make_row(ledger, number)) for number in numbers]
    os.write(1, "".join(f"{each:x} {number}\\n" for each, number in zip(ids, numbers)).encode())

"""
ENDS = {
    "falls off its end": "record(*range(20))",
    "exits": "record(*range(20)); sys.exit(3)",
    "raises": "record(*range(20)); raise ValueError",
    "ends with a thread running": "threading.Thread(target=record, args=range(20)).start()",
    "forks": """
record(*range(5))
child = os.fork()
record(*(range(5, 10) if child else range(10, 20)))
if child: os.waitpid(child, 0)
""",
    "forks again": """
for first in (0, 5, 10):
    record(first, first + 1)
    if os.fork() == 0:
        record(*range(first + 2, first + 5)); sys.exit()
    os.wait()
record(*range(15, 20))
""",
    "forks with threads recording": """
go_on = threading.Event()
def others():
    for number in range(10):
        record(number)
        go_on.wait(0.002)
threads = [threading.Thread(target=others) for _ in range(1)]
for thread in threads: thread.start()
child = os.fork()
if child == 0:
    record(*range(10, 15)); recorder.close(); os._exit(0)
os.waitpid(child, 0)
record(*range(15, 20))
""",
    "has children of multiprocessing": """
context = multiprocessing.get_context("fork")
record(0, 1)
children = [context.Process(target=record, args=range(first, first + 6)) for first in (2, 8, 14)]
for child in children: child.start()
for child in children: child.join()
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_process_that_simply_ends_keeps_every_row(tmp_path, end):
    """However a program ends, forks and forgets to close, every row it was given an id for is recorded once."""
    root = new_ledger(tmp_path / "archive").layout.root
    command = [sys.executable, "-c", PROGRAM + ENDS[end], str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "ValueError" in done.stderr if end == "raises" else not done.stderr
    told = [line.split() for line in done.stdout.splitlines()]
    assert sorted(int(number) for _, number in told) == list(range(20))
    ledger = reopen(root)
    assert seal_all(ledger) == 20
    for identity, number in told:
        found = find_record(ledger, id_text(int(identity, 16).to_bytes(16, "big")), "prediction")
        assert found.table["output"][0].as_py() == float(number)
    entries = list(ledger.find_entries("stream.closed"))
    assert all(entry["clean"] for entry in entries)
    assert sum(int(entry["next_seq"]) for entry in entries) == 20
    assert not verify_archive(root, workers=1).failed
