"""Checking one receipt: needs the file and a public key, nothing else.

Made of `backstory.records` and `backstory.tlog` alone: no archive, no writer, no Arrow. The order of the checks is that
of docs/format.md section 14.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from backstory.errors import FormatError, InputError, StorageError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.commitment import verify_opening
from backstory.records.identity import id_text, time_text
from backstory.records.manifest import Manifest, parse_manifest
from backstory.records.row import NULL_STRUCT, Value, decode_row
from backstory.records.schema import COMMITMENT_PREFIX, Schema, escape_name, parse_schema
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint
from backstory.tlog.hashing import hash_leaf
from backstory.tlog.note import VerifierKey, require_key
from backstory.tlog.proof import verify_inclusion
from backstory.tlog.proof_file import ProofFile, begins_proof_file, parse_proof_file

RECEIPT_SIZE_MAX = 32 << 20
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
        sealed: Groups that are committed to and not shown.
        context: The context the record refers to.
        classes: Sensitivity class of every column.
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
    sealed: tuple[str, ...]
    context: JsonObject
    classes: dict[str, str]

    def __repr__(self) -> str:
        """Return what it proves on one line."""
        return f"<Receipt: record {self.id} in the log {self.origin} at tree size {self.tree_size}>"

    def to_dict(self) -> JsonObject:
        """Return the receipt as JSON-safe values; floats and bytes as text."""
        return {
            "context": self.context,
            "id": self.id,
            "leaf_index": self.leaf_index,
            "opened": {g: {n: plain(v) for n, v in values.items()} for g, values in self.opened.items()},
            "origin": self.origin,
            "root": self.root,
            "sealed": list(self.sealed),
            "seq": str(self.seq),
            "stream": self.stream,
            "tree_size": self.tree_size,
            "values": {name: plain(value) for name, value in self.values.items()},
        }

    def __str__(self) -> str:
        """Return the receipt for a reader."""
        model = self.context.get("model")
        lines = [
            f"prediction {self.id}",
            f"in the log of {self.origin} at tree size {self.tree_size}, entry {self.leaf_index}, root {self.root}",
        ]
        if isinstance(model, dict):
            lines.append(f"model {model.get('name')} version {model.get('version')}, digest {model.get('digest')}")
        moment = self.values.get("time")
        if isinstance(moment, int):
            lines.append(f"recorded {time_text(moment)}, stream {self.stream}, seq {self.seq}")
        shown = {**self.values, **{n: v for values in self.opened.values() for n, v in values.items()}}
        lines += [f"  {n} = {plain(v)}" for n, v in shown.items() if n.partition(".")[0] not in _ENVELOPE_NAMES]
        lines += [f"  sealed group {group!r}: committed, not shown" for group in self.sealed]
        return "\n".join(lines)


_ENVELOPE_NAMES = frozenset({"id", "stream", "seq", "time", "kind", "context", "batch_row", "batch_rows", "commitment"})


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
    return repr(value) if isinstance(value, float) else str(value)


def verify_receipt(receipt: str | Path | bytes, *, vkey: str) -> Receipt:
    """Check a receipt against a public key.

    Args:
        receipt: Path of the file, or its content as bytes or text.
        vkey: The public key, obtained from somewhere other than the receipt, as `init` printed it.

    Returns:
        What the receipt proves.

    Raises:
        VerificationError: Something in it does not verify or is malformed, or it is of another key's log.
        FormatError: It is not a receipt: its first line is not that of one.
        InputError: The key is malformed.
        StorageError: The file cannot be read.
    """
    key = require_key(vkey)
    data = _content(receipt)
    if not begins_proof_file(data):
        raise FormatError("receipt: this is none, its first line is not that of a receipt")
    try:
        return _check_file(data, key)
    except FormatError as error:
        raise VerificationError(f"receipt: damaged or changed: {error}") from error


def _check_file(data: bytes, key: VerifierKey) -> Receipt:
    file = parse_proof_file(data)
    checkpoint = open_checkpoint(file.note, key.name, [key])
    extra = canonical.parse_object(file.extra or b"", "receipt")
    canonical.check_version(extra, 1, "receipt")
    entry = _bytes(extra, "entry")
    verify_inclusion(hash_leaf(entry), file.index, checkpoint.size, file.proof, checkpoint.root)
    manifest = parse_manifest(canonical.parse_object(entry, "receipt's entry"))
    return _check_record(file, checkpoint, manifest, extra)


def _check_record(file: ProofFile, checkpoint: Checkpoint, manifest: Manifest, extra: JsonObject) -> Receipt:
    schema_bytes, row = _bytes(extra, "schema"), _bytes(extra, "row")
    if hashlib.sha256(schema_bytes).hexdigest() != manifest.schema:
        raise VerificationError("receipt: its schema is not the one its manifest names")
    schema = parse_schema(schema_bytes)
    index = canonical.count_of(extra, "index")
    path = [_hash(value) for value in _list(extra, "path")]
    verify_inclusion(hash_leaf(row), index, manifest.count, path, bytes.fromhex(manifest.root))
    values = decode_row(row)
    if len(values) != len(schema.leaf_names):
        raise VerificationError(f"receipt: expected {len(schema.leaf_names)} columns by the schema, got {len(values)}")
    named = dict(zip(schema.leaf_names, values, strict=True))
    if named.get("seq") != manifest.first_seq + index or named.get("stream") != bytes.fromhex(manifest.stream):
        raise VerificationError("receipt: the record's stream and seq are not those of its place in the segment")
    context = _bytes(extra, "context")
    if hashlib.sha256(context).digest() != named.get("context"):
        raise VerificationError("receipt: its context is not the one the record names")
    opened = {group: _open(schema, named, group, value) for group, value in _object(extra, "openings").items()}
    identity = named.get("id")
    return Receipt(
        id=id_text(identity if isinstance(identity, bytes) else b""),
        origin=checkpoint.origin,
        tree_size=checkpoint.size,
        root=checkpoint.root.hex(),
        leaf_index=file.index,
        stream=manifest.stream,
        seq=manifest.first_seq + index,
        values={name: value for name, value in named.items() if not name.startswith(COMMITMENT_PREFIX)},
        opened=opened,
        sealed=tuple(group for group in schema.groups if group not in opened),
        context=canonical.parse_object(context, "receipt's context"),
        classes={column.name: column.sensitivity for column in schema.columns},
    )


def _open(schema: Schema, named: dict[str, Value], group: str, value: JsonValue) -> dict[str, Value]:
    commitment = named.get(COMMITMENT_PREFIX + escape_name(group))
    if group not in schema.groups or not isinstance(commitment, bytes) or not isinstance(value, dict):
        raise VerificationError(f"receipt: opening of a group the record does not have ({group!r})")
    row = _bytes(value, "row")
    verify_opening(commitment, group, _hash(value.get("salt")), row)
    names = sorted((column.name for column in schema.group_columns(group)), key=str.encode)
    values = decode_row(row)
    if len(values) != len(names):
        raise VerificationError(f"receipt: opening of group {group!r} has {len(values)} columns, expected {len(names)}")
    return dict(zip(names, values, strict=True))


def _content(receipt: str | Path | bytes) -> bytes:
    if isinstance(receipt, bytes | bytearray | memoryview):
        return bytes(receipt)
    if not isinstance(receipt, str | Path):
        raise InputError(f"receipt: expected a path or the content of the file, got {type(receipt).__name__}")
    text = str(receipt)
    return text.encode(errors="replace") if "\n" in text else _read(Path(receipt))


def _read(path: Path) -> bytes:
    name = path.name if len(path.name) <= _NAME_SIZE_MAX else f"with a name of {len(path.name)} characters"
    try:
        if path.stat().st_size > RECEIPT_SIZE_MAX:
            raise FormatError(f"receipt: expected at most {RECEIPT_SIZE_MAX} bytes ({name})")
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"reading receipt {name}: {error.strerror}") from error


def _bytes(document: JsonObject, key: str) -> bytes:
    text = canonical.text_of(document, key)
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise FormatError(f"receipt: {key!r} is not base64") from error
    if base64.b64encode(data).decode() != text:
        raise FormatError(f"receipt: {key!r} is not canonical base64")
    return data


def _hash(value: JsonValue) -> bytes:
    if not isinstance(value, str) or len(value) != 64 or value != value.lower():  # noqa: PLR2004  hex digits
        raise FormatError("receipt: expected 64 lower-case hex digits")
    try:
        return bytes.fromhex(value)
    except ValueError as error:
        raise FormatError("receipt: expected 64 lower-case hex digits") from error


def _list(document: JsonObject, key: str) -> list[JsonValue]:
    value = document.get(key)
    if not isinstance(value, list):
        raise FormatError(f"receipt: expected a list {key!r}")
    return value


def _object(document: JsonObject, key: str) -> JsonObject:
    value = document.get(key)
    if not isinstance(value, dict):
        raise FormatError(f"receipt: expected an object {key!r}")
    return value
