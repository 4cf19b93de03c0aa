"""Killed with SIGKILL at any moment, a witness never cosigns both halves of a fork."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.support.logs import DiskLog

from backstory.storage.world import World
from backstory.verify.witness import Witness, create_witness

ROUNDS = int(os.environ.get("BACKSTORY_CRASH_ROUNDS", "40"))
LOGS = 12
LATEST_KILL_SECONDS = 0.05
ROOT = Path(__file__).parents[2]


def test_killed_witness_cosigns_one_history(tmp_path):
    """Of every log, all that was ever answered 200 and what stands in the state is of one half."""
    create_witness(tmp_path / "w", "witness.example.net/w1", World())
    for number in range(LOGS):
        Witness(tmp_path / "w", World()).add_logs(
            DiskLog(tmp_path / "k" / str(number), f"example.org/log-{number}").vkey
        )
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.witness.cosigner", str(tmp_path / "logs"), str(LOGS)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    draw = random.Random(1)
    halves: dict[str, set[str]] = {}
    kills = 0
    assert program.stdout.readline() == "ready\n"
    for number in range(ROUNDS):
        program.stdin.write(f"{tmp_path / 'w'} {number}\n")
        program.stdin.flush()
        timer = None
        while (line := program.stdout.readline().split()) != ["ended"]:
            if line[0] == "started":
                timer = threading.Timer(draw.uniform(0, LATEST_KILL_SECONDS), os.kill, (int(line[1]), signal.SIGKILL))
                timer.start()
            else:
                halves.setdefault(line[0], set()).add(line[1])
        assert timer is not None
        timer.join()
        kills += 1
    program.communicate()
    assert kills == ROUNDS
    assert halves
    assert all(len(seen) == 1 for seen in halves.values()), halves
