"""Bisecting recorded predictions: over model versions, of which some cannot be replayed; going on where it stopped."""

from __future__ import annotations

import functools
import json

import numpy as np
import pyarrow as pa
import pytest
from sklearn.dummy import DummyRegressor

import backstory
from backstory.archive import Archive
from backstory.debug import levers
from backstory.debug.bisect import Bisection, Change
from backstory.debug.bisection import Dimension
from backstory.errors import NotFoundError, QueryError

X = np.arange(8.0).reshape(4, 2)
VERSIONS = 64
FIRST_BAD = 41


def _no_artifact(number, features):
    return np.full(len(features), float(number))


def _version(number: int) -> DummyRegressor:
    constant = 10.0 if number < FIRST_BAD else 90.0
    return DummyRegressor(strategy="constant", constant=constant + number / 1000).fit(X, X[:, 0])


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> tuple[Archive, list[str]]:
    """Make 64 versions of `delay`, turning at 41, and `patchy`, of which a third have no artifact."""
    with backstory.init(tmp_path_factory.mktemp("bisect") / "a", origin="example.org/bisect") as archive:
        for number in range(1, VERSIONS + 1):
            archive.register(_version(number), name="delay", metrics={"number": number})
        for number in range(1, 14):
            hidden = number % 3 == 2
            model = functools.partial(_no_artifact, number) if hidden else _version(number + 33)
            archive.register(model, name="patchy", metrics={"number": number})
        ids = [*archive.predict("delay", X, decision=backstory.Threshold(50)).wait("sealed").ids]
        ids += [*archive.predict("patchy", X).wait("sealed").ids]
        yield archive, ids


def test_the_version_that_flipped_it_is_found_in_seven_replays(kept):
    """The bad end is what was recorded, so one end and six versions between are replayed."""
    archive, ids = kept
    answer = archive.bisect(ids[0], models=("delay:1", "delay:64"))
    ((change,),) = answer.causes
    assert (change.good, change.bad, change.untried) == ("delay:40", "delay:41", ())
    assert answer.replays <= 7
    assert [note for at, _, note in answer.trials if at == ("delay:64",)] == ["output 90.064, decision True"]


def test_a_figure_over_a_sample_is_bisected_too(kept):
    """What is good is then a condition with an aggregate."""
    archive, ids = kept
    answer = archive.bisect(ids[:4], models=("delay:1", "delay:64"), good="avg(decision::int) < 0.5")
    assert answer.causes[0][0].bad == "delay:41"
    assert answer.predictions == 4


def test_the_good_end_may_be_the_newer_one(kept):
    """Then the versions are tried in falling order."""
    archive, ids = kept
    answer = archive.bisect(ids[0], models=("delay:64", "delay:1"), good=lambda outputs: outputs["decision"][0].as_py())
    assert (answer.causes[0][0].good, answer.causes[0][0].bad) == ("delay:41", "delay:40")


def test_versions_that_cannot_be_replayed_are_passed_over_and_named(kept):
    """The flip lies between what could be tried, and what lies between is said."""
    archive, ids = kept
    answer = archive.bisect(ids[4], models=("patchy:1", "patchy:13"))
    ((change,),) = answer.causes
    assert (change.good, change.bad, change.untried) == ("patchy:7", "patchy:9", ("patchy:8",))
    assert ("skip", "patchy:8: it has no stored artifact") in [(outcome, note) for _, outcome, note in answer.trials]
    assert "1 value between could not be tried" in str(answer)


def test_a_search_that_was_stopped_goes_on(kept, tmp_path):
    """Trials are kept as they are made; a second run replays none of them again."""
    archive, ids = kept
    state = tmp_path / "bisect.json"
    stopped_after = 4

    def stop(_: str) -> None:
        if state.exists() and len(json.loads(state.read_text())["trials"]) >= stopped_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive.bisect(ids[0], models=("delay:1", "delay:64"), good="output < 50", state=state, say=stop)
    before = len(json.loads(state.read_text())["trials"])
    answer = archive.bisect(ids[0], models=("delay:1", "delay:64"), good="output < 50", state=state)
    assert answer.causes[0][0].bad == "delay:41"
    assert answer.replays <= 7 - before + 1


def test_trials_of_another_question_are_refused(kept, tmp_path):
    """They would be answers to something else."""
    archive, ids = kept
    state = tmp_path / "bisect.json"
    archive.bisect(ids[0], models=("delay:39", "delay:42"), good="output < 50", state=state)
    with pytest.raises(QueryError, match="another"):
        archive.bisect(ids[0], models=("delay:39", "delay:42"), good="output < 60", state=state)


def test_trials_of_a_function_are_not_kept(kept, tmp_path):
    """Of two functions nobody could tell whose answers the file has."""
    archive, ids = kept
    with pytest.raises(QueryError, match="functions cannot be told"):
        archive.bisect(ids[0], models=("delay:39", "delay:42"), good=lambda _: True, state=tmp_path / "bisect.json")


def test_trials_of_other_steps_are_refused(kept, tmp_path):
    """Code that prepares otherwise gives other answers."""
    archive, ids = kept
    asked = {"models": ("delay:39", "delay:42"), "good": "output < 50", "state": tmp_path / "bisect.json"}
    archive.bisect(ids[0], **asked, steps=lambda rows: rows)
    with pytest.raises(QueryError, match="another"):
        archive.bisect(ids[0], **asked, steps=lambda rows: rows + 1)


@pytest.mark.parametrize("at", [[], [0, 0], [99], [-1], [True]])
def test_trials_of_what_is_not_there_are_refused(kept, tmp_path, at):
    """A file that was edited is neither believed nor stumbled over."""
    archive, ids = kept
    asked = {"models": ("delay:39", "delay:42"), "good": "output < 50", "state": tmp_path / "bisect.json"}
    archive.bisect(ids[0], **asked)
    document = json.loads(asked["state"].read_text()) | {"trials": [[at, "bad", ""]]}
    asked["state"].write_text(json.dumps(document))
    with pytest.raises(QueryError, match="expected trials"):
        archive.bisect(ids[0], **asked)


def test_predictions_of_another_model_are_refused(kept):
    """Versions of a model that did not make them say nothing about them."""
    archive, ids = kept
    with pytest.raises(QueryError, match="got some of patchy"):
        archive.bisect(ids[4], models=("delay:1", "delay:64"), good="output < 50")


@pytest.mark.parametrize(("ids", "changed"), [([], {"models": ("delay:1", "delay:64")}), (None, {})])
def test_nothing_to_look_between_is_refused(kept, ids, changed):
    """Without predictions, and without anything that changed."""
    archive, known = kept
    with pytest.raises(QueryError, match="got none"):
        archive.bisect(known[0] if ids is None else ids, **changed)


def test_what_another_environment_recorded_is_replayed(kept, monkeypatch):
    """The recorded output could be another because of the environment, which would pass for a version's doing."""
    archive, ids = kept
    asked = {"models": ("delay:40", "delay:64"), "good": "output < 50"}
    here = archive.bisect(ids[0], **asked).replays
    monkeypatch.setenv("OMP_SCHEDULE", "dynamic")
    levers.environment.__globals__["_when_loaded"].cache_clear()
    elsewhere = archive.bisect(ids[0], **asked).replays
    monkeypatch.undo()
    levers.environment.__globals__["_when_loaded"].cache_clear()
    assert elsewhere == here + 1


def test_it_is_said_as_it_goes(kept):
    """As `git bisect` does: how much there is to do, then each trial."""
    archive, ids = kept
    lines = []
    archive.bisect(ids[0], models=("delay:39", "delay:43"), say=lines.append)
    assert lines[0] == "bisecting model delay (5 values): about 3 replays beside the ends"
    assert "[delay:41] bad: output 90.041, decision True" in lines


@pytest.mark.parametrize("good", ["output <", "output", "output < 50 AND id", "SELECT 1", "output < 50 OR error('x')"])
def test_a_condition_that_is_none_is_refused(kept, good):
    """Nothing of it is taken for an answer."""
    archive, ids = kept
    with pytest.raises(QueryError):
        archive.bisect(ids[:2], models=("delay:40", "delay:42"), good=good)


@pytest.mark.parametrize(
    ("models", "good", "error"),
    [
        (("delay:1", "patchy:1"), None, QueryError),
        (("delay:1", "delay:1"), None, QueryError),
        (("delay:1", "delay:9"), "output < 50", QueryError),
        (("delay:1", "delay:400"), None, NotFoundError),
        (None, None, QueryError),
    ],
)
def test_ends_nothing_can_be_found_between_are_refused(kept, models, good, error):
    """Two models, one version, two good ends, a version that is not there, nothing that changed."""
    archive, ids = kept
    with pytest.raises(error):
        archive.bisect(ids[0], models=models, good=good)


def test_the_answer_is_a_page_for_a_notebook(kept):
    """As every answer is."""
    archive, ids = kept
    answer = archive.bisect(ids[0], models=("delay:40", "delay:41"))
    assert "delay:40 is good" in answer._repr_html_()
    assert "<table" in answer._repr_html_()


def test_the_answer_has_a_json_form(kept):
    """With everything that was tried."""
    archive, ids = kept
    answer = archive.bisect(ids[0], models=("delay:40", "delay:41"))
    told = json.loads(json.dumps(answer.to_dict()))
    assert told["causes"] == [[{"bad": "delay:41", "good": "delay:40", "untried": [], "what": "model delay"}]]
    assert pa.table({"at": [trial["at"][0] for trial in told["trials"]]})["at"].to_pylist() == ["delay:40", "delay:41"]


@pytest.mark.parametrize(("outcome", "is_said"), [("skip", True), ("good", False)])
def test_a_set_of_which_a_part_could_not_be_tried_may_be_smaller(outcome, is_said):
    """That no part of it is enough was then not shown."""
    dimensions = tuple(Dimension(name=name, values=("old", "new")) for name in "abc")
    change = Change(what="a", good="old", bad="new", untried=())
    trials = ((("new", "new", "old"), outcome, ""), (("new", "new", "new"), "bad", ""))
    answer = Bisection(
        predictions=1, dimensions=dimensions, causes=((change,) * 3,), trials=trials, replays=2, untested=()
    )
    assert ("fewer than these may be enough" in str(answer)) is is_said
