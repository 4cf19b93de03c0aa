"""The bytes of a spool's frames files. Specification: docs/format.md section 15.

After every sync the writer says so in the file. What stands before such a frame was durable: where it is no frame it is
damage, and an error. Elsewhere it is the tail that a crash left, torn or full of holes, and reading stops there. A file
that resumes an earlier one (because that one could not be made durable) says from which sequence number on the earlier
one is void.
"""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backstory.errors import FormatError, StorageError
from backstory.storage.disk import storage_errors

MAGIC = b"BSSP\x01\x00\x00\x00"
BATCH, FILE, ROWS = 0x42, 0x41, 0x52
"""Kinds of frames that hold records: an Arrow stream, the digest of a file with one, MessagePack rows."""
HEARTBEAT, END, RESUME, SYNCED = 0x48, 0x45, 0x46, 0x53
"""Kinds of frames that hold none: what the writer has counted, that it ended, that it goes on from another file, that
all before it in its file was made durable."""
RECORD_KINDS = frozenset({BATCH, FILE, ROWS})
_KINDS = RECORD_KINDS | {HEARTBEAT, END, RESUME, SYNCED}
_HEAD = struct.Struct("<II")
_BODY = struct.Struct("<BQI")
_SYNCED_FRAME = re.compile(rb"(?=\x00{4}.{4}\x53.{8}\x00{4})", re.DOTALL)
"""Where a frame may begin that says what is durable: no payload, no records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame of a stream: the records `first_seq` to `first_seq + count`, exclusive; a mark where `count` is 0."""

    kind: int
    first_seq: int
    count: int
    payload: bytes


def encode_frame(kind: int, first_seq: int, count: int, payload: bytes) -> bytes:
    """Return the bytes of a frame."""
    body = _BODY.pack(kind, first_seq, count) + payload
    return _HEAD.pack(len(payload), zlib.crc32(body)) + body


def read_frames(path: Path) -> Iterator[Frame]:
    """Yield the complete frames of one file; none where a sealer removed it meanwhile.

    Raises:
        FormatError: It is not a frames file, or damaged; the frames before the damage were yielded.
        StorageError: It cannot be read.
    """
    data = _bytes_from(path, 0)
    if data is None:
        return
    if data[: len(MAGIC)] != MAGIC:
        raise FormatError(f"spool: {path.name} is not a frames file of version 1 (in {path.parent.name})")
    bounds = _bounds(data, len(MAGIC))
    for begin, end in itertools.pairwise(bounds):
        body = data[begin + _HEAD.size : end]
        kind, first_seq, count = _BODY.unpack_from(body)
        if kind not in _KINDS or (count == 0) is (kind in RECORD_KINDS):
            raise FormatError(f"spool: frame of unknown kind 0x{kind:02x} (stream {path.parent.name}, seq {first_seq})")
        yield Frame(kind=kind, first_seq=first_seq, count=count, payload=bytes(body[_BODY.size :]))
    if _was_synced(data, bounds[-1]):
        raise FormatError(
            f"spool: {path.name} is damaged from byte {bounds[-1]} on; what follows is unknown "
            f"(stream {path.parent.name})"
        )


def read_on(path: Path, offset: int) -> tuple[int, int | None]:
    """Return where the complete frames of a file end, and what the last record behind a byte is followed by.

    Args:
        path: The file; one that a sealer removed meanwhile has no frames.
        offset: 0, or where frames ended before.

    Returns:
        A byte; and one more than the last sequence number of the records behind `offset`, None without any.

    Raises:
        StorageError: It cannot be read.
    """
    data = _bytes_from(path, offset)
    if data is None:
        return offset, None
    bounds = _bounds(data, 0 if offset else len(MAGIC))
    end_seq = None
    for begin in bounds[:-1]:
        kind, first_seq, count = _BODY.unpack_from(data, begin + _HEAD.size)
        if kind in RECORD_KINDS:
            end_seq = int(first_seq) + int(count)
    return offset + min(bounds[-1], len(data)), end_seq


def resumed_seq(path: Path) -> int | None:
    """Return the sequence number from which a file replaces what earlier ones hold; None if it replaces nothing."""
    try:
        with path.open("rb") as file:
            head = memoryview(file.read(len(MAGIC) + _HEAD.size + _BODY.size))
    except FileNotFoundError:  # a sealer removed it meanwhile, after all before it
        return None
    at = len(MAGIC)
    if _frame_end(head, at) is None:
        return None
    kind, first_seq, _ = _BODY.unpack_from(head, at + _HEAD.size)
    return int(first_seq) if kind == RESUME else None


def torn_size(path: Path) -> int:
    """Return how many bytes follow the last complete frame of a file: a write that a crash cut short."""
    data = _bytes_from(path, 0)
    return 0 if data is None else max(len(data) - _bounds(data, len(MAGIC))[-1], 0)


def _bytes_from(path: Path, offset: int) -> memoryview | None:
    """Return a file's bytes from one on; None where a sealer removed it meanwhile."""
    try:
        with storage_errors("reading", path), path.open("rb") as file:
            file.seek(offset)
            return memoryview(file.read())
    except StorageError:
        if path.exists():
            raise
        return None


def _bounds(data: memoryview, at: int) -> list[int]:
    """Return where the whole frames from a byte on begin, and where the last one ends."""
    bounds = [at]
    while (end := _frame_end(data, bounds[-1])) is not None:
        bounds.append(end)
    return bounds


def _was_synced(data: memoryview, at: int) -> bool:
    """Say whether the writer said, somewhere behind a byte, that everything up to there was durable."""
    return any(_frame_end(data, match.start()) is not None for match in _SYNCED_FRAME.finditer(data, at + 1))


def _frame_end(data: memoryview, at: int) -> int | None:
    """Return where the frame at a byte ends; None where there is no whole frame."""
    if at + _HEAD.size + _BODY.size > len(data):
        return None
    length, crc = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + _BODY.size + int(length)
    return end if end <= len(data) and zlib.crc32(data[at + _HEAD.size : end]) == crc else None
