"""Receipts made without an archive, of anything a record can hold, and of what none should: for the verifiers' tests.

`Log` is a log with segments of made-up records; it signs whatever it is given, so that a verifier's own rules are
tested and not only its hashes. `one_file` and `many_file` write receipts of its records.
"""

from __future__ import annotations

import base64
import hashlib
import random
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from backstory.records import canonical
from backstory.records.commitment import commit, commit_fields, field_data, field_salt
from backstory.records.identity import time_text
from backstory.records.row import NULL_STRUCT, encode_row
from backstory.records.schema import Column, Schema
from backstory.tlog.checkpoint import Checkpoint, sign_checkpoint
from backstory.tlog.cosignature import cosign
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.key import KeyKind
from backstory.tlog.note import add_signatures
from backstory.tlog.proof import inclusion_proof
from backstory.tlog.signer import Ed25519Signer

ORIGIN = "example.org/receipts"
BEGAN = 1_767_225_600
SIGNER = Ed25519Signer.from_seed(ORIGIN, hashlib.sha256(b"log").digest())
WITNESSES = [
    Ed25519Signer.from_seed(f"witness.example/w{i}", hashlib.sha256(b"w%d" % i).digest(), kind=KeyKind.COSIGNATURE)
    for i in range(3)
]
POLICY = "\n".join(
    [
        f"log {SIGNER.vkey}",
        *(f"witness w{i} {witness.vkey}" for i, witness in enumerate(WITNESSES)),
        "group two 2 w0 w1 w2",
        "quorum two",
        "",
    ]
)

ENVELOPE = [
    ("id", "bytes"), ("stream", "bytes"), ("seq", "uint64"), ("time", "timestamp[UTC]"), ("kind", "string"),
    ("status", "string"), ("error", "string"), ("context", "bytes"), ("batch_row", "uint32"), ("batch_rows", "uint32"),
    ("request_id", "string"),
]  # fmt: skip
STRUCT = {"list": {"struct": [{"name": "b", "type": "string"}, {"name": "a", "type": "float32"}]}}
OPEN = [
    ("feature.f", "float64"), ("feature.g", "float32"), ("feature.i", "int64"), ("feature.u", "uint64"),
    ("feature.t", "string"), ("feature.__proto__", "string"), ("feature.é", "bool"), ("feature.\U0001f600", "bytes"),
    ("feature.d", "decimal(38,9)"), ("feature.l", {"list": "float64"}), ("feature.s", STRUCT), ("feature.n.x", "int64"),
    ("feature.1", "date"), (r"feature.a\.b", "timestamp"), ("output", "float64"),
]  # fmt: skip
GROUPS = {
    "output": [("output.a", "float64"), ("output.b", "string")],
    "é.1": [("feature.age", "int64")],
    "z": [("z", "time")],
    "by.field": [("field.a", "int64"), ("field.__proto__", "string"), ("field.é", "string"), ("field.b", "float64")],
}
BY_FIELD = "by.field"
"""The group of which each column can be opened alone."""
SCHEMA = Schema(
    kind="prediction",
    columns=(
        *(Column(name=name, type=type_, sensitivity="D0") for name, type_ in [*ENVELOPE, *OPEN]),
        *(
            Column(name=name, type=type_, sensitivity="D3", group=group)
            for group, columns in GROUPS.items()
            for name, type_ in columns
        ),
    ),
    fields=(BY_FIELD,),
)


def text64(data: bytes) -> str:
    """Write base64."""
    return base64.b64encode(data).decode()


def value_of(chance: random.Random, type_: object) -> object:
    """Draw a value of a type, edges more often than the middle."""
    if chance.random() < 0.1:
        return None
    double = chance.choice([
        chance.gauss(0, 1), chance.uniform(-1e17, 1e17), chance.uniform(0, 1) * 10 ** chance.randint(-320, 307),
        float(chance.randint(-(10**6), 10**6)), 5e-324, -0.0, 1e16, 1e15, 123456789012345680.0, 1e-4, 1e-5, 1e22,
        float("nan"), float("inf"), float("-inf"), 2**53 + 2.0, 1.7976931348623157e308,
    ])  # fmt: skip
    integer = chance.choice([0, -1, 2**63 - 1, -(2**63), 2**53 + 1, chance.randint(-(10**9), 10**9)])
    text = chance.choice(["", "a", "naïve ☃ \U0001f600", "\x00\x1b[1m\u2028\ufeff", "</script>", '"\\'])
    if isinstance(type_, dict) and "list" in type_:
        return [value_of(chance, type_["list"]) for _ in range(chance.randint(0, 3))]
    if isinstance(type_, dict):
        return [value_of(chance, field["type"]) for field in type_["struct"]]
    kind = str(type_).split("(")[0].split("[")[0]
    return {
        "float64": double, "float32": chance.choice([0.5, 0.1, -3e38, 1e-45, float("nan"), float(integer % 100)]),
        "int64": integer, "uint64": integer % 2**64, "uint32": integer % 2**32, "string": text,
        "bool": integer % 2 == 0, "bytes": text.encode(),
        "decimal": Decimal(integer).scaleb(-9), "date": integer, "time": integer, "timestamp": integer,
    }[kind]  # fmt: skip


def record_values(chance: random.Random, seq: int, stream: bytes, context: bytes) -> dict[str, object]:
    """Draw the values of a record of `SCHEMA`, open and sealed."""
    values = {column.name: value_of(chance, column.type) for column in SCHEMA.columns}
    if chance.random() < 0.2:
        values["feature.n.x"] = NULL_STRUCT(1)
    return values | {
        "id": (0x7 << 76 | 0b10 << 62 | seq).to_bytes(16, "big"), "stream": stream, "seq": seq, "kind": "prediction",
        "time": BEGAN * 10**9 + seq, "context": hashlib.sha256(context).digest(), "batch_row": 0, "batch_rows": 1,
    }  # fmt: skip


def open_fields(
    chance: random.Random, columns: list[tuple[str, object]], values: dict[str, object]
) -> tuple[dict[str, object], bytes]:
    """Return the opening of some fields of a group, and the commitment to all of them."""
    salt, fields, leaves, hidden = chance.randbytes(32), {}, [], []
    ordered = sorted(columns, key=lambda column: column[0].encode())
    chosen = {name for name, _ in chance.sample(ordered, chance.randint(1, len(ordered)))}
    for index, (name, type_) in enumerate(ordered):
        own, row = field_salt(salt, index), encode_row([(name, type_, values[name])])
        leaves.append(hash_leaf(field_data(own, row)))
        if name in chosen:
            fields[name] = {"row": text64(row), "salt": own.hex()}
        else:
            hidden.append(leaves[-1].hex())
    return {"fields": fields, "leaves": hidden}, commit_fields(BY_FIELD, len(leaves), root_hash(leaves))


@dataclass
class Segment:
    """A segment of a log: its entry, and the rows and openings of its records."""

    entry: bytes
    schema: bytes
    context: bytes
    rows: list[bytes]
    openings: list[dict[str, dict[str, object]]]

    @cached_property
    def hashes(self) -> list[bytes]:
        """Leaf hashes of the rows."""
        return [hash_leaf(row) for row in self.rows]


def make_segment(
    chance: random.Random,
    count: int,
    *,
    change_values=lambda values: values,
    change_row=lambda row: row,
    change_entry=lambda entry: entry,
    schema: bytes = SCHEMA.encoded,
    context: bytes | None = None,
) -> Segment:
    """Make a segment of drawn records; what is changed is committed to as if it were right."""
    stream, first_seq = chance.randbytes(16), chance.choice([0, 7, 2**40])
    if context is None:
        model = {"digest": chance.randbytes(32).hex(), "name": "naïve \U0001f600", "version": 2**53 - 1}
        context = canonical.encode({"model": model, "1": [None, True, {"\uffff": 0, "\U00010000": -1}], "v": 1})
    rows, openings = [], []
    for seq in range(first_seq, first_seq + count):
        values = record_values(chance, seq, stream, context)
        opened = {}
        for group, columns in GROUPS.items():
            if group == BY_FIELD:
                opened[group], values["commitment." + group.replace(".", "\\.")] = open_fields(chance, columns, values)
                continue
            salt, row = chance.randbytes(32), encode_row([(name, type_, values[name]) for name, type_ in columns])
            opened[group] = {"row": text64(row), "salt": salt.hex()}
            values["commitment." + group.replace(".", "\\.")] = commit(group, salt, row)
        types = {column.name: column.type for column in SCHEMA.columns}
        cells = change_values([(name, types.get(name, "bytes"), values[name]) for name in SCHEMA.leaf_names])
        rows.append(change_row(encode_row(cells)))
        openings.append(opened)
    file = {"name": "a.parquet", "sha256": "0" * 64, "size": "1"}
    moment = time_text(BEGAN * 10**9)
    entry = {
        "contexts": [hashlib.sha256(context).hexdigest()], "count": str(count), "file": file, "first_id": "0" * 32,
        "first_seq": str(first_seq), "first_time": moment, "kind": "prediction", "last_id": "f" * 32,
        "last_time": moment, "root": root_hash([hash_leaf(row) for row in rows]).hex(),
        "schema": hashlib.sha256(schema).hexdigest(), "shard": file, "stream": stream.hex(), "time": moment,
        "type": "segment.sealed", "v": 1,
    }  # fmt: skip
    return Segment(canonical.encode(change_entry(entry)), schema, context, rows, openings)


class Log:
    """A signed log of segments, between entries of other kinds."""

    def __init__(self, segments: list[Segment], *, cosigned: int = 0) -> None:
        """Sign a log; so many witnesses cosign it."""
        self.segments = segments
        entries = [b"{}"]
        for segment in segments:
            entries += [segment.entry, b"{}"]
        self.hashes = [hash_leaf(entry) for entry in entries]
        checkpoint = Checkpoint(origin=ORIGIN, size=len(entries), root=root_hash(self.hashes))
        lines = [cosign(checkpoint, witness, BEGAN + i) for i, witness in enumerate(WITNESSES[:cosigned])]
        self.note = add_signatures(sign_checkpoint(checkpoint, SIGNER), lines)

    def claim(self, number: int, row: int, groups: tuple[str, ...] = ()) -> dict[str, object]:
        """Return everything a receipt says of a record, as bytes, numbers and lists."""
        segment, leaf_index = self.segments[number], 1 + 2 * number
        return {
            "context": segment.context, "entry": segment.entry, "index": row, "leaf_index": leaf_index,
            "openings": {group: segment.openings[row][group] for group in groups},
            "path": inclusion_proof(segment.hashes, row),
            "proof": inclusion_proof(self.hashes, leaf_index), "row": segment.rows[row], "schema": segment.schema,
        }  # fmt: skip


def extra_of(claim: dict[str, object]) -> dict[str, object]:
    """Return the JSON of a receipt of one record; a context that is None is left out."""
    return {
        "context": None if claim["context"] is None else text64(claim["context"]),
        "entry": text64(claim["entry"]), "index": str(claim["index"]),
        "openings": claim["openings"], "path": [node.hex() for node in claim["path"]], "row": text64(claim["row"]),
        "schema": text64(claim["schema"]), "v": 1,
    }  # fmt: skip


def join_file(extra: bytes, index: str, proof: list[str], note: bytes) -> bytes:
    """Join the parts of a `.tlog-proof`, whatever they are."""
    lines = ["c2sp.org/tlog-proof@v1", f"extra {text64(extra)}", f"index {index}", *map(str, proof)]
    return "\n".join([*lines, "", ""]).encode() + note


def one_file(log: Log, claim: dict[str, object]) -> bytes:
    """Write the receipt of one record."""
    proof = [text64(node) for node in claim["proof"]]
    return join_file(canonical.encode(extra_of(claim)), str(claim["leaf_index"]), proof, log.note)


def many_document(log: Log, claims: list[dict[str, object]]) -> dict[str, object]:
    """Return the JSON of a file of many receipts, of claims in the order of the log."""
    shared: dict[str, dict[object, int]] = {"contexts": {}, "nodes": {}, "schemas": {}, "entries": {}}

    def at(name: str, item: object) -> int:
        return shared[name].setdefault(item, len(shared[name]))

    entries, receipts = [], []
    for claim in claims:
        entry = at("entries", claim["leaf_index"])
        if entry == len(entries):
            proof = [at("nodes", node) for node in claim["proof"]]
            entries.append({"entry": text64(claim["entry"]), "index": str(claim["leaf_index"]), "proof": proof})
        receipts.append({
            "context": None if claim["context"] is None else at("contexts", claim["context"]), "entry": entry,
            "index": str(claim["index"]),
            "openings": claim["openings"], "path": [at("nodes", node) for node in claim["path"]],
            "row": text64(claim["row"]), "schema": at("schemas", claim["schema"]),
        })  # fmt: skip
    lists = {name: [text64(item) for item in shared[name]] for name in ("contexts", "nodes", "schemas")}
    return {
        "backstory": "receipts",
        "entries": entries,
        "note": log.note.decode(),
        "receipts": receipts,
        "v": 1,
        **lists,
    }


def many_file(log: Log, claims: list[dict[str, object]]) -> bytes:
    """Write a file of many receipts."""
    return canonical.encode(many_document(log, claims))
