"""Replays in the recorded environment: what is asked of uv, what the process answers, and what is said where it fails.

`BACKSTORY_ENVIRONMENTS_MADE=1` makes a whole one, for which an index of packages must be reached; `make soak` does.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest
from tests.support.archives import ORIGIN, fitted, loans

import backstory
from backstory.archive import Archive
from backstory.debug.case import read_case
from backstory.debug.recorded_environment import NEEDED_HERE, RecordedRunner, cache_of, made_environment
from backstory.debug.runner import Job, Ran
from backstory.errors import ModelError
from backstory.models.environment import variables_of

MADE = os.environ.get("BACKSTORY_ENVIRONMENTS_MADE")
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, str]:
    """An archive with a call of 40 rows, and the id of one of them."""
    path = tmp_path_factory.mktemp("recorded") / "audit"
    with backstory.init(path, origin=ORIGIN) as archive:
        archive.register(fitted(loans()), name="credit")
        yield archive, archive.predict("credit", loans()[["amount", "years"]]).wait("sealed").ids[3]


def test_the_packages_needed_are_those_of_the_project():
    """A checkout has no metadata, so they are written down twice."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    assert sorted(name.partition(">")[0] for name in project["dependencies"]) == sorted(NEEDED_HERE)


def test_a_process_of_its_own_gives_the_recorded_outputs(kept, tmp_path):
    """Several jobs in one process, each with its own rows, and what is wrong with one said of it alone."""
    archive, name = kept
    case = read_case(archive._workshop, archive._found(name), "replay")
    runner = RecordedRunner(archive._workshop, tmp_path)
    jobs = [
        Job(case=case, features=case.features, rows=(3, 5)),
        Job(case=case, features=case.features.select(["amount"]), rows=(0,)),
    ]
    recorded = archive._ledger.document(str(case.context["environment"]))
    ran, failed = runner._exchange(Path(sys.executable), recorded, jobs)
    assert isinstance(ran, Ran)
    assert ran.output.to_pylist() == [case.output[3].as_py(), case.output[5].as_py()]
    assert ran.environment["python"] == recorded["python"]
    assert isinstance(failed, ModelError)


def test_an_environment_that_cannot_be_made_is_no_other(kept, tmp_path, monkeypatch):
    """Without an index: not replayable, never run here instead; and nothing is left behind."""
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    archive, name = kept
    again = archive.replay(name, env=tmp_path / "made")
    assert (again.verdict, again.ran_in, again.replayed) == ("not-replayable", "recorded", None), again
    assert "cannot be made" in again.reason, again
    assert list((tmp_path / "made").iterdir()) == []


def test_without_uv_it_says_so(tmp_path, monkeypatch):
    """And names the extra that has it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    recorded = {"packages": {"numpy": {"version": "2.0", "record": None}}}
    with pytest.raises(ModelError, match="environments"):
        made_environment(tmp_path, "0" * 64, recorded, ["numpy"])


def test_a_framework_without_a_version_is_named(tmp_path):
    """The newest is never taken for it."""
    with pytest.raises(ModelError, match="no version of xgboost"):
        made_environment(tmp_path, "0" * 64, {"packages": {"numpy": {"version": "2.0"}}}, ["xgboost"])


@pytest.mark.skipif(not MADE, reason="needs an index of packages; `make soak`, or BACKSTORY_ENVIRONMENTS_MADE=1")
def test_the_made_environment_has_the_recorded_versions(kept, tmp_path):
    """Every package of it, file for file; and the replay there is exact."""
    archive, name = kept
    again = archive.replay(name, env=tmp_path / "made")
    assert (again.verdict, again.ran_in) == ("exact", "recorded"), again.reason
    assert again.environment == {}
    (place,) = (tmp_path / "made").iterdir()
    assert (place / "complete").is_file()
    assert archive.replay(name, env=tmp_path / "made").verdict == "exact"


@pytest.mark.parametrize(
    ("python", "name", "version"),
    [
        ("3.11.7", "numpy", "1\n--find-links /tmp/wheels"),
        ("3.11.7", "scipy @ file:///tmp/scipy-1-py3-none-any.whl #", "1"),
        ("/tmp/python", "numpy", "1"),
        ("--directory=/tmp", "numpy", "1"),
    ],
)
def test_what_is_recorded_gives_uv_no_orders(python, name, version, tmp_path):
    """A name or version that can be none is refused before anything is installed."""
    recorded = {"packages": {"numpy": {"version": "1"}, name: {"version": version}}, "python": {"version": python}}
    with pytest.raises(ModelError, match=r"that can be none|no version of Python"):
        made_environment(tmp_path, "0" * 64, recorded, ["numpy"])


def test_only_variables_of_arithmetic_are_recreated():
    """Whatever else an environment names would run code."""
    given = {"LD_PRELOAD": "/tmp/other.so", "OMP_NUM_THREADS": "1"}
    assert variables_of({"numerics": {"variables": given}}) == {"OMP_NUM_THREADS": "1"}


def test_a_directory_of_environments_may_be_relative(monkeypatch, tmp_path):
    """`uv` runs elsewhere, so the directory is the one the caller meant."""
    monkeypatch.chdir(tmp_path)
    assert cache_of(Path("environments")) == tmp_path / "environments"
