"""Rows kept by reference: read again where they are, believed only if they are the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import deltalake
import pandas as pd
import pytest
import sqlalchemy
from pyiceberg.catalog.sql import SqlCatalog
from tests.support.archives import loans

import backstory
from backstory.errors import InputError, NotFoundError, StorageError, VerificationError

ACTING = {"actor": "auditor", "purpose": "case 1"}


def score(features):
    """Return a score of each loan: a model that needs no library."""
    return (features["amount"] / features["years"]).to_numpy()


def row_of(archive, prediction):
    """Return what `why` says of the one row a prediction was made from."""
    (row,) = archive.why(prediction).to_dict()["rows"]
    return row


def used(archive, data, name, **options):
    """Fix a source and predict with it; return the ids."""
    frame = archive.source(data, name, key="loan", **options)
    features, rows = archive.split(frame, ["amount", "years"])
    model = archive.register(score, name="credit")
    return archive.predict(model, features, rows=rows, method="__call__").ids


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """An archive with one source of each system, all kept by reference, and the ids of predictions by source."""
    folder = tmp_path_factory.mktemp("scene")
    table = loans()
    (folder / "parts").mkdir()
    table.to_csv(folder / "file.csv", index=False)
    table[:15].to_parquet(folder / "parts" / "a.parquet")
    table[15:].to_parquet(folder / "parts" / "b.parquet")
    engine = sqlalchemy.create_engine(f"sqlite:///{folder}/loans.db")
    table.to_sql("loans", engine, index=False)
    deltalake.write_deltalake(folder / "delta", table)
    (folder / "lake").mkdir()
    catalog = SqlCatalog("local", uri=f"sqlite:///{folder}/lake/catalog.db", warehouse=f"file://{folder}/lake")
    catalog.create_namespace("risk")
    arrow = deltalake.DeltaTable(folder / "delta").to_pyarrow_table()
    iceberg = catalog.create_table("risk.loans", schema=arrow.schema)
    iceberg.append(arrow)
    backstory.init(folder / "audit", origin="example.org/referenced").close()
    query = backstory.Query("SELECT * FROM loans WHERE years > :y ORDER BY loan", engine, {"y": 0})
    with backstory.open(folder / "audit", keep="reference") as archive:
        ids = {
            "file": used(archive, folder / "file.csv", "file"),
            "directory": used(archive, folder / "parts", "directory"),
            "sql": used(archive, query, "sql"),
            "delta": used(archive, deltalake.DeltaTable(folder / "delta", version=0), "delta"),
            "iceberg": used(archive, iceberg, "iceberg"),
            "people": used(archive, folder / "file.csv", "people", subject="loan"),
            "frame": used(archive, table, "frame"),
        }
        in_session = row_of(archive, ids["sql"][7])["values"]
    deltalake.write_deltalake(folder / "delta", table[:3], mode="overwrite")
    iceberg.overwrite(arrow.slice(0, 3))
    return folder, ids, query, in_session


@pytest.fixture
def copied(scene, tmp_path):
    """A copy of all of it, to spoil."""
    shutil.copytree(scene[0], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("system", ["file", "directory", "delta", "iceberg"])
def test_a_later_session_reads_the_rows_again(scene, system):
    """`why`, keys and predicates work as with a copy; of a table the version that was used is read, not the newest."""
    folder, ids, _, _ = scene
    with backstory.open(folder / "audit", mode="r") as archive:
        assert row_of(archive, ids[system][7])["values"] == loans().iloc[7].to_dict()
        assert archive.impact(system, keys="loan-0007").counts["predictions"] == 1
        assert archive.impact(system, where="amount = 0").rows == 1


def test_no_row_is_in_the_archive(scene):
    """Of what is kept by reference no file of the archive holds the rows; of a frame, which cannot be, one does."""
    folder, _, _, _ = scene
    with backstory.open(folder / "audit", mode="r") as archive:
        kept = {entry["name"]: "table" in entry for entry in archive._ledger.find_entries("source.fixed")}
        assert kept == dict.fromkeys(kept, False) | {"frame": True}
    assert not [path for path in (folder / "audit" / "vault").glob("*.shard") if "people" in path.name]


def test_a_query_is_remembered_in_its_session_and_located_in_others(scene):
    """Connection and parameters are not recorded: a later session has to be told, and is believed only if it fits."""
    folder, ids, query, in_session = scene
    assert in_session["loan"] == "loan-0007"
    with backstory.open(folder / "audit", mode="r") as archive:
        with pytest.raises(StorageError, match=r"archive\.data\.locate"):
            archive.why(ids["sql"][7])
        with pytest.raises(VerificationError, match="got others"):
            archive.data.locate("sql", backstory.Query("SELECT * FROM loans WHERE years > 3", query._engine))
        (digest,) = archive.data.locate("sql", query)
        row = row_of(archive, ids["sql"][7])
    assert (row["digest"], row["values"]) == (digest, in_session)


def test_people_stay_behind_the_gate(scene):
    """Rows about people are read again for whoever may, and the archive does not name their files or digests."""
    folder, ids, _, _ = scene
    with backstory.open(folder / "audit", mode="r") as archive:
        assert archive.why(ids["people"][7]).rows[0].state == "sealed"
    with backstory.open(folder / "audit", **ACTING) as archive:
        assert row_of(archive, ids["people"][7])["values"]["loan"] == "loan-0007"
        entry = archive._ledger.find_entries("source.fixed", "people")[0]
        origin = archive._ledger.document(entry["about"])["origin"]
    assert set(origin["files"][0]) == {"hmac", "size"}
    assert not set(origin) & {"query", "names"}


def test_everything_is_the_same(scene):
    """`data.check` reads everything again; what has to be located first could not be asked, and that is said."""
    folder, _, _, _ = scene
    with backstory.open(folder / "audit", mode="r") as archive:
        found = {one.name: one.state for one in archive.data.check()}
        assert found == dict.fromkeys(["file", "directory", "delta", "iceberg", "people"], "same") | {"sql": "unread"}
        assert [one.name for one in archive.data.check("file")] == ["file"]
        with pytest.raises(NotFoundError, match="known: "):
            archive.data.check("frame")


def test_the_log_verifies_whatever_became_of_the_rows(copied):
    """Rows that are elsewhere do not stop the verification, which says that it did not look at them."""
    (copied / "file.csv").unlink()
    with backstory.open(copied / "audit", mode="r") as archive:
        report = archive.verify(workers=1)
    assert not report.incomplete
    (finding,) = (finding for finding in report.findings if finding.place == "datasets")
    assert finding.what.startswith("rows of 6 dataset versions not looked at: kept by reference")


def test_a_changed_file_is_named(scene, copied):
    """One cell changed: the question is refused, with the place and the file; the rest goes on."""
    ids = scene[1]
    path = copied / "parts" / "b.parquet"
    table = pd.read_parquet(path)
    table.loc[20, "amount"] += 1
    table.to_parquet(path)
    with backstory.open(copied / "audit", mode="r") as archive:
        with pytest.raises(VerificationError, match=r"\.\./parts, got others; changed: b\.parquet") as caught:
            archive.why(ids["directory"][1])
        assert caught.value.details["files"] == ["b.parquet"]
        (found,) = archive.data.check("directory")
        assert (found.state, found.place) == ("changed", "../parts")
        assert archive.why(ids["file"][1]).rows[0].state == "row"


def test_other_bytes_of_the_same_rows_are_the_same(scene, copied):
    """A file written anew with the same rows, compressed differently, is believed: rows are compared, not bytes."""
    path = copied / "parts" / "b.parquet"
    pd.read_parquet(path).to_parquet(path, compression="zstd", index=False)
    with backstory.open(copied / "audit", mode="r") as archive:
        assert archive.data.check("directory")[0].state == "same"


@pytest.mark.parametrize(
    ("system", "path"), [("file", "file.csv"), ("directory", "parts"), ("delta", "delta"), ("people", "file.csv")]
)
def test_what_is_gone_is_reported_as_gone(scene, copied, system, path):
    """A file, directory or table that vanished is not found; the message says where it was."""
    moved = Path(shutil.move(copied / path, copied / f"moved{Path(path).suffix}"))
    with backstory.open(copied / "audit", **ACTING) as archive:
        with pytest.raises(NotFoundError, match=rf"gone: expected them at \.\./{path}"):
            archive.why(scene[1][system][1])
        assert archive.data.check(system)[0].state == "gone"
        if system != "delta":
            archive.data.locate(system, moved)
            assert archive.why(scene[1][system][1]).rows[0].key == {"loan": "loan-0001"}


def test_a_vacuumed_version_is_gone(scene, copied):
    """After a vacuum the table is there and the version is not."""
    table = deltalake.DeltaTable(copied / "delta")
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    with backstory.open(copied / "audit", mode="r") as archive:
        (found,) = archive.data.check("delta")
    assert found.state == "gone"
    assert "vacuum" in found.what


def test_a_place_that_is_no_table_any_more_has_changed(scene, copied):
    """A file that cannot be parsed as before is a changed one."""
    (copied / "file.csv").write_text("no,table\n1\n")
    with backstory.open(copied / "audit", mode="r") as archive:
        assert archive.data.check("file")[0].state == "changed"


def test_a_copy_made_later_is_enough(scene, copied):
    """Once the same rows are fixed with a copy, the version is whole here and the place is not asked again."""
    with backstory.open(copied / "audit", **ACTING) as archive:
        used(archive, copied / "file.csv", "file")
        used(archive, copied / "file.csv", "people", subject="loan")
    (copied / "file.csv").unlink()
    with backstory.open(copied / "audit", **ACTING) as archive:
        for name in ("file", "people"):
            assert archive.why(scene[1][name][1]).rows[0].key == {"loan": "loan-0001"}
        assert not archive.verify(workers=1).incomplete


def test_a_frame_is_no_place(scene):
    """A frame cannot be kept by reference, nor can rows be located in one."""
    with backstory.open(scene[0] / "audit", mode="r") as archive:
        with pytest.raises(InputError):
            archive.data.locate("file", loans())
        with pytest.raises(InputError):
            archive.source(loans(), "x", keep="reference")
        with pytest.raises(InputError, match="'copy' or 'reference'"):
            archive.source(scene[0] / "file.csv", "x", keep="both")
