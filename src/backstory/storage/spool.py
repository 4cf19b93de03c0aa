"""The spool: the durable local queue between capture and sealing. Bytes: docs/format.md section 15.

One directory a stream, one writer (the process that opened it), any number of readers. A frame that was appended
is complete, or it is the tail that a crash left, where the reader stops; anything else is damage, and an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa

from backstory.columns.record_table import table_of_rows
from backstory.errors import BackstoryError, FormatError, StorageError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import check_digest
from backstory.records.schema import Schema
from backstory.storage.disk import Disk, read_buffer, read_file, storage_errors
from backstory.storage.encryption import decrypt
from backstory.storage.spool_frames import (
    END,
    FILE,
    RECORD_KINDS,
    RESUME,
    ROWS,
    SYNCED,
    Frame,
    read_frames,
    read_on,
    resumed_seq,
    torn_size,
)
from backstory.storage.spool_writer import BATCH_SUFFIX, SpoolWriter

_INFO_NAME = "stream.json"
_MEMBERS = frozenset({"check", "encrypted", "job", "opened", "policy", "schema", "spill", "stream", "v"})
_log = logging.getLogger("backstory")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """What `stream.json` says.

    Attributes:
        stream: The stream's id, in hex.
        schema: Digest of its schema.
        encrypted: Whether frames with records are encrypted.
        opened: When the writer opened it, by its clock; RFC 3339.
        policy: What the writer does where it cannot write: `durability`, `on_full`, `on_failure`.
        spill: Directory where a folder of the stream's name holds what could not be written here; or None.
        job: Name, run and part of the job whose records these are, which are sealed all or not at all; or None.
    """

    stream: str
    schema: str
    encrypted: bool
    opened: str
    policy: JsonObject
    spill: str | None = None
    job: JsonObject | None = None

    def document(self) -> JsonObject:
        """Return it as it stands in the file."""
        document: JsonObject = {
            "encrypted": self.encrypted,
            "opened": self.opened,
            "policy": self.policy,
            "schema": self.schema,
            "stream": self.stream,
            "v": 1,
        }
        if self.spill is not None:
            document["spill"] = self.spill
        if self.job is not None:
            document["job"] = self.job
        return {**document, "check": canonical.digest_of(document)}


class StreamKeys(Protocol):
    """Keys of encrypted streams, by name and part; see `KeyStore`."""

    def create(self, name: str, *parts: str) -> dict[str, bytes]:
        """Draw new keys and keep them."""

    def key(self, name: str, part: str) -> bytes:
        """Return one key."""

    def discard(self, name: str) -> None:
        """Remove keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTo:
    """How far somebody has read a stream.

    Attributes:
        path: The frames file; None before the first.
        offset: Where in it the complete frames ended.
        end_seq: One more than the last sequence number.
    """

    path: Path | None = None
    offset: int = 0
    end_seq: int = 0


class Spool:
    """The streams of one archive that are not sealed to their end."""

    def __init__(self, root: Path, keys: StreamKeys, disk: Disk) -> None:
        """Keep streams below `root`."""
        self._root = root
        self._keys = keys
        self._disk = disk

    def create(self, info: StreamInfo) -> SpoolWriter:
        """Open a new stream for writing.

        Raises:
            StorageError: It could not be created; nothing of it is left, or a folder without records.
        """
        folders = self._folders(info)
        for folder in folders:
            self._disk.make_directory(folder)
        folder = folders[0]
        lock = _hold(folder / "writer")
        try:
            key = self._keys.create(_key_name(info.stream), "key")["key"] if info.encrypted else None
            self._disk.write(folder / _INFO_NAME, canonical.encode(info.document()))
            return SpoolWriter(folders, info.stream, key, lock, self._disk)
        except BaseException:
            lock.close()
            with contextlib.suppress(StorageError):
                self.discard(info)
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
        if not set(document) <= _MEMBERS:
            raise FormatError(f"{what} has members that version 1 does not know")
        check = document.pop("check", None)  # none in what was written before there was one
        if check is not None and check != canonical.digest_of(document):
            raise FormatError(f"{what} is damaged: its digest is not that of what it says")
        encrypted, policy = document.get("encrypted"), document.get("policy")
        job, spill = document.get("job"), document.get("spill")
        if document.get("stream") != stream or not isinstance(encrypted, bool) or not isinstance(policy, dict):
            raise FormatError(f"{what} is of another stream, or does not say whether it is encrypted")
        return StreamInfo(
            stream=stream,
            schema=check_digest(document.get("schema"), what),
            encrypted=encrypted,
            opened=canonical.text_of(document, "opened"),
            policy=policy,
            spill=spill if isinstance(spill, str) else None,
            job=job if isinstance(job, dict) else None,
        )

    def is_open(self, stream: str) -> bool:
        """Say whether the stream's writer is alive.

        Raises:
            StorageError: The system does not tell.
        """
        path = self._root / stream / "writer"
        with storage_errors("locking", path):
            try:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except FileNotFoundError:
                return False
        return False

    def frames(self, info: StreamInfo, first_seq: int) -> Iterator[Frame]:
        """Iterate over the complete frames of records that reach a sequence number or lie above it, in order.

        Raises:
            FormatError: A file is not a frames file, or sequence numbers do not follow each other.
        """
        for _, frame in self._live(info):
            if frame.kind in RECORD_KINDS and frame.first_seq + frame.count > first_seq:
                yield frame

    def read_on(self, info: StreamInfo, before: ReadTo) -> ReadTo:
        """Return how far a stream goes now, reading only what was appended since somebody looked before.

        It counts and checks nothing: what a later file voids, or where damage begins, is found when frames are read.

        Raises:
            StorageError: A file cannot be read.
        """
        paths = self._frames_files(info)
        at = paths.index(before.path) if before.path in paths else 0
        reached = before
        for path in paths[at:]:
            offset, end_seq = read_on(path, reached.offset if path == before.path else 0)
            reached = ReadTo(path=path, offset=offset, end_seq=reached.end_seq if end_seq is None else end_seq)
        return reached

    def last_mark(self, info: StreamInfo) -> tuple[JsonObject, bool] | None:
        """Return what the writer last said about itself, and whether with that it ended; None if it said nothing.

        Raises:
            FormatError: The stream is damaged.
        """
        last = None
        for _, frame in self._live(info):
            if frame.kind not in RECORD_KINDS:
                last = frame
        if last is None:
            return None
        return canonical.parse_object(last.payload, f"spool: mark of stream {info.stream}"), last.kind == END

    def _live(self, info: StreamInfo) -> Iterator[tuple[Path, Frame]]:
        """Yield the frames of a stream and their files; of those that stand in two files the ones that are not void."""
        paths = self._frames_files(info)
        resumed = [resumed_seq(path) for path in paths]
        expected: int | None = None
        for number, path in enumerate(paths):
            void_from = min((seq for seq in resumed[number + 1 :] if seq is not None), default=None)
            try:
                for frame in read_frames(path):
                    if void_from is not None and frame.first_seq >= void_from:
                        break
                    _insist_follows(frame, expected, info)
                    expected = frame.first_seq + frame.count
                    if frame.kind not in {RESUME, SYNCED}:
                        yield path, frame
            except FormatError:
                if void_from is None or expected not in {None, void_from}:
                    raise

    def table(self, info: StreamInfo, schema: Schema, frame: Frame) -> pa.Table:
        """Return the records of a frame.

        Raises:
            VerificationError: Its file is not the one the frame names, or does not decrypt.
            FormatError: It does not decode, or does not hold the records the frame speaks of.
        """
        where = f"stream {info.stream}, seq {frame.first_seq}"
        data = self._batch_file(info, frame, where) if frame.kind == FILE else frame.payload
        if info.encrypted:
            data = decrypt(self._keys.key(_key_name(info.stream), "key"), data, f"{info.stream}-{frame.first_seq}")
        if frame.kind == ROWS:
            return table_of_rows(schema, info.stream, frame.first_seq, frame.count, data)
        try:
            table = pa.ipc.open_stream(pa.BufferReader(data)).read_all()
            table.validate(full=True)  # nobody looks at offsets and texts again
            has_all = table.num_rows == frame.count and {"context", "seq", "stream"} <= set(table.column_names)
            place = (table["seq"][0].as_py(), table["stream"][0].as_py()) if has_all else None
        except (pa.ArrowException, OSError, LookupError, OverflowError, ValueError) as error:
            raise FormatError(f"spool: batch is not Arrow IPC ({where})") from error
        if not has_all:
            raise FormatError(f"spool: expected {frame.count} records, got {table.num_rows} rows ({where})")
        if place != (frame.first_seq, bytes.fromhex(info.stream)):
            raise FormatError(f"spool: batch is of another place or stream ({where})")
        return table

    def torn_size(self, info: StreamInfo) -> int:
        """Return how many bytes follow the last complete frame: a write that a crash cut short."""
        paths = self._frames_files(info)
        return torn_size(paths[-1]) if paths else 0

    def size(self) -> int:
        """Return how many bytes wait in the spool."""
        return sum(_size_of(self._root / name) for name in self.stream_names())

    def stream_size(self, info: StreamInfo) -> int:
        """Return how many bytes the files of a stream have: another number once something was appended."""
        return sum(_size_of(folder) for folder in self._folders(info))

    def truncate(self, info: StreamInfo, next_seq: int) -> None:
        """Remove what is sealed: files wholly below `next_seq`, and the whole stream once its writer is gone.

        Records at or above `next_seq` are never touched. A tail that a crash cut short holds no complete record.

        Raises:
            FormatError: A frames file is damaged; nothing was removed.
            StorageError: Something could not be removed; calling again goes on where this stopped.
        """
        ended = not self.is_open(info.stream)  # asked first: what was appended before the writer ended is seen below
        keep, waiting = set(), set()
        for path, frame in self._live(info):
            if frame.first_seq + frame.count > next_seq:
                keep.add(path)
                waiting.update([frame.first_seq] if frame.kind in RECORD_KINDS else [])
        if ended and not waiting:
            self.discard(info)
            return
        # Never the last one, which may be the writer's, and none behind one that stays: what is void in a file that
        # stays is told by a later one.
        self._remove_in_order(list(itertools.takewhile(lambda path: path not in keep, self._frames_files(info)[:-1])))
        for path in self._glob(info, f"*{BATCH_SUFFIX}"):
            if int(path.stem) < next_seq and int(path.stem) not in waiting:
                self._disk.remove(path)

    def discard(self, info: StreamInfo) -> None:
        """Remove a stream and whatever it holds; `stream.json` goes last, so a removal cut short is found and repeated.

        Raises:
            StorageError: Something could not be removed; calling again goes on where this stopped.
        """
        self._keys.discard(_key_name(info.stream))
        self._remove_in_order(self._frames_files(info))
        for folder in reversed(self._folders(info)):
            with storage_errors("removing", folder):
                for path in sorted(folder.glob("*"), key=lambda path: path.name == _INFO_NAME):
                    self._disk.remove(path)
                if folder.exists():
                    folder.rmdir()

    def _remove_in_order(self, paths: list[Path]) -> None:
        """Remove frames files one by one, so that a kill or a power cut leaves the end of a stream and never a gap."""
        for path in paths:
            self._disk.remove(path)
            with storage_errors("removing", path), contextlib.suppress(FileNotFoundError):  # another removed the folder
                self._disk.sync_directory(path.parent)

    def _folders(self, info: StreamInfo) -> list[Path]:
        roots = [self._root] if info.spill is None else [self._root, Path(info.spill)]
        return [root / info.stream for root in roots]

    def _glob(self, info: StreamInfo, pattern: str) -> list[Path]:
        return [path for folder in self._folders(info) for path in folder.glob(pattern)]

    def _batch_file(self, info: StreamInfo, frame: Frame, where: str) -> pa.Buffer:
        """Return the bytes of the batch file that a frame names; where writing failed at first there may be another."""
        places = [folder / f"{frame.first_seq}{BATCH_SUFFIX}" for folder in self._folders(info)]
        for path in [path for path in places if path.exists()] or places[:1]:
            data = read_buffer(path)
            if hashlib.sha256(data).digest() == frame.payload:
                return data
        raise VerificationError(f"spool: batch file is not the one its frame names ({where})")

    def _frames_files(self, info: StreamInfo) -> list[Path]:
        """Return the frames files of a stream in the order they were written."""
        found = [(path.name.removeprefix("frames-"), path) for path in self._glob(info, "frames-*")]
        numbered = [(int(number), path) for number, path in found if number.isdecimal()]
        return [path for _, path in sorted(numbered, key=lambda each: each[0])]


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # sealed and removed just now
            total += path.stat().st_size
    return total


def _insist_follows(frame: Frame, expected: int | None, info: StreamInfo) -> None:
    if expected is not None and frame.first_seq != expected:
        raise FormatError(f"spool: expected seq {expected}, got {frame.first_seq} (stream {info.stream})")


def _hold(path: Path) -> BinaryIO:
    """Take the writer's lock of a stream; the kernel gives it back when the process dies."""
    with storage_errors("locking", path):
        file = path.open("wb")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _key_name(stream: str) -> str:
    return f"spool-{stream}"
