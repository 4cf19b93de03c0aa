"""`backstory features` and `backstory why --stages`: what they print and which exit code they give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import backstory
from backstory.cli.exit_codes import INPUT, NOT_FOUND, OK

SOURCE = str(Path(__file__).parents[2] / "src")


@pytest.fixture(scope="module")
def defined(tmp_path_factory):
    """An archive with two versions of a feature set."""
    path = tmp_path_factory.mktemp("features") / "archive"
    with backstory.init(path, origin="example.org/features") as archive:
        archive.features.define("delays", {"late": "select late from flights"}, owner="ops", justification="rule 7")
        archive.features.define("delays", {"late": "select delay > 15 from flights"}, owner="ops")
    return path


def test_sets_are_listed(defined, ask):
    """Every version has a line; JSON has all of it."""
    answer = ask("features", "list", "-a", defined)
    assert answer.code == OK
    assert [line.split()[0] for line in answer.out.splitlines() if "late" in line] == ["delays:1", "delays:2"]
    found = ask("features", "list", "delays", "--json", "-a", defined).json()["feature_sets"]
    assert [one["version"] for one in found] == [1, 2]


def test_set_is_shown_with_its_use(defined, ask):
    """A set is shown with definition, owner and justification, and with who uses it."""
    out = ask("features", "show", "delays:1", "-a", defined).out
    assert all(text in out for text in ("select late from flights", "ops", "rule 7", "no model; 0 predictions"))
    assert ask("features", "show", "delays:1", "--json", "-a", defined).json()["used_by"]["count"] == 0


def test_difference_is_told(defined, ask):
    """What of a feature is another between two versions is told."""
    answer = ask("features", "diff", "delays:1", "delays", "--json", "-a", defined)
    assert answer.json()["changed"] == {"late": ["definition", "justification", "source"]}
    assert "another definition" in ask("features", "diff", "delays:1", "delays", "-a", defined).out


@pytest.mark.parametrize(
    ("words", "code"),
    [(("show",), INPUT), (("diff", "delays"), INPUT), (("show", "delay"), NOT_FOUND), (("drop",), INPUT)],
)
def test_wrong_words(defined, ask, words, code):
    """Too few sets, one that is not there, and no action are told apart by their exit codes."""
    assert ask("features", *words, "-a", defined).code == code


def test_stages_run_where_pandas_is_needed(made):
    """The command as a process of its own finds the library of the table its model was given."""
    command = [sys.executable, "-m", "backstory.cli.main", "why", made.first, "--stages", "-a", str(made.path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": SOURCE})
    assert (done.returncode, done.stderr) == (OK, "")


def test_why_with_stages(made, ask):
    """The steps of a prediction are told, the last one with the recorded output."""
    answer = ask("why", made.first, "--stages")
    assert answer.code == OK
    assert answer.out.startswith("1 step leads to -4.20")
    assert ask("why", made.first, "--stages", "--json").json()["verdict"] in {"exact", "equivalent"}
    assert ask("why", made.function, "--stages").code == INPUT
    assert ask("why", made.first, "--stages", "--as-of", "3").code == INPUT
