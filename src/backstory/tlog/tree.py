"""The log as a tree kept in tiles: reading roots and ranges from it, and growing it.

Nothing here opens a file. Tiles come in through a `ReadTile`, and growth goes out as a mapping from path to bytes that
the ledger stages and applies. A path is only ever given one content, so applying a growth twice does no harm.

What a range's hash says is only as good as the tiles it was read from: tiles are not evidence until a root computed
from them equals that of a verified checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backstory.errors import InputError, LimitError, VerificationError
from backstory.tlog.hashing import EMPTY_ROOT, hash_leaf, hash_node, root_hash
from backstory.tlog.limits import TREE_SIZE_MAX
from backstory.tlog.tile import TILE_WIDTH, TilePath, decode_bundle, decode_tile, encode_bundle, tile_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backstory.tlog.tile import ReadTile


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What appending entries to a log makes.

    Attributes:
        size: Entries in the grown log.
        root: Its root, 32 bytes, computed from the tiles as they will be stored.
        files: Content of every tile and entry bundle that is new at this size, by path.
    """

    size: int
    root: bytes
    files: dict[str, bytes]


class RangeReader:
    """Hashes of leaf ranges of one log at one size, read from its tiles.

    Every tile is read once, so make one reader for each proof and drop it afterwards.
    """

    def __init__(self, read_tile: ReadTile, size: int) -> None:
        """Look at a log as it was at one size.

        Args:
            read_tile: Gives a tile's bytes.
            size: Entries in the log, 0 to `TREE_SIZE_MAX`.

        Raises:
            InputError: No log has this size.
        """
        if not 0 <= size <= TREE_SIZE_MAX:
            raise InputError(f"tree size is out of range: expected 0 to {TREE_SIZE_MAX}, got {size}")
        self._read_tile = read_tile
        self._size = size
        self._tiles: dict[TilePath, list[bytes]] = {}

    def read_hash(self, first: int, end: int) -> bytes:
        """Compute the root of the leaves from `first` up to, not including, `end`.

        Args:
            first: First leaf; a multiple of the smallest power of two not below the number of leaves, as it is for
                every range of a proof.
            end: End of the range, at most the size of the log.

        Returns:
            32 bytes; `EMPTY_ROOT` for no leaves.

        Raises:
            FormatError: A tile has another size than its path says.
        """
        if first == end:
            return EMPTY_ROOT
        subtrees: list[bytes] = []
        while first < end:
            height = (end - first).bit_length() - 1
            subtrees.append(self._read_full_subtree(first >> height, height))
            first += 1 << height
        root = subtrees.pop()
        while subtrees:
            root = hash_node(subtrees.pop(), root)
        return root

    def _read_full_subtree(self, index: int, height: int) -> bytes:
        level, rest = divmod(height, 8)
        tile_index, start = divmod(index << rest, TILE_WIDTH)
        tile = tile_at(self._size, level, tile_index)
        if tile not in self._tiles:
            self._tiles[tile] = decode_tile(self._read_tile(tile), tile.width)
        return root_hash(self._tiles[tile][start : start + (1 << rest)])


def root_at(size: int, read_tile: ReadTile) -> bytes:
    """Compute the root a log had at a size, from the tiles at its right edge.

    This does not look at the other tiles; damage there shows only in a full check.

    Args:
        size: A size the log's files were written for, 0 to `TREE_SIZE_MAX`.
        read_tile: Gives a tile's bytes; not called for size 0.

    Returns:
        32 bytes.

    Raises:
        InputError: No log has this size.
        FormatError: A tile has another size than its path says.
    """
    return RangeReader(read_tile, size).read_hash(0, size)


def grow(size: int, entries: Sequence[bytes], read_tile: ReadTile) -> Growth:
    """Append entries to a log.

    The partial tiles at the old right edge are read and extended. The kept entries are checked against the kept leaf
    hashes, so that damage to one of the two is not carried on into a new file. Whether the old edge is the one that was
    signed is the caller's question: compare `root_at(size, read_tile)` with the last checkpoint before signing a new
    one.

    Args:
        size: Entries in the log so far.
        entries: Entries to append, at most `ENTRY_SIZE_MAX` bytes each; none gives the log as it is.
        read_tile: Gives a tile's bytes at the old size; not called for size 0.

    Returns:
        The new size and root, and the files to store.

    Raises:
        InputError: No log has this size.
        LimitError: The log would be over `TREE_SIZE_MAX`, or an entry is too large.
        FormatError: A file at the old edge is malformed.
        VerificationError: Kept entries and kept leaf hashes are not of each other.
    """
    if size < 0:
        raise InputError(f"tree size is out of range: expected 0 to {TREE_SIZE_MAX}, got {size}")
    new_size = size + len(entries)
    if new_size > TREE_SIZE_MAX:
        raise LimitError(f"log is over its limit: expected at most {TREE_SIZE_MAX} entries, got {new_size}")
    if not entries:
        return Growth(size=size, root=root_at(size, read_tile), files={})
    files = _extend_bundles(size, entries, read_tile)
    hashes = [hash_leaf(entry) for entry in entries]
    level = 0
    while hashes:
        row = _read_edge(size, level, read_tile) + hashes
        hashes = _cut_tiles(level, (size >> 8 * level) // TILE_WIDTH, row, files)
        level += 1

    def read_grown(tile: TilePath) -> bytes:
        # A partial tile of a high level may be as it was at the old size; it then has the same path.
        data = files.get(tile.path)
        return read_tile(tile) if data is None else data

    return Growth(size=new_size, root=root_at(new_size, read_grown), files=files)


def _read_edge(size: int, level: int, read_tile: ReadTile) -> list[bytes]:
    """Read the hashes of the partial tile at the right edge of a level; none where the last tile is full."""
    index, width = divmod(size >> 8 * level, TILE_WIDTH)
    if width == 0:
        return []
    return decode_tile(read_tile(TilePath(level=level, index=index, width=width)), width)


def _cut_tiles(level: int, first_index: int, row: Sequence[bytes], files: dict[str, bytes]) -> list[bytes]:
    """Add the tiles of a row of hashes to the files and return the roots of the full ones."""
    roots: list[bytes] = []
    for start in range(0, len(row), TILE_WIDTH):
        hashes = row[start : start + TILE_WIDTH]
        tile = TilePath(level=level, index=first_index + start // TILE_WIDTH, width=len(hashes))
        files[tile.path] = b"".join(hashes)
        if len(hashes) == TILE_WIDTH:
            roots.append(root_hash(hashes))
    return roots


def _extend_bundles(size: int, entries: Sequence[bytes], read_tile: ReadTile) -> dict[str, bytes]:
    """Write the entry bundles that new entries fill or begin, after checking the entries kept from a partial one."""
    first_index, width = divmod(size, TILE_WIDTH)
    kept: list[bytes] = []
    if width:
        bundle = TilePath(level=None, index=first_index, width=width)
        kept = decode_bundle(read_tile(bundle), width)
        if [hash_leaf(entry) for entry in kept] != _read_edge(size, 0, read_tile):
            raise VerificationError(f"log edge does not verify: entries and leaf hashes differ ({bundle.path})")
    row = [*kept, *entries]
    files: dict[str, bytes] = {}
    for start in range(0, len(row), TILE_WIDTH):
        chunk = row[start : start + TILE_WIDTH]
        bundle = TilePath(level=None, index=first_index + start // TILE_WIDTH, width=len(chunk))
        files[bundle.path] = encode_bundle(chunk)
    return files
