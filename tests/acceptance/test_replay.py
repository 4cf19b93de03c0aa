"""Each verdict of a replay, and that it says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from tests.support.archives import fitted, loans

import backstory
from backstory.archive import Archive
from backstory.debug.verdict import TOLERANCES, judge
from backstory.errors import VerificationError
from backstory.models.environment import environment

Kept = tuple[Path, tuple[str, ...], str]
FEATURES = ["amount", "years"]


# --- from the archive -------------------------------------------------------------------------------------------------


def _registered(kind: str) -> Any:
    table = loans()
    if kind == "boosted":
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(table[FEATURES], table["paid"])
    if kind == "xgboost":
        from xgboost import XGBClassifier

        return XGBClassifier(n_estimators=5, n_jobs=1).fit(table[FEATURES], table["paid"])
    if kind == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(table[FEATURES], table["paid"])
    return fitted(table)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("kind", ["logistic", "boosted", "xgboost", "lightgbm"])
def test_the_same_bytes_are_exact(kind: str, sealed: bool, archive: Archive):
    """From the stored artifact, from segments and from the spool."""
    version = archive.register(_registered(kind), name="credit")
    ids = archive.predict(version, loans()[FEATURES], method="predict_proba").ids
    if sealed:
        archive.flush()
    again = archive.replay(ids[7])
    assert again.verdict == "exact", again.reason
    assert again.batch_rows == 40
    assert again.difference == 0.0


@pytest.mark.parametrize("container", ["pandas", "polars", "one record", "records"])
def test_every_container_is_rebuilt(container: str, archive: Archive):
    """The model gets what it got then."""
    version = archive.register(fitted(loans()), name="credit")
    table = loans()[FEATURES]
    given = {
        "pandas": table,
        "polars": pl.from_pandas(table),
        "one record": table.iloc[3].to_dict(),
        "records": table.head(3).to_dict("records"),
    }[container]
    assert archive.replay(archive.predict(version, given).ids[-1]).verdict == "exact"


def test_a_categorical_column_is_rebuilt(archive: Archive):
    """With its categories in their order."""
    from lightgbm import LGBMClassifier

    table = loans()[FEATURES].assign(kind=pd.Categorical(["b", "a"] * 20, categories=["c", "b", "a"]))
    model = LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(table, loans()["paid"])
    ids = archive.predict(archive.register(model, name="credit"), table).wait("sealed").ids
    assert archive.replay(ids[1]).verdict == "exact"


def test_a_replay_in_a_new_session_is_exact(kept: Kept):
    """From the artifact alone."""
    path, ids, _ = kept
    with backstory.open(path, mode="r") as archive:
        assert {archive.replay(name).verdict for name in ids[::7]} == {"exact"}


def test_a_row_is_replayed_in_its_batch(archive: Archive):
    """The whole call is replayed, so that effects of its size come back."""
    version = archive.register(fitted(loans()), name="credit")
    table = loans()[FEATURES]
    whole = archive.predict(version, table, method="predict_proba").ids[5]
    alone = archive.predict(version, table.iloc[[5]], method="predict_proba").ids[0]
    assert (archive.replay(whole).batch_rows, archive.replay(alone).batch_rows) == (40, 1)
    assert archive.replay(alone).verdict == "exact"


def test_a_callable_is_not_replayable(archive: Archive):
    """Only its source's digest is kept."""
    version = archive.register(lambda table: np.ones(len(table)), name="one")
    again = archive.replay(archive.predict(version, loans()[FEATURES], method="__call__").ids[0])
    assert again.verdict == "not-replayable"
    assert "cannot be loaded" in again.reason


def test_a_traced_function_is_not_replayable(archive: Archive):
    """It names no model."""
    archive.traced(abs)(-1.0)
    archive.flush()
    again = archive.replay(archive.search("true")["id"][0])
    assert again.verdict == "not-replayable"
    assert "no registered model" in again.reason


def test_a_failed_call_is_not_replayable(archive: Archive):
    """There is no output to compare with."""
    version = archive.register(fitted(loans()), name="credit")
    with pytest.raises(ValueError, match="NaN"):
        archive.predict(version, pd.DataFrame({"amount": [np.nan], "years": [1.0]}))
    again = archive.replay(archive.search("true")["id"][0])
    assert again.verdict == "not-replayable"
    assert "ValueError" in again.reason


@pytest.mark.parametrize("step", ["__setstate__", "predict"])
def test_a_model_that_raises_today_is_not_replayable(step: str, kept: Kept, monkeypatch: pytest.MonkeyPatch):
    """While it is loaded or called; of the exception only its class is told, as its words may hold values."""

    def raising(*_: object) -> None:
        raise KeyError("loan-0000")

    monkeypatch.setattr(LogisticRegression, step, raising)
    path, ids, _ = kept
    with backstory.open(path, mode="r") as archive:
        again = archive.replay(ids[0])
    assert again.verdict == "not-replayable"
    assert "KeyError" in again.reason
    assert "loan" not in again.reason


def _artifact(path: Path) -> Path:
    with backstory.open(path, mode="r") as archive:
        (entry,) = archive._ledger.find_entries("model.registered")
        return archive._ledger.blobs.path(str(entry["artifact"]))


def test_an_erased_artifact_is_not_replayable(kept: Kept):
    """What is missing is named; the story is still told."""
    path, ids, _ = kept
    artifact = _artifact(path)
    artifact.unlink()
    with backstory.open(path, mode="r") as archive:
        again = archive.replay(ids[0])
        assert again.verdict == "not-replayable"
        assert artifact.name in again.reason
        assert archive.why(ids[0]).output is not None


def test_a_changed_artifact_is_an_error_and_no_verdict(kept: Kept):
    """Changed bytes are never run."""
    path, ids, _ = kept
    artifact = _artifact(path)
    artifact.chmod(0o644)
    artifact.write_bytes(artifact.read_bytes() + b" ")
    with backstory.open(path, mode="r") as archive, pytest.raises(VerificationError):
        archive.replay(ids[0])


# --- in a new process -------------------------------------------------------------------------------------------------

_REPLAY = """
import json, sys
import backstory
with backstory.open(sys.argv[1], mode="r") as archive:
    print(json.dumps([archive.replay(json.loads(ids)).to_dict() for ids in sys.argv[2:]]))
"""


@pytest.fixture(scope="module")
def recorded_here(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """An archive with a call of 1,000 rows to a model of each adapter, recorded by this process; and their ids."""
    from lightgbm import LGBMClassifier
    from skl2onnx import to_onnx
    from sklearn.tree import DecisionTreeClassifier
    from xgboost import XGBClassifier

    rows = np.random.default_rng(0).normal(size=(1_000, 12))
    labels = (rows.sum(axis=1) > 0).astype("int64")
    linear = LogisticRegression().fit(rows, labels)
    models = {
        "linear": linear,
        "tree": DecisionTreeClassifier(max_depth=4, random_state=0).fit(rows, labels),
        "xgboost": XGBClassifier(n_estimators=5, n_jobs=1).fit(rows, labels),
        "lightgbm": LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(rows, labels),
        "onnx": to_onnx(linear, rows[:1].astype(np.float32), options={"zipmap": False}),
    }
    path = tmp_path_factory.mktemp("here") / "audit"
    with backstory.init(path, origin="example.org/adapters") as opened:
        ids = {}
        for name, model in models.items():
            version = opened.register(model, name=name)
            given = rows.astype(np.float32) if name == "onnx" else rows
            ids[name] = list(opened.predict(version, given, method="predict_proba").ids)
    return path, ids


def _elsewhere(path: Path, *ids: list[str], **variables: str) -> list[dict[str, Any]]:
    """Replay in a new process."""
    command = [sys.executable, "-c", _REPLAY, str(path), *(json.dumps(some) for some in ids)]
    done = subprocess.run(command, capture_output=True, check=True, text=True, env={**os.environ, **variables})
    return json.loads(done.stdout)


def test_every_adapter_is_exact_in_a_new_process(recorded_here: tuple[Path, dict[str, list[str]]]):
    """On the same host, linear models in their batch; every row of it."""
    path, ids = recorded_here
    reports = _elsewhere(path, *(some[:200] for some in ids.values()))
    found = {name: report["counts"]["exact"] for name, report in zip(ids, reports, strict=True)}
    assert found == dict.fromkeys(ids, 200), reports


def test_another_kernel_family_is_equivalent_and_named(recorded_here: tuple[Path, dict[str, list[str]]]):
    """Where linear predictions have other bits; and it is said which family, whatever the bits."""
    path, ids = recorded_here
    pools = environment()["numerics"]["pools"]
    family = next(pool["architecture"] for pool in pools if pool["internal_api"] == "openblas")
    other = "Haswell" if family == "Sandybridge" else "Sandybridge"
    (report,) = _elsewhere(path, ids["linear"], OPENBLAS_CORETYPE=other)
    assert report["counts"]["equivalent"] > 0
    assert report["counts"]["equivalent"] + report["counts"]["exact"] == 1_000
    (changes,) = report["changes"].values()
    assert changes["openblas.architecture"] == [family, other]


# --- from crafted outputs ---------------------------------------------------------------------------------------------


def _verdict(
    recorded: list[Any], replayed: list[Any], *, type_: pa.DataType | None = None, threshold: float | None = None
) -> Any:
    """Judge the first row of outputs nobody can make to order."""
    rule = None if threshold is None else backstory.Threshold(threshold)
    return judge(pa.array(recorded, type_), pa.array(replayed, type_), rule)[0]


@pytest.mark.parametrize(
    ("recorded", "replayed"), [(1.0, 1.0), (float("nan"), float("nan")), ("a", "a"), (None, None), (True, True)]
)
def test_equal_outputs_are_exact(recorded: Any, replayed: Any):
    """NaN and null too."""
    assert _verdict([recorded], [replayed]).verdict == "exact"


@pytest.mark.parametrize(("type_", "difference"), [(pa.float64(), 5e-13), (pa.float32(), 5e-7)])
def test_outputs_within_the_tolerance_are_equivalent(type_: pa.DataType, difference: float):
    """The tolerance is of the output's own type and is stated."""
    again = _verdict([0.5], [0.5 + difference], type_=type_)
    assert again.verdict == "equivalent"
    assert f"{TOLERANCES['float64' if type_ == pa.float64() else 'float32']:g}" in again.reason


def test_signed_zeros_are_equivalent_and_not_exact():
    """Their bytes differ."""
    assert _verdict([0.0], [-0.0]).verdict == "equivalent"


def test_another_output_with_the_same_decision_says_so():
    """Both above the threshold, and further from it than from each other."""
    again = _verdict([0.9], [0.85], threshold=0.5)
    assert again.verdict == "same-decision"
    assert again.difference == pytest.approx(0.05)


def test_a_decision_close_to_the_threshold_is_diverged():
    """A difference larger than the distance to the threshold could as well have gone the other way."""
    assert _verdict([0.52], [0.9], threshold=0.5).verdict == "diverged"


def test_another_decision_is_diverged():
    """Below instead of above."""
    assert _verdict([0.9], [0.1], threshold=0.5).verdict == "diverged"


@pytest.mark.parametrize(
    ("recorded", "replayed"), [(1.0, 1.1), ("a", "b"), (1, 2), (float("nan"), 1.0), (1.0, None), (1, 1.0)]
)
def test_other_outputs_are_diverged(recorded: Any, replayed: Any):
    """Numbers, text, another type, NaN where there was a number."""
    assert _verdict([recorded], [replayed]).verdict == "diverged"


def test_the_largest_difference_of_several_outputs_counts():
    """A vector of probabilities is as different as its most different one."""
    again = _verdict([{"a": 0.5, "b": 0.5}], [{"a": 0.5, "b": 0.75}])
    assert again.verdict == "diverged"
    assert again.difference == 0.25
