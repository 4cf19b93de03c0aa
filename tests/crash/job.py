"""A program that runs a job in parts, until it is killed or the job is done.

Started once; for each line `<archive> <rows> <parts>` on its standard input it forks a child that runs the job, from
the first part on. Libraries are loaded before the fork. It writes

    started <pid>           the child to kill
    begun <name>            it has opened the archive
    made <part>             predicted now, and in the log
    kept <part>             was in the log
    peak <bytes>            the child has ended in order: the memory it took at most
    ended <status>          the child is gone
"""

from __future__ import annotations

import os
import resource
import sys

import numpy as np
import pandas as pd

import backstory
from backstory.models.environment import environment

FEATURES = 20


def say(text: str) -> None:
    """Write one line; a pipe takes one this short whole or not at all."""
    os.write(1, f"{text}\n".encode())


def score(frame: pd.DataFrame) -> np.ndarray:
    """Stand for a model."""
    return frame["n"].to_numpy() * 0.5


def batch(first: int, rows: int) -> pd.DataFrame:
    """Return numbered rows."""
    numbers = np.arange(first, first + rows)
    return pd.DataFrame({"n": numbers, **{f"x{i}": numbers * (i + 0.37) % 1_000 for i in range(1, FEATURES)}})


def run(path: str, rows: int, parts: int) -> None:
    """Run the job."""
    size = rows // parts
    with backstory.open(path) as archive:
        version = archive.register(score, name="half")
        with archive.job("nightly", run="2026-11-22", expect=rows) as job:
            say(f"begun {job.name}")
            for part in range(parts):
                made = job.predict(version, batch(part * size, size), part=part, method="__call__")
                say(f"{'kept' if made.repeated else 'made'} {part}")
    say(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}")


def main() -> None:
    """Fork a child for each line read."""
    environment()
    say("ready")
    for line in sys.stdin:
        path, rows, parts = line.split()
        child = os.fork()
        if child == 0:
            run(path, int(rows), int(parts))
            os._exit(0)
        say(f"started {child}")
        _, status = os.waitpid(child, 0)
        say(f"ended {status}")


if __name__ == "__main__":
    main()
