"""Checking what an operator keeps of its promises against its own log and spool: was anything promised and dropped?

Whoever holds a promise needs none of this (`verify.promise`). Here the operator, or who audits it, finds out first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest

from backstory.errors import BackstoryError, FormatError, VerificationError
from backstory.records import canonical
from backstory.records.identity import time_text
from backstory.records.promise import (
    KEY_TYPE,
    KeptPromise,
    PromisedRun,
    frame_digest,
    parse_kept,
    parse_promise_text,
)
from backstory.storage.disk import Disk
from backstory.storage.keys import open_keys
from backstory.storage.layout import Layout
from backstory.storage.lock import LockStore
from backstory.storage.promises import FOLDER, PromiseStore, stream_of
from backstory.storage.spool import Spool
from backstory.storage.spool_frames import Frame, encode_frame
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.key import VerifierKey
from backstory.tlog.note import verify_note
from backstory.verify.audit import Audit
from backstory.verify.entries import Entries
from backstory.verify.finding import Finding, Severity

_DAMAGED = "the operator's copy of a promise was changed; those that were handed out are not touched by it"
_MEANS_NO_KEY = "promises under the key it stands for cannot be shown to be the operator's"
_LOST = "whoever holds a promise about one of them can prove, once its delay is over, that the record was dropped"
_OTHER = "what will be sealed is not what was recorded; the promises, with the frames as they were, show it"
_LATE = "whoever holds a promise about one of them can show that it was not kept in time: sealing is behind"
_Due = tuple[int, PromisedRun, bytes]
"""When records are to be in the log, in nanoseconds, they, and the salt of their frame."""


def promise_keys(audit: Audit, entries: Entries) -> list[str]:
    """Return the promise keys that a log names; of what is none it is said so."""
    keys: list[str] = []
    for index, entry in entries.documents(KEY_TYPE):
        try:
            keys.append(VerifierKey.parse(canonical.text_of(entry, "vkey")).vkey)
        except FormatError as error:
            what = f"names no key of promises: {error}"
            audit.add("failed", f"entry {index}", what, index=index, meaning=_MEANS_NO_KEY)
    return keys


def check_promises(layout: Layout, keys: Iterable[str], sealed: Mapping[str, int], now_ns: int) -> Iterator[Finding]:
    """Check what is kept of promises: that each was signed, and that what was promised is in the log or waits.

    Args:
        layout: The archive.
        keys: `vkey` of every `promise.key` entry of its log.
        sealed: By stream, one more than the last sequence number of its manifests.
        now_ns: The time now, nanoseconds since the epoch.

    Yields:
        `failed` where a promise is damaged or of another key, or promised records are in neither log nor spool, or
        others than was promised; `unknown` where something cannot be read; `note` where records wait for too long.
    """
    store = PromiseStore(layout.root, Disk())
    known = [VerifierKey.parse(key) for key in dict.fromkeys(keys)]
    for name in store.names():
        place, due = f"{FOLDER}/{name}", list[_Due]()
        try:
            for number, line in enumerate(store.lines(name), 1):
                try:
                    due += _due(line, stream_of(name), known, sealed)
                except (FormatError, VerificationError) as error:
                    what = f"line {number} is no promise of this log: {error}"
                    yield Finding(severity="failed", place=place, what=what, stream=stream_of(name), meaning=_DAMAGED)
            if due:
                yield from _check_waiting(layout, stream_of(name), place, due, sealed, now_ns)
        except BackstoryError as error:
            yield Finding(severity="unknown", place=place, what=f"whether promises were kept is unknown: {error}")


def _due(line: bytes, stream: str, keys: list[VerifierKey], sealed: Mapping[str, int]) -> list[_Due]:
    """Return what a line promises that is not sealed yet.

    Raises:
        FormatError: It is malformed, or of another stream.
        VerificationError: It is not signed by one of the keys, or its leaves are not what was signed.
    """
    kept: KeptPromise = parse_kept(line)
    text = parse_promise_text(verify_note(kept.note, keys))
    if root_hash([hash_leaf(run.encode()) for run in kept.runs]) != text.root or len(kept.runs) != text.leaves:
        raise VerificationError("its leaves are not what was signed")
    if {run.stream for run in kept.runs} != {stream}:
        raise FormatError("it is of another stream")
    due_ns, head = text.time_ns + text.delay * 10**9, sealed.get(stream, 0)
    pairs = zip(kept.runs, kept.salts, strict=True)
    return [(due_ns, run, salt) for run, salt in pairs if run.end_seq > head]


def _check_waiting(
    layout: Layout, stream: str, place: str, due: list[_Due], sealed: Mapping[str, int], now_ns: int
) -> Iterator[Finding]:
    """Compare what was promised of a stream with what waits in its spool."""
    spool = Spool(layout.spool, open_keys(layout, Disk()), Disk())
    due.sort(key=lambda each: each[1].first_seq)
    found: list[bool | None] = [None] * len(due)
    try:
        if stream in spool.stream_names():
            found = list(_compare(due, spool.frames(spool.info(stream), 0)))
    except BackstoryError:
        if stream in spool.stream_names():  # not one that was sealed and removed just now
            raise
    if not layout.is_lock_away:
        sealed = LockStore(layout.lock, writable=False).heads()  # asked last: others may have sealed them
    head = sealed.get(stream, 0)
    late = [run for (due_ns, run, _), same in zip(due, found, strict=True) if same and due_ns < now_ns]
    lost = [run for (_, run, _), same in zip(due, found, strict=True) if same is None and run.end_seq > head]
    other = [run for (_, run, _), same in zip(due, found, strict=True) if same is False and run.end_seq > head]
    late_what = f"waiting in the spool longer than was promised, at {time_text(now_ns)}"
    yield from _findings(lost, "failed", place, "promised, and neither in the log nor in the spool", _LOST)
    yield from _findings(other, "failed", place, "in frames of the spool that are not those that were promised", _OTHER)
    yield from _findings(late, "note", place, late_what, _LATE)


def _findings(runs: list[PromisedRun], severity: Severity, place: str, what: str, meaning: str) -> Iterator[Finding]:
    """Yield a finding for each range of records without a gap."""
    first = None
    for run, following in zip_longest(runs, runs[1:]):
        first = run.first_seq if first is None else first
        if following is None or following.first_seq != run.end_seq:
            yield Finding(
                severity=severity,
                place=place,
                what=f"records of seq {first} to {run.end_seq - 1} are {what}",
                stream=run.stream,
                seq=first,
                end_seq=run.end_seq,
                meaning=meaning,
            )
            first = None


def _compare(due: list[_Due], frames: Iterator[Frame]) -> Iterator[bool | None]:
    """Say for each promise whether the frame is the promised one; None where there is no frame."""
    frame = next(frames, None)
    for _, run, salt in due:
        while frame is not None and frame.first_seq + frame.count <= run.first_seq:
            frame = next(frames, None)
        if frame is None or frame.first_seq > run.first_seq:
            yield None
        else:
            data = encode_frame(frame.kind, frame.first_seq, frame.count, frame.payload)
            yield frame_digest(salt, data) == run.frame
