"""What a service notices of sealing: its latency with a sealer at full speed beside it, and with the sealer stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import backstory
from benchmarks.capture import BATCH_ROWS, batch_frame, model_call, new_archive, quantile
from benchmarks.measure import Row
from benchmarks.peer_prediction import prediction_fields, prediction_score

BACKLOG_BATCHES = 15
"""Enough to seal for longer than is measured."""
WINDOWS = 12
WINDOW_SECONDS = 1.0
PERIOD_SECONDS = 0.002
RISE_MAX = 1.10


def service_rows() -> list[Row]:
    """Return the latency of a prediction every 2 ms, alone and beside a sealer, in turn."""
    frame, scores = batch_frame(), np.arange(BATCH_ROWS, dtype=np.float64)
    with new_archive() as archive:
        spool = archive.path.with_name("spool")
        archive.spool(spool)
        version = archive.register(lambda _: scores, name="constant")
        for _ in range(BACKLOG_BATCHES):
            archive.predict(version, frame, method="__call__").wait("durable")
        command = [sys.executable, "-m", "backstory.ledger.sealer_process", str(archive.path)]
        with backstory.recorder(spool) as recorder, subprocess.Popen(command, stdin=subprocess.PIPE) as sealer:
            times: dict[bool, list[int]] = {False: [], True: []}
            for window in range(WINDOWS):
                _let(sealer.pid, run=window % 2 == 1)
                times[window % 2 == 1] += _serve(recorder)
            _let(sealer.pid, run=True)
            sealer.kill()
    alone, beside = (quantile(sorted(times[is_sealing]), 0.99) for is_sealing in (False, True))
    value = f"{beside / alone:.2f}x ({beside:.0f} us against {alone:.0f} us)"
    what = "p99 of a model call and its record, every 2 ms, beside a sealer at full speed / alone"
    return [Row(what=what, value=value, target=f"<= {RISE_MAX:.2f}x", met=beside <= RISE_MAX * alone)]


def _serve(recorder: Any) -> list[int]:  # noqa: ANN401
    """Predict at a steady pace and return how long each prediction took, in nanoseconds."""
    work, fields, score = model_call(), prediction_fields(1), prediction_score(1)
    due = time.perf_counter()
    end, times = due + WINDOW_SECONDS, []
    while due < end:
        time.sleep(max(due - time.perf_counter(), 0))
        began = time.perf_counter_ns()
        work()
        recorder.record(fields, score)
        times.append(time.perf_counter_ns() - began)
        due += PERIOD_SECONDS
    return times


def _let(sealer: int, *, run: bool) -> None:
    """Let the sealer and the process it hashes with go on, or stop them."""
    hashers = Path(f"/proc/{sealer}/task/{sealer}/children").read_text(encoding="ascii").split()
    for process in [sealer, *map(int, hashers)]:
        os.kill(process, signal.SIGCONT if run else signal.SIGSTOP)
