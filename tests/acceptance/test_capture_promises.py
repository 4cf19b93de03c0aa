"""What a recorded call promises its caller, whatever the caller does next to it."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from backstory.errors import ColumnError, InputError, ModelError
from backstory.records import limits

X = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})


def test_a_model_fitted_again_does_not_speak_for_its_registered_version(archive):
    """After `register` the version answers as registered, whatever happens to the caller's object."""
    model = LinearRegression().fit(X, X.a * 2)
    version = archive.register(model, name="line")
    before = version.predict(X)
    model.fit(X, X.a * 100)
    assert np.array_equal(version.predict(X), before)
    assert not np.array_equal(model.predict(X), before)


def test_every_predicting_method_records(archive):
    """Methods besides `predict` that give outputs are recorded too."""
    version = archive.register(LogisticRegression().fit(X, [0, 1, 0, 1]), name="logit")
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        getattr(version, method)(X)
    archive.flush()
    assert len(archive.search("true")) == 4 * len(X)


def test_a_traced_call_with_a_subject_parameter_is_sealed_even_about_nobody(archive):
    """Sealing follows the declaration, not the value: None for the person keeps the arguments sealed."""

    @archive.traced(subject="customer")
    def score(diagnosis: str, customer: str | None) -> float:
        return float(len(diagnosis))

    score("a rare disease", None)
    archive.flush()
    found = archive.search("true")
    assert not [name for name in found.columns if name.startswith(("feature", "output"))] or found.filter(
        regex="^(feature|output)"
    ).isna().all(axis=None)
    for path in (archive.path / "segments").iterdir():
        assert b"rare disease" not in path.read_bytes()


@pytest.mark.parametrize(
    "subjects",
    [["7", None, "8", "9"], [7, None, 8, 9], pd.Series([7, None, 8, 9], dtype="Int64")],
    ids=["texts", "numbers", "nullable"],
)
def test_a_missing_subject_stays_missing(archive, subjects):
    """An id comes back as it was given; nobody is nobody, not a person called nan."""
    version = archive.register(LinearRegression().fit(X, X.a), name="line")
    ids = archive.predict(version, X, subject=subjects).ids
    with open_for(archive, "checking") as other:
        assert other.receipt(ids[1]) is not None
        opened = [other.replay(one).verdict for one in ids]
    assert opened == ["exact"] * 4
    tables = [archive._ledger.vault.read_table(path.name) for path in (archive.path / "vault").glob("*.shard")]
    (table,) = [table for table in tables if "output" in table.column_names]
    assert table["subject"].to_pylist() == ["7", None, "8", "9"]


def open_for(archive, purpose):
    """Open the same archive with a purpose, after sealing what it has."""
    import backstory

    archive.flush()
    return backstory.open(archive.path, actor="tester", purpose=purpose)


def test_subjects_that_became_floats_are_refused(archive):
    """Numbers that turned into floats because one is missing are refused: 1001.0 is nobody's id."""
    version = archive.register(LinearRegression().fit(X, X.a), name="line")
    with pytest.raises(InputError, match="whole numbers"):
        archive.predict(version, X, subject=pd.Series([7, None, 8, 9]))


def test_what_cannot_be_recorded_is_refused_before_the_model_runs(archive):
    """A feature without an encoding stops the call before the model is called."""
    called = []

    def model(frame):
        called.append(frame)
        return [1.0]

    version = archive.register(model, name="callable")
    with pytest.raises(ColumnError, match="day"):
        archive.predict(version, pd.DataFrame({"day": [dt.datetime(9999, 1, 1, tzinfo=dt.UTC)]}), method="__call__")
    assert called == []


@pytest.mark.parametrize(
    "value",
    [
        [1, "x"], (1, "a"), {1, 2}, 2**70, np.uint64(2**63), {"a": {"b": [1, None, "z"]}}, {}, Decimal("1.1"), None,
        dt.datetime(9999, 1, 1, tzinfo=dt.UTC), dt.time(1), np.arange(3), pd.Series([1.5, 2.5]), X, object(), b"x",
        "text",
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_traced_function_returns_what_it_returns(archive, value):
    """Whatever goes in and comes out, beside another argument or alone, the caller gets it and a record is made."""

    @archive.traced
    def alone(value):
        return value

    @archive.traced
    def beside(value, other=2):
        return {"it": value}

    assert alone(value) is value
    assert beside(value)["it"] is value
    archive.flush()
    assert len(archive.search("true")) >= 2


def test_a_traced_call_of_a_table_may_return_one_value(archive):
    """A function of a whole table may return one value for it; it stands on each of the table's records."""

    @archive.traced
    def total(frame: pd.DataFrame) -> float:
        return float(frame.a.sum())

    assert total(X) == 6.0
    archive.flush()
    assert archive.search("true").output.tolist() == [6.0] * 4


def test_the_bare_estimator_is_not_a_model_version(archive):
    """Giving `predict` the estimator itself is an error that says what to do."""
    with pytest.raises(ModelError, match="register the model first"):
        archive.predict(LinearRegression().fit(X, X.a), X)


def test_more_kinds_of_record_than_open_streams_lose_nothing(archive, monkeypatch):
    """The longest unused stream is closed; its records are sealed all the same."""
    monkeypatch.setattr("backstory.capture.recorder.STREAMS_OPEN_MAX", 3)
    assert limits.STREAMS_OPEN_MAX > 3

    @archive.traced
    def score(application: dict) -> float:
        return float(len(application))

    for i in range(8):
        score({f"field_{i}": 1.0})
    score({"field_0": 2.0})
    archive.flush()
    assert len(archive.search("output = 1")) == 9
    assert not archive.verify(check=False).findings
