"""From a load, a model or a feature forward: to predictions, cases, people and decisions, counted first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN

import backstory
from backstory.archive import Archive
from backstory.errors import ConflictError, ForbiddenError, NotFoundError, QueryError

DAYS = ("monday", "tuesday")
PEOPLE = ["ann", "bob", "cy", "di", "ed", "flo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An archive of two daily files, a model of Monday's, and decisions about people from both.

    Attributes:
        path: Where it is.
        ids: Ids of the predictions, by day.
        times: When each day's file was loaded.
        quoted: Ids of predictions about nobody.
    """

    path: Path
    ids: dict[str, list[str]]
    times: dict[str, str]
    quoted: list[str]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Make it; files of three loans a day."""
    folder = tmp_path_factory.mktemp("loaded")
    path = folder / "audit"
    ids, times = {}, {}
    with backstory.init(path, origin=ORIGIN) as archive:
        for day, first in zip(DAYS, (0, 3), strict=True):
            rates = pd.DataFrame({"rate": np.arange(3) + first, "bonus": np.arange(3.0) * 10})
            rates.to_csv(folder / f"rates-{day}.csv", index=False)
            frame = archive.source(folder / f"rates-{day}.csv", "rates", part=day, origin=f"nightly load of {day}")
            features, rows = archive.split(frame, ["rate", "bonus"])
            if day == DAYS[0]:
                archive.register(LinearRegression().fit(features, [0, 1, 2]), name="loan", rows=rows)
            made = archive.predict(
                "loan",
                features,
                rows=rows,
                subject=PEOPLE[first : first + 3],
                request_id=[f"case {first + n}" for n in range(3)],
                decision=backstory.Threshold(1.0),
            )
            ids[day] = list(made.ids)
        quoted = archive.predict("loan", features, rows=rows, request_id="quote", decision=backstory.Threshold(1.0))
        archive.flush()
        entries = archive._ledger.find_entries("source.fixed", "rates")
        times = {str(one["part"]): _loaded_at(archive, one) for one in entries}
    return Loaded(path=path, ids=ids, times=times, quoted=list(quoted.ids))


def _loaded_at(archive: Archive, entry: dict) -> str:
    return archive._ledger.document(entry["about"])["origin"]["extracted"]


@pytest.fixture
def reader(loaded: Loaded) -> Iterator[Archive]:
    """The archive, open for reading only."""
    with backstory.open(loaded.path, mode="r") as archive:
        yield archive


@pytest.fixture
def officer(loaded: Loaded) -> Iterator[Archive]:
    """The archive, open to somebody who may see people."""
    with backstory.open(loaded.path, actor="dpo", purpose="a bad file", sealer="none") as archive:
        yield archive


def _moment(text: str, seconds: float = 0) -> str:
    return (datetime.fromisoformat(text[:26] + "+00:00") + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    "load", [{"part": "tuesday"}, {"origin": "rates-tuesday.csv"}, {"origin": "nightly load of tuesday"}]
)
def test_a_load_is_found_by_its_part_or_origin(load, loaded: Loaded, reader: Archive):
    """By the part, the name of the file and the words it was given: all its rows, and what they reached."""
    hits = reader.impact("rates", **load)
    assert hits.rows == 3
    assert set(hits.predictions["id"].to_pylist()) == {*loaded.ids["tuesday"], *loaded.quoted}


def test_a_load_is_found_by_when_it_was(loaded: Loaded, reader: Archive):
    """From one moment on and before another; either may be left open."""
    monday, tuesday = (_moment(loaded.times[day]) for day in DAYS)
    rows = [reader.impact("rates", loaded=ends).versions for ends in ((None, tuesday), (tuesday, None), (monday, None))]
    assert [sum(one.values()) for one in rows] == [3, 3, 6]
    assert set(rows[0]) & set(rows[1]) == set()


def test_a_load_narrows_what_else_chooses_rows(reader: Archive):
    """A predicate looks at that load only."""
    assert reader.impact("rates", where="bonus = 10", part="tuesday").rows == 1


@pytest.mark.parametrize(
    "load", [{"part": "sunday"}, {"origin": "rates.csv"}, {"loaded": (None, "2001-01-01T00:00:00Z")}]
)
def test_a_load_nobody_made_is_not_found(load, reader: Archive):
    """Nothing is not an empty answer."""
    with pytest.raises(NotFoundError, match="was loaded so"):
        reader.impact("rates", **load)


def test_a_moment_that_is_none_is_refused(reader: Archive):
    """Without a time zone, or not two of them."""
    for ends in (("2026-01-01", None), "2026-01-01T00:00:00Z", (None,)):
        with pytest.raises(QueryError, match=r"loaded=\(since, until\)"):
            reader.impact("rates", loaded=ends)


def test_cases_are_the_requests(reader: Archive):
    """The ids of the requests the predictions answered, each once."""
    assert reader.impact("rates", part="tuesday").cases == ["case 3", "case 4", "case 5", "quote"]


def test_subjects_need_a_purpose(reader: Archive):
    """Whom predictions are about is sealed."""
    with pytest.raises(ForbiddenError, match="give an actor and a purpose"):
        _ = reader.impact("rates", part="tuesday").subjects


def test_subjects_are_read_through_the_gate(officer: Archive):
    """The people, each once; the log says that so many records were opened."""
    hits = officer.impact("rates", part="tuesday")
    before = len(accesses(officer._ledger))
    assert hits.subjects == ["di", "ed", "flo"]
    assert hits.subjects == ["di", "ed", "flo"]
    (entry,) = accesses(officer._ledger)[before:]
    assert (entry["question"], entry["records"]) == ("impact", 3)


def test_people_are_found_by_the_rows_of_predictions(tmp_path: Path):
    """A prediction that was given no person is about those of its own rows, sealed or waiting; nobody of its groups."""
    accounts = pd.DataFrame({"who": PEOPLE, "city": ["here", "there"] * 3, "owes": np.arange(6.0)})
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        pass
    with backstory.open(tmp_path / "audit", actor="dpo", purpose="a bad file", sealer="none") as archive:
        frame = archive.source(accounts, "accounts", key="who", subject="who")
        cities = archive.group(frame, "city", name="city", mean=("owes", "mean"))
        features, rows = archive.split(frame.merge(cities, on="city"), ["owes", "mean"])
        archive.register(LinearRegression().fit(features, range(6)), name="loan", rows=rows)
        archive.predict("loan", features[:2], rows=rows[:2]).wait("sealed")
        archive.predict("loan", features[2:4], rows=rows[2:4], subject=["guarantor", None])
        assert archive.impact("accounts", keys=["ann"]).subjects == ["ann", "guarantor"]
        assert archive.impact("accounts", where="owes < 4").subjects == ["ann", "bob", "guarantor", "di"]


def test_decisions_are_counted_by_value(reader: Archive, officer: Archive):
    """Those that are open to everybody; those about people with a purpose too."""
    open_, every = (archive.impact("rates", part="tuesday").decisions for archive in (reader, officer))
    assert (open_, every) == ({True: 2, False: 1}, {True: 4, False: 2})


def test_predictions_are_counted_by_model(reader: Archive):
    """Before any id is read."""
    assert reader.impact("rates", part="monday").by_model == {"loan:1": 3}


def test_a_model_reaches_all_its_predictions(loaded: Loaded, reader: Archive):
    """From a version forward: every prediction of it, whatever its rows."""
    hits = reader.impact(model="loan")
    assert (hits.counts["predictions"], sorted(hits.features)) == (9, ["bonus", "rate"])
    assert set(hits.predictions["id"].to_pylist()) == {
        one for ids in (*loaded.ids.values(), loaded.quoted) for one in ids
    }


def test_a_feature_reaches_models_and_predictions(reader: Archive):
    """By name: the versions trained with it, and the predictions made with it."""
    hits = reader.impact(feature="bonus")
    assert hits.counts == {"predictions": 9, "models": 1, "features": 1}
    with pytest.raises(NotFoundError, match="bonus"):
        reader.impact(feature="bonuss")


def test_one_thing_is_asked_about(reader: Archive):
    """A source, a model or a feature; rows only of a source."""
    for asked in ({}, {"model": "loan", "feature": "rate"}, {"model": "loan", "part": "monday"}):
        with pytest.raises(QueryError, match="impact: "):
            reader.impact(**asked)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_an_export_has_what_predictions_has(ending, reader: Archive, tmp_path: Path):
    """As many lines, and in Parquet the same table."""
    hits = reader.impact("rates", part="tuesday")
    assert hits.export(tmp_path / f"affected.{ending}") == hits.predictions.num_rows == 6
    if ending == "parquet":
        assert pq.read_table(tmp_path / "affected.parquet").equals(hits.predictions)


def test_a_closed_archive_gives_what_was_shown(loaded: Loaded):
    """Counts and the first predictions can be told; what was not read is refused in words."""
    with backstory.open(loaded.path, mode="r") as archive:
        hits = archive.impact("rates", part="tuesday")
    assert "reached 6 predictions" in str(hits)
    with pytest.raises(ConflictError, match="the archive is closed"):
        _ = hits.cases


# --- the other way, and as a graph ------------------------------------------------------------------------------------


def test_why_a_model_is_as_it_is(reader: Archive):
    """Its training rows by source, its code, and the entry that registered it."""
    story = reader.why("loan:1")
    assert "was made from" in str(story)
    assert "3 rows of rates" in str(story)
    assert reader._ledger.log.entry(story.proof["entry"])["model"] == story.digest


def test_why_a_dataset_is_as_it_is(reader: Archive):
    """Where it was read."""
    story = reader.why("rates:1@tuesday")
    assert "rates-tuesday.csv" in str(story)
    assert story.to_dict()["kind"] == "dataset"


def test_a_prediction_s_graph_leads_to_its_file(loaded: Loaded, reader: Archive):
    """From the file over the dataset version and one row to the prediction; the model's own data beside it."""
    graph = reader.graph(loaded.quoted[0])
    labels = {node.id: node.label for node in graph.nodes}
    edges = {(labels[edge.source], labels[edge.target]) for edge in graph.edges}
    assert ("file rates-tuesday.csv", "rates:1@tuesday") in edges
    assert ("rates:1@tuesday", "1 row of rates") in edges
    assert ("3 rows of rates", "loan:1") in edges


def test_a_dataset_s_graph_leads_to_models_and_predictions(reader: Archive):
    """Forward from a dataset version: the model trained on it, and how many predictions were made from it."""
    graph = reader.graph("rates:1@monday")
    labels = {node.id: node.label for node in graph.nodes}
    edges = {(labels[edge.source], labels[edge.target]) for edge in graph.edges}
    assert {("rates:1@monday", "loan:1"), ("rates:1@monday", "3 predictions"), ("loan:1", "3 predictions")} <= edges


def test_a_graph_names_nobody(loaded: Loaded, officer: Archive):
    """Whoever asks, no value of a row, no person and no request is in it."""
    text = str(officer.graph(loaded.ids["tuesday"][0]).to_dict())
    assert not [word for word in (*PEOPLE, "case 3", "30.0") if f"'{word}'" in text]


def test_rows_are_chosen_by_the_name_of_a_version(reader: Archive):
    """A version or part is named as everywhere, so that a position is of one row; another source's is none of it."""
    hits = [reader.impact("rates", rows=[4], version=version) for version in ("rates:1@tuesday", "rates@tuesday")]
    assert [one.rows for one in hits] == [1, 1]
    with pytest.raises(QueryError, match="such as rates:1"):
        reader.impact("rates", rows=[0], version="cars")
