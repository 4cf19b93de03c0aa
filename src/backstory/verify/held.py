"""Which file holds which records: a manifest's own, or the one the log says they were merged into."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from backstory.errors import FormatError
from backstory.records.canonical import JsonObject
from backstory.records.manifest import MANIFEST_TYPE, FileRef, Manifest, parse_manifest
from backstory.records.merge import MERGE_TYPE, Merge, parse_merge
from backstory.storage.segment import group_count_of, subtree_count_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The records of one manifest in a file.

    Attributes:
        index: Index of the manifest's entry.
        manifest: The manifest.
        first_group: Row groups of the file before its first.
        first_subtree: Subtree roots of the file before its first.
    """

    index: int
    manifest: Manifest
    first_group: int = 0
    first_subtree: int = 0


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
    def whom(self) -> str:
        """Which records it holds, in words."""
        first, last = self.parts[0].manifest, self.parts[-1].manifest
        return f"records {first.first_seq} to {last.end_seq - 1} of stream {first.stream}, entry {self.entry}"


def held_files(
    entries: Sequence[JsonObject | None], manifests: Sequence[tuple[int, Manifest]]
) -> tuple[list[HeldFile], list[tuple[int, str]]]:
    """Return the files that hold records by the log, and what is wrong with entries that say so, by index."""
    known = dict(manifests)
    merges: dict[int, Merge] = {}
    merged: dict[int, int] = {}  # by manifest, the last entry it is a part of
    problems: list[tuple[int, str]] = []
    for index, entry in enumerate(entries):
        if entry is None or entry.get("type") != MERGE_TYPE:
            continue
        try:
            merge = parse_merge(entry)
        except FormatError as error:
            problems.append((index, str(error)))
            continue
        problem = _problem(index, merge, known) or _taken_apart(merge, merges, merged)
        if problem is not None:
            problems.append((index, f"{problem}: it is passed over"))
            continue
        merges[index] = merge
        merged.update(dict.fromkeys(merge.parts, index))
    files = []
    for index, manifest in manifests:
        if index not in merged:
            own = Part(index=index, manifest=manifest)
            files.append(HeldFile(ref=manifest.file, entry=index, parts=(own,)))
    for index in sorted(set(merged.values())):
        merge = merges[index]
        parts = _parts([(part, known[part]) for part in merge.parts])
        counts = tuple(part.manifest.count for part in parts)
        files.append(HeldFile(ref=merge.file, entry=index, parts=parts, counts=counts))
    return files, problems


def read_on(
    log: list[JsonObject | None], manifests: list[tuple[int, Manifest]], later: Sequence[JsonObject | None]
) -> None:
    """Add what the log holds beyond the checkpoint that is verified: where records are, not what proves them."""
    for index, entry in enumerate(later, len(log)):
        if entry is not None and entry.get("type") == MANIFEST_TYPE:
            with contextlib.suppress(FormatError):
                manifests.append((index, parse_manifest(entry)))
    log += later


def _problem(index: int, merge: Merge, known: Mapping[int, Manifest]) -> str | None:
    """Say what is wrong with a merge, by the manifests it names."""
    parts = [known[part] for part in merge.parts if part < index and part in known]
    if len(parts) < len(merge.parts):
        return "names a part that is no manifest before it"
    if {(part.stream, part.schema) for part in parts} != {(merge.stream, parts[0].schema)}:
        return "its parts are of several streams or schemas"
    if any(one.end_seq != other.first_seq for one, other in pairwise(parts)):
        return "its parts do not follow each other"
    if (parts[0].first_seq, parts[-1].end_seq) != (merge.first_seq, merge.end_seq):
        return "its parts are not the records it says"
    return None


def _taken_apart(merge: Merge, merges: Mapping[int, Merge], merged: Mapping[int, int]) -> str | None:
    """Say which earlier merge a merge has some parts of and not all."""
    parts = set(merge.parts)
    for earlier in sorted({merged[part] for part in parts if part in merged}):
        if not parts.issuperset(merges[earlier].parts):
            return f"has some of the parts of entry {earlier} and not all"
    return None


def _parts(manifests: Sequence[tuple[int, Manifest]]) -> tuple[Part, ...]:
    parts, group, subtree = [], 0, 0
    for index, manifest in manifests:
        parts.append(Part(index=index, manifest=manifest, first_group=group, first_subtree=subtree))
        group += group_count_of(manifest.count)
        subtree += subtree_count_of(manifest.count)
    return tuple(parts)
