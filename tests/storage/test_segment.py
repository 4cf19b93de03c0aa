"""Parquet files of the archive: what is small and quick for one column is not for another."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backstory.storage.segment import write_groups, write_parquet

ROWS = 9_000
TABLE = pa.table(
    {
        "few": [n % 50 / 7 for n in range(ROWS)],
        "many": [n / 7 for n in range(ROWS)],
        "nested": [{"few": f"name {n % 9}", "many": f"name {n}"} for n in range(ROWS)],
        "none": pa.nulls(ROWS),
        "seq": list(range(ROWS)),
        "texts": [["a", "b"]] * ROWS,
    }
)


def by_dictionary(path):
    """Return the columns of a file that have a dictionary."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(at) for at in range(group.num_columns)]
    return {one.path_in_schema for one in columns if one.has_dictionary_page}


def write_rows(path):
    """Write the table."""
    write_parquet(TABLE, path)


def write_in_groups(path):
    """Write the table group by group."""
    write_groups((TABLE.slice(start, 4_000) for start in range(0, ROWS, 4_000)), TABLE.schema, path, {})


@pytest.mark.parametrize("write", [write_rows, write_in_groups])
def test_only_values_that_repeat_have_a_dictionary(tmp_path, write):
    """A dictionary of values that are nearly all different would take more room than they do."""
    write(tmp_path / "x.parquet")
    assert by_dictionary(tmp_path / "x.parquet") == {"few", "nested.few", "none", "texts.list.element"}
    assert pq.read_table(tmp_path / "x.parquet").equals(TABLE)


def test_a_file_may_have_no_rows(tmp_path):
    """A table without rows is a file without rows."""
    write_groups([], TABLE.schema, tmp_path / "x.parquet", {})
    assert pq.read_table(tmp_path / "x.parquet").equals(TABLE.slice(0, 0))
