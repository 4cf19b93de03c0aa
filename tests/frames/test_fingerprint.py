"""Fingerprints: the same for equal content in any form, another for every difference."""

from __future__ import annotations

import itertools
import subprocess
import sys
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather

from backstory.columns.tree import leaf_hashes, root_of_subtrees, split_hashes, subtree_roots
from backstory.errors import ColumnError, InputError, NotFoundError
from backstory.frames.fingerprint import fingerprint

NAN = float("nan")
CELLS = {
    "number": ([3, None, -1, 3], pa.int64(), 4),
    "small": ([3, None, 1, 3], pa.uint8(), 4),
    "real": ([0.5, NAN, None, -0.0], pa.float64(), 0.0),
    "short": ([0.5, NAN, None, 1.0], pa.float32(), 2.0),
    "flag": ([True, None, True, True], pa.bool_(), False),
    "text": (["", None, "é", "x"], pa.string(), "y"),
    "bytes": ([b"", None, b"\0", b"x"], pa.binary(), b"y"),
    "money": ([Decimal("1.50"), None, Decimal("-3.20"), Decimal(0)], pa.decimal128(9, 2), Decimal("0.01")),
    "moment": ([1, None, -5, 9], pa.timestamp("us"), 8),
    "there": ([1, None, -5, 9], pa.timestamp("us", "UTC"), 8),
    "day": ([1, None, -5, 9], pa.date32(), 8),
    "clock": ([1, None, 5, 9], pa.time64("us"), 8),
    "length": ([1, None, -5, 9], pa.duration("us"), 8),
    "list": ([[1], None, [], [2, None]], pa.list_(pa.int64()), [2]),
    "struct": ([{"a": 1}, None, {"a": None}, {"a": 2}], pa.struct([("a", pa.int64())]), {"a": 3}),
}
TABLE = pa.table({name: pa.array(values, type_) for name, (values, type_, _) in CELLS.items()})
SIMPLE = TABLE.select(["number", "text", "flag", "moment", "day"])
"""What every engine and file format here has."""


def roots(data, **options):
    """Return all of a fingerprint that is compared."""
    found = fingerprint(data, **options)
    return found.digest, found.root, found.sorted_root, found.columns


def files(folder):
    """Yield one table in every file format, with the options to read it as what it was."""
    types = {"number": "int64", "text": "string", "flag": "bool", "moment": "timestamp", "day": "date"}
    for compression in ("none", "snappy", "zstd"):
        path = folder / f"{compression}.parquet"
        pq.write_table(SIMPLE, path, compression=compression, row_group_size=3, use_dictionary=compression == "zstd")
        yield path, None
    feather.write_feather(SIMPLE, folder / "table.feather", compression="lz4")
    yield folder / "table.feather", None
    with pa.ipc.new_stream(folder / "stream.arrow", SIMPLE.schema) as writer:
        writer.write_table(SIMPLE, max_chunksize=1)
    yield folder / "stream.arrow", None
    pc_csv.write_csv(SIMPLE, folder / "table.csv")
    text = (folder / "table.csv").read_text().replace(',"",', ',"EMPTY",')
    (folder / "table.csv").write_text(text)  # in CSV the empty text and a missing one are one
    lines = SIMPLE.to_pandas(types_mapper=pd.ArrowDtype)
    lines.to_json(folder / "table.jsonl", orient="records", lines=True, date_format="iso", date_unit="us")
    yield folder / "table.jsonl", {"types": types}


@pytest.mark.parametrize("number", range(6))
def test_a_file_format_does_not_matter(tmp_path, number):
    """Parquet in any compression, Arrow files and streams and JSON lines of equal rows have one fingerprint."""
    path, read = list(files(tmp_path))[number]
    assert roots(path, read=read) == roots(SIMPLE)


def test_typed_csv_is_the_same(tmp_path):
    """A CSV file whose types are said has the fingerprint of the table it was written from."""
    table = pa.table({"number": [1, 2, None], "text": ["a", "é", "x"], "real": [0.5, None, -1.0]})
    pc_csv.write_csv(table, tmp_path / "t.csv")
    types = {"number": "int64", "text": "string", "real": "float64"}
    assert roots(tmp_path / "t.csv", read={"types": types}) == roots(table)


def test_an_engine_does_not_matter():
    """pandas, polars, pyarrow and DuckDB give one fingerprint for equal content."""
    database = duckdb.connect()
    database.register("simple", SIMPLE)
    expected = roots(SIMPLE)
    assert roots(SIMPLE.to_pandas(types_mapper=pd.ArrowDtype)) == expected
    assert roots(pl.from_arrow(SIMPLE)) == expected
    assert roots(pl.from_arrow(SIMPLE).lazy()) == expected
    assert roots(database.sql("SELECT * FROM simple")) == expected
    assert roots(SIMPLE.to_reader()) == expected
    assert roots(iter(SIMPLE.to_batches(1))) == expected


@given(st.lists(st.integers(0, 12), max_size=4), st.booleans())
def test_chunks_and_dictionaries_do_not_matter(cuts, encode):
    """Where a table is cut into chunks, and whether it is dictionary-encoded, changes nothing."""
    whole = pa.concat_tables([TABLE] * 3)
    bounds = [0, *sorted(cuts), 12]
    parts = [whole.slice(first, end - first) for first, end in itertools.pairwise(bounds)]
    table = pa.concat_tables(parts)
    if encode:
        position = table.column_names.index("text")
        table = table.set_column(position, "text", table["text"].dictionary_encode())
    assert roots(table) == roots(whole)


def test_bytes_under_nulls_and_time_units_do_not_matter():
    """What stands in memory under a null, and the unit of a time, change nothing."""
    valid = pa.py_buffer(bytes([0b101]))
    with_rubbish = pa.Array.from_buffers(pa.int64(), 3, [valid, pa.py_buffer(np.array([1, 77, 3], np.int64))])
    assert roots(pa.table({"x": with_rubbish})) == roots(pa.table({"x": [1, None, 3]}))
    seconds = pa.array([1, None, 3], pa.timestamp("s"))
    assert roots(pa.table({"x": seconds})) == roots(pa.table({"x": seconds.cast(pa.timestamp("ns"))}))
    wide = pa.array(["a", None], pa.large_string())
    assert roots(pa.table({"x": wide})) == roots(pa.table({"x": pa.array(["a", None], pa.string_view())}))


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_matters(name, row):
    """One cell of any type in any row changes both roots, the digest and its column's digest, and no other column's."""
    values, type_, other = CELLS[name]
    changed = pa.array([other if at == row else value for at, value in enumerate(values)], type_)
    table = TABLE.set_column(TABLE.column_names.index(name), name, changed)
    before, after = fingerprint(TABLE), fingerprint(table)
    assert before.root != after.root
    assert before.sorted_root != after.sorted_root
    assert before.digest != after.digest
    differ = {column for column in before.columns if before.columns[column] != after.columns[column]}
    assert differ == {"struct.a" if name == "struct" else name}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"x": pa.array([1], pa.int32())}, {"x": pa.array([1], pa.int64())}),
        ({"x": pa.array([1], pa.int64())}, {"x": pa.array([1], pa.uint64())}),
        ({"x": pa.array([1.0])}, {"x": pa.array([1.0], pa.float32())}),
        ({"x": pa.array([1], pa.timestamp("s"))}, {"x": pa.array([1], pa.timestamp("s", "UTC"))}),
        ({"x": pa.array([NAN])}, {"x": pa.array([None], pa.float64())}),
        ({"x": pa.array([0.0])}, {"x": pa.array([-0.0])}),
        ({"x": pa.array([""])}, {"x": pa.array([None], pa.string())}),
        ({"x": pa.array(["a"])}, {"x": pa.array([b"a"])}),
        ({"x": pa.array([1])}, {"y": pa.array([1])}),
        ({"x": pa.array([1]), "y": pa.array([1])}, {"y": pa.array([1]), "x": pa.array([1])}),
        ({"x": pa.array([1, 1])}, {"x": pa.array([1])}),
        ({"x": pa.array([[None]], pa.list_(pa.int64()))}, {"x": pa.array([[]], pa.list_(pa.int64()))}),
        ({"x": pa.array([None], pa.int64())}, {"x": pa.nulls(1)}),
    ],
    ids=[
        "width", "sign", "precision", "zone", "nan", "zero", "empty", "bytes", "name", "columns", "twice", "list",
        "null",
    ],
)  # fmt: skip
def test_every_difference_matters(one, other):
    """Types, null and NaN, names, the order of columns and rows that are there twice change the digest."""
    assert fingerprint(pa.table(one)).digest != fingerprint(pa.table(other)).digest


def test_the_order_of_rows_changes_the_ordered_root_only():
    """Rows in another order have another ordered root and digest, and the same sorted root."""
    table = pa.table({"x": np.arange(5000), "y": np.arange(5000) % 7})
    before = fingerprint(table)
    after = fingerprint(table.take(pa.array(np.random.default_rng(3).permutation(5000))))
    assert before.root != after.root
    assert before.digest != after.digest
    assert before.sorted_root == after.sorted_root


@given(st.integers(0, 3000), st.integers(0, 3))
def test_roots_are_those_of_the_plain_rule(rows, seed):
    """Made in pieces, with leaves sorted in a file, both roots are those of all leaves at once."""
    values = np.random.default_rng(seed).integers(0, 50, rows)
    table = pa.table({"x": values})
    leaves = leaf_hashes(table)
    found = fingerprint(table.to_reader(700), memory_bytes=64 * 2 * 32)
    in_order = b"".join(sorted(split_hashes(leaves)))
    assert found.root == root_of_subtrees(subtree_roots(leaves)).hex()
    assert found.sorted_root == root_of_subtrees(subtree_roots(in_order)).hex()


def test_what_has_no_rows_is_refused(tmp_path):
    """A table without columns, other columns on the way, a file that is not there and what is no table are refused."""
    with pytest.raises(ColumnError):
        fingerprint(pa.table({}))
    with pytest.raises(ColumnError):
        fingerprint(iter([pa.table({"x": [1]}), pa.table({"x": ["a"]})]))
    with pytest.raises(NotFoundError):
        fingerprint(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"no Parquet")
    with pytest.raises(InputError):
        fingerprint(tmp_path / "bad.parquet")
    with pytest.raises(InputError):
        fingerprint(17)


def test_an_empty_table_has_a_fingerprint(tmp_path):
    """A table without rows has the fingerprint of its columns, as a file too."""
    empty = SIMPLE.slice(0, 0)
    pq.write_table(empty, tmp_path / "empty.parquet")
    assert roots(tmp_path / "empty.parquet") == roots(empty)
    assert roots(empty) != roots(empty.drop_columns(["day"]))


GROWTH = """
import resource, sys
import numpy as np, pyarrow as pa
from backstory.frames.fingerprint import fingerprint
limit = 8 << 20
text = pa.array(["x" * 1000] * 4096)
def tables(size):
    for number in range(size // text.nbytes):
        yield pa.table({"id": np.arange(number * 4096, (number + 1) * 4096), "text": text})
def peak(size):
    fingerprint(tables(size), memory_bytes=limit)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak(2 * limit)
print(peak(10 * limit) - before)
"""


def test_ten_times_the_memory_is_fingerprinted_in_constant_memory():
    """A table ten times the limit given takes no more memory than one of twice the limit."""
    run = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 4 << 10


def test_a_column_is_unchanged_by_what_else_is_there():
    """A column's digest is the same in every table that has it."""
    assert fingerprint(TABLE).columns["text"] == fingerprint(TABLE.select(["text"])).columns["text"]
    assert pc.sum(TABLE["number"]).as_py() == 5
