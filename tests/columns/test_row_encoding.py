"""The vectorised row encoding and the scalar one are the same function."""

from __future__ import annotations

import contextlib
import itertools
import math
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.columns.arrow_type import flat_fields
from backstory.columns.encode import iter_blocks
from backstory.errors import ColumnError
from backstory.records.row import NULL_STRUCT, decode_row, encode_row

INT64 = st.integers(-(2**63), 2**63 - 1)
NS_TIMESTAMP = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats() | st.sampled_from([math.nan, -0.0, 0.0, math.inf, 5e-324])
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=9) | st.just("")

LEAVES: list[tuple[pa.DataType, st.SearchStrategy]] = [
    (pa.bool_(), st.booleans()),
    (pa.int8(), st.integers(-128, 127)),
    (pa.int64(), INT64),
    (pa.uint8(), st.integers(0, 255)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float64(), FLOATS),
    (pa.float32(), st.floats(width=32) | st.just(math.nan)),
    (pa.string(), TEXT),
    (pa.large_string(), TEXT),
    (pa.string_view(), TEXT),
    (pa.binary(), st.binary(max_size=9)),
    (pa.binary(4), st.binary(min_size=4, max_size=4)),
    (pa.binary_view(), st.binary(max_size=20)),
    (pa.decimal128(9, 3), st.integers(-(10**8), 10**8).map(lambda n: Decimal(n).scaleb(-3))),
    (pa.decimal256(50, 0), st.integers(-(10**40), 10**40).map(Decimal)),
    (pa.timestamp("ns", "UTC"), NS_TIMESTAMP),
    (pa.timestamp("us"), st.integers(-(10**15), 10**15).map(lambda n: n * 1000)),
    (pa.timestamp("s", "Europe/Berlin"), st.integers(-(10**9), 10**9).map(lambda n: n * 10**9)),
    (pa.date32(), st.integers(-100_000, 100_000)),
    (pa.time64("ns"), st.integers(0, 86_399_999_999_999)),
    (pa.time32("ms"), st.integers(0, 86_399_999).map(lambda n: n * 10**6)),
    (pa.duration("ns"), INT64),
    (pa.duration("s"), st.integers(-(10**9), 10**9).map(lambda n: n * 10**9)),
    (pa.null(), st.none()),
]
UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def arrow_values(type_: pa.DataType, values: list) -> pa.Array:
    """Build an Arrow array from scalar-codec values."""
    if pa.types.is_temporal(type_) and not pa.types.is_date(type_):
        scaled = [None if v is None else v // UNITS[type_.unit] for v in values]
        width = pa.int32() if pa.types.is_time32(type_) else pa.int64()
        return pa.array(scaled, width).view(type_)
    if pa.types.is_date(type_):
        return pa.array(values, pa.int32()).view(type_)
    return pa.array(values, type_)


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.DataType, list]:
    """Draw a type and the values of a column, nested up to two lists deep."""
    type_, strategy = draw(st.sampled_from(LEAVES))
    for _ in range(draw(st.integers(0, 2))):
        if pa.types.is_temporal(type_) or (pa.types.is_nested(type_) and pa.types.is_temporal(type_.value_type)):
            break
        make = draw(st.sampled_from([pa.list_, pa.large_list]))
        type_, strategy = make(type_), st.lists(st.none() | strategy, max_size=3)
    rows = draw(st.shared(st.integers(1, 12), key="rows"))
    return type_, draw(st.lists(st.none() | strategy, min_size=rows, max_size=rows))


def reshaped(draw: st.DrawFn, values: pa.Array) -> pa.ChunkedArray:
    """Give an array another physical form: sliced out of a longer one, chunked, dictionary-encoded."""
    if draw(st.booleans()):
        values = pa.concat_arrays([values, values, values])[len(values) : 2 * len(values)]
    if draw(st.booleans()) and not pa.types.is_nested(values.type) and not pa.types.is_null(values.type):
        with contextlib.suppress(pa.ArrowNotImplementedError):
            values = values.dictionary_encode()
    cut = draw(st.integers(0, len(values)))
    return pa.chunked_array([values[:cut], values[cut:]], values.type)


@given(st.data())
def test_both_encodings_agree(data: st.DataObject) -> None:
    """Whatever the types, nulls, chunks, slices and dictionaries, the bytes are those of the scalar encoding."""
    drawn = data.draw(st.lists(columns(), min_size=1, max_size=5))
    names = data.draw(st.lists(TEXT.filter(bool), min_size=len(drawn), max_size=len(drawn), unique=True))
    table = pa.table(
        [reshaped(data.draw, arrow_values(type_, values)) for type_, values in drawn],
        names=names,
    )
    fields = flat_fields(table.schema)
    expected = [
        encode_row([(name, type_, values[i]) for (name, type_), (_, values) in zip(fields, drawn, strict=True)])
        for i in range(table.num_rows)
    ]
    assert [row for block in iter_blocks(table) for row in block.rows()] == expected


@given(st.data())
def test_decoding_inverts_encoding(data: st.DataObject) -> None:
    """A decoded row encodes to the same bytes."""
    type_, values = data.draw(columns())
    (field,) = flat_fields(pa.schema([("x", type_)]))
    for value in values:
        row = encode_row([(field[0], field[1], value)])
        (back,) = decode_row(row)
        assert encode_row([(field[0], field[1], back)]) == row


def rows_of(table: pa.Table) -> list[bytes]:
    """Return the encoded rows of a table."""
    return [row for block in iter_blocks(table) for row in block.rows()]


def test_structs_flatten_and_null_structs_are_marked() -> None:
    """A struct is its fields; a null struct differs from a struct of nulls, at every depth."""
    inner = pa.struct([("x", pa.int64())])
    table = pa.table(
        {"s": pa.array([{"t": {"x": 1}}, {"t": {"x": None}}, {"t": None}, None], pa.struct([("t", inner)]))}
    )
    values = [1, None, NULL_STRUCT(1), NULL_STRUCT(0)]
    assert rows_of(table) == [encode_row([("s.t.x", "int64", value)]) for value in values]


def test_structs_inside_lists() -> None:
    """A list of structs and a map hold their fields in byte order of the names."""
    type_ = pa.list_(pa.struct([("b", pa.string()), ("a", pa.int64())]))
    table = pa.table({"l": pa.array([[{"b": "x", "a": 1}, None], [], None], type_)})
    logical = {"list": {"struct": [{"name": "b", "type": "string"}, {"name": "a", "type": "int64"}]}}
    assert rows_of(table) == [encode_row([("l", logical, v)]) for v in ([["x", 1], None], [], None)]
    mapped = pa.table({"m": pa.array([[("k", 1), ("j", 2)]], pa.map_(pa.string(), pa.int64()))})
    logical = {"list": {"struct": [{"name": "key", "type": "string"}, {"name": "value", "type": "int64"}]}}
    assert rows_of(mapped) == [encode_row([("m", logical, [["k", 1], ["j", 2]])])]


def test_bytes_under_nulls_do_not_count() -> None:
    """Two equal arrays with different bytes under a null encode alike."""
    validity = pa.py_buffer(b"\x01")
    arrays = [
        pa.Array.from_buffers(pa.int64(), 2, [validity, pa.py_buffer(int(hidden).to_bytes(16, "big"))])
        for hidden in (0, 7)
    ]
    first, second = (rows_of(pa.table({"x": array})) for array in arrays)
    assert first == second


def test_dots_in_names_are_not_structs() -> None:
    """A column called `a.b` is not field `b` of `a`."""
    flat, nested = pa.table({"a.b": [1]}), pa.table({"a": [{"b": 1}]})
    assert flat_fields(flat.schema)[0][0] == r"a\.b"
    assert flat_fields(nested.schema)[0][0] == "a.b"


def test_names_that_begin_with_a_dot_are_names() -> None:
    """A field of a struct may have a name that looks like a path to another."""
    table = pa.table({"s": pa.array([{".a": 1, "a": 2}])})
    assert rows_of(table) == [encode_row([(r"s.\.a", "int64", 1), ("s.a", "int64", 2)])]


def test_null_nan_and_empty_differ() -> None:
    """Null, NaN and the empty string have three encodings."""
    rows = {
        *rows_of(pa.table({"x": pa.array([None, math.nan], pa.float64())})),
        *rows_of(pa.table({"x": pa.array([""], pa.string())})),
    }
    assert len(rows) == 3


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"moment": pa.array([2**40], pa.timestamp("s"))}),
        pa.table([pa.array([1]), pa.array([2])], names=["moment", "moment"]),
        pa.table({"moment": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}),
        pa.table({"moment": pa.array([{}], pa.struct([]))}),
    ],
    ids=["time out of range", "doubled name", "no encoding", "empty struct"],
)
def test_what_has_no_encoding_is_refused_by_name(table: pa.Table) -> None:
    """A column that cannot be encoded is an error that names it."""
    with pytest.raises(ColumnError, match="moment"):
        rows_of(table)


def test_long_tables_cross_block_borders() -> None:
    """Blocks change nothing: every row encodes as it does alone."""
    texts = [None if i % 7 == 0 else "x" * (i % 5) for i in range(20_000)]
    table = pa.table({"i": range(20_000), "t": texts})
    rows = rows_of(table)
    assert len(rows) == 20_000
    for i in (0, 8_191, 8_192, 16_383, 16_384, 19_999):
        assert rows[i] == encode_row([("i", "int64", i), ("t", "string", texts[i])])


@pytest.mark.parametrize("sizes", list(itertools.product(["even", "uneven", "null"], repeat=3)))
def test_contents_of_one_size_are_as_all_others(sizes: tuple[str, ...]) -> None:
    """Texts that are equally long in all rows encode as they do alone, whatever stands before and behind them."""
    texts = {"even": ["aa", "bb", "cc"], "uneven": ["", "b", "ccc"], "null": ["aa", None, "cc"]}
    columns = {f"t{at}": texts[size] for at, size in enumerate(sizes)}
    rows = rows_of(pa.table({**columns, "list": [["x"], [], ["y", "zz"]]}))
    for at, row in enumerate(rows):
        cells = [(name, "string", column[at]) for name, column in columns.items()]
        assert row == encode_row([*cells, ("list", {"list": "string"}, [["x"], [], ["y", "zz"]][at])])
