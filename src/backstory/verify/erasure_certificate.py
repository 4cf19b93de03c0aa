"""Certificates of erasures: files that prove, record by record, that an erasure in the log was of it.

Only whoever was handed the file has the salts; with it they can show that one record was erased, and which records were
erased together. Bytes: docs/format.md section 38.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backstory.errors import FormatError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.erasure import SALT_SIZE, leaf_data, parse_erased
from backstory.storage.disk import read_file
from backstory.tlog.checkpoint import open_checkpoint, parse_checkpoint
from backstory.tlog.hashing import hash_leaf
from backstory.tlog.key import ValidKey, require_keys
from backstory.tlog.limits import HASH_SIZE, PROOF_HASHES_MAX
from backstory.tlog.note import parse_note
from backstory.tlog.proof import verify_inclusion
from backstory.tlog.proof_file import encode_proof_file, parse_proof_file
from backstory.verify.receipt_file import check_version

MAGIC: Final = b'{"backstory":"erasure",'
FILE_SIZE_MAX: Final = 256 << 20
_MORE_FOLLOWS = (
    "perhaps not all of it: when it was written other processes or workers' spools might still hold records; "
    "if they did, a later entry is about these"
)
_KEPT = "not all of it: other records of the person had to be kept, on grounds that the operator owes the person"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenLeaf:
    """Something that was erased, with the way to the root of the erasure.

    Attributes:
        index: Number of its leaf, from 0.
        salt: What only the certificate has, 32 bytes.
        text: What it is: `record <id>` or `row <dataset> <number>`.
        path: Sibling hashes, leaf side first.
    """

    index: int
    salt: bytes
    text: str
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureProof:
    """What a certificate that verified shows.

    Attributes:
        erased: What was erased: `record <id>` or `row <dataset> <number>`.
        ground: Why, as the entry says.
        complete: Whether nothing was waited for.
        partial: Whether other records of the person had to be kept, as the entry says.
        time: When the entry was written, by the writer's clock.
        leaf_index: Index of the entry.
        origin: Origin of the log.
        tree_size: Tree size of the checkpoint.
    """

    erased: tuple[str, ...]
    ground: str
    complete: bool
    partial: bool
    time: str
    leaf_index: int
    origin: str
    tree_size: int

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values."""
        return {
            "complete": self.complete,
            "erased": list(self.erased),
            "ground": self.ground,
            "leaf_index": self.leaf_index,
            "origin": self.origin,
            "partial": self.partial,
            "time": self.time,
            "tree_size": self.tree_size,
        }

    def __str__(self) -> str:
        """Return it for a reader."""
        head = f"erased by entry {self.leaf_index} of {self.time}, ground {self.ground}"
        log = f"in the log of {self.origin} at tree size {self.tree_size}"
        said = [text for is_so, text in ((not self.complete, _MORE_FOLLOWS), (self.partial, _KEPT)) if is_so]
        return "\n".join([head, log, *said, *(f"  {text}" for text in self.erased)])


def encode_certificate(leaves: Iterable[ProvenLeaf], log: bytes) -> bytes:
    """Return the bytes of a certificate.

    Args:
        leaves: What was erased.
        log: A `.tlog-proof` of the entry, which stands in its `extra`.
    """
    listed: list[JsonValue] = [
        {
            "index": str(leaf.index),
            "path": [one.hex() for one in leaf.path],
            "salt": leaf.salt.hex(),
            "what": leaf.text,
        }
        for leaf in sorted(leaves, key=lambda leaf: leaf.index)
    ]
    return canonical.encode({"backstory": "erasure", "leaves": listed, "log": log.decode(), "v": 1})


def verify_erasure(file: str | Path | bytes, *, vkey: str | Sequence[str]) -> ErasureProof:
    """Check a certificate of an erasure, without the archive.

    It shows that the operator said in the log that these records were erased. That no copy is left anywhere no file can
    show.

    Args:
        file: The certificate.
        vkey: The log's public key, or keys, from outside the archive.

    Raises:
        VerificationError: A check fails, or it is malformed.
        FormatError: It is none: its beginning is not that of one.
        UnsupportedVersionError: It is of a newer version.
        InputError: A key is malformed.
        StorageError: It cannot be read.
    """
    keys = require_keys(vkey)
    data = file if isinstance(file, bytes) else read_file(Path(file))
    if not data.startswith(MAGIC):
        raise FormatError("certificate: this is no certificate of an erasure, its beginning is not that of one")
    try:
        return _check(data, keys)
    except FormatError as error:
        raise VerificationError(f"certificate: damaged or changed: {error}") from error


def _check(data: bytes, keys: Sequence[ValidKey]) -> ErasureProof:
    document = _document(data)
    proof = parse_proof_file(canonical.text_of(document, "log").encode())
    said = proof.extra or b""
    checkpoint = open_checkpoint(proof.note, parse_checkpoint(parse_note(proof.note).text).origin, keys)
    verify_inclusion(hash_leaf(said), proof.index, checkpoint.size, proof.proof, checkpoint.root)
    entry = canonical.parse_object(said, "certificate: entry")
    check_version(entry, "certificate: entry")
    erased = parse_erased(entry)
    leaves = _leaves(document)
    if [leaf.index for leaf in leaves] != sorted({leaf.index for leaf in leaves}):
        raise FormatError("certificate: expected leaves in order, each once")
    for leaf in leaves:
        hashed = hash_leaf(leaf_data(leaf.salt, leaf.text))
        verify_inclusion(hashed, leaf.index, erased.leaves, leaf.path, bytes.fromhex(erased.root))
    return ErasureProof(
        erased=tuple(leaf.text for leaf in leaves),
        ground=erased.ground,
        complete=erased.complete,
        partial=erased.partial,
        time=canonical.text_of(entry, "time"),
        leaf_index=proof.index,
        origin=checkpoint.origin,
        tree_size=checkpoint.size,
    )


def _document(data: bytes) -> JsonObject:
    if len(data) > FILE_SIZE_MAX:
        raise FormatError(f"certificate: expected at most {FILE_SIZE_MAX:,} bytes")
    document = canonical.parse_object(data, "certificate")
    check_version(document, "certificate")
    if set(document) != {"backstory", "leaves", "log", "v"}:
        raise FormatError("certificate: expected exactly backstory, leaves, log and v")
    if encode_proof_file(parse_proof_file(canonical.text_of(document, "log").encode())).decode() != document["log"]:
        raise FormatError("certificate: its proof is not in its one form")
    return document


def _leaves(document: JsonObject) -> list[ProvenLeaf]:
    listed = document["leaves"]
    if not isinstance(listed, list):
        raise FormatError("certificate: expected a list of leaves")
    return [_leaf(one) for one in listed]


def _leaf(value: JsonValue) -> ProvenLeaf:
    if not isinstance(value, dict) or set(value) != {"index", "path", "salt", "what"}:
        raise FormatError("certificate: a leaf needs exactly index, path, salt and what")
    path = value["path"]
    if not isinstance(path, list) or len(path) > PROOF_HASHES_MAX:
        raise FormatError("certificate: expected a list of hashes as path")
    return ProvenLeaf(
        index=canonical.count_of(value, "index"),
        salt=_bytes(value["salt"], SALT_SIZE),
        text=canonical.text_of(value, "what"),
        path=tuple(_bytes(one, HASH_SIZE) for one in path),
    )


def _bytes(value: JsonValue, size: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * size or value != value.lower():
        raise FormatError(f"certificate: expected {size} bytes in hex")
    try:
        return bytes.fromhex(value)
    except ValueError as error:
        raise FormatError(f"certificate: expected {size} bytes in hex") from error
