"""Recording: what one prediction costs its caller, and what a machine keeps up with."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import backstory
from backstory.archive import Archive
from backstory.capture.recorder import Batch, Recorder
from backstory.capture.worker import WorkerRecorder
from backstory.columns.arrow_type import flat_fields
from backstory.ledger.ledger import Ledger
from backstory.records.envelope import prediction_schema
from backstory.records.schema import Schema
from backstory.storage.world import World
from benchmarks.measure import Row, median_seconds
from benchmarks.peer_prediction import prediction_fields, prediction_score

CALLS = 200_000
BATCH_ROWS = 200_000
BATCHES = 5
ROUNDS = 5
SUSTAINED_RUNS = 2
IN_SITU_CALLS = 15_000
FETCHES = 60
SHAPES = 1_000
"""Predictions made beforehand, so that making them is not measured."""


def floor_rows() -> list[Row]:
    """Return what the bare work of one record costs on this machine."""
    fields = list(prediction_fields(1).values())
    encode = msgspec.msgpack.Encoder().encode
    data = encode(fields)
    count = 20_000
    encoding = median_seconds(lambda: [encode(fields) for _ in range(count)], 5) / count
    hashing = median_seconds(lambda: [hashlib.sha256(data).digest() for _ in range(count)], 5) / count
    return [
        Row(what="msgspec encode of 20 fields", value=f"{encoding * 1e6:.2f} us"),
        Row(what=f"SHA-256 of them ({len(data)} bytes)", value=f"{hashing * 1e6:.2f} us"),
    ]


def caller_times() -> tuple[list[int], list[int]]:
    """Return what recording costs the caller in nanoseconds, sorted: in a tight loop, and between real model calls."""
    given = [(prediction_fields(call), prediction_score(call)) for call in range(SHAPES)]
    with _new_recorder() as recorder:
        tight = [_times(recorder, given, CALLS // ROUNDS, lambda: None) for _ in range(ROUNDS)]
        work = model_call()
        situ = [_times(recorder, given, IN_SITU_CALLS // ROUNDS, work) for _ in range(ROUNDS)]
    return _least_disturbed(tight), _least_disturbed(situ)


def caller_rows(sittings: list[tuple[list[int], list[int]]]) -> tuple[list[Row], float]:
    """Return what recording costs the caller, by the least disturbed sittings, and the median in microseconds."""
    tight, situ = (_least_disturbed(list(times)) for times in zip(*sittings, strict=True))
    p50, p99 = quantile(tight, 0.5), quantile(tight, 0.99)
    rows = [
        Row(
            what="caller's cost, 20 fields, tight loop, p50",
            value=f"{p50:.2f} us",
            target="<= 5 us",
            met=p50 <= 5,
        ),
        Row(what="the same, p99", value=f"{p99:.1f} us", target="<= 100 us", met=p99 <= 100),
        Row(what="the same, p99.9", value=f"{quantile(tight, 0.999):.0f} us"),
        Row(
            what="between real model calls (logistic regression on one row), p50",
            value=f"{quantile(situ, 0.5):.1f} us",
            target="<= 25 us",
            met=quantile(situ, 0.5) <= 25,
        ),
        Row(what="the same, p99", value=f"{quantile(situ, 0.99):.0f} us"),
    ]
    return rows, p50


def sustained_rows() -> list[Row]:
    """Return how many records a second one process records, with a sealer beside it, until all are sealed."""
    rows = []
    singles, size, floor = max(_singles(CALLS) for _ in range(SUSTAINED_RUNS))
    rows.append(
        Row(
            what=f"{CALLS:,} single records, durable and sealed, one process",
            value=f"{singles:,.0f} records/s",
            target=">= 60,000",
            met=singles >= 60_000,
        )
    )
    rows.append(
        Row(
            what="bytes a record / plain zstd Parquet of the same columns with id and time",
            value=f"{size / floor:.2f}x ({size:.0f} against {floor:.0f})",
            target="<= 1.3x",
            met=size <= 1.3 * floor,
        )
    )
    what = f"{BATCHES} batches of {BATCH_ROWS:,} rows of 20 features, durable and sealed"
    for measure, name, target in (
        (lambda: _batches(None), "open columns", 300_000),
        (_one_group, "one sealed group", 200_000),
        (lambda: _batches("subject"), "one person a record, so three sealed groups", None),
    ):
        rate = max(measure() for _ in range(SUSTAINED_RUNS))
        goal = "" if target is None else f">= {target:,}"
        met = None if target is None else rate >= target
        rows.append(Row(what=f"{what}, {name}", value=f"{rate:,.0f} rows/s", target=goal, met=met))
    return rows


def memory_rows(records: int) -> list[Row]:
    """Return resident memory after each tenth of many single records, with a sealer beside it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.memory", folder, str(records)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    curve = [float(text) for text in done.stdout.split()]
    grown = curve[-1] - curve[0]
    shown = " ".join(f"{value:.0f}" for value in curve)
    return [
        Row(
            what=f"resident memory, MB, after each tenth of {records:,} records",
            value=shown,
            target="<= 64 grown",
            met=grown <= 64,
        )
    ]


def growth_rows(sizes: list[int]) -> list[Row]:
    """Return what finding one record by its id and explaining it takes in archives of different sizes."""
    frame = batch_frame()
    rows = []
    with new_archive() as archive:
        version = archive.register(lambda table: np.arange(len(table), dtype=np.float64), name="constant")
        count, ids = 0, []
        for size in sizes:
            while count < size:
                part = frame.head(size - count)
                ids.append(archive.predict(version, part, method="__call__").ids)
                count += len(part)
                if len(ids) % BATCHES == 0:
                    archive.flush()
            archive.flush()
            asked = [run[(i * 7_919) % len(run)] for i, run in enumerate(ids * FETCHES) if i < FETCHES]
            times = sorted(_seconds(archive, one) for one in asked)
            rows.append(Row(what=f"why by id among {size:,} records, p50", value=f"{times[len(times) // 2]:.1f} ms"))
    return rows


def _seconds(archive: Archive, name: str) -> float:
    began = time.perf_counter()
    archive.why(name)
    return (time.perf_counter() - began) * 1e3


@functools.cache
def batch_frame() -> pd.DataFrame:
    """Return a batch of 20 features, whose rows all differ."""
    return pd.DataFrame([prediction_fields(call) for call in range(BATCH_ROWS)])


@contextmanager
def new_archive() -> Iterator[Archive]:
    """Make an archive in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        with redirect_stdout(io.StringIO()):
            archive = backstory.init(Path(folder) / "archive", origin="example.org/bench")
        with archive:
            yield archive


@contextmanager
def _new_recorder() -> Iterator[WorkerRecorder]:
    with new_archive() as archive:
        spool = archive.path.with_name("spool")
        archive.spool(spool)
        with backstory.recorder(spool) as recorder:
            yield recorder


def model_call() -> Any:  # noqa: ANN401  a function
    """Return a function that lets a logistic regression predict one row."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 18))
    model = LogisticRegression().fit(features, features[:, 0] > 0)
    row = features[:1]
    return lambda: model.predict_proba(row)


def _times(recorder: WorkerRecorder, given: list[Any], calls: int, work: Any) -> list[int]:  # noqa: ANN401
    record, clock = recorder.record, time.perf_counter_ns
    times = []
    record(*given[0])
    for call in range(calls):
        fields, score = given[call % SHAPES]
        work()
        began = clock()
        record(fields, score)
        times.append(clock() - began)
    recorder.sync()
    return sorted(times)


def _least_disturbed(rounds: list[list[int]]) -> list[int]:
    """Return the round with the lowest median: a machine of two speeds is told by its faster one, as peers are."""
    return min(rounds, key=lambda times: times[len(times) // 2])


def quantile(times: list[int], share: float) -> float:
    """Return a quantile of sorted times, in microseconds."""
    return times[min(int(len(times) * share), len(times) - 1)] / 1e3


def _singles(count: int) -> tuple[float, float, float]:
    """Return records a second until sealed, bytes a record, and bytes a record of plain Parquet."""
    given = [(prediction_fields(call), prediction_score(call)) for call in range(count)]
    with new_archive() as archive:
        spool = archive.path.with_name("spool")
        archive.spool(spool)
        with backstory.recorder(spool) as recorder, _sealer(archive, spool):
            recorder.record(*given[0])
            recorder.sync()
            _wait_until(archive, 1)
            began = time.perf_counter()
            for fields, score in given:
                recorder.record(fields, score)
            recorder.sync()
            _wait_until(archive, count + 1)
            seconds = time.perf_counter() - began
        size = sum(path.stat().st_size for path in (archive.path / "segments").iterdir()) / count
        floor = _plain_size(archive, spool.with_name("plain")) / count
    return count / seconds, size, floor


@contextmanager
def _sealer(archive: Archive, *spools: Path) -> Iterator[None]:
    """Run `backstory seal --watch` beside this process."""
    command = [sys.executable, "-m", "backstory", "seal", "-a", str(archive.path), "--watch", "--every", "0.05"]
    command += ["--rows", "50000", "--age", "0.5", *(part for spool in spools for part in ("--spool", str(spool)))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_until(archive: Archive, sealed: int) -> None:
    """Return when so many records are in the log, by the heads of their streams in the lock store."""
    pause = threading.Event()
    with closing(sqlite3.connect(archive.path / "lock.sqlite")) as connection:
        while connection.execute("SELECT sum(next_seq) FROM stream").fetchone()[0] != sealed:
            pause.wait(0.005)


def _plain_size(archive: Archive, path: Path) -> int:
    """Return the size of the same columns with id and time as plain zstd Parquet."""
    tables = [pq.read_table(segment) for segment in (archive.path / "segments").iterdir()]
    table = pa.concat_tables(tables).select(["id", "time", "feature", "output"]).replace_schema_metadata(None)
    pq.write_table(table.flatten(), path, compression="zstd")
    return path.stat().st_size


def _batches(subject: str | None) -> float:
    """Return rows a second of frame batches until sealed."""
    frame = batch_frame()
    scores = np.arange(BATCH_ROWS, dtype=np.float64)
    with new_archive() as archive, _sealer(archive):
        version = archive.register(lambda _: scores, name="constant")
        archive.predict(version, frame, method="__call__", subject=subject)
        _wait_until(archive, BATCH_ROWS)
        began = time.perf_counter()
        for _ in range(BATCHES):
            archive.predict(version, frame, method="__call__", subject=subject)
        _wait_until(archive, (BATCHES + 1) * BATCH_ROWS)
        return BATCHES * BATCH_ROWS / (time.perf_counter() - began)


def _one_group() -> float:
    """Return rows a second of batches whose features are a sealed group and nothing else is, until sealed."""
    frame, scores = batch_frame(), pa.array(np.arange(BATCH_ROWS, dtype=np.float64))

    def batch() -> Batch:
        features = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        body = pa.table({"feature": features.to_struct_array().combine_chunks(), "output": scores})
        fields = flat_fields(body.schema)
        schema = prediction_schema(
            rows=[], personal_rows=[], features=fields[:-1], outputs=fields[-1:], decision=None, subject=False
        )
        columns = tuple(
            dataclasses.replace(column, group="features") if column.name.startswith("feature.") else column
            for column in schema.columns
        )
        sealed = Schema(kind=schema.kind, columns=columns)
        return Batch(schema=sealed, context=context, status="ok", error=None, request_id=None, body=body)

    with new_archive() as archive, _sealer(archive):
        ledger = Ledger(archive.path, World(), writable=True, vkey=None, actor=None)
        recorder = Recorder(ledger.spool, ledger.blobs, ledger.world)
        context = ledger.put_document({"kind": "prediction", "v": 1})
        recorder.record(batch())
        _wait_until(archive, BATCH_ROWS)
        began = time.perf_counter()
        for _ in range(BATCHES):
            recorder.record(batch())
        _wait_until(archive, (BATCHES + 1) * BATCH_ROWS)
        rate = BATCHES * BATCH_ROWS / (time.perf_counter() - began)
        recorder.close()
        ledger.close()
        return rate


def resident_mb() -> float:
    """Return this process's resident memory in megabytes."""
    if sys.platform.startswith("linux"):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
