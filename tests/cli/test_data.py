"""`backstory data`: versions, what is known of one, what changed, and fingerprints of files."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
