"""A program that is a witness without a network, to be killed: it is shown both halves of many forks.

Started once; for each line `<state> <logs> <order>` on its standard input it forks a child, which shows the witness in
`<state>` the two halves of every log in a random order that `<order>` decides, and writes for each answer 200

    <log> <half> <size>

It says `started <pid>` before and `ended` when the child is gone.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from tests.support.logs import DiskLog

from backstory.storage.world import World
from backstory.verify.witness import Witness

SIZES = (1, 3)


def say(text: str) -> None:
    """Write one line; a pipe takes one this short whole or not at all."""
    os.write(1, f"{text}\n".encode())


def requests(folder: Path, count: int) -> dict[tuple[int, str], list[tuple[int, bytes]]]:
    """Return for both halves of every log the requests that lead through its sizes."""
    made = {}
    for number in range(count):
        for half in ("left", "right"):
            log = DiskLog(folder / f"{number}-{half}", origin=f"example.org/log-{number}")
            made[number, half] = [
                (size, log.append(size - old, half).request(old)) for old, size in zip((0, *SIZES), SIZES, strict=False)
            ]
    return made


def main() -> None:
    """Fork a witness for each line read."""
    count = int(sys.argv[2])
    made = requests(Path(sys.argv[1]), count)
    say("ready")
    for line in sys.stdin:
        state, order = line.split()
        child = os.fork()
        if child == 0:
            shown = [(key, step) for key in made for step in made[key]]
            random.Random(order).shuffle(shown)
            witness = Witness(Path(state), World())
            while True:
                for (number, half), (size, body) in shown:
                    if witness.add_checkpoint(body).status == 200:
                        say(f"{number} {half} {size}")
        say(f"started {child}")
        os.waitpid(child, 0)
        say("ended")


if __name__ == "__main__":
    main()
