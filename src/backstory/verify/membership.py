"""Checking proofs of membership: needs the file and the log's public key, nothing else.

Made of `backstory.records` and `backstory.tlog` alone: no archive, no writer, no Arrow. The order of the checks is that
of docs/format.md section 25. `standalone/` holds the same check once more, written apart from this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backstory.errors import FormatError, InputError, StorageError, VerificationError
from backstory.records import canonical
from backstory.records.canonical import JsonObject
from backstory.records.identity import check_digest
from backstory.records.membership import TAG_SIZE, subject_message, tree_context, tree_of
from backstory.records.row import Value, decode_row
from backstory.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from backstory.tlog.hashing import EMPTY_ROOT, hash_leaf
from backstory.tlog.key import ValidKey, require_keys
from backstory.tlog.limits import TREE_SIZE_MAX
from backstory.tlog.note import parse_note
from backstory.tlog.proof import verify_inclusion
from backstory.tlog.vrf import verify_vrf
from backstory.verify.membership_file import (
    ABSENT,
    FILE_SIZE_MAX,
    MAGIC,
    PRESENT,
    AskedRow,
    AskedSubject,
    Leaf,
    MembershipClaim,
    parse_membership,
)
from backstory.verify.receipt import plain
from backstory.verify.receipt_file import check_version

_KINDS = {"source.fixed": "dataset", "model.registered": "model"}
"""Types of entries that name a document with a tree, and under which member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a file proves: that a row or a person is in a dataset version or a training set, or is not.

    It is about what was committed to under the digest. It says nothing of data outside the archive, of rows that are
    only similar, nor of values that were computed from a person's before the archive saw them.

    Attributes:
        present: Whether it is there.
        kind: `dataset`, or `model`: its training set.
        name: Name of the source or the model.
        version: Number of the model version; None for a dataset.
        digest: Digest of the dataset version or model version.
        count: How many rows, or persons, are there in all.
        subject: Id of the person who was asked about; None where a row was.
        row: Values of the row that was asked about, by name; None where a person was.
        time: When the entry that names it was written, by the writer's clock.
        leaf_index: Index of that entry.
        origin: Origin of the log.
        tree_size: Tree size of the checkpoint.
        root: Its root, in hex.
    """

    present: bool
    kind: str
    name: str
    version: str | None
    digest: str
    count: int
    subject: str | None
    row: dict[str, Value] | None
    time: str
    leaf_index: int
    origin: str
    tree_size: int
    root: str

    def __repr__(self) -> str:
        """Return what it proves on one line, without the row or the person."""
        what = "row" if self.subject is None else "person"
        where = f"dataset {self.name}" if self.version is None else f"training set of {self.name}:{self.version}"
        return f"<Membership: {what} {self._claim} in {where}, {self.digest[:12]}, tree size {self.tree_size}>"

    def to_dict(self) -> JsonObject:
        """Return it as JSON-safe values; floats and bytes as text."""
        return {
            "claim": self._claim,
            "count": str(self.count),
            "digest": self.digest,
            "kind": self.kind,
            "leaf_index": self.leaf_index,
            "name": self.name,
            "origin": self.origin,
            "root": self.root,
            "row": None if self.row is None else {name: plain(value) for name, value in self.row.items()},
            "subject": self.subject,
            "time": self.time,
            "tree_size": self.tree_size,
            "version": self.version,
        }

    def __str__(self) -> str:
        """Return it for a reader."""
        where = (
            f"dataset {self.name}" if self.kind == "dataset" else f"training set of model {self.name}:{self.version}"
        )
        what, of = ("row", "rows") if self.subject is None else (f"person {self.subject}", "persons")
        log = f"in the log of {self.origin} at tree size {self.tree_size}"
        lines = [
            f"{self._claim}: {what}",
            f"{where}, digest {self.digest}, {self.count:,} {of}",
            f"{log}, entry {self.leaf_index} of {self.time}, root {self.root}",
            *(f"  {name} = {plain(value)}" for name, value in (self.row or {}).items()),
        ]
        # A value with a line break must not look like another value.
        return "\n".join("".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines)

    @property
    def _claim(self) -> str:
        return PRESENT if self.present else ABSENT


def verify_membership(file: str | Path | bytes, *, vkey: str | Sequence[str]) -> Membership:
    """Check a file that proves that a row or a person is, or is not, in a dataset version or a training set.

    Args:
        file: Path of the file, or its content as bytes or text.
        vkey: The log's public key, obtained from somewhere other than the file, as `init` printed it. Several where
            the log changed its key, each with the tree sizes it speaks for, as `backstory keys list` prints them.

    Returns:
        What it proves; `present` says which way.

    Raises:
        VerificationError: Something in it does not verify or is malformed, or it is of another key's log.
        FormatError: It is none: its beginning is not that of one.
        UnsupportedVersionError: It is of a version newer than this package, so that nothing can be said.
        InputError: A key is malformed.
        StorageError: The file cannot be read.
    """
    keys = require_keys(vkey)
    data = _content(file)
    if not data.startswith(MAGIC):
        raise FormatError("membership: this is no such file, its beginning is not that of one")
    try:
        return _check(parse_membership(data), keys)
    except FormatError as error:
        raise VerificationError(f"membership: damaged or changed: {error}") from error


def _check(claim: MembershipClaim, keys: Sequence[ValidKey]) -> Membership:
    checkpoint, entry = _open_log(claim, keys)  # 1, 2
    kind = _KINDS[str(entry["type"])]
    digest = hashlib.sha256(claim.document).hexdigest()
    if digest != check_digest(entry.get(kind), f"entry's {kind}"):  # 3
        raise VerificationError("membership: its document is not the one its entry names")
    document = canonical.parse_object(claim.document, "membership's document")
    check_version(document, "membership's document")
    row, subject = None, None
    if isinstance(claim.asked, AskedRow):  # 4, 5
        count, root = _tree_of_rows(document, kind)
        row, leaf = _row(claim.asked, document), claim.asked.leaf
    else:
        count, root, leaf = _subject_in_tree(claim.asked, document, kind)
        subject = claim.asked.text
    hashes = [one.leaf if subject is None else hash_leaf(one.leaf) for one in claim.leaves]
    for one, leaf_hash in zip(claim.leaves, hashes, strict=True):  # 6
        verify_inclusion(leaf_hash, one.index, count, one.path, root)
    _check_place(claim, leaf, count, root)  # 7
    return Membership(
        present=claim.present,
        kind=kind,
        name=canonical.text_of(document, "name"),
        version=canonical.text_of(entry, "version") if kind == "model" else None,
        digest=digest,
        count=count,
        subject=subject,
        row=row,
        time=canonical.text_of(entry, "time"),
        leaf_index=claim.log.index,
        origin=checkpoint.origin,
        tree_size=checkpoint.size,
        root=checkpoint.root.hex(),
    )


def _open_log(claim: MembershipClaim, keys: Sequence[ValidKey]) -> tuple[Checkpoint, JsonObject]:
    """Check the signed checkpoint, and that the entry is in its log: numbers 1 and 2 of the checks."""
    log, data = claim.log, claim.log.extra or b""
    checkpoint = open_checkpoint(log.note, parse_checkpoint(parse_note(log.note).text).origin, keys)
    verify_inclusion(hash_leaf(data), log.index, checkpoint.size, log.proof, checkpoint.root)
    entry = canonical.parse_object(data, "membership's entry")
    if entry.get("type") not in list(_KINDS):
        raise VerificationError("membership: its entry names neither a dataset version nor a model version")
    check_version(entry, "membership's entry")
    return checkpoint, entry


def _tree_of_rows(document: JsonObject, kind: str) -> tuple[int, bytes]:
    if kind != "dataset" or document.get("personal") is True or "sorted" not in document:
        raise VerificationError("membership: its document has no sorted root of rows")
    root = bytes.fromhex(check_digest(document["sorted"], "membership's sorted root"))
    return _count(canonical.count_of(document, "rows")), root


def _row(asked: AskedRow, document: JsonObject) -> dict[str, Value]:
    """Return the values of the row that is asked about, under the names of the dataset's schema."""
    if hashlib.sha256(asked.schema).hexdigest() != document.get("schema"):
        raise VerificationError("membership: its schema is not the one its document names")
    schema = canonical.parse_object(asked.schema, "membership's schema")
    check_version(schema, "membership's schema")
    columns = schema.get("columns")
    given = columns if isinstance(columns, list) else [None]
    names = sorted((canonical.text_of(c if isinstance(c, dict) else {}, "name") for c in given), key=str.encode)
    values = decode_row(asked.row)
    if len(values) != len(names):
        raise VerificationError(f"membership: expected {len(names)} columns by the schema, got {len(values)}")
    return dict(zip(names, values, strict=True))


def _subject_in_tree(asked: AskedSubject, document: JsonObject, kind: str) -> tuple[int, bytes, bytes]:
    """Return size and root of the tree of persons, and what the leaf of the one who is asked about must be."""
    holder = document if kind == "dataset" else document.get("training")
    tree = tree_of(holder) if isinstance(holder, dict) else None
    if tree is None or not isinstance(holder, dict):
        raise VerificationError("membership: its document has no tree of persons")
    message = subject_message(tree_context(holder), asked.text)
    output = verify_vrf(bytes.fromhex(tree.key), message, asked.proof)
    return _count(tree.count), bytes.fromhex(tree.root), output[:TAG_SIZE]


def _count(number: int) -> int:
    if number > TREE_SIZE_MAX:
        raise FormatError("membership: expected a tree of fewer than 2^63 leaves")
    return number


def _check_place(claim: MembershipClaim, leaf: bytes, count: int, root: bytes) -> None:
    """Insist that the leaves, which are in the tree, are those that show what is said."""
    leaves = claim.leaves
    if claim.present:
        holds = len(leaves) == 1 and leaves[0].leaf == leaf
    elif not leaves:
        holds = count == 0 and root == EMPTY_ROOT
    elif len(leaves) == 1:
        holds = _is_outside(leaves[0], leaf, count)
    else:
        before, after = leaves
        holds = after.index == before.index + 1 and before.leaf < leaf < after.leaf
    if not holds:
        raise VerificationError(f"membership: its leaves do not show that what is asked about is {_said(claim)}")


def _is_outside(end: Leaf, leaf: bytes, count: int) -> bool:
    """Say whether a leaf would come before the first of a tree, or after the last."""
    return (end.index == 0 and leaf < end.leaf) or (end.index == count - 1 and leaf > end.leaf)


def _said(claim: MembershipClaim) -> str:
    return PRESENT if claim.present else ABSENT


def _content(file: str | Path | bytes) -> bytes:
    if isinstance(file, bytes | bytearray | memoryview):
        return bytes(file)
    if not isinstance(file, str | Path):
        raise InputError(f"membership: expected a path or the content of the file, got {type(file).__name__}")
    text = str(file)
    if text.startswith(MAGIC.decode()):
        return text.encode(errors="replace")
    try:
        with Path(file).open("rb") as opened:
            return opened.read(FILE_SIZE_MAX + 1)
    except OSError as error:
        raise StorageError(f"reading membership: {error.strerror}") from error
    except ValueError as error:
        raise StorageError("reading membership: its name cannot be one of a file") from error
