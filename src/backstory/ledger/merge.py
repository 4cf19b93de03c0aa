"""Merging: from the many small files of a stream to few larger ones, without changing what proves a record.

A merge writes a file, appends one entry that says whose records it holds, and removes the files it replaces, in this
order; docs/format.md section 17. Vault shards stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.errors import BackstoryError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.records.limits import MERGE_PARTS_MAX, MERGE_ROWS_MAX
from backstory.records.manifest import MANIFEST_TYPE, FileRef, Manifest, parse_manifest
from backstory.records.merge import MOVED_TYPES, Merge, parse_merge
from backstory.storage.checked_files import file_digest
from backstory.storage.disk import hold_directory, storage_errors
from backstory.storage.segment import ParquetReader, merged_metadata, segment_name, segment_range, write_groups

if TYPE_CHECKING:
    import pyarrow as pa

FILES_MIN = 8
"""Fewer neighbours are left as they are: merging two at a time would write every row again and again."""

SMALL_ROWS = 131_072
"""A file of so many rows is large enough to stay."""

_SEQ_END = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeCount:
    """What a merge did: how many files it replaced, by how many."""

    replaced: int
    written: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file that holds records now, with the manifests they are of and the indexes of those; a trimmed one stays."""

    ref: FileRef
    manifests: tuple[Manifest, ...]
    parts: tuple[int, ...]
    trimmed: bool = False

    @property
    def rows(self) -> int:
        return sum(manifest.count for manifest in self.manifests)


def merge_all(ledger: Ledger) -> MergeCount:
    """Merge the small files of every stream, as far as it is worth it, and remove what an earlier merge left behind.

    Raises:
        BusyError: Another process is merging this archive.
        ForbiddenError: The archive is open for reading only.
        BackstoryError: What went wrong with the first files that could not be merged, after all others were; they are
            as they were.
    """
    replaced = written = 0
    errors: list[BackstoryError] = []
    with hold_segments(ledger):
        for stream in ledger.catalog.streams_in_files(FILES_MIN):
            for neighbours in _neighbours(_files(ledger, stream)):
                try:
                    for run in _worth_merging(neighbours):
                        for same in _of_same_columns(ledger, run):
                            _merge(ledger, same)
                            replaced, written = replaced + len(same), written + 1
                except BackstoryError as error:
                    errors.append(error)  # one damaged file must not keep the others apart
    if errors:
        raise errors[0]
    return MergeCount(replaced=replaced, written=written)


@contextmanager
def hold_segments(ledger: Ledger) -> Iterator[None]:
    """Keep others from merging or trimming meanwhile, and remove what one that was stopped left behind.

    Raises:
        BusyError: Another process is merging or trimming.
        ForbiddenError: The archive is open for reading only.
    """
    with hold_directory(ledger.layout.segments, "merging: another process is merging this archive"):
        ledger.recover()  # before looking at files: a merge that was committed is then in the log
        _remove_leftovers(ledger)
        yield


def _files(ledger: Ledger, stream: str) -> list[_File]:
    """Return the files that hold a stream's records now, in order."""
    refs: dict[str, FileRef] = {}
    held: dict[str, list[tuple[int, Manifest]]] = {}
    trimmed: set[str] = set()
    for position in ledger.catalog.segments_with_seq(stream, 0, _SEQ_END):
        manifest = parse_manifest(ledger.log.entry(position))
        merge = ledger.merge_of(manifest)
        ref = (merge or manifest).file
        if merge is not None and merge.gone:
            trimmed.add(ref.name)
        refs[ref.name] = ref
        held.setdefault(ref.name, []).append((position, manifest))
    return [
        _File(
            ref=refs[name],
            manifests=tuple(m for _, m in parts),
            parts=tuple(position for position, _ in parts),
            trimmed=name in trimmed,
        )
        for name, parts in held.items()
    ]


def _neighbours(files: Sequence[_File]) -> Iterator[list[_File]]:
    """Yield the runs of small files that one file may hold."""
    run: list[_File] = []
    for file in files:
        small = file.rows < SMALL_ROWS and not file.trimmed
        if run and not (small and _may_follow(run, file)):
            yield run
            run = []
        if small:
            run.append(file)
    if run:
        yield run


def _may_follow(run: list[_File], file: _File) -> bool:
    last, first = run[-1].manifests[-1], file.manifests[0]
    return (
        last.end_seq == first.first_seq
        and last.schema == first.schema
        and sum(one.rows for one in run) + file.rows <= MERGE_ROWS_MAX
        and sum(len(one.parts) for one in run) + len(file.parts) <= MERGE_PARTS_MAX
    )


def _worth_merging(run: list[_File]) -> list[list[_File]]:
    """Return what of a run is worth merging: many files, none of them larger than all others together.

    So a row that is written again is in a file at least twice as large afterwards: seldom, however often this runs.
    """
    if len(run) < FILES_MIN:
        return []
    sizes = [file.rows for file in run]
    largest = sizes.index(max(sizes))
    if 2 * sizes[largest] > sum(sizes):
        return _worth_merging(run[:largest]) + _worth_merging(run[largest + 1 :])
    return [run]


def _of_same_columns(ledger: Ledger, run: list[_File]) -> Iterator[list[_File]]:
    """Yield the parts of a run that one Parquet file can hold: a schema's text may be of two Arrow types."""
    for _, same in groupby(run, lambda file: _source(ledger, file).arrow_schema):
        yield from _worth_merging(list(same))


def _source(ledger: Ledger, file: _File) -> ParquetReader:
    return ParquetReader(ledger.layout.segments / file.ref.name)


def _merge(ledger: Ledger, run: list[_File]) -> None:
    """Put the records of files into one, say so in the log, remove the files.

    Raises:
        VerificationError: A file is not what the log says; nothing was changed.
        StorageError: Something could not be written or removed; the next merge goes on from there.
    """
    manifests = [manifest for file in run for manifest in file.manifests]
    stream, first_seq = manifests[0].stream, manifests[0].first_seq
    count = manifests[-1].end_seq - first_seq
    for file in run:
        _insist_whole(ledger, file.ref)
    path = ledger.layout.segments / f"{segment_name(stream, first_seq, count)}.parquet"
    ledger.world.disk.write_with(path, lambda new: _write(ledger, run, manifests, new), replace=False)
    # A crash before the next line leaves a file that no entry names, after it files that are named no longer:
    # `_remove_leftovers` takes either away.
    merge = Merge(
        stream=stream,
        first_seq=first_seq,
        count=count,
        file=FileRef(name=path.name, sha256=file_digest(path), size=path.stat().st_size),
        parts=tuple(part for file in run for part in file.parts),
    )
    ledger.append([merge.document()])
    for file in run:
        ledger.world.disk.remove(ledger.layout.segments / file.ref.name)


def _write(ledger: Ledger, run: list[_File], manifests: list[Manifest], new: Path) -> None:
    """Write the row groups of files into a new one, and read it back: the old ones will be gone."""
    subtrees = b"".join(_source(ledger, file).subtrees() for file in run)
    schema = ledger.schema(manifests[0].schema).encoded
    metadata = merged_metadata(schema, subtrees, [manifest.count for manifest in manifests])
    write_groups(_groups(ledger, run), _source(ledger, run[0]).arrow_schema, new, metadata)
    written, row = ParquetReader(new), 0
    for manifest in manifests:
        part = written.part(row)
        hashed = [subtree_roots(leaf_hashes(part.read_groups([group]))) for group in range(part.group_count)]
        roots = b"".join(hashed)
        if roots != part.subtrees() or root_of_subtrees(roots).hex() != manifest.root:
            what = f"records {manifest.first_seq} to {manifest.end_seq - 1} of stream {manifest.stream}"
            raise VerificationError(f"merging: {what} do not lead to their manifest's root; nothing was merged")
        row += manifest.count


def _groups(ledger: Ledger, run: list[_File]) -> Iterator[pa.Table]:
    """Yield the row groups of files; one file is open at a time."""
    for file in run:
        reader = _source(ledger, file)
        for group in range(reader.group_count):
            yield reader.read_groups([group])


def _insist_whole(ledger: Ledger, file: FileRef) -> None:
    """Insist that a file is there and is the one an entry names.

    Raises:
        StorageError: It cannot be read.
        VerificationError: It has other bytes.
    """
    path = ledger.layout.segments / file.name
    with storage_errors("merging", path):
        digest = file_digest(path)
    if digest != file.sha256:
        raise VerificationError(f"merging: {file.name} is not the file its entry names: it was changed")


def _are_whole(ledger: Ledger, files: list[FileRef]) -> bool:
    try:
        for file in files:
            _insist_whole(ledger, file)
    except BackstoryError:
        return False
    return True


def _remove_leftovers(ledger: Ledger) -> None:
    """Remove files that a merge left which was stopped: before its commit its own, after it those it replaced.

    The catalog says which may be some; the log, read as a whole, decides. What cannot be found whole elsewhere stays.
    """
    folder = ledger.layout.segments
    with storage_errors("listing", folder):
        paths = sorted(folder.iterdir())
    known = ledger.catalog.ranges()
    ends: dict[str, int] = {}
    for stream, _, end in known:
        ends[stream] = max(end, ends.get(stream, 0))
    found = [(path, segment_range(path.name)) for path in paths]
    times = Counter(r for _, r in found if r is not None)
    twice = {r for r, files in times.items() if files > 1}  # before a trim and after it
    # What lies at the end of a stream or beyond is a sealer's.
    doubtful = [
        (path, r) for path, r in found if r is not None and (r not in known or r in twice) and r[2] <= ends.get(r[0], 0)
    ]
    named = _named_files(ledger) if doubtful else {}
    for path, (stream, first, end) in doubtful:
        holding = [ref for (s, low, high), ref in named.items() if s == stream and low < end and high > first]
        if holding and path.name not in {ref.name for ref in holding} and _are_whole(ledger, holding):
            ledger.world.disk.remove(path)


def _named_files(ledger: Ledger) -> dict[tuple[str, int, int], FileRef]:
    """Return the files that hold records by the log, by stream, first sequence number and end."""
    named: dict[tuple[str, int, int], FileRef] = {}
    for _, entry in ledger.log.entries(0, ledger.log.checkpoint().size):
        if entry["type"] == MANIFEST_TYPE:
            manifest = parse_manifest(entry)
            named[manifest.stream, manifest.first_seq, manifest.end_seq] = manifest.file
        elif entry["type"] in MOVED_TYPES:
            merge = parse_merge(entry)
            named = {
                key: ref
                for key, ref in named.items()
                if key[0] != merge.stream or key[2] <= merge.first_seq or key[1] >= merge.end_seq
            }
            named[merge.stream, merge.first_seq, merge.end_seq] = merge.file
    return named
