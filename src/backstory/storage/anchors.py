"""Anchors of a log: checkpoints that others cosigned or stamped, kept beside it.

    log/<incarnation>/anchors/<tree size>/checkpoint  cosigned  <hex>.tsr

Reading here proves nothing: a note is opened with keys from elsewhere, a time stamp with certificates from elsewhere.
Bytes: docs/format.md, "Cosigned checkpoints and time stamps".
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from backstory.errors import FormatError, StorageError
from backstory.storage.disk import Disk, read_file, storage_errors
from backstory.storage.layout import Layout
from backstory.tlog.checkpoint import Checkpoint, parse_checkpoint
from backstory.tlog.note import parse_note

FOLDER = "anchors"
CHECKPOINT = "checkpoint"
COSIGNED = "cosigned"
STAMP_ENDING = ".tsr"
_STAMP_DIGITS = 32
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


def anchor_folder(layout: Layout, size: int) -> Path:
    """Return the directory of the anchors of one tree size; it may not be there."""
    return layout.log / FOLDER / str(size)


def anchor_sizes(layout: Layout) -> list[int]:
    """Return the tree sizes that have anchors, in ascending order.

    Raises:
        StorageError: The directory cannot be read.
    """
    folder = layout.log / FOLDER
    if not folder.is_dir():
        return []
    with storage_errors("listing", folder):
        return sorted(int(path.name) for path in folder.iterdir() if _SIZE.fullmatch(path.name))


def cosigned_at(layout: Layout, size: int) -> bytes | None:
    """Return the cosigned checkpoint of a tree size; None if there is none that can be read.

    Nothing is verified beyond that it is a checkpoint of this size.
    """
    try:
        note = read_file(anchor_folder(layout, size) / COSIGNED)
        return note if _read(note).size == size else None
    except (FormatError, StorageError):
        return None


def published_checkpoint(layout: Layout) -> bytes:
    """Return the log's newest checkpoint as it is given out: with cosignatures where this very one has some.

    Raises:
        FormatError: It is not a checkpoint.
        StorageError: It cannot be read.
    """
    note = read_file(layout.log / "checkpoint")
    text = parse_note(note).text
    cosigned = cosigned_at(layout, parse_checkpoint(text).size)
    return note if cosigned is None or parse_note(cosigned).text != text else cosigned


def newest_cosigned(layout: Layout) -> bytes | None:
    """Return the cosigned checkpoint of the largest tree; None if there is none.

    Nothing is verified: whoever gives it out opens it as any other note. A damaged file is passed over.

    Raises:
        StorageError: The directory of the anchors cannot be read.
    """
    for size in reversed(anchor_sizes(layout)):
        note = cosigned_at(layout, size)
        if note is not None:
            return note
    return None


def keep_cosigned(layout: Layout, disk: Disk, note: bytes) -> Path:
    """Store a checkpoint that met a policy's quorum, durably; one of the same tree gives way.

    Args:
        layout: The archive.
        disk: Writes it.
        note: The checkpoint with its cosignatures, verified.

    Raises:
        FormatError: It is not a checkpoint.
        StorageError: It cannot be written.
    """
    path = anchor_folder(layout, _read(note).size) / COSIGNED
    disk.make_directory(path.parent)
    disk.write(path, note)
    return path


def keep_stamp(layout: Layout, disk: Disk, note: bytes, response: bytes) -> Path:
    """Store the time stamp of a checkpoint beside it, durably.

    Args:
        layout: The archive.
        disk: Writes it.
        note: The checkpoint as it was published.
        response: The authority's response over its text, verified.

    Raises:
        FormatError: The note is not a checkpoint.
        StorageError: It cannot be written.
    """
    folder = anchor_folder(layout, _read(note).size)
    disk.make_directory(folder)
    if not (folder / CHECKPOINT).exists():
        disk.write(folder / CHECKPOINT, note)
    path = folder / stamp_name(response)
    disk.write(path, response)
    return path


def stamp_name(response: bytes) -> str:
    """Return the file name of a time stamp: the first half of its digest."""
    return f"{hashlib.sha256(response).hexdigest()[:_STAMP_DIGITS]}{STAMP_ENDING}"


def _read(note: bytes) -> Checkpoint:
    return parse_checkpoint(parse_note(note).text)
