"""The spool: the durable local queue between capture and sealing. Bytes: docs/format.md section 15.

One directory a stream, one writer (the process that opened it), any number of readers. A frame that was appended
is complete, or it is the tail that a crash left, where the reader stops; anything else is damage, and an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import logging
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from backstory.errors import BackstoryError, FormatError, StorageError, VerificationError
from backstory.records import canonical
from backstory.records.identity import check_digest
from backstory.storage.disk import Disk, read_file, storage_errors
from backstory.storage.keys import KeyStore
from backstory.storage.vault import decrypt, encrypt

MAGIC = b"BSSP\x01\x00\x00\x00"
BATCH, FILE = 0x42, 0x41
INLINE_SIZE_MAX = 1 << 20
"""A batch above this many bytes goes to a file of its own."""
ROTATE_SIZE = 64 << 20
"""A frames file above this many bytes is closed and another begun, so that the sealer can remove it."""
_INFO_NAME = "stream.json"
_log = logging.getLogger("backstory")
_HEAD = struct.Struct("<II")
_BODY = struct.Struct("<BQI")
_FRAME_BODY = re.compile(rb"(?=[AB].{5}\x00{3})", re.DOTALL)
"""Where the body of a frame may begin: its kind, and a sequence number below 2**40."""


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
        """Open a new stream for writing.

        Raises:
            StorageError: It could not be created; nothing of it is left, or a folder without records.
        """
        folder = self._root / info.stream
        document: canonical.JsonObject = {
            "encrypted": info.encrypted, "schema": info.schema, "stream": info.stream, "v": 1,
        }  # fmt: skip
        self._disk.make_directory(folder)
        lock = _hold(folder / "writer")
        try:
            key = self._keys.create(_key_name(info.stream), "key")["key"] if info.encrypted else None
            self._disk.write(folder / _INFO_NAME, canonical.encode(document))
            return SpoolWriter(folder, info, key, lock, self._disk)
        except BaseException:
            lock.close()
            with contextlib.suppress(StorageError):
                self._remove(info)
            raise

    def streams(self) -> list[StreamInfo]:
        """Return the streams in the spool, in order of their ids.

        One whose creation was cut short is left out, and so, with a warning, is one whose description cannot be read:
        whoever seals or verifies goes through `stream_names`.
        """
        found = []
        for name in self.stream_names():
            try:
                found.append(self.info(name))
            except BackstoryError as error:
                if name in self.stream_names():  # not one that was sealed and removed just now
                    _log.warning("stream %s is passed over: %s", name, error)
        return found

    def stream_names(self) -> list[str]:
        """Return the ids of the streams in the spool in order; whether they can be read `info` says."""
        if not self._root.is_dir():
            return []
        return sorted(path.name for path in self._root.iterdir() if (path / _INFO_NAME).is_file())

    def info(self, stream: str) -> StreamInfo:
        """Return what a stream says about itself.

        Raises:
            FormatError: Its `stream.json` is damaged.
            StorageError: It cannot be read.
        """
        what = f"spool: {_INFO_NAME} of stream {stream}"
        document = canonical.parse_object(read_file(self._root / stream / _INFO_NAME), what)
        canonical.check_version(document, 1, what)
        encrypted = document.get("encrypted")
        if document.get("stream") != stream or not isinstance(encrypted, bool):
            raise FormatError(f"{what} is of another stream, or does not say whether it is encrypted")
        return StreamInfo(stream=stream, schema=check_digest(document.get("schema"), what), encrypted=encrypted)

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
        for path in self._frames_files(info):
            for frame in _frames(path):
                if expected is not None and frame.first_seq != expected:
                    raise FormatError(f"spool: expected seq {expected}, got {frame.first_seq} (stream {info.stream})")
                expected = frame.first_seq + frame.count
                if expected > first_seq:
                    yield frame

    def table(self, info: StreamInfo, frame: Frame) -> pa.Table:
        """Return the records of a frame.

        Raises:
            VerificationError: Its file is not the one the frame names, or does not decrypt.
            FormatError: It is not Arrow IPC, or does not hold the records the frame speaks of.
        """
        where = f"stream {info.stream}, seq {frame.first_seq}"
        data = frame.payload
        if frame.kind == FILE:
            data = read_file(_batch_file(self._root / info.stream, frame.first_seq))
            if hashlib.sha256(data).digest() != frame.payload:
                raise VerificationError(f"spool: batch file is not the one its frame names ({where})")
        if info.encrypted:
            data = decrypt(self._keys.key(_key_name(info.stream), "key"), data, f"{info.stream}-{frame.first_seq}")
        try:
            table = pa.ipc.open_stream(pa.BufferReader(data)).read_all()
        except (pa.ArrowException, OSError) as error:
            raise FormatError(f"spool: batch is not Arrow IPC ({where})") from error
        if table.num_rows != frame.count or not {"context", "seq", "stream"} <= set(table.column_names):
            raise FormatError(f"spool: expected {frame.count} records, got {table.num_rows} rows ({where})")
        if frame.count and (table["seq"][0].as_py(), table["stream"][0].as_py().hex()) != (
            frame.first_seq,
            info.stream,
        ):
            raise FormatError(f"spool: batch is of another place or stream ({where})")
        return table

    def torn_size(self, info: StreamInfo) -> int:
        """Return how many bytes follow the last complete frame: a write that a crash cut short."""
        torn = 0
        for path in self._frames_files(info):
            data = memoryview(read_file(path))
            at = len(MAGIC)
            while (end := _frame_end(data, at)) is not None:
                at = end
            torn += max(len(data) - at, 0)
        return torn

    def truncate(self, info: StreamInfo, next_seq: int) -> None:
        """Remove what is sealed: files wholly below `next_seq`, and the whole stream once its writer is gone.

        Records at or above `next_seq` are never touched. A tail that a crash cut short holds no complete record.

        Raises:
            FormatError: A frames file is damaged; nothing was removed.
            StorageError: Something could not be removed; calling again goes on where this stopped.
        """
        folder = self._root / info.stream
        ended = not self.is_open(info.stream)  # asked first: what was appended before the writer ended is seen below
        waiting = {frame.first_seq for frame in self.frames(info, next_seq)}
        if ended and not waiting:
            self._remove(info)
            return
        for path in self._frames_files(info)[:-1]:  # the last one may be the writer's
            if not any(frame.first_seq + frame.count > next_seq for frame in _frames(path)):
                self._disk.remove(path)
        for path in folder.glob("*.arrow"):
            if int(path.stem) < next_seq and int(path.stem) not in waiting:
                self._disk.remove(path)

    def _remove(self, info: StreamInfo) -> None:
        """Remove a stream; `stream.json` goes last, so that a removal cut short is found and repeated."""
        folder = self._root / info.stream
        self._keys.destroy(_key_name(info.stream))
        with storage_errors("removing", folder):
            for path in sorted(folder.iterdir(), key=lambda path: path.name == _INFO_NAME):
                self._disk.remove(path)
            folder.rmdir()

    def _frames_files(self, info: StreamInfo) -> list[Path]:
        """Return the frames files of a stream in the order they were written."""
        found = [(path.name.removeprefix("frames-"), path) for path in (self._root / info.stream).glob("frames-*")]
        return [path for _, path in sorted((int(number), path) for number, path in found if number.isdecimal())]


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
        self._failure: StorageError | None = None
        self._file = self._begin()
        self._size = len(MAGIC)

    def append(self, table: pa.Table, first_seq: int) -> None:
        """Append one batch; after this it survives the death of the process, after `sync` that of the machine.

        Raises:
            StorageError: It could not be written; the stream is as before. Or `failed`: nothing more can be.
        """
        self._insist_sound()
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
            following = self._begin()  # a disk that is full here leaves the writer with the file it has
            self._file.close()
            self._file, self._size = following, len(MAGIC)
        with storage_errors("appending to", self._folder):
            self._write(frame)
        self._size += len(frame)

    def _write(self, frame: bytes) -> None:
        written = 0
        try:
            while written < len(frame):
                written += os.write(self._file.fileno(), frame[written:])
        except BaseException:
            os.ftruncate(self._file.fileno(), self._size)  # a half frame would hide every later one
            raise

    @property
    def failed(self) -> bool:
        """Whether a sync failed: the kernel forgets what it could not write, and a later sync would prove nothing."""
        return self._failure is not None

    def sync(self) -> None:
        """Make everything appended so far durable.

        Raises:
            StorageError: fsync failed, now or earlier; nothing appended since the last sync may be called durable.
        """
        self._insist_sound()
        try:
            with storage_errors("syncing", self._folder):
                os.fdatasync(self._file.fileno())
        except StorageError as error:
            self._failure = error
            raise

    def _insist_sound(self) -> None:
        if self._failure is not None:
            raise self._failure

    def abandon(self) -> None:
        """Give up the stream without a sync; in a forked child, whose parent owns it, this only closes descriptors."""
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
        raise FormatError(f"spool: {path.name} is not a frames file of version 1 (in {path.parent.name})")
    damage = f"spool: {path.name} is damaged from byte {{}} on; what follows is unknown (stream {path.parent.name})"
    at = len(MAGIC)
    while (end := _frame_end(data, at)) is not None:
        _, crc = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : end]
        if zlib.crc32(body) != crc:
            raise FormatError(damage.format(at))
        kind, first_seq, count = _BODY.unpack_from(body)
        if kind not in {BATCH, FILE}:
            raise FormatError(f"spool: frame of unknown kind 0x{kind:02x} (stream {path.parent.name}, seq {first_seq})")
        yield Frame(kind=kind, first_seq=first_seq, count=count, payload=bytes(body[_BODY.size :]))
        at = end
    if any(data[at : at + _HEAD.size]) and _has_frame(data, at + 1):
        raise FormatError(damage.format(at))  # a crash cuts the end short; it leaves no whole frame behind the cut


def _has_frame(data: memoryview, start: int) -> bool:
    """Say whether a whole frame begins anywhere from a byte on."""
    for match in _FRAME_BODY.finditer(data, start + _HEAD.size):
        at = match.start() - _HEAD.size
        end = _frame_end(data, at)
        if end is not None and zlib.crc32(data[at + _HEAD.size : end]) == _HEAD.unpack_from(data, at)[1]:
            return True
    return False


def _frame_end(data: memoryview, at: int) -> int | None:
    """Return where the frame at a byte ends; None at the end of the file or where a crash cut a write short."""
    if at + _HEAD.size + _BODY.size > len(data) or not any(data[at : at + _HEAD.size]):
        return None
    length, _ = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + _BODY.size + int(length)
    return end if end <= len(data) else None
