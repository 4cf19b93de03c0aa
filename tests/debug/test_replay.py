"""Replays of one prediction at every level, of many, and what the page and the command line make of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN, archive_with_predictions, fitted, loans

import backstory
from backstory.archive import Archive
from backstory.cli.main import run
from backstory.debug.case import read_case
from backstory.debug.environment_diff import environment_changes, kernel_families
from backstory.debug.features_again import Stage
from backstory.debug.match_report import Tally
from backstory.debug.period import Period, draw
from backstory.debug.promise import promised
from backstory.debug.replay import Replay
from backstory.debug.replaying import Manner, replay_cases, replay_prediction
from backstory.debug.runner import PresentRunner
from backstory.debug.verdict import judge
from backstory.errors import InputError, NotFoundError, QueryError

COLUMNS = [f"c{number}" for number in range(12)]


def _frame() -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).normal(size=(1_000, 12)), columns=COLUMNS)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """A closed archive with a linear model, a tree and a forest of several jobs, and a call of 1,000 rows to each."""
    path = tmp_path_factory.mktemp("replay") / "audit"
    frame = _frame()
    target = (frame.sum(axis=1) > 0).astype("int64")
    models = {
        "linear": LogisticRegression().fit(frame, target),
        "tree": DecisionTreeClassifier(max_depth=3, random_state=0).fit(frame, target),
        "forest": RandomForestRegressor(n_estimators=8, max_depth=3, n_jobs=2, random_state=0).fit(frame, target),
    }
    ids = {}
    with backstory.init(path, origin=ORIGIN) as archive:
        for name, model in models.items():
            archive.register(model, name=name)
            method, rule = ("predict", None) if name == "forest" else ("predict_proba", backstory.Threshold(0.5))
            made = archive.predict(name, frame, method=method, decision=rule).wait("sealed")
            ids[name] = list(made.ids)
        with pytest.raises(ValueError, match="NaN"):
            archive.predict("linear", frame.head(2) * np.nan, method="predict_proba")
    return path, ids


@pytest.fixture(scope="module")
def asked(kept: tuple[Path, dict[str, list[str]]]) -> Archive:
    """The same archive, open to read."""
    with backstory.open(kept[0], mode="r") as archive:
        yield archive


# --- one prediction ---------------------------------------------------------------------------------------------------


def test_the_stages_are_named(kept, asked):
    """Reading the record, running the model, deciding; each with a verdict and seconds."""
    again = asked.replay(kept[1]["linear"][3])
    assert [stage.name for stage in again.stages] == ["record", "model", "decision"]
    assert {stage.verdict for stage in again.stages} == {"exact"}
    assert all(stage.seconds >= 0 for stage in again.stages)
    assert (again.ran_in, again.first_diverging, again.level) == ("present", None, 1)


def test_a_row_of_a_linear_model_alone_is_equivalent(kept, asked):
    """For every row: where its bytes are the same by luck, too."""
    report = asked.replay(kept[1]["linear"][:50], alone=True)
    assert report.counts["equivalent"] == report.sample == 50
    again = asked.replay(kept[1]["linear"][0], alone=True)
    assert again.verdict == "equivalent"
    assert "alone; its call had 1,000 rows" in again.reason


def test_a_row_of_a_tree_alone_is_exact(kept, asked):
    """It is row-exact."""
    again = asked.replay(kept[1]["tree"][0], alone=True)
    assert (again.verdict, again.determinism, again.alone) == ("exact", "row-exact", True)


def test_a_forest_of_several_jobs_is_equivalent_and_says_why(kept, asked):
    """It is run-varying: the same bytes would be luck."""
    again = asked.replay(kept[1]["forest"][0])
    assert (again.verdict, again.determinism) == ("equivalent", "run-varying")
    assert "run-varying" in again.reason


def test_level_0_follows_every_digest(tmp_path):
    """Record, context, environment, model, artifact, datasets, rows, groups and their edges; nothing is run."""
    archive, ids = archive_with_predictions(tmp_path / "audit")
    with archive:
        again = archive.replay(ids[0], level=0)
        assert (again.verdict, again.level, again.replayed) == ("exact", 0, None)
        names = [stage.name for stage in again.stages]
        assert names[:5] == ["record", "context", "environment", "model", "artifact"]
        assert {name.partition(" ")[0] for name in names[5:]} == {"dataset", "rows", "group", "edges"}
        (entry,) = archive._ledger.find_entries("source.fixed")
        archive._ledger.blobs.path(str(entry["table"])).unlink()
    with backstory.open(tmp_path / "audit", mode="r") as archive:
        again = archive.replay(ids[0], level=0)
    assert again.verdict == "not-replayable"
    assert "rows loans" in again.reason


def test_another_decision_diverges_at_the_decision(kept, asked):
    """Though the output is the same."""
    shop = asked._workshop
    case = read_case(shop, asked._found(kept[1]["linear"][0]), "replay")
    at = case.table.schema.get_field_index("decision")
    turned = case.table.set_column(at, "decision", pc.invert(case.table["decision"]))
    (again,) = replay_cases(shop, [(replace(case, table=turned), 0.0)], Manner(runner=PresentRunner(shop)))
    assert (again.verdict, again.first_diverging) == ("diverged", "decision")
    assert again.recorded == again.replayed


@pytest.mark.parametrize(
    "question",
    [
        {"level": 4},
        {"env": "yesterday"},
        {"level": 0, "alone": True},
        {"level": 1, "steps": len},
        {"level": 2},
        {"level": 3},
        {"model": "linear"},
        {"fit": len},
    ],
)
def test_what_does_not_go_together_is_refused(question, kept, asked):
    """Rather than that some of it is left out."""
    with pytest.raises(InputError):
        asked.replay(kept[1]["linear"][0], **question)


@pytest.mark.parametrize(("factor", "verdict", "first"), [(1.0, "exact", None), (2.0, "diverged", "features")])
def test_level_2_begins_at_the_source_rows(factor, verdict, first, tmp_path):
    """Where the steps give other features, that is the stage that diverged."""

    def prepare(loans: pd.DataFrame) -> pd.DataFrame:
        return loans.assign(doubled=loans["amount"] * factor)

    table = loans()
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        frame = archive.source(table, "loans", key="loan").assign(doubled=table["amount"])
        features, rows = archive.split(frame, ["doubled", "years"])
        archive.register(
            DecisionTreeClassifier(max_depth=2, random_state=0).fit(features, table["paid"]), name="credit"
        )
        ids = archive.predict("credit", features, rows=rows).wait("sealed").ids
        again = archive.replay(ids[5], level=2, steps=prepare)
    assert (again.verdict, again.first_diverging, again.level) == (verdict, first, 2), again
    assert [stage.name for stage in again.stages][-2:] == ["features", "model"]


class _Off(PresentRunner):
    """Runs models whose outputs are a last bit off."""

    def run(self, jobs):
        """Add it."""
        return [replace(one, output=pc.add(one.output, 1e-15)) for one in super().run(jobs)]


def test_a_row_that_is_not_made_again_has_no_output_now(tmp_path):
    """Neither a value nor a difference; and where all features are the same bytes, those of the output are promised."""
    table = loans()
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        features, rows = archive.split(archive.source(table, "loans", key="loan"), ["amount", "years"])
        archive.register(DecisionTreeRegressor(max_depth=2).fit(features, table["paid"] / 3), name="credit")
        ids = archive.predict("credit", features, rows=rows).wait("sealed").ids
        again = archive.replay(ids[3], level=2, steps=lambda loans: loans[loans["loan"] != "loan-0003"])
        assert (again.verdict, again.replayed, again.difference) == ("not-replayable", None, None), again
        report = archive.replay(ids[:5], level=2, steps=lambda loans: loans[loans["loan"] != "loan-0000"])
        assert "model" in report.seconds
        shop, found = archive._workshop, archive._found(ids[3])
        manner = Manner(runner=_Off(shop), level=2, steps=lambda loans: loans)
        off = replay_prediction(shop, found, manner)
    assert (off.first_diverging, off.determinism) == ("model", "row-exact"), off


def test_level_0_says_what_it_did_not_open(tmp_path):
    """Sealed values are looked for, and no digest of theirs is claimed."""
    path = tmp_path / "audit"
    with backstory.init(path, origin=ORIGIN) as archive:
        archive.register(fitted(loans()), name="credit")
        made = archive.predict("credit", loans()[["amount", "years"]].head(2), subject=["person-1", "person-2"])
        name = made.wait("sealed").ids[0]
        again = archive.replay(name, level=0)
        assert (again.verdict, again.reason.endswith("of 5, 1 sealed and not opened")) == ("exact", True), again
        for shard in (path / "vault").glob("*.shard"):
            shard.unlink()
        again = archive.replay(name, level=0)
    assert (again.verdict, again.reason) == ("not-replayable", "gone: sealed values")


def test_sealed_values_need_a_purpose_and_are_noted_once(tmp_path):
    """Of many calls one entry; without a purpose nothing is opened, and the counts say so."""
    path = tmp_path / "audit"
    with backstory.init(path, origin=ORIGIN) as archive:
        archive.register(fitted(loans()), name="credit")
        for row in range(3):
            archive.predict("credit", loans()[["amount", "years"]].iloc[[row]], subject=[f"person-{row}"])
    with backstory.open(path, mode="r") as archive:
        report = archive.replay(model="credit")
        assert (report.counts["not-replayable"], report.sample) == (3, 3)
        assert "sealed" in next(iter(report.reasons))
    with backstory.open(path, actor="me", purpose="case 77") as archive:
        assert archive.replay(model="credit").counts["exact"] == 3
        (entry,) = accesses(archive._ledger)
    assert (entry["question"], entry["records"]) == ("replay", 3)


# --- what a verdict may be --------------------------------------------------------------------------------------------


def test_no_tolerance_where_the_same_bytes_were_promised():
    """A difference is then no rounding."""
    one, other = pa.array([0.5]), pa.array([0.5 + 1e-15])
    assert judge(one, other)[0].verdict == "equivalent"
    assert judge(one, other, promised=True)[0].verdict == "diverged"
    assert judge(one, other, backstory.Threshold(0.2), promised=True)[0].verdict == "same-decision"


@given(
    class_name=st.sampled_from([None, "row-exact", "tile-exact", "batch-exact", "run-varying"]),
    alone=st.booleans(),
    tiled=st.booleans(),
    same=st.booleans(),
    rows=st.integers(1, 3),
)
def test_a_promise_is_never_both(class_name, alone, tiled, same, rows):
    """Exact bytes are promised only in the recorded environment and never where others are to be expected."""
    promise = promised(class_name, "", rows=rows, alone=alone, tiled=tiled, same_environment=same)
    assert not (promise.is_exact and (promise.varies or not same))
    assert bool(promise.varies) == (
        class_name == "run-varying"
        or (alone and rows > 1 and (class_name == "batch-exact" or (class_name == "tile-exact" and not tiled)))
    )


# --- environments -----------------------------------------------------------------------------------------------------


def _environment(*pools: dict[str, object], **variables: str) -> dict[str, object]:
    return {"numerics": {"pools": list(pools), "variables": variables}, "packages": {}, "python": {"version": "3.11"}}


def _pool(version: str = "0.3", architecture: str = "Haswell", kind: str = "openblas") -> dict[str, object]:
    return {"internal_api": kind, "prefix": "lib", "version": version, "architecture": architecture, "num_threads": 2}


def test_another_kernel_family_is_named():
    """With both families."""
    changes = environment_changes(_environment(_pool()), _environment(_pool(architecture="Zen"), OMP_NUM_THREADS="1"))
    assert changes == {"OMP_NUM_THREADS": ("absent", "1"), "openblas.architecture": ("Haswell", "Zen")}
    assert kernel_families(changes) == "another kernel family: openblas Haswell then, Zen now"


def test_a_pool_only_one_side_has_loaded_is_no_difference():
    """Of another library, or another copy of the same."""
    then, now = _environment(_pool()), _environment(_pool(), _pool("0.2"), _pool(kind="openmp"))
    assert environment_changes(then, now) == environment_changes(now, then) == {}


def test_a_replaced_library_is_a_difference():
    """Each side has a copy that the other has not."""
    assert environment_changes(_environment(_pool("0.3")), _environment(_pool("0.4"))) == {
        "openblas.version": ("0.3", "0.4")
    }


def test_other_files_of_the_same_version_are_a_difference():
    """And packages that were not meant to be there are none."""
    then = {"packages": {"a": {"version": "1", "record": "aa"}, "b": {"version": "1", "record": "bb"}}}
    now = {"packages": {"a": {"version": "1", "record": "cc"}}}
    assert environment_changes(then, now, is_partial=True) == {"a.files": ("aa", "cc")}
    assert environment_changes(then, now)["b"] == ("1", "absent")


# --- many predictions -------------------------------------------------------------------------------------------------


def test_counts_add_up_to_the_sample(kept, asked):
    """By verdict, model and environment; one call, one run."""
    report = asked.replay(model="tree", sample=100, seed=3)
    assert (report.sample, report.population, report.calls) == (100, 1_000, 1)
    assert report.counts["exact"] == sum(report.counts.values()) == 100
    assert report.models == {"tree:1": {"exact": 100}}
    assert sum(sum(counts.values()) for counts in report.environments.values()) == 100
    assert str(report).startswith("100 predictions replayed: 100 exact")


def test_a_failed_call_is_counted_with_its_reason(kept, asked):
    """Its predictions fit, and are not replayable."""
    report = asked.replay(model="linear")
    assert (report.sample, report.counts["not-replayable"]) == (1_002, 2)
    assert sum(report.reasons.values()) == 2
    assert "ValueError" in next(iter(report.reasons))
    many = replace(report, reasons={f"reason {number}": 1 for number in range(13)})
    assert "3            others; JSON has them" in str(many)


def test_seconds_are_of_all_that_were_looked_at(kept, asked):
    """At level 0 each prediction is followed for itself; above it a stage is that of the call."""
    (call,) = draw(asked._ledger, Period(model="tree", sample=2)).calls
    stage = Stage(name="context", verdict="exact", seconds=1.0)
    for level, seconds in ((0, 2.0), (1, 1.0)):
        tally, manner = Tally(asked._ledger), Manner(runner=PresentRunner(asked._workshop), level=level)
        one = Replay(id="", verdict="exact", reason="", level=level, stages=(stage,), environment={})
        tally.add(call, [one, one])
        assert tally.report(period="", how="", population=2, manner=manner).seconds == {"context": seconds}


def test_ids_are_replayed_whatever_their_order(kept, asked):
    """Each once; a prefix is refused, and one that is not there too."""
    some = [kept[1]["tree"][7], kept[1]["linear"][2], kept[1]["tree"][7]]
    assert asked.replay(some).counts["exact"] == 2
    with pytest.raises(QueryError, match="whole ids"):
        asked.replay([some[0][:8]])
    with pytest.raises(NotFoundError, match="1 of 2"):
        asked.replay([some[0], "0" * 8 + some[0][8:]])


def test_moments_bound_the_period(kept, asked):
    """Half-open; where none fits that is an error and no report."""
    time = asked.why(kept[1]["tree"][0]).time
    assert asked.replay(since=time, model="tree").sample == 1_000
    with pytest.raises(NotFoundError, match="no prediction fits"):
        asked.replay(until=time, model="tree")


@settings(max_examples=10)
@given(sample=st.integers(1, 1_200), seed=st.integers(0, 5))
def test_a_sample_is_seeded_and_without_doubles(asked, sample, seed):
    """The same seed draws the same ones."""
    period = Period(model="tree", sample=sample, seed=seed)
    drawn = draw(asked._ledger, period)
    assert drawn == draw(asked._ledger, period)
    assert drawn.count == len({name for call in drawn.calls for name in call.ids}) == min(sample, 1_000)


# --- the command line -------------------------------------------------------------------------------------------------


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    code = run(["replay", *arguments, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out or said.err)


def test_the_command_asks_the_same(kept, capsys):
    """One prediction, a sample, and where only some can be replayed another exit code."""
    path, ids = kept
    place = ("-a", str(path))
    code, found = _run(capsys, ids["linear"][0], "--alone", *place)
    assert (code, found["verdict"]) == (0, "equivalent")
    code, found = _run(capsys, "--model", "tree", "--sample", "10", *place)
    assert (code, found["sample"], found["diverged"]) == (0, 10, [])
    assert _run(capsys, "--model", "linear", *place)[0] == 3
    assert _run(capsys, *place)[0] == 2
