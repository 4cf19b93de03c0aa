"""Which file holds which records: a manifest's own, or the one the log says they were merged into.

Of each manifest a few numbers are kept, not what it says: that is read again from the log when its file is checked.
"""

from __future__ import annotations

import contextlib
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge as merge_sorted

from backstory.errors import FormatError
from backstory.records.canonical import JsonObject
from backstory.records.manifest import MANIFEST_TYPE, FileRef, Manifest, parse_manifest
from backstory.records.merge import MERGE_TYPE, MOVED_TYPES, TRIM_TYPE, Merge, parse_merge
from backstory.records.succession import RESTORED_TYPE
from backstory.storage.segment import group_count_of, segment_range, subtree_count_of
from backstory.verify.entries import Entries

_NOT_MERGED = -1
BEGUN_TYPE = "disposal.begun"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The records of one manifest in a file.

    Attributes:
        index: Index of the manifest's entry.
        manifest: The manifest.
        first_group: Row groups of the file before its first.
        first_subtree: Subtree roots of the file before its first.
        gone: How many of its records are not in the file any more, by the entry that says so.
    """

    index: int
    manifest: Manifest
    first_group: int = 0
    first_subtree: int = 0
    gone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """A file of records.

    Attributes:
        ref: What its entry says of the file.
        entry: Index of that entry.
        parts: The manifests whose records it holds.
        counts: Of a merged file the records of each manifest it was made of, none of another.
    """

    ref: FileRef
    entry: int
    parts: tuple[Part, ...]
    counts: tuple[int, ...] = ()

    @property
    def place(self) -> str:
        """Its path in the archive."""
        return f"segments/{self.ref.name}"

    @property
    def records(self) -> int:
        """How many records of these manifests it holds."""
        return sum(part.manifest.count for part in self.parts)

    @property
    def whom(self) -> str:
        """Which records it holds, in words."""
        first, last = self.parts[0].manifest, self.parts[-1].manifest
        return f"records {first.first_seq} to {last.end_seq - 1} of stream {first.stream}, entry {self.entry}"


class Holdings:
    """The manifests of a log and what was merged, in order of their entries.

    Attributes:
        ends: By stream, one more than the last sequence number of its manifests.
        sealed: By stream, how many records its manifests cover.
        first_manifests: By stream, the index of its first manifest.
        odd_names: Files whose names do not say which records they hold, each with the index of its entry.
        refused: How many merges are passed over, as they are not what they say.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._indexes, self._firsts, self._counts = array("Q"), array("Q"), array("L")
        self._streams, self._schemas, self._merged = array("L"), array("L"), array("q")
        self._numbers: dict[str, int] = {}
        self._parts_of: dict[int, int] = {}
        self._gone: dict[int, int] = {}
        self._of_stream: dict[str, array[int]] = {}
        self.ends: dict[str, int] = {}
        self.sealed: Counter[str] = Counter()
        self.first_manifests: dict[str, int] = {}
        self.odd_names: dict[str, int] = {}
        self.refused = 0

    def __len__(self) -> int:
        """Return how many manifests there are."""
        return len(self._indexes)

    @property
    def records(self) -> int:
        """How many records they cover."""
        return self.sealed.total()

    def add_manifest(self, index: int, manifest: Manifest) -> int:
        """Add the next manifest; return where its stream ended before."""
        before = self.ends.get(manifest.stream, 0)
        self._of_stream.setdefault(manifest.stream, array("L")).append(len(self._indexes))
        self._keep_odd(manifest.file.name, manifest.stream, manifest.first_seq, manifest.count, index)
        self._indexes.append(index)
        self._firsts.append(manifest.first_seq)
        self._counts.append(manifest.count)
        self._streams.append(self._number(manifest.stream))
        self._schemas.append(self._number(manifest.schema))
        self._merged.append(_NOT_MERGED)
        self.ends[manifest.stream] = manifest.end_seq
        self.sealed[manifest.stream] += manifest.count
        self.first_manifests.setdefault(manifest.stream, index)
        return before

    def add_merge(self, index: int, merge: Merge) -> str | None:
        """Add the next merge; return what is wrong with it, in which case it is passed over."""
        places = [self._place_of(part) for part in merge.parts]
        problem = self._problem(merge, places) or self._taken_apart(places) or self._brought_back(merge, places)
        if problem is not None:
            self.refused += 1
            return f"{problem}: it is passed over"
        self._keep_odd(merge.file.name, merge.stream, merge.first_seq, merge.count, index)
        for place in places:
            self._merged[place] = index
        self._gone.update((place, gone) for place, gone in zip(places, merge.gone, strict=False) if gone)
        self._parts_of[index] = len(places)
        return None

    def holders(self, first: int = 0) -> Iterator[int]:
        """Yield the indexes of the entries, from one on, whose files hold records now, in order."""
        own = (index for index, by in zip(self._indexes, self._merged, strict=True) if by == _NOT_MERGED)
        live = sorted({by for by in self._merged if by != _NOT_MERGED})
        return (index for index in merge_sorted(own, live) if index >= first)

    def holder_of(self, part: int) -> int:
        """Return the index of the entry whose file holds the records of a manifest now."""
        by = self._merged[self._place_of(part)]
        return part if by == _NOT_MERGED else by

    def manifest_at(self, stream: str, first_seq: int) -> tuple[int, int] | None:
        """Return the index and the count of the manifest that begins at a record; None if none does."""
        places = self._of_stream.get(stream, array("L"))
        at = bisect_left(places, first_seq, key=self._firsts.__getitem__)
        if at == len(places) or self._firsts[places[at]] != first_seq:
            return None
        return self._indexes[places[at]], self._counts[places[at]]

    def is_holder(self, index: int) -> bool:
        """Say whether the file of an entry holds records now."""
        place = self._place_of(index)
        return self._merged[place] == _NOT_MERGED if place >= 0 else index in self._merged

    def _keep_odd(self, name: str, stream: str, first_seq: int, count: int, index: int) -> None:
        """Keep the name of a file that does not say which records it holds."""
        if segment_range(name) != (stream, first_seq, first_seq + count):
            self.odd_names[name] = index

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def _place_of(self, index: int) -> int:
        place = bisect_left(self._indexes, index)
        return place if place < len(self._indexes) and self._indexes[place] == index else -1

    def _problem(self, merge: Merge, places: Sequence[int]) -> str | None:
        """Say what is wrong with a merge, by the manifests it names."""
        if -1 in places:
            return "names a part that is no manifest before it"
        streams, schemas = {self._streams[at] for at in places}, {self._schemas[at] for at in places}
        if streams != {self._numbers.get(merge.stream)} or len(schemas) > 1:
            return "its parts are of several streams or schemas"
        ends = [self._firsts[at] + self._counts[at] for at in places]
        if ends[:-1] != [self._firsts[at] for at in places[1:]]:
            return "its parts do not follow each other"
        if (self._firsts[places[0]], ends[-1]) != (merge.first_seq, merge.end_seq):
            return "its parts are not the records it says"
        return None

    def _brought_back(self, merge: Merge, places: Sequence[int]) -> str | None:
        """Say whether a file is said to hold records that were gone, or to lack more than there are."""
        for at, gone in zip(places, merge.gone or [0] * len(places), strict=True):
            if not self._gone.get(at, 0) <= gone <= self._counts[at]:
                return "says that other records are gone than can be"
        return None

    def _taken_apart(self, places: Sequence[int]) -> str | None:
        """Say which earlier merge a merge has some parts of and not all."""
        taken = Counter(self._merged[at] for at in places if self._merged[at] != _NOT_MERGED)
        for earlier, count in sorted(taken.items()):
            if count < self._parts_of[earlier]:
                return f"has some of the parts of entry {earlier} and not all"
        return None


Say = Callable[[int, str], None]
"""Told what is wrong with an entry, by its index."""


def read_holdings(entries: Entries, say: Say, gap: Callable[[int, Manifest, int], None]) -> Holdings:
    """Read the manifests and merges of a log.

    Args:
        entries: The log.
        say: Is told what is wrong with an entry.
        gap: Is told of a manifest that does not begin where its stream ended.
    """
    holdings = Holdings()
    begun, restored = set[int](), False
    for index, entry in entries.documents(MANIFEST_TYPE, MERGE_TYPE, TRIM_TYPE, BEGUN_TYPE, RESTORED_TYPE):
        try:
            if entry["type"] == BEGUN_TYPE:
                begun.add(index)
            elif entry["type"] == RESTORED_TYPE:
                restored = True
            elif entry["type"] == MANIFEST_TYPE:
                manifest = parse_manifest(entry)
                before = holdings.add_manifest(index, manifest)
                if manifest.first_seq != before:
                    gap(index, manifest, before)
            elif (problem := _unfounded(merge := parse_merge(entry), begun, restored=restored)) is not None:
                holdings.refused += 1
                say(index, problem)
            elif (problem := holdings.add_merge(index, merge)) is not None:
                say(index, problem)
        except FormatError as error:
            say(index, str(error))
    return holdings


def _unfounded(merge: Merge, begun: Collection[int], *, restored: bool) -> str | None:
    """Say what is wrong with a trim that no disposal before it stands behind."""
    if not merge.gone or (merge.disposal is None and restored) or merge.disposal in begun:
        return None
    return "names no disposal before it: it is passed over"


def add_later(holdings: Holdings, later: Mapping[int, JsonObject | None]) -> None:
    """Add what the log holds beyond the checkpoint that is verified: where records are, not what proves them."""
    for index, entry in later.items():
        with contextlib.suppress(FormatError):
            if entry is not None and entry.get("type") == MANIFEST_TYPE:
                holdings.add_manifest(index, parse_manifest(entry))
            elif entry is not None and entry.get("type") in MOVED_TYPES:
                holdings.add_merge(index, parse_merge(entry))


def held_file(index: int, read: Callable[[int], JsonObject | None]) -> HeldFile:
    """Return the file that an entry says holds records.

    Args:
        index: Index of the entry, one of `Holdings.holders`.
        read: Gives entries by index.

    Raises:
        FormatError: An entry is not what it was when the holdings were read.
    """
    entry = read(index) or {}
    if entry.get("type") == MANIFEST_TYPE:
        own = parse_manifest(entry)
        return HeldFile(ref=own.file, entry=index, parts=(Part(index=index, manifest=own),))
    merge = parse_merge(entry)
    parts, group, subtree = [], 0, 0
    for part in merge.parts:
        manifest = parse_manifest(read(part) or {})
        gone = merge.gone_of(part)
        parts.append(Part(index=part, manifest=manifest, first_group=group, first_subtree=subtree, gone=gone))
        group += group_count_of(manifest.count)
        subtree += subtree_count_of(manifest.count)
    counts = tuple(part.manifest.count for part in parts)
    return HeldFile(ref=merge.file, entry=index, parts=tuple(parts), counts=counts)
