"""Checking the spool: records that no proof covers yet.

Nobody can tell whether the end of a spool was cut off: what is checked is that what is there is whole and in order.
"""

from __future__ import annotations

import pyarrow.compute as pc

from backstory.errors import BackstoryError
from backstory.records.manifest import OPENED_TYPE
from backstory.records.schema import parse_schema
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import Disk
from backstory.storage.spool import Spool
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries

_MEANS = (
    "records of this stream that wait to be sealed are lost, or are not what was recorded: no proof covers them yet"
)


def check_spool(audit: Audit, entries: Entries) -> None:
    """Say what is recorded and not yet sealed, and what cannot be read of it.

    Args:
        audit: The verification.
        entries: The log, which says how streams began of which records are sealed.
    """
    layout = audit.layout
    spool = Spool(layout.spool, audit.keys, Disk())
    known = set(spool.stream_names())
    waiting = sum(_check_stream(audit, spool, stream) for stream in sorted(known))
    if waiting:
        what, them = ("1 record is", "it") if waiting == 1 else (f"{waiting} records are", "them")
        audit.add("note", "spool", f"{what} recorded and not yet sealed: no proof covers {them} yet")
    for path in sorted(layout.spool.glob("*")):
        if path.name not in known and any(path.glob("frames-*")):
            what = "holds records and no stream.json, without which none is read"
            seq = (audit.heads or {}).get(path.name, 0)
            audit.add("failed", f"spool/{path.name}", what, stream=path.name, seq=seq, meaning=_MEANS)
    _compare_openings(audit, spool, entries)


def _compare_openings(audit: Audit, spool: Spool, entries: Entries) -> None:
    """Check that streams say of themselves what the log says of their beginning, where it does."""
    names = set(spool.stream_names())
    for index, entry in entries.documents(OPENED_TYPE) if names else ():
        stream = str(entry.get("stream"))
        if stream not in names or not entry.get("policy"):  # an empty one is a restore's, which did not know it
            continue
        try:
            info = spool.info(stream)
        except BackstoryError:
            continue  # said already, or sealed just now
        said = {"opened": info.opened, "policy": info.policy, "schema": info.schema}
        if said != {key: entry.get(key) for key in said}:
            what = f"stream.json says other things of the stream's beginning than entry {index}"
            audit.add("failed", f"spool/{stream}", what, stream=stream, index=index, meaning=_MEANS)


def _check_stream(audit: Audit, spool: Spool, stream: str) -> int:
    """Check one stream; return how many of its records are not sealed yet.

    Where a sealer took records away meanwhile, what is left of the stream is checked again.
    """
    while True:
        began = audit.head_now(stream)
        findings: list[str] = []
        waiting = _read_stream(audit, spool, stream, began, findings)
        if not findings:
            return waiting
        if stream not in spool.stream_names():
            return 0
        if audit.head_now(stream) == began:
            for what in dict.fromkeys(findings):
                audit.add("failed", f"spool/{stream}", what, stream=stream, seq=began, meaning=_MEANS)
            return waiting


def _read_stream(audit: Audit, spool: Spool, stream: str, head: int, findings: list[str]) -> int:
    """Read one stream from its head on; return how many records it holds, and what fails in `findings`."""
    place = f"spool/{stream}"
    at = head
    try:
        info = spool.info(stream)
        audit.blobs_named.add(info.schema)
        schema = parse_schema(BlobStore(audit.layout.blobs, Disk()).get(info.schema))
        for frame in spool.frames(info, head):
            if frame.first_seq > at:
                findings.append(f"records {at} to {frame.first_seq - 1} are missing")
            table = spool.table(info, schema, frame)
            audit.blobs_named |= {digest.hex() for digest in pc.unique(table["context"]).to_pylist()}
            at = frame.first_seq + frame.count
        torn, mark = spool.torn_size(info), spool.last_mark(info)
    except BackstoryError as error:
        findings.append(str(error))
        return at - head
    if not spool.is_open(stream):
        if torn:
            what = f"unknown after seq {at - 1}: {torn} bytes of a write that a crash cut short"
            audit.add("note", place, what, stream=stream, seq=at)
        elif mark is None or not mark[1]:
            what = f"unknown after seq {at - 1}: its writer ended without saying so"
            audit.add("note", place, what, stream=stream, seq=at)
        elif mark[0].get("recorded") not in {str(at), at}:
            findings.append(f"its writer counted {mark[0].get('recorded')} records, and there are {at}")
        if not any((audit.layout.spool / stream).glob("frames-*")):
            what = f"has no frames file: whether there were records after seq {at - 1} is unknown"
            audit.add("unknown", place, what, stream=stream, seq=at, meaning=_MEANS)
    if info.job is not None and at > head:
        what = f"{at - head} records of a part of a job are not in the log: they will be all, or removed"
        audit.add("note", place, what, stream=stream, seq=head, end_seq=at)
        return 0
    return at - head
