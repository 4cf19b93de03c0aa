"""Parsers of what is recorded: canonical JSON, rows, schemas, entries, promises; and their stand-alone twins."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import struct
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from tests.fuzz.parser import Parser, text_of
from tests.support.ledgers import OPEN, SEALED
from tests.support.receipts import BY_FIELD, GROUPS, SCHEMA, make_segment

from backstory.errors import FormatError
from backstory.records import canonical
from backstory.records.classification import (
    Classification,
    ColumnClass,
    Confirmed,
    parse_classification,
    parse_confirmed,
)
from backstory.records.erasure import LEAVES_MIN, Erased, parse_erased
from backstory.records.identity import parse_time, time_text
from backstory.records.job import JobEnd, JobPart, PartName, parse_job_end, parse_job_part, parse_part_name
from backstory.records.manifest import parse_file, parse_manifest
from backstory.records.merge import parse_merge
from backstory.records.privacy_budget import BudgetTerms, Loss, parse_terms
from backstory.records.promise import (
    SALT_SIZE,
    KeptPromise,
    PromisedRun,
    parse_kept,
    parse_promise,
    parse_promise_text,
    parse_run,
)
from backstory.records.row import decode_row, encode_row, tag_of
from backstory.records.schema import parse_schema
from backstory.records.succession import Head, Restored, Rotated, parse_restored, parse_rotated
from backstory.verify.receipt import plain
from backstory.verify.standalone import verify_receipt as alone

VECTORS = Path(__file__).parents[1] / "vectors"
TYPES = [
    "null", "bool", "int64", "uint64", "float64", "float32", "timestamp[UTC]", "timestamp", "date", "time", "duration",
    "string", "bytes",
]  # fmt: skip
BY_TAG = {tag_of(type_): type_ for type_ in TYPES}
LIST, STRUCT, DECIMAL, NULL_STRUCT = 0x13, 0x14, 0x12, 0x0B


def agreed(ours, theirs):
    """Return what two parsers make of one input, which both must refuse or both accept; raise what ours raises."""
    refused = None
    try:
        found = ours()
    except FormatError as error:
        found, refused = None, error
    try:
        other, other_refused = theirs(), None
    except alone.FailedError as error:
        other, other_refused = None, error
    assert (refused is None) is (other_refused is None), f"we say {refused}, the stand-alone verifier {other_refused}"
    if refused is not None:
        raise refused
    return found, other


def _check_json(data):
    document = canonical.parse(data)
    yield
    assert canonical.encode(document) == data
    assert json.loads(data) == document


def _check_object(data):
    ours, theirs = agreed(lambda: canonical.parse_object(data, "document"), lambda: alone.from_json(data))
    yield
    assert ours == theirs


def _jsons():
    documents = [
        {"v": 1, "": [None, True, {"\uffff": 0, "\U00010000": -1}], "é": '\x00\u2028\\"/', "n": 2**53 - 1},
        [[[[]]], "", 0], canonical.parse(SCHEMA.encoded),
    ]  # fmt: skip
    return [*map(canonical.encode, documents), b"[" * 32 + b"]" * 32, b"true"]


def _large_jsons():
    return [
        b"[" * 10**6,
        b'{"a":' * 10**6,
        b"9" * 10**6,
        b'"' + b"\\u0061" * 10**6 + b'"',
        b"[" + b"[]," * 10**5 + b"[]]",
    ]


# --- Rows -------------------------------------------------------------------------------------------------------------


def _check_row(data):
    """Values of a row are the same for both; written with the types their cells tell of, they are the same bytes."""

    def theirs():
        alone.need(data[:4] == b"BR\x01\x00", "magic")
        return alone.read_cells(data[4:], 0)

    values, others = agreed(lambda: decode_row(data), theirs)
    yield
    assert [plain(value) for value in values] == [alone.plain(value) for value in others]
    types = _types_of(data[4:])
    if None not in types:
        assert encode_row([(f"{i:06}", types[i], value) for i, value in enumerate(values)]) == data
    for value in others[:8]:
        shown = {
            "id": "",
            "origin": "",
            "tree_size": 1,
            "leaf_index": 0,
            "root": "",
            "stream": "",
            "seq": "0",
            "context": {},
            "undisclosed": {},
            "erased": [],
            "values": {"time": alone.plain(value), "context": ""},
            "opened": {},
            "sealed": [],
        }
        alone.describe(shown)


def _types_of(cells):
    """Return the type that each cell tells of; None where it tells of two."""
    (count,) = struct.unpack_from("<I", cells)
    at, types = 4 + 9 * count, []
    for start in range(4, at, 9):
        tag, length = struct.unpack_from("<BQ", cells, start)
        content = cells[at : at + length] if tag >= 0x10 else b""
        at += len(content)
        types.append(_type_of(tag, content))
    return types


def _type_of(tag, content):
    if tag == DECIMAL:
        return f"decimal(38,{len(content.partition(b'.')[2])})"
    if tag == STRUCT:
        fields = _types_of(content)
        return None if None in fields else {"struct": [{"name": f"{i:06}", "type": t} for i, t in enumerate(fields)]}
    if tag == LIST:
        items = {json.dumps(type_): type_ for type_ in _types_of(content)}
        items.pop('"null"', None)
        return None if len(items) > 1 or None in items.values() else {"list": next(iter(items.values()), "null")}
    return "null" if tag == NULL_STRUCT else BY_TAG[tag]


def _rows():
    segment = make_segment(random.Random(1), 8)
    opened = [row for opening in segment.openings[:2] for row in _opened(opening)]
    decimals = [(f"d{i}", "decimal(38,9)", Decimal(text)) for i, text in enumerate(("0", "-1", "0.000000001", "12e8"))]
    nested = {"list": {"list": {"struct": [{"name": "a", "type": "int64"}, {"name": "b", "type": {"list": "bool"}}]}}}
    return [
        *segment.rows, *opened, encode_row([]), encode_row(decimals),
        encode_row([("n", nested, [[[1, [True]]], None])]),
        encode_row([("time", "string", "now"), ("x", "bytes", bytes(300))]),
    ]  # fmt: skip


def _opened(opening):
    return [base64.b64decode(opening[group]["row"]) for group in GROUPS if group != BY_FIELD]


def _large_rows():
    """Return rows of many cells and of long ones, and what says it has many."""
    names = [(f"{i:06}", "int64", i) for i in range(65_535)]
    return [
        encode_row(names), encode_row([("d", "decimal(38,0)", Decimal(int("9" * 4_000)))]),
        encode_row([("l", {"list": "null"}, [None] * 10**5)]), b"BR\x01\x00\xff\xff\xff\xff",
        b"BR\x01\x00\x01\0\0\0\x10" + b"\xff" * 8,
        b"BR\x01\x00\x01\0\0\0\x12" + (10**6).to_bytes(8, "little") + b"9" * 10**6,
    ]  # fmt: skip


# --- Schemas and entries ----------------------------------------------------------------------------------------------


def _check_schema(data):
    try:
        schema, (leaf_names, groups, by_field) = agreed(lambda: parse_schema(data), lambda: alone.read_schema(data))
    except alone.CannotCheckError as error:
        raise FormatError("of a later version") from error
    yield
    assert schema.encoded == data
    assert list(schema.leaf_names) == leaf_names
    assert list(schema.groups) == list(groups)
    assert list(schema.fields) == list(by_field)
    for group in schema.groups:
        assert sorted((column.name for column in schema.group_columns(group)), key=str.encode) == groups[group]


def _large_schemas():
    """Return a schema with many groups."""
    columns = [{"class": "D3", "group": f"{i}", "name": f"{i}", "type": "bool"} for i in range(20_000)]
    return [canonical.encode({"columns": columns, "kind": "k", "v": 1})]


def _check_manifest(data):
    document = canonical.parse_object(data, "manifest")
    if isinstance(document.get("v"), int) and document["v"] > 1:
        raise FormatError("of a later version")
    manifest, other = agreed(lambda: parse_manifest(document), lambda: alone.read_manifest(data))
    yield
    parse_file(document["file"])
    assert parse_manifest({"type": document["type"], "v": 1, **manifest.document()}) == manifest
    assert (other["count"], other["first_seq"]) == (manifest.count, manifest.first_seq)


def _manifests():
    entry = make_segment(random.Random(1), 3).entry
    return [entry, canonical.encode({**canonical.parse(entry), "shard": None})]


def _entry(parse, covers, *makes):
    """Return the parser of a type of entry: what is written from it is read as the same."""

    def check(data):
        document = canonical.parse_object(data, "entry")
        found = parse(document)
        yield
        assert parse({"type": document.get("type"), "v": 1, **found.document()}) == found

    return Parser(check, lambda: [canonical.encode({"time": "", **make, "v": 1}) for make in makes], covers)


NAME = PartName(name="nightly", run="2026-01-01", part="part 1")
DIGEST = hashlib.sha256(b"").hexdigest()
MERGE = {
    "count": "412", "file": {"name": "a.parquet", "sha256": DIGEST, "size": "9"}, "first_seq": "0",
    "parts": ["1", "2", "300"], "stream": "0" * 32, "type": "segments.merged",
}  # fmt: skip
RESTORED = Restored(
    origin="example.org/log/2", vkey="k", config=DIGEST, previous_origin="example.org/log", previous_vkey="j",
    previous=Head(size=7, root=DIGEST), last_known=Head(size=9, root=DIGEST), lost=2,
)  # fmt: skip
BARE = {**RESTORED.document(), "last_known": None, "lost": None}


def _document(parse, covers, *makes):
    """Return the parser of a document: what is read is written as the same bytes."""

    def check(data):
        found = parse(canonical.parse_object(data, "document"))
        yield
        assert canonical.encode(found.document()) == data

    return Parser(check, lambda: [canonical.encode(make.document()) for make in makes], covers)


CLASSES = Classification(
    kind="model",
    name="m",
    columns=(ColumnClass(name="feature.a", sensitivity="D5"), ColumnClass(name="output", sensitivity="D1", open=True)),
    fields=("D5",),
)
ERASED = Erased(
    ground="request", request=None, leaves=LEAVES_MIN, root=DIGEST, counts=DIGEST, values=4, tables=1, rekeyed=True,
    complete=False,
    partial=False,
)  # fmt: skip
TERMS = BudgetTerms(limit=Loss(epsilon=Decimal("1.5"), delta=Decimal()), unit="subject", period="month")


# --- Promises ---------------------------------------------------------------------------------------------------------


def _check_promise(data):
    found = parse_promise(data)
    yield
    assert found.encode() == data


def _check_kept(data):
    kept = parse_kept(data)
    yield
    assert kept.encode() == data + b"\n"
    assert {len(salt) for salt in kept.salts} <= {SALT_SIZE}


def _runs():
    return [PromisedRun(frame=bytes(32), stream="0f" * 16, first_seq=2**64 - 9, count=9, first_id=2**127)]


def _kept():
    return [KeptPromise(note=b"note\n", runs=(_runs()[0],) * n, salts=(bytes(32),) * n).encode()[:-1] for n in (1, 3)]


def _check_run(data):
    found = parse_run(data)
    yield
    assert found.encode() == data


def _check_promise_text(data):
    found = parse_promise_text(text_of(data))
    yield
    assert found.encode() == text_of(data)


def _check_time(data):
    time_ns = parse_time(text_of(data))
    yield
    assert time_text(time_ns) == text_of(data)


def _promise():
    return [(VECTORS / "promise.promise").read_bytes()]


PARSERS = {
    "canonical JSON": Parser(_check_json, _jsons, ("parse",), make_large=_large_jsons),
    "canonical object": Parser(_check_object, _jsons, ("parse_object", "alone.from_json")),
    "row": Parser(_check_row, _rows, ("decode_row", "alone.read_cells", "alone.read_value"), make_large=_large_rows),
    "schema": Parser(
        _check_schema,
        lambda: [s.encoded for s in (SCHEMA, OPEN, SEALED)],
        ("parse_schema", "alone.read_schema"),
        make_large=_large_schemas,
    ),
    "manifest": Parser(_check_manifest, _manifests, ("parse_manifest", "parse_file", "alone.read_manifest")),
    "merge": _entry(parse_merge, ("parse_merge",), MERGE),
    "part of a job": _entry(
        parse_job_part,
        ("parse_job_part",),
        {"type": "job.part", **JobPart(which=NAME, stream="0" * 32, records=9).document()},
    ),
    "name of a part": _entry(lambda document: parse_part_name(document, "part"), ("parse_part_name",), NAME.document()),
    "end of a job": _entry(
        parse_job_end,
        ("parse_job_end",),
        {"type": "job.finished", **JobEnd(name="n", run="r", parts=3, records=9, expected=9).document()},
    ),
    "rotated key": _entry(parse_rotated, ("parse_rotated",), Rotated(vkey="k", retired="j", config=DIGEST).document()),
    "restored archive": _entry(parse_restored, ("parse_restored",), RESTORED.document(), BARE),
    "classification": _document(parse_classification, ("parse_classification",), CLASSES),
    "confirmed classification": _document(
        parse_confirmed, ("parse_confirmed",), Confirmed(classification=CLASSES, version="2")
    ),
    "erasure": _entry(parse_erased, ("parse_erased",), ERASED.document(), replace(ERASED, follows=DIGEST).document()),
    "budget": _document(parse_terms, ("parse_terms", "parse_loss"), TERMS),
    "promise": Parser(_check_promise, _promise, ("parse_promise",)),
    "kept promise": Parser(_check_kept, _kept, ("parse_kept",)),
    "promised run": Parser(_check_run, lambda: [run.encode() for run in _runs()], ("parse_run",)),
    "text of a promise": Parser(
        _check_promise_text,
        lambda: [json.loads((VECTORS / "promise.json").read_bytes())["text"].encode()],
        ("parse_promise_text",),
    ),
    "time": Parser(
        _check_time, lambda: [b"2026-01-01T00:00:00.000000001Z", b"1969-12-31T23:59:59.999999999Z"], ("parse_time",)
    ),
}
