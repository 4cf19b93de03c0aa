"""Promises: what an operator says of records before they are in the log. Bytes: docs/format.md section 15.

Pure: who signs, hashes trees or keeps files is elsewhere. Reading one of these forms proves nothing.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import ID_SIZE, check_digest, check_hex_id, id_text_of, parse_time, time_text

KEY_TYPE = "promise.key"
"""Type of the entry with which the log vouches for a promise key."""
PROMISE_SIZE_MAX = 1 << 16
DELAY_SECONDS_MAX = 31_622_400
"""A leap year."""
LEAVES_MAX = 1 << 20
SALT_SIZE = 32
LEAF_SIZE = 76
_MAGIC = "backstory/promises/v1"
_DOMAIN = b"backstory/promised-frame/v1\x00"
_LEAF = struct.Struct("<32s16sQI16s")
_DECIMAL = re.compile(r"[1-9][0-9]{0,9}")
_MEMBERS = frozenset(
    {"count", "first_id", "first_seq", "frame", "id", "index", "kind", "note", "path", "salt", "seq", "stream", "v"}
)
_PATH_MAX = 20
"""Hashes that lead from a leaf to the root of the largest tree."""


def key_name(origin: str) -> str:
    """Return the name of the promise key of a log."""
    return f"{origin}/promises"


def frame_digest(salt: bytes, frame: bytes) -> bytes:
    """Return the salted digest of a frame; it hides the frame as long as the salt is secret.

    >>> frame_digest(bytes(32), b"frame").hex()[:16]
    'e52e3b66b7f66c76'
    """
    return sha256(_DOMAIN + salt + frame).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisedRun:
    """Records of one frame whose ids follow each other: a leaf of a promise.

    Attributes:
        frame: Salted digest of the frame, 32 bytes.
        stream: The stream, in hex.
        first_seq: Sequence number of the first record.
        count: How many records.
        first_id: Id of the first record, as a number.
    """

    frame: bytes
    stream: str
    first_seq: int
    count: int
    first_id: int

    def encode(self) -> bytes:
        """Return the leaf's bytes."""
        first_id = self.first_id.to_bytes(ID_SIZE, "big")
        return _LEAF.pack(self.frame, bytes.fromhex(self.stream), self.first_seq, self.count, first_id)

    @property
    def end_seq(self) -> int:
        """One more than the last sequence number."""
        return self.first_seq + self.count

    def id_at(self, seq: int) -> int:
        """Return the id of one of the records, as a number."""
        return self.first_id + seq - self.first_seq


def parse_run(data: bytes) -> PromisedRun:
    """Read a leaf.

    Raises:
        FormatError: It is none, or of no record.
    """
    if len(data) != LEAF_SIZE:
        raise FormatError(f"promise: expected leaves of {LEAF_SIZE} bytes, got {len(data)}")
    frame, stream, first_seq, count, first_id = _LEAF.unpack(data)
    run = PromisedRun(
        frame=frame, stream=stream.hex(), first_seq=first_seq, count=count, first_id=int.from_bytes(first_id, "big")
    )
    if not count or run.end_seq > 1 << 64 or run.first_id + count > 1 << 128:
        raise FormatError(f"promise: expected records with numbers and ids, got {count} from seq {first_seq}")
    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseText:
    """What the operator signs.

    Attributes:
        origin: The log the records will be in.
        time_ns: When they were durable, nanoseconds since the epoch.
        delay: By how many seconds later they will be in the log.
        leaves: How many leaves the tree has.
        root: Its root.
    """

    origin: str
    time_ns: int
    delay: int
    leaves: int
    root: bytes

    def encode(self) -> str:
        """Return the text to sign.

        Raises:
            FormatError: One of the values has no form in it.
        """
        lines = (_MAGIC, self.origin, time_text(self.time_ns), self.delay, self.leaves, self.root.hex(), "")
        text = "\n".join(map(str, lines))
        parse_promise_text(text)  # what a checker would refuse must not be signed
        return text


def parse_promise_text(text: str) -> PromiseText:
    """Read the text of a signed note that is a promise.

    Raises:
        FormatError: It is none, or a line is not as it must be.
    """
    match text.split("\n"):
        case [magic, origin, time, delay, leaves, root, ""] if magic == _MAGIC and origin:
            return PromiseText(
                origin=origin,
                time_ns=_time(time),
                delay=_decimal(delay, "delay", DELAY_SECONDS_MAX),
                leaves=_decimal(leaves, "number of leaves", LEAVES_MAX),
                root=bytes.fromhex(check_digest(root, "promise's root")),
            )
        case _:
            raise FormatError(f"promise: expected six lines, the first of them {_MAGIC}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseDocument:
    """What a promise file holds, nothing verified.

    Attributes:
        run: The leaf that the record is one of.
        seq: The record's sequence number.
        index: Index of the leaf.
        path: Its inclusion proof, leaf side first.
        salt: Salt of the frame's digest.
        note: The signed note.
    """

    run: PromisedRun
    seq: int
    index: int
    path: tuple[bytes, ...]
    salt: bytes
    note: bytes

    @property
    def id(self) -> str:
        """Id of the record."""
        return id_text_of(self.run.id_at(self.seq))

    def encode(self) -> bytes:
        """Return the file's bytes."""
        document: JsonObject = {
            "count": str(self.run.count),
            "first_id": f"{self.run.first_id:032x}",
            "first_seq": str(self.run.first_seq),
            "frame": self.run.frame.hex(),
            "id": self.id,
            "index": str(self.index),
            "kind": "promise",
            "note": self.note.decode(),
            "path": [sibling.hex() for sibling in self.path],
            "salt": self.salt.hex(),
            "seq": str(self.seq),
            "stream": self.run.stream,
            "v": 1,
        }
        return canonical.encode(document)


def parse_promise(data: bytes) -> PromiseDocument:
    """Read a promise file.

    Raises:
        FormatError: It is none, or a member is not as it must be.
    """
    what = "promise"
    if len(data) > PROMISE_SIZE_MAX:
        raise FormatError(f"{what}: expected at most {PROMISE_SIZE_MAX} bytes, got {len(data)}")
    document = canonical.parse_object(data, what)
    if document.get("kind") != what:
        raise FormatError(f"{what}: this is none; expected canonical JSON of the kind {what!r}")
    canonical.check_version(document, 1, what)
    path = document.get("path")
    if set(document) != _MEMBERS or not isinstance(path, list) or len(path) > _PATH_MAX:
        raise FormatError(f"{what}: expected its members and no others, and a path of at most {_PATH_MAX} hashes")
    text, number = canonical.text_of, canonical.count_of
    try:
        run = PromisedRun(
            frame=_hash(document, "frame"),
            stream=check_hex_id(text(document, "stream"), "promise's stream"),
            first_seq=number(document, "first_seq"),
            count=number(document, "count"),
            first_id=int(check_hex_id(text(document, "first_id"), "promise's first id"), 16),
        )
        parse_run(run.encode())
        found = PromiseDocument(
            run=run,
            seq=number(document, "seq"),
            index=number(document, "index"),
            path=tuple(bytes.fromhex(check_digest(sibling, "promise's path")) for sibling in path),
            salt=_hash(document, "salt"),
            note=text(document, "note").encode(),
        )
    except struct.error as error:
        raise FormatError(f"{what}: a number is too large") from error
    if not run.first_seq <= found.seq < run.end_seq or text(document, "id") != found.id:
        raise FormatError(f"{what}: its seq is not one of its leaf, or its id is not the one that follows from it")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPromise:
    """A line of the operator's own copies: all of one flush, nothing verified.

    Attributes:
        note: The signed note.
        runs: Every leaf.
        salts: For each leaf the salt of its frame.
    """

    note: bytes
    runs: tuple[PromisedRun, ...]
    salts: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the line with its newline."""
        leaves = b"".join(run.encode() + salt for run, salt in zip(self.runs, self.salts, strict=True))
        document: JsonObject = {"leaves": base64.b64encode(leaves).decode(), "note": self.note.decode(), "v": 1}
        return canonical.encode(document) + b"\n"


def parse_kept(line: bytes) -> KeptPromise:
    """Read a line of the operator's copies, given without its newline.

    Raises:
        FormatError: It is none.
    """
    what = "kept promise"
    document = canonical.parse_object(line, what)
    canonical.check_version(document, 1, what)
    if set(document) != {"leaves", "note", "v"}:
        raise FormatError(f"{what}: expected its members and no others")
    try:
        leaves = base64.b64decode(canonical.text_of(document, "leaves"), validate=True)
    except ValueError as error:
        raise FormatError(f"{what}: its leaves are not base64") from error
    starts = range(0, len(leaves), LEAF_SIZE + SALT_SIZE)
    if len(leaves) % (LEAF_SIZE + SALT_SIZE):
        raise FormatError(f"{what}: its leaves are cut short")
    kept = KeptPromise(
        note=canonical.text_of(document, "note").encode(),
        runs=tuple(parse_run(leaves[at : at + LEAF_SIZE]) for at in starts),
        salts=tuple(leaves[at + LEAF_SIZE : at + LEAF_SIZE + SALT_SIZE] for at in starts),
    )
    if kept.encode() != line + b"\n":  # base64 in another form
        raise FormatError(f"{what}: its leaves are not in their canonical form")
    return kept


def runs_of(stream: str, frame: bytes, first_seq: int, ids: Sequence[int]) -> list[PromisedRun]:
    """Return the leaves of a frame: its records, cut where an id does not follow the one before.

    Args:
        stream: The stream, in hex.
        frame: Salted digest of the frame.
        first_seq: Sequence number of its first record.
        ids: Id of each record as a number, at least one.
    """
    cuts = [at for at in range(1, len(ids)) if ids[at] != ids[at - 1] + 1]
    bounds = zip([0, *cuts], [*cuts, len(ids)], strict=True)
    return [
        PromisedRun(frame=frame, stream=stream, first_seq=first_seq + at, count=end - at, first_id=ids[at])
        for at, end in bounds
    ]


def _hash(document: JsonObject, key: str) -> bytes:
    return bytes.fromhex(check_digest(document.get(key), f"promise's {key}"))


def _decimal(text: str, what: str, largest: int) -> int:
    if _DECIMAL.fullmatch(text) is None or int(text) > largest:
        raise FormatError(f"promise: expected as {what} a plain decimal from 1 to {largest}")
    return int(text)


def _time(text: str) -> int:
    time_ns = parse_time(text)
    if time_text(time_ns) != text:  # digits of other scripts
        raise FormatError("promise: expected its time in plain digits")
    return time_ns
