"""The bytes of an index beside a shard: blocks that are encrypted one by one, so that one can be read alone.

How many there are and how long each is nobody sees without the key. Bytes: docs/format.md section 37.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import BinaryIO

import numpy as np

from backstory.errors import FormatError, VerificationError
from backstory.storage.encryption import decrypt, encrypt

INDEX_MAGIC = b"BSVX\x01"
_SIZE = struct.Struct("<I")
_HEAD = "head"
_HEAD_SIZE_MAX = 1 << 20


def seal_index(name: str, blocks: Sequence[bytes], key: bytes) -> bytes:
    """Return the bytes of an index, a power of two of blocks, under a key."""
    pieces = [encrypt(key, block, name, str(number)) for number, block in enumerate(blocks)]
    sizes = np.array([len(piece) for piece in pieces], "<u4")
    head = encrypt(key, sizes.tobytes(), name, _HEAD)
    return b"".join((INDEX_MAGIC, _SIZE.pack(len(head)), head, *pieces))


def open_index(
    file: BinaryIO, name: str, keys: Iterable[bytes], pick: Callable[[int], Iterable[int]]
) -> dict[int, bytes]:
    """Return some blocks of an index, by number; see `Vault.read_index`."""
    start = file.read(len(INDEX_MAGIC) + _SIZE.size)
    if not start.startswith(INDEX_MAGIC) or len(start) != len(INDEX_MAGIC) + _SIZE.size:
        raise FormatError(f"vault: {name} is not an index of version 1")
    (size,) = _SIZE.unpack(start[len(INDEX_MAGIC) :])
    if size > _HEAD_SIZE_MAX:
        raise FormatError(f"vault: {name} is not an index of version 1")
    key, sizes = _open_head(name, file.read(size), keys)
    if len(sizes) % _SIZE.size or (len(sizes) // _SIZE.size).bit_count() != 1:
        raise FormatError(f"vault: {name} does not have a power of two of blocks")
    ends = list(accumulate(np.frombuffer(sizes, "<u4").tolist(), initial=len(start) + size))
    if file.seek(0, os.SEEK_END) != ends[-1]:
        raise FormatError(f"vault: {name} has other blocks than it says")
    bounds = list(pairwise(ends))
    found = {}
    for number in pick(len(bounds)):
        begin, end = bounds[number]
        file.seek(begin)
        found[number] = decrypt(key, file.read(end - begin), name, str(number))
    return found


def _open_head(name: str, data: bytes, keys: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Return the key that opens the head, and what it holds."""
    for key in keys:
        try:
            return key, decrypt(key, data, name, _HEAD)
        except VerificationError:
            continue
    raise VerificationError(f"vault: {name} does not decrypt under its keys; its bytes or its keys were changed")
