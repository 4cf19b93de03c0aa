"""Messages between processes of our own: MessagePack, each with its length before it."""

from __future__ import annotations

import struct
from typing import IO

import msgspec

_LENGTH = struct.Struct("<I")


def send(stream: IO[bytes], message: msgspec.Struct) -> None:
    """Write one message."""
    data = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Read one message as it was encoded; None at the end of the stream, also in the middle of a message."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    return data if len(data) == length else None
