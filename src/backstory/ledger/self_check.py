"""What is checked before the log is signed: that the tree to be signed is the tree of what is on disk.

A flipped bit between hashing and signing would be signed for ever: the log could never again serve entries that match
its own checkpoint. So all that is checked here is computed from bytes that were just read back, and from nothing that
writing them left in memory. What is read may come from the system's cache of the disk: see docs/adr/0014.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from backstory.columns.tree import leaf_hashes, root_of_subtrees, split_hashes, subtree_roots
from backstory.errors import VerificationError
from backstory.records.canonical import JsonObject
from backstory.records.limits import ROW_GROUP_ROWS, SUBTREE_ROWS
from backstory.records.manifest import MANIFEST_TYPE, FileRef, Manifest, parse_manifest
from backstory.records.merge import MOVED_TYPES, parse_merge
from backstory.storage.checked_files import CheckedFiles, file_digest
from backstory.storage.layout import Layout
from backstory.storage.segment import ParquetReader
from backstory.tlog.checkpoint import Checkpoint
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.tile import TILE_WIDTH, ReadTile, TilePath, decode_bundle, decode_tile, tile_at
from backstory.tlog.tree import root_at

_CHOICE_SIZE = 8
"""Bytes of a segment's root that choose the row group to hash again."""


def check_growth(old: Checkpoint, new: Checkpoint, files: Mapping[str, bytes], read_tile: ReadTile) -> list[bytes]:
    """Insist that staged files lead from one tree to another.

    Args:
        old: The tree the log has, whose root its published tiles have.
        new: The tree that is to be signed.
        files: The staged tiles and bundles by path, as they are on disk.
        read_tile: Gives the published ones.

    Returns:
        The entries that the new tree has and the old one has not.

    Raises:
        VerificationError: An entry, a tile or the root does not follow from the others.
        FormatError: A file is malformed.
        StorageError: A published file cannot be read.
    """
    grown = list(_grown(old.size, new.size))
    if files.keys() != {tile.path for tile in grown}:
        raise VerificationError(f"self-check: the staged files do not lead from size {old.size} to {new.size}")
    entries: list[bytes] = []
    for tile in grown:
        if tile.level is None:
            entries += decode_bundle(files[tile.path], tile.width)
        elif _computed(tile, old.size, files, read_tile) != files[tile.path]:
            raise VerificationError(f"self-check: staged {tile.path} is not the hashes of what is below it")

    def read_new(tile: TilePath) -> bytes:
        staged = files.get(tile.path)
        return read_tile(tile) if staged is None else staged

    if root_at(new.size, read_new) != new.root:
        raise VerificationError(f"self-check: the staged tiles do not lead to the root to be signed at size {new.size}")
    return entries[old.size % TILE_WIDTH :]


def _grown(old: int, new: int) -> Iterator[TilePath]:
    """Yield what a log of the new size has and one of the old size has not, or not so wide: bundles, then tiles."""
    for index in range(old // TILE_WIDTH, -(-new // TILE_WIDTH)):
        yield tile_at(new, None, index)
    level = 0
    while (end := new >> 8 * level) > (first := old >> 8 * level):
        for index in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
            yield tile_at(new, level, index)
        level += 1


def _computed(tile: TilePath, old: int, files: Mapping[str, bytes], read_tile: ReadTile) -> bytes:
    """Return a staged tile's hashes: what was published, then those of new entries or of full tiles below."""
    level, first = tile.level or 0, tile.index * TILE_WIDTH
    kept = max((old >> 8 * level) - first, 0)
    hashes = [read_tile(TilePath(level=level, index=tile.index, width=kept))] if kept else []
    if level == 0:
        bundle = TilePath(level=None, index=tile.index, width=tile.width)
        leaves = [hash_leaf(entry) for entry in decode_bundle(files[bundle.path], tile.width)]
        if b"".join(leaves[:kept]) != b"".join(hashes):
            raise VerificationError(f"self-check: staged {bundle.path} has other entries than those published")
        return b"".join(leaves)
    for index in range(first + kept, first + tile.width):
        below = TilePath(level=level - 1, index=index, width=TILE_WIDTH)
        hashes.append(root_hash(decode_tile(files[below.path], TILE_WIDTH)))
    return b"".join(hashes)


def check_named_files(layout: Layout, entries: Iterable[JsonObject], checked: CheckedFiles) -> None:
    """Insist that every segment and shard that entries name is as they say, and that a segment's rows lead to its root.

    Of a segment's rows those of one row group are hashed, which the root chooses, and all subtree roots.

    Args:
        layout: The archive.
        entries: Entries about to be signed.
        checked: Files that were read for these entries before; what did not change since is not read again.

    Raises:
        VerificationError: A file is not what its entry says.
        FormatError: A file or an entry is malformed.
        StorageError: A file cannot be read.
    """
    for entry in entries:
        if entry.get("type") in MOVED_TYPES:  # its rows were led to the roots of its manifests when it was written
            _check_file(layout.segments, parse_merge(entry).file, checked)
        elif entry.get("type") == MANIFEST_TYPE:
            manifest = parse_manifest(entry)
            _check_file(layout.segments, manifest.file, checked, manifest)
            if manifest.shard is not None:
                _check_file(layout.vault, manifest.shard, checked)


def _check_file(folder: Path, file: FileRef, checked: CheckedFiles, manifest: Manifest | None = None) -> None:
    path = folder / file.name

    def digest_of() -> str:
        digest = file_digest(path)
        if manifest is not None and digest == file.sha256:
            _check_rows(path, manifest)
        return digest

    if not checked.fits(path, file.sha256, digest_of):
        raise VerificationError(f"self-check: {file.name} on disk is not the file that its entry names")


def _check_rows(path: Path, manifest: Manifest) -> None:
    reader = ParquetReader(path)
    roots = split_hashes(reader.subtrees())
    if root_of_subtrees(reader.subtrees()).hex() != manifest.root:
        raise VerificationError(f"self-check: the subtree roots in {path.name} do not lead to its manifest's root")
    group = int(manifest.root[: 2 * _CHOICE_SIZE], 16) % reader.group_count if reader.group_count else 0
    first = group * ROW_GROUP_ROWS // SUBTREE_ROWS
    table = reader.read_groups([group])
    hashed = split_hashes(subtree_roots(leaf_hashes(table)))
    if roots[first : first + len(hashed)] != hashed or not hashed:
        raise VerificationError(
            f"self-check: rows of {path.name} do not lead to its manifest's root (row group {group})"
        )
