"""Sources: equal content is one dataset version wherever it was read from, and the archive says from where."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import re

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from pyiceberg.catalog.sql import SqlCatalog

import backstory
from backstory.errors import InputError
from backstory.frames.table import kind_of

TYPES = {"id": "int64", "n": "int64", "eur": "float64", "day": "date", "at": "timestamp", "ok": "bool"}
TABLE = pa.table(
    {
        "id": [1, 2, 3, 4],
        "city": ["Ulm", None, "Bonn", "Köln"],
        "eur": [1.5, None, 2.25, -1.0],
        "n": pa.array([1, None, 3, 2**60], pa.int64()),
        "day": [dt.date(2026, 1, day) for day in (1, 2, 3, 4)],
        "at": pa.array([dt.datetime.fromisoformat(f"2026-01-01T0{hour}:00") for hour in range(4)], pa.timestamp("us")),
        "ok": [True, False, None, True],
    }
)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The same table as every kind of source, by name: what `source` is given, and how it is to be read."""
    folder = tmp_path_factory.mktemp("places")
    pq.write_table(TABLE, folder / "t.parquet", compression="gzip", row_group_size=3, use_dictionary=False)
    pa.csv.write_csv(TABLE, folder / "t.csv")
    (folder / "t.csv.gz").write_bytes(gzip.compress((folder / "t.csv").read_bytes()))
    (folder / "t.jsonl").write_text("".join(f"{json.dumps(row, default=str)}\n" for row in TABLE.to_pylist()))
    (folder / "parts").mkdir()
    pq.write_table(TABLE.slice(0, 1), folder / "parts" / "a.parquet")
    pq.write_table(TABLE.slice(1), folder / "parts" / "b.parquet", compression="zstd")
    engine = sqlalchemy.create_engine(f"sqlite:///{folder}/t.db")
    with engine.begin() as connection:
        columns = "id INT, city TEXT, eur REAL, n INT, day TEXT, at TEXT, ok INT"
        connection.exec_driver_sql(f"CREATE TABLE t ({columns})")
        rows = [{**row, "day": str(row["day"]), "at": str(row["at"])} for row in TABLE.to_pylist()]
        connection.exec_driver_sql("INSERT INTO t VALUES (?,?,?,?,?,?,?)", [tuple(row.values()) for row in rows])
    duck = duckdb.connect(folder / "t.duckdb")
    duck.register("rows", TABLE)
    duck.execute("CREATE TABLE t AS FROM rows")
    deltalake.write_deltalake(folder / "delta", TABLE)
    (folder / "lake").mkdir()
    catalog = SqlCatalog("local", uri=f"sqlite:///{folder}/lake/catalog.db", warehouse=f"file://{folder}/lake")
    catalog.create_namespace("shop")
    iceberg = catalog.create_table("shop.t", schema=TABLE.schema)
    iceberg.append(TABLE)
    yield {
        "frame": (TABLE, {}),
        "polars": (folder / "t.parquet", {"as_frame": "polars"}),
        "arrow": (folder / "t.parquet", {"as_frame": "arrow"}),
        "parquet": (str(folder / "t.parquet"), {}),
        "csv": (folder / "t.csv", {}),
        "csv.gz": (folder / "t.csv.gz", {"read": {"types": TYPES}}),
        "json": (folder / "t.jsonl", {"read": {"types": TYPES}}),
        "directory": (folder / "parts", {}),
        "sql": (backstory.Query("SELECT * FROM t ORDER BY id", engine), {"read": {"types": TYPES}}),
        "duckdb": (backstory.Query("FROM t WHERE id > ? ORDER BY id", duck, [0]), {}),
        "memory": (backstory.Query(f"FROM '{folder}/t.parquet'"), {}),
        "relation": (duck.table("t"), {}),
        "delta": (deltalake.DeltaTable(folder / "delta"), {}),
        "iceberg": (iceberg, {}),
    }
    engine.dispose()
    duck.close()


@pytest.fixture(scope="module")
def fixed(places, tmp_path_factory):
    """An archive in which each was fixed and used, with the `source.fixed` entry of each and the frame it gave."""
    archive = backstory.init(tmp_path_factory.mktemp("sources") / "audit", origin="example.org/sources")
    found = {}
    for kind, (data, options) in places.items():
        frame = archive.source(data, "t", key="id", snapshot={"lakefs": "main@5a1c"}, **options)
        archive.split(frame, ["eur"])
        (origin,) = archive._sources.find("t")["t"][-1:]
        archive._store.reference(origin, "exact")
        entry = archive._ledger.find_entries("source.fixed", "t")[-1]
        found[kind] = frame, entry, archive._ledger.document(entry["about"])
    yield archive, found
    archive.close()


def test_equal_content_is_one_version(fixed):
    """Format, compression, files, database and frame make no difference to a dataset version."""
    _, found = fixed
    assert len({entry["dataset"] for _, entry, _ in found.values()}) == 1


def test_the_frame_is_of_the_library_that_was_asked_for(fixed):
    """What is read comes as pandas unless another is asked for; a frame stays what it is."""
    _, found = fixed
    kinds = {kind: kind_of(frame) for kind, (frame, _, _) in found.items()}
    others = {"frame": "arrow", "polars": "polars", "arrow": "arrow", "relation": "duckdb"}
    assert kinds == dict.fromkeys(found, "pandas") | others


def test_a_file_is_named_with_its_digest(fixed, places):
    """The origin of a file and of a directory has every file with the SHA-256 of its bytes."""
    _, found = fixed
    path = places["csv.gz"][0]
    origin = found["csv.gz"][2]["origin"]
    data = path.read_bytes()
    assert origin["files"] == [{"name": "t.csv.gz", "sha256": hashlib.sha256(data).hexdigest(), "size": str(len(data))}]
    assert (origin["system"], origin["path"], origin["read"]) == ("file", str(path), {"types": TYPES})
    assert [file["name"] for file in found["directory"][2]["origin"]["files"]] == ["a.parquet", "b.parquet"]


def test_a_query_is_recorded_without_its_parameters(fixed):
    """The text of a query is recorded, and a keyed digest of what was bound to it."""
    _, found = fixed
    origin = found["duckdb"][2]["origin"]
    assert origin["query"]["text"] == "FROM t WHERE id > ? ORDER BY id"
    assert re.fullmatch(r"[0-9a-f]{64}:[0-9a-f]{64}", origin["query"]["parameters"])
    assert "parameters" not in found["sql"][2]["origin"]["query"]
    assert found["relation"][2]["origin"]["system"] == "duckdb"


def test_other_systems_ids_are_kept(fixed):
    """Ids that are given stand beside those that Delta and Iceberg tell themselves."""
    _, found = fixed
    lakefs = {"lakefs": "main@5a1c"}
    assert found["parquet"][2]["external"] == lakefs
    assert found["delta"][2]["external"] == {"delta": "0"} | lakefs
    assert found["iceberg"][2]["external"] == {"iceberg": found["iceberg"][2]["origin"]["snapshot"]} | lakefs


def test_a_frame_has_no_origin(fixed):
    """Of a frame nothing is known but what the caller says."""
    _, found = fixed
    assert "origin" not in found["frame"][2]


def test_a_stream_tells_its_offsets(fixed):
    """The origin of a batch is its topic and the offsets of each partition."""
    archive, _ = fixed
    batch = backstory.Stream(TABLE, topic="visits", partition=3, offset="id")
    archive.source(batch, "visits")
    (origin,) = archive._sources.find("visits")["visits"]
    archive._store.reference(origin, "exact")
    about = archive._ledger.document(archive._ledger.find_entries("source.fixed", "visits")[-1]["about"])
    span = {"first": "1", "last": "4", "partition": "3", "rows": "4", "whole": True}
    assert {name: about["origin"][name] for name in ("system", "topic", "partitions")} == {
        "system": "stream",
        "topic": "visits",
        "partitions": [span],
    }


def test_every_origin_verifies(fixed):
    """An archive with sources of every kind verifies, and every document is reached."""
    archive, _ = fixed
    report = archive.verify(workers=1)
    assert not report.incomplete
    assert not [finding for finding in report.findings if finding.place.startswith("blobs/")]


def test_options_are_for_what_is_read(fixed):
    """A frame is taken as it is: options of reading are refused, and so is keeping it by reference."""
    archive, _ = fixed
    refused = {"read": {"columns": ["id"]}, "as_frame": "polars", "keep": "reference", "snapshot": {"X": "1"}}
    for name, value in refused.items():
        with pytest.raises(InputError):
            archive.source(TABLE, "other", **{name: value})


def test_no_password_reaches_the_archive(tmp_path):
    """Passwords in an origin, an id or a database's URL are in no byte of the archive."""
    with backstory.init(tmp_path / "audit", origin="example.org/secret") as archive:
        url = f"sqlite:///file:{tmp_path}/x.db?mode=rwc&uri=true&password=hunter2"
        data = backstory.Query(
            "SELECT 1 AS a /* db://u:hunter2@h/x password=hunter2 */ WHERE :p IS NOT NULL", url, {"p": "hunter2"}
        )
        archive.source(
            data, "s", origin="https://u:hunter2@h/x?sig=hunter2", snapshot={"dvc": "https://h/x?t=hunter2"},
            keep="reference",
        )  # fmt: skip
        archive._store.reference(archive._sources.find("s")["s"][-1], "exact")
        archive.flush()
    held = [path for path in (tmp_path / "audit").rglob("*") if path.is_file()]
    assert held
    assert not [path for path in held if b"hunter2" in path.read_bytes()]
