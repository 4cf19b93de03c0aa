"""Searches over records of several types: all of them or an error, never silently fewer."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from backstory.archive import Archive
from backstory.errors import QueryError, StorageError, VerificationError
from backstory.lineage.refs import LineageWarning
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
        "true); select 1 where (true",
        "true) union all select 1 where (true",
        "select true",
        "true then 1 when true",
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
        with pytest.warns(LineageWarning, match="search: 3 predictions not compared"):
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


@pytest.mark.parametrize("limit", [1.5, -1, "2"])
def test_a_limit_is_a_number_of_rows(mixed: Archive, limit):
    """Anything else is a mistake in the question."""
    with pytest.raises(QueryError, match="limit"):
        mixed.search("true", limit=limit)


@pytest.mark.parametrize(
    ("predicate", "values"),
    [
        ("time > ?", [pd.Timestamp("2020-01-01", tz="UTC")]),
        ("time > ?", [datetime(2020, 1, 1, tzinfo=UTC)]),
        ("time > ?", ["2020-01-01T00:00:00Z"]),
        ("time > '2020-01-01' and time > TIMESTAMPTZ '2020-01-01'", []),
        ("time > now() - interval 1 hour and year(time) > 2020", []),
        ("feature.at > ? and feature.at > '2020-01-01'", [datetime(2020, 1, 1, tzinfo=UTC)]),
    ],
)
def test_moments_are_compared(archive: Archive, predicate, values):
    """Values, literals and `now()` are compared with times, which answers have as exactly as they were recorded."""
    at = pd.Timestamp("2026-01-01T00:00:00.000000123", tz="UTC")
    version = archive.register(lambda frame: frame["x"].to_numpy(), name="same")
    archive.predict(version, pd.DataFrame({"x": [1.0], "at": [at]}), method="__call__")
    found = archive.search(predicate, values)
    assert found["feature.at"].tolist() == [at]
    assert found["time"].dt.nanosecond.notna().all()
    assert str(found["time"].dtype) == "datetime64[ns, UTC]"


@pytest.fixture
def once_a_text(archive: Archive) -> Archive:
    """Three calls with numbers, and three that failed as they were made with texts."""

    @archive.traced
    def half(amount: float) -> float:
        return amount / 2

    for amount in (1.0, 9500.0, 12000.0, "abc", "12000", "7"):
        with contextlib.suppress(TypeError):
            half(amount)  # type: ignore[arg-type]
    return archive


@pytest.mark.parametrize("value", [9000, "9000", "9e3"])
def test_one_text_does_not_make_numbers_texts(once_a_text: Archive, value):
    """A number is compared with numbers, however it is written, and the answer holds the numbers as such."""
    found = once_a_text.search("feature.amount > ?", [value])
    assert found["feature.amount"].tolist() == [9500.0, 12000.0]


def test_columns_are_of_the_rows_that_are_shown(once_a_text: Archive):
    """Texts behind the limit, or in rows the predicate does not hold for, make no column text."""
    assert once_a_text.search("status = 'ok'")["feature.amount"].tolist() == [1.0, 9500.0, 12000.0]
    assert once_a_text.search("true", limit=2)["feature.amount"].tolist() == [1.0, 9500.0]
    assert once_a_text.search("feature.amount = ?", ["abc"])["feature.amount"].tolist() == ["abc"]


def test_a_text_is_no_number(archive: Archive):
    """A text for a column of numbers is a mistake, where some calls had text it is not; 0.5 is less than 1."""
    version = archive.register(lambda frame: frame["n"].to_numpy(), name="same")
    archive.predict(version, pd.DataFrame({"n": [0, 1, 2]}), method="__call__")
    with pytest.raises(QueryError, match=r"value 1 is no number, and feature\.n holds numbers") as caught:
        archive.search("feature.n > ? and model = ?", ["Ada", "same"])
    assert "Ada" not in str(caught.value)
    assert archive.search("feature.n > ? and model = ?", ["0.5", "same"])["feature.n"].tolist() == [1, 2]
    assert archive.search("feature.n between ? and ?", ["0.5", "1.4"])["feature.n"].tolist() == [1]


def test_names_that_differ_in_case_only_are_not_mixed_up(archive: Archive):
    """SQL takes them for one, so that a predicate with such a name would be answered from the wrong column."""
    version = archive.register(lambda frame: frame["b"].to_numpy(), name="same")
    archive.predict(version, pd.DataFrame({"A": [1, 2], "a": [2, 1], "b": [3.0, 4.0]}), method="__call__")
    for predicate in ("feature.a > 1", '"feature.A" > 1', "feature['a'] > 1", "columns('feature.*') > 1"):
        with pytest.raises(QueryError, match="'A' and 'a' differ in case only"):
            archive.search(predicate)
    assert archive.search("feature.b > 3 and model = 'same'")["feature.A"].tolist() == [2]


@pytest.mark.parametrize("predicate", ["output[2] > 0.5", "output.1 > 0.5"])
def test_a_column_named_by_a_number_is_named_in_quotes(archive: Archive, predicate):
    """Who takes it for a position is told."""
    version = archive.register(lambda frame: frame.to_numpy(), name="same")
    archive.predict(version, pd.DataFrame({"a": [1.0], "b": 0.0}), method="__call__")
    with pytest.raises(QueryError, match=r'in quotes: output\."1"'):
        archive.search(predicate)
