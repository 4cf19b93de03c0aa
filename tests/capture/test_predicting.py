"""Predicting with a model: odd outputs, ids of every kind, what else a method is given."""

from __future__ import annotations

import decimal
import json
import traceback
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction import DictVectorizer
from tests.support.archives import ORIGIN, files_of, readable_content

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


NAMED = [{"anna@example.org": 0.7}]
PLAIN = [{"score": 0.7, "label": "good"}]


@pytest.mark.parametrize("way", ["predicted", "around", "traced"])
def test_names_in_an_output_about_a_person_are_sealed(way: str, tmp_path: Path):
    """A dict whose names are no identifiers is one value, which a replay compares; an ordinary one stays columns."""
    path = tmp_path / "audit"
    backstory.init(path, origin=ORIGIN).close()
    with backstory.open(path, actor="auditor", purpose="test", sealer="none") as archive:
        ids = []
        for name, output in {"named": NAMED, "plain": PLAIN}.items():
            version = archive.register(lambda _, output=output: output, name=name)
            if way == "predicted":
                made = archive.predict(version, TABLE.head(1), method="__call__", subject="anna")
                ids.append(made.ids[0])
            elif way == "around":
                with archive.prediction(subject="anna") as prediction:
                    version(TABLE.head(1))
                ids.append(prediction.id)
            else:
                archive.traced(lambda who, output=output: output[0] if who else None, subject="who")("anna")
        archive.flush()
        ids = ids or archive.search("true")["id"].tolist()
        assert [archive.why(name).output for name in ids] == [json.dumps(NAMED[0]), PLAIN[0]]
        assert way == "traced" or archive.replay(ids[1]).verdict == "not-replayable"
    clear = [file for file in files_of(path) if file.relative_to(path).parts[0] not in {"vault", "keys"}]
    assert not any(b"anna@example.org" in readable_content(file) for file in clear)


def test_an_output_recorded_as_one_value_is_replayed_as_one(tmp_path: Path):
    """Also of many rows, about several people; those about nobody are columns."""
    path = tmp_path / "audit"
    backstory.init(path, origin=ORIGIN).close()
    with backstory.open(path, actor="auditor", purpose="test", sealer="none") as archive:
        rows = [{"town": "Ulm"}, {"town": "Bonn"}]
        model = DictVectorizer(sparse=False).fit(rows)
        version = archive.register(
            model, name="back", trusted="sklearn.feature_extraction._dict_vectorizer.DictVectorizer"
        )
        given = {"features": model.transform(rows), "method": "inverse_transform"}
        about, nobody = (archive.predict(version, subject=subject, **given).ids for subject in (["a", "b"], None))
        archive.flush()
        assert [archive.why(name).output for name in about] == ['{"town=Ulm": 1.0}', '{"town=Bonn": 1.0}']
        assert archive.why(nobody[0]).output == {"town=Bonn": None, "town=Ulm": 1.0}
        assert [archive.replay(name).verdict for name in (*about, *nobody)] == ["exact"] * 4


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


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("make", [list, np.array, pd.Series], ids=lambda make: make.__name__)
def test_request_ids_may_be_one_a_row(rows: int, make: Any, archive: Archive):
    """As subjects may; a whole number or a UUID is text there too, and a missing one is none."""
    version = archive.register(lambda table: np.zeros(len(table)), name="zero")
    given = [f"{make.__name__}-{rows}-{row}" for row in range(rows)]
    made = archive.predict(version, TABLE.head(rows), method="__call__", request_id=make(given))
    archive.flush()
    assert [archive.why(name).request_id for name in made.ids] == given
    found = archive.reconcile(requests=given)
    assert found.missing == ()


@pytest.mark.parametrize(("given", "expected"), [([7, 8], ["7", "8"]), (["a", None], ["a", None]), ([None], [None])])
def test_request_ids_of_rows_are_text_or_none(given: list[Any], expected: list[Any], archive: Archive):
    """Whole numbers become text; a row may have none."""
    version = archive.register(lambda table: np.zeros(len(table)), name="zero")
    made = archive.predict(version, TABLE.head(len(given)), method="__call__", request_id=given)
    archive.flush()
    assert [archive.why(name).request_id for name in made.ids] == expected


@pytest.mark.parametrize("given", [["a"], ["a", "b", "c"], ["a", "r" * 257], [1.5, 2.5], {"a": 1, "b": 2}, {"a", "b"}])
def test_request_ids_of_another_number_or_kind_are_refused(given: Any, archive: Archive):
    """Before the model runs."""
    ran = []
    version = archive.register(lambda _: ran.append(1), name="never_run")
    with pytest.raises(InputError, match="request id"):
        archive.predict(version, TABLE, method="__call__", request_id=given)
    assert not ran


@pytest.mark.parametrize("subject", ["x", "customer"])
@pytest.mark.parametrize("container", ["features", "rows", "frame", "records"])
def test_the_name_of_a_column_is_no_subject(container: str, subject: str, archive: Archive):
    """Not of the features and not of their source: the error says to pass the column itself."""
    version = archive.register(lambda table: np.zeros(len(table)), name="zero")
    frame = archive.source(TABLE.assign(customer=["a", "b"]), "customers")
    features, rows = archive.split(frame, "x")
    given: dict[str, Any] = {
        "features": {"features": TABLE.assign(customer=[1, 2])},
        "rows": {"features": features, "rows": rows},
        "frame": {"features": frame},
        "records": {"features": [{"x": 1.0, "customer": 1}]},
    }
    with pytest.raises(InputError, match=f"pass the column: frame\\['{subject}'\\]"):
        archive.predict(version, method="__call__", subject=subject, **given[container])
    assert len(archive.predict(version, method="__call__", subject="anna", **given[container]))


def test_columns_of_an_array_have_no_names(archive: Archive):
    """A person may be called `1` where features are numbered."""
    version = archive.register(lambda table: np.zeros(len(table)), name="zero")
    assert len(archive.predict(version, np.ones((2, 2)), method="__call__", subject="1"))


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


def _options(archive: Archive, name: str) -> Any:
    return archive.why(name).context.get("options")


def test_texts_of_a_call_about_a_person_are_not_in_its_context(archive: Archive):
    """The context is in clear: of a text it has the type, and a replay says that it was not kept."""
    version = archive.register(lambda table, **_: np.zeros(len(table)), name="with_options")
    given = {"customer": "ANNA-MUSTER-1980", "count": 3}
    about, nobody = (
        archive.predict(version, TABLE.head(1), method="__call__", subject=subject, options=given).ids[0]
        for subject in ("anna", None)
    )
    archive.flush()
    assert _options(archive, about) == {"customer": {"type": "str"}, "count": 3}
    assert _options(archive, nobody) == given


@pytest.mark.parametrize("make", [float, str, int], ids=lambda make: make.__name__)
def test_an_option_that_varies_makes_no_context_of_every_call(make: Any, archive: Archive):
    """After 8 values of an option the context keeps its type, and says why; the first 8 stay as they are."""
    version = archive.register(lambda table, **_: np.zeros(len(table)), name=f"varying_{make.__name__}")
    ids = [
        archive.predict(version, TABLE.head(1), method="__call__", options={"given": make(value), "fast": True}).ids[0]
        for value in (*range(30), 3)
    ]
    archive.flush()
    said = [_options(archive, name)["given"] for name in ids]
    first = [{"float": repr(float(value))} if make is float else make(value) for value in range(8)]
    assert said == [*first, *[{"type": make.__name__, "varies": True}] * 22, first[3]]
    assert {_options(archive, name)["fast"] for name in ids} == {True}


def test_an_option_that_varied_cannot_be_replayed(archive: Archive, tuned: Any):
    """The reason says that it varied."""
    version, _ = tuned
    x = pd.DataFrame({"x": [1.0]})
    ids = [archive.predict(version, x, options={"start_iteration": number}).ids[0] for number in range(-9, 0)]
    archive.flush()
    assert archive.replay(ids[0]).verdict == "exact"
    assert "varied from call to call" in archive.replay(ids[8]).reason


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
