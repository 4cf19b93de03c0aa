"""Segment files whose entries were lost with the end of a log: named again if they are whole, or else set aside.

The entries were lost, the files were not: a restored log names them anew. From then on it proves what they hold; that
they held the same when they were first sealed, only receipts from that time can show.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backstory.columns.tree import leaf_hashes, root_of_subtrees, subtree_roots
from backstory.errors import BackstoryError, FormatError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.write_segment import describe
from backstory.records.canonical import JsonObject
from backstory.records.manifest import CLOSED_TYPE, MANIFEST_TYPE, OPENED_TYPE, FileRef, Manifest, parse_manifest
from backstory.records.merge import Merge
from backstory.records.schema import Schema, parse_schema
from backstory.storage.checked_files import file_digest
from backstory.storage.disk import storage_errors
from backstory.storage.segment import SCHEMA_KEY, ParquetReader, segment_range

if TYPE_CHECKING:
    import pyarrow as pa

_ENVELOPE = ["id", "stream", "seq", "time", "context"]
LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What became of files that no entry named.

    Attributes:
        records: How many records are in the log again.
        aside: Files that were set aside, as it is not known what they hold or they hold what other files hold.
    """

    records: int
    aside: tuple[str, ...]


def adopt_segments(ledger: Ledger, former: str) -> Adopted:
    """Name every segment file again that goes on where its stream ends in the log; set the others aside.

    Args:
        ledger: The restored archive.
        former: The incarnation whose entries named them; they are set aside below `lost/<former>/`.

    Raises:
        StorageError: A file cannot be moved, or the log not be written.
    """
    records, aside = 0, []
    for path in _unnamed(ledger):
        stream, first, end = segment_range(path.name) or ("", 0, 0)
        try:
            if ledger.lock.heads().get(stream, 0) == first < end:
                _adopt(ledger, path, stream, first, end)
                records += end - first
            else:
                _adopt_merged(ledger, path, stream, first, end)
        except BackstoryError:
            folder = ledger.layout.root / LOST / former
            ledger.world.disk.make_directory(folder)
            with storage_errors("moving", path):
                path.rename(folder / path.name)
            aside.append(path.name)
    return Adopted(records=records, aside=tuple(aside))


def close_streams(ledger: Ledger) -> None:
    """End every stream in the log that is in the spool no more: the entry that ended it was lost."""
    waiting = set(ledger.spool.stream_names())
    for stream, head in sorted(ledger.lock.heads().items()):
        if stream not in waiting and not ledger.catalog.entries(CLOSED_TYPE, stream):
            end: JsonObject = {"clean": False, "mark": {}, "next_seq": str(head), "unknown_bytes": "0"}
            ledger.append([{"type": CLOSED_TYPE, "stream": stream, **end}])


def _unnamed(ledger: Ledger) -> list[Path]:
    """Return the segment files that no entry names, a stream's in order."""
    named = set()
    for position in ledger.catalog.entries(MANIFEST_TYPE):
        manifest = parse_manifest(ledger.log.entry(position))
        named.add((ledger.merge_of(manifest) or manifest).file.name)
    with storage_errors("listing", ledger.layout.segments):
        paths = [path for path in ledger.layout.segments.glob("*.parquet") if path.name not in named]
    return sorted(paths, key=lambda path: segment_range(path.name) or ("", 0, 0))


def _adopt(ledger: Ledger, path: Path, stream: str, first: int, end: int) -> None:
    """Put a manifest of a segment into the log.

    Raises:
        BackstoryError: It is not whole, or not of these records.
    """
    reader = ParquetReader(path)
    schema = parse_schema(reader.metadata(SCHEMA_KEY))
    groups = range(reader.group_count)
    roots = b"".join(subtree_roots(leaf_hashes(reader.read_groups([group]))) for group in groups)
    table = reader.read_groups(list(groups), _ENVELOPE)
    seqs = table["seq"].to_pylist()
    if roots != reader.subtrees() or seqs != list(range(first, end)) or _streams(table["stream"]) != {stream}:
        raise VerificationError(f"restoring: {path.name} does not hold what its name says")
    manifest = describe(
        table,
        stream,
        schema,
        first,
        root=root_of_subtrees(roots).hex(),
        file=_ref(path),
        shard=_shard(ledger, path, schema),
    )
    entries: list[JsonObject] = [{"type": MANIFEST_TYPE, **manifest.document()}]
    if not ledger.catalog.entries(OPENED_TYPE, stream):  # how it was opened, only its spool could tell
        opened: JsonObject = {"opened": manifest.first_time, "policy": {}, "schema": schema.digest, "stream": stream}
        entries.insert(0, {"type": OPENED_TYPE, **opened})
    ledger.append(entries, {stream: (first, end)})


def _adopt_merged(ledger: Ledger, path: Path, stream: str, first: int, end: int) -> None:
    """Say in the log that a merged file holds the records of manifests whose own files are gone.

    Raises:
        BackstoryError: It does not, or they are there.
    """
    positions = ledger.catalog.segments_with_seq(stream, first, end)
    manifests = [parse_manifest(ledger.log.entry(position)) for position in positions]
    if not manifests or all(_is_there(ledger, manifest) for manifest in manifests):
        raise FormatError(f"restoring: {path.name} holds what other files hold")
    reader, row, gone = ParquetReader(path), 0, list[int]()
    for manifest in manifests:
        part = reader.part(row)
        roots = b"".join(part.run_roots(group) for group in range(part.group_count))
        gone.append(part.gone_count())
        if manifest.first_seq != first + row or root_of_subtrees(roots).hex() != manifest.root:
            raise VerificationError(f"restoring: {path.name} does not lead to the root of its manifest")
        row += manifest.count
    if first + row != end:
        raise VerificationError(f"restoring: {path.name} does not hold what its name says")
    merge = Merge(
        stream=stream,
        first_seq=first,
        count=row,
        file=_ref(path),
        parts=tuple(positions),
        gone=tuple(gone) if any(gone) else (),
    )
    ledger.append([merge.document()])


def _is_there(ledger: Ledger, manifest: Manifest) -> bool:
    return (ledger.layout.segments / (ledger.merge_of(manifest) or manifest).file.name).is_file()


def _shard(ledger: Ledger, segment: Path, schema: Schema) -> FileRef | None:
    return _ref(ledger.vault.path(f"{segment.stem}.shard")) if schema.groups else None


def _ref(path: Path) -> FileRef:
    with storage_errors("reading", path):
        return FileRef(name=path.name, sha256=file_digest(path), size=path.stat().st_size)


def _streams(column: pa.ChunkedArray) -> set[str]:
    return {value.hex() for value in column.unique().to_pylist()}
