"""Files that are opened by running what they say: pickles, and what is made of them. Hashed and kept, never opened.

A pickle is a program. Knowing one by its first bytes runs nothing of it; that is all this module does here. To open one
is for `backstory.debug.isolated`, in a process without network, for whoever names the file's digest.
"""

from __future__ import annotations

import bz2
import functools
import hashlib
import io
import lzma
import pickletools
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from backstory.models.artifact import PICKLE, Artifact

_NUMPY = b"\x93NUMPY"
_PROTOCOL = b"\x80"
_PROTOCOL_MAX = 5
_HEAD = 4096
_COMPRESSED: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x78", zlib.decompressobj),
    (b"\x1f\x8b", functools.partial(zlib.decompressobj, wbits=31)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ", lzma.LZMADecompressor),
    (b"\x5d\x00", lzma.LZMADecompressor),
)
"""First bytes of what joblib compresses with, and what undoes it piece by piece."""

_OPCODES_MAX = 64
"""Instructions of an old pickle that are looked at: it has no first bytes of its own."""


def is_pickle(data: bytes) -> bool:
    """Tell whether opening a file would run what it says, by its bytes alone.

    Known are pickles of every protocol, files of joblib, those of `torch.save`, and NumPy's files with objects in them.

    Args:
        data: The file.
    """
    head = data[:_HEAD]
    for first, decompressor in _COMPRESSED:
        if head.startswith(first):
            try:
                head = decompressor().decompress(head, _HEAD)
            except (OSError, ValueError, zlib.error, lzma.LZMAError):
                continue
            break
    if head.startswith(b"PK"):
        return _is_zip_of_pickles(data)
    if head.startswith(_NUMPY):
        return b"'|O'" in head
    if head.startswith(_PROTOCOL):
        return len(head) > 1 and head[1] <= _PROTOCOL_MAX
    return _is_old_pickle(head)


def capture(data: bytes) -> Artifact:
    """Describe a file that stays closed.

    Args:
        data: The file, for which `is_pickle` holds.
    """
    digest = hashlib.sha256(data).hexdigest()
    return Artifact(
        format=PICKLE,
        data=data,
        content_digest=digest,
        framework="python",
        versions={},
        class_name="unknown",
        hyperparameters={},
        seeds={},
        steps=(),
        classes=None,
        trusted=(),
        replayable=False,
        reason=refusal(digest),
    )


def refusal(digest: str) -> str:
    """Say why a file is not opened, and what to do.

    Args:
        digest: SHA-256 of the file, in hex.
    """
    return (
        f"the model is a pickle, which is never opened, as that runs what it says; "
        f"whoever trusts this file has it run in a process without network: pickles=['{digest}']"
    )


def open_trusted(data: bytes) -> object:
    """Open a file by running what it says. Only for a process that has nothing to lose; see `isolated_process`.

    Args:
        data: The file.
    """
    import pickle

    if data.startswith(_NUMPY):
        import numpy as np

        return np.load(io.BytesIO(data), allow_pickle=True)
    if data.startswith(b"PK") or data[:_HEAD].startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."):
        import torch

        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    try:
        import joblib
    except ImportError:
        return pickle.loads(data)  # noqa: S301  the caller has named this very file, and runs it behind walls
    return joblib.load(io.BytesIO(data))


def _is_zip_of_pickles(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            objects = any(_holds_objects(archive, name) for name in names if name.endswith(".npy"))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        return False
    return objects or any(name.rpartition("/")[2].endswith((".pkl", ".pickle")) for name in names)


def _holds_objects(archive: zipfile.ZipFile, name: str) -> bool:
    with archive.open(name) as member:
        return b"'|O'" in member.read(_HEAD)


def _is_old_pickle(head: bytes) -> bool:
    """Tell whether bytes read as instructions of a pickle without a protocol: by reading, never by running them."""
    count = 0
    try:
        for count, (opcode, _, _) in enumerate(pickletools.genops(head), 1):
            if opcode.name == "STOP" or count >= _OPCODES_MAX:
                return count > 1
    except (ValueError, IndexError, KeyError, UnicodeDecodeError):
        return False
    return False
