"""Why a row is not there, and what two sets of rows share."""

from __future__ import annotations

import datetime as dt
import decimal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from tests.support.accesses import accesses

import backstory
from backstory.errors import ForbiddenError, InputError, NotFoundError, QueryError

USED, THROUGH, DROPPED, LEFT_OUT, OTHER = "used", "through-groups", "dropped", "left-out", "other-version"


def parcels():
    """Return sixty parcels; every fifth has no distance."""
    numbers = np.arange(60)
    km = np.where(numbers % 5 == 0, np.nan, numbers * 7 % 38)
    return pd.DataFrame({"parcel": numbers, "day": numbers // 10, "km": km, "minutes": numbers * 1.5})


def fitted(features, target):
    """Return a small model."""
    return LinearRegression().fit(features, target)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return an archive with two models of parcels, and one of people."""
    archive = backstory.init(tmp_path_factory.mktemp("why-not") / "audit", origin="example.org/why-not")

    @archive.step
    def clean(frame):
        return frame[frame.km.notna()]

    @archive.step
    def near(frame):
        return frame[frame.km < 30]

    frame = archive.source(parcels(), "parcels", key="parcel")
    days = archive.group(frame, "day", name="per_day", total=("minutes", "sum"))
    cleaned = clean(frame)
    near(cleaned)  # another branch: no model is trained on what comes out
    early = cleaned[cleaned.day < 4].merge(days[days.day < 3], on="day")
    features, rows = archive.split(early, ["km", "total"])
    first = archive.register(fitted(features, early.minutes), name="first", rows=rows, target=early.minutes)
    later = parcels().iloc[30:].reset_index(drop=True)
    later["km"] += 1.0
    newer = archive.source(later, "parcels", key="parcel")
    newer = newer[newer.km.notna()]
    features, rows_later = archive.split(newer, ["km"])
    archive.register(fitted(features, newer.minutes), name="later", rows=rows_later, target=newer.minutes)
    people = parcels().assign(person=lambda one: "p" + (one.parcel % 20).astype(str))
    about = clean(archive.source(people, "people", subject="person", key="parcel"))
    features, persons = archive.split(about, ["km"])
    archive.register(fitted(features[:20], about.minutes[:20]), name="personal", rows=persons[:20])
    with archive.runs.start("nightly") as run:
        run.rows(test=rows[5:])
    yield SimpleNamespace(archive=archive, rows=rows, later=rows_later, persons=persons, first=first)
    archive.close()


@pytest.fixture
def opened(made):
    """Return the archive opened by somebody with a purpose."""
    with backstory.open(made.archive.path, actor="auditor", purpose="case 7") as archive:
        yield archive


def verdicts(answer, model):
    """Return verdict and step of each row for a model, by position."""
    table = answer.verdicts.to_pylist()
    return {row["position"]: (row["verdict"], row["step"]) for row in table if row["model"] == model}


def version_of(made, rows):
    """Return the digest of the version of parcels that has so many rows."""
    entries = made.archive._ledger.find_entries("source.fixed", "parcels")
    return next(entry["dataset"] for entry in entries if entry["rows"] == str(rows))


def test_each_row_has_its_verdict(made):
    """Used, behind a group, dropped by the step all training rows passed, or left out though no such step did."""
    answer = made.archive.why_not("parcels", rows=[1, 5, 35, 36, 4], version=version_of(made, 60), model="first")
    assert verdicts(answer, "first") == {
        1: (USED, None),
        4: (USED, None),
        5: (THROUGH, None),
        35: (DROPPED, "clean"),
        36: (LEFT_OUT, "clean"),
    }


def test_a_step_of_another_branch_is_not_blamed(made):
    """A step that dropped rows the model was trained on is not on the way to that model."""
    table = parcels()
    far = table[(table.km >= 30) & (table.day > 3)].parcel.tolist()
    answer = made.archive.why_not("parcels", rows=far, version=version_of(made, 60), model="first")
    assert {verdict for verdict, _ in verdicts(answer, "first").values()} == {LEFT_OUT}
    assert "near" in {step.name for step in answer.steps}


def test_counts_agree_with_verdicts(made):
    """What became of all rows is counted once each."""
    answer = made.archive.why_not("parcels", where="true", version=version_of(made, 60), model=made.first)
    found = [verdict for verdict, _ in verdicts(answer, "first").values()]
    (model,) = answer.models
    assert [model.used, model.through_groups, model.dropped, model.left_out, model.other_version] == [
        found.count(verdict) for verdict in (USED, THROUGH, DROPPED, LEFT_OUT, OTHER)
    ]
    assert sum(found.count(verdict) for verdict in set(found)) == answer.rows == 60


def test_keys_look_at_all_versions(made):
    """A row of the same key in another version is of a version the model was not trained on."""
    answer = made.archive.why_not("parcels", keys=[31])
    assert {(row["model"], row["verdict"]) for row in answer.verdicts.to_pylist()} == {
        ("first", LEFT_OUT),
        ("first", OTHER),
        ("later", USED),
        ("later", OTHER),
    }


def test_a_key_of_no_version_is_an_answer(made):
    """Which of the keys no fixed version has is said, beside what became of the others."""
    answer = made.archive.why_not("parcels", keys=[1, 999, 2])
    assert (answer.missing, answer.rows) == ((1,), 2)
    nothing = made.archive.why_not("parcels", keys=999)
    assert (nothing.missing, nothing.rows, nothing.models) == ((0,), 0, ())
    assert "no fixed version of parcels has the key" in str(nothing)


def test_the_page_names_step_and_code(made):
    """A reader is told the step, its function and its code."""
    text = str(made.archive.why_not("parcels", rows=35, version=version_of(made, 60), model="first"))
    assert "dropped by step clean" in text
    assert "test_why_not.made.<locals>.clean" in text.replace("\n", "")


@pytest.mark.parametrize(
    ("question", "error"),
    [
        ({"rows": [0], "keys": [0]}, QueryError),
        ({"rows": [0]}, QueryError),
        ({"keys": [1], "model": "nobody"}, NotFoundError),
        ({"where": "km > 900"}, NotFoundError),
    ],
)
def test_malformed_questions_are_refused(made, question, error):
    """Two choices, a position of several versions, an unknown model and a predicate no row fulfils are errors."""
    with pytest.raises(error) as refusal:
        made.archive.why_not("parcels", **question)
    assert "impact" not in str(refusal.value)


def test_people_are_asked_about_through_the_gate(made, opened):
    """Without a purpose nothing is said of rows about people; with one it is, and the log says that it was."""
    with pytest.raises(ForbiddenError):
        made.archive.why_not("people", rows=[0], model="personal")
    assert made.archive.why_not("people", rows=[0]).sealed
    answer = opened.why_not("people", rows=[0, 1, 59], model="personal")
    assert verdicts(answer, "personal") == {0: (DROPPED, "clean"), 1: (USED, None), 59: (LEFT_OUT, "clean")}
    assert {entry["question"] for entry in accesses(opened._ledger)} == {"why-not"}


def test_a_model_without_rows_says_nothing(made):
    """A model that was registered without rows is not said to be trained on another version."""
    made.archive.register(fitted(np.ones((4, 1)), np.arange(4)), name="bare")
    with pytest.raises(InputError, match="registered with rows="):
        made.archive.why_not("parcels", keys=[1], model="bare")


def shared(answer, source="parcels"):
    """Return what two sets share of a source: rows, and rows through groups."""
    return next((one.shared, one.through_groups) for one in answer.sources if one.source == source)


def test_the_same_rows_overlap(made):
    """A training set shares all of its rows with itself, and a run's role what it holds of it."""
    data = made.archive.data
    assert shared(data.overlap("first", made.first)) == (24, 6)
    assert shared(data.overlap("first", "nightly/test"))[0] == 19
    assert shared(data.overlap(made.rows[:10], made.rows[8:]))[0] == 2


def test_rows_behind_a_group_overlap(made):
    """Rows that went into a group of the one and are in the other directly are shared through groups."""
    assert shared(made.archive.data.overlap(made.rows[:4], made.rows[4:8])) == (0, 10)


def test_versions_overlap_by_key_and_not_by_row(made):
    """The same parcels in another version are other rows, of the same keys; their values differ."""
    data = made.archive.data
    train = made.archive.source(parcels(), "parcels", key="parcel")
    _, rows = made.archive.split(train[train.km.notna()], ["km"])
    assert data.overlap(rows, "later").is_empty
    by_key = data.overlap(rows, "later", by="key")
    assert shared(by_key) == (24, 0)
    assert {row["position_a"] - row["position_b"] for row in by_key.rows.to_pylist()} == {30}
    assert shared(data.overlap(rows, "later", by="content")) == (0, 0)
    assert shared(data.overlap(rows, made.rows, by="content")) == (24, 0)


def test_rows_that_were_fixed_again_are_the_same(made, opened):
    """A version that is fixed again, and not kept yet, has the same rows; so it is with people."""
    again = made.archive.source(parcels(), "parcels", key="parcel")
    _, rows = made.archive.split(again[again.km.notna()], ["km"])
    assert shared(made.archive.data.overlap("first", rows))[0] == 24
    assert shared(made.archive.data.overlap(rows[:9], made.rows))[0] == 9
    people = parcels().assign(person=lambda one: "p" + (one.parcel % 20).astype(str))
    _, persons = opened.split(opened.source(people, "people", subject="person"), ["km"])
    assert shared(opened.data.overlap("personal", persons), "people")[0] == 20


VERSIONS = {
    "categories": (pd.Series(["a", "b"]), pd.Series(["b", "c"], dtype="category")),
    "zones": (
        pd.to_datetime(pd.Series(["2026-03-29 00:30", "2026-03-29 01:30"])).dt.tz_localize("UTC"),
        pd.to_datetime(pd.Series(["2026-03-29 03:30", "2026-03-29 04:30"])).dt.tz_localize("Europe/Zurich"),
    ),
    "floats": (pd.Series([(1 << 53) + 1, 5]), pd.Series([float(1 << 53), 5.0])),
    "zeros": (pd.Series([0.0, 1.0]), pd.Series([-0.0, 2.0], dtype="float32")),
    "dates": (
        pd.Series([dt.date(2026, 1, 1), dt.date(2026, 1, 2)]),
        pd.to_datetime(pd.Series(["2026-01-02", "2027-01-01"])),
    ),
    "decimals": (pd.Series([1, 2]), pd.Series([decimal.Decimal("2.00"), decimal.Decimal("2.50")])),
}


@pytest.mark.parametrize("kind", VERSIONS)
@pytest.mark.parametrize("by", ["key", "content"])
def test_equal_values_of_other_types_are_equal(made, kind, by):
    """Categories, zones, units and floats are ways to write a value; no integer is rounded to be equal to another."""
    sides = []
    for values in VERSIONS[kind]:
        frame = made.archive.source(pd.DataFrame({"k": values, "x": 1}), f"written_{kind}", key="k")
        sides.append(made.archive.split(frame, ["x"])[1])
    assert shared(made.archive.data.overlap(*sides, by=by), f"written_{kind}")[0] == 1


@pytest.mark.parametrize("by", ["key", "content"])
def test_values_that_cannot_be_compared_are_refused(made, by):
    """Numbers and texts share nothing and are not said to share nothing."""
    sides = []
    for values in ([1, 2], ["1", "2"]):
        frame = made.archive.source(pd.DataFrame({"k": values, "x": 1}), "mixed_types", key="k")
        sides.append(made.archive.split(frame, ["x"])[1])
    with pytest.raises(InputError, match="'k' of types that can be compared, got int64, large_string"):
        made.archive.data.overlap(*sides, by=by)


def test_shared_persons_are_counted_through_the_gate(made, opened):
    """Without a purpose persons are not compared, and the answer says so; with one they are counted."""
    closed = made.archive.data.overlap(made.persons[:20], made.persons[20:])
    assert (closed.sealed, closed.sources[0].subjects) == (True, None)
    features, rows = opened.split(opened.source(parcels().assign(person="p1"), "people", subject="person"), ["km"])
    answer = opened.data.overlap("personal", rows)
    assert (len(features), answer.sources[0].shared, answer.sources[0].subjects, answer.sealed) == (60, 0, 1, False)
    with pytest.raises(ForbiddenError):
        made.archive.data.overlap("personal", "personal")


@pytest.mark.parametrize(
    ("pair", "by", "error"),
    [
        (("first", "first"), "value", QueryError),
        (("first", 3), "row", QueryError),
        (("first", "nightly/nothing"), "row", InputError),
        (("nobody", "first"), "row", NotFoundError),
    ],
)
def test_unknown_sets_are_refused(made, pair, by, error):
    """What names no set of rows, and a comparison that is none, is refused."""
    with pytest.raises(error):
        made.archive.data.overlap(*pair, by=by)
