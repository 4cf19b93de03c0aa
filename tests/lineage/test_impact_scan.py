"""Sets of reached positions, and what is written of an answer to a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import InputError
from backstory.lineage.impact_export import export_tables
from backstory.lineage.reach import Reached
from backstory.storage.disk import Disk

POSITIONS = st.lists(st.integers(0, 40), min_size=1, max_size=12)
SCHEMA = pa.schema([("id", pa.string()), ("time", pa.timestamp("ns", "UTC")), ("position", pa.int64())])
ROWS = [{"id": "a", "time": 1, "position": 3}, {"id": 'b"\n', "time": 10**9, "position": None}]


@given(reached=POSITIONS, asked=st.lists(st.integers(-2, 60), max_size=20))
def test_reached_positions_are_a_set(reached, asked):
    """A position is among them if and only if it is one of them; those that mean no row never are."""
    found = Reached.of(np.array(reached)).among(np.array(asked, np.int64))
    assert found.tolist() == [one in set(reached) for one in asked]


@given(reached=POSITIONS, low=st.integers(-2, 60), width=st.integers(0, 60))
def test_bounds_rule_out_only_what_has_none(reached, low, width):
    """A range is said to have one if and only if it has: a row group is passed over for no other reason."""
    has = any(low <= one <= low + width for one in reached)
    assert Reached.of(np.array(reached)).any_between(low, low + width) is has


def test_nothing_reached_is_nothing():
    """Without positions there is no set, so nothing is read."""
    assert Reached.of(np.zeros(0, np.int64)) is None


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".ndjson"])
def test_an_export_holds_every_row(ending, tmp_path: Path):
    """Whatever the form, each piece is in the file, moments as RFC 3339 where it is text."""
    pieces = [pa.Table.from_pylist([row], schema=SCHEMA) for row in ROWS]
    path = tmp_path / f"found{ending}"
    assert export_tables(Disk(), path, SCHEMA, pieces) == len(ROWS)
    if ending == ".parquet":
        assert pq.read_table(path).equals(pa.concat_tables(pieces))
        return
    if ending == ".csv":
        read = pacsv.read_csv(
            path,
            parse_options=pacsv.ParseOptions(newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(column_types={"time": pa.string()}),
        ).to_pylist()
    else:
        read = [json.loads(line) for line in path.read_text().splitlines()]
    times = ["1970-01-01T00:00:00.000000001Z", "1970-01-01T00:00:01.000000000Z"]
    assert read == [row | {"time": time} for row, time in zip(ROWS, times, strict=True)]


def test_an_export_of_another_ending_is_refused(tmp_path: Path):
    """The form is never guessed, and no file is left."""
    with pytest.raises(InputError, match=r"\.parquet, \.csv, \.jsonl"):
        export_tables(Disk(), tmp_path / "found.xlsx", SCHEMA, [])
    assert not list(tmp_path.iterdir())
