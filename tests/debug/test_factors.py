"""Factors of predictions: what lineage, context, time, flags and features say of each."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.tree import DecisionTreeRegressor

import backstory
from backstory.debug.factors import Factors, build_factors
from backstory.debug.rootcause_columns import FactorColumn, binned, coded, days
from backstory.debug.rootcause_records import Asked, read_population

if TYPE_CHECKING:
    from backstory.archive import Archive

ROWS = 400


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Return an archive with predictions from a table, two files with a day's weather each, and a group."""
    folder = tmp_path_factory.mktemp("factors")
    trips = pd.DataFrame({"trip": range(ROWS), "hour": [n % 50 for n in range(ROWS)]})
    trips["line"] = np.where(trips.trip < 134, "red", "blue")
    trips["km"] = trips.trip * 1.5
    for day in (1, 2):
        hours = range(24 * (day - 1), 24 * day)
        moments = [f"2026-11-{day:02}T{hour % 24:02}:00:00" for hour in hours]
        pd.DataFrame({"hour": hours, "at": moments, "wind": [hour * 0.1 for hour in hours]}).to_csv(
            folder / f"wind-{day}.csv", index=False
        )
    with redirect_stdout(io.StringIO()), backstory.init(folder / "archive", origin="example.org/factors") as one:
        wind = [one.source(folder / f"wind-{day}.csv", "wind", part=f"day {day}", key="hour") for day in (1, 2)]
        frame = one.source(trips, "trips", key="trip").merge(pd.concat(wind), on="hour", how="left")
        lines = one.group(frame, "line", name="line", line_km=("km", "mean"))
        frame = frame.merge(lines, on="line")
        x, rows = one.split(frame, ["km", "wind", "line_km"])
        model = DecisionTreeRegressor(max_depth=2).fit(x.fillna(0), x.km)
        one.register(model, name="time", rows=rows[:200])
        one.deployments.set("live", "time:1")
        one.predict("time", x.assign(km=np.where(x.km > 500, 9_000, x.km)), rows=rows.assume_aligned())
        one.flush()
        yield one


@pytest.fixture(scope="module")
def factors(archive: Archive) -> Factors:
    """Return the factors of all predictions."""
    population = read_population(archive._workshop, Asked(bad="feature.km > 550"))
    return build_factors(archive._workshop, population.records, support=5)


def named(factors: Factors, name: str) -> FactorColumn:
    """Return a factor by its name."""
    return next(one for one in factors.columns if one.name == name)


def counts(column: FactorColumn) -> dict[str, int]:
    """Return how many predictions have each value, by its label."""
    numbers = np.bincount(column.codes[column.codes >= 0], minlength=column.values)
    return {column.label(value): int(count) for value, count in enumerate(numbers)}


def test_rows_of_files_lead_to_part_and_file(factors: Factors) -> None:
    """Each prediction has the version, the part and the file its row was read from."""
    assert counts(named(factors, "wind: file")) == {"wind-1.csv": 192, "wind-2.csv": 192}
    assert counts(named(factors, "wind: part")) == {"day 1": 192, "day 2": 192}
    assert counts(named(factors, "wind: version")) == {"wind:1@day 1": 192, "wind:1@day 2": 192}


def test_a_row_is_named_by_its_key(factors: Factors) -> None:
    """Single rows are a level of their own, with the key that names them."""
    rows = counts(named(factors, "wind: row"))
    assert rows["row 7 (hour 7)"] == 8
    assert sum(rows.values()) == 384


def test_rows_that_matched_none_are_a_value(factors: Factors) -> None:
    """Hours without weather are counted as without a row."""
    assert counts(named(factors, "wind: match")) == {"a row": 384, "no row": 16, "broken": 0}


def test_what_rows_hold_is_looked_at_through_positions(factors: Factors) -> None:
    """Texts are values, numbers are put into bins of as many predictions, moments have days."""
    assert counts(named(factors, "trips.line")) == {"'red'": 134, "'blue'": 266}
    assert set(counts(named(factors, "trips.km")).values()) == {40}
    assert sorted(counts(named(factors, "wind.at: day")).values()) == [192, 192]


def test_a_group_is_named_by_its_key(factors: Factors) -> None:
    """The number of a group is shown as what its rows have in common."""
    column = named(factors, "line")
    assert (column.level, counts(column)) == ("group", {"line 'red'": 134, "line 'blue'": 266})


def test_flags_are_factors(factors: Factors) -> None:
    """Each flag is one, and only the predictions that have it."""
    column = named(factors, "flag range:km")
    assert (column.level, counts(column)) == ("flag", {"yes": 200})


def test_features_are_looked_at_last(factors: Factors) -> None:
    """Features and flags are what predictions show, not where they come from."""
    later = [one.name for one in factors.columns if one.factor().later]
    assert later == ["flag range:km", "feature.km", "feature.wind", "feature.line_km"]
    assert later == [one.name for one in factors.columns][-4:]


def test_what_tells_nothing_apart_is_left_out_and_named(factors: Factors) -> None:
    """What all have in common, and what hardly two have, is no factor; the answer has the names."""
    assert {"model", "writer", "call", "deployment live"} <= set(factors.left_out["the same for all"])
    assert {"trips: row", "trips.trip"} <= set(factors.left_out["hardly any two predictions the same"])
    assert not {one.name for one in factors.columns} & {name for names in factors.left_out.values() for name in names}


def test_features_can_be_left_alone(archive: Archive) -> None:
    """Asked not to, it looks at no feature."""
    records = read_population(archive._workshop, Asked(bad="feature.km > 550")).records
    found = build_factors(archive._workshop, records, support=5, features=False)
    assert not [one for one in found.columns if one.level == "feature"]


def test_bins_hold_as_many_each() -> None:
    """Numbers fall into ten bins of as many values, with NaN and null in one of their own."""
    found = binned(pa.array([*map(float, range(100)), None, float("nan")]))
    assert np.bincount(found.codes).tolist() == [10] * 10 + [2]
    assert (found.label(0), found.label(10)) == ("0 to 9", "missing")


@pytest.mark.filterwarnings("error")
def test_bins_of_infinities() -> None:
    """Infinite values are at the ends, and nothing is computed of them."""
    found = binned(pa.array([float("inf")] * 10 + [1.0] * 10 + [float("-inf")] * 10))
    counts = np.bincount(found.codes, minlength=found.values).tolist()
    assert [(found.label(n), count) for n, count in enumerate(counts) if count] == [
        ("-inf", 10),
        ("1", 10),
        ("inf", 10),
    ]


def test_null_is_a_value() -> None:
    """Rows without a value are those of the value null."""
    found = coded(pa.array(["a", None, "a"]))
    assert [found.label(code) for code in found.codes] == ["'a'", "null", "'a'"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["2026-11-17T05:00:00Z", None]), ["2026-11-17", None]),
        (pa.array(["2026-11-17", "2026-11-18"]), None),
        (pa.array(["red", "blue"]), None),
        (pa.array([1, 2]), None),
    ],
)
def test_days_of_texts(values: pa.Array, expected: list[str | None] | None) -> None:
    """Texts that begin with a day and go on have days; days alone are values already."""
    found = days(values)
    assert (None if found is None else found.to_pylist()) == expected
