"""Checking the log from its files: entries, tiles, checkpoint; one bundle at a time, however long the log is.

What an entry is decided by majority: a bundle of entries, the tile of their hashes, and the hash of that tile one level
up say the same thing three times, so that the one file that was changed is named and not its neighbours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

from backstory.errors import BackstoryError, FormatError, StorageError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.storage.disk import TEMPORARY_PREFIX, read_file
from backstory.storage.log_file import read_log_file
from backstory.tlog.checkpoint import Checkpoint
from backstory.tlog.hashing import EMPTY_ROOT, hash_leaf, root_hash
from backstory.tlog.tile import TILE_WIDTH, TilePath, decode_bundle, decode_tile, parse_tile_path, tile_at
from backstory.verify.entries import Entries
from backstory.verify.finding import Finding, Severity

_NOT_TILES = frozenset({"checkpoint", "writer"})
_OTHERS_CHECK = ("anchors/", "rotations/")
"""Folders beside the tiles whose files are checked where they are read."""
_UNKNOWN = b""
"""In place of a hash that nothing readable gives."""

_MEANS_ENTRY = "what this entry says is no evidence any more; its true bytes are in a copy made before the change"
_MEANS_TILE = "the entries are as they were signed; proofs made from this file would not verify until it is restored"
_MEANS_LOST = "what these entries said can no longer be shown: manifests among them leave their records without proof"
_MEANS_OTHER_ROOT = "these are not the entries the checkpoint was signed over: nothing in the log is proven by it"


@dataclass(slots=True, kw_only=True)
class LogCheck:
    """What checking a log gave.

    Attributes:
        entries: Its entries, to be read again.
        holds: Whether they lead to the checkpoint.
        findings: What was found.
        subtrees: Roots of its runs of 256 entries; empty bytes for one that is not known.
        edge: Leaf hashes of the entries behind these.
    """

    entries: Entries
    holds: bool = False
    findings: list[Finding] = field(default_factory=list)
    subtrees: list[bytes] = field(default_factory=list)
    edge: list[bytes] = field(default_factory=list)

    def root_at(self, size: int) -> bytes | None:
        """Return the root of the first so many entries, recomputed from them; None where that is not possible."""
        number, width = divmod(size, TILE_WIDTH)
        if size > len(self.entries):
            return None
        row = self.subtrees[:number]
        if width:
            leaves = self.edge if number == len(self.subtrees) else self.entries.leaf_hashes(number)
            row = [*row, _root(leaves[:width]) if len(leaves) >= width else _UNKNOWN]
        return root_hash(row) if all(row) else None


def check_log(
    folder: Path,
    checkpoint: Checkpoint,
    size_now: Callable[[], int],
    progress: Callable[[int], None] = lambda _done: None,
) -> LogCheck:
    """Recompute a log's tree from its entries and compare every file with it.

    Args:
        folder: Directory of the log.
        checkpoint: What its files must lead to.
        size_now: Gives the size of the log once no commit is under way, for files that are newer than the checkpoint.
        progress: Is told how many entries are checked.

    Returns:
        The entries and the findings.
    """
    walk = _Walk(folder, checkpoint.size)
    for number in range(-(-checkpoint.size // TILE_WIDTH)):
        walk.take(number)
        progress(min((number + 1) * TILE_WIDTH, checkpoint.size))
    found = walk.finish(checkpoint)
    found.findings += _check_other_files(folder, checkpoint.size, size_now)
    return found


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


class _Walk:
    """One way through a log from its first entry to its last, keeping only what is not yet under a full tile."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self._levels: list[list[bytes]] = [[]]
        self._counts: list[int] = [0]
        self._above: tuple[int, list[bytes] | None] = (-1, None)
        self._other_edge: list[bytes] | None = None
        self._findings: list[Finding] = []
        self._found = LogCheck(entries=Entries(folder, size), findings=self._findings)

    def take(self, number: int) -> None:
        """Check one bundle of entries and the tile of their hashes."""
        bundle, tile = tile_at(self._size, None, number), tile_at(self._size, 0, number)
        data, entries = self._read_bundle(bundle)
        hashes = None if entries is None else [hash_leaf(entry) for entry in entries]
        stored = self._read_tile(tile)
        chosen = self._choose(tile, hashes, stored)
        self._judge(bundle, tile, hashes, stored, chosen)
        self._check_siblings(bundle, chosen)
        self._check_siblings(tile, chosen)
        self._tell_entries(number, data, entries, hashes, chosen)
        if len(chosen) == TILE_WIDTH:
            self._counts[0] += 1
            self._found.subtrees.append(_root(chosen))
            self._push(1, self._found.subtrees[-1])
        else:
            self._levels[0] = chosen

    def finish(self, checkpoint: Checkpoint) -> LogCheck:
        """Check the tiles at the right edge and the root; return what was found."""
        if self._root() != checkpoint.root and self._other_edge is not None:
            self._take_other_edge(checkpoint)
        for level in range(1, len(self._levels)):
            if self._levels[level]:
                self._compare(level, self._counts[level], self._levels[level])
        self._found.edge = self._levels[0]
        root = self._root()
        self._found.holds = root == checkpoint.root
        if root is not None and not self._found.holds:
            what = f"entries lead to another root than the checkpoint's {checkpoint.root.hex()}"
            self._say("failed", "checkpoint", what, meaning=_MEANS_OTHER_ROOT)
        return self._found

    def _choose(self, tile: TilePath, hashes: list[bytes] | None, stored: list[bytes] | None) -> list[bytes]:
        """Return the leaf hashes to go on with: those of two that the level above confirms, else the entries'."""
        if hashes is None or stored is None or hashes == stored:
            return hashes or stored or [_UNKNOWN] * tile.width
        if tile.width < TILE_WIDTH:
            self._other_edge = stored
            return hashes
        above = self._hash_above(tile.index)
        return stored if above is not None and _root(stored) == above and _root(hashes) != above else hashes

    def _judge(
        self,
        bundle: TilePath,
        tile: TilePath,
        hashes: list[bytes] | None,
        stored: list[bytes] | None,
        chosen: list[bytes],
    ) -> None:
        """Name entries or hashes that are not the chosen ones."""
        first = tile.index * TILE_WIDTH
        if hashes is not None and chosen is not hashes:
            for at, (own, right) in enumerate(zip(hashes, chosen, strict=True)):
                if own != right:
                    what = f"entry {first + at} is not the one the log commits to: it was changed"
                    self._say("failed", bundle.path, what, index=first + at, meaning=_MEANS_ENTRY)
        if stored is not None and chosen is not stored:
            self._say_differs(tile, stored, chosen)

    def _say_differs(self, tile: TilePath, stored: Sequence[bytes], right: Sequence[bytes]) -> None:
        """Name the first hash of a tile that is another than it must be; of one that nothing gives nothing is said."""
        pairs = zip_longest(right, stored, fillvalue=b"?")
        at = next((at for at, (own, other) in enumerate(pairs) if own and own != other), None)
        if at is not None:
            index = (tile.index * TILE_WIDTH + at) * TILE_WIDTH ** (tile.level or 0)
            what = f"hash {at} is not that of the entries (leaf index {index})"
            self._say("failed", tile.path, what, index=index, meaning=_MEANS_TILE)

    def _tell_entries(
        self,
        number: int,
        data: bytes | None,
        entries: list[bytes] | None,
        hashes: list[bytes] | None,
        chosen: list[bytes],
    ) -> None:
        """Keep of each entry what it is about; one that is not under the root is none."""
        if data is None or entries is None or hashes is None:
            self._found.entries.add_unreadable()
            return
        types: list[str | None] = []
        for at, entry in enumerate(entries):
            good = hashes[at] == chosen[at]
            document = _parse(number * TILE_WIDTH + at, entry, self._findings) if good else None
            types.append(None if document is None else str(document.get("type")))
        self._found.entries.add(sha256(data).digest(), types)

    def _push(self, level: int, digest: bytes) -> None:
        """Add the root of a full tile to the level above it."""
        if level == len(self._levels):
            self._levels.append([])
            self._counts.append(0)
        row = self._levels[level]
        row.append(digest)
        if len(row) == TILE_WIDTH:
            self._compare(level, self._counts[level], row)
            self._levels[level] = []
            self._counts[level] += 1
            self._push(level + 1, _root(row))

    def _compare(self, level: int, index: int, right: list[bytes]) -> None:
        tile = TilePath(level=level, index=index, width=len(right))
        stored = self._read_tile(tile)
        if stored is not None:
            self._say_differs(tile, stored, right)
        self._check_siblings(tile, right)

    def _check_siblings(self, tile: TilePath, right: list[bytes]) -> None:
        """Check the files that hold the same tile or bundle at other sizes of the log, as far as both go."""
        full = TilePath(level=tile.level, index=tile.index, width=TILE_WIDTH).path
        first = tile.index * TILE_WIDTH ** ((tile.level or 0) + 1)
        names = [full, *(f"{full}.p/{name}" for name in _names(self._folder / f"{full}.p"))]
        for name in names:
            path = self._folder / name
            if name == tile.path or Path(name).name.startswith(TEMPORARY_PREFIX) or not path.is_file():
                continue
            try:
                other = parse_tile_path(name)
                data = read_file(path)
                if tile.level is None:
                    hashes = [hash_leaf(entry) for entry in decode_bundle(data, other.width)]
                else:
                    hashes = decode_tile(data, other.width)
            except BackstoryError as error:
                if path.exists():  # not a partial one that a writer replaced just now
                    self._say("failed", name, f"does not belong here: {error}", index=first, meaning=_MEANS_TILE)
                continue
            if any(one and one != two for one, two in zip(right, hashes, strict=False)):
                what = f"a tile of another size differs from the log (from leaf index {first} on)"
                self._say("failed", name, what, index=first, meaning=_MEANS_TILE)

    def _take_other_edge(self, checkpoint: Checkpoint) -> None:
        """Believe the tile of the last entries instead of the entries, if that is what the checkpoint is of."""
        own, other = self._levels[0], self._other_edge or []
        self._levels[0] = other
        if self._root() != checkpoint.root:
            self._levels[0] = own
            return
        number = self._size // TILE_WIDTH
        bundle, tile = tile_at(self._size, None, number), tile_at(self._size, 0, number)
        self._findings[:] = [one for one in self._findings if not one.place.endswith(f"/{tile.path}")]
        self._judge(bundle, tile, own, other, other)
        wrong = [at for at, (one, two) in enumerate(zip(own, other, strict=True)) if one != two]
        self._found.entries.forget(number * TILE_WIDTH + at for at in wrong)

    def _root(self) -> bytes | None:
        """Return the root over what was taken; None if a hash is unknown."""
        digest: bytes | None = None
        for row in self._levels:
            known = row if digest is None else [*row, digest]
            if not all(known):
                return None
            digest = root_hash(known) if known else digest
        return EMPTY_ROOT if digest is None else digest

    def _hash_above(self, index: int) -> bytes | None:
        """Return the stored hash of a full tile of level 0, one level up; None where it cannot be read."""
        number, at = divmod(index, TILE_WIDTH)
        if self._above[0] != number:
            tile = tile_at(self._size, 1, number)
            try:
                row: list[bytes] | None = decode_tile(read_log_file(self._folder, tile), tile.width)
            except BackstoryError:
                row = None
            self._above = (number, row)
        row = self._above[1]
        return None if row is None else row[at]

    def _read_bundle(self, bundle: TilePath) -> tuple[bytes | None, list[bytes] | None]:
        first = bundle.index * TILE_WIDTH
        try:
            data = read_log_file(self._folder, bundle)
            return data, decode_bundle(data, bundle.width)
        except BackstoryError as error:
            what = f"{error} (entries {first} to {first + bundle.width - 1})"
            self._say(_severity(error), bundle.path, what, index=first, meaning=_MEANS_LOST)
            return None, None

    def _read_tile(self, tile: TilePath) -> list[bytes] | None:
        index = tile.index * TILE_WIDTH ** ((tile.level or 0) + 1)
        try:
            return decode_tile(read_log_file(self._folder, tile), tile.width)
        except BackstoryError as error:
            what = f"{error} (from leaf index {index} on)"
            self._say(_severity(error), tile.path, what, index=index, meaning=_MEANS_TILE)
            return None

    def _say(self, severity: Severity, name: str, what: str, *, meaning: str, index: int | None = None) -> None:
        place = _place(self._folder, name)
        self._findings.append(Finding(severity=severity, place=place, what=what, index=index, meaning=meaning))


def _severity(error: BackstoryError) -> Severity:
    """A file that is gone or malformed is damage; one the system will not read is unknown."""
    missing = isinstance(error, StorageError) and error.details.get("errno") == 2  # noqa: PLR2004  ENOENT
    return "failed" if missing or isinstance(error, FormatError | VerificationError) else "unknown"


def _root(hashes: list[bytes]) -> bytes:
    return root_hash(hashes) if all(hashes) else _UNKNOWN


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _check_other_files(folder: Path, size: int, size_now: Callable[[], int]) -> Iterator[Finding]:
    """Name the tiles of a longer log, and files that do not belong here."""
    later: int | None = None
    for path in sorted(Path(parent, name) for parent, _, names in os.walk(folder) for name in names):
        name = path.relative_to(folder).as_posix()
        place = _place(folder, name)
        if name in _NOT_TILES or path.name.startswith(TEMPORARY_PREFIX) or name.startswith(_OTHERS_CHECK):
            continue
        if name.startswith("staged/"):
            yield Finding(severity="note", place=place, what="staged by a writer that has not finished")
            continue
        try:
            tile = parse_tile_path(name)
        except FormatError as error:
            what = f"does not belong here: {error}"
            yield Finding(severity="failed", place=place, what=what, meaning="somebody else wrote into the log")
            continue
        end = (tile.index * TILE_WIDTH + tile.width) * TILE_WIDTH ** (tile.level or 0)
        if end > size:
            later = size_now() if later is None else later  # asked after the files were listed
            if end > later:
                yield Finding(
                    severity="failed",
                    place=place,
                    what=f"holds entries up to {end} and the log has {later}: it was longer once",
                    index=later,
                    meaning=f"entries from {later} on were taken out of the log, or it was put back from an older copy",
                )


def _parse(index: int, entry: bytes, findings: list[Finding]) -> JsonObject | None:
    try:
        return canonical.parse_object(entry, f"entry {index}")
    except FormatError as error:
        findings.append(
            Finding(severity="failed", place=f"entry {index}", what=str(error), index=index, meaning=_MEANS_ENTRY)
        )
        return None


def _place(folder: Path, name: str) -> str:
    return f"log/{folder.name}/{name}"
