"""The peers' half of the speed table: what others ask of the caller for one prediction, and what they keep of it.

Each peer runs in a process of its own, with the interpreter of an environment of its own, and records the prediction of
`benchmarks.peer_prediction`. `python -m benchmarks.peers` prints this half alone; `--slow` adds what takes longer.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer_recorders import PEERS

ROOT = Path(__file__).parents[1]
PYTHON_VARIABLE = "BACKSTORY_PEERS_PYTHON"
STAMP = ".venv-peers/.peers"
SECONDS_MAX = 600.0
"""A peer that takes longer hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFigures:
    """One peer's line of the table.

    Attributes:
        name: What was measured.
        version: Of the library that did the work.
        p50_us: The caller's cost of one call in microseconds, median.
        p99_us: The same, 99th percentile.
        records_per_second: Records kept, by the time from the first call until they are durable.
        cpu_us: Processor time of all threads, in microseconds a call.
        bytes_per_record: Growth on disk by each record kept.
        recorded: How many calls returned without an error.
        kept: How many of their records were found on disk afterwards.
    """

    name: str
    version: str
    p50_us: float
    p99_us: float
    records_per_second: float
    cpu_us: float
    bytes_per_record: float
    recorded: int
    kept: int


def peer_rows(*, slow: bool = False) -> list[PeerFigures]:
    """Measure every peer, one after the other, in less than a minute.

    Args:
        slow: Also those that take more than a few seconds.

    Raises:
        FileNotFoundError: The peers' environment has no interpreter.
        subprocess.CalledProcessError: A peer failed; what it said is a note of the error.
    """
    python = find_python()
    return [measure_peer(name, python) for name, peer in PEERS.items() if slow or not peer.slow]


def find_python() -> Path:
    """Return the peers' interpreter: the one the environment variable names, or the one `make bench` installed.

    Raises:
        FileNotFoundError: There is none.
    """
    python = Path(os.environ.get(PYTHON_VARIABLE) or ROOT / ".venv-peers" / "bin" / "python")
    if not python.is_file():
        raise FileNotFoundError(f"measuring peers failed: expected an interpreter ({python}); run `make {STAMP}`")
    return python


def measure_peer(name: str, python: Path) -> PeerFigures:
    """Measure one peer in a process of its own.

    Args:
        name: A key of `benchmarks.peer_recorders.PEERS`.
        python: An interpreter that has the peer's library.

    Raises:
        subprocess.CalledProcessError: The peer failed; what it said is a note of the error.
    """
    with tempfile.TemporaryDirectory() as folder:
        store, working = Path(folder, "store"), Path(folder, "working")
        store.mkdir()
        working.mkdir()  # peers may leave files where they run
        command = [str(python), "-m", "benchmarks.peer_process", name, str(store)]
        done = subprocess.run(
            command, cwd=working, env=_environment(), capture_output=True, text=True, timeout=SECONDS_MAX, check=False
        )
    try:
        done.check_returncode()
    except subprocess.CalledProcessError as error:
        error.add_note(done.stderr)
        raise
    return PeerFigures(name=name, **json.loads(done.stdout))


def _environment() -> dict[str, str]:
    """Return our environment without settings for peers, and with MLflow told to call nobody."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "OTEL_", "PYTHON"))}
    return kept | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}


def format_table(rows: list[PeerFigures]) -> str:
    """Return the figures as text with one line a peer, below a line of headings."""
    names = max(len(row.name) for row in rows)
    head = (
        f"{'peer':<{names}}  {'version':<14} {'p50 us':>9} {'p99 us':>9} {'records/s':>10} {'CPU us':>8} {'bytes':>7}"
    )
    lines = [f"{head}  kept"]
    for row in rows:
        times = f"{row.p50_us:>9,.1f} {row.p99_us:>9,.1f} {row.records_per_second:>10,.0f} {row.cpu_us:>8,.1f}"
        kept = f"{row.kept:,} of {row.recorded:,}"
        lines.append(f"{row.name:<{names}}  {row.version:<14} {times} {row.bytes_per_record:>7,.0f}  {kept}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Print the peers' figures.")
    parser.add_argument("--slow", action="store_true", help="also what takes more than a few seconds")
    print(format_table(peer_rows(slow=parser.parse_args().slow)))
