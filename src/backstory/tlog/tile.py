"""Tiles and entry bundles of C2SP tlog-tiles: their paths and their bytes.

A tile holds up to 256 hashes without a header. Level 0 holds leaf hashes; hash `i` of tile `n` at a higher level is the
root of the full tile `256·n + i` one level below. An entry bundle holds the entries whose hashes are in the level 0
tile of the same index, each after its length in two big-endian bytes.

    tile/0/000              full, 256 wide          tile/entries/000
    tile/0/001.p/44         partial, 44 wide        tile/entries/001.p/44
    tile/1/x001/234         tile 1234 of level 1

What a path names never changes: a partial tile that gained hashes gets a new width and so a new path. A parser here
accepts exactly what an encoder here writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backstory.errors import FormatError, InputError, LimitError
from backstory.tlog.limits import ENTRY_SIZE_MAX, HASH_SIZE, TILE_LEVEL_MAX, TREE_SIZE_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

TILE_WIDTH: Final = 256
"""Hashes of a full tile, entries of a full bundle."""

_TILE_PATH: Final = re.compile(
    r"tile/(?P<level>entries|[0-9]{1,2})/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[0-9]{1,3}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePath:
    """Name of one tile or entry bundle.

    Attributes:
        level: Level of the tile from 0, or None for an entry bundle.
        index: Position among the tiles of the level, from 0.
        width: Hashes or entries it holds, 1 to `TILE_WIDTH`; fewer than `TILE_WIDTH` make it partial.
    """

    level: int | None
    index: int
    width: int

    @property
    def path(self) -> str:
        """The path below the log's folder, as C2SP writes it."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
        index = "".join(f"x{group}/" for group in groups[:-1]) + groups[-1]
        level = "entries" if self.level is None else self.level
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{index}{partial}"


ReadTile = Callable[[TilePath], bytes]
"""Gives the bytes a path names; raises `StorageError` or `NotFoundError` where it cannot."""


def parse_tile_path(text: str) -> TilePath:
    """Parse the path of a tile or entry bundle.

    Args:
        text: The path below the log's folder.

    Returns:
        The tile it names.

    Raises:
        FormatError: It is not exactly what `TilePath.path` writes.
    """
    match = _TILE_PATH.fullmatch(text)
    if match is not None:
        level = None if match["level"] == "entries" else int(match["level"])
        index = int(match["index"].replace("x", "").replace("/", ""))
        width = TILE_WIDTH if match["width"] is None else int(match["width"])
        tile = TilePath(level=level, index=index, width=width)
        in_range = (level or 0) <= TILE_LEVEL_MAX and index <= TREE_SIZE_MAX and 1 <= width <= TILE_WIDTH
        # Writing it again catches leading zeros, a superfluous group, and a full width written as a partial one.
        if in_range and tile.path == text:
            return tile
    raise FormatError("tile path is malformed: expected tile/<level or entries>/<index>[.p/<width>]")


def tile_at(size: int, level: int | None, index: int) -> TilePath:
    """Name the tile with this level and index as wide as a log of this size has it.

    Args:
        size: Entries in the log.
        level: Level from 0, or None for an entry bundle.
        index: Position among the tiles of the level.

    Returns:
        The full tile, or the partial one at the right edge.

    Raises:
        InputError: A log of this size has no such tile.
    """
    width = min(TILE_WIDTH, (size >> 8 * (level or 0)) - index * TILE_WIDTH)
    if index < 0 or width < 1:
        raise InputError(f"a log of {size} entries has no tile {index} of level {level}")
    return TilePath(level=level, index=index, width=width)


def tiles_at(size: int) -> list[TilePath]:
    """List everything a log of this size must serve beside its checkpoint.

    Args:
        size: Entries in the log, 0 to `TREE_SIZE_MAX`.

    Returns:
        Entry bundles, then tiles from level 0 up, each by index; one for about every 128 entries.
    """
    tiles = [tile_at(size, None, index) for index in range(-(-size // TILE_WIDTH))]
    level = 0
    while count := size >> 8 * level:
        tiles.extend(tile_at(size, level, index) for index in range(-(-count // TILE_WIDTH)))
        level += 1
    return tiles


def decode_tile(data: bytes, width: int) -> list[bytes]:
    """Cut a tile into its hashes.

    Args:
        data: The tile's bytes.
        width: Hashes it must hold.

    Returns:
        The hashes, 32 bytes each.

    Raises:
        FormatError: It has another size.
    """
    if len(data) != width * HASH_SIZE:
        raise FormatError(f"tile is malformed: expected {width * HASH_SIZE} bytes, got {len(data)}")
    return [data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)]


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Write entries as one bundle.

    Args:
        entries: At most `TILE_WIDTH` entries of at most `ENTRY_SIZE_MAX` bytes; may be empty bytes.

    Returns:
        Each entry after its length.

    Raises:
        LimitError: Too many entries, or one that is too large.
    """
    if len(entries) > TILE_WIDTH:
        raise LimitError(f"bundle is over its limit: expected at most {TILE_WIDTH} entries, got {len(entries)}")
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > ENTRY_SIZE_MAX:
            raise LimitError(f"entry is over its limit: expected at most {ENTRY_SIZE_MAX} bytes, got {len(entry)}")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def decode_bundle(data: bytes, count: int) -> list[bytes]:
    """Cut a bundle into its entries.

    Args:
        data: The bundle's bytes.
        count: Entries it must hold.

    Returns:
        The entries in order.

    Raises:
        FormatError: It ends early, or goes on after `count` entries.
    """
    entries: list[bytes] = []
    start = 0
    for _ in range(count):
        # A slice past the end is short, so a cut length field shows as an end past the data too.
        first = start + 2
        start = first + int.from_bytes(data[start:first], "big")
        if first > len(data) or start > len(data):
            raise FormatError(f"entry bundle is malformed: expected {count} entries, got {len(entries)} whole ones")
        entries.append(data[first:start])
    if start != len(data):
        raise FormatError(f"entry bundle is malformed: {len(data) - start} bytes after its {count} entries")
    return entries
