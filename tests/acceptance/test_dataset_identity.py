"""A dataset version is its content: the same from every library and file, another after any change, and audited."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.archives import ORIGIN

import backstory
from backstory.archive import Archive
from backstory.errors import InputError
from backstory.ledger.ledger import Ledger
from backstory.storage.world import World
from backstory.verify.archive import verify_archive

TABLE = pa.table({"id": [1, 2, 3], "name": ["a", "b", None], "size": [0.5, None, -0.0]})


def model(rows: int) -> float:
    """Stand for a model."""
    return rows / 2


def keep(archive: Archive, data: Any, name: str, **said: Any) -> str:
    """Fix a source, have a model refer to it, and return the dataset version's digest."""
    _, rows = archive.split(archive.source(data, name, **said))
    archive.register(model, name=name, rows=rows)
    return archive.data.show(name).version.digest


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Archive, Path]]:
    """An open archive, and a directory beside it."""
    folder = tmp_path_factory.mktemp("identity")
    with backstory.init(folder / "archive", origin=ORIGIN) as archive:
        yield archive, folder


def test_every_library_and_file_gives_one_version(made):
    """pandas, polars, pyarrow, DuckDB, Parquet and JSON lines of equal rows are one dataset version, kept once."""
    archive, folder = made
    pq.write_table(TABLE, folder / "table.parquet", row_group_size=1)
    lines = '{"id":1,"name":"a","size":0.5}\n{"id":2,"name":"b","size":null}\n{"id":3,"name":null,"size":-0.0}\n'
    (folder / "table.jsonl").write_text(lines)
    database = duckdb.connect()
    database.register("given", TABLE)
    forms = [
        TABLE,
        TABLE.to_pandas(types_mapper=pd.ArrowDtype),
        pl.from_arrow(TABLE),
        database.sql("SELECT * FROM given"),
        folder / "table.parquet",
        folder / "table.jsonl",
    ]
    digests = {keep(archive, form, "same", key="id") for form in forms}
    assert len(digests) == 1
    assert archive.data.versions("same").num_rows == 1
    assert len({entry["table"] for entry in archive._ledger.find_entries("source.fixed", "same")}) == 1


def test_the_zone_of_a_session_is_not_content(made):
    """DuckDB stores moments without a zone, and shows them in that of whoever asks."""
    archive, _ = made
    table = pa.table({"at": pa.array([0, 10**9, None], pa.timestamp("us", "UTC"))})
    database = duckdb.connect()
    database.execute("SET TimeZone = 'Asia/Kolkata'")
    database.register("given", table)
    forms = [table, database.sql("SELECT * FROM given"), backstory.Query("SELECT * FROM given", database)]
    assert len({keep(archive, form, "moments") for form in forms}) == 1


def test_a_version_says_what_its_fingerprint_says(made):
    """Roots and column digests of a kept version are those of the fingerprint of its rows, wherever they are."""
    archive, folder = made
    keep(archive, TABLE, "told", provable="rows")
    version = archive.data.show("told").version
    pq.write_table(TABLE, folder / "told.parquet")
    found = archive.data.fingerprint(folder / "told.parquet")
    assert (version.document["root"], version.document["sorted"]) == (found.root, found.sorted_root)
    assert version.column_digests == found.columns


def test_without_provable_rows_documents_are_as_they_were(made):
    """A version that nobody wants to prove rows of has no sorted root, so its digest is that of earlier releases."""
    archive, _ = made
    keep(archive, TABLE, "plain")
    document = archive.data.show("plain").version.document
    assert set(document) == {"columns", "key", "name", "root", "rows", "schema", "v"}


def test_a_change_of_one_cell_is_another_version(made):
    """One cell, one type or one name makes another version."""
    archive, _ = made
    other = TABLE.set_column(2, "size", pa.array([0.5, None, 0.0]))
    narrow = TABLE.set_column(0, "id", TABLE["id"].cast(pa.int32()))
    renamed = TABLE.rename_columns(["id", "name", "length"])
    digests = {keep(archive, table, "other", key="id") for table in (TABLE, other, narrow, renamed)}
    assert len(digests) == 4


@pytest.mark.parametrize(
    "said", [{"provable": "columns"}, {"provable": "subjects"}, {"provable": "rows", "subject": "name"}]
)
def test_what_cannot_be_proven_is_refused(made, said):
    """Something else than rows or persons, persons without a column, and rows about people are refused at once."""
    archive, _ = made
    with pytest.raises(InputError):
        archive.source(TABLE, "refused", **said)


def test_the_audit_recomputes_sorted_roots(made, tmp_path):
    """An operator who signs a wrong sorted root is named by the audit."""
    archive, _ = made
    digest = keep(archive, TABLE, "lied", provable="rows")
    path = shutil.copytree(archive.path, tmp_path / "copy")
    ledger = Ledger(path, World(), writable=True, vkey=None, actor=None)
    lie = ledger.put_document({**ledger.document(digest), "sorted": "00" * 32})
    entry = next(entry for entry in ledger.find_entries("source.fixed", "lied") if entry["dataset"] == digest)
    kept = {name: entry[name] for name in ("about", "first", "name", "origin", "part", "rows", "salt", "table", "type")}
    ledger.append([{**kept, "dataset": lie}])
    ledger.close()
    report = verify_archive(path, workers=1)
    assert [finding.what for finding in report.findings if finding.severity == "failed"] == [
        "the kept rows do not lead to its sorted root"
    ]


def test_the_audit_reaches_profiles(made, tmp_path):
    """A profile that is gone, and a sealed one that was changed, are named by the audit."""
    archive, _ = made
    keep(archive, TABLE, "open")
    keep(archive, TABLE, "sealed", subject="name")
    kept = archive.data.show("open").version.about["profile"]
    sealed = archive.data.show("sealed").version.about["profile"]["sealed_table"]
    path = shutil.copytree(archive.path, tmp_path / "copy")
    (path / "blobs" / "sha256" / kept[:2] / kept[2:]).unlink()
    shard = path / "vault" / sealed
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    found = {finding.place for finding in verify_archive(path, workers=1).findings if finding.severity == "failed"}
    assert found == {f"blobs/sha256/{kept[:2]}/{kept[2:]}", f"vault/{sealed}"}
