"""Files and directories as sources: what is read, hashed and refused."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import ColumnError, InputError, NotFoundError, StorageError
from backstory.frames import files
from backstory.frames.file_format import format_of, parse_table
from backstory.frames.files import read_path
from backstory.frames.read_options import ReadOptions, read_options
from backstory.frames.reading import reading_of

PLAIN = ReadOptions()
CSV = b"id,city\n1,Ulm\n2,\n"


def test_a_file_is_hashed_as_it_is_stored(tmp_path):
    """The digest is of the bytes on disk, compressed as they are."""
    data = gzip.compress(CSV, mtime=0)
    (tmp_path / "a.csv.gz").write_bytes(data)
    table, (file,) = read_path(tmp_path / "a.csv.gz", PLAIN)
    assert table.to_pydict() == {"id": [1, 2], "city": ["Ulm", None]}
    assert (file.name, file.sha256, file.size) == ("a.csv.gz", hashlib.sha256(data).digest(), len(data))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", CSV),
        ("a.CSV.GZ", gzip.compress(CSV[:8], mtime=0) + gzip.compress(CSV[8:], mtime=0)),
        ("a.tsv", CSV.replace(b",", b"\t")),
        ("a.csv.bz2", bz2.compress(CSV)),
        ("a.jsonl", b'{"id":1,"city":"Ulm"}\n{"id":2,"city":null}\n'),
        ("a.ndjson.gz", gzip.compress(b'{"id":1,"city":"Ulm"}\n{"id":2}\n', mtime=0)),
    ],
)
def test_text_formats_give_the_same_table(name, data):
    """CSV and JSON lines of the same rows are the same table, compressed or not."""
    assert parse_table(data, name, PLAIN).to_pydict() == {"id": [1, 2], "city": ["Ulm", None]}


def test_options_of_csv():
    """Delimiter, quote, encoding, names, lines to skip, missing texts, columns and types are as asked for."""
    data = "noise\n1|'a|b'|-|0042\n2|'é'|x|7\n".encode("latin-1")
    options = read_options(
        {
            "delimiter": "|", "quote": "'", "encoding": "latin-1", "names": ["n", "text", "gap", "code"], "skip": 1,
            "nulls": ["-"], "columns": ["code", "text", "gap"], "types": {"code": "string"},
        }
    )  # fmt: skip
    assert parse_table(data, "a.csv", options).to_pydict() == {
        "code": ["0042", "7"],
        "text": ["a|b", "é"],
        "gap": [None, "x"],
    }


def test_types_are_those_of_the_archive():
    """A type is named as schemas name it; cells that are not of it are refused, and not quoted."""
    types = {"n": "decimal(6,2)", "at": "timestamp[UTC]"}
    table = parse_table(b"n,at\n1.5,2026-01-01T00:00:00Z\n", "a.csv", read_options({"types": types}))
    assert [str(field.type) for field in table.schema] == ["decimal128(6, 2)", "timestamp[ns, tz=UTC]"]
    with pytest.raises(ColumnError, match=r"int64 in column 1 of the file") as caught:
        parse_table(b"n\n1\nAnna\n", "a.csv", read_options({"types": {"n": "int64"}}))
    assert "Anna" not in str(caught.value)
    with pytest.raises(InputError, match="no type 'integer'"):
        read_options({"types": {"n": "integer"}})


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b""),
        ("a.csv", b"a,b\n1,2\n3\n"),
        ("a.csv.gz", gzip.compress(CSV, mtime=0)[:-9]),
        ("a.csv.gz", b"plain"),
        ("a.parquet", b"PAR1"),
        ("a.jsonl", b'[{"a":1}]'),
        ("a.jsonl", b'{"a":1}\n{"a":"Anna"}\n'),
        ("a.csv", b"a,a\n1,2\n"),
        ("a.xlsx", b"PK"),
    ],
)
def test_damaged_files_are_refused(name, data):
    """What is not of its format is refused, without a value and without pyarrow's own error."""
    with pytest.raises(InputError) as caught:
        parse_table(data, name, PLAIN)
    assert "Anna" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("read", [{"delimiter": ";"}, {"delimeter": ";"}, {"skip": "x"}, {"columns": 5}, 7])
def test_options_must_mean_something(read):
    """An option that is unknown, of another format, or malformed is refused."""
    with pytest.raises(InputError):
        parse_table(b"", "a.parquet", read_options(read))


def test_a_column_that_is_asked_for_must_be_there(tmp_path):
    """A missing column is named, of any format."""
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    for name, data in (("a.csv", CSV), ("a.parquet", (tmp_path / "a.parquet").read_bytes()), ("a.jsonl", b'{"a":1}')):
        with pytest.raises(ColumnError):
            parse_table(data, name, read_options({"columns": ["nope"]}))


def test_a_directory_is_read_in_the_order_of_names(tmp_path):
    """Files below it too, hidden ones and markers left out, an empty column of one taken from the others."""
    (tmp_path / "b").mkdir()
    for name, text in (("b/1.csv", "x,y\n3,c\n"), ("a.csv", "x,y\n1,\n"), ("b.csv", "y,x\nb,2\n")):
        (tmp_path / name).write_text(text)
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".hidden").touch()
    table, found = read_path(tmp_path, PLAIN)
    assert [file.name for file in found] == ["a.csv", "b.csv", "b/1.csv"]
    assert table.to_pydict() == {"x": [1, 2, 3], "y": [None, "b", "c"]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"a.csv": "x\n1\n", "b.csv": "y\n1\n"}, "other columns"),
        ({"a.csv": "x\n1\n", "b.csv": "x\nz\n"}, "other types"),
        ({"a.csv": "x\n1\n", "b.jsonl": '{"x":1}\n'}, "one format"),
        ({"a.csv": "x\n1\n", "notes.txt": ""}, "one format"),
        ({"m=1/a.csv": "x\n1\n"}, "names of directories"),
        ({"_SUCCESS": ""}, "expected files"),
    ],
)
def test_what_is_not_one_table_is_refused(tmp_path, names, message):
    """Files of other columns, types or formats are not put together silently, nor are partitions lost."""
    for name, text in names.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises((InputError, NotFoundError), match=message):
        read_path(tmp_path, PLAIN)


def test_a_link_to_a_directory_is_refused(tmp_path):
    """Its files would be missing without a word."""
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.csv").write_bytes(CSV)
    (tmp_path / "here" / "more").symlink_to(tmp_path / "there")
    with pytest.raises(InputError, match="link to a directory, 'more'"):
        read_path(tmp_path / "here", PLAIN)


def test_text_in_another_encoding_is_refused():
    """It is not silently a column of bytes, unless bytes are asked for."""
    data = "a\né\n".encode("latin-1")
    with pytest.raises(InputError, match="expected utf-8 in column 'a'"):
        parse_table(data, "a.csv", PLAIN)
    assert parse_table(data, "a.csv", read_options({"types": {"a": "bytes"}}))["a"].to_pylist() == [b"\xe9"]
    with pytest.raises(InputError, match="no encoding 'nope'"):
        read_options({"encoding": "nope"})


@pytest.mark.parametrize(
    ("name", "data", "type_"),
    [
        ("a.csv", b"id,n\n12345678901234567890,1\n12345678901234567891,2\n", "string"),
        ("a.csv", b"id\n1.5\n9007199254740993\n", "string"),
        ("a.jsonl", b'{"id":12345678901234567890}\n{"id":12345678901234567891}\n', "decimal(38,0)"),
        ("a.jsonl.gz", gzip.compress(b'{"id":[{"n":1.5},{"n":12345678901234567891}]}\n', mtime=0), None),
    ],
)
def test_whole_numbers_are_never_rounded(name, data, type_):
    """Two ids of twenty digits do not become one double, unless that is asked for."""
    with pytest.raises(InputError, match=r"fit int64 in column 'id', got some that would be rounded.*'types'"):
        parse_table(data, name, PLAIN)
    if type_ is not None:
        column = parse_table(data, name, read_options({"types": {"id": type_}}))["id"]
        assert len(column.unique()) == 2
        assert parse_table(data, name, read_options({"types": {"id": "float64"}}))["id"].type == "double"


def test_doubles_without_a_point_are_doubles():
    """What `%.0f` writes is the number it was, and a measure may be as large as it likes."""
    data = b"n,m\n100000000000000000000,1e300\n2,12345678901234567.25\n"
    assert parse_table(data, "a.csv", PLAIN).to_pydict() == {"n": [1e20, 2.0], "m": [1e300, 12345678901234567.25]}


@pytest.mark.parametrize("place", ["https://anna:pw@h/a.csv", "a\0b.csv"])
def test_what_is_no_path_here_is_refused(place):
    """Without saying it again: a URL may hold a password."""
    with pytest.raises(InputError, match="expected a path") as caught:
        reading_of(place)
    assert "pw" not in str(caught.value)


def test_a_pattern_chooses_files(tmp_path):
    """Of a directory only the files that fit the pattern are read."""
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "notes.txt").touch()
    assert read_path(tmp_path, read_options({"pattern": "*.csv"}))[0].num_rows == 1


def test_a_missing_file_is_not_found(tmp_path):
    """There is nothing to read."""
    with pytest.raises(NotFoundError, match=r"no such file"):
        read_path(tmp_path / "a.csv", PLAIN)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    """Somebody appends between the first look at the file and the last: nobody could say which state the rows are."""
    path = tmp_path / "a.csv"
    path.write_text("x\n1\n")
    look = os.fstat

    def look_and_append(number):
        found = look(number)
        with path.open("a") as other:
            other.write("2\n")
        return found

    monkeypatch.setattr(files.os, "fstat", look_and_append)
    with pytest.raises(StorageError, match="changed while it was read"):
        read_path(path, PLAIN)


@given(st.text(max_size=12))
def test_a_name_tells_a_format_or_none(name):
    """Any text is a name; one with an ending that is known tells it whatever its case."""
    found = format_of(f"{name}.csv.gz")
    assert found in {("csv", "gzip"), None}
    assert format_of(f"{name}.txt") is None


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8"), max_size=5))))
def test_parquet_comes_back_as_it_was(rows):
    """Whatever stands in it, a Parquet file is the table that was written."""
    table = pa.table(
        {"n": pa.array([n for n, _ in rows], pa.int64()), "s": pa.array([s for _, s in rows], pa.string())}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    assert parse_table(sink.getvalue().to_pybytes(), "a.parquet", PLAIN).equals(table)
