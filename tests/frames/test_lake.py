"""Iceberg tables that an archive names: what is read of them, and from where."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from backstory.errors import InputError, NotFoundError
from backstory.frames.lake import open_iceberg, read_iceberg, snapshot_of
from backstory.frames.read_options import ReadOptions, read_options

TABLE = pa.table({"a": [1, 2, 3]})


@pytest.fixture
def table(tmp_path):
    """An Iceberg table with two snapshots."""
    catalog = SqlCatalog("local", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("n")
    table = catalog.create_table("n.t", schema=TABLE.schema)
    table.append(TABLE)
    table.append(TABLE)
    return table


def metadata_of(table, tmp_path, **changes):
    """Return a metadata file of a table, changed."""
    document = json.loads(table.metadata.model_dump_json()) | changes
    path = tmp_path / "v9.metadata.json"
    path.write_text(json.dumps(document))
    return path


def test_a_snapshot_is_read_by_its_id(table, tmp_path):
    """An older snapshot is read through the metadata file alone; one that is not there is not found."""
    again = open_iceberg(metadata_of(table, tmp_path))
    first = table.metadata.snapshots[0].snapshot_id
    assert read_iceberg(again, first, ReadOptions()).equals(TABLE)
    assert snapshot_of(again, ReadOptions()) == table.metadata.snapshots[1].snapshot_id
    with pytest.raises(NotFoundError):
        snapshot_of(again, read_options({"snapshot": 7}))


def test_a_metadata_file_loads_no_class(table, tmp_path):
    """A class that the metadata names to read files with is not loaded."""
    path = metadata_of(table, tmp_path, properties={"py-io-impl": "nowhere.Evil"})
    assert read_iceberg(open_iceberg(path), table.metadata.snapshots[0].snapshot_id, ReadOptions()).num_rows == 3


def test_a_metadata_file_asks_no_network(table, tmp_path):
    """Files elsewhere, which the metadata of a table here may name, are not fetched: they count as gone."""
    snapshots = json.loads(table.metadata.model_dump_json())["snapshots"]
    for snapshot in snapshots:
        snapshot["manifest-list"] = "s3://bucket/list.avro"
    again = open_iceberg(metadata_of(table, tmp_path, snapshots=snapshots))
    with pytest.raises(NotFoundError, match="gone"):
        read_iceberg(again, snapshots[0]["snapshot-id"], ReadOptions())


def test_what_is_no_metadata_is_refused(tmp_path):
    """Another file is none; a missing one is not found."""
    (tmp_path / "v1.metadata.json").write_text("{}")
    with pytest.raises(InputError):
        open_iceberg(tmp_path / "v1.metadata.json")
    with pytest.raises(NotFoundError):
        open_iceberg(tmp_path / "v2.metadata.json")
