"""The spool: the durable local queue between capture and sealing. Bytes: docs/format.md section 15.

One directory a stream, one writer (the process that opened it), any number of readers. A frame that was appended
is complete, or it is the tail that a crash left, where the reader stops; anything else is damage, and an error.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from backstory.errors import FormatError, StorageError, VerificationError
from backstory.records import canonical
from backstory.storage.disk import Disk, read_file, storage_errors
from backstory.storage.keys import KeyStore
from backstory.storage.vault import decrypt, encrypt

MAGIC = b"BSSP\x01\x00\x00\x00"
BATCH, FILE = 0x42, 0x41
INLINE_SIZE_MAX = 1 << 20
"""A batch above this many bytes goes to a file of its own."""
ROTATE_SIZE = 64 << 20
"""A frames file above this many bytes is closed and another begun, so that the sealer can remove it."""
_HEAD = struct.Struct("<II")
_BODY = struct.Struct("<BQI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One appended batch of a stream: sequence numbers `first_seq` to `first_seq + count`, exclusive."""

    kind: int
    first_seq: int
    count: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """What `stream.json` says: the stream's id in hex, the digest of its schema, whether frames are encrypted."""

    stream: str
    schema: str
    encrypted: bool


class Spool:
    """The streams of one archive that are not sealed to their end."""

    def __init__(self, root: Path, keys: KeyStore, disk: Disk) -> None:
        """Keep streams below `root`."""
        self._root = root
        self._keys = keys
        self._disk = disk

    def create(self, info: StreamInfo) -> SpoolWriter:
        """Open a new stream for writing."""
        folder = self._root / info.stream
        self._disk.make_directory(folder)
        key = self._keys.create(_key_name(info.stream), "key")["key"] if info.encrypted else None
        lock = _hold(folder / "writer")
        document: canonical.JsonObject = {
            "encrypted": info.encrypted, "schema": info.schema, "stream": info.stream, "v": 1,
        }  # fmt: skip
        self._disk.write(folder / "stream.json", canonical.encode(document))
        return SpoolWriter(folder, info, key, lock, self._disk)

    def streams(self) -> list[StreamInfo]:
        """Return the streams in the spool, in order of their ids; one whose creation was cut short is left out."""
        if not self._root.is_dir():
            return []
        return [self._info(path) for path in sorted(self._root.iterdir()) if (path / "stream.json").is_file()]

    def is_open(self, stream: str) -> bool:
        """Say whether the stream's writer is alive."""
        path = self._root / stream / "writer"
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def frames(self, info: StreamInfo, first_seq: int) -> Iterator[Frame]:
        """Iterate over the complete frames of a stream that reach a sequence number or lie above it, in order.

        Raises:
            FormatError: A file is not a frames file, or sequence numbers do not follow each other.
        """
        expected: int | None = None
        folder = self._root / info.stream
        for path in sorted(folder.glob("frames-*"), key=lambda path: int(path.name.partition("-")[2])):
            for frame in _frames(path):
                if expected is not None and frame.first_seq != expected:
                    msg = f"spool: expected seq {expected}, got {frame.first_seq} (stream {info.stream})"
                    raise FormatError(msg)
                expected = frame.first_seq + frame.count
                if expected > first_seq:
                    yield frame

    def table(self, info: StreamInfo, frame: Frame) -> pa.Table:
        """Return the records of a frame.

        Raises:
            VerificationError: Its file is not the one the frame names, or does not decrypt.
            FormatError: It is not Arrow IPC.
        """
        data = frame.payload
        if frame.kind == FILE:
            data = read_file(_batch_file(self._root / info.stream, frame.first_seq))
            if hashlib.sha256(data).digest() != frame.payload:
                msg = f"spool: batch file of seq {frame.first_seq} is not the one its frame names (stream {info.stream})"
                raise VerificationError(msg)
        if info.encrypted:
            data = decrypt(self._keys.get(_key_name(info.stream))["key"], data, f"{info.stream}-{frame.first_seq}")
        try:
            table = pa.ipc.open_stream(pa.BufferReader(data)).read_all()
        except pa.ArrowException as error:
            msg = f"spool: batch of seq {frame.first_seq} is not Arrow IPC (stream {info.stream})"
            raise FormatError(msg) from error
        if table.num_rows != frame.count:
            msg = f"spool: expected {frame.count} rows, got {table.num_rows} (stream {info.stream}, seq {frame.first_seq})"
            raise FormatError(msg)
        return table

    def torn_size(self, info: StreamInfo) -> int:
        """Return how many bytes follow the last complete frame: a write that a crash cut short."""
        torn = 0
        for path in (self._root / info.stream).glob("frames-*"):
            data = memoryview(read_file(path))
            at = len(MAGIC)
            while (end := _frame_end(data, at)) is not None:
                at = end
            torn += max(len(data) - at, 0)
        return torn

    def truncate(self, info: StreamInfo, next_seq: int) -> None:
        """Remove what is sealed: batch files below `next_seq`, and the whole stream once its writer is gone.

        Records at or above `next_seq` are never touched. A tail that a crash cut short holds no complete record.
        """
        folder = self._root / info.stream
        for path in folder.glob("*.arrow"):
            if int(path.stem) < next_seq:
                self._disk.remove(path)
        if self.is_open(info.stream) or any(self.frames(info, next_seq)):
            return
        for path in sorted(folder.iterdir()):
            self._disk.remove(path)
        folder.rmdir()
        self._keys.destroy(_key_name(info.stream))

    def _info(self, folder: Path) -> StreamInfo:
        document = canonical.parse_object(read_file(folder / "stream.json"), "stream.json")
        return StreamInfo(
            stream=canonical.text_of(document, "stream"),
            schema=canonical.text_of(document, "schema"),
            encrypted=document.get("encrypted") is True,
        )


class SpoolWriter:
    """Appends batches to one stream. Not thread-safe: the stream's lock is the caller's."""

    def __init__(self, folder: Path, info: StreamInfo, key: bytes | None, lock: BinaryIO, disk: Disk) -> None:
        """Write into a stream's directory; made by `Spool.create`."""
        self._folder = folder
        self._info = info
        self._key = key
        self._lock = lock
        self._disk = disk
        self._number = 0
        self._file = self._begin()
        self._size = len(MAGIC)

    def append(self, table: pa.Table, first_seq: int) -> None:
        """Append one batch; after this it survives the death of the process, after `sync` that of the machine.

        Raises:
            StorageError: It could not be written; the stream is as before.
        """
        data = _ipc_bytes(table)
        if self._key is not None:
            data = encrypt(self._key, data, f"{self._info.stream}-{first_seq}")
        kind = BATCH
        if len(data) > INLINE_SIZE_MAX:
            self._disk.write(_batch_file(self._folder, first_seq), data)
            kind, data = FILE, hashlib.sha256(data).digest()
        body = _BODY.pack(kind, first_seq, table.num_rows) + data
        frame = _HEAD.pack(len(data), zlib.crc32(body)) + body
        if self._size > ROTATE_SIZE:
            self.sync()
            self._file.close()
            self._file = self._begin()
            self._size = len(MAGIC)
        with storage_errors("appending to", self._folder):
            self._write(frame)
        self._size += len(frame)

    def _write(self, frame: bytes) -> None:
        written = 0
        try:
            while written < len(frame):
                written += os.write(self._file.fileno(), frame[written:])
        except OSError:
            os.ftruncate(self._file.fileno(), self._size)  # a half frame would hide every later one
            raise

    def sync(self) -> None:
        """Make everything appended so far durable.

        Raises:
            StorageError: fsync failed; nothing appended since the last sync may be called durable.
        """
        with storage_errors("syncing", self._folder):
            os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Sync and give up the stream."""
        self.sync()
        self._file.close()
        self._lock.close()

    def abandon(self) -> None:
        """Close the descriptors without a sync: for a forked child, whose parent owns the stream."""
        self._file.close()
        self._lock.close()

    def _begin(self) -> BinaryIO:
        path = self._folder / f"frames-{self._number}"
        self._number += 1
        self._disk.write(path, MAGIC)
        with storage_errors("opening", path):
            return path.open("ab", buffering=0)


def _hold(path: Path) -> BinaryIO:
    """Take the writer's lock of a stream; the kernel gives it back when the process dies."""
    with storage_errors("locking", path):
        file = path.open("wb")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _key_name(stream: str) -> str:
    return f"spool-{stream}"


def _batch_file(folder: Path, first_seq: int) -> Path:
    return folder / f"{first_seq}.arrow"


def _ipc_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def _frames(path: Path) -> Iterator[Frame]:
    """Yield the complete frames of one file."""
    try:
        data = memoryview(read_file(path))
    except StorageError:
        if not path.exists():  # removed by a sealer between listing and reading
            return
        raise
    if data[: len(MAGIC)] != MAGIC:
        msg = f"spool: {path.name} is not a frames file of version 1 (in {path.parent.name})"
        raise FormatError(msg)
    at = len(MAGIC)
    while (end := _frame_end(data, at)) is not None:
        _, crc = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : end]
        if zlib.crc32(body) != crc:
            msg = f"spool: {path.name} is damaged from byte {at} on; what follows is unknown (stream {path.parent.name})"
            raise FormatError(msg)
        kind, first_seq, count = _BODY.unpack_from(body)
        if kind not in {BATCH, FILE}:
            msg = f"spool: frame of unknown kind 0x{kind:02x} (stream {path.parent.name}, seq {first_seq})"
            raise FormatError(msg)
        yield Frame(kind=kind, first_seq=first_seq, count=count, payload=bytes(body[_BODY.size :]))
        at = end


def _frame_end(data: memoryview, at: int) -> int | None:
    """Return where the frame at a byte ends; None at the end of the file or where a crash cut a write short."""
    if at + _HEAD.size + _BODY.size > len(data) or not any(data[at : at + _HEAD.size]):
        return None
    length, _ = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + _BODY.size + int(length)
    return end if end <= len(data) else None
