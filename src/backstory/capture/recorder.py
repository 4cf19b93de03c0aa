"""The recorder: ids, sequence numbers and the spool.

Ids and sequence numbers of a stream are assigned under its one lock, both increasing whatever the clock does. A record
is acknowledged when it is at or below the stream's durable watermark: with durability `sync` before `record` returns,
with `group` at most 50 ms later. A forked child opens streams of its own.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
import pyarrow as pa

from backstory.errors import ConflictError, LimitError, StorageError
from backstory.records.identity import ID_SIZE, id_text, next_ids
from backstory.records.limits import STREAMS_OPEN_MAX
from backstory.records.schema import Schema
from backstory.storage.blobs import BlobStore
from backstory.storage.spool import Spool, SpoolWriter, StreamInfo
from backstory.storage.world import World

Durability = Literal["sync", "group"]
GROUP_INTERVAL_SECONDS = 0.05
_RANDOM_SIZE = 10
BATCH_ROWS_MAX = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Ids(Sequence[str]):
    """Ids of the records of one call: a run of consecutive UUIDs, as text.

    Attributes:
        first: The first id as an integer.
        count: How many.
    """

    first: int
    count: int  # type: ignore[assignment]  # hides `Sequence.count`, which nobody needs of ids that are all distinct

    def __len__(self) -> int:
        """Return how many ids there are."""
        return self.count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one id, or a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.count))]
        at = range(self.count)[index]
        return id_text((self.first + at).to_bytes(ID_SIZE, "big"))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids."""
        return (self[i] for i in range(self.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records of one call, without what the stream assigns.

    Attributes:
        schema: Their schema.
        context: Digest of their context, in hex.
        status: `ok` or `error`.
        error: Class name of the exception, None when ok.
        request_id: The caller's id of the request.
        body: The columns after the envelope, in the schema's order; structs for dotted names.
    """

    schema: Schema
    context: str
    status: str
    error: str | None
    request_id: str | None
    body: pa.Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Where the records of a batch are: their stream, sequence numbers and ids."""

    stream: str
    first_seq: int
    ids: Ids

    @property
    def end_seq(self) -> int:
        """One more than the last sequence number."""
        return self.first_seq + len(self.ids)


class _Stream:
    """One open stream and its counters; every access is under `lock`."""

    def __init__(self, info: StreamInfo, writer: SpoolWriter) -> None:
        self.info = info
        self.writer = writer
        self.lock = threading.Lock()
        self.next_seq = 0
        self.last_id = 0
        self.durable_seq = 0
        """The watermark: records below it are on disk."""
        self.retired = False
        """Closed because other kinds of record were used more lately; takes no more records."""

    def sync(self) -> None:
        with self.lock:
            self.sync_held()

    def sync_held(self) -> None:
        """Make the stream durable; its lock is held."""
        if self.durable_seq < self.next_seq:
            self.writer.sync()
            self.durable_seq = self.next_seq


_RECORDERS: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _leave_parents() -> None:
    for recorder in _RECORDERS:
        recorder.leave_parent()


os.register_at_fork(after_in_child=_leave_parents)


class Recorder:
    """Appends records to the spool of one archive, from any thread."""

    def __init__(self, spool: Spool, blobs: BlobStore, world: World, durability: Durability = "group") -> None:
        """Record into a spool; streams are opened when first needed."""
        self._spool = spool
        self._blobs = blobs
        self._world = world
        self._durability = durability
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._retired: list[tuple[StreamInfo, int]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._syncer: threading.Thread | None = None
        self._sync_error: StorageError | None = None
        _RECORDERS.add(self)

    def record(self, batch: Batch) -> Recorded:
        """Append records; they have ids and sequence numbers when this returns.

        Raises:
            StorageError: They could not be written and were not recorded; or, with durability `sync`, they were written
                and could not be made durable. After a failed fsync a recorder takes no more records.
            ConflictError: The recorder is closed.
            LimitError: More than 2**32 − 1 records in one call.
        """
        rows = batch.body.num_rows
        if rows > BATCH_ROWS_MAX:
            raise LimitError(f"recording: expected at most {BATCH_ROWS_MAX} rows in one call, got {rows}")
        while True:
            stream = self._stream(batch.schema)
            with stream.lock:
                if stream.retired:
                    continue  # another thread closed it between the two lines above
                recorded = self._append(stream, batch)
            break
        if self._durability == "sync":
            self._sync(stream)
        else:
            self._wake.set()
        return recorded

    def _append(self, stream: _Stream, batch: Batch) -> Recorded:
        """Assign ids and sequence numbers and append; the stream's lock is held."""
        rows = batch.body.num_rows
        if self._sync_error is not None:
            raise self._sync_error
        now_ns = self._world.now_ns()
        random = int.from_bytes(self._world.random_bytes(_RANDOM_SIZE), "big") >> 6
        first_id, last_id = next_ids(stream.last_id, now_ns // 10**6, random, rows)
        first_seq = stream.next_seq
        if rows:
            table = _with_envelope(batch, stream.info.stream, first_seq, first_id, now_ns)
            try:
                stream.writer.append(table, first_seq)
            except StorageError as error:
                if stream.writer.failed:  # it synced what came before, and that may be lost
                    self._sync_error = error
                raise
            stream.next_seq, stream.last_id = first_seq + rows, last_id
        return Recorded(stream=stream.info.stream, first_seq=first_seq, ids=Ids(first_id, rows))

    def sync(self) -> None:
        """Make every record durable before returning.

        Raises:
            StorageError: fsync failed, now or in the background.
        """
        if self._sync_error is not None:
            raise self._sync_error
        for stream in list(self._streams.values()):
            self._sync(stream)

    def _sync(self, stream: _Stream) -> None:
        try:
            stream.sync()
        except StorageError as error:
            self._sync_error = error  # the kernel forgets what it could not write: a later fsync proves nothing
            raise

    def streams(self) -> list[tuple[StreamInfo, int]]:
        """Return the streams of this process, each with the sequence number after its last record."""
        return [*self._retired, *((stream.info, stream.next_seq) for stream in list(self._streams.values()))]

    def forget_retired(self, sealed: Collection[tuple[StreamInfo, int]]) -> None:
        """Forget streams that take no more records and are sealed to their end, as `streams` gave them."""
        with self._lock:
            self._retired = [stream for stream in self._retired if stream not in sealed]

    def close(self) -> None:
        """Make everything durable and give up the streams; a closed recorder takes no more records.

        Raises:
            StorageError: fsync failed, now or in the background: the last records may not be durable.
        """
        self._closing = True
        self._wake.set()
        if self._syncer is not None:
            self._syncer.join()
        try:
            self.sync()
        finally:
            self._abandon()

    def _abandon(self) -> None:
        for stream in self._streams.values():
            stream.writer.abandon()
        self._streams = OrderedDict()

    def _stream(self, schema: Schema) -> _Stream:
        with self._lock:
            if self._closing:
                raise ConflictError("recording: the recorder is closed")
            stream = self._streams.get(schema.digest)
            if stream is not None:
                self._streams.move_to_end(schema.digest)
            else:
                if len(self._streams) >= STREAMS_OPEN_MAX:
                    self._retire(next(iter(self._streams)))
                self._blobs.put(schema.encoded)
                name = _new_stream_id(self._world)
                info = StreamInfo(stream=name, schema=schema.digest, encrypted=bool(schema.groups))
                stream = self._streams[schema.digest] = _Stream(info, self._spool.create(info))
            if self._syncer is None and self._durability == "group":
                self._syncer = threading.Thread(target=self._sync_in_background, name="backstory-sync", daemon=True)
                self._syncer.start()
            return stream

    def _retire(self, digest: str) -> None:
        """Close the stream of a schema, durably; its records wait in the spool for the sealer."""
        stream = self._streams[digest]
        with stream.lock:
            try:
                stream.sync_held()
            except StorageError as error:
                self._sync_error = error
                raise
            stream.retired = True
            stream.writer.abandon()
        del self._streams[digest]
        self._retired.append((stream.info, stream.next_seq))

    def leave_parent(self) -> None:
        """In a forked child: the streams are the parent's, its thread is not here, its locks may be held for ever."""
        self._abandon()
        self._retired = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._syncer = None

    def _sync_in_background(self) -> None:
        wait = threading.Event()
        while not self._closing:
            self._wake.wait()
            wait.wait(GROUP_INTERVAL_SECONDS / 2)  # gather what other threads append meanwhile
            self._wake.clear()
            try:
                for stream in list(self._streams.values()):
                    self._sync(stream)
            except StorageError:
                return  # the next caller is told


def _new_stream_id(world: World) -> str:
    random = int.from_bytes(world.random_bytes(_RANDOM_SIZE), "big") >> 6
    first, _ = next_ids(0, world.now_ns() // 10**6, random, 1)
    return first.to_bytes(ID_SIZE, "big").hex()


def _with_envelope(batch: Batch, stream: str, first_seq: int, first_id: int, now_ns: int) -> pa.Table:
    """Put the envelope columns before the body."""
    rows = batch.body.num_rows
    columns = {
        "id": _ids(first_id, rows),
        "stream": pa.repeat(pa.scalar(bytes.fromhex(stream), pa.binary(ID_SIZE)), rows),
        "seq": pa.array(np.arange(first_seq, first_seq + rows, dtype=np.uint64)),
        "time": pa.repeat(pa.scalar(now_ns, pa.timestamp("ns", "UTC")), rows),
        "kind": pa.repeat(batch.schema.kind, rows),
        "status": pa.repeat(batch.status, rows),
        "error": pa.repeat(pa.scalar(batch.error, pa.string()), rows),
        "context": pa.repeat(pa.scalar(bytes.fromhex(batch.context), pa.binary(32)), rows),
        "batch_row": pa.array(np.arange(rows, dtype=np.uint32)),
        "batch_rows": pa.repeat(pa.scalar(rows, pa.uint32()), rows),
        "request_id": pa.repeat(pa.scalar(batch.request_id, pa.string()), rows),
    }
    return pa.table({**columns, **dict(zip(batch.body.column_names, batch.body.columns, strict=True))})


def _ids(first: int, rows: int) -> pa.Array:
    """Return consecutive ids; `next_ids` promises that only the low 64 bits change."""
    words = np.empty((rows, 2), ">u8")
    words[:, 0] = first >> 64
    words[:, 1] = np.uint64(first & (2**64 - 1)) + np.arange(rows, dtype=np.uint64)
    return pa.Array.from_buffers(pa.binary(ID_SIZE), rows, [None, pa.py_buffer(words)])
