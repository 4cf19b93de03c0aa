"""Drift of an archive's models: from sketches and records alike, alarms once, sealed values only with a purpose."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from tests.support.accesses import accesses

import backstory
from backstory.cli.main import run
from backstory.debug.drift_measures import together
from backstory.debug.drift_read import Window, gather
from backstory.errors import ForbiddenError, InputError, NotFoundError, QueryError
from backstory.records.manifest import SKETCHED_TYPE
from backstory.storage.world import World
from backstory.verify.archive import verify_archive

DAY = 86_400 * 10**9
START = 20_000 * DAY  # 2024-10-04
ROWS = 1_500
SHIFTED = 3


def people(chance, rows):
    """Return made-up people who ask for a loan."""
    return pd.DataFrame({"income": chance.normal(3.0, 0.6, rows), "children": chance.integers(0, 4, rows)})


def fitted(table):
    """Return a model that lends to those who earn much."""
    return LogisticRegression().fit(table, table.income > 2.8)


@pytest.fixture(scope="module")
def lending(tmp_path_factory):
    """Five days of predictions, the fourth of people who earn less; the last day is not sealed."""
    root, clock = tmp_path_factory.mktemp("drift") / "audit", SimpleNamespace(now=START)
    chance = np.random.default_rng(0)
    archive = backstory.init(root, origin="example.org/loans", world=World(now_ns=lambda: clock.now))
    features, rows = archive.split(archive.source(people(chance, 3000), "people"))
    archive.register(fitted(features), name="loan", rows=rows, target=features.income > 2.8)
    ids = []
    for half in range(10):
        clock.now = START + half * DAY // 2 + DAY // 4
        asked = people(chance, ROWS // 2)
        asked["income"] -= 0.5 * (half // 2 == SHIFTED)
        given = archive.predict("loan", asked, method="predict_proba", decision=backstory.Threshold(0.5))
        ids.append((given.ids, asked))
        if half in {1, 3, 5, 7}:
            archive.flush()
    yield SimpleNamespace(archive=archive, root=root, ids=ids, clock=clock)
    archive.close()


def test_a_segment_is_sketched_in_the_commit_of_its_manifest(lending):
    """Each segment has one entry with sketches, right behind its manifest."""
    ledger = lending.archive._ledger
    places = [at for at, _ in ledger.numbered_entries(SKETCHED_TYPE)]
    assert len(places) == 4
    assert [ledger.log.entry(at - 1)["type"] for at in places] == ["segment.sealed"] * 4
    assert all(ledger.blobs.path(str(ledger.log.entry(at)["sketches"])).stat().st_size < 20_000 for at in places)


def test_only_the_shifted_day_raises_alarms(lending):
    """The day of people who earn less is named with its income, outputs and decisions; no other day."""
    found = lending.archive.drift.compare("loan")
    assert [bool(period.alarms) for period in found.periods] == [False] * SHIFTED + [True, False]
    columns = {alarm.column for alarm in found.alarms}
    assert columns == {"feature.income", "output.False", "output.True", "decision"}
    assert (found.baseline, found.reference) == (found.periods[0].since, "training")
    assert found.periods[0].since == "2024-10-04T00:00:00.000000000Z"


def test_what_is_not_sealed_is_read(lending):
    """Sealed days come from sketches, the last from its records, and the answer says so."""
    found = lending.archive.drift.compare("loan")
    assert [period.rows for period in found.periods] == [ROWS] * 5
    assert [(period.read, period.unsealed) for period in found.periods] == [(0, 0)] * 4 + [(ROWS, ROWS)]
    assert "6,000 from sketches, 1,500 read, 1,500 of these not sealed" in str(found)


def test_records_say_what_sketches_say(lending):
    """Periods that cut segments are read from records, and these say what the sketches say."""
    found = lending.archive.drift.compare("loan", period=timedelta(hours=12))
    assert [(period.rows, period.read) for period in found.periods] == [(ROWS // 2, ROWS // 2)] * 10
    assert [bool(period.alarms) for period in found.periods] == [at // 2 == SHIFTED for at in range(10)]
    inside = lending.archive.drift._inside
    digest = lending.archive.model("loan").digest
    days = gather(inside.ledger, inside.gate, digest, Window(since=None, until=None, origin=0, length=DAY))
    halves = gather(inside.ledger, inside.gate, digest, Window(since=None, until=None, origin=0, length=DAY // 2))
    first = START // DAY
    for name, told in days[first].columns.items():
        read = together([halves[2 * first].columns[name], halves[2 * first + 1].columns[name]])
        assert (read.rows, read.nulls, read.counts) == (told.rows, told.nulls, told.counts)
        if len(read.points):
            assert np.max(np.abs(read.below(read.points) - told.below(read.points))) <= told.error + 1 / ROWS


def test_a_period_is_half_open(lending):
    """A record at the last moment of a period is in it, one at the first moment after it is not."""
    early = "2024-10-04T06:00:00Z"
    before = lending.archive.drift.compare("loan", since="2024-10-04T00:00:00Z", until="2024-10-05T00:00:00Z")
    assert [period.rows for period in before.periods] == [ROWS]
    assert lending.archive.drift.compare("loan", since=early, until="2024-10-04T18:00:00Z").periods[0].rows == ROWS // 2
    with pytest.raises(NotFoundError, match="no predictions in this time"):
        lending.archive.drift.compare("loan", until=early)


def test_a_period_is_a_reference(lending):
    """Against the first two days the shifted one is named, decisions too; these then need no baseline."""
    found = lending.archive.drift.compare(
        "loan", reference=(None, "2024-10-06T00:00:00Z"), since="2024-10-06T00:00:00Z"
    )
    assert [bool(period.alarms) for period in found.periods] == [False, True, False]
    assert "decision" in {alarm.measure for alarm in found.alarms}
    assert (found.baseline, found.reference) == (None, "… to 2024-10-06T00:00:00.000000000Z")


def test_alarms_are_recorded_once(lending):
    """Looking twice puts each alarm into the log once, and the audit believes what it reads there."""
    first = lending.archive.drift.check("loan")
    lending.archive.drift.check("loan")
    assert lending.archive.drift.alarms("loan") == lending.archive.drift.alarms() == list(first.alarms)
    report = verify_archive(lending.root)
    assert [str(one) for one in report.findings if one.severity != "note"] == []


def test_a_plot_names_what_moved(lending, tmp_path):
    """The chart has the days, and the measures that moved most."""
    lending.archive.drift.compare("loan").plot(tmp_path / "drift.svg")
    drawn = (tmp_path / "drift.svg").read_text()
    assert "feature.income: " in drawn
    assert "alarm at 2024-10-07" in drawn


def test_an_answer_is_json(lending):
    """Everything in an answer is a value of JSON, and its alarms are those it shows."""
    answer = lending.archive.drift.compare("loan").to_dict()
    assert len(answer["alarms"]) == sum(period["alarms"] for period in answer["periods"])


def test_the_command_finds_drift_and_ends_well(lending, capsys):
    """`backstory drift` prints the same answer; drift is no failure, and `--alarm` records what is not recorded yet."""
    arguments = ["drift", "loan:1", "--archive", str(lending.root), "--json", "--until", "2024-10-08T00:00:00Z"]
    assert run([*arguments, "--period", "24h"]) == 0
    assert len(json.loads(capsys.readouterr().out)["alarms"]) == len(lending.archive.drift.compare("loan").alarms)
    before = len(lending.archive.drift.alarms())
    assert run([*arguments, "--reference", "2024-10-04T00:00:00Z..2024-10-05T00:00:00Z", "--alarm"]) == 0
    found = json.loads(capsys.readouterr().out)["alarms"]
    assert len(lending.archive.drift.alarms()) == before + len(found) > before


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (InputError, {"period": "month"}),
        (InputError, {"alpha": 0}),
        (InputError, {"reference": ("a",)}),
        (NotFoundError, {"reference": "loan:9"}),
        (QueryError, {"since": "2024-10-04"}),
    ],
)
def test_what_cannot_be_asked_is_refused(lending, error, options):
    """A question that is malformed is refused with what is expected."""
    with pytest.raises(error):
        lending.archive.drift.compare("loan", **options)


def test_outcomes_say_how_right_it_was(lending):
    """Accuracy counts predictions with an outcome only, the latest outcome of each, by group and period."""
    archive = lending.archive
    ids, asked = lending.ids[0]
    decisions = [value > 2.8 for value in asked.income[:200]]
    archive.outcome(ids[:1], [not decisions[0]])
    lending.clock.now += 1
    archive.outcome(ids[:200], decisions)
    found = archive.drift.performance("loan", by="children", period="day")
    assert (found.metric, found.predictions, found.outcomes) == ("accuracy", 5 * ROWS, 200)
    assert sum(group.predictions for group in found.groups) == 5 * ROWS
    assert {group.group for group in found.groups} == {"0", "1", "2", "3"}
    known = [group for group in found.groups if group.outcomes]
    assert {group.since for group in known} == {"2024-10-04T00:00:00.000000000Z"}
    assert min(group.value for group in known) > 0.9
    assert archive.drift.performance("loan", metric="rate").groups[0].value == np.mean(decisions)


def test_the_last_outcome_recorded_counts(lending):
    """Of two outcomes of one moment that counts which was recorded last."""
    archive = lending.archive
    (one,) = lending.ids[9][0][:1]
    for value in (True, False):
        archive.outcome([one], [value])
    day = {"since": "2024-10-08T00:00:00Z", "metric": "rate"}
    assert archive.drift.performance("loan", **day).groups[0].value == 0


def test_nothing_compared_is_not_no_alarm(tmp_path):
    """Features of other names than those of training are not compared, and the answer says so first."""
    with backstory.init(tmp_path / "audit", origin="example.org/names") as archive:
        features, rows = archive.split(archive.source(people(np.random.default_rng(0), 200), "people"))
        archive.register(LogisticRegression().fit(features.to_numpy(), features.income > 3), name="loan", rows=rows)
        archive.predict("loan", features.to_numpy())
        found = archive.drift.compare("loan")
        assert found.not_compared == ("feature.0", "feature.1", "feature.children", "feature.income")
        assert "nothing could be compared" in str(found).partition("\n")[0]
        assert "PARTIAL: 4 features not compared" in str(found)


def test_features_of_several_types_do_not_hide_how_right_it_was(tmp_path):
    """Outcomes of predictions whose features are of types that do not go together count all the same."""
    with backstory.init(tmp_path / "audit", origin="example.org/types") as archive:
        table = people(np.random.default_rng(0), 60)
        archive.register(LogisticRegression().fit(table, table.income > 3), name="loan")
        for one in (table, table.astype(str)):
            archive.outcome(archive.predict("loan", one).ids, [True] * 60)
        assert archive.drift.performance("loan").outcomes == 120
        with pytest.raises(InputError, match="of one type"):
            archive.drift.performance("loan", by="income")


def test_what_is_about_people_needs_a_purpose(tmp_path):
    """Sketches of people are in the vault: without a purpose nothing is told, with one the read is recorded."""
    chance, root = np.random.default_rng(0), tmp_path / "audit"
    with backstory.init(root, origin="example.org/people") as archive:
        table = people(chance, 3000).assign(name=[f"person {at}" for at in range(3000)])
        features, rows = archive.split(archive.source(table, "people", subject="name"), ["income", "children"])
        archive.register(fitted(features), name="loan", rows=rows, target=features.income > 2.8)
        archive.predict("loan", people(chance, 60))  # which nothing says are about people; training is all the same
        with pytest.raises(ForbiddenError, match="trained on is sealed"):
            archive.drift.compare("loan")
        given = archive.predict("loan", features, rows=rows)
        archive.outcome(given.ids[:5], [True] * 5)
        archive.flush()
        with pytest.raises(ForbiddenError, match="sealed"):
            archive.drift.compare("loan")
        entry = archive._ledger.find_entries(SKETCHED_TYPE)[0]
        (told,) = archive._ledger.document(str(entry["sketches"]))["models"]
        assert set(told) == {"errors", "first", "last", "model", "rows", "sealed"}
    with backstory.open(root, actor="auditor", purpose="drift of loans") as archive:
        found = archive.drift.compare("loan")
        assert (found.periods[0].rows, found.periods[0].read, found.alarms) == (3060, 60, ())
        assert accesses(archive._ledger)[-1]["question"] == "drift"
        performance = archive.drift.performance("loan")
        assert (performance.groups[0].value, performance.suppressed) == (None, 1)
        assert [one for one in verify_archive(root).findings if one.severity != "note"] == []
        (root / "vault" / told["sealed"]["sealed_table"]).unlink()
        found = archive.drift.compare("loan")  # without the sketches from the records
        assert (found.periods[0].rows, found.periods[0].read, found.alarms) == (3060, 3060, ())
