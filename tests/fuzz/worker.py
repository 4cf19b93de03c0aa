"""The process that fuzzes: a hang, a crash of the interpreter or memory without bounds takes it and nobody else.

    python -m tests.fuzz.worker NAME SECONDS [SEED]     fuzzes one parser, or `all`, and tells what was found

`Fuzzer` starts such a process, asks it to fuzz parsers one after another, and knows the last input of one that died.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import subprocess
import sys
from pathlib import Path

from tests.fuzz.fuzzing import fuzz, limited_memory

ROOM = 2 << 30
GRACE_SECONDS = 60
"""So long a process may say nothing after its time: more than a busy machine takes for one input."""
_NOTED_MAX = 64 << 20
_ROOT = Path(__file__).parents[2]


class Fuzzer:
    """A process that fuzzes."""

    def __init__(self, noted, module="tests.fuzz.parsers"):
        """Use a file for the input that is being tried; `module` has the `PARSERS`."""
        self._noted, self._module, self._process = noted, module, None

    def fuzz(self, name, seconds, seed, grace=GRACE_SECONDS):
        """Fuzz a parser; see `fuzz` of `tests.fuzz.fuzzing`."""
        if self._process is None:
            command = [sys.executable, "-m", "tests.fuzz.worker", "--serve", self._module, str(self._noted)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            # Its files go where the noted input is: a process that is killed cleans nothing up.
            environment = {**os.environ, "TMPDIR": str(self._noted.parent)}
            self._process = subprocess.Popen(command, cwd=_ROOT, env=environment, **pipes)
        self._process.stdin.write(json.dumps([name, seconds, seed]).encode() + b"\n")
        self._process.stdin.flush()
        is_ready, _, _ = select.select([self._process.stdout], [], [], seconds + grace)
        answer = self._process.stdout.readline() if is_ready else b""
        if answer:
            return json.loads(answer)
        self.close()
        data = self._noted.read_bytes() if self._noted.exists() else bytes(8)
        size = int.from_bytes(data[:8], "little")
        why = "the process died" if is_ready else f"no answer for {grace} s"
        return {"failure": {"input": data[8 : 8 + size].hex(), "why": why, "number": None}}

    def close(self):
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _serve(module, noted):
    """Answer the requests of a `Fuzzer`."""
    parsers = __import__(module, fromlist=["PARSERS"]).PARSERS
    with noted.open("w+b") as file:
        file.truncate(8 + _NOTED_MAX)
        shared = mmap.mmap(file.fileno(), 8 + _NOTED_MAX)

    def note(data):
        shared[:8] = len(data).to_bytes(8, "little")
        shared[8 : 8 + len(data)] = data

    for line in sys.stdin.buffer:
        name, seconds, seed = json.loads(line)
        with limited_memory(ROOM):
            found = fuzz(parsers[name], seconds, f"{name} {seed}", note)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def _main(name, seconds, seed="0"):
    from tests.fuzz.parsers import PARSERS

    for each in PARSERS if name == "all" else [name]:
        found = fuzz(PARSERS[each], float(seconds), f"{each} {seed}")
        sys.stdout.write(f"{each:28} {json.dumps(found)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _serve(sys.argv[2], Path(sys.argv[3]))
    else:
        _main(*sys.argv[1:])
