"""The bytes of a spool's frames files. Specification: docs/format.md section 15.

Reading stops at the tail a crash left. Anything else that is not a frame is damage, and an error; a file that resumes
an earlier one (because that one could not be made durable) says from which sequence number on the earlier one is void.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backstory.errors import FormatError, StorageError
from backstory.storage.disk import read_file

MAGIC = b"BSSP\x01\x00\x00\x00"
BATCH, FILE, ROWS = 0x42, 0x41, 0x52
"""Kinds of frames that hold records: an Arrow stream, the digest of a file with one, MessagePack rows."""
HEARTBEAT, END, RESUME = 0x48, 0x45, 0x46
"""Kinds of frames that hold none: what the writer has counted, that it ended, that it goes on from another file."""
RECORD_KINDS = frozenset({BATCH, FILE, ROWS})
_KINDS = RECORD_KINDS | {HEARTBEAT, END, RESUME}
_HEAD = struct.Struct("<II")
_BODY = struct.Struct("<BQI")
_FRAME_BODY = re.compile(rb"(?=[ABREFH].{5}\x00{3})", re.DOTALL)
"""Where the body of a frame may begin: its kind, and a sequence number below 2**40."""


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
    try:
        data = memoryview(read_file(path))
    except StorageError:
        if not path.exists():
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
        if kind not in _KINDS or (count == 0) is (kind in RECORD_KINDS):
            raise FormatError(f"spool: frame of unknown kind 0x{kind:02x} (stream {path.parent.name}, seq {first_seq})")
        yield Frame(kind=kind, first_seq=first_seq, count=count, payload=bytes(body[_BODY.size :]))
        at = end
    if any(data[at : at + _HEAD.size]) and _has_frame(data, at + 1):
        raise FormatError(damage.format(at))  # a crash cuts the end short; it leaves no whole frame behind the cut


def resumed_seq(path: Path) -> int | None:
    """Return the sequence number from which a file replaces what earlier ones hold; None if it replaces nothing."""
    with path.open("rb") as file:
        head = memoryview(file.read(len(MAGIC) + _HEAD.size + _BODY.size))
    at = len(MAGIC)
    if (end := _frame_end(head, at)) is None or zlib.crc32(head[at + _HEAD.size : end]) != _HEAD.unpack_from(head, at)[
        1
    ]:
        return None
    kind, first_seq, _ = _BODY.unpack_from(head, at + _HEAD.size)
    return int(first_seq) if kind == RESUME else None


def torn_size(path: Path) -> int:
    """Return how many bytes follow the last complete frame of a file: a write that a crash cut short."""
    data = memoryview(read_file(path))
    at = len(MAGIC)
    while (end := _frame_end(data, at)) is not None:
        at = end
    return max(len(data) - at, 0)


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
