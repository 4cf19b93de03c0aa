"""Runs and the history of models: what was trained and tried on what, and what became of each version."""

from __future__ import annotations

from enum import IntEnum, StrEnum

import numpy as np
import pytest
from tests.support.archives import ORIGIN, fitted, loans

import backstory
from backstory.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from backstory.lineage.runs import parameter_text


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An archive with two versions of a model, a training, an evaluation, and a run that failed."""
    with backstory.init(tmp_path_factory.mktemp("runs") / "audit", origin=ORIGIN) as archive:
        frame = archive.source(loans(), "loans", key="loan")
        features, rows = archive.split(frame, ["amount", "years"])
        first = archive.register(fitted(loans(20)), name="credit", rows=rows[:20], target=frame["paid"][:20])
        with archive.runs.start("training", {"solver": "lbfgs", "depth": 6, "warm": True, "rate": 0.1}) as run:
            run.rows(train=rows[:30], test=frame[30:])
            second = archive.register(
                fitted(loans(30)), name="credit", rows=rows[:30], parents=first, alias="production"
            )
            run.makes(second)
        with archive.runs.start("evaluation") as run:
            run.uses(second)
            run.rows(test=rows[30:])
            run.metrics(accuracy=second.estimator.score(features[30:], loans()["paid"][30:]))
        with pytest.raises(ZeroDivisionError), archive.runs.start("training") as run:
            1 / 0  # noqa: B018
        yield archive


def test_a_run_says_what_it_was_told_and_did(trained):
    """Parameters as texts, rows by role, what it made."""
    run = trained.runs.find("training")[0]
    assert run.parameters == {"solver": "lbfgs", "depth": "6", "warm": "True", "rate": "0.1"}
    assert (run.rows, run.makes, run.uses, run.error) == ({"train": 30, "test": 10}, ("credit:2",), (), None)
    assert run.began <= run.ended


def test_a_run_knows_its_code_and_environment(trained):
    """As a model version does."""
    document = trained.runs.find("training")[0].document
    assert {"commit", "entry_point"} <= set(document["code"])
    assert len(document["environment"]) == 64


def test_an_evaluation_is_a_run_that_uses_a_version(trained):
    """With its metrics."""
    (run,) = trained.runs.find("evaluation")
    assert run.uses == ("credit:2",)
    assert 0 <= run.metrics["accuracy"] <= 1


def test_a_run_that_failed_is_recorded(trained):
    """By the class of its exception; the message could hold a value."""
    assert trained.runs.find("training")[1].error == "ZeroDivisionError"


def test_a_run_is_found_by_name_and_digest(trained):
    """The latest of a name."""
    runs = trained.runs.find("training")
    assert trained.runs.show("training") == runs[1]
    assert trained.runs.show(runs[0].digest[:8]) == runs[0]


def test_an_unknown_run_is_not_found(trained):
    """And those there are are named."""
    with pytest.raises(NotFoundError, match="training"):
        trained.runs.find("trainnig")
    with pytest.raises(NotFoundError):
        trained.runs.show("nothing")


def test_a_history_has_parents_runs_and_evaluations(trained):
    """What a version came from, what made it, what tried it."""
    first, second = trained.runs.history("credit").versions
    assert (first.parents, second.parents) == ((), ("credit:1",))
    assert ([run.name for run in second.made_by], [run.name for run in second.used_by]) == (
        ["training"],
        ["evaluation"],
    )
    assert list(second.aliases) == ["production"]


def test_a_history_reads(trained):
    """One line for each thing that happened to a version."""
    text = str(trained.runs.history("credit:2"))
    assert "credit has 1 version" in text
    assert all(word in text for word in ("registered", "from credit:1", "made by", "accuracy"))


def test_a_run_that_has_ended_stays_as_it_is(trained):
    """It is in the log."""
    run = trained.runs.start("short")
    run.end()
    with pytest.raises(ConflictError):
        run.metrics(late=1.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float64(0.1), "0.1"), (np.float32(0.5), "0.5"), (np.int64(3), "3"), (np.bool_(True), "True"),
        (IntEnum("Kind", "one").one, "1"), (StrEnum("Kind", {"one": "a"}).one, "a"), (None, "None"),
    ],
)  # fmt: skip
def test_a_parameter_is_its_value(value, text):
    """Whatever library it is of."""
    assert parameter_text("depth", value) == text


@pytest.mark.parametrize("parameters", [{"a": "\ud800"}, {"\ud800": 1}, {1: 1}, {"a": 10**5000}])
def test_what_cannot_be_recorded_is_refused_at_once(trained, parameters):
    """A run that has ended is not lost for it."""
    with pytest.raises(InputError, match="run"):
        trained.runs.start("training", parameters)


def test_a_metric_too_large_is_refused(trained):
    """As any other that is no number."""
    with pytest.raises(InputError, match="rows"):
        trained.runs.start("training").metrics(rows=10**400)


@pytest.mark.parametrize("value", [[1], {"a": 1}, object()])
def test_a_parameter_is_a_plain_value(trained, value):
    """Anything else would have to be guessed."""
    with pytest.raises(InputError, match="depth"):
        trained.runs.start("training", {"depth": value})


def test_a_metric_is_a_number(trained):
    """Of any library, but a number."""
    run = trained.runs.start("training")
    with pytest.raises(InputError, match="rmse"):
        run.metrics(rmse="low")


def test_runs_verify(trained):
    """The audit finds all that they refer to."""
    trained.flush()
    report = trained.verify(workers=1)
    assert not report.findings


def test_a_reader_starts_no_run(trained):
    """An archive open for reading records nothing."""
    with backstory.open(trained.path, mode="r") as reader, pytest.raises(ForbiddenError):
        reader.runs.start("training")
