"""The scalar row codec is strict: a row has one form, and anything else is refused."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import ColumnError, FormatError
from backstory.records.limits import NESTING_DEPTH_MAX
from backstory.records.row import CELL_SIZE, LIST, MAGIC, NULL_STRUCT, STRUCT, decode_row, encode_row

STRUCT_TYPE = {"struct": [{"name": "b", "type": "string"}, {"name": "a", "type": "decimal(9,2)"}]}
ROW = [
    ("bool", "bool", True),
    ("bytes", "bytes", b"\x00\xff"),
    ("decimal", "decimal(9,2)", Decimal("-1.50")),
    ("double", "float64", float("nan")),
    ("empty", "string", ""),
    ("int", "int64", -2),
    ("list", {"list": {"list": "int64"}}, [[1, None], None, []]),
    ("null", "string", None),
    ("null struct", "int64", NULL_STRUCT(1)),
    ("single", "float32", 0.5),
    ("structs", {"list": STRUCT_TYPE}, [["x", Decimal("0.25")], None]),
    ("text", "string", "naïve"),
    ("time", "timestamp[UTC]", 2**62),
    ("uint", "uint64", 2**64 - 1),
]
"""A row with every family of types."""

TYPES = {
    0x00: "null", 0x01: "bool", 0x02: "int64", 0x03: "uint64", 0x04: "float64", 0x05: "float32", 0x06: "timestamp[UTC]",
    0x07: "timestamp", 0x08: "date", 0x09: "time", 0x0A: "duration", 0x0B: "null", 0x10: "string", 0x11: "bytes",
}  # fmt: skip


def encode_again(values, content):
    """Encode decoded values with the types their tags stand for, cell by cell; return cells and tail."""
    cells, tails = b"", b""
    for i, value in enumerate(values):
        start = 4 + CELL_SIZE * i
        tag = content[start]
        if tag in {LIST, STRUCT}:
            at = 4 + CELL_SIZE * len(values) + len(tails)
            (length,) = struct.unpack_from("<Q", content, start + 1)
            inner = encode_again(value, content[at : at + length])
            cells, tails = cells + struct.pack("<BQ", tag, len(inner)), tails + inner
        else:
            scale = max(-value.as_tuple().exponent, 0) if isinstance(value, Decimal) else 0
            row = encode_row([("x", TYPES.get(tag, f"decimal(76,{scale})"), value)])
            cells, tails = cells + row[8 : 8 + CELL_SIZE], tails + row[8 + CELL_SIZE :]
    return struct.pack("<I", len(values)) + cells + tails


def insist_canonical(data):
    """Insist that a row is refused, or encodes to the very same bytes."""
    try:
        values = decode_row(data)
    except FormatError:
        return
    assert MAGIC + encode_again(values, data[4:]) == data


def test_every_changed_byte_is_seen():
    """With any one bit flipped, or a byte replaced by 0 or 255, a row is refused or says something else canonically."""
    row = encode_row(ROW)
    assert MAGIC + encode_again(decode_row(row), row[4:]) == row
    for at in range(len(row)):
        for byte in {row[at] ^ 1 << bit for bit in range(8)} | {0, 255}:
            insist_canonical(row[:at] + bytes([byte]) + row[at + 1 :])


@given(st.binary(max_size=60))
def test_arbitrary_bytes_never_decode_loosely(data):
    """Bytes of any kind after the magic are refused or canonical."""
    insist_canonical(MAGIC + data)


@given(st.integers(0, 400))
def test_a_cut_row_is_refused(size):
    """No beginning of a row is a row."""
    row = encode_row(ROW)
    if size < len(row):
        with pytest.raises(FormatError):
            decode_row(row[:size])
    with pytest.raises(FormatError):
        decode_row(row + bytes(1))


@pytest.mark.parametrize(
    "text", ["1e999999999", "1E+5", "+1", "01", "1.", ".5", "-0", "-0.00", "1_0", " 1", "NaN", "Infinity", "٣", ""]
)
def test_decimals_have_one_text(text):
    """A decimal is plain digits: no exponent, sign on zero, spaces, separators or foreign digits."""
    content = text.encode()
    with pytest.raises(FormatError):
        decode_row(MAGIC + struct.pack("<IBQ", 1, 0x12, len(content)) + content)


def test_structs_stand_in_lists_only():
    """A struct as a column, a null-struct mark inside a list, and a list of two types are refused."""
    inner = struct.pack("<I", 0)
    with pytest.raises(FormatError):
        decode_row(MAGIC + struct.pack("<IBQ", 1, 0x14, len(inner)) + inner)
    for cells in (struct.pack("<IBQ", 1, 0x0B, 0), struct.pack("<IBQBQ", 2, 0x01, 1, 0x02, 1)):
        with pytest.raises(FormatError):
            decode_row(MAGIC + struct.pack("<IBQ", 1, 0x13, len(cells)) + cells)


def test_nesting_is_bounded():
    """Lists nested deeper than the limit are neither written nor read."""
    type_, value = "int64", 1
    for _ in range(NESTING_DEPTH_MAX + 1):
        type_, value = {"list": type_}, [value]
    with pytest.raises(ColumnError):
        encode_row([("x", type_, value)])
    content = struct.pack("<I", 0)
    for _ in range(NESTING_DEPTH_MAX + 2):
        content = struct.pack("<IBQ", 1, 0x13, len(content)) + content
    with pytest.raises(FormatError):
        decode_row(MAGIC + content)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("bool", 2), ("bool", 1), ("bool", "x"), ("bytes", 3), ("bytes", "x"), ("string", b"x"), ("string", "\ud800"),
        ("int64", 2**63), ("int64", 1.5), ("uint64", -1), ("float32", 1e300), ("float64", 10**400), ("float64", "x"),
        ("decimal(9,2)", Decimal("0.001")), ("decimal(9,2)", 1), ("decimal(9,2)", Decimal("NaN")),
        ({"list": "int64"}, 3), ({"list": STRUCT_TYPE}, [["x"]]), ("complex", 1), ({"set": "int64"}, []),
    ],
)  # fmt: skip
def test_a_value_that_is_not_of_its_type_is_refused(type_, value):
    """Encoding never bends a value: a wrong one is an error that names the column."""
    with pytest.raises(ColumnError):
        encode_row([("x", type_, value)])


def test_doubled_names_are_refused():
    """Two columns with one name are an error."""
    with pytest.raises(ColumnError):
        encode_row([("x", "int64", 1), ("x", "int64", 2)])
