"""Steps: run as they are, and noted by which rows went in, came out and were dropped."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression

import backstory
from backstory.errors import InputError
from backstory.frames.row_set import RowSet
from backstory.lineage.refs import LineageWarning
from backstory.lineage.step_store import read_step


def parcels(rows=40):
    """Return parcels with a gap in every fifth distance."""
    numbers = np.arange(rows)
    km = np.where(numbers % 5 == 0, np.nan, numbers * 7 % 38)
    return pd.DataFrame({"parcel": numbers, "day": numbers // 10, "km": km, "minutes": numbers * 1.5})


def days():
    """Return the weather of six days."""
    return pd.DataFrame({"day": range(6), "rain": [0.0, 3.0, 1.0, 8.0, 2.0, 5.0]})


def clean(frame, least=3):
    """Drop parcels without a distance, and near ones."""
    return frame[frame.km.notna() & (frame.km >= least)]


def pending(archive):
    """Return the runs that nothing refers to yet."""
    return archive._store.steps._runs


def flow_of(run, name):
    """Return the rows of a source or group in a run."""
    return next(flow for flow in run.flows.values() if flow.track.name == name)


def dropped_rows(run, name):
    """Return the positions a run dropped; None where it is not known."""
    rows = flow_of(run, name).dropped()
    return None if rows is None else rows.positions().tolist()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Return an archive for steps that nothing refers to."""
    with backstory.init(tmp_path_factory.mktemp("step") / "audit", origin="example.org/step") as made:
        yield made


@pytest.fixture
def run_of(archive):
    """Return a function that runs a step and returns its result and what was noted; warnings are kept quiet."""

    def run(function, *args, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LineageWarning)
            result = archive.step(function, name=options.pop("name", "step"), **options)(*args)
        return result, pending(archive)[-1]

    return run


def test_the_result_is_the_functions_own(archive):
    """What a step returns is what its function returned, bit for bit, and it is called once."""
    calls = []

    @archive.step
    def counted(frame):
        calls.append(1)
        return clean(frame)

    frame = archive.source(parcels(), "parcels")
    pd.testing.assert_frame_equal(counted(frame), clean(frame))
    assert len(calls) == 1
    assert counted.__wrapped__(frame).equals(clean(frame))


@pytest.mark.parametrize("library", ["pandas", "polars", "lazy"])
def test_rows_aggregated_by_hand_are_coarse(archive, run_of, library):
    """The largest id of a group names one row, and others decided the values: nobody says which rows were dropped."""
    rows = pd.DataFrame({"day": np.arange(300) % 60, "km": np.arange(300) * 37 % 101, "kg": np.arange(300) * 53 % 97})
    if library == "pandas":
        frame = archive.source(rows, "loads")
        _, run = run_of(lambda frame: frame.groupby("day", as_index=False).max(), frame)
    else:
        table = pl.from_pandas(rows)
        frame = archive.source(table.lazy() if library == "lazy" else table, "loads")
        _, run = run_of(lambda frame: frame.group_by("day").agg(pl.all().max()), frame)
    assert run.grade == "coarse"
    assert "stand for more rows than they name" in run.problems[0]
    assert dropped_rows(run, "loads") is None


@pytest.mark.parametrize(
    "function",
    [
        lambda frame: frame.drop_duplicates("day"),
        lambda frame: frame.assign(km=-frame.km)[["km", "_row_loads"]],
        lambda frame: frame.sample(frac=0.5, random_state=1),
        lambda frame: frame.head(5).assign(day=0, km=1, kg=2),
    ],
)
def test_rows_that_were_picked_or_scaled_are_exact(archive, run_of, function):
    """What agrees with its source, or moves with it, or is too little to tell, is not doubted."""
    rows = pd.DataFrame({"day": np.arange(300) % 60, "km": np.arange(300) * 37 % 101, "kg": np.arange(300) * 53 % 97})
    _, run = run_of(function, archive.source(rows, "loads"))
    assert run.grade == "exact"


def test_dropped_rows_are_noted(archive, run_of):
    """What went in and did not come out was dropped, by position."""
    table = parcels()
    frame, run = run_of(clean, archive.source(table, "parcels"))
    wanted = sorted(set(range(40)) - set(frame.parcel))
    assert dropped_rows(run, "parcels") == wanted
    assert (run.rows_in, run.rows_out, run.grade) == ({"frame": 40}, (len(frame),), "exact")


@pytest.mark.parametrize("of", [pl.from_pandas, lambda table: pl.from_pandas(table).lazy()], ids=["polars", "lazy"])
def test_polars_drops_the_same_rows(archive, run_of, of):
    """A step over polars frames, lazy too, drops the rows the pandas step drops."""
    _, wanted = run_of(clean, archive.source(parcels(), "parcels"))
    frame = archive.source(of(parcels()), "parcels")
    _, run = run_of(lambda given: given.filter(pl.col("km").is_not_nan() & (pl.col("km") >= 3)), frame)
    assert dropped_rows(run, "parcels") == dropped_rows(wanted, "parcels")


def test_each_source_has_rows_of_its_own(archive, run_of):
    """Of a join the rows that matched nothing are dropped, of either side."""
    frame, weather = archive.source(parcels(), "parcels"), archive.source(days(), "weather")
    _, run = run_of(lambda left, right: left.merge(right, on="day"), frame[frame.day < 3], weather)
    assert dropped_rows(run, "weather") == [3, 4, 5]
    assert dropped_rows(run, "parcels") == []
    assert flow_of(run, "parcels").rows_in() == RowSet.of_range(0, 30)


def test_a_row_in_a_group_made_inside_was_not_dropped(archive, run_of):
    """Rows live on in a group; those with a null key are in none."""

    def per_day(frame):
        return archive.group(frame, "day", name="per_day", rain=("km", "mean"))

    table = parcels().assign(day=lambda one: one.day.where(one.parcel != 7))
    _, run = run_of(per_day, archive.source(table, "parcels"))
    assert dropped_rows(run, "parcels") == [7]
    assert run.grade == "exact"


def test_rows_of_other_parts_are_dropped_too(archive, run_of):
    """Where all rows of a part are dropped, those of the others say so."""
    may = archive.source(parcels(10), "parts", part="may")
    june = archive.source(parcels(10), "parts", part="june")
    _, run = run_of(lambda one, two: pd.concat([one, two]).iloc[:10], may, june)
    dropped = [flow.dropped().positions().tolist() for flow in run.flows.values()]
    assert sorted(dropped) == [[], list(range(10, 20))]


def test_a_frame_without_ids_is_broken(archive):
    """A frame that lost its ids is graded broken and warned of, and nothing is said to be dropped."""
    frame = archive.source(parcels(), "parcels")
    with pytest.warns(LineageWarning, match="broken.*no row ids"):
        archive.step(lambda given: given[["km"]], name="lose")(frame)
    run = pending(archive)[-1]
    assert (run.grade, dropped_rows(run, "parcels")) == ("broken", None)


def test_changed_ids_are_broken(archive, run_of):
    """Ids that do not check break a step."""
    frame = archive.source(parcels(), "parcels")
    _, run = run_of(lambda given: given.assign(_row_parcels=given["_row_parcels"].rolling(2).mean()), frame)
    assert (run.grade, dropped_rows(run, "parcels")) == ("broken", None)


def test_row_references_stand_for_ids_split_off(archive, run_of):
    """A step may split: the references it returns say which rows the features are of."""
    _, run = run_of(lambda given: archive.split(clean(given), ["km"]), archive.source(parcels(), "parcels"))
    assert (run.grade, 0 in dropped_rows(run, "parcels")) == ("exact", True)


def test_ids_of_one_source_lost_are_coarse(archive, run_of):
    """Where only one source's ids are lost, its snapshot is known and its rows are not."""
    frame, weather = archive.source(parcels(), "parcels"), archive.source(days(), "weather")
    _, run = run_of(lambda one, two: one[one.day.isin(two.day)], frame, weather)
    assert (run.grade, dropped_rows(run, "weather")) == ("coarse", None)


def test_a_table_without_ids_is_coarse(archive, run_of):
    """What a step reads from a table without ids is not known."""
    _, run = run_of(lambda one, two: one.merge(two, on="day"), archive.source(parcels(), "parcels"), days())
    assert run.grade == "coarse"


@pytest.mark.parametrize(("said", "grade"), [("declared", "declared"), ("broken", "broken"), (None, "exact")])
def test_a_grade_is_never_raised(archive, run_of, said, grade):
    """The caller's grade lowers what the ids show, and never raises it."""
    frame = archive.source(parcels(), "parcels")
    assert run_of(clean, frame, grade=said)[1].grade == grade
    assert run_of(lambda given: given[["km"]], frame, grade="exact")[1].grade == "broken"


@pytest.mark.parametrize(
    ("function", "options"),
    [(clean, {"grade": "sure"}), (lambda frame: frame, {}), (clean, {"name": "a b"}), (3, {"name": "n"})],
)
def test_what_is_no_step_is_refused(archive, function, options):
    """A grade that is none, a function without a name, and what cannot be called are refused."""
    with pytest.raises(InputError):
        archive.step(function, **options)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return an archive in which a model refers to rows that steps worked on, and the documents of the steps."""
    archive = backstory.init(tmp_path_factory.mktemp("kept") / "audit", origin="example.org/kept")
    other = archive.source(parcels(), "other")
    for _ in range(2):
        frame = archive.source(parcels(), "parcels", key="parcel")
        archive.step(clean)(other)
        train = archive.step(clean)(frame, least=5)
        features, rows = archive.split(train, ["km"])
        model = LinearRegression().fit(features, train.minutes)
        archive.register(model, name="minutes", rows=rows, target=train.minutes)
    yield archive
    archive.close()


def documents(archive):
    """Return the entries of steps, each with its document."""
    entries = archive._ledger.find_entries("step.recorded")
    return [(entry, archive._ledger.document(entry["step"])) for entry in entries]


def test_only_what_is_referred_to_is_kept(kept):
    """A step over rows that no model refers to leaves no trace; one that ran twice alike is one."""
    (entry, document) = documents(kept)[0]
    assert len(documents(kept)) == 1
    assert (entry["name"], list(document["refs"])) == ("clean", ["parcels"])
    assert len(pending(kept)) == 2


def test_the_document_says_what_ran(kept):
    """Code, parameters by digest, rows in and out, and the dropped rows are in the document; no parameter's value."""
    document = documents(kept)[0][1]
    assert document["code"]["function"].endswith("test_step.clean")
    (least,) = document["parameters"]
    assert least == {"digest": "ef2d127de37b942baad06145e54b0c619a1f22327b2ebbcfbec78f5564afe39d", "name": "least"}
    step = read_step(kept._ledger, documents(kept)[0][0]["step"], None)
    table = parcels()
    wanted = table[~(table.km >= 5)].parcel.tolist()
    assert step.dropped["parcels"].positions().tolist() == wanted
    assert (document["in"], document["out"]) == ({"frame": "40"}, [str(40 - len(wanted))])


def test_ascending_training_rows_are_a_set(kept):
    """Training rows that ascend are kept as a set, without a table of positions, and come back."""
    training = kept.model("minutes").document["training"]
    assert "edges" not in training
    assert training["order"] is None
    table = parcels()
    assert kept._tracer.training(training)["parcels"].tolist() == table[table.km >= 5].parcel.tolist()


@pytest.mark.parametrize("chosen", [[3, 1, 2], [1, 1, 2]], ids=["shuffled", "with replacement"])
def test_other_training_rows_stay_in_order(kept, chosen):
    """Shuffled rows keep their order, and rows drawn with replacement their multiplicities."""
    frame = kept.source(parcels(), "parcels", key="parcel")
    features, rows = kept.split(frame, ["minutes"])
    model = LinearRegression().fit(features.iloc[chosen], [1.0, 2.0, 3.0])
    version = kept.register(model, name="drawn", rows=rows[chosen])
    assert "sets" not in version.document["training"]
    assert kept._tracer.training(version.document["training"])["parcels"].tolist() == chosen


def test_a_parameter_may_have_any_name(kept):
    """The digest of a parameter is never taken for a blob, whatever the parameter is called."""

    def step(frame, model="tree", table="a", group="b"):
        return frame.assign(kind=f"{model}{table}{group}")

    frame = kept.step(step)(kept.source(parcels(), "named"))
    _, rows = kept.split(frame, ["minutes"])
    kept.register(LinearRegression().fit(frame[["minutes"]], frame.km.fillna(0)), name="named", rows=rows)
    assert len(documents(kept)) == 2
    assert not kept.verify(check=False, workers=1).failed


def test_the_audit_reaches_sets_of_rows(kept, tmp_path_factory):
    """A full audit passes, and names a set of dropped rows whose bytes were changed."""
    assert not kept.verify(check=False, workers=1).failed
    digest = documents(kept)[0][1]["dropped"]["parcels"]["row_set"]
    path = kept.path / "blobs" / "sha256" / digest[:2] / digest[2:]
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    report = kept.verify(check=False, workers=1)
    path.write_bytes(whole)
    assert [finding.place for finding in report.findings if finding.severity == "failed"] == [
        f"blobs/sha256/{digest[:2]}/{digest[2:]}"
    ]


def test_steps_over_people_are_sealed(tmp_path):
    """Of rows about people no set and no plain digest of a parameter is in clear, and the audit reads the rest."""
    with backstory.init(tmp_path / "audit", origin="example.org/people") as archive:
        table = parcels().assign(person=lambda one: "p" + one.parcel.astype(str))
        frame = archive.step(clean)(archive.source(table, "people", subject="person"), least=5)
        _, rows = archive.split(frame, ["km"])
        archive.register(LinearRegression().fit(frame[["km"]], frame.minutes), name="minutes", rows=rows)
        document = documents(archive)[0][1]
        assert ("dropped" in document, document["problems"]) == (False, [])
        assert "ef2d127d" not in json.dumps(document["parameters"])
        assert not archive.verify(check=False, workers=1).failed
        step = read_step(archive._ledger, documents(archive)[0][0]["step"], archive._tracer.positions(document))
        assert step.dropped["people"].positions().tolist() == table[~(table.km >= 5)].parcel.tolist()
