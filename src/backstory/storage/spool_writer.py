"""Appending to one stream of the spool. Bytes: docs/format.md section 15.

Frames stay in memory until they are durable. Where a file cannot be made durable the kernel may have dropped what it
could not write, and a later fsync would prove nothing: the frames still held go to a new file, which says from where on
the old one is void. So does a file whose append was interrupted, by a signal handler that raised: nobody knows what of
it stands there. What a reader may have found there keeps its sequence number.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

import pyarrow as pa

from backstory.errors import StorageError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.storage.batch_file import write_batch
from backstory.storage.disk import AppendFile, Disk
from backstory.storage.encryption import encrypt
from backstory.storage.spool_frames import BATCH, FILE, MAGIC, RESUME, ROWS, SYNCED, encode_frame

INLINE_SIZE_MAX = 1 << 20
"""A batch of more bytes than this in memory goes to a file of its own."""
ROTATE_SIZE = 8 << 20
"""A frames file above this many bytes is closed and another begun, so that the sealer can remove it."""
BATCH_SUFFIX = ".arrow"
Held: TypeAlias = tuple[int, int, bytes]
"""First sequence number of a frame, the one after its last, and its bytes."""
_ARRAY = b"\xdd"
"""MessagePack's head of an array, before its length in four bytes."""


class SpoolWriter:
    """Appends frames to one stream. Not thread-safe: one caller at a time."""

    def __init__(self, folders: Sequence[Path], stream: str, key: bytes | None, lock: BinaryIO, disk: Disk) -> None:
        """Write into the first of a stream's directories that can be written; made by `Spool.create`."""
        self._folders = folders
        self._stream = stream
        self._key = key
        self._lock = lock
        self._disk = disk
        self._number = 0
        self._synced_seq = 0
        self._held: list[Held] = []
        """The frames that are not durable."""
        self._is_void = False
        self._is_appending = False
        self._file = self._begin(MAGIC)

    @property
    def next_seq(self) -> int:
        """The sequence number after the last record appended."""
        return self._held[-1][1] if self._held else self._synced_seq

    def append_table(self, table: pa.Table, first_seq: int) -> None:
        """Append a batch of records with all their columns; it is durable after `sync`.

        Raises:
            StorageError: It could not be written; the stream is as before.
        """
        self._look_back()
        if table.nbytes <= INLINE_SIZE_MAX:
            self._append(BATCH, first_seq, table.num_rows, self._protected(_ipc_bytes(table), first_seq))
            return
        digest = b""

        def write(path: Path) -> None:
            nonlocal digest
            digest = write_batch(table, path, self._key, self._bound_to(first_seq))

        self._write_file(lambda: f"{first_seq}{BATCH_SUFFIX}", write)
        self._append(FILE, first_seq, table.num_rows, digest)

    def append_rows(self, rows: Sequence[bytes], first_seq: int) -> None:
        """Append records that are MessagePack arrays of their values; they are durable after `sync`.

        Raises:
            StorageError: They could not be written; the stream is as before.
        """
        data = b"".join((_ARRAY, len(rows).to_bytes(4, "big"), *rows))
        self._append(ROWS, first_seq, len(rows), self._protected(data, first_seq))

    def append_mark(self, kind: int, next_seq: int, document: JsonObject) -> None:
        """Append what the writer has to say about itself; see `spool_frames`.

        Raises:
            StorageError: It could not be written; the stream is as before.
        """
        self._append(kind, next_seq, 0, canonical.encode(document))

    def sync(self) -> list[Held]:
        """Make everything appended so far durable, in a new file if need be; return what was not durable before.

        Raises:
            StorageError: That failed; what was appended since the last sync is still held, and calling again tries
                another new file.
        """
        self._look_back()
        if not self._is_void:
            if not self._held:
                return []
            try:
                self._file.sync()
            except StorageError:
                self._is_void = True
            else:
                durable = self._forget_held()
                self._say_synced()
                self._rotate_if_large()
                return durable
        return self._resume()

    def _say_synced(self) -> None:
        """Say in the file that what stands in it is durable, which tells damage to it from a tail a crash left."""
        with contextlib.suppress(StorageError), self._appending():  # the next sync says it again
            self._file.append(encode_frame(SYNCED, self.next_seq, 0, b""))

    def _append(self, kind: int, first_seq: int, count: int, data: bytes) -> None:
        frame = encode_frame(kind, first_seq, count, data)
        held = first_seq, first_seq + count, frame
        with self._appending():
            try:
                if not self._is_void:  # else it goes to the new file with the rest
                    self._file.append(frame)
                self._held.append(held)
            except StorageError:
                if len(self._folders) == 1 and self._file.is_whole:
                    raise
                self._is_void = True
                self._held.append(held)
            except BaseException:  # it may stand in the file, and be sealed before anything else is appended
                if self._held[-1:] != [held]:
                    self._held.append(held)
                raise

    @contextlib.contextmanager
    def _appending(self) -> Iterator[None]:
        """Note that the file is being changed, so that a change that does not come to its end is found by the next."""
        self._look_back()
        self._is_appending = True
        try:
            yield
        except StorageError:
            self._is_appending = False
            raise
        self._is_appending = False

    def _look_back(self) -> None:
        """Take the file for void if the last change of it did not come to its end, or left a part of it there.

        Raises:
            StorageError: The stream was given up: others may have sealed and removed it.
        """
        if self._lock.closed:
            raise StorageError(f"writing stream {self._stream}: expected it to be open, it was given up")
        if self._is_appending or not self._file.is_whole:
            self._is_void, self._is_appending = True, False

    def _forget_held(self) -> list[Held]:
        self._synced_seq = self.next_seq
        durable, self._held = self._held, []
        return durable

    def _protected(self, data: bytes, first_seq: int) -> bytes:
        return data if self._key is None else encrypt(self._key, data, self._bound_to(first_seq))

    def _bound_to(self, first_seq: int) -> str:
        return f"{self._stream}-{first_seq}"

    def _resume(self) -> list[Held]:
        """Write what is held into a new file, durably, and leave the old one to whoever reads both."""
        first_seq = self._held[0][0] if self._held else self._synced_seq
        held = b"".join(frame for _, _, frame in self._held)
        self._go_on_in(self._begin(MAGIC + encode_frame(RESUME, first_seq, 0, b"") + held))
        durable = self._forget_held()
        self._say_synced()
        return durable

    def _rotate_if_large(self) -> None:
        if self._file.size > ROTATE_SIZE:
            with contextlib.suppress(StorageError), self._appending():  # a full disk leaves the writer the file it has
                self._go_on_in(self._begin(MAGIC))

    def _go_on_in(self, file: AppendFile) -> None:
        """Append to another file from now on; the old one is closed once nobody can append to it any more."""
        old, self._file, self._is_void = self._file, file, False
        old.close()

    def _begin(self, content: bytes) -> AppendFile:
        path = self._write_file(self._next_name, lambda new: new.write_bytes(content))
        try:
            return self._disk.append_to(path)
        except StorageError:
            self._is_void = True  # as where a file is left in `_write_file`
            raise

    def _next_name(self) -> str:
        """Return a name no frames file has had: one that failed may have been left, and what follows it is newer."""
        self._number += 1
        return f"frames-{self._number - 1}"

    def _write_file(self, name: Callable[[], str], fill: Callable[[Path], object]) -> Path:
        """Make a file durable in the first of the directories that takes it; the name is asked for in each."""
        for folder in self._folders:
            path = folder / name()
            try:
                self._disk.write_with(path, fill)
            except StorageError:
                # Where only its directory could not be flushed it is there. Who seals takes the newest frames file for
                # the writer's, and may have removed the one before.
                if path.suffix != BATCH_SUFFIX and os.path.lexists(path):
                    self._is_void = True
                with contextlib.suppress(StorageError):
                    self._disk.remove(path)
                if folder == self._folders[-1]:
                    raise
            else:
                return path
        raise AssertionError(fill)  # pragma: no cover - there is at least one directory

    def abandon(self) -> None:
        """Give up the stream without a sync; in a forked child, whose parent owns it, this only closes descriptors."""
        self._file.close()
        self._lock.close()


def _ipc_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()
