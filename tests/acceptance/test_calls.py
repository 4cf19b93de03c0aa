"""Calls that fail, calls of functions, outcomes, aliases and versions."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.archives import ORIGIN, fitted, loans

import backstory
from backstory.archive import Archive
from backstory.errors import ColumnError, InputError, NotFoundError, QueryError
from backstory.ledger.log import LogReader


class _OurError(RuntimeError):
    """An error only this model raises."""


def _only(archive: Archive) -> Any:
    """Return the story of the only prediction there is."""
    archive.flush()  # what was recorded alone waits a moment
    found = archive.search("true")
    assert len(found) == 1
    return archive.why(found["id"][0])


# --- failed calls -----------------------------------------------------------------------------------------------------


def test_a_failed_prediction_is_recorded_and_its_error_raised_unchanged(archive: Archive):
    """The caller gets the very object the model raised; the record has its class and not its message."""
    error = _OurError("loan 4711 is broken")

    def score(_: Any) -> Any:
        raise error

    version = archive.register(score, name="failing")
    with pytest.raises(_OurError) as caught:
        archive.predict(version, loans()[["amount"]].head(1), method="__call__")
    assert caught.value is error
    story = _only(archive)
    assert (story.status, story.error, story.output) == ("error", "_OurError", None)
    assert story.features == {"amount": 0.0}
    assert "4711" not in str(story.to_dict() if hasattr(story, "to_dict") else story)


def test_a_failed_batch_is_recorded_row_by_row(archive: Archive):
    """Each row of a failed call is a failed prediction."""
    version = archive.register(fitted(loans()), name="credit")
    with pytest.raises(ValueError, match="NaN"):
        archive.predict(version, pd.DataFrame({"amount": [1.0, np.nan], "years": [1.0, 2.0]}))
    assert archive.search("true")["status"].tolist() == ["error", "error"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_call_is_recorded(stop: type[BaseException], archive: Archive):
    """Even what is no `Exception`."""

    @archive.traced
    def score(x: float) -> float:
        raise stop

    with pytest.raises(stop):
        score(1.0)
    assert _only(archive).error == stop.__name__


def test_failed_calls_of_functions_raise_the_same_object(archive: Archive):
    """Traced functions too, sync and async."""
    error = _OurError()

    @archive.traced
    def score(x: float) -> float:
        raise error

    @archive.traced
    async def later(x: float) -> float:
        raise error

    with pytest.raises(_OurError) as caught:
        score(1.0)
    assert caught.value is error
    with pytest.raises(_OurError) as caught:
        asyncio.run(later(1.0))
    assert caught.value is error
    assert archive.search("true")["error"].tolist() == ["_OurError"] * 2


# --- functions --------------------------------------------------------------------------------------------------------


def test_a_traced_function_returns_its_own_value(archive: Archive):
    """The same object, whatever is recorded of it."""
    given = {"score": 0.5}

    @archive.traced
    def score(application: dict[str, Any]) -> dict[str, float]:
        return given

    assert score({"amount": 12.5, "name": "x"}) is given
    story = _only(archive)
    assert story.features == {"amount": 12.5, "name": "x"}
    assert story.output == {"score": 0.5}


def test_an_async_function_is_recorded(archive: Archive):
    """Awaited once, with its arguments by name and its result."""

    @archive.traced
    async def score(amount: float, years: int = 3) -> float:
        await asyncio.sleep(0)
        return amount * years

    assert asyncio.run(score(2.0)) == 6.0
    story = _only(archive)
    assert story.features == {"amount": 2.0, "years": 3}
    assert story.output == 6.0
    assert story.method.endswith("score")


def test_concurrent_async_calls_keep_their_own_arguments(archive: Archive):
    """Interleaved calls are not mixed up."""

    @archive.traced
    async def double(x: float) -> float:
        await asyncio.sleep(0)
        return x * 2

    async def all_of_them() -> list[float]:
        return await asyncio.gather(*(double(float(number)) for number in range(20)))

    assert asyncio.run(all_of_them()) == [number * 2.0 for number in range(20)]
    archive.flush()
    found = archive.search("true")
    assert (found["output"] == found["feature.x"] * 2).all()


def test_none_arguments_are_null(archive: Archive):
    """Before any value of the argument was seen, and after."""

    @archive.traced
    def score(name: str | None, x: float | None) -> float | None:
        return x

    score(None, None)
    score("a", 1.0)
    score(None, None)
    archive.flush()
    stories = [archive.why(name) for name in archive.search("true")["id"]]
    seen = sorted((str(story.features["name"]), story.features["x"], story.output) for story in stories)
    assert seen == [("None", None, None), ("None", None, None), ("a", 1.0, 1.0)]


@dataclasses.dataclass
class _Application:
    amount: float
    tags: list[str]
    more: dict[str, Any]


def test_nested_arguments_are_recorded_by_value(archive: Archive):
    """Dicts, lists and dataclasses within arguments."""

    @archive.traced
    def score(application: _Application, limits: tuple[int, ...]) -> str:
        return "yes"

    assert score(_Application(1.5, ["a", "b"], {"k": None, "n": 1}), (1, 2)) == "yes"
    story = _only(archive)
    expected = {"amount": 1.5, "tags": ["a", "b"], "more": {"k": None, "n": 1}}
    assert json.loads(story.features["application"]) == expected
    assert story.features["limits"] == [1, 2]


def test_an_argument_without_encoding_is_recorded_by_its_type(archive: Archive):
    """A database connection is not a feature; the call is recorded all the same."""

    @archive.traced
    def score(x: float, connection: object) -> float:
        return x

    score(1.0, object())
    assert _only(archive).features == {"x": 1.0, "connection": "<builtins.object>"}


def test_a_traced_method_does_not_record_self(archive: Archive):
    """The arguments are what the caller gave."""

    class Scorer:
        @archive.traced
        def score(self, x: float) -> float:
            return x

    assert Scorer().score(2.0) == 2.0
    assert _only(archive).features == {"x": 2.0}


def test_a_traced_table_is_many_predictions(archive: Archive):
    """One record a row of the table."""

    @archive.traced
    def score(frame: pd.DataFrame) -> np.ndarray:
        return frame["amount"].to_numpy()

    score(loans()[["amount", "years"]])
    assert len(archive.search("true")) == 40


def test_a_traced_function_names_its_model(archive: Archive):
    """The version it stands for is in the story."""
    version = archive.register(fitted(loans()), name="credit")

    @archive.traced(model=version)
    def score(amount: float) -> float:
        return amount

    score(1.0)
    assert _only(archive).model["digest"] == version.digest


# --- outcomes and decisions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before sealing", "after sealing"])
def test_outcomes_show_in_the_story(when: str, archive: Archive):
    """What turned out later stands beside the prediction, oldest first; the prediction stays as it was."""
    version = archive.register(fitted(loans()), name="credit")
    ids = archive.predict(version, loans()[["amount", "years"]]).ids
    if when == "after sealing":
        archive.flush()
    archive.outcome(ids[3], 0)
    archive.outcome(ids[3][:36], 1)
    if when == "after sealing":
        archive.flush()
    assert [outcome["value"] for outcome in archive.why(ids[3]).outcomes] == [0, 1]
    assert archive.why(ids[4]).outcomes == ()
    assert len(archive.search("true")) == 40


@pytest.mark.parametrize("value", [1, 2.5, "paid", True, None, [1, 2]])
def test_an_outcome_may_be_any_value(value: Any, archive: Archive):
    """Numbers, text, lists."""
    version = archive.register(fitted(loans()), name="credit")
    name = archive.predict(version, loans()[["amount", "years"]].head(1)).ids[0]
    archive.outcome(name, value)
    archive.flush()
    assert [outcome["value"] for outcome in archive.why(name).outcomes] == [value]


def test_outcomes_of_many_predictions_are_one_call(archive: Archive):
    """Of people and of others, sealed and not yet, in any order: each prediction has its own, and only that."""
    version = archive.register(fitted(loans()), name="credit")
    features = loans()[["amount", "years"]]
    sealed = archive.predict(version, features.head(5)).ids
    archive.flush()
    people = archive.predict(version, features.head(5), subject=[f"p{row}" for row in range(5)]).ids
    names = [*people[::-1], *sealed]
    made = archive.outcome(names, np.arange(10))
    assert len(set(made)) == 10
    with backstory.open(archive.path, actor="auditor", purpose="test") as asking:
        shown = {name: [outcome["value"] for outcome in asking.why(name).outcomes] for name in names}
    assert shown == {name: [number] for number, name in enumerate(names)}


@pytest.mark.parametrize("sealed", [False, True])
def test_outcomes_of_predictions_that_are_not_there_are_refused_whole(sealed: bool, archive: Archive):
    """One id that no prediction has, or a value too few: nothing of the call is recorded."""
    version = archive.register(fitted(loans()), name="credit")
    ids = archive.predict(version, loans()[["amount", "years"]].head(3)).ids
    if sealed:
        archive.flush()
    with pytest.raises(NotFoundError, match="1 of 4 ids"):
        archive.outcome([*ids, "0" * 32], [1, 2, 3, 4])
    with pytest.raises(QueryError):
        archive.outcome([ids[0], ids[1][:8]], [1, 2])
    with pytest.raises(InputError, match="3 predictions, got 2"):
        archive.outcome(ids, [1, 2])
    with pytest.raises(ColumnError, match="one type"):
        archive.outcome(ids, [1, "x", 2])
    assert [archive.why(name).outcomes for name in ids] == [(), (), ()]


def test_an_outcome_of_several_named_values_is_refused(archive: Archive):
    """An outcome has one value; nothing of the refused one is recorded."""
    version = archive.register(fitted(loans()), name="credit")
    name = archive.predict(version, loans()[["amount", "years"]].head(1)).ids[0]
    with pytest.raises(ColumnError, match="dict"):
        archive.outcome(name, {"days": 3, "paid": False})
    assert archive.why(name).outcomes == ()


def test_a_decision_is_recorded_with_its_rule(archive: Archive):
    """Output, decision and threshold are one record."""
    version = archive.register(fitted(loans()), name="credit")
    preds = archive.predict(
        version, loans()[["amount", "years"]], method="predict_proba", decision=backstory.Threshold(0.6)
    )
    story = archive.why(preds.ids[0])
    assert story.decision == bool(preds.output[0, 1] >= 0.6)
    assert story.context["decision"]["value"] == "0.6"


# --- versions and aliases ---------------------------------------------------------------------------------------------


def test_an_alias_moves_and_its_old_meaning_stays_in_the_log(archive: Archive):
    """Predictions made under the old meaning keep their version."""
    one = archive.register(fitted(loans()), name="credit", alias="production")
    name = archive.predict("credit@production", loans()[["amount", "years"]].head(1)).ids[0]
    two = archive.register(fitted(loans(30)), name="credit")
    assert archive.model("credit@production").digest == one.digest
    archive.alias(two, "production")
    assert archive.model("credit@production").digest == two.digest
    assert archive.why(name).model["digest"] == one.digest
    log = LogReader(archive._ledger.layout, None)
    aliased = [entry for _, entry in log.entries(0, log.checkpoint().size) if entry["type"] == "model.aliased"]
    assert [entry["model"] for entry in aliased] == [one.digest, two.digest]


def test_the_same_thing_registered_twice_is_one_version(archive: Archive):
    """Also when it was trained again."""
    frame = archive.source(loans(), "loans")
    _, rows = archive.split(frame, ["amount", "years"])
    versions = [
        archive.register(fitted(loans()), name="credit", rows=rows, target=loans()["paid"], metrics={"auc": 0.5})
        for _ in range(2)
    ]
    assert [(version.version, version.digest) for version in versions] == [(1, versions[0].digest)] * 2


def test_the_same_thing_registered_in_a_new_session_is_one_version(kept: tuple[Path, tuple[str, ...], str]):
    """Equal content is recognised across sessions."""
    path, _, _ = kept
    versions = []
    for _ in range(2):
        with backstory.open(path) as archive:
            _, rows = archive.split(archive.source(loans(), "loans", key="loan"), ["amount", "years"])
            versions.append(archive.register(fitted(loans()), name="other", rows=rows, target=loans()["paid"]))
    assert versions[0].digest == versions[1].digest
    assert versions[1].version == 1


def _change(archive: Archive, rows: Any, what: str) -> Any:
    """Register the same model with one thing changed."""
    from sklearn.linear_model import LogisticRegression

    table = loans()
    features, target = table[["amount", "years"]], table["paid"]
    strength = 2.0 if what == "hyperparameter" else 1.0
    return archive.register(
        LogisticRegression(C=strength).fit(features, target),
        name="credit",
        rows=rows[np.arange(40)[::-1]] if what == "order of rows" else rows[:39] if what == "rows" else rows,
        target=(1 - target if what == "target" else target)[: 39 if what == "rows" else 40],
        metrics={"auc": 0.75 if what == "metrics" else 0.5},
    )


@pytest.mark.parametrize("what", ["hyperparameter", "order of rows", "rows", "target", "metrics"])
def test_any_change_is_a_new_version(what: str, archive: Archive):
    """A version says exactly what it was made of."""
    frame = archive.source(loans(), "loans")
    _, rows = archive.split(frame, ["amount", "years"])
    assert _change(archive, rows, "nothing").version == 1
    assert _change(archive, rows, what).version == 2


def test_versions_are_found_by_every_name(tmp_path: Path):
    """Name, number, alias and digest lead to the same version."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        one = archive.register(fitted(loans()), name="credit", alias="production")
        two = archive.register(fitted(loans(30)), name="credit")
        assert archive.model("credit").digest == two.digest
        assert {archive.model(spec).digest for spec in ("credit:1", "credit@production", one.digest[:10])} == {
            one.digest
        }
