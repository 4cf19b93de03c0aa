"""The pinned vectors of docs/format.md, against the scalar and the vectorised implementation."""

from __future__ import annotations

import hashlib
import hmac
import io
import itertools
import json
import struct
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.support.memberships import KEY

from backstory.columns.arrow_type import arrow_type
from backstory.columns.commit import commitments
from backstory.columns.encode import iter_blocks
from backstory.columns.people import index_file_key, index_tokens, parse_people
from backstory.columns.salt import block_keys, parse_salts, salts
from backstory.columns.tree import leaf_hashes, root_of_subtrees, split_hashes, subtree_roots
from backstory.frames.token import check_tokens, mint_tokens, positions_of
from backstory.records import canonical
from backstory.records.commitment import commit, field_salt, verify_opening
from backstory.records.membership import subject_message
from backstory.records.promise import frame_digest, parse_promise
from backstory.records.row import NULL_STRUCT, decode_row, encode_row
from backstory.records.schema import parse_schema, split_name
from backstory.storage.disk import Disk
from backstory.storage.index_file import open_index
from backstory.storage.keys import KeyStore
from backstory.storage.spool import Spool, StreamInfo
from backstory.tlog.hashing import hash_leaf, root_hash
from backstory.verify.bundle import verify_bundle
from backstory.verify.erasure_certificate import verify_erasure
from backstory.verify.membership import verify_membership
from backstory.verify.promise import verify_promise
from backstory.verify.receipt import verify_receipt, verify_receipts
from backstory.verify.standalone import check_bundle as alone
from backstory.verify.standalone import check_erasure as erasure_alone
from backstory.verify.standalone import verify_membership as membership_alone
from backstory.verify.standalone import verify_receipt as receipt_alone

HERE = Path(__file__).parent
SIZE_MAX = 100_000


def read(name):
    """Return one file of vectors."""
    return json.loads((HERE / f"{name}.json").read_text("utf-8"))


ROWS = read("row_encoding")["rows"]


def value_of(value):
    """Return a value from its JSON form."""
    if isinstance(value, list):
        return [value_of(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, text),) = value.items()
    read_value = {
        "int": int,
        "float64": lambda digits: struct.unpack("<d", bytes.fromhex(digits))[0],
        "float32": lambda digits: struct.unpack("<f", bytes.fromhex(digits))[0],
        "bytes": bytes.fromhex,
        "decimal": Decimal,
        "null_struct": lambda depth: NULL_STRUCT(int(depth)),
    }
    return read_value[kind](text)


def columns_of(case):
    """Return a row's columns as the scalar codec takes them."""
    return [(column["name"], column["type"], value_of(column["value"])) for column in case["columns"]]


def to_arrow(type_, value):
    """Return an array of one value in the type it is recorded in."""
    target = arrow_type(type_)
    if isinstance(value, int) and not isinstance(value, bool) and pa.types.is_temporal(target):
        return pa.array([value], pa.int32() if pa.types.is_date32(target) else pa.int64()).view(target)
    if isinstance(type_, dict) and isinstance(type_["list"], dict) and "struct" in type_["list"]:
        names = [field["name"] for field in type_["list"]["struct"]]
        value = [item and dict(zip(names, item, strict=True)) for item in value]
    return pa.array([value], target, from_pandas=False)


def table_of(case):
    """Return a row as a table of one row, with structs for dotted names."""
    fields: dict[str, list] = {}
    for name, type_, value in columns_of(case):
        top, *rest = split_name(name)
        fields.setdefault(top, []).append((rest, to_arrow(type_, value)))
    columns = {}
    for top, parts in fields.items():
        (path, array), *others = parts
        if not path:
            columns[top] = array
        else:
            arrays = [array, *(other for _, other in others)]
            columns[top] = pa.StructArray.from_arrays(arrays, names=[path[0] for path, _ in parts])
    return pa.table(columns)


@pytest.mark.parametrize("name", ROWS)
def test_row_encoding_one_row_at_a_time(name):
    """A row has the pinned bytes, and they decode to the row."""
    case = ROWS[name]
    row = bytes.fromhex(case["row"])
    assert encode_row(columns_of(case)) == row
    ordered = sorted(columns_of(case), key=lambda column: column[0].encode())
    again = [(name, type_, value) for (name, type_, _), value in zip(ordered, decode_row(row), strict=True)]
    if name != "struct in list":  # whose fields come back in byte order of their names
        assert encode_row(again) == row


@pytest.mark.parametrize("name", [name for name in ROWS if name not in {"empty", "null struct"}])
def test_row_encoding_of_a_table(name):
    """The same row in an Arrow table has the same bytes."""
    (block,) = iter_blocks(table_of(ROWS[name]))
    assert [row.hex() for row in block.rows()] == [ROWS[name]["row"]]


def test_row_encoding_of_a_null_struct():
    """A null struct one level down has the pinned mark."""
    inner = pa.struct([("x", pa.int64())])
    table = pa.table({"s": pa.array([{"t": None}], pa.struct([("t", inner)]))})
    (block,) = iter_blocks(table)
    assert [row.hex() for row in block.rows()] == [ROWS["null struct"]["row"]]


def test_record_leaf():
    """A record's leaf has its schema's names in order, the pinned row and the pinned hash, in both implementations."""
    case = read("record_leaf")
    schema = parse_schema(case["schema"].encode())
    row = encode_row(columns_of(case))
    assert schema.digest == case["schema_digest"] == hashlib.sha256(case["schema"].encode()).hexdigest()
    assert tuple(sorted((name for name, _, _ in columns_of(case)), key=str.encode)) == schema.leaf_names
    assert (row.hex(), hash_leaf(row).hex()) == (case["row"], case["leaf"])
    assert leaf_hashes(table_of(case)).hex() == case["leaf"]


def test_commitment():
    """Salts are cut from the pinned key stream, and commitments are the pinned ones, alone and in bulk."""
    vectors = read("commitment")
    groups, cases = vectors["groups"], vectors["cases"]
    cut = salts(bytes.fromhex(vectors["salt_key"]), 0, vectors["kept"]["rows"], len(groups))
    for case in cases:
        salt, row = bytes.fromhex(case["salt"]), bytes.fromhex(case["row"])
        assert cut[case["row_index"], groups.index(case["group"])].tobytes() == salt
        assert commit(case["group"], salt, row).hex() == case["commitment"]
        verify_opening(bytes.fromhex(case["commitment"]), case["group"], salt, row)
    table = pa.table({"x": pa.array(range(len(cut)), pa.int64())})
    for position, group in enumerate(groups):
        bulk = split_hashes(commitments(table, group, cut[:, position]))
        for case in (case for case in cases if case["group"] == group):
            assert bulk[case["row_index"]].hex() == case["commitment"]


def test_kept_salts():
    """What is left after an erasure is read from the pinned bytes, by the library and by format.md section 37."""
    vectors = read("commitment")
    kept, groups = vectors["kept"], len(vectors["groups"])
    data = bytes.fromhex(kept["salts"])
    left, whole = parse_salts(data, "vector"), salts(bytes.fromhex(vectors["salt_key"]), 0, kept["rows"], groups)
    gone = {tuple(place) for place in kept["erased"]}
    for row, group in itertools.product(range(kept["rows"]), range(groups)):
        assert left.has(row, 1)[0, group] == ((row, group) not in gone)
        assert left.cut(row, 1)[0, group].tobytes() == (
            bytes(32) if (row, group) in gone else whole[row, group].tobytes()
        )
    # rows and groups, the second of two blocks is touched, the first one's key, which of 2 x 2 salts remain, that salt
    key = block_keys(bytes.fromhex(vectors["salt_key"]), 0, 1).tobytes()
    head = kept["rows"].to_bytes(8, "little") + groups.to_bytes(4, "little")
    assert data == head + b"\x02" + key + b"\x04" + whole[257, 0].tobytes()


@pytest.mark.parametrize("case", read("field_opening")["cases"], ids=lambda case: case["group"])
def test_field_opening(case):
    """Fields have the pinned salts, leaves and commitment, by the formulas of format.md section 5 and in bulk."""
    salt, fields, group = bytes.fromhex(case["salt"]), case["fields"], case["group"].encode()
    assert [field["name"] for field in fields] == sorted((field["name"] for field in fields), key=str.encode)
    leaves = []
    for index, field in enumerate(fields):
        own = hashlib.sha256(b"backstory/field/v1\0" + salt + index.to_bytes(4, "little")).digest()
        row = encode_row([(field["name"], field["type"], value_of(field["value"]))])
        leaves.append(hashlib.sha256(b"\0" + own + row).digest())
        assert (own.hex(), row.hex(), leaves[-1].hex()) == (field["salt"], field["row"], field["leaf"])
        assert field_salt(salt, index) == own
    root = root_hash(leaves)
    head = b"backstory/commitment/v2\0" + bytes([len(group)]) + group + len(fields).to_bytes(4, "little")
    assert (root.hex(), hashlib.sha256(head + root).hexdigest()) == (case["root"], case["commitment"])
    table = table_of({"columns": fields})
    bulk = commitments(table, case["group"], np.frombuffer(salt, np.uint8).reshape(1, 32), by_field=True)
    assert bulk.hex() == case["commitment"]


@pytest.mark.parametrize("case", read("field_opening")["cases"], ids=lambda case: case["group"])
def test_field_opening_by_the_stand_alone_verifier(case):
    """The stand-alone verifier opens the first field alone, to the pinned commitment."""
    opening = receipt_alone.read_opening(case["opening"])
    names = [field["name"] for field in case["fields"]]
    assert receipt_alone.commit(case["group"], names, *opening).hex() == case["commitment"]


def test_token():
    """Tokens are the pinned ones by the library and by the formula of docs/format.md section 10."""
    for case in read("token")["cases"]:
        position, salt, token = int(case["position"]), int(case["salt"], 16), int(case["token"])
        mixed = (position ^ salt) * 0x9E3779B97F4A7C15 % 2**64
        mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 % 2**64
        assert (position + 1) << 16 | mixed >> 48 == token
        (minted,) = tokens = mint_tokens(np.array([position], np.int64), salt)
        assert int(minted) == token == int(float(token))
        assert positions_of(tokens).tolist() == [position]
        assert check_tokens(tokens, salt, position, 1).all()


def test_segment_tree():
    """Trees over counted leaves have the pinned subtree roots and root, which is RFC 6962's."""
    for case in read("segment_tree")["cases"]:
        leaves = [hash_leaf(str(i).encode()) for i in range(int(case["count"]))]
        subtrees = subtree_roots(b"".join(leaves))
        assert subtrees.hex() == case["subtrees"]
        assert root_of_subtrees(subtrees).hex() == root_hash(leaves).hex() == case["root"]


def test_spool(tmp_path):
    """The pinned frames files hold the pinned rows, once, and the last mark says that the writer ended."""
    case = read("spool")
    schema = parse_schema(case["schema"].encode())
    spool = Spool(tmp_path / "spool", KeyStore(tmp_path / "keys", Disk()), Disk())
    info = StreamInfo(stream="ab" * 16, schema=schema.digest, encrypted=False, opened="", policy={})
    spool.create(info).abandon()
    for number, data in enumerate(case["files"]):
        (tmp_path / "spool" / info.stream / f"frames-{number}").write_bytes(bytes.fromhex(data))
    tables = [spool.table(info, schema, frame) for frame in spool.frames(info, 0)]
    assert [seq for table in tables for seq in table["seq"].to_pylist()] == [0, 1, 2]
    outputs = [output for table in tables for output in table["output"].to_pylist()]
    assert list(map(repr, outputs)) == [repr(value_of(value)) for value in case["outputs"]]
    mark, has_ended = spool.last_mark(info)
    assert (mark["recorded"], mark["refused"], has_ended) == ("3", "1", True)
    assert spool.torn_size(info) == 0


def test_promise():
    """The pinned promise verifies under its key; digest, leaves, root and text are the pinned ones."""
    expected = read("promise")
    frame, salt = bytes.fromhex(expected["frame"]), bytes.fromhex(expected["salt"])
    document = parse_promise((HERE / "promise.promise").read_bytes())
    shown = verify_promise(HERE / "promise.promise", promise_vkey=expected["promise_vkey"], frame=frame)
    assert (shown.id, str(shown.seq), document.salt) == (expected["id"], expected["seq"], salt)
    assert frame_digest(salt, frame).hex() == expected["digest"] == document.run.frame.hex()
    leaves = [bytes.fromhex(leaf) for leaf in expected["leaves"]]
    assert document.run.encode() == leaves[0]
    assert root_hash([hash_leaf(leaf) for leaf in leaves]).hex() == expected["root"]
    assert document.note.decode().startswith(expected["text"] + "\n")


def test_receipt():
    """The pinned receipt verifies under its key and proves the pinned facts."""
    expected = read("receipt")
    receipt = verify_receipt(HERE / "receipt.tlog-proof", vkey=expected.pop("vkey"))
    found = receipt.to_dict()
    assert {key: found[key] for key in expected} == expected


def test_receipts():
    """The pinned file of several receipts verifies under the same key, in the order of the log."""
    receipts = verify_receipts(HERE / "receipt.receipts", vkey=read("receipt")["vkey"])
    assert [(receipt.seq, receipt.opened["output"]["output"]) for receipt in receipts] == [
        (n, n) for n in (0, 257, 299)
    ]


def test_receipts_without_a_context():
    """The same records, whose context was left out, say the same of themselves and name its digest."""
    whole, bare = (
        [one.to_dict() for one in verify_receipts(HERE / f"receipt.{kind}", vkey=read("receipt")["vkey"])]
        for kind in ("receipts", "bare.receipts")
    )
    assert bare == [{**one, "context": None} for one in whole]
    assert bare[0]["values"]["context"] == canonical.digest_of(whole[0]["context"])


def test_erasure():
    """The certificate verifies in both verifiers, with what it proves; leaves and keyed digest follow from the page."""
    vector = read("erasure")
    assert verify_erasure(vector["file"].encode(), vkey=vector["vkey"]).to_dict() == vector["facts"]
    log = [erasure_alone.receipt.Key(vector["vkey"], 1)]
    assert erasure_alone.check_file(vector["file"].encode(), log) == vector["facts"]
    for text, leaf in vector["leaves"].items():
        data = b"backstory/erasure/v1\0" + bytes.fromhex(vector["salts"][text]) + text.encode()
        assert hashlib.sha256(b"\0" + data).hexdigest() == leaf
    key, data = (bytes.fromhex(vector["keyed"][name]) for name in ("key", "data"))
    name = hashlib.sha256(b"backstory/dataset-key/v1\0" + key).hexdigest()
    assert vector["keyed"]["digest"] == f"{name}:{hmac.digest(key, data, 'sha256').hex()}"


def test_people_index():
    """The pinned index decrypts, and says of each id which rows have it, by the formulas of format.md section 37."""
    vector = read("people")
    name, file, key, part = vector["name"], *(bytes.fromhex(vector[one]) for one in ("file", "key", "part"))
    cipher = AESGCM(hmac.digest(key, b"backstory/index-file/v1\0" + part, "sha256"))
    (size,) = struct.unpack("<I", file[5:9])
    sizes = struct.unpack("<2I", cipher.decrypt(file[9:21], file[21 : 9 + size], f"{name}\0head".encode()))
    assert (file[:5], 9 + size + sum(sizes)) == (b"BSVX\1", len(file))
    pieces = file[9 + size :][: sizes[0]], file[9 + size :][sizes[0] :]
    blocks = [cipher.decrypt(one[:12], one[12:], f"{name}\0{at}".encode()) for at, one in enumerate(pieces)]

    def token_of(column, value):
        data = b"backstory/index/v1\0" + f"{name}\0{column}\0".encode() + value
        return hmac.digest(key, data, "sha256")[:16]

    rows: dict[bytes, list[int]] = {}
    for column, ids in vector["columns"].items():
        for row, one in enumerate(ids):
            if one is not None:
                value = one.encode() if column == "subject" else bytes.fromhex(one)
                rows.setdefault(token_of(column, value), []).append(row)
    assert token_of("subject", b"p-7").hex() == vector["token"]
    for first_bit, block in enumerate(blocks):
        tokens = sorted(token for token in rows if token[0] >> 7 == first_bit)
        numbers = [[len(rows[token]) for token in tokens], [row for token in tokens for row in rows[token]]]
        packed = b"".join(struct.pack(f"<{len(part)}I", *part) for part in numbers)
        assert block == struct.pack("<I", len(tokens)) + b"".join(tokens) + packed
    assert open_index(io.BytesIO(file), name, [index_file_key(key, part)], range) == dict(enumerate(blocks))
    index = parse_people(blocks, "vector")
    assert index.rows_of(index_tokens(key, name, "subject", [b"p-7"])[0]).tolist() == [7, 527]


def test_membership():
    """The proof of membership verifies in both verifiers, with what it proves; the tags are the function's."""
    vector = read("membership")
    data, log = vector["file"].encode(), [membership_alone.receipt.Key(vector["vkey"], 1)]
    assert verify_membership(data, vkey=vector["vkey"]).to_dict() == vector["facts"]
    assert membership_alone.check_file(data, log) == vector["facts"]
    assert KEY.public.hex() == vector["public_key"]
    for subject, tag in vector["tags"].items():
        (output,) = KEY.outputs([subject_message(bytes.fromhex(vector["context"]), subject)])
        assert output[:32].hex() == tag


def test_bundle():
    """The pinned bundle verifies under its key, with the program for whoever has no Backstory too."""
    expected = read("bundle")
    found = verify_bundle(HERE / "bundle.zip", vkey=expected["vkey"]).to_dict()
    assert found == alone.check_bundle(str(HERE / "bundle.zip"), [alone.receipt.Key(expected["vkey"], 1)])
    assert (found["index"], found["manifest"]) == (expected["index"], expected["manifest"])
    assert found["question"]["predictions"] == expected["ids"]


def test_report():
    """The pinned report verifies with the same facts in both, and quotes the record it is about."""
    expected = read("report")
    found = verify_bundle(HERE / "report.zip", vkey=expected["vkey"]).to_dict()
    assert found == alone.check_bundle(str(HERE / "report.zip"), [alone.receipt.Key(expected["vkey"], 1)])
    assert found == expected["facts"]
    with zipfile.ZipFile(HERE / "report.zip") as file:
        report = json.loads(file.read("report.json"))
    assert {quote["record"] for quote in report["quotes"]} == {expected["id"]} == set(report["evidence"]["records"])


def test_vectors_stay_small():
    """Our own vectors are small enough to be copied anywhere."""
    own = ["row_encoding", "record_leaf", "commitment", "token", "segment_tree", "spool", "receipt", "promise"]
    sizes = [(HERE / f"{name}.json").stat().st_size for name in own]
    sizes += [(HERE / f"receipt.{ending}").stat().st_size for ending in ("tlog-proof", "receipts")]
    assert sum(sizes) < SIZE_MAX
