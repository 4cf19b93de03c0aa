"""`backstory data prove` and `backstory verify-membership`: what they print, and how they end."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import backstory
from backstory.cli.exit_codes import CONFLICT, FAILED, FORBIDDEN, INPUT, NOT_FOUND, OK, UNVERIFIED
from backstory.cli.main import run

ASKED = ["--actor", "dpo", "--purpose", "request 17"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return an archive with people and a model of them, and its key."""
    path = tmp_path_factory.mktemp("prove") / "audit"
    people = pd.DataFrame({"customer": [f"c-{number}" for number in range(8)], "age": range(8)})
    with backstory.init(path, origin="example.org/prove") as archive:
        frame = archive.source(people, "people", subject="customer", provable="subjects")
        rates = archive.source(pd.DataFrame({"rate": [1.0, 2.0]}), "rates", provable="rows")
        for name, used, column in (("aged", frame[frame.age > 3], "age"), ("rated", rates, "rate")):
            _, rows = archive.split(used, [column])
            archive.register(
                lambda table: np.zeros(len(table)), name=name, rows=rows, provable="subjects" if name == "aged" else ()
            )
        return path, archive.vkey


def ask(capsys, *command):
    """Run a command; return its exit code and output."""
    code = run([str(word) for word in command])
    return code, capsys.readouterr().out


def test_a_person_is_proven_and_checked(made, tmp_path, capsys):
    """The proof of an absence is written without saying of whom, and says it to whoever checks it."""
    file = tmp_path / "c-1.membership"
    code, text = ask(capsys, "data", "prove", "aged", "--subject", "c-1", *ASKED, "-a", made[0], "-o", file)
    assert (code, "absent" in text, "person c-1" in text) == (OK, True, False)
    code, text = ask(capsys, "verify-membership", file, "--vkey", made[1])
    assert (code, text.splitlines()[1]) == (OK, "absent: person c-1")
    code, text = ask(capsys, "verify-membership", file, "--vkey", made[1], "--json")
    assert (code, json.loads(text)["claim"], json.loads(text)["count"]) == (OK, "absent", "4")


def test_a_row_is_proven_with_programs_beside_it(made, tmp_path, capsys):
    """A row is given as JSON; what is there already stays, with exit code 11."""
    file = tmp_path / "rate.membership"
    command = ["data", "prove", "rates", "--row", '{"rate": 2}', "-a", made[0], "-o", file, "--verifier", "--json"]
    code, text = ask(capsys, *command)
    assert (code, json.loads(text)["claim"]) == (OK, "present")
    assert {path.name for path in tmp_path.iterdir()} == {file.name, "verify_membership.py", "verify_receipt.py"}
    assert ask(capsys, *command)[0] == CONFLICT


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["aged", "--subject", "c-1"], FORBIDDEN), (["none", "--subject", "c-1", *ASKED], NOT_FOUND),
        (["rates", "--row", "{"], INPUT), (["rates", "--row", "[1]"], INPUT), (["rates", "--row", '{"x": 1}'], INPUT),
        (["rates"], INPUT), (["people", "--row", "{}"], INPUT), ([], INPUT),
    ],
)  # fmt: skip
def test_what_is_refused(made, tmp_path, capsys, command, code):
    """Each refusal has its exit code, and leaves no file."""
    assert ask(capsys, "data", "prove", *command, "-a", made[0], "-o", tmp_path / "x")[0] == code
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_verify(made, tmp_path, capsys):
    """A changed proof ends with 20, another file and a missing one with 21."""
    file = tmp_path / "x"
    ask(capsys, "data", "prove", "rates", "--row", '{"rate": 3}', "-a", made[0], "-o", file)
    file.write_bytes(file.read_bytes().replace(b"absent", b"present"))
    assert ask(capsys, "verify-membership", file, "--vkey", made[1])[0] == FAILED
    file.write_bytes(b"{}")
    assert ask(capsys, "verify-membership", file, "--vkey", made[1])[0] == UNVERIFIED
    assert ask(capsys, "verify-membership", tmp_path / "y", "--vkey", made[1])[0] == UNVERIFIED
