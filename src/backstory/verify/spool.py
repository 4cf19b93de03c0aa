"""Checking the spool: records that no proof covers yet.

Nobody can tell whether the end of a spool was cut off: what is checked is that what is there is whole and in order.
"""

from __future__ import annotations

import pyarrow.compute as pc

from backstory.errors import BackstoryError
from backstory.records.schema import parse_schema
from backstory.storage.blobs import BlobStore
from backstory.storage.disk import Disk
from backstory.storage.keys import KeyStore
from backstory.storage.spool import Spool
from backstory.verify.audit import Audit


def check_spool(audit: Audit) -> None:
    """Say what is recorded and not yet sealed, and what cannot be read of it."""
    layout = audit.layout
    spool = Spool(layout.spool, KeyStore(layout.keys, Disk()), Disk())
    known = set(spool.stream_names())
    waiting = sum(_check_stream(audit, spool, stream) for stream in sorted(known))
    if waiting:
        audit.add("note", "spool", f"{waiting} records are recorded and not yet sealed: no proof covers them yet")
    for path in sorted(layout.spool.glob("*")):
        if path.name not in known and any(path.glob("frames-*")):
            audit.add("failed", f"spool/{path.name}", "holds records and no stream.json, without which none is read")


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
            audit.add_all("failed", f"spool/{stream}", findings)
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
        torn = spool.torn_size(info)
    except BackstoryError as error:
        findings.append(str(error))
        return at - head
    if not spool.is_open(stream):
        if torn:
            audit.add("note", place, f"unknown after seq {at - 1}: {torn} bytes of a write that a crash cut short")
        if not any((audit.layout.spool / stream).glob("frames-*")):
            audit.add("unknown", place, f"has no frames file: whether there were records after seq {at - 1} is unknown")
    if info.job is not None and at > head:
        what = f"{at - head} records of a part of a job are not in the log: they will be all, or removed"
        audit.add("note", place, what)
        return 0
    return at - head
