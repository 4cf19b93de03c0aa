"""Small archives below the front door: a world that repeats itself, two schemas, batches of records.

world          a clock that counts and randomness from a seed
OPEN, SEALED   a schema without sealed groups and one with three
make_batch     records whose values follow from their number
make_row       one such record alone
row            any record alone
new_ledger     a new archive, open for writing
lose           a recorder's end, as the death of its process would be
"""

from __future__ import annotations

import itertools
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from backstory.capture.policy import Durability, Policy
from backstory.capture.recorder import Batch, Recorder
from backstory.ledger.create import create_archive
from backstory.ledger.ledger import Ledger
from backstory.records.envelope import prediction_schema
from backstory.records.schema import Schema
from backstory.storage.disk import Disk
from backstory.storage.world import World

ORIGIN = "example.org/test"
BEGAN_NS = 1_767_225_600 * 10**9
"""2026-01-01, when every test's clock starts."""

FEATURES = [("feature.x", "float64"), ("feature.name", "string")]
OUTPUTS = [("output", "float64")]
OPEN = prediction_schema(
    rows=["flights"], personal_rows=[], features=FEATURES, outputs=OUTPUTS, decision=None, subject=False
)
SEALED = prediction_schema(
    rows=["loans"], personal_rows=["loans"], features=FEATURES, outputs=OUTPUTS, decision="bool", subject=True
)


class QuickDisk(Disk):
    """A disk that flushes nothing: these tests stop programs, not machines."""

    def sync(self, path: Path) -> None:
        """Do nothing."""


def world(seed: int = 1, disk: Disk | None = None) -> World:
    """Return a world whose clock goes a millisecond further each time it is read, and whose chance is a seed's."""
    ticks = itertools.count(BEGAN_NS, 10**6)
    tick = ticks.__next__
    return World(now_ns=tick, monotonic_ns=tick, random_bytes=random.Random(seed).randbytes, disk=disk or QuickDisk())


def make_body(schema: Schema, first: int, rows: int) -> pa.Table:
    """Return the columns after the envelope; row `i` is a function of `first + i`."""
    numbers = range(first, first + rows)
    reference = "loans" if schema is SEALED else "flights"
    features = [{"x": n / 2, "name": f"name {n}"} for n in numbers]
    columns = {
        "row": pa.array([{reference: n} for n in numbers], pa.struct([(reference, pa.int64())])),
        "feature": pa.array(features, pa.struct([("x", pa.float64()), ("name", pa.large_string())])),
        "output": pa.array([float(n) for n in numbers], pa.float64()),
    }
    if schema is SEALED:
        columns["decision"] = pa.array([n % 2 == 0 for n in numbers], pa.bool_())
        columns["subject"] = pa.array([f"person {n}" for n in numbers], pa.large_string())
    return pa.table(columns)


def make_batch(ledger: Ledger, schema: Schema, first: int, rows: int, model: str = "delay") -> Batch:
    """Return a batch of records numbered from `first`, with a context of this model."""
    context = ledger.put_document({"model": {"name": model}, "v": 1})
    body = make_body(schema, first, rows)
    return Batch(schema=schema, context=context, status="ok", error=None, request_id=None, body=body)


def make_row(ledger: Ledger, number: int) -> list[object]:
    """Return a record of `OPEN` as `Recorder.record_row` takes it, with the values it has in a batch."""
    context = ledger.put_document({"model": {"name": "delay"}, "v": 1})
    return row(bytes.fromhex(context), [number, number / 2, f"name {number}", float(number)])


def row(context: bytes, values: list[object]) -> list[object]:
    """Return a prediction that succeeded as `Recorder.record_row` takes it."""
    return [b"", 0, "ok", None, context, None, *values]


def new_ledger(root: Path, *, seed: int = 1, disk: Disk | None = None) -> Ledger:
    """Create an archive and open it for writing."""
    own = world(seed, disk)
    create_archive(root, ORIGIN, own)
    return Ledger(root, own, writable=True, vkey=None, actor=None)


def reopen(root: Path, *, seed: int = 2, disk: Disk | None = None) -> Ledger:
    """Open an archive for writing as the next process would."""
    return Ledger(root, world(seed, disk), writable=True, vkey=None, actor=None)


def catalog_rows(path: Path) -> list[tuple[object, ...]]:
    """Return everything a catalog's file says."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            row
            for table in ("indexed", "entry", "segment")
            for row in connection.execute(f"SELECT '{table}', * FROM {table} ORDER BY 2")
        ]


def new_recorder(ledger: Ledger, durability: Durability = "sync") -> Recorder:
    """Return a recorder into an archive's spool."""
    return Recorder(ledger.spool, ledger.blobs, ledger.world, Policy(durability=durability))


def lose(recorder: Recorder) -> None:
    """Let a recorder end as its process would: what waits in memory is gone, and so are its locks."""
    for stream in recorder._streams.values():
        stream.io.acquire()  # for ever, so that its own thread writes no more
    recorder.leave_parent()
