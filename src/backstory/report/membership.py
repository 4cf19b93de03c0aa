"""Making proofs of membership: that a row or a person is in a dataset version or a training set, or is not.

Bytes: docs/format.md section 25. Every proof was verified before it is handed out, and the log says of those about
persons that they are, without saying whom they are about.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import flatten
from backstory.columns.encode import encode_columns
from backstory.columns.tree import leaf_hashes, split_hashes
from backstory.errors import ColumnError, ForbiddenError, InputError, NotFoundError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.receipt import prove_entry
from backstory.lineage.subjects import subject_key, tags_of
from backstory.lineage.trace import Tracer
from backstory.records import canonical
from backstory.records.access import Gate
from backstory.records.canonical import JsonObject
from backstory.records.membership import SHOWN_TYPE, TAG_SIZE, subject_message, tree_context, tree_of
from backstory.storage.disk import save_file
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.proof import inclusion_proof
from backstory.tlog.proof_file import parse_proof_file
from backstory.verify.membership import verify_membership
from backstory.verify.membership_file import (
    AskedRow,
    AskedSubject,
    Leaf,
    MembershipClaim,
    encode_membership,
)

_NAMED_BY = {"dataset": "source.fixed", "model": "model.registered"}
_QUESTION = "membership"


@dataclass(frozen=True, slots=True)
class MembershipFile:
    """A proof of membership as it goes out.

    Attributes:
        data: The bytes of the file.
        present: Whether the row or person is there.
    """

    data: bytes
    present: bool

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the proof to a file, by convention ending in `.membership`, and return its path.

        Args:
            path: The file.
            overwrite: Whether a file that is there gives way.

        Raises:
            ConflictError: There is something at `path`, and it must stay.
            StorageError: It cannot be written.
        """
        return save_file(self.data, path, "proof", overwrite=overwrite)

    def __repr__(self) -> str:
        """Return which way it proves, and its size."""
        return f"<MembershipFile: {'present' if self.present else 'absent'}, {len(self.data):,} bytes>"


def prove_row(ledger: Ledger, tracer: Tracer, dataset: str, row: Mapping[str, Any]) -> MembershipFile:
    """Prove that a row is in a dataset version, or that it is not.

    Args:
        ledger: The archive.
        tracer: Reads the rows.
        dataset: Digest of the dataset version.
        row: A value for every column.

    Raises:
        InputError: The version is about people, or was not made provable.
        ColumnError: The row has other columns, or a value is not of its column's type.
        NotFoundError: The rows are not there.
        VerificationError: The archive's bytes are not those the log committed to.
    """
    document = ledger.document(dataset)
    if document.get("personal") is True:
        raise InputError(
            "prove: the rows are about people and stand in the tree behind salts, so that none can be asked for; "
            "ask for a person with subject="
        )
    if "sorted" not in document:
        raise InputError("prove: expected a source made with provable='rows', so that its rows were sorted")
    table = tracer.columns(dataset, None)
    leaves = sorted(split_hashes(leaf_hashes(table)))
    if root_hash(leaves).hex() != document["sorted"]:
        raise VerificationError(f"prove: the kept rows of dataset {dataset} do not lead to its sorted root")
    encoded = _encoded_row(row, table)
    schema = ledger.blobs.get(canonical.text_of(document, "schema"))
    asked = AskedRow(row=encoded, schema=schema)
    return _prove(ledger, "dataset", dataset, asked, _Place(leaves, leaves, asked.leaf))


def prove_subject(ledger: Ledger, gate: Gate, kind: str, digest: str, subject: str) -> MembershipFile:
    """Prove that a person is in a dataset version or a training set, or is not, and log that it was proven.

    Args:
        ledger: The archive, open for writing.
        gate: Whether a person is there is as sealed as the rows.
        kind: `dataset`, or `model` for its training set.
        digest: Digest of the version.
        subject: The person's id as text.

    Raises:
        ForbiddenError: No actor or purpose was given, or the archive is open for reading only.
        InputError: The version was not made provable.
        NotFoundError: The leaves or the key are not here.
        VerificationError: The archive's bytes are not those the log committed to.
    """
    if not gate.allows():
        raise ForbiddenError(
            "prove: whether a person is in it is a sealed value; give an actor and a purpose, and open the archive for "
            "writing, so that the log says that it was shown"
        )
    document = ledger.document(digest)
    holder = document if kind == "dataset" else document.get("training")
    tree = tree_of(holder) if isinstance(holder, dict) else None
    if tree is None or not isinstance(holder, dict):
        verb = "source" if kind == "dataset" else "register"
        raise InputError(f"prove: expected a {kind} for which {verb}(…, provable='subjects') built a tree of persons")
    gate.pass_through(_QUESTION, ["subject"], 1)
    tags, key = tags_of(ledger, tree), subject_key(ledger, tree)
    message = subject_message(tree_context(holder), subject)
    (output,) = key.outputs([message])
    asked = AskedSubject(text=subject, proof=key.prove(message))
    made = _prove(ledger, kind, digest, asked, _Place(tags, [hash_leaf(one) for one in tags], output[:TAG_SIZE]))
    entry: JsonObject = {kind: digest, "proof": hashlib.sha256(made.data).hexdigest(), "type": SHOWN_TYPE}
    ledger.append([entry])
    return made


@dataclass(frozen=True, slots=True)
class _Place:
    """A sorted tree, and what is looked for in it.

    Attributes:
        leaves: What it is sorted by: of rows their leaf hashes, of persons the leaves themselves.
        hashes: The leaf hashes.
        leaf: What is looked for.
    """

    leaves: Sequence[bytes]
    hashes: Sequence[bytes]
    leaf: bytes

    def find(self) -> tuple[bool, tuple[Leaf, ...]]:
        """Say whether it is there, and return the leaves that show it."""
        at = bisect_left(self.leaves, self.leaf)
        present = at < len(self.leaves) and self.leaves[at] == self.leaf
        numbers = [at] if present else [near for near in (at - 1, at) if 0 <= near < len(self.leaves)]
        return present, tuple(
            Leaf(index=number, leaf=self.leaves[number], path=tuple(inclusion_proof(self.hashes, number)))
            for number in numbers
        )


def _prove(ledger: Ledger, kind: str, digest: str, asked: AskedRow | AskedSubject, place: _Place) -> MembershipFile:
    present, leaves = place.find()
    claim = MembershipClaim(
        present=present,
        document=ledger.blobs.get(digest),
        leaves=leaves,
        log=parse_proof_file(prove_entry(ledger, _position_of(ledger, kind, digest))),
        asked=asked,
    )
    data = encode_membership(claim)
    checked = verify_membership(data, vkey=[valid.text for valid in ledger.log.keys])
    return MembershipFile(data, checked.present)


def _position_of(ledger: Ledger, kind: str, digest: str) -> int:
    """Return the position of the first entry that names a version."""
    name = canonical.text_of(ledger.document(digest), "name")
    for position in ledger.catalog.entries(_NAMED_BY[kind], name):
        if ledger.log.entry(position).get(kind) == digest:
            return position
    raise NotFoundError(f"prove: no entry of the log names {kind} {digest}")


def _encoded_row(row: Mapping[str, Any], table: pa.Table) -> bytes:
    """Return the encoding of a row with the types of a table's columns.

    Raises:
        ColumnError: It has other columns or types; or NaN where the column has nulls and no NaN, as is recorded of
            frames in which both look alike: it would be absent, whoever asks.
    """
    schema = table.schema
    if not isinstance(row, Mapping) or set(row) != set(schema.names):
        given = sorted(map(str, row)) if isinstance(row, Mapping) else [type(row).__name__]
        raise ColumnError(f"prove: expected a value for each of {', '.join(schema.names)}; got {', '.join(given)}")
    columns = []
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        value = row[field.name]
        if isinstance(value, float) and math.isnan(value) and _has_nulls_only(table[field.name]):
            raise ColumnError(f"prove: column {field.name!r} has missing values and no NaN: expected None, got NaN")
        try:
            is_written = isinstance(value, str) and (pa.types.is_temporal(kind) or pa.types.is_decimal(kind))
            columns.append(pa.array([value]).cast(kind) if is_written else pa.array([value], kind))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            raise ColumnError(f"prove: the value of column {field.name!r} is not of type {kind}") from None
    (encoded,) = encode_columns(flatten(pa.table(columns, names=schema.names))).rows()
    return encoded


def _has_nulls_only(column: pa.ChunkedArray) -> bool:
    """Say whether a column of floats has missing values and no NaN."""
    return pa.types.is_floating(column.type) and column.null_count > 0 and not pc.any(pc.is_nan(column)).as_py()
