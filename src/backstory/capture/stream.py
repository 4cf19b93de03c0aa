"""One open stream: ids and sequence numbers, the rows that wait to be written, what is durable.

Two locks. `lock` guards the counters and the waiting rows and is held for a microsecond; `io` guards the file and is
held while it is written and flushed, so that nobody who only adds a row waits for a disk. `io` is taken first.

A signal handler may raise anywhere here. So nothing is counted twice that could then differ: which records are written
the writer says, and each change of what waits is one assignment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from backstory.capture.ids import IdSource
from backstory.capture.promise import Promiser
from backstory.errors import StorageError
from backstory.records.canonical import JsonObject
from backstory.records.identity import ID_SIZE, time_text
from backstory.records.limits import PAYLOAD_SIZE_MAX
from backstory.storage.clock import clock_state
from backstory.storage.spool import StreamInfo
from backstory.storage.spool_frames import END, HEARTBEAT
from backstory.storage.spool_writer import SpoolWriter
from backstory.storage.world import World

if TYPE_CHECKING:
    import pyarrow as pa

HEARTBEAT_NS = 60 * 10**9
"""A stream that records says at least so often what it has counted."""
CLOCK_JUMP_NS = 5 * 10**8
"""A clock that moved so much against one that nobody sets was set."""

_encode = msgspec.msgpack.Encoder().encode


class Stream:
    """An open stream of the spool and its counters.

    Attributes:
        info: What the stream's description says.
        durable_seq: The watermark: records below it are on disk.
        refused: Records that were refused instead of recorded.
        pending_size: Bytes of rows that wait to be written.
        failure: Why the stream could not be written the last time; None if it could.
        is_retired: Whether it takes no more records.
    """

    def __init__(
        self,
        info: StreamInfo,
        writer: SpoolWriter,
        world: World,
        promiser: Promiser,
        *,
        buffer_size: int,
        refused: int = 0,
    ) -> None:
        """Record into a writer; `buffer_size` bytes of rows may wait, and what was made durable may be promised."""
        self.info = info
        self.lock = threading.Lock()
        self.io = threading.Lock()
        self.durable_seq = 0
        self.refused = refused
        self.pending_size = 0
        self.failure: StorageError | None = None
        self.is_retired = False
        self._promiser = promiser
        self._buffer_size = buffer_size
        self._writer = writer
        self._world = world
        self._now_ns = world.now_ns
        self._ids = IdSource(world)
        self._waiting: tuple[list[bytes], tuple[int, int] | None] = ([], None)
        """The rows that wait, and, while they are being written, the sequence number of the first and how many."""
        self._marked = (0, 0, world.monotonic_ns())
        self._clocks = (world.now_ns(), world.monotonic_ns())

    @property
    def next_seq(self) -> int:
        """Sequence number of the next record."""
        with self.lock:
            self._settle()
            return self._writer.next_seq + len(self._waiting[0])

    @property
    def is_full(self) -> bool:
        """Whether as many rows wait as may."""
        return self.pending_size >= self._buffer_size

    def append_row(self, row: list[object]) -> int | None:
        """Add one record to those that wait to be written.

        Args:
            row: Its values; those of id and time are put in.

        Returns:
            Its id; None if the stream takes no rows now: it is retired, full, or could not be written.

        Raises:
            TypeError: A value is none that MessagePack has.
            OverflowError: A whole number, or the row, is too large.
        """
        with self.lock:
            if self.is_retired or self.pending_size >= self._buffer_size or self.failure is not None:
                return None
            row[1] = now_ns = self._now_ns()
            number = self._ids.next(now_ns)
            row[0] = number.to_bytes(ID_SIZE, "big")
            data = _encode(row)
            if len(data) > PAYLOAD_SIZE_MAX:  # a value of it may be one that goes to a blob
                raise OverflowError(f"recording: expected a row of at most {PAYLOAD_SIZE_MAX} bytes, got {len(data)}")
            self._waiting[0].append(data)
            self.pending_size += len(data)
            return number

    def append_table(self, rows: int, build: Callable[[int, int, int], pa.Table]) -> tuple[int, int] | None:
        """Write a batch; return its first sequence number and first id, or None if the stream is retired.

        Args:
            rows: How many records.
            build: Returns them, given first sequence number, first id and time in nanoseconds.

        Raises:
            StorageError: They could not be written; the stream is as before.
        """
        with self.io:
            with self.lock:
                if self.is_retired:
                    return None
                now_ns = self._now_ns()
                # With the batch's ids: rows added from now on have higher ones, and follow it.
                waiting, first_id = self._take_waiting(), self._ids.run(now_ns, rows)
            self._write_rows(waiting)
            first_seq = self._writer.next_seq
            if rows:
                self._promiser.announce(self.info.stream, first_seq, first_id)
                self._writer.append_table(build(first_seq, first_id, now_ns), first_seq)
            return first_seq, first_id

    def sync(self, seq: int | None = None) -> None:
        """Make records durable: all, or those below a sequence number, which another caller may have done.

        Raises:
            StorageError: They could not be; they are still held, and calling again tries again, unless the stream was
                given up.
        """
        with self.io:
            end_seq = self.next_seq if seq is None else seq
            if self.is_retired and end_seq <= self.durable_seq:
                return  # it was given up, and others may have sealed and removed it
            if end_seq > self.durable_seq or self.failure is not None or self._mark_is_due():
                self._make_durable()

    def write(self) -> None:
        """Hand what waits to the system: it then survives the death of the process.

        Raises:
            StorageError: It could not be written; it still waits.
        """
        with self.io:
            try:
                self._write_waiting()
            except StorageError as error:
                self.failure = error
                raise

    def retire(self) -> None:
        """Make the stream durable, say that it ends and give it up.

        Raises:
            StorageError: What it holds could not be made durable, and it goes on; or, if it is retired all the same,
                nothing but that it ended could not be said.
        """
        with self.io:
            try:
                with self.lock:
                    self.is_retired = True
                self._make_durable()  # alone: nothing may follow an end, and where this fails more will
            except BaseException:
                with self.lock:
                    self.is_retired = False
                raise
            try:
                self._make_durable(END)
            finally:
                self._writer.abandon()

    def abandon(self) -> None:
        """Give the stream up as it is: in a forked child it is the parent's."""
        self.is_retired = True
        self._writer.abandon()

    def refuse(self, rows: int) -> None:
        """Count records that are not kept."""
        with self.lock:
            self.refused += rows

    def _make_durable(self, mark: int = HEARTBEAT) -> None:
        """Write what waits, a mark where one is due, and make it durable; `io` is held."""
        try:
            self._write_waiting()
            end_seq = self._writer.next_seq
            if mark == END or self._mark_is_due():
                self._append_mark(mark, end_seq)
            durable = self._writer.sync()
        except StorageError as error:
            self.failure = error
            raise
        self.failure, self.durable_seq = None, end_seq
        self._promiser.take(self.info.stream, durable)

    def _write_waiting(self) -> None:
        """Write the rows that wait; `io` is held."""
        with self.lock:
            rows = self._take_waiting()
        self._write_rows(rows)

    def _take_waiting(self) -> list[bytes]:
        """Return the rows that wait, which go on waiting until they are written; both locks are held."""
        self._settle()
        rows, _ = self._waiting
        taken = rows[:]
        self._waiting = rows, (self._writer.next_seq, len(taken))
        return taken

    def _write_rows(self, rows: list[bytes]) -> None:
        """Write rows that were taken; `io` is held."""
        if rows:
            self._promiser.announce(self.info.stream, self._writer.next_seq, rows)
            self._writer.append_rows(rows, self._writer.next_seq)
        with self.lock:
            self._settle()

    def _settle(self) -> None:
        """Let rows that were taken wait no more if the writer has them; `lock` is held."""
        rows, taken = self._waiting
        if taken is not None and self._writer.next_seq > taken[0]:
            rows = rows[taken[1] :]
            self._waiting = rows, None
            self.pending_size = sum(map(len, rows))

    def _mark_is_due(self) -> bool:
        recorded, refused, at = self._marked
        passed = self._world.monotonic_ns() - at > HEARTBEAT_NS
        return refused != self.refused or (passed and recorded != self.next_seq) or self._clock_jump() != 0

    def _clock_jump(self) -> int:
        """Return by how many nanoseconds the clock was set since the last mark; 0 if it only drifted."""
        wall, monotonic = self._clocks
        moved = (self._world.now_ns() - wall) - (self._world.monotonic_ns() - monotonic)
        return moved if abs(moved) > CLOCK_JUMP_NS else 0

    def _append_mark(self, kind: int, next_seq: int) -> None:
        jump_ns, refused = self._clock_jump(), self.refused
        clocks = self._now_ns(), self._world.monotonic_ns()
        document: JsonObject = {
            "clock": clock_state(),
            "jump_ns": str(jump_ns),
            "recorded": str(next_seq),
            "refused": str(refused),
            "time": time_text(clocks[0]),
            "v": 1,
        }
        self._writer.append_mark(kind, next_seq, document)
        self._clocks = clocks  # only now: a mark that could not be written is still due
        self._marked = (next_seq, refused, clocks[1])
