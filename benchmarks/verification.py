"""The full audit: records a second, memory, and how much sooner the next one is done.

`python -m benchmarks.verification 10000000` makes an archive of so many records, audits it in a process of its own,
adds one record in a hundred and audits it again with the first audit's state.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from backstory.archive import Archive
from backstory.verify.archive import verify_archive
from benchmarks.capture import BATCHES, batch_frame, new_archive
from benchmarks.measure import Row

RATE = 300_000
TIMES_FASTER = 20


def verification_rows(records: int) -> list[Row]:
    """Return what a full audit of so many records takes, and the next one after a hundredth more."""
    with new_archive() as archive:
        _record(archive, records)
        state = archive.path.with_name("state.json")
        alone = _audited(archive.path, archive.path.with_name("alone.json"), workers=1)
        full = _audited(archive.path, state)
        _record(archive, max(records // 100, 1))
        more = _audited(archive.path, state)
    rate, ratio = full["records"] / full["seconds"], full["seconds"] / more["seconds"]
    return [
        Row(
            what=f"full audit of {full['records']:,} records on {os.cpu_count()} cores",
            value=f"{rate:,.0f} records/s ({full['seconds']:.1f} s)",
            target=f">= {RATE:,}",
            met=rate >= RATE,
        ),
        Row(
            what=f"full audit by one process / by one for each of {os.cpu_count()} cores",
            value=f"{alone['seconds'] / full['seconds']:.2f}x ({alone['seconds']:.1f} s)",
        ),
        Row(
            what="memory of its processes at most, MB: the one that audits, the largest of those that hash",
            value=f"{full['own_mb']:.0f}, {full['worker_mb']:.0f}",
        ),
        Row(
            what=f"full audit / audit after {more['records']:,} records more, with its state",
            value=f"{ratio:.0f}x ({more['seconds']:.2f} s)",
            target=f">= {TIMES_FASTER}x",
            met=ratio >= TIMES_FASTER,
        ),
    ]


def _record(archive: Archive, records: int) -> None:
    frame = batch_frame()
    version = archive.register(lambda table: np.arange(len(table), dtype=np.float64), name="constant")
    count, batches = 0, 0
    while count < records:
        part = frame.head(records - count)
        archive.predict(version, part, method="__call__")
        count, batches = count + len(part), batches + 1
        if batches % BATCHES == 0:
            archive.flush()
    archive.flush()


def _audited(path: Path, state: Path, workers: int | None = None) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.verification", "--audit", str(path), str(state)]
    command += [] if workers is None else [str(workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _audit(path: Path, state: Path, workers: int | None) -> None:
    """Audit in this process, which has done nothing else, and print what that took."""
    report = verify_archive(path, state=state, workers=workers)
    if report.failed or report.incomplete:
        raise SystemExit(str(report))
    own, workers = _peak_mb(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    figures = {"own_mb": own, "records": report.counts["records"], "seconds": report.seconds, "worker_mb": workers}
    sys.stdout.write(json.dumps(figures))


def _peak_mb() -> float:
    """Return the most memory this program held; what the one that started it held does not count."""
    if sys.platform.startswith("linux"):
        lines = Path("/proc/self/status").read_text("ascii").split("\n")
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    """Print the figures of one size, or audit an archive as part of that."""
    if sys.argv[1] == "--audit":
        _audit(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if sys.argv[4:] else None)
        return
    for row in verification_rows(int(sys.argv[1])):
        print(f"{row.what:<95} {row.value:>32}  {row.target}")


if __name__ == "__main__":
    main()
