"""Resident memory of a process that records, told after each tenth of its records: `python -m benchmarks.memory`."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import backstory
from benchmarks.capture import resident_mb
from benchmarks.peer_prediction import prediction_fields, prediction_score

_TENTHS = 10


def main() -> None:
    """Record into a worker's spool below a directory, with `backstory seal --watch` beside it."""
    folder, records = Path(sys.argv[1]), int(sys.argv[2])
    archive, spool = folder / "archive", folder / "spool"
    with redirect_stdout(io.StringIO()), backstory.init(archive, origin="example.org/bench") as opened:
        opened.spool(spool)
    command = [
        sys.executable,
        "-m",
        "backstory",
        "seal",
        "-a",
        str(archive),
        "--watch",
        "--every",
        "1",
        "--spool",
        str(spool),
    ]
    sealer = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    curve = []
    with backstory.recorder(spool) as recorder:
        for tenth in range(_TENTHS):
            for call in range(records // _TENTHS):
                recorder.record(prediction_fields(call + tenth), prediction_score(call))
            curve.append(resident_mb())
    sealer.terminate()
    sealer.wait()
    sys.stdout.write(" ".join(f"{value:.1f}" for value in curve) + "\n")


if __name__ == "__main__":
    main()
