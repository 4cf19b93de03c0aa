"""Checking receipts: needs the file and a public key, nothing else.

Made of `backstory.records` and `backstory.tlog` alone: no archive, no writer, no Arrow. The order of the checks is that
of docs/format.md section 14. `standalone/` holds the same check twice more, written apart from this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from backstory.errors import FormatError, InputError, StorageError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.commitment import field_data, verify_fields, verify_opening
from backstory.records.identity import id_text, time_text
from backstory.records.limits import RECEIPTS_SIZE_MAX
from backstory.records.manifest import MANIFEST_TYPE, Manifest, parse_manifest
from backstory.records.row import NULL_STRUCT, Value, decode_row
from backstory.records.schema import COMMITMENT_PREFIX, Schema, escape_name, parse_schema
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.key import ValidKey, require_keys
from backstory.tlog.note import parse_note
from backstory.tlog.policy import Policy, WitnessTime, parse_policy
from backstory.tlog.proof import verify_inclusion
from backstory.tlog.proof_file import begins_proof_file, parse_proof_file
from backstory.verify.receipt_file import (
    MANY_MAGIC,
    Claim,
    FieldOpenings,
    ManyReceipts,
    Opening,
    check_version,
    read_claim,
)

_NAME_SIZE_MAX = 255
"""No file system has longer names: what is longer is no name, and is not repeated in messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a receipt proves: this record was in the log of this origin at this tree size, with these values.

    It does not prove that the values were true when they were recorded, nor that others are shown the same log.

    Attributes:
        id: Id of the record.
        origin: Origin of the log.
        tree_size: Tree size of the checkpoint.
        root: Its root, in hex.
        leaf_index: Index of the manifest entry.
        stream: The record's stream, in hex.
        seq: Its sequence number.
        values: The open columns, by name.
        opened: For each opened group the values, by name.
        undisclosed: For each group of which only some fields are opened the names of the others.
        sealed: Groups that are committed to and not shown.
        erased: Those of them that whoever made the receipt says were erased, which nothing proves.
        context: The context the record refers to, one object for all receipts of a file that refer to it; None where
            whoever made the receipt left it out: its digest is among the values.
        classes: Sensitivity class of every column.
        witnesses: Witnesses of the given policy that cosigned the checkpoint, and when; None without a policy.
    """

    id: str
    origin: str
    tree_size: int
    root: str
    leaf_index: int
    stream: str
    seq: int
    values: dict[str, Value]
    opened: dict[str, dict[str, Value]]
    undisclosed: dict[str, tuple[str, ...]]
    sealed: tuple[str, ...]
    erased: tuple[str, ...]
    context: JsonObject | None
    classes: dict[str, str]
    witnesses: tuple[WitnessTime, ...] | None

    def __repr__(self) -> str:
        """Return what it proves on one line."""
        return f"<Receipt: record {self.id} in the log {self.origin} at tree size {self.tree_size}>"

    def to_dict(self) -> JsonObject:
        """Return the receipt as JSON-safe values; floats and bytes as text."""
        return {
            "context": self.context,
            "erased": list(self.erased),
            "id": self.id,
            "leaf_index": self.leaf_index,
            "opened": {g: {n: plain(v) for n, v in values.items()} for g, values in self.opened.items()},
            "origin": self.origin,
            "root": self.root,
            "sealed": list(self.sealed),
            "seq": str(self.seq),
            "stream": self.stream,
            "tree_size": self.tree_size,
            "undisclosed": {group: list(names) for group, names in self.undisclosed.items()},
            "values": {name: plain(value) for name, value in self.values.items()},
            "witnesses": None if self.witnesses is None else _by_key(self.witnesses),
        }

    def __str__(self) -> str:
        """Return the receipt for a reader."""
        return describe([self])


def describe(receipts: Sequence[Receipt]) -> str:
    """Describe the receipts of one file for a reader: each record, and once who else saw the checkpoint."""
    lines = [line for receipt in receipts for line in _describe_record(receipt)]
    lines.append(_witnessed(receipts[0].witnesses))
    # A value with a line break must not look like another value.
    return "\n".join("".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines)


def _describe_record(receipt: Receipt) -> Iterator[str]:
    yield f"prediction {receipt.id}"
    log = f"in the log of {receipt.origin} at tree size {receipt.tree_size}"
    yield f"{log}, entry {receipt.leaf_index}, root {receipt.root}"
    model = (receipt.context or {}).get("model")
    if isinstance(model, dict):
        name, version, digest = (model.get(name, "?") for name in ("name", "version", "digest"))
        yield f"model {name} version {version}, digest {digest}"
    moment = receipt.values.get("time")
    if isinstance(moment, int):
        yield f"recorded {time_text(moment)}, stream {receipt.stream}, seq {receipt.seq}"
    shown = {**receipt.values, **{n: v for values in receipt.opened.values() for n, v in values.items()}}
    yield from (f"  {n} = {plain(v)}" for n, v in shown.items() if n.partition(".")[0] not in _ENVELOPE_NAMES)
    yield from (f"  {n}: committed, not disclosed" for names in receipt.undisclosed.values() for n in names)
    if receipt.context is None:
        yield f"  context: committed, not shown; SHA-256 {plain(receipt.values['context'])}"
    for group in receipt.sealed:
        said = "committed, erased, as whoever made this says" if group in receipt.erased else "committed, not shown"
        yield f"  sealed group {group!r}: {said}"


def _witnessed(witnesses: tuple[WitnessTime, ...] | None) -> str:
    """Say who else saw a checkpoint."""
    if witnesses is None:
        return "no witness was asked for"
    names = ", ".join(f"{witness.name} at {_moment(witness.time)}" for witness in witnesses)
    return f"cosigned by {names}" if names else "cosigned by no witness; none is required"


_ENVELOPE_NAMES = frozenset({"id", "stream", "seq", "time", "kind", "context", "batch_row", "batch_rows", "commitment"})
_CALENDAR_END = 253_402_300_799
"""The last second of the year 9999."""


def plain(value: Value) -> JsonValue:
    """Return a value of a row as JSON: floats, large integers and bytes become text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, NULL_STRUCT):
        return None
    if isinstance(value, Decimal):
        return f"{value:f}"  # never with an exponent: as it was recorded
    return repr(value) if isinstance(value, float) else str(value)


def _by_key(witnesses: tuple[WitnessTime, ...]) -> list[JsonValue]:
    ordered = sorted(witnesses, key=lambda witness: witness.vkey.encode())
    return [{"time": str(witness.time), "vkey": witness.vkey} for witness in ordered]


def _moment(seconds: int) -> str:
    """Return a witness's time for a reader; one no calendar has stays a number."""
    return f"{time_text(seconds * 10**9)[:19]}Z" if 0 < seconds <= _CALENDAR_END else f"second {seconds}"


def verify_receipt(
    receipt: str | Path | bytes,
    *,
    vkey: str | Sequence[str] | None = None,
    policy: str | Path | bytes | Policy | None = None,
    max_age_seconds: int | None = None,
    now: int | None = None,
) -> Receipt:
    """Check the receipt of one record.

    Args:
        receipt: Path of the file, or its content as bytes or text.
        vkey: The log's public key, obtained from somewhere other than the receipt, as `init` printed it. Several where
            the log changed its key, each with the tree sizes it speaks for, as `backstory keys list` prints them.
        policy: A C2SP policy: path of the file, its content, or as `parse_policy` returns it. Its quorum of witnesses
            must have cosigned; where there is no `vkey`, its log keys are believed.
        max_age_seconds: How old the quorum's cosignatures may be at most; needs `now`.
        now: POSIX seconds; cosignatures that claim to be later do not count.

    Returns:
        What the receipt proves.

    Raises:
        VerificationError: Something in it does not verify or is malformed, or it is of another key's log.
        FormatError: It is not a receipt: its beginning is not that of one.
        UnsupportedVersionError: It is of a version newer than this package, so that nothing can be said.
        InputError: A key or the policy is malformed, there is neither, or the file holds several receipts.
        StorageError: The file cannot be read.
    """
    receipts = verify_receipts(receipt, vkey=vkey, policy=policy, max_age_seconds=max_age_seconds, now=now)
    if len(receipts) != 1:
        raise InputError(f"receipt: expected one, the file holds {len(receipts)}; `verify_receipts` gives them all")
    return receipts[0]


def verify_receipts(
    receipts: str | Path | bytes,
    *,
    vkey: str | Sequence[str] | None = None,
    policy: str | Path | bytes | Policy | None = None,
    max_age_seconds: int | None = None,
    now: int | None = None,
) -> tuple[Receipt, ...]:
    """Check a file of receipts, of one record or of many: all of them verify, or there is an error.

    Args:
        receipts: Path of the file, or its content as bytes or text.
        vkey: As `verify_receipt` takes it.
        policy: As `verify_receipt` takes it.
        max_age_seconds: As `verify_receipt` takes it.
        now: As `verify_receipt` takes it.

    Returns:
        What each receipt proves, in the order of the file, which is that of the log.

    Raises:
        VerificationError: As `verify_receipt` raises it; it names the first receipt that does not verify.
        FormatError: As `verify_receipt` raises it.
        UnsupportedVersionError: As `verify_receipt` raises it.
        InputError: A key or the policy is malformed, or there is neither.
        StorageError: The file cannot be read.
    """
    trust = _Trust(
        keys=None if vkey is None else require_keys(vkey),
        policy=None if policy is None else _read_policy(policy),
        max_age_seconds=max_age_seconds,
        now=now,
    )
    data = _content(receipts)
    if not data.startswith(MANY_MAGIC) and not begins_proof_file(data):
        raise FormatError("receipt: this is none, its beginning is not that of a receipt")
    try:
        return _check_many(data, trust) if data.startswith(MANY_MAGIC) else (_check_one(data, trust),)
    except FormatError as error:
        raise VerificationError(f"receipt: damaged or changed: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trust:
    """Whom the one who checks believes: keys of logs, a policy, or both."""

    keys: tuple[ValidKey, ...] | None
    policy: Policy | None
    max_age_seconds: int | None
    now: int | None

    def __post_init__(self) -> None:
        if self.keys is None and (self.policy is None or not self.policy.logs):
            raise InputError("receipt: expected the log's public key, or a policy that names it")
        if self.policy is None and self.max_age_seconds is not None:
            raise InputError("receipt: an age is limited by what witnesses say: expected a policy")

    def open(self, note: bytes) -> _Log:
        """Check a signed checkpoint: number 1 of the checks."""
        if self.policy is None:
            origin = parse_checkpoint(parse_note(note).text).origin
            return _Log(checkpoint=open_checkpoint(note, origin, self.keys or ()), witnesses=None)
        witnessed = self.policy.check(note, keys=self.keys, now=self.now, max_age_seconds=self.max_age_seconds)
        return _Log(checkpoint=witnessed.checkpoint, witnesses=witnessed.witnesses)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Log:
    """A log as its signed checkpoint describes it, who cosigned that, and the contexts read so far."""

    checkpoint: Checkpoint
    witnesses: tuple[WitnessTime, ...] | None
    contexts: dict[bytes, JsonObject] = field(default_factory=dict)

    def read_context(self, data: bytes) -> JsonObject:
        """Read a context, once however many records share it."""
        if data not in self.contexts:
            self.contexts[data] = canonical.parse_object(data, "receipt's context")
        return self.contexts[data]


def _check_one(data: bytes, trust: _Trust) -> Receipt:
    file = parse_proof_file(data)
    log = trust.open(file.note)
    return _check_claim(log, read_claim(file))


def _check_many(data: bytes, trust: _Trust) -> tuple[Receipt, ...]:
    file = ManyReceipts(data)
    log, checked = trust.open(file.note), list[Receipt]()
    try:
        for claim in file.claims():
            checked.append(_check_claim(log, claim))
    except (FormatError, VerificationError) as error:
        raise VerificationError(f"receipt {len(checked)} of the file: {error}") from error
    return tuple(checked)


def _check_claim(log: _Log, claim: Claim) -> Receipt:
    """Check what a file says of one record: numbers 2 to 7 of the checks."""
    checkpoint = log.checkpoint
    verify_inclusion(hash_leaf(claim.entry), claim.leaf_index, checkpoint.size, claim.proof, checkpoint.root)
    manifest = _read_manifest(claim.entry)
    digest = hashlib.sha256(claim.schema).hexdigest()
    if digest != manifest.schema:
        raise VerificationError("receipt: its schema is not the one its manifest names")
    schema = _read_schema(claim.schema)
    verify_inclusion(hash_leaf(claim.row), claim.index, manifest.count, claim.path, bytes.fromhex(manifest.root))
    values = _named(claim.row, schema.leaf_names)
    seq, found = manifest.first_seq + claim.index, values.get("seq")
    if type(found) is not int or found != seq or values.get("stream") != bytes.fromhex(manifest.stream):
        raise VerificationError("receipt: the record's stream and seq are not those of its place in the segment")
    if claim.context is not None and hashlib.sha256(claim.context).digest() != values.get("context"):
        raise VerificationError("receipt: its context is not the one the record names")
    opened = {group: _open(schema, values, group, opening) for group, opening in claim.openings.items()}
    hidden = {group: [name for name in schema.field_names(group) if name not in opened[group]] for group in opened}
    if not set(claim.erased) <= set(schema.groups) - set(opened):
        raise VerificationError(
            "receipt: says that groups were erased which it opens, or which the record does not have"
        )
    identity = values.get("id")
    return Receipt(
        id=id_text(identity if isinstance(identity, bytes) else b""),
        origin=checkpoint.origin,
        tree_size=checkpoint.size,
        root=checkpoint.root.hex(),
        leaf_index=claim.leaf_index,
        stream=manifest.stream,
        seq=seq,
        values={name: value for name, value in values.items() if not name.startswith(COMMITMENT_PREFIX)},
        opened=opened,
        undisclosed={group: tuple(names) for group, names in hidden.items() if names},
        erased=claim.erased,
        sealed=tuple(group for group in schema.groups if group not in opened),
        context=None if claim.context is None else log.read_context(claim.context),
        classes={column.name: column.sensitivity for column in schema.columns},
        witnesses=log.witnesses,
    )


@lru_cache(maxsize=16)
def _read_manifest(entry: bytes) -> Manifest:
    document = canonical.parse_object(entry, "receipt's entry")
    if document.get("type") == MANIFEST_TYPE:  # another entry is none of any version
        check_version(document, "receipt's entry")
    return parse_manifest(document)


@lru_cache(maxsize=16)
def _read_schema(data: bytes) -> Schema:
    check_version(canonical.parse_object(data, "receipt's schema"), "receipt's schema")
    return parse_schema(data)


def _open(schema: Schema, values: dict[str, Value], group: str, opening: Opening | FieldOpenings) -> dict[str, Value]:
    commitment, names = values.get(COMMITMENT_PREFIX + escape_name(group)), schema.field_names(group)
    if not names or not isinstance(commitment, bytes):
        raise VerificationError(f"receipt: opening of a group the record does not have ({group!r})")
    if isinstance(opening, FieldOpenings) is not (group in schema.fields):
        how = "by field" if group in schema.fields else "as a whole"
        raise VerificationError(f"receipt: expected an opening {how} of group {group!r}")
    if isinstance(opening, FieldOpenings):
        return _open_fields(commitment, group, names, opening)
    verify_opening(commitment, group, opening.salt, opening.row)
    return _named(opening.row, names)


def _open_fields(commitment: bytes, group: str, names: Sequence[str], opening: FieldOpenings) -> dict[str, Value]:
    """Open some fields: their leaves and those of the others, as many as the schema says, lead to the commitment."""
    if not opening.fields.keys() <= set(names) or len(opening.fields) + len(opening.leaves) != len(names):
        raise VerificationError(f"receipt: expected {len(names)} leaves of the columns of group {group!r}, got others")
    hidden, leaves = iter(opening.leaves), list[bytes]()
    for name in names:
        one = opening.fields.get(name)
        leaves.append(next(hidden) if one is None else hash_leaf(field_data(one.salt, one.row)))
    verify_fields(commitment, group, len(leaves), root_hash(leaves))
    return {name: _named(one.row, [name])[name] for name, one in opening.fields.items()}


def _named(row: bytes, names: Sequence[str]) -> dict[str, Value]:
    values = decode_row(row)
    if len(values) != len(names):
        raise VerificationError(f"receipt: expected {len(names)} columns by the schema, got {len(values)}")
    return dict(zip(names, values, strict=True))


def _read_policy(policy: str | Path | bytes | Policy) -> Policy:
    if isinstance(policy, Policy):
        return policy
    if not isinstance(policy, str | Path | bytes):
        raise InputError(f"policy: expected a path or the content of the file, got {type(policy).__name__}")
    is_path = isinstance(policy, Path) or (isinstance(policy, str) and "\n" not in policy)
    try:
        return parse_policy(_read(Path(policy), "policy") if is_path else policy)  # type: ignore[arg-type]
    except FormatError as error:
        raise InputError(f"policy: {error}") from error


def _content(receipts: str | Path | bytes) -> bytes:
    if isinstance(receipts, bytes | bytearray | memoryview):
        return bytes(receipts)
    if not isinstance(receipts, str | Path):
        raise InputError(f"receipt: expected a path or the content of the file, got {type(receipts).__name__}")
    text = str(receipts)
    is_text = "\n" in text or text.startswith(MANY_MAGIC.decode())
    return text.encode(errors="replace") if is_text else _read(Path(receipts), "receipt")


def _read(path: Path, what: str) -> bytes:
    """Read a file; of one that is too large only so much that it is seen to be."""
    name = path.name or str(path)
    name = name if len(name) <= _NAME_SIZE_MAX else f"with a name of {len(name)} characters"
    try:
        with path.open("rb") as file:
            return file.read(RECEIPTS_SIZE_MAX + 1)
    except OSError as error:
        raise StorageError(f"reading {what} {name}: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"reading {what}: its name cannot be one of a file") from error
