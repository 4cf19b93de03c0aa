"""Predicting with a model: odd outputs, ids of every kind, what else a method is given."""

from __future__ import annotations

import decimal
import traceback
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.archives import ORIGIN

import backstory
from backstory.archive import Archive
from backstory.errors import ColumnError, ConflictError, InputError, ModelError
from backstory.ledger.read import find_record
from backstory.ledger.sealed import open_rows

TABLE = pd.DataFrame({"x": [1.0, 2.0]})


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory):
    """An archive all tests record into."""
    path = tmp_path_factory.mktemp("predicting") / "archive"
    backstory.init(path, origin=ORIGIN).close()
    with backstory.open(path, sealer="none") as archive:
        yield archive


class Hostile:
    """An output that raises something of its own, with a value in its words, when it is looked at."""

    def __len__(self) -> int:
        """Raise, with a value in its words."""
        raise RuntimeError("Jane Doe")


@pytest.fixture(scope="module")
def tuned(archive: Archive):
    """A model whose method takes more than features, registered and as it is."""
    import lightgbm

    x = pd.DataFrame({"x": np.arange(40.0)})
    booster = lightgbm.train(
        {"verbose": -1, "min_data_in_leaf": 1, "num_threads": 1}, lightgbm.Dataset(x, [0.0, 1.0] * 20), 5
    )
    return archive.register(booster, name="boosted"), booster


# --- outputs ----------------------------------------------------------------------------------------------------------

OUTPUTS = {
    "more than 64 bits": [2**70, 1],
    "half a surrogate pair": ["\ud800", "a"],
    "several types": [1, "Jane Doe"],
    "no order": {1, 2},
    "no order, frozen": frozenset({1, 2}),
    "three dimensions": np.zeros((2, 2, 2)),
    "raises": Hostile(),
}


@pytest.mark.parametrize("what", OUTPUTS)
def test_an_output_that_cannot_be_recorded_is_a_failed_call(what: str, archive: Archive):
    """The call is recorded as failed, and the error has no value of it, nor has what is printed with it."""
    version = archive.register(lambda _: OUTPUTS[what], name=f"odd_{list(OUTPUTS).index(what)}")
    with pytest.raises(ModelError) as caught:
        archive.predict(version, TABLE, method="__call__", request_id=what)
    assert "Jane Doe" not in "".join(traceback.format_exception(caught.value))
    archive.flush()
    found = archive.search("request_id = ?", [what])
    assert found["status"].tolist() == ["error", "error"]
    assert found["error"].tolist() == ["ModelError", "ModelError"]


@pytest.mark.parametrize(
    "subject", [["Jane Doe", 3], pd.Series(["Jane Doe", 3]), [1.5, 2.5], pd.Series([b"Jane Doe"] * 2)], ids=repr
)
def test_what_is_printed_with_refused_subjects_names_nobody(subject: Any, archive: Archive):
    """The error of subjects of a wrong type is raised before the model runs, without them."""
    ran = []
    version = archive.register(lambda _: ran.append(1), name="never_run")
    with pytest.raises(InputError) as caught:
        archive.predict(version, TABLE, method="__call__", subject=subject)
    assert "Jane" not in "".join(traceback.format_exception(caught.value))
    assert not ran


@pytest.mark.parametrize(
    "value",
    [np.array(1.0), 2**70, "\ud800", pd.NaT, decimal.Decimal("NaN"), [1, "a"]],
    ids=lambda value: type(value).__name__,
)
def test_an_outcome_may_be_what_a_feature_may_be(value: Any, archive: Archive):
    """What has no column of its own is recorded as a feature of that kind is."""
    with archive.prediction() as prediction:
        prediction.features({"x": value})
        prediction.output(1.0)
    archive.outcome(prediction.id, value)
    archive.flush()
    story = archive.why(prediction.id)
    assert [outcome["value"] for outcome in story.outcomes] == [story.features["x"]]


def test_an_outcome_by_names_is_refused(archive: Archive):
    """Also where its values have no encoding."""
    with archive.prediction() as prediction:
        prediction.output(1.0)
    archive.flush()
    with pytest.raises(ColumnError, match="one outcome for each"):
        archive.outcome(prediction.id, {"a": 2**70})


# --- ids --------------------------------------------------------------------------------------------------------------

GIVEN = [4711, np.int64(4711), uuid.UUID(int=4711), "4711"]


def _by_hand(archive: Archive, subject: Any, request_id: Any) -> None:
    with archive.prediction(subject=subject, request_id=request_id) as prediction:
        prediction.features({"x": 1.0})
        prediction.output(1.0)


def _predicted(archive: Archive, subject: Any, request_id: Any) -> None:
    version = archive.register(lambda table: np.zeros(len(table)), name="zero")
    archive.predict(version, TABLE.head(1), method="__call__", subject=subject, request_id=request_id)


WAYS = {"by hand": _by_hand, "predicted": _predicted}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", GIVEN, ids=lambda given: type(given).__name__)
def test_ids_are_text_by_every_way_in(way: str, given: Any, tmp_path: Path):
    """Subject and request id may be text, a whole number or a UUID, wherever they are said."""
    path = tmp_path / "archive"
    backstory.init(path, origin=ORIGIN).close()
    with backstory.open(path, sealer="none") as archive:
        WAYS[way](archive, given, given)
        archive.flush()
        (name,) = archive.search("true")["id"]
        found = find_record(archive._ledger, name, "prediction")
        row = open_rows(archive._ledger, found.place.manifest, 0, found.table).to_pylist()[0]
        assert (row["subject"], found.table["request_id"][0].as_py()) == (str(given), str(given))


@pytest.mark.parametrize("name", ["subject", "request_id"])
@pytest.mark.parametrize("given", [True, 1.5, b"a", "\ud800"], ids=repr)
def test_what_is_no_id_is_refused_at_the_beginning(name: str, given: Any, archive: Archive):
    """Before the block is entered and before the model runs."""
    with pytest.raises(InputError):
        archive.prediction(**{name: given})
    ran = []
    version = archive.register(lambda _: ran.append(1), name="never_run")
    with pytest.raises(InputError):
        archive.predict(version, TABLE, method="__call__", **{name: given})
    assert not ran


def test_a_block_is_entered_once(archive: Archive):
    """A prediction entered again, inside or after its block, is a conflict."""
    with archive.prediction() as prediction:
        prediction.output(1.0)
        with pytest.raises(ConflictError):
            prediction.__enter__()
    with pytest.raises(ConflictError), prediction:
        pass


# --- options ----------------------------------------------------------------------------------------------------------


def test_what_else_a_method_is_given_is_recorded_and_replayed(archive: Archive, tuned: Any):
    """By keyword or by position it reaches the model and the context, and a replay gives it again."""
    version, booster = tuned
    x = pd.DataFrame({"x": [1.0]})
    expected = booster.predict(x, num_iteration=1)
    assert expected != booster.predict(x)
    outputs = [
        version.predict(x, num_iteration=1),
        version.predict(data=x, num_iteration=1),
        version.predict(x, 0, 1),
        archive.predict(version, x, options={"num_iteration": 1}).output,
    ]
    assert outputs == [expected] * 4
    archive.flush()
    latest = archive.search("true")["id"].tolist()[-4:]
    assert [archive.replay(name).verdict for name in latest] == ["exact"] * 4


def test_an_option_that_is_not_kept_cannot_be_replayed(archive: Archive, tuned: Any):
    """Of other values than numbers and texts the context has the type, and a replay says so."""
    version, _ = tuned
    made = archive.predict(version, pd.DataFrame({"x": [1.0]}), options={"validate_features": np.bool_(0)})
    archive.flush()
    again = archive.replay(made.ids[0])
    assert (again.verdict, "validate_features" in again.reason) == ("not-replayable", True)


def test_a_method_that_nothing_records_is_not_there(archive: Archive):
    """A version has the model's attributes and the methods that are recorded; others are the estimator's."""
    from sklearn.linear_model import LogisticRegression

    version = archive.register(LogisticRegression().fit(TABLE, [0, 1]), name="logistic")
    assert version.classes_.tolist() == [0, 1]
    assert version.predict(X=TABLE).tolist() == [0, 1]
    assert version.predict_proba(X=TABLE).shape == (2, 2)
    assert not hasattr(version, "score")
    with pytest.raises(AttributeError, match=r"estimator\.score"):
        version.score(TABLE, [0, 1])
    assert version.estimator.score(TABLE, [0, 1]) == 1.0
    with pytest.raises(TypeError, match="'X'"):
        version.predict()
