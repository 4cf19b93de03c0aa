"""Measures one peer in this process: `python -m benchmarks.peer_process NAME FOLDER` prints its figures as JSON.

Run by `benchmarks.peers` with the interpreter of the peers' own environment; Backstory is not imported.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from benchmarks.peer_prediction import prediction_fields, prediction_score
from benchmarks.peer_recorders import PEERS, Peer


def main(name: str, folder: Path) -> None:
    """Measure the peer of this name in an empty folder and print its figures."""
    print(json.dumps(measure(PEERS[name], folder)))


def measure(peer: Peer, folder: Path) -> dict[str, float | int | str]:
    """Record predictions in a tight loop and return the figures of `benchmarks.peers.PeerFigures`, but for the name.

    Rates and bytes are of what can be read back afterwards, so that dropping makes nothing look faster. The predictions
    are made before; one is recorded before the clock starts, to have everything loaded.
    """
    predictions = [(call, prediction_fields(call), prediction_score(call)) for call in range(peer.calls)]
    recorder = peer.open(folder)
    recorder.record(-1, prediction_fields(-1), prediction_score(-1))
    recorder.flush()
    size = _stored_bytes(folder)
    record, clock = recorder.record, time.perf_counter_ns
    times = []
    cpu, began = _cpu_seconds(), time.perf_counter()
    for first in range(0, peer.calls, peer.calls_per_flush):
        for call, fields, score in predictions[first : first + peer.calls_per_flush]:
            start = clock()
            record(call, fields, score)
            times.append(clock() - start)
        recorder.flush()
    wall, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
    recorder.close()
    kept = recorder.count_kept()
    times.sort()
    return {
        "version": recorder.version,
        "p50_us": times[peer.calls // 2] / 1e3,
        "p99_us": times[peer.calls * 99 // 100] / 1e3,
        "records_per_second": kept / wall,
        "cpu_us": cpu / peer.calls * 1e6,
        "bytes_per_record": (_stored_bytes(folder) - size) / max(kept, 1),
        "recorded": peer.calls,
        "kept": kept,
    }


def _cpu_seconds() -> float:
    """Return what all threads of this process have used so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _stored_bytes(folder: Path) -> int:
    """Return the size of all files but SQLite's shared memory, which holds no data and comes and goes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
