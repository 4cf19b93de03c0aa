"""A log as an outsider reads it, from its URL or from a directory. Nothing read here is believed as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from backstory.errors import NotFoundError, StorageError
from backstory.storage.anchors import published_checkpoint
from backstory.storage.disk import read_file
from backstory.storage.layout import CONFIG_NAME, read_layout
from backstory.storage.log_file import read_log_file
from backstory.storage.remote import ask, require_url
from backstory.tlog.limits import HASH_SIZE, NOTE_SIZE_MAX
from backstory.tlog.tile import TILE_WIDTH, TilePath

_OK, _NOT_FOUND = 200, 404
_TILE_SIZE = TILE_WIDTH * HASH_SIZE


class LogSource(Protocol):
    """Where a log is read from."""

    def checkpoint(self) -> bytes:
        """Return the newest checkpoint.

        Raises:
            StorageError: It cannot be read.
            FormatError: It is not a checkpoint.
        """

    def read_tile(self, tile: TilePath) -> bytes:
        """Return the hashes of a tile; of the full one where a partial is gone.

        Raises:
            StorageError: They cannot be read.
            FormatError: They are fewer than they must be.
        """


def open_log(place: str) -> LogSource:
    """Return the log at a place.

    Args:
        place: URL prefix of a C2SP log, directory of an archive, or directory of a log's files.

    Raises:
        NotFoundError: There is no log in the directory.
        InputError: The URL is malformed.
        FormatError: The archive's `backstory.toml` is malformed.
    """
    if "://" in place:
        return _RemoteLog(require_url(place, "log"))
    folder = Path(place)
    if (folder / CONFIG_NAME).is_file():
        return _ArchiveLog(folder)
    if (folder / "checkpoint").is_file():
        return _LocalLog(folder)
    raise NotFoundError(f"log: expected a URL, an archive or a directory with a checkpoint, got {place}")


class _RemoteLog:
    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def checkpoint(self) -> bytes:
        data = self._get("checkpoint", NOTE_SIZE_MAX)
        if data is None:
            raise StorageError(f"log: no checkpoint at {self._prefix}")
        return data

    def read_tile(self, tile: TilePath) -> bytes:
        data = self._get(tile.path, _TILE_SIZE)
        if data is None and tile.width < TILE_WIDTH:  # a log may drop a partial tile once the full one is there
            full = TilePath(level=tile.level, index=tile.index, width=TILE_WIDTH)
            data = self._get(full.path, _TILE_SIZE)
            data = None if data is None else data[: tile.width * HASH_SIZE]
        if data is None:
            raise StorageError(f"log: no {tile.path} at {self._prefix}")
        return data

    def _get(self, path: str, size_max: int) -> bytes | None:
        reply = ask(f"{self._prefix}/{path}", headers={"Cache-Control": "no-cache"}, size_max=size_max)
        if reply.status == _NOT_FOUND:
            return None
        if reply.status != _OK:
            raise StorageError(f"log: HTTP {reply.status} for {path} at {self._prefix}")
        return reply.body


class _LocalLog:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def checkpoint(self) -> bytes:
        return read_file(self._folder / "checkpoint")

    def read_tile(self, tile: TilePath) -> bytes:
        return read_log_file(self._folder, tile)


class _ArchiveLog:
    def __init__(self, root: Path) -> None:
        self._root = root

    def checkpoint(self) -> bytes:
        # Read anew each time: a restore puts another log into the place of this one.
        return published_checkpoint(read_layout(self._root))

    def read_tile(self, tile: TilePath) -> bytes:
        return read_log_file(read_layout(self._root).log, tile)
