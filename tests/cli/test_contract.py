"""`backstory contract`: a draft, a check without an archive, a source's contract, and what was found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backstory.cli.exit_codes import FAILED, INPUT, OK

SOURCE = str(Path(__file__).parents[2] / "src")
CSV = "loan,amount\n" + "".join(f"L-{n:02},{n}.5\n" for n in range(20))


@pytest.fixture
def folder(tmp_path, monkeypatch, ask):
    """A directory with data and the contract drafted from it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loans.csv").write_text(CSV)
    (tmp_path / "loans.yaml").write_text(ask("contract", "infer", "loans.csv").out)
    return tmp_path


def test_a_draft_needs_no_pandas(folder):
    """The command that people start hides pandas from Arrow; files are read all the same."""
    command = [sys.executable, "-m", "backstory", "contract", "infer", "loans.csv"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": SOURCE})
    assert (done.returncode, done.stdout) == (OK, (folder / "loans.yaml").read_text())


@pytest.mark.usefixtures("folder")
def test_draft_is_of_its_own_data(ask):
    """What `infer` prints is a contract that `check` passes on the same file, without any archive."""
    answer = ask("contract", "check", "loans.csv", "loans.yaml")
    assert (answer.code, answer.out.splitlines()[0]) == (OK, "passed: 20 rows, 8 rules, 0 broken")
    assert ask("contract", "infer", "loans.csv", "--name", "x", "--json").json()["contract"].count("name: x") == 1


def test_refused_data_has_an_exit_code_of_its_own(ask, folder):
    """A broken rule of severity `refuse` ends with 20, and the answer has rule, rows and positions; no value."""
    (folder / "bad.csv").write_text(CSV + "L-01,99999.5\n")
    answer = ask("contract", "check", "bad.csv", "loans.yaml", "--json")
    assert answer.code == FAILED
    assert answer.json()["rules"] == [
        {"id": "loan.unique", "positions": [20], "rows": "1", "severity": "refuse"},
        {"id": "amount.range", "positions": [20], "rows": "1", "severity": "flag"},
    ]
    told = ask("contract", "check", "bad.csv", "loans.yaml").out
    assert "REFUSED: loan.unique (1 row)" in told
    assert "99999" not in told


def test_draft_names_no_value_of_people(ask, folder):
    """With `--subject` the draft says nothing of the values of that column; an unknown one is an error."""
    drafted = ask("contract", "infer", folder / "loans.csv", "--subject", "loan").out
    assert ("[0-9]" in drafted, "minimum" in drafted) == (False, True)
    assert ask("contract", "infer", folder / "loans.csv", "--subject", "who").code == INPUT


def test_contract_of_a_source_is_set_listed_and_taken_back(ask, copy, folder):
    """`set` says what it read, `list` shows it, `none` takes it back."""
    said = ask("contract", "set", "loans", folder / "loans.yaml", archive=copy)
    assert said.out.startswith("loans: contract loans 0.1.0, 8 rules, ")
    listed = ask("contract", "list", "--json", archive=copy).json()["contracts"]
    assert [(one["source"], one["version"]) for one in listed] == [("loans", "0.1.0")]
    assert "loans" in ask("contract", "list", archive=copy).out
    assert ask("contract", "set", "loans", "none", archive=copy).out == "loans has no contract from now on\n"
    assert ask("contract", "list", "--json", archive=copy).json() == {"contracts": []}


def test_verdicts_of_an_archive_without_contracts(ask):
    """An archive in which nothing was checked has no verdicts."""
    assert ask("contract", "verdicts").out == "0 verdicts\n"
    assert ask("contract", "verdicts", "--json").json() == {"verdicts": []}


@pytest.mark.parametrize("arguments", [["infer"], ["check", "a.csv"], ["set", "loans"], ["check", "a.csv", "b.yaml"]])
def test_what_is_missing_is_named(ask, arguments):
    """A missing argument or file is an error of the caller in one sentence."""
    answer = ask("contract", *arguments)
    assert answer.code != OK
    assert answer.err.startswith("backstory: contract")
    assert json.loads(ask("contract", *arguments, "--json").err)["code"] in {"input", "not-found"}


def test_malformed_contract_is_told_with_its_place(ask, folder):
    """A contract that means nothing is an error, with where."""
    shutil.copy(folder / "loans.yaml", folder / "bad.yaml")
    (folder / "bad.yaml").write_text(
        (folder / "loans.yaml").read_text().replace("logicalType: string", "logicalType: text")
    )
    answer = ask("contract", "check", folder / "loans.csv", folder / "bad.yaml")
    assert (answer.code, "property loan" in answer.err) == (INPUT, True)
