"""A program that records predictions until it is killed, and says which ones it was told are durable.

Started once; for each line `<archive> <seed>` on its standard input it forks a child that records into the archive.
Libraries are loaded before the fork, so that a round takes milliseconds. It writes

    started <pid>           the child to kill
    <first id> <count>      acknowledged: `count` ids from this one, as 32 hex digits
    ended                   the child is gone
"""

from __future__ import annotations

import itertools
import os
import random
import sys

import numpy as np
import pandas as pd

import backstory
from backstory.capture.prediction import Predictions
from backstory.models.environment import environment

BIG_ROWS = 8_000
"""Rows of a frame that is too large for the frames file and gets a file of its own."""


def say(text: str) -> None:
    """Write one line; a pipe takes one this short whole or not at all."""
    os.write(1, f"{text}\n".encode())


def acknowledge(preds: Predictions) -> None:
    """Wait until predictions are durable, then say so."""
    preds.wait("durable")
    say(f"{preds.ids.first:032x} {len(preds.ids)}")


def score(frame: pd.DataFrame) -> np.ndarray:
    """Stand for a model."""
    return frame["x"].to_numpy() * 2.0


def record(path: str, seed: int) -> None:
    """Record single rows, frames and rows about people, sealing now and then, until killed."""
    draw = random.Random(seed)
    with backstory.open(path) as archive:
        version = archive.register(score, name="double")
        for number in itertools.count():
            rows = BIG_ROWS if draw.random() < 0.1 else draw.randint(1, 20)
            frame = pd.DataFrame({"x": np.arange(rows, dtype="float64"), "round": seed, "number": number})
            subject = "somebody" if draw.random() < 0.3 else None
            preds = archive.predict(version, frame, method="__call__", subject=subject)
            if draw.random() < 0.7:
                acknowledge(preds)
            if draw.random() < 0.15:
                archive.flush()


def main() -> None:
    """Fork a recording child for each line read."""
    environment()
    say("ready")
    for line in sys.stdin:
        path, seed = line.split()
        child = os.fork()
        if child == 0:
            record(path, int(seed))
        say(f"started {child}")
        os.waitpid(child, 0)
        say("ended")


if __name__ == "__main__":
    main()
