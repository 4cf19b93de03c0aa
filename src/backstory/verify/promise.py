"""Checking a promise: whether the record that was promised is in the log, and if not, whether that is proven.

Needs the promise, public keys, and a log or a receipt to compare with; nothing of what made them. What is asked of a
promise file is said in docs/format.md section 15.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from backstory.errors import FormatError, InputError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import parse_time, time_text
from backstory.records.manifest import MANIFEST_TYPE, Manifest, parse_manifest
from backstory.records.promise import (
    KEY_TYPE,
    PROMISE_SIZE_MAX,
    PromiseDocument,
    PromiseText,
    frame_digest,
    key_name,
    parse_promise,
    parse_promise_text,
)
from backstory.storage.anchors import published_checkpoint
from backstory.storage.disk import read_file, storage_errors
from backstory.storage.layout import CONFIG_NAME, read_layout
from backstory.storage.log_file import read_log_file
from backstory.storage.world import World
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.key import ValidKey, VerifierKey, require_key, require_keys
from backstory.tlog.note import parse_note, verify_note
from backstory.tlog.policy import Policy, parse_policy
from backstory.tlog.proof import verify_inclusion
from backstory.tlog.tile import TILE_WIDTH, decode_bundle, tile_at
from backstory.verify.receipt import Receipt, verify_receipt

Verdict = Literal["kept", "pending", "broken"]
_KIND = b'"kind":"promise"'
_KEY = KEY_TYPE.encode()
_SECOND = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a promise shows, and what became of it.

    Attributes:
        verdict: `kept`: the record is in the log. `broken`: it is shown that it is not there, and the delay is over, or
            that another is in its place. `pending`: neither, so far.
        why: What the verdict rests on, in a sentence.
        origin: The log.
        id: Id of the promised record.
        stream: Its stream, in hex.
        seq: Its sequence number.
        time: When it was durable, by the operator's clock; RFC 3339.
        deadline: When it would be in the log at the latest.
        key: The promise key that signed.
        vouched: Whether the log that was given names this key.
        entry: Index of the manifest that covers it; None where none was found.
        tree_size: Size of the log that was given, or of the receipt's; None without.
        late: Whether the manifest's entry says a time after the deadline.
    """

    verdict: Verdict
    why: str
    origin: str
    id: str
    stream: str
    seq: int
    time: str
    deadline: str
    key: str
    vouched: bool
    entry: int | None = None
    tree_size: int | None = None
    late: bool = False

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values."""
        return {
            "deadline": self.deadline,
            "entry": self.entry,
            "id": self.id,
            "key": self.key,
            "late": self.late,
            "origin": self.origin,
            "seq": str(self.seq),
            "stream": self.stream,
            "time": self.time,
            "tree_size": self.tree_size,
            "verdict": self.verdict,
            "vouched": self.vouched,
            "why": self.why,
        }

    def __repr__(self) -> str:
        """Return the verdict on one line."""
        return f"<Promise: record {self.id}, {self.verdict}>"

    def __str__(self) -> str:
        """Return the promise and the verdict for a reader."""
        vouched = "which the log names" if self.vouched else "which was given; no log that names it was"
        return (
            f"{self.verdict}: {self.why}\n"
            f"the operator of {self.origin} said at {self.time} that record {self.id} was durable, seq {self.seq} of "
            f"stream {self.stream}, and would be in the log by {self.deadline}\n"
            f"signed by the promise key {self.key}, {vouched}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What a log says about the promised place.

    Attributes:
        checkpoint: The head under which all of it was recomputed.
        keys: The promise keys it names.
        manifest: What covers the place; None where nothing does.
        entry: Index of the manifest's entry; None without.
        entry_ns: What time that entry says; 0 without.
        newest_ns: A time at which this was the log, as its last entry or its witnesses say.
    """

    checkpoint: Checkpoint
    keys: tuple[VerifierKey, ...]
    manifest: Manifest | None
    entry: int | None
    entry_ns: int
    newest_ns: int


def verify_promise(
    promise: str | Path | bytes,
    *,
    vkey: str | Sequence[str] | None = None,
    promise_vkey: str | None = None,
    log: str | Path | None = None,
    receipt: str | Path | bytes | None = None,
    policy: str | Path | bytes | Policy | None = None,
    frame: bytes | None = None,
    as_of: int | None = None,
    now: int | None = None,
) -> Promise:
    """Check a promise, and whether it was kept.

    Args:
        promise: Path of the file, or its content as bytes.
        vkey: Public key of the log, or keys with validity, obtained from somewhere other than the operator's disk.
        promise_vkey: Public key of promises; without it, the keys that the log names.
        log: The log to look into: an archive, or a directory with `checkpoint` and `tile/`.
        receipt: A receipt of the record instead: path or content.
        policy: A C2SP tlog-policy, as `verify_receipt` takes it: the checkpoint, the log's or the receipt's, must meet
            it, and the log is at least as new as its witnesses say.
        frame: Bytes of the frame, as they stand in the spool, to insist that they are what was promised.
        as_of: When you got the log from its operator, POSIX seconds. Without it and witnesses the time of the log's
            last entry counts, and an operator who adds nothing more stays before the deadline.
        now: The time now, POSIX seconds; without it the system's.

    Returns:
        The promise with its verdict. A broken promise, with the log's signed checkpoint, is evidence for others.

    Raises:
        VerificationError: The promise, the receipt or the log does not verify, is malformed or of another log.
        FormatError: It is no promise.
        InputError: A key or policy is malformed, one is missing, or the receipt is of another record.
        StorageError: A file cannot be read.
    """
    now_ns = World().now_ns() if now is None else now * _SECOND
    keys = None if vkey is None else require_keys(vkey)
    pinned = None if promise_vkey is None else require_key(promise_vkey)
    if keys is None and (log is not None or receipt is not None):
        raise InputError("promise: expected the log's public key with a log or a receipt")
    if pinned is None and log is None:
        raise InputError("promise: expected the public key of promises, or a log that names it")
    if as_of is not None and as_of * _SECOND > now_ns:
        raise InputError("promise: expected the log to be of a time that has passed")
    document, text = _read(promise)
    seen, rules = None, None if policy is None else _policy(policy)
    if log is not None and keys is not None:
        seen = _look(Path(log), keys, document, rules, now_ns)
    key = _signed_by(document, text, pinned, seen)
    if frame is not None and frame_digest(document.salt, frame) != document.run.frame:
        raise VerificationError("promise: the frame is not the one that was promised")
    deadline_ns = text.time_ns + text.delay * _SECOND
    found = Promise(
        verdict="pending", why="no log and no receipt was given to compare with", origin=text.origin, id=document.id,
        stream=document.run.stream, seq=document.seq, time=time_text(text.time_ns), deadline=time_text(deadline_ns),
        key=key.vkey, vouched=seen is not None and key in seen.keys,
    )  # fmt: skip
    if receipt is not None and vkey is not None:
        proven = verify_receipt(receipt, vkey=vkey, policy=rules, now=now_ns // _SECOND)
        return _compare_receipt(found, proven)
    if seen is None:
        return found
    newest_ns = max(seen.newest_ns, 0 if as_of is None else as_of * _SECOND)
    verdict, why = _judge(document, seen, deadline_ns, newest_ns, now_ns)
    late = seen.entry_ns > deadline_ns
    return replace(found, verdict=verdict, why=why, entry=seen.entry, tree_size=seen.checkpoint.size, late=late)


def _judge(
    document: PromiseDocument, seen: _Seen, deadline_ns: int, newest_ns: int, now_ns: int
) -> tuple[Verdict, str]:
    manifest, place = seen.manifest, f"seq {document.seq} of the stream"
    if manifest is not None:
        if not _may_hold(manifest, document):
            return "broken", f"entry {seen.entry} covers {place}, and the record there is another"
        late = ", after the deadline" if seen.entry_ns > deadline_ns else ""
        return "kept", f"entry {seen.entry} covers {place}{late}; only its receipt shows that the record is this one"
    if newest_ns > deadline_ns:
        shown = f"the log at size {seen.checkpoint.size}, shown to be of {time_text(newest_ns)} or later"
        return "broken", f"{shown}, has no entry that covers {place}"
    if now_ns <= deadline_ns:
        return "pending", f"no entry covers {place}, and the delay is not over"
    return "pending", f"no entry covers {place}; the delay is over, and that this log is newer than that is not shown"


def _may_hold(manifest: Manifest, document: PromiseDocument) -> bool:
    """Say whether the promised id can be at its place: ids of a stream rise, and a manifest names its ends."""
    identity, first, last = document.run.id_at(document.seq), int(manifest.first_id, 16), int(manifest.last_id, 16)
    before, behind = document.seq - manifest.first_seq, manifest.end_seq - 1 - document.seq
    if (before == 0 and identity != first) or (behind == 0 and identity != last):
        return False
    return first + before <= identity <= last - behind


def _compare_receipt(found: Promise, proven: Receipt) -> Promise:
    """Say what a receipt shows about a promise.

    Raises:
        InputError: It is of another place.
    """
    if (proven.stream, proven.seq) != (found.stream, found.seq):
        raise InputError("promise: expected a receipt of the promised place, got one of another stream or seq")
    verdict: Verdict = "kept" if proven.id == found.id else "broken"
    what = "this very record" if verdict == "kept" else f"another record, {proven.id}"
    why = f"the receipt shows {what} at seq {found.seq} of the stream, under entry {proven.leaf_index}"
    return replace(found, verdict=verdict, why=why, entry=proven.leaf_index, tree_size=proven.tree_size)


def _read(promise: str | Path | bytes) -> tuple[PromiseDocument, PromiseText]:
    """Return a promise as it claims to be; only the inclusion of its leaf is checked.

    Raises:
        FormatError: It is none.
        VerificationError: It is malformed.
        StorageError: It cannot be read.
    """
    data = promise
    if not isinstance(data, bytes | str | Path):
        raise InputError(f"promise: expected a path or the content of the file, got {type(data).__name__}")
    if not isinstance(data, bytes):
        with storage_errors("reading promise", Path(data)):
            size = Path(data).stat().st_size
        if size > PROMISE_SIZE_MAX:
            raise FormatError(f"promise: expected at most {PROMISE_SIZE_MAX} bytes, got {size}")
        data = read_file(Path(data))
    if _KIND not in data:
        raise FormatError("promise: this is none; expected canonical JSON of the kind 'promise'")
    try:
        document = parse_promise(data)
        text = parse_promise_text(parse_note(document.note).text)
    except FormatError as error:
        raise VerificationError(f"promise: damaged or changed: {error}") from error
    verify_inclusion(hash_leaf(document.run.encode()), document.index, text.leaves, document.path, text.root)
    return document, text


def _signed_by(
    document: PromiseDocument, text: PromiseText, pinned: VerifierKey | None, seen: _Seen | None
) -> VerifierKey:
    """Return the key that signed a promise: the one that was given, or one that the log names.

    Raises:
        VerificationError: None of them did, or the promise is of another log.
    """
    known = (pinned,) if pinned is not None else seen.keys if seen is not None else ()
    of_log = [key for key in known if key.name == key_name(text.origin)]
    if not of_log:
        what = "the log names no key of it" if pinned is None else f"the key that was given is called {pinned.name}"
        raise VerificationError(f"promise: it is of {text.origin}, and {what}")
    verify_note(document.note, of_log)
    key = next(key for key in of_log if _holds(document.note, key))
    if seen is not None and key not in seen.keys and seen.checkpoint.origin != text.origin:
        raise VerificationError(f"promise: it is of {text.origin}, and the log is {seen.checkpoint.origin}")
    return key


def _holds(note: bytes, key: VerifierKey) -> bool:
    return any((line.name, line.key_id) == (key.name, key.key_id) for line in parse_note(note).signatures)


def _policy(policy: str | Path | bytes | Policy) -> Policy:
    if isinstance(policy, Policy):
        return policy
    is_path = isinstance(policy, Path) or (isinstance(policy, str) and "\n" not in policy)
    try:
        return parse_policy(read_file(Path(str(policy))) if is_path else policy)  # type: ignore[arg-type]
    except FormatError as error:
        raise InputError(f"policy: {error}") from error


def _look(root: Path, keys: Sequence[ValidKey], document: PromiseDocument, policy: Policy | None, now_ns: int) -> _Seen:
    """Read a log whole, under its checkpoint, for what it says of a promised place.

    Raises:
        VerificationError: It does not verify.
        StorageError: It cannot be read.
    """
    try:
        if (root / CONFIG_NAME).is_file():
            layout = read_layout(root)
            folder, note = layout.log, published_checkpoint(layout)
        else:
            folder, note = root, read_file(root / "checkpoint")
        checkpoint, newest_ns = open_checkpoint(note, keys[0].key.name, keys), 0
        if policy is not None:
            newest_ns = (policy.check(note, keys=keys, now=now_ns // _SECOND).fresh_time or 0) * _SECOND
        return _search(folder, checkpoint, document, newest_ns)
    except FormatError as error:
        raise VerificationError(f"log: damaged or changed: {error}") from error


def _search(folder: Path, checkpoint: Checkpoint, document: PromiseDocument, newest_ns: int) -> _Seen:
    stream = document.run.stream.encode()
    leaves: list[bytes] = []
    keys: list[VerifierKey] = []
    manifest, entry, entry_ns, last = None, None, 0, b""
    for index, last in enumerate(_entries(folder, checkpoint.size)):
        leaves.append(hash_leaf(last))
        if stream in last or _KEY in last:  # only these are parsed
            says = canonical.parse_object(last, f"entry {index}")
            if says.get("type") == KEY_TYPE:
                keys.append(VerifierKey.parse(canonical.text_of(says, "vkey")))
            elif says.get("type") == MANIFEST_TYPE and says.get("stream") == document.run.stream:
                found = parse_manifest(says)
                # The first counts: one that claims the place once more must not mend what it breaks.
                if manifest is None and found.first_seq <= document.seq < found.end_seq:
                    manifest, entry, entry_ns = found, index, parse_time(canonical.text_of(says, "time"))
    if root_hash(leaves) != checkpoint.root:
        raise VerificationError(f"log: its entries do not lead to the root of its checkpoint of size {checkpoint.size}")
    if last:
        says = canonical.parse_object(last, "last entry")
        newest_ns = max(newest_ns, parse_time(canonical.text_of(says, "time")))
    return _Seen(
        checkpoint=checkpoint, keys=tuple(keys), manifest=manifest, entry=entry, entry_ns=entry_ns, newest_ns=newest_ns
    )


def _entries(folder: Path, size: int) -> Iterator[bytes]:
    for number in range(-(-size // TILE_WIDTH)):
        bundle = tile_at(size, None, number)
        yield from decode_bundle(read_log_file(folder, bundle), bundle.width)
