"""The sealer: from spool frames to a segment, its vault shard and its manifest.

The same code runs in the process that recorded, in `backstory seal`, and in the next process that opens an archive
after a crash. Whoever seals a stream holds its lease; what decides is the stream's head in the lock store, which moves
in the same transaction as the checkpoint.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import BackstoryError, BusyError, ConflictError, FormatError
from backstory.ledger.forget import has_erased
from backstory.ledger.half_written import remove_half_written
from backstory.ledger.job import find_part
from backstory.ledger.ledger import Ledger
from backstory.ledger.sketch import sketched_entries
from backstory.ledger.write_segment import write_segment
from backstory.records.canonical import JsonObject
from backstory.records.job import PART_TYPE, JobPart, PartName, parse_part_name
from backstory.records.limits import SEGMENT_CONTEXTS_MAX, SEGMENT_ROWS_MAX
from backstory.records.manifest import (
    CLOSED_TYPE,
    HEARTBEAT_TYPE,
    MANIFEST_TYPE,
    OPENED_TYPE,
    Manifest,
)
from backstory.records.schema import Schema, parse_schema
from backstory.records.sensitivity import DOMAINS
from backstory.storage.spool import StreamInfo

LEASE_NS = 600 * 10**9
"""A sealer that takes longer is taken for dead; the stream head still keeps two from sealing the same records."""


_PAUSE_SECONDS = 0.05
_ATTEMPTS_MAX = 2_400
"""Two minutes: longer than sealing the largest segment takes."""
_log = logging.getLogger("backstory")


def seal_all(ledger: Ledger) -> int:
    """Seal every stream of the spool; return how many records were sealed.

    Streams another process is sealing at this moment are passed over.

    Raises:
        BackstoryError: What went wrong with the first stream that could not be sealed, after all others were.
    """
    count, errors = 0, []
    for name in ledger.spool.stream_names():
        try:
            count += seal_stream(ledger, ledger.spool.info(name))
        except BackstoryError as error:
            if name in ledger.spool.stream_names():  # not one that another process sealed and removed just now
                errors.append(error)  # one damaged stream must not keep the others unsealed
    if errors:
        raise errors[0]
    return count


def seal_up_to(ledger: Ledger, info: StreamInfo, end_seq: int) -> None:
    """Return when every record of a stream below a sequence number is sealed, by this process or by another.

    Raises:
        BusyError: Another process holds the stream and does not get on with it.
        StorageError: Something could not be written; everything not yet sealed is still in the spool.
    """
    pause = threading.Event()
    for _ in range(_ATTEMPTS_MAX):
        seal_stream(ledger, info)
        if ledger.lock.heads().get(info.stream, 0) >= end_seq:
            return
        pause.wait(_PAUSE_SECONDS)
    raise BusyError(f"sealing: another process holds stream {info.stream} and has not sealed it up to seq {end_seq}")


def seal_part(ledger: Ledger, info: StreamInfo) -> JobPart:
    """Return what the log says of the part of a job that a stream holds, once the part is done, by this or another.

    Args:
        ledger: The archive.
        info: A stream of a part, recorded completely, whose writer has let go of it.

    Raises:
        BusyError: Another process holds the stream and does not get on with it.
        StorageError: Something could not be written; the stream is still in the spool.
    """
    which = parse_part_name(info.job, f"spool: job of stream {info.stream}")
    pause = threading.Event()
    for _ in range(_ATTEMPTS_MAX):
        seal_stream(ledger, info)
        ledger.catch_up()
        part = find_part(ledger, which)
        if part is not None:
            return part
        pause.wait(_PAUSE_SECONDS)
    raise BusyError(f"sealing: another process holds stream {info.stream}, a part of a job, and has not sealed it")


def seal_stream(ledger: Ledger, info: StreamInfo) -> int:
    """Seal what a stream holds in the spool; return how many records were sealed.

    Raises:
        StorageError: Something could not be written; everything not yet sealed is still in the spool.
        ConflictError: Another sealer took the stream over, because this one was slow; nothing is lost.
        FormatError: The spool is damaged; what came before the damage is sealed, the rest stays where it is.
    """
    holder = f"{platform.node()}:{os.getpid()}:{ledger.world.random_bytes(8).hex()}"
    if not _hold(ledger, info, holder):
        return 0
    try:
        schema = parse_schema(ledger.blobs.get(info.schema))
        head = first = _remove_orphans(ledger, info.stream, holder)
        if has_erased(ledger, info.stream, head):
            return _discard_copy(ledger, info)
        if info.job is not None:
            return _seal_part(ledger, info, schema, holder, head)
        for table in _runs(ledger, info, schema, head):
            manifest = write_segment(ledger, info.stream, schema, table, head)
            if not _hold(ledger, info, holder):
                raise ConflictError(f"sealing: another sealer took over stream {info.stream}")
            # A crash before this line leaves a segment nobody refers to, which `_remove_orphans` takes away. Whoever
            # took the lease meanwhile may have taken this segment for one: the commit insists on the lease.
            entries = [*_sealed(manifest), *sketched_entries(ledger, schema, table, manifest)]
            if head == 0:
                entries = [*_opened(ledger, info), *entries]
            ledger.append(entries, {info.stream: (head, manifest.end_seq)}, {info.stream: holder})
            head = manifest.end_seq
        _finish(ledger, info, head)
    finally:
        ledger.lock.release_lease(info.stream, holder)
    return head - first


def _discard_copy(ledger: Ledger, info: StreamInfo) -> int:
    """Discard a stream that was put back from a copy, with records that were sealed and then erased.

    Raises:
        ConflictError: Somebody is writing to it.
    """
    if ledger.spool.is_open(info.stream):
        raise ConflictError(f"sealing: stream {info.stream} holds records that were erased, and is being written to")
    _log.warning("stream %s is discarded: it was put back from a copy, and records in it are erased", info.stream)
    ledger.spool.discard(info)
    return 0


def _hold(ledger: Ledger, info: StreamInfo, holder: str) -> bool:
    """Take or renew the lease on a stream; take it over from a sealer of this machine that died with it."""
    now = ledger.world.now_ns()
    if ledger.lock.take_lease(info.stream, holder, now, now + LEASE_NS):
        return True
    other = ledger.lock.lease_holder(info.stream)
    if other is None or not _is_dead(other):
        return False
    ledger.lock.release_lease(info.stream, other)
    return ledger.lock.take_lease(info.stream, holder, now, now + LEASE_NS)


def _is_dead(holder: str) -> bool:
    """Say whether the holder of a lease was a process of this machine that is gone; of others it is not known."""
    node, _, rest = holder.rpartition(":")[0].rpartition(":")
    if node != platform.node() or not rest.isdecimal():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _seal_part(ledger: Ledger, info: StreamInfo, schema: Schema, holder: str, head: int) -> int:
    """Seal the records of a part of a job, all or none: they count if they are complete and the part is not done.

    Returns:
        How many records were sealed. None where the part is done by others, or its writer stopped in the middle of it:
        they are then discarded.
    """
    if head:
        ledger.spool.truncate(info, head)  # it is sealed, and a crash came before this
        return 0
    writing = ledger.spool.is_open(info.stream)  # asked first: what was appended before it ended is seen below
    which = parse_part_name(info.job, f"spool: job of stream {info.stream}")
    ledger.catch_up()
    done = find_part(ledger, which) is not None
    mark = None if done else _mark_of_complete(ledger, info)
    if mark is None and writing:
        return 0  # its writer comes back to it
    if mark is not None:
        end, sealed = _write_part(ledger, info, schema, holder)
        if _commit_part(ledger, info, which, mark, (end, sealed), holder):
            ledger.spool.truncate(info, end)
            return end
        done = True
    why = "the part is done already" if done else "its writer stopped before the part was complete"
    _log.warning("stream %s, of a part of a job, is discarded: %s", info.stream, why)
    _remove_orphans(ledger, info.stream, holder)
    ledger.spool.discard(info)
    return 0


def _write_part(ledger: Ledger, info: StreamInfo, schema: Schema, holder: str) -> tuple[int, list[JsonObject]]:
    """Make all segments of a part durable; a crash leaves them to whoever seals or discards the stream next.

    Returns:
        The sequence number after its last record, and the entries that name its segments.
    """
    end, entries = 0, []
    for table in _runs(ledger, info, schema, 0):
        manifest = write_segment(ledger, info.stream, schema, table, end)
        if not _hold(ledger, info, holder):
            raise ConflictError(f"sealing: another sealer took over stream {info.stream}")
        entries += [*_sealed(manifest), *sketched_entries(ledger, schema, table, manifest)]
        end = manifest.end_seq
    return end, entries


def _sealed(manifest: Manifest) -> list[JsonObject]:
    """Return the entry of a manifest."""
    return [{"type": MANIFEST_TYPE, **manifest.document()}]


def _commit_part(
    ledger: Ledger,
    info: StreamInfo,
    which: PartName,
    mark: JsonObject,
    written: tuple[int, list[JsonObject]],
    holder: str,
) -> bool:
    """Put a whole part into the log, unless somebody was first; return whether it was."""
    end, sealed = written
    part = JobPart(which=which, stream=info.stream, records=end)

    def entries() -> list[JsonObject]:
        """Look once more: while this is asked no other process can append."""
        if find_part(ledger, which) is not None:
            return []
        closed = _closed(info, end, mark, clean=True, torn=0)
        return [*_opened(ledger, info), *sealed, {"type": PART_TYPE, **part.document()}, closed]

    return bool(ledger.append(entries, {info.stream: (0, end)}, {info.stream: holder}, naming=sealed))


def _mark_of_complete(ledger: Ledger, info: StreamInfo) -> JsonObject | None:
    """Return the end mark of a stream that holds all it was to hold; None if there is none, or it does not."""
    mark, has_ended = ledger.spool.last_mark(info) or ({}, False)
    records = sum(frame.count for frame in ledger.spool.frames(info, 0))
    complete = has_ended and records > 0 and (mark.get("recorded"), mark.get("refused")) == (str(records), "0")
    return mark if complete else None


def _finish(ledger: Ledger, info: StreamInfo, head: int) -> None:
    """Say in the log what the writer said of itself and, if it is gone, that the stream ended; truncate the spool."""
    ended = not ledger.spool.is_open(info.stream)  # asked first: what was appended before it ended is seen below
    if not any(ledger.spool.frames(info, head)):
        said = ledger.spool.last_mark(info)
        mark, is_clean = said or ({}, False)
        torn = ledger.spool.torn_size(info) if ended else 0
        spoke = head > 0 or torn > 0 or mark.get("refused", "0") != "0"  # one that was never written to says nothing
        if ended and spoke:
            ledger.append(lambda: _end(ledger, info, _closed(info, head, mark, clean=is_clean, torn=torn)))
        elif mark and spoke:
            ledger.append(lambda: _heartbeat(ledger, info, mark))
    ledger.spool.truncate(info, head)


def _end(ledger: Ledger, info: StreamInfo, closed: JsonObject) -> list[JsonObject]:
    """Return the entry that ends a stream, unless the log has it, from before a crash or by another sealer."""
    return [] if ledger.catalog.entries(CLOSED_TYPE, info.stream) else [*_opened(ledger, info), closed]


def _heartbeat(ledger: Ledger, info: StreamInfo, mark: JsonObject) -> list[JsonObject]:
    """Return the entry with what the writer last counted, unless the log has it."""
    at = ledger.catalog.entries(HEARTBEAT_TYPE, info.stream)
    if at and ledger.log.entry(at[-1]).get("mark") == mark:
        return []
    return [*_opened(ledger, info), {"mark": mark, "stream": info.stream, "type": HEARTBEAT_TYPE}]


def _opened(ledger: Ledger, info: StreamInfo) -> list[JsonObject]:
    """Return the entry that begins a stream, unless the log has it."""
    if ledger.catalog.entries(OPENED_TYPE, info.stream):
        return []
    entry: JsonObject = {"opened": info.opened, "policy": info.policy, "schema": info.schema, "stream": info.stream}
    return [{"type": OPENED_TYPE, **entry}]


def _closed(info: StreamInfo, head: int, mark: JsonObject, *, clean: bool, torn: int) -> JsonObject:
    """Return the entry that ends a stream."""
    closed: JsonObject = {"clean": clean, "mark": mark, "next_seq": str(head), "unknown_bytes": str(torn)}
    return {"type": CLOSED_TYPE, "stream": info.stream, **closed}


def _runs(ledger: Ledger, info: StreamInfo, schema: Schema, head: int) -> Iterator[pa.Table]:
    """Yield tables of at most `SEGMENT_ROWS_MAX` records and `SEGMENT_CONTEXTS_MAX` contexts, from `head`, gap-free."""
    parts: list[pa.Table] = []
    contexts: set[bytes] = set()
    rows = 0
    damage: BackstoryError | None = None
    for table in _tables(ledger, info, schema, head):
        if isinstance(table, BackstoryError):
            damage = table
            break
        new = set(pc.unique(table["context"]).to_pylist())
        if parts and len(contexts | new) > SEGMENT_CONTEXTS_MAX:
            yield pa.concat_tables(parts)
            parts, contexts, rows = [], set(), 0
        contexts |= new
        rest = table
        while rows + rest.num_rows >= SEGMENT_ROWS_MAX:
            room = SEGMENT_ROWS_MAX - rows
            yield pa.concat_tables([*parts, rest.slice(0, room)])
            rest, parts, contexts, rows = rest.slice(room), [], new, 0
        if rest.num_rows:
            parts.append(rest)
            rows += rest.num_rows
    if parts:
        yield pa.concat_tables(parts)
    if damage is not None:
        raise damage  # what came before it is sealed; it and what follows stay in the spool


def _tables(ledger: Ledger, info: StreamInfo, schema: Schema, head: int) -> Iterator[pa.Table | BackstoryError]:
    """Yield the batches of a stream from `head` on; at last, where it is damaged, the error that says so."""
    at = head
    try:
        for frame in ledger.spool.frames(info, head):
            if frame.first_seq > at:
                raise FormatError(f"sealing: expected seq {at}, got {frame.first_seq} (stream {info.stream})")
            table = ledger.spool.table(info, schema, frame).slice(at - frame.first_seq)
            at += table.num_rows
            yield table
    except BackstoryError as error:
        yield error


def _remove_orphans(ledger: Ledger, stream: str, holder: str) -> int:
    """Remove segments, shards and keys of a stream that a crash left uncommitted; return the stream's head.

    Under the log's lock, so that no commit makes one of them count meanwhile. A sealer that lost its lease removes
    nothing; one that takes the lease over comes through here before it writes, and waits.

    Raises:
        ConflictError: Another sealer took the stream over.
    """
    with ledger.exclusive():
        if ledger.lock.lease_holder(stream) != holder:
            raise ConflictError(f"sealing: another sealer took over stream {stream}")
        head = ledger.lock.heads().get(stream, 0)
        layout = ledger.layout
        for folder in (layout.segments, layout.vault, layout.keys, *(layout.keys / domain for domain in DOMAINS)):
            for path in folder.glob(f"{stream}-*"):
                if int(path.name.split("-")[1]) >= head:
                    ledger.world.disk.remove(path)
        remove_half_written(ledger)
    return head
