"""Checking the log from its files: entries, tiles, checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path

from backstory.columns.tree import split_hashes
from backstory.errors import BackstoryError, FormatError, StorageError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.storage.disk import TEMPORARY_PREFIX, read_file
from backstory.storage.log_file import read_log_file
from backstory.tlog.checkpoint import Checkpoint
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.limits import HASH_SIZE
from backstory.tlog.tile import TILE_WIDTH, TilePath, decode_bundle, parse_tile_path, tile_at, tiles_at
from backstory.verify.finding import Finding, Severity

_NOT_TILES = frozenset({"checkpoint", "writer"})


def check_log(
    folder: Path, checkpoint: Checkpoint, size_now: Callable[[], int]
) -> tuple[list[JsonObject | None], list[Finding]]:
    """Recompute a log's tree from its entries and compare every file with it.

    Args:
        folder: Directory of the log.
        checkpoint: What its files must lead to.
        size_now: Gives the size of the log once no commit is under way, for files that are newer than the checkpoint.

    Returns:
        The entries, None where one could not be read; and the findings.
    """
    findings: list[Finding] = []
    entries, leaves = _read_entries(folder, checkpoint.size, findings)
    if not all(leaves) or root_hash(leaves) != checkpoint.root:
        leaves = _blame_entries(folder, checkpoint, leaves, findings)
    expected = _hash_tiles(leaves)
    for tile in tiles_at(checkpoint.size):
        if tile.level is not None:
            _compare(folder, tile, expected, findings)
    if all(leaves) and root_hash(leaves) != checkpoint.root:
        findings.append(
            Finding(
                severity="failed",
                place=_place(folder, "checkpoint"),
                what=f"entries lead to another root than the checkpoint's {checkpoint.root.hex()}",
            )
        )
    findings += _check_other_files(folder, checkpoint.size, size_now, expected, entries)
    return [_parse(index, entry, findings) for index, entry in enumerate(entries)], findings


def _read_entries(folder: Path, size: int, findings: list[Finding]) -> tuple[list[bytes | None], list[bytes]]:
    """Return entries and leaf hashes; for an unreadable bundle, no entries and hashes that match nothing."""
    entries: list[bytes | None] = []
    leaves: list[bytes] = []
    for tile in tiles_at(size):
        if tile.level is None:
            try:
                bundle: list[bytes] = decode_bundle(read_log_file(folder, tile), tile.width)
                entries += bundle
                leaves += [hash_leaf(entry) for entry in bundle]
            except BackstoryError as error:
                findings.append(Finding(severity=_severity(error), place=_place(folder, tile.path), what=str(error)))
                entries += [None] * tile.width
                leaves += [b""] * tile.width
    return entries, leaves


def later_entries(folder: Path, first: int, end: int) -> list[JsonObject | None]:
    """Return entries `first` to `end`, exclusive, of a log that grew; unproven, and fewer where they cannot be read.

    What they say may be followed to evidence, and is none itself.
    """
    start = first // TILE_WIDTH * TILE_WIDTH
    found: list[bytes] = []
    try:
        for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            tile = tile_at(end, None, number)
            found += decode_bundle(read_log_file(folder, tile), tile.width)
    except BackstoryError:
        pass
    return [_parse(start + at, entry, []) for at, entry in enumerate(found)][first - start :]


def _blame_entries(folder: Path, checkpoint: Checkpoint, leaves: list[bytes], findings: list[Finding]) -> list[bytes]:
    """Name the entries that are wrong if the tiles are right; return the leaf hashes to go on with."""
    stored: list[bytes] = []
    for tile in tiles_at(checkpoint.size):
        if tile.level == 0:
            try:
                stored += split_hashes(read_log_file(folder, tile))
            except BackstoryError:
                return leaves
    if len(stored) != len(leaves) or root_hash(stored) != checkpoint.root:
        return leaves
    wrong = [index for index, (a, b) in enumerate(zip(leaves, stored, strict=True)) if a and a != b]
    for index in wrong:
        bundle = tile_at(checkpoint.size, None, index // TILE_WIDTH).path
        what = f"entry {index} is not the one the log commits to: it was changed"
        findings.append(Finding(severity="failed", place=_place(folder, bundle), what=what))
    return stored


def _severity(error: BackstoryError) -> Severity:
    """A file that is gone or malformed is damage; one the system will not read is unknown."""
    missing = isinstance(error, StorageError) and error.details.get("errno") == 2  # noqa: PLR2004  ENOENT
    return "failed" if missing or isinstance(error, FormatError) else "unknown"


def _hash_tiles(leaves: list[bytes]) -> dict[tuple[int, int], list[bytes]]:
    """Return the hashes of every tile, full or partial, by level and index."""
    tiles = {}
    level, row = 0, leaves
    while row:
        roots = []
        for start in range(0, len(row), TILE_WIDTH):
            hashes = row[start : start + TILE_WIDTH]
            tiles[level, start // TILE_WIDTH] = hashes
            if len(hashes) == TILE_WIDTH:
                roots.append(root_hash(hashes) if all(hashes) else b"")
        level, row = level + 1, roots
    return tiles


def _compare(
    folder: Path, tile: TilePath, expected: dict[tuple[int, int], list[bytes]], findings: list[Finding]
) -> None:
    place = _place(folder, tile.path)
    try:
        data = read_log_file(folder, tile)
    except BackstoryError as error:
        findings.append(Finding(severity=_severity(error), place=place, what=str(error)))
        return
    hashes = expected[tile.level or 0, tile.index][: tile.width]
    found = split_hashes(data)
    wrong = (i for i, (a, b) in enumerate(zip_longest(hashes, found, fillvalue=b"?")) if a and a != b)
    at = next(wrong, None)  # a hash below entries that could not be read is b"" and compares with nothing
    if at is None:
        return
    index = (tile.index * TILE_WIDTH + at) * TILE_WIDTH ** (tile.level or 0)
    what = f"hash {at} is not that of the entries (leaf index {index})"
    findings.append(Finding(severity="failed", place=place, what=what))


def _check_other_files(
    folder: Path,
    size: int,
    size_now: Callable[[], int],
    expected: dict[tuple[int, int], list[bytes]],
    entries: list[bytes | None],
) -> Iterator[Finding]:
    """Check the partial tiles of earlier and later sizes, and name files that do not belong here."""
    later: int | None = None
    current = {tile.path for tile in tiles_at(size)}
    for path in sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names):
        name = path.relative_to(folder).as_posix()
        if name in current or name in _NOT_TILES or path.name.startswith(TEMPORARY_PREFIX):
            continue
        if name.startswith("staged/"):
            yield Finding(severity="note", place=_place(folder, name), what="staged by a writer that has not finished")
            continue
        try:
            tile = parse_tile_path(name)
            same = _extends(tile, read_file(path), expected, entries)
        except BackstoryError as error:
            if path.exists():  # not a partial one that a writer replaced just now
                yield Finding(severity="failed", place=_place(folder, name), what=f"does not belong here: {error}")
            continue
        end = (tile.index * TILE_WIDTH + tile.width) * TILE_WIDTH ** (tile.level or 0)
        if not same:
            what = "a tile of another size differs from the log"
            yield Finding(severity="failed", place=_place(folder, name), what=what)
        elif end > size:
            later = size_now() if later is None else later  # asked after the files were listed
            if end > later:
                what = f"holds entries up to {end} and the log has {later}: it was longer once"
                yield Finding(severity="failed", place=_place(folder, name), what=what)


def _extends(
    tile: TilePath, data: bytes, expected: dict[tuple[int, int], list[bytes]], entries: list[bytes | None]
) -> bool:
    """Say whether a tile or bundle agrees with the log as far as both go."""
    if tile.level is None:
        first = tile.index * TILE_WIDTH
        known = entries[first : first + tile.width]
        return list(decode_bundle(data, tile.width)[: len(known)]) == known
    hashes = expected.get((tile.level, tile.index), [])[: tile.width]
    return len(data) == HASH_SIZE * tile.width and data.startswith(b"".join(hashes))


def _parse(index: int, entry: bytes | None, findings: list[Finding]) -> JsonObject | None:
    if entry is None:
        return None
    try:
        return canonical.parse_object(entry, f"entry {index}")
    except FormatError as error:
        findings.append(Finding(severity="failed", place=f"entry {index}", what=str(error)))
        return None


def _place(folder: Path, name: str) -> str:
    return f"log/{folder.name}/{name}"
