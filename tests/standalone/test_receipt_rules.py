"""Rules that only a log can break that signs what it should not: it really does, and all three verifiers refuse it."""

from __future__ import annotations

import base64
import random
import struct

import pytest
from tests.standalone.verifiers import ours, run_verifiers
from tests.support.receipts import SCHEMA, Log, extra_of, join_file, make_segment, many_document, many_file, one_file

from backstory.cli.exit_codes import FAILED, OK, UNVERIFIED
from backstory.records import canonical
from backstory.records.row import (
    BYTES,
    DECIMAL,
    FLOAT32,
    FLOAT64,
    LIST,
    NULL,
    NULL_STRUCT_TAG,
    STRING,
    STRUCT,
    TIME,
    UINT,
)

DOCUMENT = canonical.parse_object(SCHEMA.encoded, "schema")
NAMES = list(SCHEMA.leaf_names)


def cell(name, tag, payload=bytes(8), content=b""):
    """Return a change of a row: this cell instead of the one of a column."""

    def change(row):
        at, tails = 8 + 9 * len(NAMES), []
        start = 8 + 9 * NAMES.index(name)
        for number in range(len(NAMES)):
            kind, length = struct.unpack_from("<BQ", row, 8 + 9 * number)
            size = length if 0x10 <= kind <= 0x14 else 0
            tails.append(row[at : at + size])
            at += size
        tails[NAMES.index(name)] = content
        shown = struct.pack("<Q", len(content)) if 0x10 <= tag <= 0x14 else payload
        return row[:start] + bytes([tag]) + shown + row[start + 9 : 8 + 9 * len(NAMES)] + b"".join(tails)

    return change


def nested(depth):
    """Return the content of a list in a list, so many times."""
    content = bytes(4)
    for _ in range(depth):
        content = struct.pack("<IBQ", 1, LIST, len(content)) + content
    return content


def with_columns(change):
    """Return a schema with other columns."""
    columns = [dict(column) for column in DOCUMENT["columns"]]
    return canonical.encode({**DOCUMENT, "columns": change(columns)})


def first_column(**members):
    """Return a schema whose last open column has other members."""
    return with_columns(lambda columns: [*columns[:-4], {**columns[-4], **members}, *columns[-3:]])


def file_of(**options):
    """Return the receipt of a record of a log whose only segment is not as it should be."""
    log = Log([make_segment(random.Random(1), 3, **options)])
    return one_file(log, log.claim(0, 1, ("output",)))


def entry_with(**members):
    """Return the change of an entry to other members; None takes one away."""
    return lambda entry: {n: v for n, v in (entry | members).items() if v is not ...}


def many_with(log=None, **members):
    """Return a file of two receipts with other members."""
    log = log or Log([make_segment(random.Random(1), 3)])
    return canonical.encode({**many_document(log, [log.claim(0, 0), log.claim(0, 2)]), **members})


def with_extra(log=None, **members):
    """Return a receipt with other members."""
    log = log or Log([make_segment(random.Random(1), 3)])
    claim = log.claim(0, 1)
    proof = [base64.b64encode(node).decode() for node in claim["proof"]]
    return join_file(canonical.encode({**extra_of(claim), **members}), "1", proof, log.note)


def malformed_later(what, **members):
    """Return a file with a malformed member, of a log with a later manifest or schema: which is not come to."""
    later = {
        "manifest": {"change_entry": entry_with(v=2)},
        "schema": {"schema": canonical.encode({**DOCUMENT, "v": 2})},
    }
    log = Log([make_segment(random.Random(1), 3, **later[what])])
    return (many_with if members.keys() & {"contexts", "nodes"} else with_extra)(log, **members)


MALFORMED = {
    "row": "AB==", "context": "AB==", "index": "01", "path": {}, "openings": {"output": {"row": "AA==", "salt": "0"}},
    "contexts": ["AB=="], "nodes": ["AA=="],
}  # fmt: skip
F, G, T, L, S = "feature.f", "feature.g", "feature.t", "feature.l", "feature.s"
FILE = {"name": "a", "sha256": "0" * 64, "size": "1"}

CASES = {
    "a good one": (file_of(), OK),
    "deep enough": (file_of(change_row=cell(L, LIST, content=nested(31))), OK),
    "NaN": (file_of(change_row=cell(F, FLOAT64, bytes.fromhex("000000000000f87f"))), OK),
    "another NaN": (file_of(change_row=cell(F, FLOAT64, bytes.fromhex("010000000000f87f"))), FAILED),
    "a negative NaN": (file_of(change_row=cell(F, FLOAT64, bytes.fromhex("000000000000f8ff"))), FAILED),
    "another single NaN": (file_of(change_row=cell(G, FLOAT32, bytes.fromhex("0000c0ff00000000"))), FAILED),
    "a single with more": (file_of(change_row=cell(G, FLOAT32, bytes.fromhex("0000003f01000000"))), FAILED),
    "bool 2": (file_of(change_row=cell(F, 0x01, b"\x02" + bytes(7))), FAILED),
    "null with more": (file_of(change_row=cell(F, NULL, b"\x01" + bytes(7))), FAILED),
    "null struct too deep": (file_of(change_row=cell(F, NULL_STRUCT_TAG, b"\x21" + bytes(7))), FAILED),
    "no such tag": (file_of(change_row=cell(F, 0x15)), FAILED),
    "struct outside a list": (file_of(change_row=cell(F, STRUCT, content=bytes(4))), FAILED),
    "null struct in a list": (
        file_of(change_row=cell(L, LIST, content=struct.pack("<IBQ", 1, NULL_STRUCT_TAG, 0))), FAILED
    ),
    "mixed list": (file_of(change_row=cell(L, LIST, content=struct.pack("<IBQBQ", 2, UINT, 0, FLOAT64, 0))), FAILED),
    "mixed struct": (file_of(change_row=cell(S, STRUCT, content=bytes(4))), FAILED),
    "list with nulls": (file_of(change_row=cell(L, LIST, content=struct.pack("<IBQBQ", 2, UINT, 0, NULL, 0))), OK),
    "too deep": (file_of(change_row=cell(L, LIST, content=nested(32))), FAILED),
    "text that is none": (file_of(change_row=cell(T, STRING, content=b"\xff")), FAILED),
    "a surrogate": (file_of(change_row=cell(T, STRING, content=b"\xed\xa0\x80")), FAILED),
    "decimal with a plus": (file_of(change_row=cell(F, DECIMAL, content=b"+1")), FAILED),
    "decimal with an end": (file_of(change_row=cell(F, DECIMAL, content=b"1\n")), FAILED),
    "decimal in other digits": (file_of(change_row=cell(F, DECIMAL, content="\u0661".encode())), FAILED),
    "decimal minus zero": (file_of(change_row=cell(F, DECIMAL, content=b"-0.00")), FAILED),
    "small decimal": (file_of(change_row=cell(F, DECIMAL, content=b"0.000000001")), OK),
    "more behind": (file_of(change_row=lambda row: row + b"x"), FAILED),
    "other magic": (file_of(change_row=lambda row: b"BR\x02\x00" + row[4:]), FAILED),
    "a cell less": (file_of(change_values=lambda values: values[:-1]), FAILED),
    "empty row": (file_of(change_row=lambda row: row[:4]), FAILED),
    "seq is true": (file_of(change_row=cell("seq", 0x01, b"\x01" + bytes(7))), FAILED),
    "seq is a float": (file_of(change_row=cell("seq", FLOAT64, struct.pack("<d", 8.0))), FAILED),
    "seq is null": (file_of(change_row=cell("seq", NULL)), FAILED),
    "stream is text": (file_of(change_row=cell("stream", STRING, content=b"a" * 16)), FAILED),
    "context is text": (file_of(change_row=cell("context", STRING, content=b"a" * 32)), FAILED),
    "id is short": (file_of(change_row=cell("id", BYTES, content=bytes(15))), FAILED),
    "id is a number": (file_of(change_row=cell("id", UINT)), FAILED),
    "time is text": (file_of(change_row=cell("time", STRING, content=b"now")), OK),
    "time is far": (file_of(change_row=cell("time", UINT, b"\xff" * 8)), OK),
    "time of day": (file_of(change_row=cell("time", TIME, b"\xff" * 8)), OK),
    "commitment is text": (file_of(change_row=cell("commitment.output", STRING, content=b"a" * 32)), FAILED),
    "a later manifest": (file_of(change_entry=entry_with(v=2)), UNVERIFIED),
    "another entry of a later version": (file_of(change_entry=entry_with(v=2, type="segments.merged")), FAILED),
    **{
        f"a later {what} with malformed {name}": (malformed_later(what, **{name: value}), FAILED)
        for what in ("manifest", "schema")
        for name, value in MALFORMED.items()
    },
    "a manifest of no version": (file_of(change_entry=entry_with(v="1")), FAILED),
    "a manifest of version true": (file_of(change_entry=entry_with(v=True)), FAILED),
    "a manifest of version -1": (file_of(change_entry=entry_with(v=-1)), FAILED),
    "another entry": (file_of(change_entry=entry_with(type="segments.merged")), FAILED),
    "no records": (file_of(change_entry=entry_with(count="0")), FAILED),
    "too many records": (file_of(change_entry=entry_with(count="1048577")), FAILED),
    "one record less": (file_of(change_entry=entry_with(count="1")), FAILED),
    "count is a number": (file_of(change_entry=entry_with(count=3)), FAILED),
    "count with a zero": (file_of(change_entry=entry_with(count="03")), FAILED),
    "first seq too long": (file_of(change_entry=entry_with(first_seq="1" * 21)), FAILED),
    "other first seq": (file_of(change_entry=entry_with(first_seq="1")), FAILED),
    "stream in capitals": (file_of(change_entry=entry_with(stream="A" * 32)), FAILED),
    "other stream": (file_of(change_entry=entry_with(stream="a" * 32)), FAILED),
    "root with an end": (file_of(change_entry=entry_with(root="a" * 64 + "\n")), FAILED),
    "no root": (file_of(change_entry=entry_with(root=...)), FAILED),
    "no contexts": (file_of(change_entry=entry_with(contexts=[])), FAILED),
    "contexts in an object": (file_of(change_entry=entry_with(contexts={})), FAILED),
    "too many contexts": (file_of(change_entry=entry_with(contexts=["0" * 64] * 257)), FAILED),
    "no shard": (file_of(change_entry=entry_with(shard=None)), OK),
    "shard left out": (file_of(change_entry=entry_with(shard=...)), OK),
    "no file": (file_of(change_entry=entry_with(file=None)), FAILED),
    "a file elsewhere": (file_of(change_entry=entry_with(file=FILE | {"name": "../a"})), FAILED),
    "a hidden file": (file_of(change_entry=entry_with(shard=FILE | {"name": ".a"})), FAILED),
    "a nameless file": (file_of(change_entry=entry_with(file=FILE | {"name": ""})), FAILED),
    "a file of no file system": (file_of(change_entry=entry_with(file=FILE | {"name": "a" * 256})), FAILED),
    "a file of zeros": (file_of(change_entry=entry_with(file=FILE | {"name": "a\0"})), FAILED),
    "a file without size": (file_of(change_entry=entry_with(file={"name": "a", "sha256": "0" * 64})), FAILED),
    "time is no text": (file_of(change_entry=entry_with(first_time=1)), FAILED),
    "members of nobody": (file_of(change_entry=entry_with(more="x")), OK),
    "a later schema": (file_of(schema=canonical.encode({**DOCUMENT, "v": 2})), UNVERIFIED),
    "a schema with more": (file_of(schema=canonical.encode({**DOCUMENT, "more": 1})), FAILED),
    "a schema that is none": (file_of(schema=b"{}"), FAILED),
    "a schema that is a list": (file_of(schema=b"[]"), FAILED),
    "a column twice": (file_of(schema=with_columns(lambda all_: [*all_[:-4], all_[0], *all_[-3:]])), FAILED),
    "a column with the name of a commitment": (file_of(schema=first_column(name="commitment.z", group=None)), FAILED),
    "a column without name": (file_of(schema=first_column(name=None)), FAILED),
    "a column of no class": (file_of(schema=first_column(**{"class": "D8"})), FAILED),
    "a column of class list": (file_of(schema=first_column(**{"class": []})), FAILED),
    "a group that is a number": (file_of(schema=first_column(group=1)), FAILED),
    "no such type": (file_of(schema=first_column(type="float128")), FAILED),
    "type with an end": (file_of(schema=first_column(type="int64\n")), FAILED),
    "struct outside": (file_of(schema=first_column(type={"struct": [{"name": "a", "type": "null"}]})), FAILED),
    "struct without fields": (file_of(schema=first_column(type={"list": {"struct": []}})), FAILED),
    "struct with a field twice": (
        file_of(schema=first_column(type={"list": {"struct": [{"name": "a", "type": "null"}] * 2}})), FAILED
    ),
    "a zone": (file_of(schema=first_column(type="timestamp[Europe/Berlin]")), OK),
    "a zone of two lines": (file_of(schema=first_column(type="timestamp[a\nb]")), FAILED),
    "other digits in a type": (file_of(schema=first_column(type="decimal(\u0669,2)")), FAILED),
    "a context that is none": (file_of(context=b"[]"), FAILED),
    "a context of two spellings": (file_of(context=b'{"v": 1}'), FAILED),
    "a context with a float": (file_of(context=b'{"v":0.5}'), FAILED),
    "a context with a large number": (file_of(context=b'{"v":9007199254740992}'), FAILED),
    "a context with a surrogate": (file_of(context=b'{"v":"\\ud800"}'), FAILED),
    "a context with minus zero": (file_of(context=b'{"v":-0}'), FAILED),
    "a context with __proto__": (file_of(context=b'{"__proto__":{"v":1},"constructor":[]}'), OK),
    "a context with a member twice": (file_of(context=b'{"v":1,"v":1}'), FAILED),
    "a deep context": (file_of(context=b'{"v":' + b"[" * 32 + b"]" * 32 + b"}"), OK),
    "a deeper context": (file_of(context=b'{"v":' + b"[" * 33 + b"]" * 33 + b"}"), FAILED),
    "a bottomless context": (file_of(context=b'{"v":' + b"[" * 99_999 + b"]" * 99_999 + b"}"), FAILED),
    "a context in UTF-16 order": (file_of(context='{"\U00010000":1,"\uffff":2}'.encode()), OK),
    "a context in UTF-8 order": (file_of(context='{"\uffff":2,"\U00010000":1}'.encode()), FAILED),
    "a later receipt": (with_extra(v=2), UNVERIFIED),
    "a much later receipt": (with_extra(v=2**53 - 1, more=1), UNVERIFIED),
    "a receipt of version true": (with_extra(v=True), FAILED),
    "a receipt of version 0": (with_extra(v=0), FAILED),
    "a receipt with more": (with_extra(more=1), FAILED),
    "a receipt without record": (with_extra(row=""), FAILED),
    "openings of a group there is not": (with_extra(openings={"no": {"row": "AA==", "salt": "0" * 64}}), FAILED),
    "openings of an object's own": (with_extra(openings={"__proto__": {"row": "AA==", "salt": "0" * 64}}), FAILED),
    "an erased group": (with_extra(erased=["by.field", "z"]), OK),
    "erased groups out of order": (with_extra(erased=["z", "by.field"]), FAILED),
    "an erased group twice": (with_extra(erased=["z", "z"]), FAILED),
    "no erased group": (with_extra(erased=[]), FAILED),
    "erased groups that are none": (with_extra(erased=[1]), FAILED),
    "an erased group there is not": (with_extra(erased=["no"]), FAILED),
    "a schema that opens no group by field": (file_of(schema=canonical.encode({**DOCUMENT, "fields": []})), FAILED),
    "a schema that opens groups by field there are not": (
        file_of(schema=canonical.encode({**DOCUMENT, "fields": ["no"]})), FAILED
    ),
    "a schema with groups by field in another order": (
        file_of(schema=canonical.encode({**DOCUMENT, "fields": ["z", "by.field"]})), FAILED
    ),
    "a schema of several groups by field": (
        file_of(schema=canonical.encode({**DOCUMENT, "fields": ["by.field", "z"]})), OK
    ),
    "many": (many_with(), OK),
    "later ones": (many_with(v=2), UNVERIFIED),
    "many with more": (many_with(more=1), FAILED),
    "none": (many_with(receipts=[]), FAILED),
    "a node of 31 bytes": (many_with(nodes=["A" * 40 + "AAA="]), FAILED),
    "no list of nodes": (many_with(nodes=None), FAILED),
    "a schema of nobody": (many_with(schemas=[base64.b64encode(SCHEMA.encoded).decode(), "AAAA"]), FAILED),
    "no note": (many_with(note=1), FAILED),
    "an empty note": (many_with(note=""), FAILED),
    "no receipt": (b"hello", UNVERIFIED),
    "nothing": (b"", UNVERIFIED),
    "another proof": (b"c2sp.org/tlog-proof@v2\n", UNVERIFIED),
    "only the first line": (b"c2sp.org/tlog-proof@v1\n", FAILED),
    "only the first member": (b'{"backstory":"receipts",', FAILED),
}  # fmt: skip


@pytest.fixture(scope="module")
def answers():
    """Return what the three say of each case."""
    return dict(zip(CASES, run_verifiers([(0, data) for data, _ in CASES.values()]), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_all_say_what_the_format_says(answers, name):
    """Ours, the Python file and the JavaScript module give the exit code of docs/format.md section 14."""
    assert [code for code, _ in answers[name]] == [CASES[name][1]] * 3


@pytest.mark.parametrize("name", [name for name, (_, code) in CASES.items() if code == OK])
def test_what_verifies_has_the_same_facts(answers, name):
    """Where they verify, they give the same facts."""
    own, *others = answers[name]
    assert [facts for _, facts in others] == [own[1]] * 2


def test_order_of_records_is_fixed():
    """Records of a file stand in the order of the log, each once."""
    log = Log([make_segment(random.Random(1), 3)])
    orders = [[0, 1], [1, 0], [1, 1]]
    assert [ours(many_file(log, [log.claim(0, row) for row in rows]))[0] for rows in orders] == [OK, FAILED, FAILED]
