"""Writes the vectors of Backstory's own formats: `PYTHONPATH=src:. python tests/vectors/make_vectors.py`.

They are pinned: run it after a change of the format version only, and review what changed. Everything is drawn from
fixed seeds, but for the bundles and the nonces of the index of people; a receipt may differ between versions of Arrow
too, as a manifest names the digest of its segment's file.

Values stand in JSON as `{"int": "…"}`, `{"float64": "<hex, little-endian>"}`, `{"float32": …}`, `{"bytes": "<hex>"}`,
`{"decimal": "…"}`, `{"null_struct": "<depth>"}`; null, booleans, strings and lists as themselves.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import tempfile
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
from tests.support.archives import archive_with_predictions
from tests.support.erasures import certificate_of, salt_of
from tests.support.ledgers import OPEN, SEALED, make_batch, new_ledger, new_recorder
from tests.support.memberships import KEY, holder_of, honest_claim, model_document, tag_of
from tests.support.receipts import SIGNER

from backstory.columns.people import PeopleIndex, index_file_key, index_tokens
from backstory.columns.salt import ShardSalts, salts
from backstory.columns.tree import subtree_roots
from backstory.frames.row_set import RowSet
from backstory.frames.token import POSITION_MAX, mint_tokens
from backstory.ledger.read import find_places, find_record
from backstory.ledger.receipt import make_receipt, make_receipts
from backstory.ledger.seal import seal_all
from backstory.records import canonical
from backstory.records.commitment import commit, commit_fields, field_data, field_salt
from backstory.records.erasure import leaf_data
from backstory.records.keyed import keyed
from backstory.records.membership import tree_context
from backstory.records.promise import PromiseDocument, PromiseText, frame_digest, key_name, runs_of
from backstory.records.row import NULL_STRUCT, decode_row, encode_row
from backstory.records.succession import Rotated
from backstory.storage import spool_frames
from backstory.storage.index_file import seal_index
from backstory.storage.spool_frames import END, HEARTBEAT, MAGIC, RESUME, SYNCED, encode_frame
from backstory.storage.spool_frames import ROWS as ROWS_FRAME
from backstory.tlog.checkpoint import Checkpoint, sign_checkpoint
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.tlog.note import sign_note
from backstory.tlog.signer import Ed25519Signer
from backstory.verify.bundle import verify_bundle
from backstory.verify.erasure_certificate import verify_erasure
from backstory.verify.membership import verify_membership
from backstory.verify.membership_file import encode_membership
from backstory.verify.state import AuditState

HERE = Path(__file__).parent

STRUCT = {"list": {"struct": [{"name": "b", "type": "string"}, {"name": "a", "type": "int64"}]}}

ROWS = {
    "empty": [],
    "README": [("delay", "float64", 42.0), ("carrier", "string", "UA")],
    "null": [("x", "int64", None), ("y", "string", None), ("z", "null", None)],
    "null NaN and empty differ": [("a", "float64", None), ("b", "float64", float("nan")), ("c", "string", "")],
    "bool": [("f", "bool", False), ("t", "bool", True)],
    "int64": [("max", "int64", 2**63 - 1), ("min", "int64", -(2**63)), ("minus", "int64", -1)],
    "widths do not count": [("a", "int8", 7), ("b", "int64", 7), ("c", "uint8", 7), ("d", "uint64", 7)],
    "uint64": [("max", "uint64", 2**64 - 1)],
    "float64": [("inf", "float64", float("inf")), ("minus zero", "float64", -0.0), ("tiny", "float64", 5e-324)],
    "float32": [("half", "float32", 0.5), ("nan", "float32", float("nan")), ("h", "float16", 1.5)],
    "times": [
        ("d", "date", -1), ("l", "timestamp", 0), ("p", "duration", -5), ("t", "time", 86_399_999_999_999),
        ("u", "timestamp[UTC]", 1_767_225_600 * 10**9),
    ],
    "text": [("name", "string", "naïve ☃ \U0001f600"), ("raw", "bytes", b"\x00\xff")],
    "decimal": [("a", "decimal(9,2)", Decimal("-1.50")), ("b", "decimal(9,2)", Decimal("0.00"))],
    "list": [("l", {"list": "int64"}, [1, None, 3]), ("m", {"list": {"list": "string"}}, [["a"], None, []])],
    "struct in list": [("s", STRUCT, [["x", 1], None])],
    "null struct": [("s.t.x", "int64", NULL_STRUCT(1))],
    "names in byte order": [("é", "int64", 2), ("z", "int64", 1), (r"a\.b", "int64", 0), ("\U0001f600", "int64", 3)],
}  # fmt: skip


def to_json(value, type_):
    """Return a value's JSON form."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, list):
        return [to_json(item, None if not isinstance(type_, dict) else type_.get("list")) for item in value]
    if isinstance(value, float):
        single = type_ in {"float16", "float32"}
        return {"float32" if single else "float64": struct.pack("<f" if single else "<d", value).hex()}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, NULL_STRUCT):
        return {"null_struct": str(value.depth)}
    return {"decimal" if isinstance(value, Decimal) else "int": str(value)}


def row_case(columns):
    """Return one row as JSON: its columns and its bytes."""
    listed = [{"name": name, "type": type_, "value": to_json(value, type_)} for name, type_, value in columns]
    return {"columns": listed, "row": encode_row(columns).hex()}


def write(name, document):
    """Write one file of vectors."""
    text = json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True)
    (HERE / f"{name}.json").write_text(text + "\n", "utf-8")


def commitment_cases():
    """Commitments of two groups in rows of two blocks of a section, and what is left of its salts after an erasure."""
    key = hashlib.sha256(b"salt key").digest()
    cut = salts(key, 0, 258, 2)
    cases = []
    for row in (0, 1, 255, 256):
        for position, group in enumerate(("features", "output")):
            data, salt = encode_row([("x", "int64", row)]), cut[row, position].tobytes()
            case = {"group": group, "row_index": row, "salt": salt.hex(), "row": data.hex()}
            cases.append(case | {"commitment": commit(group, salt, data).hex()})
    gone = np.zeros((258, 2), np.bool_)
    gone[256], gone[257, 1] = True, True
    left = ShardSalts.whole(key, 258, 2).without(gone)
    kept = {"erased": [[256, 0], [256, 1], [257, 1]], "rows": 258, "salts": left.encode().hex()}
    return {"cases": cases, "groups": ["features", "output"], "kept": kept, "salt_key": key.hex()}


FIELDS = {
    "features.D5": [("feature.sex", "string", "f"), ("feature.age", "int64", 41), (r"feature.a\.b", "float64", 0.5)],
    "output": [("output", "float64", 0.25)],
    "features": [(f"feature.{name}", "int64", None) for name in ("é", "z", "a", "Z", "\U0001f600")],
}


def field_cases():
    """Return groups that are committed to by field, with all on the way, and the opening of their first field."""
    cases = []
    for number, (group, columns) in enumerate(FIELDS.items()):
        salt = hashlib.sha256(b"%d" % number).digest()
        ordered = sorted(columns, key=lambda column: column[0].encode())
        own = [field_salt(salt, index) for index in range(len(ordered))]
        rows = [encode_row([column]) for column in ordered]
        leaves = [hash_leaf(field_data(*pair)) for pair in zip(own, rows, strict=True)]
        root = root_hash(leaves)
        opened = {ordered[0][0]: {"row": base64.b64encode(rows[0]).decode(), "salt": own[0].hex()}}
        cases.append({
            "commitment": commit_fields(group, len(leaves), root).hex(), "group": group, "salt": salt.hex(),
            "fields": [
                {"leaf": leaf.hex(), "name": name, "row": row.hex(), "salt": one.hex(), "type": type_,
                 "value": to_json(value, type_)}
                for (name, type_, value), one, row, leaf in zip(ordered, own, rows, leaves, strict=True)
            ],
            "opening": {"fields": opened, "leaves": [leaf.hex() for leaf in leaves[1:]]}, "root": root.hex(),
        })  # fmt: skip
    return {"cases": cases}


def token_cases():
    """Tokens of a few positions under a few salts."""
    cases = []
    for salt in (0, 1, 0x0123456789ABCDEF, 2**64 - 1):
        for position in (0, 1, 25_245, 2**37 - 2):
            token = int(mint_tokens(np.array([position], np.int64), salt)[0])
            cases.append({"position": str(position), "salt": f"{salt:016x}", "token": str(token)})
    return {"cases": cases}


def row_set_cases():
    """Return sets of rows, as runs, with their bytes."""
    far = 1 << 32
    runs = {
        "empty": [],
        "one row": [(7, 1)],
        "a time split": [(0, 80_000)],
        "two parts": [(0, 10), (100, 20)],
        "the last position": [(POSITION_MAX, 1)],
        "every second row": [(2 * i, 1) for i in range(70)],
        "beyond 32 bits": [(far - 35 + 2 * i, 1) for i in range(66)],
        "runs in a bitmap": [(100 * i, 60) for i in range(80)],
    }
    cases = []
    for what, of_set in runs.items():
        positions = [position for first, rows in of_set for position in range(first, first + rows)]
        encoded = RowSet.of_positions(np.array(positions, np.int64)).to_bytes().hex()
        cases.append({"bytes": encoded, "runs": [[str(first), str(rows)] for first, rows in of_set], "what": what})
    return cases


def tree_cases():
    """Subtree roots and root of trees over the leaves 0, 1, 2 … as decimal text."""
    cases = []
    for count in (0, 1, 2, 255, 256, 257, 512, 700):
        leaves = [hash_leaf(str(i).encode()) for i in range(count)]
        subtrees = subtree_roots(b"".join(leaves))
        cases.append({"count": str(count), "root": root_hash(leaves).hex(), "subtrees": subtrees.hex()})
    return {"cases": cases}


def spool_cases():
    """Frames files of one stream: rows and a mark; then, as that could not be made durable, another with an end."""
    rows = [
        [bytes(15) + b"\x01", 1_767_225_600 * 10**9, "ok", None, bytes(32), None, 7, 0.5, "Ada", -0.0],
        [bytes(15) + b"\x02", 1_767_225_600 * 10**9 + 1, "error", "E", bytes(32), "r", None, None, "naïve ☃", None],
    ]
    mark = {"clock": "unknown", "jump_ns": "0", "refused": "1", "time": "2026-01-01T00:00:00.000000000Z", "v": 1}
    first, second = [msgspec.msgpack.encode([row]) for row in rows]
    whole = b"\xdd\x00\x00\x00\x02" + first[1:] + second[1:]
    frames = {
        "rows": (spool_frames.ROWS, 0, 2, whole),
        "synced": (SYNCED, 2, 0, b""),
        "heartbeat": (HEARTBEAT, 2, 0, canonical.encode(mark | {"recorded": "2"})),
        "void": (spool_frames.ROWS, 2, 1, first),
        "resume": (RESUME, 2, 0, b""),
        "row": (spool_frames.ROWS, 2, 1, second),
        "synced later": (SYNCED, 3, 0, b""),
        "end": (END, 3, 0, canonical.encode(mark | {"recorded": "3"})),
    }
    encoded = {name: encode_frame(*frame) for name, frame in frames.items()}
    files = [["rows", "heartbeat", "synced", "void"], ["resume", "row", "end", "synced later"]]
    return {
        "files": [(MAGIC + b"".join(encoded[name] for name in names)).hex() for names in files],
        "frames": {name: data.hex() for name, data in encoded.items()},
        "outputs": [to_json(row[-1], "float64") for row in [*rows, rows[1]]],
        "schema": OPEN.encoded.decode(),
    }


def promise_of():
    """Return a promise file about the second record of a frame of three whose ids are two runs, and what it shows."""
    salt, frame, stream = bytes(range(32)), encode_frame(ROWS_FRAME, 7, 3, b"rows"), "0123456789abcdef" * 2
    digest = frame_digest(salt, frame)
    runs = runs_of(stream, digest, 7, [2**100, 2**100 + 1, 2**100 + 5])
    leaves = [run.encode() for run in runs]
    root = root_hash([hash_leaf(leaf) for leaf in leaves])
    origin, time_ns = "example.org/vectors", 1_767_225_600 * 10**9
    text = PromiseText(origin=origin, time_ns=time_ns, delay=3_600, leaves=len(runs), root=root).encode()
    signer = Ed25519Signer.from_seed(key_name(origin), bytes(range(32)))
    document = PromiseDocument(
        run=runs[0], seq=8, index=0, path=(hash_leaf(leaves[1]),), salt=salt, note=sign_note(text, signer)
    )
    expected = {
        "digest": digest.hex(), "frame": frame.hex(), "id": document.id, "leaves": [leaf.hex() for leaf in leaves],
        "promise_vkey": signer.vkey, "root": root.hex(), "salt": salt.hex(), "seq": "8", "text": text,
    }  # fmt: skip
    return document.encode(), expected


def receipt_of(root):
    """Make a small archive and return files of receipts, what the first proves, and its row.

    The files: of one record, of three, and of three without their context.
    """
    ledger = new_ledger(root, seed=2026)
    recorder = new_recorder(ledger)
    ids = recorder.record(make_batch(ledger, SEALED, 0, 300)).ids
    recorder.close()
    seal_all(ledger)
    receipt = make_receipt(ledger, find_record(ledger, ids[257], "prediction"), ("features",))
    places = find_places(ledger, [ids[n] for n in (299, 0, 257)], "prediction")
    many = make_receipts(ledger, places, opened=None)
    bare = make_receipts(ledger, places, opened=None, left_out=places[0].manifest.contexts)
    extra = canonical.parse_object(base64.b64decode(receipt.data.split(b"\n")[1].split(b" ")[1]), "receipt")
    row = base64.b64decode(extra["row"])
    types = {column.name: column.type for column in SEALED.open_columns}
    values = zip(SEALED.leaf_names, decode_row(row), strict=True)
    record = row_case([(name, types.get(name, "bytes"), value) for name, value in values])
    checkpoint = ledger.log.checkpoint()
    expected = {
        "id": ids[257], "leaf_index": 1, "opened": {"features": {"feature.name": "name 257", "feature.x": "128.5"}},
        "origin": checkpoint.origin, "root": checkpoint.root.hex(), "sealed": ["output", "subject"], "seq": "257",
        "tree_size": checkpoint.size, "vkey": ledger.layout.config.vkey,
    }  # fmt: skip
    leaf = {"leaf": hash_leaf(row).hex(), "schema": SEALED.encoded.decode(), "schema_digest": SEALED.digest}
    files = {"tlog-proof": receipt.data, "receipts": many.data, "bare.receipts": bare.data}
    return files, expected, record | leaf


def write_bundle(root):
    """Write the bundle of two predictions of an archive with sources and a model; return its key and what it proves."""
    archive, ids = archive_with_predictions(root)
    with archive:
        made = archive.bundle(HERE / "bundle.zip", [ids[3], ids[7]])
        return {"ids": [ids[3], ids[7]], "index": made.index, "manifest": made.digest, "vkey": archive.vkey}


def write_report(root):
    """Write a report about a prediction of such an archive; return its key and what it proves."""
    archive, ids = archive_with_predictions(root)
    with archive:
        made = archive.reports.make("individual-explanation", HERE / "report.zip", prediction=ids[3])
        facts = verify_bundle(made.path, vkey=archive.vkey).to_dict()
        return {"facts": facts, "id": ids[3], "vkey": archive.vkey}


def audit_state():
    """Return an auditor's state in which every member says something."""
    signer = Ed25519Signer.from_seed("example.org/vectors", bytes(range(32)))
    leaves = [hash_leaf(str(index).encode()) for index in range(412)]
    checkpoint = Checkpoint(origin=signer.name, size=len(leaves), root=root_hash(leaves))
    return AuditState(
        origin=signer.name, vkey=signer.vkey, note=sign_note(checkpoint.encode(), signer), size=412,
        root=checkpoint.root, time="2026-01-01T00:00:00.000000000Z", segments=300, open=(17, 255), others=200,
        named=hashlib.sha256(b"named").hexdigest(), unnamed=hashlib.sha256(b"unnamed").hexdigest(), payloads=3,
        full=("2026-01-02T00:00:00.000000000Z", 100), whole="2025-12-01T00:00:00.000000000Z",
    ).encode()  # fmt: skip


def rotation_case():
    """Return a change of a log's key at its second entry."""
    origin = "example.org/vectors"
    old, new = (Ed25519Signer.from_seed(origin, bytes(range(first, first + 32))) for first in (0, 32))
    rotated = Rotated(vkey=new.vkey, retired=old.vkey, config=hashlib.sha256(b"backstory.toml").hexdigest())
    entry = canonical.encode({**rotated.document(), "time": "2026-01-01T00:00:00.000000000Z", "v": 1})
    leaves = [hash_leaf(b"the first entry"), hash_leaf(entry)]
    note = sign_checkpoint(Checkpoint(origin=origin, size=2, root=root_hash(leaves)), old, new)
    return {
        "entry": entry.decode(), "note": note.decode(), "proof": [leaves[0].hex()], "retired": old.vkey, "size": 2,
        "vkey": new.vkey,
    }  # fmt: skip


def membership_of():
    """Return a proof that somebody is not in a training set, and what it proves; the tags are of the three who are."""
    people, asked = ["c-17", "é", "\U0001f600"], "c-18"
    document = model_document(people)
    training = holder_of(document)
    data = encode_membership(honest_claim(document, asked, people))
    return {
        "context": tree_context(training).hex(), "facts": verify_membership(data, vkey=SIGNER.vkey).to_dict(),
        "file": data.decode(), "public_key": KEY.public.hex(),
        "tags": {one: tag_of(training, one).hex() for one in people}, "vkey": SIGNER.vkey,
    }  # fmt: skip


def erasure_of():
    """Return a certificate of an erasure and what it proves, a keyed digest, and the hashes of the leaves."""
    texts = ["record 0198c0de-0000-7000-8000-000000000001", f"row {'ab' * 32} 17"]
    data = certificate_of(texts)
    leaves = {text: hash_leaf(leaf_data(salt_of(text), text)).hex() for text in texts}
    return {
        "facts": verify_erasure(data, vkey=SIGNER.vkey).to_dict(), "file": data.decode(),
        "keyed": {"data": b"rows".hex(), "digest": keyed(bytes(range(32)), b"rows"), "key": bytes(range(32)).hex()},
        "leaves": leaves, "salts": {text: salt_of(text).hex() for text in texts}, "vkey": SIGNER.vkey,
    }  # fmt: skip


def people_case():
    """Return an index of people in two blocks: of 600 records of 520 persons, the first two of which lead to others."""
    name, key, part = "0f-0-3.people", bytes(range(32)), bytes(range(32, 64))
    people, links = [f"p-{row % 520}" for row in range(600)], [b"\0" * 16, b"\1" * 16, *[None] * 598]
    of = pa.array([link and [link] for link in links], pa.list_(pa.binary()))
    index = PeopleIndex.of(key, name, pa.table({"subject": people, "of": of}))
    file = seal_index(name, index.blocks(), index_file_key(key, part))
    return {
        "columns": {"of": [link and link.hex() for link in links], "subject": people},
        "file": file.hex(), "key": key.hex(), "name": name, "part": part.hex(),
        "token": index_tokens(key, name, "subject", [b"p-7"]).tobytes().hex(),
    }  # fmt: skip


def main():
    """Write every file."""
    (HERE / "audit_state.json").write_bytes(audit_state())
    write("row_encoding", {"rows": {name: row_case(columns) for name, columns in ROWS.items()}})
    write("commitment", commitment_cases())
    write("field_opening", field_cases())
    write("token", token_cases())
    write("row_set", row_set_cases())
    write("segment_tree", tree_cases())
    write("spool", spool_cases())
    write("rotation", rotation_case())
    write("membership", membership_of())
    write("erasure", erasure_of())
    write("people", people_case())
    data, expected = promise_of()
    (HERE / "promise.promise").write_bytes(data)
    write("promise", expected)
    with tempfile.TemporaryDirectory() as folder:
        files, expected, record = receipt_of(Path(folder) / "archive")
    for name, write_zip in (("bundle", write_bundle), ("report", write_report)):
        (HERE / f"{name}.zip").unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            write(name, write_zip(Path(folder) / "archive"))
    for ending, data in files.items():
        (HERE / f"receipt.{ending}").write_bytes(data)
    write("receipt", expected)
    write("record_leaf", record)


if __name__ == "__main__":
    main()
