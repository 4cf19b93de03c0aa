"""`backstory data`: versions, what is known of one, what changed, and fingerprints of files."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression

import backstory
from backstory.cli.exit_codes import FORBIDDEN, INPUT, NOT_FOUND, OK
from backstory.frames.fingerprint import fingerprint


def test_versions_are_listed(ask):
    """`data list` names every dataset version, or those of one source."""
    answer = ask("data", "list", "--json")
    assert {version["name"] for version in answer.json()["versions"]} == {"flights", "weather", "loans"}
    assert "flights:1" in ask("data", "list", "flights").out


def test_a_version_is_shown(ask):
    """`data show` gives the profile of an open version; of one about people only to who says why."""
    shown = ask("data", "show", "weather", "--json").json()
    assert [column["profile"]["distinct"] for column in shown["columns"]] == [2, 4, 8]
    sealed = ask("data", "show", "loans")
    assert sealed.code == OK
    assert "sealed" in sealed.out
    assert "Ada" not in sealed.out


def test_a_version_is_compared_with_a_file(ask, made, tmp_path):
    """`data diff` prints counts and changed cells, and as JSON the first rows."""
    flights = pd.DataFrame(ask("data", "diff", "flights", "flights", "--json").json()["rows"]["added_first"])
    assert flights.empty
    table = pa.table({"origin": ["JFK", "EWR"], "hour": [0, 0], "wind": [7.0, 4.0]})
    pq.write_table(table, tmp_path / "weather.parquet")
    answer = ask("data", "diff", "weather", tmp_path / "weather.parquet")
    assert answer.code == OK
    assert answer.out.startswith("6 rows removed, 1 row changed")
    assert "wind 0.0 → 7.0" in answer.out
    as_json = ask("data", "diff", "weather", tmp_path / "weather.parquet", "--limit", 1, "--json").json()
    assert as_json["rows"]["changed_first"][0]["cells"] == {"wind": {"after": 7.0, "before": 0.0}}
    assert len(as_json["rows"]["removed_first"]) == 1


def test_a_file_has_a_fingerprint_without_an_archive(ask, tmp_path):
    """`data fingerprint` needs no archive and prints both roots."""
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "x.parquet")
    answer = ask("data", "fingerprint", tmp_path / "x.parquet", "--json", archive=tmp_path / "none")
    expected = fingerprint(pa.table({"x": [1, 2]}))
    assert answer.json()["digest"] == expected.digest
    assert expected.sorted_root in ask("data", "fingerprint", tmp_path / "x.parquet").out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show",), INPUT),
        (("diff", "weather"), INPUT),
        (("show", "nothing"), NOT_FOUND),
        (("diff", "weather", "gone.parquet"), NOT_FOUND),
        (("diff", "loans", "weather"), FORBIDDEN),
    ],
)
def test_what_cannot_be_answered_has_its_exit_code(ask, arguments, code):
    """Too few names, unknown versions and files, and sealed rows have the exit codes of these."""
    assert ask("data", *arguments).code == code


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """An archive into which each day's file came in a session of its own, Monday's once more at the end."""
    folder = tmp_path_factory.mktemp("days")
    path = folder / "audit"
    backstory.init(path, origin="example.org/days").close()
    for day, km in (("mon", 1.0), ("tue", 2.0), ("mon", 1.0)):
        pd.DataFrame({"km": [km, *range(3, 1500)]}).to_csv(folder / f"{day}.csv", index=False)
        with backstory.open(path) as archive:
            features, rows = archive.split(archive.source(folder / f"{day}.csv", "days", part=day), ["km"])
            archive.register(LinearRegression().fit(features, features.km), name=f"of_{day}", rows=rows)
    return path


def test_a_part_is_named_without_its_version(ask, days):
    """`days@tue` is that part in the latest version that has it; of a part there is not, the others are named."""
    numbers = [ask("data", "show", f"days@{day}", "--json", archive=days).json()["number"] for day in ("mon", "tue")]
    assert numbers == [1, 2]
    missing = ask("data", "show", "days@friday", archive=days)
    assert (missing.code, missing.err.strip()) == (
        NOT_FOUND,
        "backstory: data: days has no part 'friday'; known: mon, tue",
    )


def test_a_version_says_where_it_was_read_first(ask, days):
    """What was made of it on Monday did not come from Wednesday's reading; what is estimated is said to be."""
    shown = ask("data", "show", "days@mon", "--json", archive=days).json()
    assert shown["about"]["origin"]["extracted"] < shown["time"]
    text = ask("data", "show", "days@mon", archive=days).out
    assert "read from  file ../mon.csv" in text
    assert "  about 1," in text
