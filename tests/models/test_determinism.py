"""What a probe of a few rows says of a function, and what is known of models whatever a probe shows."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from backstory.errors import InputError, ModelError
from backstory.models import determinism
from backstory.models.determinism import CLASSES, parse_determinism, probe
from backstory.models.determinism_known import Known, what_is_known
from backstory.models.tile import run_in_tiles


@pytest.fixture(autouse=True)
def _has_time(monkeypatch):
    """A busy machine must not change what the tests see."""
    monkeypatch.setattr(determinism, "PROBE_SECONDS_MAX", 60.0)


ROWS = np.random.default_rng(0).normal(size=(64, 3))
CHANCE = np.random.default_rng(1)

FUNCTIONS = {
    "row-exact": lambda rows: rows[:, 0] * 3,
    "tile-exact": lambda rows: rows[:, 0] * len(rows),
    "batch-exact": lambda rows: rows[:, 0] - rows.mean(),
    "run-varying": lambda rows: rows[:, 0] + CHANCE.normal(),
}
"""A function of each class."""


def asked(call, known: Known | None = None, rows=ROWS, one_thread=contextlib.nullcontext):
    """Probe one method."""
    calls = {"predict": call}
    return probe(calls, rows, source="synthetic", known=known or Known(), one_thread=one_thread, kernels={})


@pytest.mark.parametrize("kind", CLASSES)
def test_a_function_has_the_class_it_shows(kind):
    """What depends on the row, the number of rows, the other rows, or chance is told apart."""
    found = asked(FUNCTIONS[kind])
    assert found.kind == kind
    assert found.tiles == ((64, 256) if kind in {"row-exact", "tile-exact"} else ())


@given(st.sampled_from(CLASSES), st.sampled_from(["row-exact", "tile-exact", "run-varying"]))
def test_a_probe_never_says_more_than_is_known(kind, limit):
    """The class is the worse of what the probe shows and what is known."""
    found = asked(FUNCTIONS[kind], Known(limit=limit, reason="known"))
    assert found.kind == max(kind, limit, key=CLASSES.index)


@pytest.mark.parametrize(("method", "kind"), [("predict", "row-exact"), ("transform", None), ("score_samples", None)])
def test_a_method_nobody_looked_at_has_no_class(method, kind):
    """What another method computes follows from nothing; other forms of the same answer do."""
    found = probe({"predict_proba": FUNCTIONS["row-exact"]}, ROWS, source="synthetic", known=Known(), one_thread=None,
                  kernels={})  # fmt: skip
    assert found.class_of(method) == kind
    assert found.holds_in_tiles(method, 64) == (kind is not None)


def test_the_worst_method_makes_the_class():
    """A model is of the class of the worst of its methods, and each is named with its own."""
    calls = {"one": FUNCTIONS["row-exact"], "two": FUNCTIONS["batch-exact"]}
    found = probe(calls, ROWS, source="synthetic", known=Known(), one_thread=None, kernels={})
    assert found.kind == "batch-exact"
    assert found.methods == {"one": "row-exact", "two": "batch-exact"}
    assert found.class_of("one") == "row-exact"
    assert found.class_of("predict") == "batch-exact"
    assert found.one_thread is None


def test_threads_are_a_fact_of_their_own():
    """Other bits on one thread leave the class as it is, and are told."""
    limited = []

    @contextlib.contextmanager
    def one_thread():
        limited.append(True)
        yield
        limited.clear()

    found = asked(lambda rows: rows[:, 0] * (2 if limited else 3), one_thread=one_thread)
    assert (found.kind, found.one_thread) == ("row-exact", False)


def test_what_raises_is_not_probed():
    """A model that fails has no class; the error's words, which may hold values, are not kept."""
    found = asked(lambda rows: rows["private"])
    assert found.kind is None
    assert "private" not in str(found.document())
    assert found.promise == f"not known: {found.unprobed}"


def test_what_takes_too_long_is_not_probed(monkeypatch):
    """When the time is over nothing is claimed that was not shown."""
    monkeypatch.setattr(determinism, "PROBE_SECONDS_MAX", -1.0)
    assert asked(FUNCTIONS["row-exact"]).kind is None


@pytest.mark.parametrize(
    "output",
    [
        lambda rows: [np.floor(rows), np.floor(rows)],
        lambda rows: pd.DataFrame(np.floor(rows)),
        lambda rows: np.where(rows[:, 0] > 0, "yes", "no").astype(object),
    ],
    ids=["several arrays", "frame", "text objects"],
)
def test_outputs_of_any_form_are_compared(output):
    """Lists of arrays, frames and objects are compared by their values."""
    assert asked(output).kind == "row-exact"


@pytest.mark.parametrize("kind", CLASSES)
def test_a_document_is_read_back(kind):
    """What is written of a probe is what is read."""
    found = asked(FUNCTIONS[kind])
    assert parse_determinism(found.document()) == found
    assert parse_determinism({"class": "of a later version", "rows": "1"}) is None


FOREST = RandomForestClassifier(n_estimators=3, n_jobs=2)
LABELS = (ROWS[:, 0] > 0).astype(int)


@pytest.mark.parametrize(
    "model",
    [
        FOREST,
        ExtraTreesRegressor(3, n_jobs=-1),
        make_pipeline(StandardScaler(), FOREST),
        VotingClassifier([("tree", DecisionTreeClassifier()), ("forest", FOREST)]),
        StackingClassifier([("tree", DecisionTreeClassifier())], final_estimator=FOREST, cv=2),
        CalibratedClassifierCV(FOREST, cv=2),
        GridSearchCV(make_pipeline(StandardScaler(), FOREST), {}, cv=2),
    ],
    ids=lambda model: type(model).__name__,
)
def test_forests_of_several_jobs_vary(model):
    """A forest whose threads add to one sum is known to vary, wherever it stands."""
    known = what_is_known(model.fit(ROWS, LABELS), "scikit-learn")
    assert known.limit == "run-varying"
    assert "n_jobs=1" in known.reason


@pytest.mark.parametrize(
    "model",
    [RandomForestClassifier(3, n_jobs=1), GradientBoostingRegressor(n_estimators=3), DecisionTreeClassifier()],
    ids=lambda model: type(model).__name__,
)
def test_trees_may_be_row_exact(model):
    """Of trees in one job nothing is known against them."""
    assert what_is_known(model.fit(ROWS, LABELS), "scikit-learn") == Known()


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: make_pipeline(StandardScaler(), one)])
def test_linear_models_are_never_row_exact(wrap):
    """Sums by BLAS depend on the batch, whatever few rows show."""
    model = wrap(LogisticRegression()).fit(ROWS, LABELS)
    assert what_is_known(model, "scikit-learn").limit == "tile-exact"
    many = MultiOutputRegressor(LogisticRegression()).fit(ROWS, np.stack([LABELS, LABELS], axis=1))
    assert what_is_known(many, "scikit-learn").limit == "tile-exact"


def test_networks_are_never_row_exact():
    """Of ONNX and PyTorch models the kernels choose the order of sums."""
    assert {what_is_known(object(), framework).limit for framework in ("onnx", "torch")} == {"tile-exact"}


@given(st.integers(1, 200), st.integers(1, 80))
def test_every_call_has_the_rows_of_a_tile(rows, tile):
    """Each call gets exactly a tile; what comes back has one output a row, in order."""
    seen = []

    def model(part):
        seen.append(len(part))
        return part[:, 0].copy()

    given_rows = np.arange(2.0 * rows).reshape(rows, 2)
    assert run_in_tiles(model, given_rows, tile).tolist() == given_rows[:, 0].tolist()
    assert set(seen) == {tile}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "arrow"])
def test_frames_are_cut_too(make):
    """A frame of any library is cut into tiles of its own kind."""
    frame = make({"x": np.arange(5.0)})
    kinds = set()

    def model(part):
        kinds.add(type(part))
        return np.asarray(part["x"])

    assert run_in_tiles(model, frame, 3).tolist() == [0, 1, 2, 3, 4]
    assert kinds == {type(frame)}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame], ids=["array", "frame"])
def test_a_tile_lies_the_same_way_whatever_it_was_cut_from(order, make):
    """One row, many rows, by row or by column: the tile is laid out alike, so sums over it are."""
    rows = make(np.array(ROWS, order=order))
    strides = set()

    def model(part):
        strides.add(np.asarray(part).strides)
        return np.zeros(len(part))

    run_in_tiles(model, rows, 16)
    run_in_tiles(model, rows[5:6], 16)
    assert len(strides) == 1


def test_what_cannot_be_tiled_is_refused():
    """Several arrays, an output of another length, and rows of unknown kind are errors."""
    for output in (lambda rows: [rows, rows], lambda _: np.zeros(3)):
        with pytest.raises(ModelError, match="expected one array with 16 outputs"):
            run_in_tiles(output, ROWS, 16)
    with pytest.raises(InputError, match="expected a frame"):
        run_in_tiles(len, {"x": 1.0}, 16)
