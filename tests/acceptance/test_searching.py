"""Searches over records of several types: all of them or an error, never silently fewer."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from backstory.archive import Archive
from backstory.errors import QueryError, StorageError, VerificationError
from backstory.lineage.search import search_predictions


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


@pytest.mark.parametrize(
    "predicate",
    [
        "no_column = 1",
        "no_function(1)",
        "output = ?",
        "output ==> 1",
        "FROM",
        "status",
        "",
        " ",
        "()",
        "error('x')",
        "1, 2",
    ],
)
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
    with pytest.raises(VerificationError, match=path.name):
        mixed.search("output is not null")


def test_a_missing_segment_is_an_error(mixed: Archive):
    """The error names the segment that is gone."""
    path = _segment(mixed, 1)
    path.unlink()
    with pytest.raises(StorageError, match=path.name):
        mixed.search("true")


@pytest.mark.parametrize(("predicate", "values"), [("error(?)", ["Alice"]), ("error(output)", [])])
def test_an_error_of_a_predicate_quotes_no_value(mixed: Archive, predicate, values):
    """Neither one of a record nor one that was given, and nothing it was caused by does."""
    with pytest.raises(QueryError) as caught:
        mixed.search(predicate, values)
    assert "Alice" not in str(caught.value)
    assert "abc" not in str(caught.value)
    assert caught.value.__cause__ is None


NAMES = ["mean radius", "a/b", "x.y", 'say "hi"', "plain"]


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_has_two_names(archive: Archive, name: str):
    """Whatever its name, a feature is found as a member and by the whole name that answers have, in quotes."""
    version = archive.register(lambda frame: frame.iloc[:, 0].to_numpy(), name="same")
    archive.predict(version, pd.DataFrame({name: [1.0, 2.0, 3.0], "other": 0.0}), method="__call__")
    inner = name.replace('"', '""')
    for waits in (True, False):
        found = [archive.search(f"{written} > 1.5") for written in (f'feature."{inner}"', f'"feature.{inner}"')]
        assert [frame[f"feature.{name}"].tolist() for frame in found] == [[2.0, 3.0]] * 2
        assert len(set(found[0].columns)) == len(found[0].columns)
        if waits:
            archive.flush()


def test_a_column_of_a_struct_output_has_two_names(archive: Archive):
    """Several output columns are named as in answers too."""
    version = archive.register(lambda frame: frame.to_numpy(), name="same")
    archive.predict(version, pd.DataFrame({"a": [1.0, 2.0], "b": 0.0}), method="__call__")
    assert len(archive.search('"output.0" > 1.5')) == len(archive.search('output."0" > 1.5')) == 1


def test_each_record_keeps_the_type_it_was_recorded_with(mixed: Archive):
    """Rows as values are numbers where numbers were recorded, and texts where texts were."""
    hits = search_predictions(mixed._ledger, "true", [], None)
    assert sorted((row["output"] for row in hits.rows()), key=str) == [1.5, 2.5, "7", "abc"]


def test_a_search_counts_all_and_returns_the_oldest(mixed: Archive):
    """The total is of all predictions found, whatever the limit."""
    hits = search_predictions(mixed._ledger, "true", [], 3)
    assert (hits.total, [row["output"] for row in hits.rows()]) == (4, [1.5, 2.5, "abc"])
    assert search_predictions(mixed._ledger, "output > 1", [], 1).total == 2


@pytest.mark.parametrize("flushed", [True, False])
def test_what_is_sealed_and_asked_for_is_counted(archive: Archive, flushed: bool):
    """Predictions whose values are sealed cannot be compared: how many is said; a name nobody has stays an error."""
    version = archive.register(lambda frame: frame["x"].to_numpy(), name="same")
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    archive.predict(version, frame, method="__call__", subject="Ada")
    archive.predict(version, frame, method="__call__")
    if flushed:
        archive.flush()
    for predicate in ("output > 1.5", "feature.x > 1.5", '"feature.x" > 1.5'):
        found = archive.search(predicate)
        assert (len(found), found.attrs["not_compared"]) == (2, 3)
    found = archive.search("model = 'same'")
    assert (len(found), found.attrs["not_compared"]) == (6, 0)
    with pytest.raises(QueryError):
        archive.search("feature.z > 1")


def test_nan_is_the_greatest_number(archive: Archive):
    """As DuckDB has it: above every bound, unless the predicate says otherwise."""
    version = archive.register(lambda frame: frame["x"].to_numpy(), name="same")
    archive.predict(version, pd.DataFrame({"x": [float("nan"), 1.0, 61.0]}), method="__call__")
    assert len(archive.search("output > 60")) == 2
    assert archive.search("output > 60 and not isnan(output)")["output"].tolist() == [61.0]
