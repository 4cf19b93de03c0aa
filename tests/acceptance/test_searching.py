"""Searches over records of several types: all of them or an error, never silently fewer."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstory.archive import Archive
from backstory.errors import FormatError, QueryError, StorageError


@pytest.fixture
def mixed(archive: Archive) -> Archive:
    """Calls that returned 1.5, 2.5, "abc" and "7", sealed in two schemas."""

    @archive.traced
    def number(x: float) -> float:
        return x

    @archive.traced
    def text(x: str) -> str:
        return x

    number(1.5), number(2.5), text("abc"), text("7")
    archive.flush()
    return archive


def _segment(archive: Archive, row: int) -> Path:
    manifest = archive._ledger.log.entry(archive._ledger.catalog.segments("prediction")[row])
    return archive.path / "segments" / manifest["file"]["name"]


def test_a_column_of_several_types_is_text(mixed: Archive):
    """Outputs that are numbers here and texts there are all shown, as text."""
    assert sorted(mixed.search("true")["output"]) == ["1.5", "2.5", "7", "abc"]


def test_a_comparison_is_of_the_records_it_fits(mixed: Archive):
    """Texts are not among outputs above 2, and do not keep numbers from being found."""
    assert mixed.search("output > 2")["output"].tolist() == [2.5]


def test_a_value_that_does_not_convert_does_not_match(mixed: Archive):
    """A cast that fails for one row leaves out that row, not the schema."""
    assert mixed.search("output::DOUBLE > 2")["output"].tolist() == ["2.5", "7"]


def test_a_cast_beside_a_subquery_names_the_way_out(mixed: Archive):
    """Where a failed cast cannot be passed over, the error says what to write, and no value."""
    with pytest.raises(QueryError, match="TRY_CAST") as caught:
        mixed.search("output::DOUBLE > (SELECT 2)")
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("predicate", ["no_column = 1", "no_function(1)", "output = ?", "output ==> 1", "FROM"])
def test_a_wrong_predicate_is_a_query_error(mixed: Archive, predicate):
    """What is wrong with the question is never taken for damage."""
    with pytest.raises(QueryError):
        mixed.search(predicate)


@pytest.mark.parametrize("row", [0, 1])
def test_a_damaged_segment_is_an_error(mixed: Archive, row):
    """Records that do not decode are never just left out."""
    path = _segment(mixed, row)
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 3] = b"\xff" * (len(data) // 3 - 4)
    path.write_bytes(data)
    with pytest.raises((FormatError, StorageError)):
        mixed.search("output is not null")


def test_a_missing_segment_is_an_error(mixed: Archive):
    """The error names the segment that is gone."""
    path = _segment(mixed, 1)
    path.unlink()
    with pytest.raises(StorageError, match=path.name):
        mixed.search("true")
