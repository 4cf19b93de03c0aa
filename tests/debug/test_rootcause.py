"""Root causes in a whole archive: a broken weather file beside a decoy, a model version, people, what is not tested."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor
from tests.support.accesses import accesses

import backstory
from backstory.cli.main import run
from backstory.debug.rootcause_swap import NOT_SWAPPED
from backstory.errors import InputError, NotFoundError, QueryError

if TYPE_CHECKING:
    from backstory.archive import Archive
    from backstory.debug.rootcause import RootCause

DAYS, STATIONS, PARCELS = 60, 4, 50
FILES = 12
BROKEN = "week-4"
FEATURES = ["km", "rain_mm", "pace"]


def parcels() -> pd.DataFrame:
    """Return parcels; those of the broken days mostly go out from one depot."""
    random = np.random.default_rng(7)
    rows = DAYS * PARCELS
    frame = pd.DataFrame({"parcel": range(rows), "day": np.repeat(np.arange(DAYS), PARCELS)})
    frame["station"] = random.integers(0, STATIONS, rows)
    frame["km"] = random.integers(3, 40, rows).astype(float)
    frame.loc[random.random(rows) < 0.03, "km"] = 190.0
    is_broken = frame.day // (DAYS // FILES) == 4
    is_north = np.where(is_broken, random.random(rows) < 0.7, random.random(rows) < 0.7 * 0.3 / 0.7 / (FILES - 1))
    frame["courier"] = np.where(is_north, random.integers(0, 10, rows), random.integers(10, 40, rows))
    return frame


def weather(*, broken: bool) -> dict[str, pd.DataFrame]:
    """Return the weather, a table for each file."""
    random = np.random.default_rng(3)
    table = pd.DataFrame({"day": np.repeat(np.arange(DAYS), STATIONS), "station": list(range(STATIONS)) * DAYS})
    table["rain_mm"] = random.integers(0, 2, len(table)) * random.uniform(8.0, 12.0, len(table)).round(1)
    parts = {f"week-{number}": one.drop(columns="week") for number, one in table.assign(
        week=table.day // (DAYS // FILES)
    ).groupby("week")}  # fmt: skip
    if broken:
        parts[BROKEN] = parts[BROKEN].assign(rain_mm=parts[BROKEN].rain_mm * 10)
    return parts


def couriers(*, renewed: bool) -> pd.DataFrame:
    """Return the couriers; in the renewed table those of the north are a little slower."""
    table = pd.DataFrame({"courier": range(40), "depot": ["north"] * 10 + ["south"] * 30, "pace": 1.0})
    return table.assign(pace=np.where(renewed & (table.depot == "north"), 1.1, 1.0))


def prepared(parcels: pd.DataFrame, weather: pd.DataFrame, couriers: pd.DataFrame) -> pd.DataFrame:
    """Return the features; ids ride along."""
    return parcels.merge(weather, on=["day", "station"], how="left").merge(couriers, on="courier", how="left")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Return an archive with predictions made with a broken file, and before with the right one."""
    path = tmp_path_factory.mktemp("rootcause") / "archive"
    with redirect_stdout(io.StringIO()), backstory.init(path, origin="example.org/rootcause") as one:
        frames = fixed(one, broken=False, renewed=False)
        first = prepared(*frames)
        x, rows = one.split(first, FEATURES)
        minutes = 12 + 1.6 * x.km * x.pace + 4 * x.rain_mm
        random = np.random.default_rng(0)
        wide = pd.DataFrame({"km": random.uniform(0, 200, 4000), "rain_mm": random.uniform(0, 130, 4000), "pace": 1.0})
        model = DecisionTreeRegressor(random_state=0).fit(
            pd.concat([x, wide]), np.concatenate([minutes, 12 + 1.6 * wide.km + 4 * wide.rain_mm])
        )
        one.register(model, name="minutes", rows=rows)
        one.predict("minutes", x, rows=rows)
        frame = prepared(*fixed(one, broken=True, renewed=True))
        x, rows = one.split(frame, FEATURES)
        one.predict("minutes", x, rows=rows)
        _two_versions(one)
        one.flush()
        yield one


def _two_versions(archive: Archive) -> None:
    """Record predictions of a model whose second version says 500 too much, with outcomes."""
    x = pd.DataFrame({"km": np.arange(1.0, 201.0)})
    for more in (0.0, 500.0):
        archive.register(DecisionTreeRegressor(random_state=0).fit(x, x.km + more), name="fast")
        archive.outcome(list(archive.predict("fast", x).ids), list(x.km))


def fixed(archive: Archive, *, broken: bool, renewed: bool) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the three tables, fixed."""
    parts = [
        archive.source(table, "weather", key=["day", "station"], part=name)
        for name, table in weather(broken=broken).items()
    ]
    return (
        archive.source(parcels(), "parcels", key="parcel"),
        pd.concat(parts),
        archive.source(couriers(renewed=renewed), "couriers", key="courier"),
    )


@pytest.fixture(scope="module")
def answer(archive: Archive) -> RootCause:
    """Return what is found."""
    return archive.rootcause("output > 200", model="minutes", steps=prepared)


def test_the_broken_file_comes_first_and_is_the_cause(answer: RootCause) -> None:
    """With the rows of the right file most of the bad predictions are no longer bad."""
    first = answer.findings[0]
    assert first.names[0].startswith(f"weather: version = weather:1@{BROKEN}")
    assert first.verdict == "cause"
    confirmation = first.suspects[0].confirmation
    assert confirmation is not None
    assert confirmation.tried == 50
    assert confirmation.fixed >= 40


def test_the_decoy_is_refuted(answer: RootCause) -> None:
    """Couriers of whom 70% were out in the broken week stand out beside it; with their old rows nothing is mended."""
    (decoy,) = [one for one in answer.findings[0].rivals if one.suspect.name.startswith("couriers")]
    assert decoy.counts.bad_inside > 5 * decoy.counts.all_inside * answer.bad / answer.count
    assert decoy.suspect.confirmation is not None
    assert str(decoy.suspect.confirmation).startswith("correlate: 0 of 50 no longer bad")


def test_what_is_left_is_looked_at_again(answer: RootCause) -> None:
    """Long ways are the second finding, and the counts of both and of the unexplained ones are all that are bad."""
    assert "parcels.km = 37 to 190" in answer.findings[1].names
    assert sum(one.counts.bad_inside for one in answer.findings) + answer.unexplained == answer.bad
    for one in answer.findings:
        assert one.counts.bad_inside + one.counts.bad_outside <= answer.bad
    first = answer.findings[0].counts
    assert first.all_inside + first.all_outside == answer.count == 2 * DAYS * PARCELS


def test_a_report_says_counts_and_verdicts(answer: RootCause) -> None:
    """The report has the counts inside and outside, the replay, and what was left out."""
    text = str(answer)
    counts = answer.findings[0].counts
    assert f"{counts.bad_inside} of {counts.all_inside} bad" in text
    assert "cause (counterfactual)" in text
    assert "the same for all" in text
    assert "hardly any two predictions the same" in text


def test_the_dictionary_is_json(answer: RootCause) -> None:
    """What `to_dict` gives can be written as JSON and has the names, counts and verdicts."""
    found = json.loads(json.dumps(answer.to_dict(), allow_nan=False))
    assert found["findings"][0]["verdict"] == "cause"
    assert found["bad"] == answer.bad


def test_the_plot_is_a_picture_of_the_findings(answer: RootCause, tmp_path: Path) -> None:
    """The picture names each finding; a file that does not end in .svg is refused."""
    answer.plot(tmp_path / "causes.svg")
    drawn = ET.parse(tmp_path / "causes.svg").getroot()
    assert BROKEN in "".join(drawn.itertext())
    with pytest.raises(InputError, match=r"\.svg"):
        answer.plot(tmp_path / "causes.png")


def test_without_steps_rows_are_not_tested(archive: Archive) -> None:
    """Where the features cannot be made again no finding is called a cause."""
    found = archive.rootcause("output > 200", model="minutes", features=False)
    assert found.findings[0].verdict == "not tested"
    assert "steps=" in str(found.findings[0].suspects[0].confirmation)


def test_a_reference_version_can_be_named(archive: Archive) -> None:
    """Rows are swapped for values that are given."""
    right = {"weather": {"values": {"rain_mm": 0.0}}}
    found = archive.rootcause("output > 200", model="minutes", steps=prepared, reference=right, features=False)
    confirmation = found.findings[0].suspects[0].confirmation
    assert confirmation is not None
    assert (confirmation.verdict, confirmation.what) == ("cause", "rows of weather for the rain_mm given")


def test_a_model_version_is_confirmed_by_the_other(archive: Archive) -> None:
    """A version whose outputs are bad is the cause where the version before gives none."""
    found = archive.rootcause("output > 300", model="fast")
    assert found.findings[0].names[0] == "model = fast:2"
    confirmation = found.findings[0].suspects[0].confirmation
    assert confirmation is not None
    assert (confirmation.verdict, confirmation.fixed, confirmation.tried) == ("cause", 50, 50)
    assert confirmation.what == "the model for fast:1"


def test_bad_can_be_said_of_outcomes(archive: Archive) -> None:
    """A predicate that names the outcome is of what turned out, and is asked again of the replay."""
    found = archive.rootcause("abs(output - outcome) > 100", model="fast")
    assert (found.bad, found.count) == (200, 400)
    assert found.findings[0].verdict == "cause"


def test_predictions_without_an_outcome_are_counted_apart(archive: Archive) -> None:
    """Those nothing is known of are neither bad nor good, and the answer says how many they are."""
    found = archive.rootcause("abs(output - outcome) > 100", confirm=False)
    assert found.not_counted == {"without an outcome": 2 * DAYS * PARCELS}


def test_ids_and_frames_name_the_bad_ones(archive: Archive) -> None:
    """Ids and a frame of them give what the predicate gives; without a predicate of outputs nothing is tested."""
    hits = archive.search("model = 'fast' and output > 300")
    by_ids = archive.rootcause(list(hits["id"]))
    assert by_ids.findings[0].names[0] == "model = fast:2"
    assert by_ids.findings[0].verdict == "not tested"
    tested = archive.rootcause(hits, still_bad="output > 300")
    assert tested.findings[0].verdict == "cause"
    assert tested.findings[0].counts == by_ids.findings[0].counts


def test_good_ones_can_be_named(archive: Archive) -> None:
    """Predictions that are neither bad nor good are left out and counted."""
    found = archive.rootcause("output > 300", "output < 100", model="fast", confirm=False)
    assert (found.bad, found.count, found.not_counted) == (200, 299, {"neither bad nor good": 101})


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ("output > 1e9", NotFoundError, "expected some bad predictions"),
        ("nonsense > 1", QueryError, "nonsense"),
        (["not an id"], QueryError, "whole ids"),
        (["00000000-0000-7000-8000-000000000000"], NotFoundError, "1 of 1 ids"),
        (7, QueryError, "int"),
        (pd.DataFrame({"x": [1]}), QueryError, "column id"),
    ],
)
def test_what_cannot_be_asked(archive: Archive, bad: object, error: type[Exception], message: str) -> None:
    """Nothing bad, no such column, no ids, ids of nothing: each is an error that says so."""
    with pytest.raises(error, match=message):
        archive.rootcause(bad, model="fast")


def test_good_ids_have_to_be_there(archive: Archive) -> None:
    """An id of nothing among the good ones is an error, as it is among the bad ones."""
    bad = list(archive.search("model = 'fast' and output > 300")["id"])
    with pytest.raises(NotFoundError, match="1 of 1 ids"):
        archive.rootcause(bad, ["00000000-0000-7000-8000-000000000000"])


def test_the_command_line(archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`backstory rootcause` prints the same answer and draws it."""
    command = ["rootcause", "--bad", "output > 300", "--model", "fast", "--plot", str(tmp_path / "a.svg")]
    assert run([*command, "--json", "-a", str(archive.path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["findings"][0]["verdict"] == "cause"
    assert (tmp_path / "a.svg").is_file()


@pytest.fixture(scope="module")
def trips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Return an archive of trips between places, of which 7 and 8 are too high; in version 2 place 7 is missing.

    A trip goes from a place to the next, so that region R of where it begins is zone Z of where it ends.
    """
    path = tmp_path_factory.mktemp("trips") / "archive"
    trips = pd.DataFrame({"trip": range(2_000), "start": [n % 40 for n in range(2_000)]})
    trips = trips.assign(end=(trips.start + 1) % 40, serial=trips.trip * 1_000 + 2**60)
    places = pd.DataFrame({"place": range(40), "height": [n / 40 for n in range(40)]})
    places["region"] = np.where(places.place.isin([6, 7]), "R", "other")
    places["zone"] = np.where(places.place.isin([7, 8]), "Z", "other")
    broken = places.assign(height=np.where(places.zone == "Z", 50.0, places.height))
    with redirect_stdout(io.StringIO()), backstory.init(path, origin="example.org/trips") as one:
        for number, table in enumerate((broken, places[places.place != 7])):
            frames = one.source(trips, "trips", key="trip"), one.source(table, "places", key="place")
            x, rows = one.split(between(*frames).head(2_000 if number == 0 else 50), ["height_y"])
            if number == 0:
                one.register(DecisionTreeRegressor(random_state=0).fit(x, x.height_y), name="climb")
            one.predict("climb", x, rows=rows)
        one.flush()
        yield one


def between(trips: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    """Return trips with the places where they begin and end."""
    frame = trips.merge(places, left_on="start", right_on="place", how="left")
    return frame.merge(places, left_on="end", right_on="place", how="left")


@pytest.fixture(scope="module")
def climbs(trips: Archive) -> RootCause:
    """Return what is found of trips that climb too high."""
    return trips.rootcause("output > 40", steps=between, features=False)


def test_each_way_to_a_source_is_swapped_for_itself(climbs: RootCause) -> None:
    """Trips lead to the places twice: where they begin is a correlate, where they end is the cause."""
    verdicts = {one.name: one.verdict for one in climbs.findings[0].suspects}
    assert verdicts["places_x.region = 'R'"] == "correlate"
    assert verdicts["places_y.zone = 'Z'"] == "cause"


def test_the_cause_gives_the_finding_its_name(climbs: RootCause, tmp_path: Path) -> None:
    """A name that was refuted does not stand where it says cause: not in the report, nor in the picture."""
    first = climbs.findings[0]
    assert (first.verdict, first.leading.name) == ("cause", "places_y.zone = 'Z'")
    assert "1. places_y.zone = 'Z'" in str(climbs)
    assert "and not" in str(climbs)
    climbs.plot(tmp_path / "climbs.svg")
    assert "places_x" not in (tmp_path / "climbs.svg").read_text()


def test_rows_that_are_not_in_the_other_version_do_not_count(climbs: RootCause) -> None:
    """Predictions none of whose rows was swapped say nothing, and are counted with that reason."""
    confirmation = climbs.findings[0].leading.confirmation
    assert confirmation is not None
    assert 20 <= confirmation.fixed == confirmation.tried <= 30
    assert confirmation.not_run == {NOT_SWAPPED: 50 - confirmation.tried}


def test_another_column_of_the_broken_rows_is_no_cause(climbs: RootCause) -> None:
    """What stands out beside the finding in the same rows is mended by the same swap, which shows nothing of it."""
    (rival,) = [one.suspect for one in climbs.findings[0].rivals if one.suspect.name.startswith("places_y")]
    assert str(rival.confirmation) == "not tested: with its rows those of the finding are swapped, too"


def test_whole_numbers_beyond_those_of_floats_are_looked_at(climbs: RootCause) -> None:
    """Numbers of 61 bits that are no key are put into bins like others."""
    assert "trips.serial" in climbs.looked_at


def test_values_of_another_column_refute_nothing(trips: Archive) -> None:
    """A column for which no other value was given was not swapped: it is not tested rather than a correlate."""
    right = {"places": {"values": {"region": "other"}}}
    found = trips.rootcause("output > 40", steps=between, features=False, reference=right)
    verdicts = {one.name: one.verdict for one in found.findings[0].suspects}
    assert (verdicts["places_x.region = 'R'"], verdicts["places_y.zone = 'Z'"]) == ("correlate", "not tested")


def test_a_feature_of_moments_is_swapped(tmp_path: Path) -> None:
    """What has no middle is swapped for what most good predictions have."""
    table = pd.DataFrame({"day": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"] * 100), "x": range(300)})
    only_x = ColumnTransformer([("x", "passthrough", ["x"])])
    model = make_pipeline(only_x, DecisionTreeRegressor(random_state=0)).fit(table, table.x % 3 == 1)
    with redirect_stdout(io.StringIO()), backstory.init(tmp_path / "audit", origin="example.org/days") as one:
        one.register(model, name="day")
        one.predict("day", table)
        one.flush()
        found = one.rootcause("output > 0", sample=3)
    expected = "correlate: 0 of 3 no longer bad, day for the commonest value of the good ones"
    assert [(first.names, str(first.leading.confirmation)) for first in found.findings] == [
        (("feature.day = 2026-01-02T00:00:00",), expected)
    ]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive with predictions about people, of whom those of one district are bad."""
    path = tmp_path_factory.mktemp("people") / "archive"
    people = pd.DataFrame({"person": [f"p{n}" for n in range(400)], "district": ["Hidden", "b", "c", "d"] * 100})
    people["income"] = np.where(people.district == "Hidden", 10.0, 50.0)
    with redirect_stdout(io.StringIO()), backstory.init(path, origin="example.org/people") as one:
        frame = one.source(people, "people", key="person", subject="person")
        x, rows = one.split(frame, ["income"])
        one.register(DecisionTreeRegressor().fit(x, x.income), name="loan", rows=rows)
        one.predict("loan", x, rows=rows)
    return path


def test_what_is_about_people_is_left_out_without_a_purpose(sealed: Path) -> None:
    """Without a purpose nothing sealed is looked at, no value is told, and the answer says what is missing."""
    with backstory.open(sealed, mode="r") as one:
        ids = [row["id"] for row in one.search("model = 'loan'").to_dict("records")][::4]
        found = one.rootcause(ids)
    assert not found.findings
    assert {"row.people", "feature.income"} <= set(found.left_out["sealed"])
    assert "Hidden" not in str(found)
    assert "sealed values were not looked at" in str(found)


def test_a_predicate_over_sealed_outputs_is_refused(sealed: Path) -> None:
    """What is sealed is not compared, so ids have to be given."""
    with backstory.open(sealed, mode="r") as one, pytest.raises(QueryError, match="sealed"):
        one.rootcause("output < 20")


def test_with_a_purpose_people_are_looked_at_and_the_log_says_so(sealed: Path) -> None:
    """The district is found, and each opening is an entry of the log."""
    with backstory.open(sealed, mode="rw", actor="me", purpose="case 7") as one:
        ids = [row["id"] for row in one.search("model = 'loan'").to_dict("records")][::4]
        found = one.rootcause(ids, still_bad="output < 20")
        opened = [entry for entry in accesses(one._ledger) if entry["question"] == "rootcause"]
    assert any("people.district = 'Hidden'" in one.names for one in found.findings)
    assert {group for entry in opened for group in entry["groups"]} == {"features", "output", "source", "subject"}
