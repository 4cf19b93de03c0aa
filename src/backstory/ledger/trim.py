"""Trimming: a segment's file without the rows of records whose time is over; what proves the others stays.

A trim writes a file, appends one entry that says whose records it holds and how many are gone, and removes the file it
replaces, as a merge does; docs/format.md sections 17 and 41.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.tree import HASH_SIZE, root_of_subtrees
from backstory.columns.trimmed import gone_rows, gone_runs, leaf_hashes_of_rows, with_stubs
from backstory.errors import VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.merge import hold_segments
from backstory.records.limits import ROW_GROUP_ROWS, SUBTREE_ROWS
from backstory.records.manifest import FileRef, Manifest, parse_manifest
from backstory.records.merge import Merge
from backstory.storage.checked_files import file_digest
from backstory.storage.segment import (
    STUB_COLUMN,
    ParquetReader,
    trimmed_metadata,
    trimmed_name,
    write_groups,
)

Rows = npt.NDArray[np.int64]


def trim_segments(ledger: Ledger, rows: Mapping[int, Rows], disposal: int) -> int:
    """Take records out of the files that hold them; return how many files were written.

    Repeating it changes nothing: records that are gone already are passed over, and files a stopped run left are
    removed.

    Args:
        ledger: The archive.
        rows: For manifests, by the indexes of their entries, the rows of the segment to take out.
        disposal: Index of the `disposal.begun` that says so.

    Raises:
        BusyError: Another process is merging or trimming.
        VerificationError: A file is not what the log says; it was not changed.
        StorageError: Something could not be written or removed; the next run goes on from there.
    """
    written = 0
    with hold_segments(ledger):
        files: dict[str, list[int]] = {}
        for position in sorted(rows):
            manifest = _manifest(ledger, position)
            files.setdefault((ledger.merge_of(manifest) or manifest).file.name, []).append(position)
        for positions in files.values():
            written += _trim(ledger, {position: rows[position] for position in positions}, disposal)
    return written


def _trim(ledger: Ledger, rows: Mapping[int, Rows], disposal: int) -> bool:
    """Write one file again without some of its records; False if none of them is there any more."""
    position, manifest = next((position, _manifest(ledger, position)) for position in rows)
    merge = ledger.merge_of(manifest)
    parts = (position,) if merge is None else merge.parts
    manifests = _parts(ledger, parts)
    old = (merge or manifest).file
    ledger.checked_path(ledger.layout.segments, old)
    readers = [ledger.segment(one, checked=True) for one in manifests]
    gone = [
        _gone_then(reader, one.count, rows.get(part))
        for part, one, reader in zip(parts, manifests, readers, strict=True)
    ]
    counts = tuple(int(of_part.sum()) for of_part in gone)
    if counts == (merge.gone if merge is not None and merge.gone else (0,) * len(parts)):
        return False
    path = ledger.layout.segments / trimmed_name(old.name)
    ledger.world.disk.write_with(path, lambda new: _write(ledger, manifests, readers, gone, new), replace=False)
    # A crash before the next line leaves a file that no entry names, after it the one that is named no longer:
    # `hold_segments` takes either away.
    trim = Merge(
        stream=manifest.stream,
        first_seq=manifests[0].first_seq,
        count=sum(one.count for one in manifests),
        file=FileRef(name=path.name, sha256=file_digest(path), size=path.stat().st_size),
        parts=tuple(parts),
        gone=counts,
        disposal=disposal,
    )
    ledger.append([trim.document()])
    ledger.world.disk.remove(ledger.layout.segments / old.name)
    return True


def _gone_then(reader: ParquetReader, count: int, rows: Rows | None) -> npt.NDArray[np.bool_]:
    """Return which records of a segment are gone once some more are."""
    gone = np.zeros(count, dtype=bool)
    if reader.is_trimmed:
        gone = gone_rows(reader.read_groups(range(reader.group_count), ["id"])["id"]).copy()
    if rows is not None:
        gone[rows] = True
    return gone


def _write(
    ledger: Ledger,
    manifests: Sequence[Manifest],
    readers: Sequence[ParquetReader],
    gone: Sequence[npt.NDArray[np.bool_]],
    new: Path,
) -> None:
    """Write the row groups of a file without some records, and read it back: the old one will be gone."""
    schema = readers[0].arrow_schema.append(pa.field(STUB_COLUMN, pa.binary(HASH_SIZE)))
    metadata = trimmed_metadata(
        ledger.schema(manifests[0].schema).encoded,
        b"".join(reader.subtrees() for reader in readers),
        [manifest.count for manifest in manifests],
    )
    write_groups(_groups(readers, gone), schema, new, metadata)
    written, row = ParquetReader(new), 0
    for manifest, of_part in zip(manifests, gone, strict=True):
        part = written.part(row)
        roots = b"".join(part.run_roots(group) for group in range(part.group_count))
        if root_of_subtrees(roots).hex() != manifest.root or part.gone_count() != int(of_part.sum()):
            what = f"records {manifest.first_seq} to {manifest.end_seq - 1} of stream {manifest.stream}"
            raise VerificationError(f"trimming: {what} do not lead to their manifest's root; nothing was trimmed")
        row += manifest.count


def _groups(readers: Sequence[ParquetReader], gone: Sequence[npt.NDArray[np.bool_]]) -> Iterator[pa.Table]:
    """Yield row groups with nulls in the place of records that are gone, and their leaf hashes where these count.

    What the file holds was compared with its digest, and what is written is led to the root again.
    """
    for reader, of_part in zip(readers, gone, strict=True):
        for group in range(reader.group_count):
            first, table = group * ROW_GROUP_ROWS, reader.read_groups([group])
            missing = of_part[first : first + table.num_rows]
            rest = missing & ~np.repeat(gone_runs(missing), SUBTREE_ROWS)[: len(missing)]
            stubs = _stubs(reader, first, table, rest)
            rows = pa.array(np.arange(len(missing)), mask=missing)
            yield table.take(rows).append_column(STUB_COLUMN, stubs)


def _stubs(reader: ParquetReader, first: int, table: pa.Table, rows: npt.NDArray[np.bool_]) -> pa.Array:
    """Return the leaf hashes of some rows of a row group, kept or hashed; null for the others."""
    gone = gone_rows(table["id"])
    leaves = leaf_hashes_of_rows(table, rows & ~gone)
    if reader.is_trimmed:
        leaves = with_stubs(leaves, table["id"], reader.stubs(first, table.num_rows))
    hashes = pa.Array.from_buffers(pa.binary(HASH_SIZE), len(rows), [None, pa.py_buffer(leaves)])
    return pc.if_else(pa.array(rows), hashes, pa.scalar(None, hashes.type))


def _parts(ledger: Ledger, positions: Sequence[int]) -> list[Manifest]:
    return [_manifest(ledger, position) for position in positions]


def _manifest(ledger: Ledger, position: int) -> Manifest:
    return parse_manifest(ledger.log.entry(position))
