"""Verified reads of records: by id, by sequence number, whole columns.

A record that is found comes with the proof it was read under: its row leads to the manifest's root, and the manifest is
in the log under the published checkpoint. Records still in the spool are found too, and say that no proof covers them
yet.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.seal import merge_columns, pick_columns
from backstory.columns.tree import HASH_SIZE, root_of_subtrees, split_hashes
from backstory.errors import (
    AmbiguousError,
    BackstoryError,
    FormatError,
    NotFoundError,
    QueryError,
    VerificationError,
)
from backstory.ledger.ledger import Ledger
from backstory.ledger.sealed import open_rows
from backstory.records.identity import ID_SIZE, id_text
from backstory.records.limits import ROW_GROUP_ROWS, SUBTREE_ROWS
from backstory.records.manifest import FileRef, Manifest, parse_manifest
from backstory.records.schema import Schema
from backstory.storage.checked_files import WAY_OUT
from backstory.storage.segment import hashed_runs
from backstory.storage.spool import StreamInfo

_log = logging.getLogger("backstory")
_HEX_DIGITS = 2 * ID_SIZE
_NAMED_MAX = 3
_ROOTS_KEPT = 64
"""Segments whose roots are not computed again: 128 KiB each, which their readers hold too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sealed record is.

    Attributes:
        position: Index of the manifest's entry in the log.
        manifest: The manifest.
        row: Row of the segment.
    """

    position: int
    manifest: Manifest
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One record.

    Attributes:
        id: Its id, as text.
        schema: Its schema.
        table: One row: the open columns and commitments of a sealed record, all columns of one in the spool.
        place: Where it is sealed, None while it is in the spool.
    """

    id: str
    schema: Schema
    table: pa.Table
    place: Place | None


def manifests(ledger: Ledger, kind: str) -> Iterator[tuple[int, Manifest]]:
    """Iterate over the manifests of a kind of record, oldest first, each proven under the checkpoint."""
    for position in ledger.catalog.segments(kind):
        yield position, parse_manifest(ledger.log.entry(position))


def spool_tables(ledger: Ledger, kind: str) -> Iterator[tuple[Schema, pa.Table]]:
    """Iterate over the records of a kind that are not sealed yet.

    Those of a part of a job are left out: they count when the part is in the log, and may never be.
    A stream that cannot be read, because it is damaged or its key is not here, is passed over with a warning: it says
    nothing about the others, and sealing and verifying report it.
    """
    heads = ledger.heads()
    for info in ledger.spool.streams():
        try:
            schema = ledger.schema(info.schema)
            if schema.kind == kind and info.job is None:
                yield from ((schema, table) for table in _spool_tables(ledger, info, heads.get(info.stream, 0)))
        except BackstoryError as error:
            if info.stream in ledger.spool.stream_names():  # not one that was sealed and removed just now
                _log.warning("stream %s is passed over from where it cannot be read: %s", info.stream, error)


def _spool_tables(ledger: Ledger, info: StreamInfo, head: int) -> Iterator[pa.Table]:
    for frame in ledger.spool.frames(info, head):
        yield ledger.spool.table(info, ledger.schema(info.schema), frame).slice(max(head - frame.first_seq, 0))


def records_now(ledger: Ledger, kind: str) -> tuple[list[tuple[int, Manifest]], list[tuple[Schema, pa.Table]]]:
    """Return the manifests of a kind of record and the records not sealed yet: every record once.

    The spool is read first, so that what another process seals meanwhile is seen; it is then left out of the spool's.
    """
    waiting = list(spool_tables(ledger, kind))
    ledger.catch_up()
    sealed = list(manifests(ledger, kind))
    ends = _ends(sealed)
    left = []
    for schema, table in waiting:
        end = ends.get(table["stream"][0].as_py().hex(), 0) if table.num_rows else 0
        left.append((schema, table.filter(pc.greater_equal(table["seq"], pa.scalar(end, pa.uint64())))))
    return sealed, [(schema, table) for schema, table in left if table.num_rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFile:
    """A file that holds sealed records of one stream.

    Attributes:
        path: Where it is.
        end_seq: Where the records end that are meant, by their sequence number; None where all in it are.
        trimmed: Whether some of its records are gone: then they are nulls, and there is a column more.
    """

    path: Path
    end_seq: int | None
    trimmed: bool = False


def segment_files(ledger: Ledger, sealed: list[tuple[int, Manifest]]) -> dict[str, list[SegmentFile]]:
    """Return the files that hold sealed records, for reading them as a whole: by schema, each file once, and checked.

    Args:
        ledger: The archive.
        sealed: All manifests of a kind of record, as `records_now` returns them.

    Raises:
        StorageError: One of them cannot be read.
        VerificationError: The bytes of one were changed.
    """
    ends = _ends(sealed)
    files: dict[str, dict[tuple[FileRef, int | None, bool], None]] = {}
    for _, manifest in sealed:
        merge, end = ledger.merge_of(manifest), ends[manifest.stream]
        beyond = merge is not None and merge.end_seq > end  # newer than the manifests, with records that are not theirs
        file = manifest.file if merge is None else merge.file
        trimmed = merge is not None and bool(merge.gone)
        files.setdefault(manifest.schema, {})[file, end if beyond else None, trimmed] = None
    folder = ledger.layout.segments
    return {
        schema: [
            SegmentFile(path=ledger.checked_path(folder, file), end_seq=end, trimmed=trimmed)
            for file, end, trimmed in of_schema
        ]
        for schema, of_schema in files.items()
    }


def _ends(sealed: list[tuple[int, Manifest]]) -> dict[str, int]:
    """Return, by stream, the sequence number after its last sealed record."""
    ends: dict[str, int] = {}
    for _, manifest in sealed:
        ends[manifest.stream] = max(manifest.end_seq, ends.get(manifest.stream, 0))
    return ends


def find_record(ledger: Ledger, prefix: str, kind: str) -> Found:
    """Find one record by its id or a unique prefix of it.

    Args:
        ledger: The archive.
        prefix: Hex digits of the id, dashes allowed.
        kind: Kind of record.

    Raises:
        QueryError: Not the beginning of an id.
        NotFoundError: No record has it.
        AmbiguousError: Several records have it.
        VerificationError: The record is there and does not lead to the log's checkpoint.
    """
    digits = prefix.replace("-", "").lower()
    if not digits or len(digits) > _HEX_DIGITS or set(digits) - set("0123456789abcdef"):
        other = "" if not set(digits) - set("0123456789abcdef") else ", some of them no hex digits"
        raise QueryError(f"id: expected 1 to {_HEX_DIGITS} hex digits, got {len(digits)} characters{other}")
    first, last = digits.ljust(_HEX_DIGITS, "0"), digits.ljust(_HEX_DIGITS, "f")
    found = _search(ledger, kind, first, last)
    if not found:
        ledger.catch_up()  # another process may have sealed it since this one last looked
        found = _search(ledger, kind, first, last)
    if not found:
        raise NotFoundError(f"{kind}: none with an id that begins with {prefix!r}{_perhaps_gone(ledger, kind, first)}")
    if len(found) > 1:
        count = len(found) if len(found) < _NAMED_MAX else "several"
        names = " and ".join(list(found)[:2])
        raise AmbiguousError(f"{kind}: {count} ids begin with {prefix!r}, such as {names}")
    ((name, place),) = found.items()
    if isinstance(place, Place):
        return read_place(ledger, place)
    schema, table = place
    return Found(id=name, schema=schema, table=table, place=None)


def _perhaps_gone(ledger: Ledger, kind: str, digits: str) -> str:
    """Say that a record may be one of those that were disposed of: of these the ids are not kept."""
    for position in ledger.catalog.segments_with_id(digits, digits):
        manifest = parse_manifest(ledger.log.entry(position))
        merge = ledger.merge_of(manifest)
        if manifest.kind == kind and merge is not None and merge.gone and merge.gone_of(position):
            by = "" if merge.disposal is None else f" by the disposal of entry {merge.disposal}"
            return f"; of the {manifest.count} records among which it would be, {merge.gone_of(position)} went{by}"
    return ""


def _search(ledger: Ledger, kind: str, first: str, last: str) -> dict[str, Place | tuple[Schema, pa.Table]]:
    """Return where records with an id in a range are, by id; a few of them where there are many.

    A whole id that is sealed needs no look into the spool. Otherwise the spool is read first: a record that is sealed
    meanwhile is then found twice instead of never.
    """
    low, high = bytes.fromhex(first), bytes.fromhex(last)
    if first == last and (sealed := _search_segments(ledger, kind, first, last)):
        return dict(sealed)
    found: dict[str, Place | tuple[Schema, pa.Table]] = {}
    for schema, table in spool_tables(ledger, kind):
        found.update((name, (schema, table.slice(row, 1))) for row, name in _matches(table["id"], low, high))
    found.update(_search_segments(ledger, kind, first, last))
    return found


def _search_segments(ledger: Ledger, kind: str, first: str, last: str) -> dict[str, Place]:
    """Return where sealed records with an id in a range are, by id."""
    found: dict[str, Place] = {}
    for position in ledger.catalog.segments_with_id(first, last):
        manifest = parse_manifest(ledger.log.entry(position))
        if manifest.kind == kind:
            for row, name in _rows_with_id(ledger, manifest, bytes.fromhex(first), bytes.fromhex(last)):
                found[name] = Place(position=position, manifest=manifest, row=row)
    return found


def _rows_with_id(ledger: Ledger, manifest: Manifest, first: bytes, last: bytes) -> Iterator[tuple[int, str]]:
    """Yield rows of a segment whose id is in a range; at most a few are asked for."""
    with _changed_rather_than_malformed(ledger, manifest):
        reader = ledger.segment(manifest, checked=False)
        for group in range(reader.group_count):
            bounds = reader.bounds(group, "id")
            if bounds is None or (bounds[0] <= last and bounds[1] >= first):
                ids = reader.read_group(group)["id"]
                for row, name in _matches(ids, first, last):
                    yield group * ROW_GROUP_ROWS + row, name


@contextmanager
def _changed_rather_than_malformed(ledger: Ledger, manifest: Manifest) -> Iterator[None]:
    """Where a segment does not decode, say that it was changed, if it is not what its entry names.

    Raises:
        VerificationError: It is not.
    """
    try:
        yield
    except FormatError:
        ledger.segment(manifest, checked=True)
        raise


def _matches(ids: pa.ChunkedArray, first: bytes, last: bytes) -> list[tuple[int, str]]:
    """Return up to three rows whose id is in a range; ids rise, so two searches find the ends."""
    if ids.null_count:  # records of a trimmed segment that are gone
        rows = pc.indices_nonzero(pc.is_valid(ids)).to_pylist()
        there = ids.drop_null()
        return [(rows[row], name) for row, name in _matches(there, first, last)]
    low = bisect_left(range(len(ids)), first, key=lambda row: ids[row].as_py())
    rows = range(low, min(len(ids), low + _NAMED_MAX))
    return [(row, id_text(ids[row].as_py())) for row in rows if ids[row].as_py() <= last]


def find_contexts(ledger: Ledger, names: Sequence[str], kind: str) -> list[tuple[bytes, Schema, bytes]]:
    """Return many records' ids as bytes, their schemas and the digests of their contexts, by their whole ids.

    Args:
        ledger: The archive.
        names: Ids as text, in any order.
        kind: Kind of record.

    Raises:
        NotFoundError: No record has one of them.
        QueryError: One is no id.
    """
    keys = [_whole_id(name) for name in names]
    wanted, low, high = pa.array(keys, pa.binary(ID_SIZE)), min(keys, default=b""), max(keys, default=b"")
    found: dict[bytes, tuple[Schema, bytes]] = {}

    def note(table: pa.Table, schema: Schema) -> None:
        there = table.filter(pc.is_in(table["id"], value_set=wanted))
        contexts = ((schema, context) for context in there["context"].to_pylist())
        found.update(zip(there["id"].to_pylist(), contexts, strict=True))

    sealed, waiting = records_now(ledger, kind)
    for schema, table in waiting:
        note(table.select(["id", "context"]), schema)
    for _, manifest in sealed:
        if manifest.first_id <= high.hex() and manifest.last_id >= low.hex():
            reader = ledger.segment(manifest, checked=True)
            for group in range(reader.group_count):
                bounds = reader.bounds(group, "id")
                if bounds is None or (bounds[0] <= high and bounds[1] >= low):
                    note(reader.read_groups([group], ["id", "context"]), ledger.schema(manifest.schema))
    missing = [name for name, key in zip(names, keys, strict=True) if key not in found]
    if missing:
        raise NotFoundError(f"{kind}: none with {len(missing)} of {len(names)} ids, such as {missing[0]!r}")
    return [(key, *found[key]) for key in keys]


def find_places(ledger: Ledger, names: Sequence[str], kind: str) -> list[Place]:
    """Return where many records are sealed, by their whole ids, in the order of the log.

    Args:
        ledger: The archive.
        names: Ids as text, in any order.
        kind: Kind of record.

    Raises:
        NotFoundError: No sealed record has one of them.
        QueryError: One is no id.
    """
    keys = {_whole_id(name): name for name in names}
    wanted, low, high = pa.array(list(keys), pa.binary(ID_SIZE)), min(keys, default=b""), max(keys, default=b"")
    places = []
    ledger.catch_up()
    for position in ledger.catalog.segments_with_id(low.hex(), high.hex()):
        manifest = parse_manifest(ledger.log.entry(position))
        if manifest.kind != kind:
            continue
        with _changed_rather_than_malformed(ledger, manifest):
            reader = ledger.segment(manifest, checked=False)
            for group in range(reader.group_count):
                bounds = reader.bounds(group, "id")
                if bounds is None or (bounds[0] <= high and bounds[1] >= low):
                    ids = reader.read_groups([group], ["id"])["id"]
                    for at in pc.indices_nonzero(pc.is_in(ids, value_set=wanted)).to_pylist():
                        keys.pop(ids[at].as_py(), None)
                        places.append(Place(position=position, manifest=manifest, row=group * ROW_GROUP_ROWS + at))
    if keys:
        missing = next(iter(keys.values()))
        raise NotFoundError(f"{kind}: none sealed with {len(keys)} of {len(names)} ids, such as {missing!r}")
    return sorted(places, key=lambda place: (place.position, place.row))


def _whole_id(name: str) -> bytes:
    try:
        data = bytes.fromhex(name.replace("-", ""))
    except ValueError:
        data = b""
    if len(data) != ID_SIZE:
        raise QueryError(f"id: expected {_HEX_DIGITS} hex digits, got {len(name)} characters; name each record whole")
    return data


def read_place(ledger: Ledger, place: Place) -> Found:
    """Read a sealed record and check that it leads to its manifest's root.

    Raises:
        VerificationError: It does not.
    """
    run, _, _ = _proven_runs(ledger, place.position, place.manifest, place.row, place.row + 1)
    table = run.slice(place.row % SUBTREE_ROWS, 1)
    name = id_text(table["id"][0].as_py())
    return Found(id=name, schema=ledger.schema(place.manifest.schema), table=table, place=place)


def read_run(ledger: Ledger, place: Place) -> tuple[pa.Table, bytes, list[bytes]]:
    """Return the run of 256 records around a record, their leaf hashes, and the roots of all runs of the segment.

    Raises:
        VerificationError: The run does not lead to the manifest's root.
    """
    run, leaves, subtrees = _proven_runs(ledger, place.position, place.manifest, place.row, place.row + 1)
    return run, leaves, split_hashes(subtrees)


def _proven_runs(
    ledger: Ledger, position: int, manifest: Manifest, first: int, end: int
) -> tuple[pa.Table, bytes, bytes]:
    """Return the runs of 256 records that hold rows `first` to `end`, as `read_run` does; all roots as one."""
    start = first // SUBTREE_ROWS * SUBTREE_ROWS
    stop = min(-(-end // SUBTREE_ROWS) * SUBTREE_ROWS, manifest.count)
    with _changed_rather_than_malformed(ledger, manifest):
        reader = ledger.segment(manifest, checked=False)
        runs = reader.read_rows(start, stop - start)
        (leaves, hashed), subtrees = hashed_runs(reader, start, runs), reader.subtrees()
    expected = subtrees[start // SUBTREE_ROWS * HASH_SIZE : -(-stop // SUBTREE_ROWS) * HASH_SIZE]
    if hashed != expected or _root_of(subtrees).hex() != manifest.root:
        rows = f"rows {start} to {stop - 1} of {manifest.file.name}"
        what = f"{rows} do not lead to the root in entry {position}"
        raise VerificationError(f"record does not verify: {what}; {WAY_OUT}")
    return runs, leaves, subtrees


@lru_cache(_ROOTS_KEPT)
def _root_of(subtrees: bytes) -> bytes:
    """Return the root of a segment from the roots of its runs; of the same ones again, what it was."""
    return root_of_subtrees(subtrees)


def read_sequence(ledger: Ledger, stream: str, schema: Schema, first: int, count: int, *, opened: bool) -> pa.Table:
    """Return records `first` to `first + count` of a stream, from segments and spool, in order.

    What comes from a segment is checked as `read_place` does, and sealed values against the commitments.

    Args:
        ledger: The archive.
        stream: The stream, in hex.
        schema: Its schema.
        first: Sequence number of the first record.
        count: How many.
        opened: Whether to add the sealed columns; that they may be read is the caller's to see to.

    Raises:
        NotFoundError: Some of them are not here, or their sealed values were erased.
        VerificationError: They do not lead to their manifest's root, or sealed values were changed.
    """
    end, parts = first + count, []
    for position in ledger.catalog.segments_with_seq(stream, first, end):
        manifest = parse_manifest(ledger.log.entry(position))
        low, high = max(first, manifest.first_seq), min(end, manifest.end_seq)
        row = low - manifest.first_seq
        runs, _, _ = _proven_runs(ledger, position, manifest, row, row + high - low)
        table = runs.slice(row % SUBTREE_ROWS, high - low)
        if opened and manifest.shard is not None:
            table = merge_columns(table, open_rows(ledger, manifest, row, table))
        parts.append(table)
    if sum(part.num_rows for part in parts) < count and stream in ledger.spool.stream_names():
        head = ledger.heads().get(stream, 0)
        for table in _spool_tables(ledger, ledger.spool.info(stream), max(head, first)):
            shown = table if opened or not schema.groups else pick_columns(table, [c.name for c in schema.open_columns])
            parts.append(shown.filter(pc.less(table["seq"], pa.scalar(end, pa.uint64()))))
    rows = pa.concat_tables(parts, promote_options="default") if parts else None
    if rows is None or rows.num_rows != count:
        raise NotFoundError(
            f"records {first} to {end - 1} of stream {stream}: expected {count}, found {rows.num_rows if rows else 0}"
        )
    if rows["id"].null_count:
        what = f"{rows['id'].null_count} of them were disposed of"
        raise NotFoundError(f"records {first} to {end - 1} of stream {stream}: {what}, when their time was over")
    return rows
