"""Bisecting over versions of a source and over commits of the code that prepares, alone and together with the model."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import backstory
from backstory.archive import Archive
from backstory.debug.commit import _path_at
from backstory.errors import InputError, NotFoundError, QueryError

RATES = 9
FIRST_WRONG = 6
WITHOUT_C = 7
PREPARING = """
def prepare(loans, rates):
    frame = loans.merge(rates, on="place", how="left")
    frame["rate"] = frame["rate"] * {factor}
    return frame
"""


def _rates(version: int) -> pd.DataFrame:
    of_a = 41.0 if version >= FIRST_WRONG else 1.0
    of_c = 53.0 if version > WITHOUT_C else 3.0
    table = pd.DataFrame({"place": list("abc"), "rate": [of_a + version / 1000, 2.0 + version / 1000, of_c]})
    return table[table["place"] != "c"] if version == WITHOUT_C else table


def _loans() -> pd.DataFrame:
    return pd.DataFrame({"loan": [f"l{n}" for n in range(6)], "place": list("abcabc"), "amount": np.arange(6) + 10.0})


def prepare(loans, rates):
    """The features of a loan: its amount, and what its place pays."""
    return loans.merge(rates, on="place", how="left")


def _model(weight: float) -> LinearRegression:
    features = pd.DataFrame({"amount": [0.0, 1.0, 0.0, 2.0], "rate": [0.0, 0.0, 1.0, 1.0]})
    return LinearRegression().fit(features, features["amount"] + weight * features["rate"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> tuple[Archive, list[str]]:
    """Make nine versions of the rates, wrong of `a` from the sixth on, three models, and predictions of the newest."""
    with backstory.init(tmp_path_factory.mktemp("sources") / "a", origin="example.org/sources") as archive:
        loans = archive.source(_loans(), "loans", key="loan")
        for weight in (0.1, 0.2, 1.0):
            archive.register(_model(weight), name="pay", metrics={"weight": weight})
        for version in range(1, RATES + 1):
            frame = prepare(loans, archive.source(_rates(version), "rates", key="place")).dropna()
            features, rows = archive.split(frame, ["amount", "rate"])
            ids = archive.predict("pay", features, rows=rows).ids
        for rate in (1.0, 2.0):
            other = archive.source(_loans().assign(rate=rate), "unused", key="loan")
            features, rows = archive.split(other, ["amount", "rate"])
            archive.predict("pay", features, rows=rows)
        archive.flush()
        yield archive, list(ids)


def test_the_version_of_a_source_that_flipped_it_is_found(kept):
    """Rows of each version are put in the place of those with the same key, and the features made again."""
    archive, ids = kept
    answer = archive.bisect(ids[0], sources=[("rates:1", "rates:9")], steps=prepare, good="output < 30")
    ((change,),) = answer.causes
    assert (change.what, change.good, change.bad) == ("source rates", "rates:5", "rates:6")


def test_a_version_without_the_row_is_passed_over(kept):
    """It says nothing of a prediction made of a row it does not have."""
    archive, ids = kept
    answer = archive.bisect(ids[2], sources=[("rates:6", "rates:9")], steps=prepare, good="output < 30")
    ((change,),) = answer.causes
    assert (change.good, change.bad, change.untried) == ("rates:6", "rates:8", ("rates:7",))
    notes = [note for _, outcome, note in answer.trials if outcome == "skip"]
    assert notes == ["the rates:7 has no row with 1 of the 1 keys these predictions were made of"]


def test_changes_that_are_needed_together_are_named_together(kept):
    """The wrong rate does little to the old models, and the new model little with the right rate."""
    archive, ids = kept
    answer = archive.bisect(
        ids[0],
        models=("pay:1", "pay:3"),
        sources=[("rates:1", "rates:9")],
        steps=prepare,
        good="output < 30",
    )
    (cause,) = answer.causes
    assert [(one.good, one.bad) for one in cause] == [("pay:2", "pay:3"), ("rates:5", "rates:6")]
    assert "pay:3 is bad together with source rates" in str(answer)


def test_changes_that_do_it_by_themselves_are_each_a_cause(kept):
    """Either is enough here, and both are said."""
    archive, ids = kept
    answer = archive.bisect(
        ids[0], models=("pay:1", "pay:3"), sources=[("rates:1", "rates:9")], steps=prepare, good="output < 10.9"
    )
    assert [[one.bad for one in cause] for cause in answer.causes] == [["pay:3"], ["rates:6"]]


def test_rows_of_a_source_nobody_used_are_refused(kept):
    """Nothing of these predictions came from it."""
    archive, ids = kept
    with pytest.raises(QueryError, match="not made of rows of unused"):
        archive.bisect(ids[0], sources=[("unused:1", "unused:2")], steps=prepare, good="output < 30")


def _version_of_no_model(rows):
    return rows


@pytest.mark.parametrize("columns", [["place"], ["rate"]], ids=["value", "key"])
def test_a_version_without_a_column_cannot_be_tried(tmp_path, columns):
    """What was recorded does not stand in for what the other version does not have."""
    with backstory.init(tmp_path / "a", origin="example.org/columns") as archive:
        archive.register(_model(1.0), name="pay")
        rates = archive.source(_rates(1), "rates", key="place")
        frame = prepare(archive.source(_loans(), "loans", key="loan"), rates)
        features, rows = archive.split(frame, ["amount", "rate"])
        ids = archive.predict("pay", features, rows=rows).wait("sealed").ids
        other = archive.source(_rates(2)[columns], "rates", key=columns[0])
        archive.register(_version_of_no_model, name="other", rows=archive.split(other, columns)[1])
        with pytest.raises(QueryError, match=r"got skip .*rates:2 has no column"):
            archive.bisect(ids[0], sources=[("rates:1", "rates:2")], steps=prepare, good="output < 30")


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> tuple[Path, list[str]]:
    """Three commits of the code that prepares; the last makes ten times too much of a rate."""
    folder = tmp_path_factory.mktemp("repository")
    _git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "code").mkdir()
    commits = []
    for factor in ("1.0", "1.01", "10.0"):
        (folder / "code" / "bisected_preparation.py").write_text(PREPARING.format(factor=factor))
        _git(folder, "add", "-A")
        _git(folder, "commit", "--quiet", "-m", f"times {factor}")
        commits.append(_git(folder, "rev-parse", "HEAD"))
    return folder / "code", commits


def test_the_commit_that_flipped_it_is_found(kept, repository, monkeypatch):
    """Each commit's own code makes the features, in a process of its own; the checkout stays as it is."""
    archive, ids = kept
    folder, commits = repository
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # what this import leaves is none of the search's doing
    preparing = importlib.import_module("bisected_preparation")

    answer = archive.bisect(
        ids[1], commits=(commits[0], "HEAD"), steps=preparing.prepare, folder=folder, good="output < 20"
    )
    ((change,),) = answer.causes
    assert (change.good, change.bad) == (commits[1][:12], commits[2][:12])
    assert answer.replays == 3
    assert _git(folder, "status", "--porcelain", "--untracked-files=no") == ""


def test_a_commit_runs_its_own_code_from_wherever_in_the_repository(tmp_path):
    """What today is imported from a folder of the repository is imported from that of the commit; all else as it is."""
    top, laid_out = tmp_path / "top", tmp_path / "laid-out"
    library, beside = str(Path(backstory.__file__).parents[1]), str(tmp_path / "beside")
    path = [str(top / "src"), str(top), beside, library, sys.prefix]
    assert _path_at(path, top, laid_out) == [str(laid_out / "src"), str(laid_out), beside, library, sys.prefix]
    assert _path_at([library, sys.prefix], Path("/"), laid_out) == [library, sys.prefix]


def test_a_commit_without_the_code_is_no_commit_with_todays(kept, tmp_path, monkeypatch):
    """Modules of the working tree are not taken for those of a commit that does not have them."""
    archive, ids = kept
    _git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "code").mkdir()
    for name in ("before", "bisected_later", "after"):
        (tmp_path / "code" / f"{name}.py").write_text(PREPARING.format(factor="1.0"))
        _git(tmp_path, "add", "-A")
        _git(tmp_path, "commit", "--quiet", "-m", name)
    monkeypatch.syspath_prepend(tmp_path / "code")
    later = importlib.import_module("bisected_later")
    with pytest.raises(QueryError, match=r"got skip .*the commit has no bisected_later"):
        archive.bisect(
            ids[1], commits=("HEAD~2", "HEAD"), steps=later.prepare, folder=tmp_path / "code", good="output < 20"
        )


@pytest.mark.parametrize("commits", [("HEAD", "HEAD~2"), ("HEAD", "HEAD"), ("HEAD~2", "nowhere")])
def test_commits_with_nothing_between_them_are_refused(kept, repository, commits):
    """The good one has to come first, and both have to be there."""
    archive, ids = kept
    with pytest.raises((QueryError, NotFoundError)):
        archive.bisect(ids[0], commits=commits, steps=plain, folder=repository[0], good="output < 20")


def plain(loans):
    """A step of this module."""
    return loans


def test_steps_that_no_commit_could_import_are_refused(kept, repository):
    """A function made here has no other versions."""
    archive, ids = kept
    with pytest.raises(InputError, match="functions of modules"):
        archive.bisect(
            ids[0], commits=("HEAD~2", "HEAD"), steps=lambda loans: loans, folder=repository[0], good="output < 20"
        )
