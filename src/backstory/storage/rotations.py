"""The files that show how a log's key changed: `rotations/<size>`, the checkpoints that two keys signed."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.succession import parse_rotated
from backstory.storage.disk import read_file, storage_errors
from backstory.storage.log_file import read_log_file
from backstory.tlog.proof import tile_inclusion_proof
from backstory.tlog.rotation import Rotation
from backstory.tlog.tile import TILE_WIDTH, decode_bundle, tile_at

ROTATIONS = "rotations"
_SIZE = re.compile(r"[1-9][0-9]{0,18}")


def rotation_sizes(log: Path) -> list[int]:
    """Return the sizes at which a log's key changed, by the names of its files, ascending.

    Raises:
        StorageError: The directory cannot be read.
    """
    folder = log / ROTATIONS
    if not folder.is_dir():
        return []
    with storage_errors("listing", folder):
        return sorted(int(path.name) for path in folder.iterdir() if _SIZE.fullmatch(path.name))


def read_rotation(log: Path, size: int) -> Rotation:
    """Return the change of key at a size, nothing of it checked.

    Raises:
        StorageError: A file cannot be read.
        FormatError: The last entry of that size is not `key.rotated`, or a file is malformed.
    """
    read_tile = partial(read_log_file, log)
    index = size - 1
    bundle = tile_at(size, None, index // TILE_WIDTH)
    entry = decode_bundle(read_tile(bundle), bundle.width)[index % TILE_WIDTH]
    what = f"entry {index}"
    try:
        rotated = parse_rotated(canonical.parse_object(entry, what))
    except FormatError as error:
        raise FormatError(f"{ROTATIONS}/{size}: {what} changes no key: {error}") from error
    return Rotation(
        note=read_file(log / ROTATIONS / str(size)),
        entry=entry,
        proof=tuple(tile_inclusion_proof(read_tile, index, size)),
        retired=rotated.retired,
        vkey=rotated.vkey,
    )


def read_rotations(log: Path) -> list[Rotation]:
    """Return every change of key of a log, oldest first; see `read_rotation`."""
    return [read_rotation(log, size) for size in rotation_sizes(log)]
