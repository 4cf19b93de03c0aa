"""Commitments and leaf hashes of a run of records, over two processes where there is enough to hash.

Hashing a record holds the interpreter's lock, so a second core needs a second process. It is started once, fed with the
second half of the rows as an Arrow stream, and answers with their commitments and subtree roots.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import IO

import msgspec
import pyarrow as pa

from backstory.columns.seal import commit_groups, with_commitments
from backstory.columns.tree import leaf_hashes, subtree_roots
from backstory.records.limits import SUBTREE_ROWS
from backstory.records.schema import Schema, parse_schema
from backstory.storage.fork import renew_in_child
from backstory.storage.pipe import receive, send

SHARED_ROWS_MIN = 1 << 16
"""Fewer rows are hashed sooner here than a process starts and is fed."""


class _Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to hash: the rows follow as an Arrow stream."""

    schema: bytes
    salt_keys: dict[str, bytes]
    first_row: int


class Hashed(msgspec.Struct, frozen=True, kw_only=True):
    """What was computed over a run of records.

    Attributes:
        commitments: By sealed group, in the schema's order, one of 32 bytes a record.
        subtrees: Roots of the runs of 256 leaves.
    """

    commitments: list[bytes]
    subtrees: bytes


class RowHasher:
    """Hashes runs of records, with a process beside this one for long ones. One run at a time."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()
        renew_in_child(self, "_lock", threading.Lock)

    def hash(self, schema: Schema, table: pa.Table, salt_keys: Mapping[str, bytes]) -> Hashed:
        """Return commitments and subtree roots of a run of records.

        Args:
            schema: Their schema.
            table: The records with all columns.
            salt_keys: 32 bytes each, by key domain; none without sealed groups.
        """
        if table.num_rows < SHARED_ROWS_MIN or (os.cpu_count() or 1) == 1 or not sys.executable:
            return hash_rows(schema, table, salt_keys, 0)
        with self._lock:
            return self._hash_shared(schema, table, salt_keys)

    def _hash_shared(self, schema: Schema, table: pa.Table, salt_keys: Mapping[str, bytes]) -> Hashed:
        half = table.num_rows // 2 // SUBTREE_ROWS * SUBTREE_ROWS
        process = self._process if self._process is not None and self._owner == os.getpid() else self._start()
        task = _Task(schema=schema.encoded, salt_keys=dict(salt_keys), first_row=half)
        feeder = threading.Thread(target=_feed, args=(process.stdin, task, table.slice(half)), daemon=True)
        feeder.start()
        first = hash_rows(schema, table.slice(0, half), salt_keys, 0)
        feeder.join()
        data = None if process.stdout is None else receive(process.stdout)
        if data is None:  # it died, or was stopped from outside: nothing is lost but its work
            self._end()
            second = hash_rows(schema, table.slice(half), salt_keys, half)
        else:
            second = msgspec.msgpack.decode(data, type=Hashed)
        joined = [a + b for a, b in zip(first.commitments, second.commitments, strict=True)]
        return Hashed(commitments=joined, subtrees=first.subtrees + second.subtrees)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "backstory.ledger.hashing_process"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  our own module
        self._process, self._owner = process, os.getpid()
        return process

    def _end(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
            self._process = None

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()


def hash_rows(schema: Schema, table: pa.Table, salt_keys: Mapping[str, bytes], first_row: int) -> Hashed:
    """Return commitments and subtree roots of records, the first of which is a given row of its segment."""
    commitments = commit_groups(schema, table, salt_keys, first_row)
    leaves = leaf_hashes(with_commitments(schema, table, commitments))
    return Hashed(commitments=commitments, subtrees=subtree_roots(leaves))


def answer(stream: IO[bytes], replies: IO[bytes]) -> None:
    """Hash what comes on a stream until it ends."""
    while (data := receive(stream)) is not None:
        task = msgspec.msgpack.decode(data, type=_Task)
        table = pa.ipc.open_stream(stream).read_all()
        send(replies, hash_rows(parse_schema(task.schema), table, task.salt_keys, task.first_row))


def _feed(stream: IO[bytes] | None, task: _Task, table: pa.Table) -> None:
    if stream is None:
        return
    try:
        send(stream, task)
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        stream.flush()
    except OSError:
        pass  # it died; whoever waits for its answer gets none
