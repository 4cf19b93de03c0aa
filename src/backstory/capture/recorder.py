"""The recorder: from what was predicted to the spool.

A record is acknowledged when it is at or below its stream's durable watermark: with durability `sync` before it is
given out, with `group` at most 50 ms later, with `async` at most 5 s later. A forked child opens streams of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import pyarrow as pa

from backstory.capture.deferred import Deferred
from backstory.capture.ids import Ids, new_stream_id
from backstory.capture.policy import SYNC_INTERVAL_NS, Policy
from backstory.capture.promise import Promiser
from backstory.capture.stream import Stream
from backstory.columns.record_table import envelope_columns
from backstory.errors import BusyError, ConflictError, LimitError, StorageError
from backstory.records.canonical import JsonObject
from backstory.records.identity import ID_SIZE, time_text
from backstory.records.limits import STREAMS_OPEN_MAX
from backstory.records.schema import Schema
from backstory.storage.blobs import BlobStore
from backstory.storage.spool import Spool, StreamInfo
from backstory.storage.world import World

BATCH_ROWS_MAX = 2**32 - 1
_WRITE_INTERVAL_SECONDS = 0.025
_RETRY_SECONDS = 0.5
_ROOM_SECONDS = 0.001
_RETIRED_MAX = 64
"""Streams that take no more records are remembered at least until so many are; then those that left the spool go."""
_log = logging.getLogger("backstory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records of one call, without what the stream assigns.

    Attributes:
        schema: Their schema.
        context: Digest of their context, in hex.
        status: `ok` or `error`.
        error: Class name of the exception, None when ok.
        request_id: The caller's id of the request, for all records or one for each.
        body: The columns after the envelope, in the schema's order; structs for dotted names.
    """

    schema: Schema
    context: str
    status: str
    error: str | None
    request_id: str | pa.Array | None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderStatus:
    """What a recorder has done and what it holds.

    Attributes:
        recorded: Records that were given an id.
        durable: Those of them that are on disk.
        refused: Records that were refused instead.
        pending_size: Bytes of records that wait in memory to be written.
        failure: Why a stream could not be written the last time; None if all could.
    """

    recorded: int
    durable: int
    refused: int
    pending_size: int
    failure: str | None


class RowTarget:
    """Where single records of one kind go: their schema, and the stream that takes them now."""

    __slots__ = ("schema", "stream")

    def __init__(self, schema: Schema) -> None:
        """Record under a schema; the stream is found when first needed."""
        self.schema = schema
        self.stream: Stream | None = None


_RECORDERS: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _leave_parents() -> None:
    for recorder in list(_RECORDERS):
        recorder.leave_parent()


@atexit.register
def _close_all() -> None:
    for recorder in list(_RECORDERS):
        try:
            recorder.close()
        except StorageError as error:
            _log.error("records may be lost: %s", error)


def _close_with_child() -> None:
    """Close recorders when a child of `multiprocessing` ends, which runs none of the functions of `atexit`."""
    if "multiprocessing.process" in sys.modules:
        from multiprocessing import parent_process, util

        if parent_process() is not None:
            util.Finalize(None, _close_all, exitpriority=0)


os.register_at_fork(after_in_child=_leave_parents)


class Recorder:
    """Appends records to a spool, from any thread."""

    def __init__(
        self,
        spool: Spool,
        blobs: BlobStore,
        world: World,
        policy: Policy | None = None,
        *,
        on_sync: Callable[[], None] = lambda: None,
        job: JsonObject | None = None,
    ) -> None:
        """Record into a spool; streams are opened when first needed.

        Args:
            spool: Where records go.
            blobs: Where their schemas are kept.
            world: Clock, randomness, disk.
            policy: What to promise, and what to do where that cannot be kept.
            on_sync: Called after every background sync; whoever seals looks whether there is enough to seal.
            job: Name, run and part of the job whose records these are, which are sealed all or not at all.
        """
        self.policy = policy or Policy()
        self._acknowledges = self.policy.durability == "sync"
        self._spool = spool
        self._blobs = blobs
        self._world = world
        self._on_sync = on_sync
        self._streams: OrderedDict[str, Stream] = OrderedDict()
        self._retired: list[Stream] = []
        self._refused: dict[str, tuple[Schema, int]] = {}
        self._forgotten = (0, 0)
        self._unplaced = 0
        self._lock = threading.Lock()
        self._bell: SimpleQueue[None] = SimpleQueue()
        """Wakes the thread. Unlike an event, it can be rung where a signal handler may raise, or in a finalizer."""
        self._deferred = Deferred(self._ring)
        self._closing = threading.Event()
        self._syncer: threading.Thread | None = None
        self._trouble: Exception | None = None
        self._job = job
        self.promiser = Promiser(world, self._ring)
        """Signs what was made durable, once it is switched on."""
        _RECORDERS.add(self)

    def record(self, batch: Batch) -> Recorded | None:
        """Append records; they have ids and sequence numbers when this returns.

        Returns:
            Where they are; None if they could not be kept and the policy lets predictions go out all the same.

        Raises:
            StorageError: They could not be written and were not recorded; or, with durability `sync`, they were written
                and could not be made durable.
            ConflictError: The recorder is closed, and predictions do not go out without their record.
            LimitError: More than 2**32 − 1 records in one call.
        """
        self._deferred.end_all()
        rows = batch.body.num_rows
        if rows > BATCH_ROWS_MAX:
            raise LimitError(f"recording: expected at most {BATCH_ROWS_MAX} rows in one call, got {rows}")
        try:
            while True:
                stream = self._stream(batch.schema)
                if stream.failure is not None:
                    stream.sync()  # or memory would fill with what no disk takes
                place = stream.append_table(
                    rows, lambda *assigned, info=stream.info: _with_envelope(batch, info.stream, *assigned)
                )
                if place is not None:
                    break  # otherwise another thread retired it between the two lines above
        except (StorageError, ConflictError) as error:
            self._refuse(batch.schema, rows, error)
            return None
        self._acknowledge(stream)
        return Recorded(stream=stream.info.stream, first_seq=place[0], ids=Ids(place[1], rows))

    def record_row(self, target: RowTarget, row: list[object]) -> int | None:
        """Append one record whose values are plain; return its id as `record` does.

        Args:
            target: Where it goes.
            row: Its values as they are encoded: id and time, which are put in; status, class name of the error, digest
                of the context, request id; then those of the schema's columns after the envelope.

        Raises:
            StorageError: As `record`.
            BusyError: Records come faster than they are written, and the policy refuses them.
            ConflictError: The recorder is closed.
        """
        if self._deferred:
            self._deferred.end_all()
        stream = target.stream
        number = None if stream is None else stream.append_row(row)
        if stream is None or number is None:
            try:
                stream, number = self._append_when_possible(target, row)
            except (StorageError, BusyError, ConflictError) as error:
                self._refuse(target.schema, 1, error)
                return None
        if self._acknowledges:
            self._acknowledge(stream)
        elif self._bell.empty():
            self._bell.put(None)
        return number

    def _append_when_possible(self, target: RowTarget, row: list[object]) -> tuple[Stream, int]:
        """Append a row to a stream that takes it, as soon as the policy allows; return the stream and the row's id.

        Raises:
            StorageError: None can be opened or written.
            BusyError: The policy refuses rows that come too fast.
            ConflictError: The recorder is closed.
        """
        while True:
            stream = target.stream
            if stream is None or stream.is_retired:
                stream = target.stream = self._stream(target.schema)
            if stream.is_full or stream.failure is not None:
                self._make_room(stream)
            number = stream.append_row(row)
            if number is not None:
                return stream, number

    def _acknowledge(self, stream: Stream) -> None:
        """See to it that what a stream was given becomes durable as the policy says.

        Raises:
            StorageError: It is not durable now, and will be once the disk is back; predictions do not go out without.
        """
        if self._acknowledges:
            try:
                stream.sync(stream.next_seq)
            except StorageError as error:
                if self.policy.on_failure == "closed":
                    raise
                _log.error("recording: predictions go out before their records are on disk: %s", error)
        else:
            self._ring()

    def _ring(self) -> None:
        """Wake the thread; only the bell says that it is rung, as an interruption may come between any two lines."""
        if self._bell.empty():
            self._bell.put(None)

    def defer(self, end: Callable[[], object]) -> None:
        """Let a prediction that was given up be recorded soon, by whoever records or makes durable next.

        For finalizers: they run in the middle of anything, so they can take no lock and set no context variable.
        """
        self._deferred.add(end)

    def _make_room(self, stream: Stream) -> None:
        """Return when the stream may take rows again, as the policy says.

        Raises:
            StorageError: It cannot be written.
            BusyError: The policy refuses rows that come too fast.
        """
        if stream.failure is not None:
            stream.sync()
        elif self.policy.on_full == "refuse":
            raise BusyError("recording: expected room in the buffer; records come faster than they are written")
        else:
            while stream.is_full and stream.failure is None and not stream.is_retired:
                self._require_thread()
                self._ring()
                time.sleep(_ROOM_SECONDS)

    def _refuse(self, schema: Schema, rows: int, error: StorageError | BusyError | ConflictError) -> None:
        """Count records that are not kept; raise unless predictions go out without their record."""
        if isinstance(error, ConflictError) and self.policy.on_failure == "closed":
            raise error  # whoever closed the recorder knows that it takes nothing more
        with self._lock:
            stream = self._streams.get(schema.digest)
            if stream is None:
                _, before = self._refused.get(schema.digest, (schema, 0))
                self._refused[schema.digest] = schema, before + rows
            else:
                stream.refuse(rows)
        self._tell_refused(rows, error)

    def _tell_refused(self, rows: int, error: Exception) -> None:
        """Raise, or let predictions go out without a record; the thread gets the count into the log."""
        self._ring()
        if self.policy.on_failure == "closed":
            raise error
        _log.error("recording: %d predictions go out without a record: %s", rows, error)

    def open_stream(self, schema: Schema) -> None:
        """Open the stream of a kind of record before the first is appended, for several kinds of one call.

        Raises:
            StorageError: It cannot be opened, or its last write failed and fails again.
        """
        with contextlib.suppress(ConflictError):  # a closed recorder: the policy is asked when records come
            stream = self._stream(schema)
            if stream.failure is not None:
                stream.sync()

    def refuse_early(self, rows: int, error: StorageError) -> None:
        """Count records that could not be kept before their kind was known; raise as for any others.

        They are counted with the newest stream or, where there is none, with the first that is opened.
        """
        with self._lock:
            if self._streams:
                next(reversed(self._streams.values())).refuse(rows)
            else:
                self._unplaced += rows
        self._tell_refused(rows, error)

    def sync(self) -> None:
        """Make every record durable before returning.

        Raises:
            StorageError: Something could not be made durable; it is still held.
        """
        self._deferred.end_all(wait=True)
        for stream in list(self._streams.values()):
            stream.sync()

    def sync_kind(self, schema: Schema) -> None:
        """Make every record of one kind durable before returning; one whose stream was given up is.

        Raises:
            StorageError: It could not be made durable; it is still held.
        """
        stream = self._streams.get(schema.digest)
        if stream is not None:
            stream.sync(stream.next_seq)

    def write(self) -> None:
        """Hand what waits in memory to the system, so that whoever reads the spool now sees it."""
        self._deferred.end_all(wait=True)
        for stream in list(self._streams.values()):
            self._write(stream, durably=False)

    def streams(self) -> list[tuple[StreamInfo, int]]:
        """Return the streams of this process, each with the sequence number after its last record.

        Streams that take no more records and have left the spool, sealed or collected, may be missing.
        """
        with self._lock:
            streams = [*self._retired, *self._streams.values()]
        return [(stream.info, stream.next_seq) for stream in streams]

    def add_counts(self, status: RecorderStatus) -> None:
        """Count what another recorder did that has ended, one of a part of a job."""
        with self._lock:
            recorded, refused = self._forgotten
            self._forgotten = recorded + status.durable, refused + status.refused

    def status(self) -> RecorderStatus:
        """Return what was recorded and what waits."""
        with self._lock:
            streams = [*self._retired, *self._streams.values()]
            (recorded, refused), unopened = self._forgotten, [rows for _, rows in self._refused.values()]
            unopened.append(self._unplaced)
        troubles = [self._trouble, *(stream.failure for stream in streams)]
        failures = [str(trouble) for trouble in troubles if trouble is not None]
        return RecorderStatus(
            recorded=recorded + sum(stream.next_seq for stream in streams),
            durable=recorded + sum(stream.durable_seq for stream in streams),
            refused=refused + sum(stream.refused for stream in streams) + sum(unopened),
            pending_size=sum(stream.pending_size for stream in streams),
            failure=failures[0] if failures else None,
        )

    def close(self) -> None:
        """Make everything durable and give up the streams; a closed recorder takes no more records.

        Raises:
            StorageError: Something could not be made durable; it is still held, and calling again tries again.
        """
        self._deferred.end_all(wait=True)
        self._closing.set()
        self._bell.put(None)
        if self._syncer is not None and self._syncer is not threading.current_thread():
            self._syncer.join()
        errors = []
        with self._lock:
            for digest in {**self._refused, **self._streams}:
                try:
                    if digest in self._refused:  # no stream could be opened that says how many it refused
                        self._streams[digest] = self._open(self._refused[digest][0])
                    self._retire(digest)
                except StorageError as error:
                    errors.append(error)
        self.promiser.make()
        if errors:
            raise errors[0]

    def abandon(self) -> None:
        """Give up the streams as they are: nothing says that they end, so a part of a job is not complete."""
        with self._lock:
            for stream in self._streams.values():
                stream.abandon()
            self._streams.clear()

    def _stream(self, schema: Schema) -> Stream:
        with self._lock:
            if self._closing.is_set() and threading.current_thread() is not self._syncer:  # which `close` waits for
                raise ConflictError("recording: the recorder is closed")
            stream = self._streams.get(schema.digest)
            if stream is not None:
                self._streams.move_to_end(schema.digest)
            else:
                if len(self._streams) >= STREAMS_OPEN_MAX:
                    self._retire(next(iter(self._streams)))
                stream = self._streams[schema.digest] = self._open(schema)
        self._require_thread()
        return stream

    def _require_thread(self) -> None:
        """See to it that the thread runs which makes records durable.

        Raises:
            StorageError: The system gives no thread.
        """
        if self._syncer is not None and self._syncer.is_alive():
            return
        with self._lock:
            if self._closing.is_set() or (self._syncer is not None and self._syncer.is_alive()):
                return
            _close_with_child()
            thread = threading.Thread(target=self._sync_in_background, name="backstory-sync", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise StorageError(f"recording: no thread that writes could be started: {error}") from error
            self._syncer = thread

    def _open(self, schema: Schema) -> Stream:
        self._blobs.put(schema.encoded)
        info = StreamInfo(
            stream=new_stream_id(self._world),
            schema=schema.digest,
            encrypted=bool(schema.groups),
            opened=time_text(self._world.now_ns()),
            policy=self.policy.document(),
            spill=self.policy.spill,
            job=self._job,
        )
        writer = self._spool.create(info)
        _, refused = self._refused.pop(schema.digest, (schema, 0))
        refused, self._unplaced = refused + self._unplaced, 0
        return Stream(info, writer, self._world, self.promiser, buffer_size=self.policy.buffer_size, refused=refused)

    def _retire(self, digest: str) -> None:
        """Close the stream of a schema; its records wait in the spool for the sealer.

        Raises:
            StorageError: Its records could not be made durable, and it stays; or that it ends could not be said.
        """
        stream = self._streams[digest]
        try:
            stream.retire()
        finally:
            if stream.is_retired:
                del self._streams[digest]
                self._retired.append(stream)
                if len(self._retired) > _RETIRED_MAX:
                    self._forget_retired()

    def _forget_retired(self) -> None:
        """Forget streams that take no more records and have left the spool."""
        present = set(self._spool.stream_names())
        for stream in [stream for stream in self._retired if stream.info.stream not in present]:
            self._retired.remove(stream)
            recorded, refused = self._forgotten
            self._forgotten = recorded + stream.next_seq, refused + stream.refused

    def leave_parent(self) -> None:
        """In a forked child: the streams are the parent's, its thread is not here, its locks may be held for ever."""
        for stream in self._streams.values():
            stream.abandon()
        self._streams = OrderedDict()
        self._retired = []
        self._refused = {}
        self._forgotten = (0, 0)
        self._unplaced = 0
        self._lock = threading.Lock()
        self._bell = SimpleQueue()
        self._deferred.renew()
        self._syncer, self._trouble = None, None
        if not self._closing.is_set():
            self._closing = threading.Event()  # its lock may be held, too

    def _sync_in_background(self) -> None:
        synced_ns = 0
        while not self._closing.is_set():
            self._bell.get()
            self._closing.wait(_WRITE_INTERVAL_SECONDS)  # gather what other threads append meanwhile
            while not self._bell.empty():  # before anything is written: who rings from here on is not too late
                self._bell.get()
            self._deferred.end_all()
            is_due = self._world.monotonic_ns() - synced_ns >= SYNC_INTERVAL_NS[self.policy.durability]
            synced_ns = self._world.monotonic_ns() if is_due else synced_ns
            try:
                failed = [s for s in list(self._streams.values()) if not self._write(s, durably=is_due)]
                self.promiser.make()
                self._on_sync()
            except Exception as error:  # noqa: BLE001  whatever it is: without this thread nothing becomes durable
                _log.exception("recording: what waits is kept in memory")
                failed, self._trouble = list(self._streams.values()), error
            else:
                self._trouble = None
            if failed:
                self._closing.wait(_RETRY_SECONDS)
            if failed or not is_due:
                self._ring()

    def _write(self, stream: Stream, *, durably: bool) -> bool:
        try:
            stream.sync() if durably else stream.write()
        except StorageError as error:
            _log.warning("recording: %s; what waits is kept in memory", error)
            return False
        return True


def _with_envelope(batch: Batch, stream: str, first_seq: int, first_id: int, now_ns: int) -> pa.Table:
    """Put the envelope columns before the body."""
    rows, request_id = batch.body.num_rows, batch.request_id
    given = {
        "id": _ids(first_id, rows),
        "time": pa.repeat(pa.scalar(now_ns, pa.timestamp("ns", "UTC")), rows),
        "status": pa.repeat(batch.status, rows),
        "error": pa.repeat(pa.scalar(batch.error, pa.string()), rows),
        "context": pa.repeat(pa.scalar(bytes.fromhex(batch.context), pa.binary(32)), rows),
        "request_id": request_id.cast(pa.string())
        if isinstance(request_id, pa.Array)
        else pa.repeat(pa.scalar(request_id, pa.string()), rows),
    }
    batch_row, batch_rows = pa.array(np.arange(rows, dtype=np.uint32)), pa.repeat(pa.scalar(rows, pa.uint32()), rows)
    envelope = envelope_columns(stream, batch.schema.kind, first_seq, given, batch_row, batch_rows)
    return pa.table({**envelope, **dict(zip(batch.body.column_names, batch.body.columns, strict=True))})


def _ids(first: int, rows: int) -> pa.Array:
    """Return consecutive ids; `next_ids` promises that only the low 64 bits change."""
    words = np.empty((rows, 2), ">u8")
    words[:, 0] = first >> 64
    words[:, 1] = np.uint64(first & (2**64 - 1)) + np.arange(rows, dtype=np.uint64)
    return pa.Array.from_buffers(pa.binary(ID_SIZE), rows, [None, pa.py_buffer(words)])
