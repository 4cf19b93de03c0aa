"""Reading the files of a log while it may grow: a partial tile gives way to the full one. Bytes: docs/format.md 13."""

from __future__ import annotations

from pathlib import Path

from backstory.errors import StorageError
from backstory.storage.disk import read_file
from backstory.tlog.limits import HASH_SIZE
from backstory.tlog.tile import TILE_WIDTH, TilePath, decode_bundle, encode_bundle


def read_log_file(folder: Path, tile: TilePath) -> bytes:
    """Return the bytes of a tile or entry bundle, cut from the full one where a writer replaced a partial by it.

    Args:
        folder: Directory of the log.
        tile: What to read.

    Raises:
        StorageError: It cannot be read.
        FormatError: The full bundle is malformed.
    """
    try:
        return read_file(folder / tile.path)
    except StorageError:
        full = folder / TilePath(level=tile.level, index=tile.index, width=TILE_WIDTH).path
        if tile.width == TILE_WIDTH or (folder / tile.path).exists() or not full.exists():
            raise
    data = read_file(full)
    if tile.level is not None:
        return data[: HASH_SIZE * tile.width]
    return encode_bundle(decode_bundle(data, TILE_WIDTH)[: tile.width])
