"""Other ways to keep a prediction, each behind the same four verbs, set up as their own documentation advises.

Nothing of Backstory is imported here: this runs in the peers' own environment (requirements/peers.txt). A library is
imported when its recorder is opened, so that the list can be read where none of them is installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

from benchmarks.peer_prediction import Fields, prediction_fields

SYNC_INTERVAL_SECONDS = 0.05
"""As Backstory's own `group` durability."""

encode_json = json.JSONEncoder(separators=(",", ":")).encode


class Recorder(Protocol):
    """One way to keep predictions.

    Attributes:
        version: Of the library that does the work.
    """

    version: str

    def record(self, call: int, fields: Fields, score: float) -> None:
        """Record one prediction; a negative number of the call marks one that is not counted."""

    def flush(self) -> None:
        """Return when everything recorded is on disk, as far as this way ever puts it there."""

    def close(self) -> None:
        """Stop threads and close files; everything was flushed before."""

    def count_kept(self) -> int:
        """Count the predictions that can be read back from disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A way to keep predictions, and how much of it to measure.

    Attributes:
        open: Opens the recorder in an empty folder.
        calls: How many predictions to record.
        calls_per_flush: How many to record in a row before waiting for the disk.
        slow: Takes more than a few seconds, and is measured only when asked for.
    """

    open: Callable[[Path], Recorder]
    calls: int
    calls_per_flush: int
    slow: bool = False


class MlflowTraces:
    """MLflow tracing into SQLite, asynchronous, which is its default."""

    def __init__(self, folder: Path) -> None:
        import mlflow

        self.version = mlflow.__version__
        self._mlflow = mlflow
        self._path = folder / "mlflow.db"
        mlflow.set_tracking_uri(f"sqlite:///{self._path}")
        mlflow.set_experiment("peers")

    def record(self, call: int, fields: Fields, score: float) -> None:
        """Record one prediction as a trace of one span."""
        with self._mlflow.start_span("predict" if call >= 0 else "warm-up") as span:
            span.set_inputs(fields)
            span.set_outputs({"score": score})

    def flush(self) -> None:
        """Wait for the queue and its workers."""
        self._mlflow.flush_trace_async_logging()

    def close(self) -> None:
        """Do nothing: its threads end with the process."""

    def count_kept(self) -> int:
        """Count the traces that have their span."""
        with closing(sqlite3.connect(self._path)) as database:
            found = database.execute("SELECT count(DISTINCT trace_id) FROM spans WHERE name = 'predict'").fetchone()
        return int(found[0])


class OpenTelemetrySpans:
    """OpenTelemetry spans through a BatchSpanProcessor, written as JSON lines by the SDK's own exporter."""

    def __init__(self, folder: Path) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

        self.version = version("opentelemetry-sdk")
        self._path = folder / "spans.jsonl"
        self._file = self._path.open("a", encoding="utf-8")
        exporter = ConsoleSpanExporter(out=self._file, formatter=lambda span: span.to_json(indent=None) + "\n")
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("peers")

    def record(self, call: int, fields: Fields, score: float) -> None:
        """Record one prediction as a span with its fields as attributes."""
        with self._tracer.start_as_current_span("predict", attributes=fields) as span:
            span.set_attribute("score", score)
            span.set_attribute("call", call)

    def flush(self) -> None:
        """Wait for the exporter, then for the disk."""
        self._provider.force_flush()
        sync_file(self._file)

    def close(self) -> None:
        """Stop the processor."""
        self._provider.shutdown()
        self._file.close()

    def count_kept(self) -> int:
        """Count the spans in the file."""
        return len({call for line in iter_objects(self._path) if (call := line["attributes"]["call"]) >= 0})


class StructlogLines:
    """structlog with a time stamp and JSON lines, each handed to the system at once."""

    def __init__(self, folder: Path, *, sync_each: bool) -> None:
        import structlog

        self.version = version("structlog")
        self._path = folder / "log.jsonl"
        self._file = self._path.open("a", encoding="utf-8")
        self._sync_each = sync_each
        self._syncing = None if sync_each else PeriodicSync(self._file)
        processors = [structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer(encode_structlog)]
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(self._file), processors=processors, wrapper_class=structlog.BoundLogger
        ).bind()

    def record(self, call: int, fields: Fields, score: float) -> None:
        """Record one prediction as a line."""
        self._log.info("predict", call=call, score=score, **fields)
        if self._sync_each:
            sync_file(self._file)

    def flush(self) -> None:
        """Wait for the disk."""
        sync_file(self._file)

    def close(self) -> None:
        """Stop the thread and close the file."""
        if self._syncing is not None:
            self._syncing.stop()
        self._file.close()

    def count_kept(self) -> int:
        """Count the lines."""
        return len({call for line in iter_objects(self._path) if (call := line["call"]) >= 0})


class SqliteRows:
    """One SQLite transaction a prediction, in WAL mode with `synchronous=NORMAL`."""

    def __init__(self, folder: Path) -> None:
        self.version = sqlite3.sqlite_version
        self._path = folder / "predictions.db"
        self._database = sqlite3.connect(self._path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        names = ["time_ns", "score", *prediction_fields(0)]
        self._database.execute(f"CREATE TABLE predictions (call INTEGER PRIMARY KEY, {', '.join(names)})")
        self._insert = f"INSERT INTO predictions VALUES (?, {', '.join('?' * len(names))})"

    def record(self, call: int, fields: Fields, score: float) -> None:
        """Record one prediction as a row."""
        self._database.execute(self._insert, (call, time.time_ns(), score, *fields.values()))

    def flush(self) -> None:
        """Move the log into the database, which waits for the disk."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def count_kept(self) -> int:
        """Count the rows."""
        with closing(sqlite3.connect(self._path)) as database:
            return int(database.execute("SELECT count(*) FROM predictions WHERE call >= 0").fetchone()[0])


class HashChain:
    """JSON lines, each with the SHA-256 of the line before and itself, each handed to the system at once."""

    def __init__(self, folder: Path) -> None:
        self.version = f"Python {platform.python_version()}"
        self._path = folder / "chain.jsonl"
        self._file = self._path.open("ab", buffering=0)
        self._syncing = PeriodicSync(self._file)
        self._hash = bytes(32)

    def record(self, call: int, fields: Fields, score: float) -> None:
        """Record one prediction as a line that ends with its hash."""
        line = encode_json({"call": call, "time_ns": time.time_ns(), "score": score, **fields}).encode()
        digest = hashlib.sha256(self._hash + line)
        self._hash = digest.digest()
        self._file.write(line + b"\t" + digest.hexdigest().encode() + b"\n")

    def flush(self) -> None:
        """Wait for the disk."""
        sync_file(self._file)

    def close(self) -> None:
        """Stop the thread and close the file."""
        self._syncing.stop()
        self._file.close()

    def count_kept(self) -> int:
        """Count the lines up to the first that does not follow from those before."""
        calls = set()
        previous = bytes(32)
        for whole in self._path.read_bytes().splitlines():
            line, _, written = whole.partition(b"\t")
            digest = hashlib.sha256(previous + line)
            if digest.hexdigest().encode() != written:
                break
            previous = digest.digest()
            calls.add(json.loads(line)["call"])
        return sum(call >= 0 for call in calls)


class PeriodicSync:
    """A thread that puts what a file was given on disk, at a steady interval."""

    def __init__(self, file: BinaryIO | TextIO) -> None:
        self._file = file
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(SYNC_INTERVAL_SECONDS):
            os.fsync(self._file.fileno())


def sync_file(file: BinaryIO | TextIO) -> None:
    """Return when everything written to a file is on disk."""
    file.flush()
    os.fsync(file.fileno())


def encode_structlog(event: object, **_: object) -> str:
    """Return an event as JSON; structlog also passes options for objects that JSON does not know."""
    return encode_json(event)


def iter_objects(path: Path) -> Iterator[dict[str, Any]]:
    """Read a file of JSON lines."""
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


# As many calls as a few seconds allow. MLflow's queue holds 1,000 traces, OpenTelemetry's 2,048 spans: their first rows
# wait for the disk before that, so that nothing is dropped; the bursts show what happens otherwise.
PEERS = {
    "MLflow tracing, SQLite": Peer(open=MlflowTraces, calls=100, calls_per_flush=100),
    "MLflow tracing, SQLite, burst": Peer(open=MlflowTraces, calls=1_500, calls_per_flush=1_500, slow=True),
    "OpenTelemetry span, JSON lines": Peer(open=OpenTelemetrySpans, calls=10_000, calls_per_flush=2_000),
    "OpenTelemetry span, JSON lines, burst": Peer(open=OpenTelemetrySpans, calls=20_000, calls_per_flush=20_000),
    "structlog JSON lines, fsync each": Peer(
        open=lambda folder: StructlogLines(folder, sync_each=True), calls=2_000, calls_per_flush=2_000
    ),
    "structlog JSON lines, fsync every 50 ms": Peer(
        open=lambda folder: StructlogLines(folder, sync_each=False), calls=20_000, calls_per_flush=20_000
    ),
    "SQLite row, WAL, NORMAL": Peer(open=SqliteRows, calls=20_000, calls_per_flush=20_000),
    "hash-chained JSON lines, fsync every 50 ms": Peer(open=HashChain, calls=20_000, calls_per_flush=20_000),
}
