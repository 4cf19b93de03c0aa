"""Commands about behaviour agree with each other and with the page: input, stderr, files for charts, words."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import backstory
from backstory.cli.exit_codes import INPUT, OK, UNVERIFIED
from backstory.debug.promise import promised


def test_ids_of_bad_predictions_come_from_standard_input(ask, made, monkeypatch):
    """`--bad -` reads ids, one a line."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{made.first}\n"))
    answer = ask("rootcause", "--bad", "-", "--model", "delay", "--json", "--no-confirm")
    assert (answer.code, answer.json()["bad"]) == (OK, 1)


@pytest.fixture(scope="module")
def doubled(tmp_path_factory):
    """An archive with two versions of a model, the second of which says twice as much, and a prediction of it."""
    path = tmp_path_factory.mktemp("doubled") / "audit"
    table = pd.DataFrame({"km": [0.0, 1.0, 2.0]})
    with backstory.init(path, origin="example.org/fees") as archive:
        for factor in (1, 2):
            archive.register(LinearRegression().fit(table, table.km * factor), name="fee")
        return path, archive.predict("fee", table).wait("sealed").ids[2]


def test_bisecting_tells_trials_beside_the_answer(ask, doubled):
    """The answer names the change; the trials are told on stderr, and not where JSON is wanted."""
    path, one = doubled
    options = ("bisect", one, "--models", "fee:1..fee:2", "--good", "output < 3", "-a", path)
    told, silent = ask(*options), ask(*options, "--json")
    assert (told.code, "fee:1 is good, fee:2 is bad" in told.out, "[fee:2] bad" in told.err) == (OK, True, True)
    assert (silent.code, silent.json()["causes"][0][0]["bad"], silent.err) == (OK, "fee:2", "")


def test_bisecting_with_json_fails_in_json(ask, doubled):
    """With `--json` an error is the one JSON object on stderr."""
    path, one = doubled
    answer = ask("bisect", one, "--models", "fee:1..fee:2", "--good", "output >", "--json", "-a", path)
    assert (answer.code, json.loads(answer.err)["code"]) == (INPUT, "query")


@pytest.mark.parametrize("question", [("drift", "delay"), ("rootcause", "--bad", "output > 1")])
def test_a_chart_is_a_file_of_svg(ask, question, tmp_path):
    """A file for a chart that is named as another format is refused before anything is read."""
    path = tmp_path / "chart.png"
    answer = ask(*question, "--plot", path, "-a", tmp_path / "nowhere")
    assert (answer.code, path.exists()) == (INPUT, False)
    assert "ends in .svg" in answer.err


def test_a_replay_says_whether_a_proof_covers_the_record(ask, made):
    """The stage of the record tells a sealed prediction from one that is not in the log yet."""
    notes = [ask("replay", one, "--json").json()["stages"][0]["note"] for one in (made.first, made.unsealed)]
    assert notes == ["proven by the log", "not in the log yet: no proof covers it"]


def test_a_replay_says_why_a_class_is_not_known():
    """Of a model that was not probed the reason is told, as `why` tells it."""
    said = promised(None, "its calls took more than 1 second", rows=1, alone=False, tiled=False, same_environment=True)
    assert said.words == "nothing: its determinism class is not known: its calls took more than 1 second"


def test_a_pickle_is_named_by_its_whole_digest(ask, made):
    """What is no SHA-256 names no artifact."""
    assert ask("replay", made.first, "--pickle", "ab12").code == INPUT
    assert ask("replay", made.function, "--pickle", "ab" * 32).code == UNVERIFIED
