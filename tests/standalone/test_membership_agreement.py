"""Two verifiers of membership, written apart, say the same: ours, and the Python file for whoever has no Backstory."""

from __future__ import annotations

import copy
import functools
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.standalone.mutations import _change_bytes, _dump, _flip, _list, _note, _number, _stray
from tests.support.memberships import honest_claim, model_document, open_document, personal_document, row_of
from tests.support.receipts import SIGNER

from backstory.cli.exit_codes import FAILED, OK, exit_code
from backstory.errors import BackstoryError
from backstory.verify import membership
from backstory.verify.membership import verify_membership
from backstory.verify.membership_file import encode_membership
from backstory.verify.standalone import membership_checker, verifier_files
from backstory.verify.standalone import verify_membership as alone

COUNT = 400
PEOPLE = ["a", "é", "7", "\U0001f600", "", "c d"]
LOGS = [alone.receipt.Key(SIGNER.vkey, 1)]


def make_good():
    """Return good files about rows and persons, in datasets and training sets, of several sizes."""
    files = []
    for count in (0, 1, 2, 6):
        for document in (personal_document(PEOPLE[:count]), model_document(PEOPLE[:count])):
            files += [honest_claim(document, one, PEOPLE[:count]) for one in (PEOPLE[0], PEOPLE[5])]
        rows = [row_of(number) for number in range(count)]
        files += [honest_claim(open_document(rows), row_of(number), rows) for number in (0, 9)]
    return [encode_membership(claim) for claim in files]


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Compute once what most changed files have in common: the signature and the function's proof."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(membership, "verify_vrf", functools.cache(membership.verify_vrf))
        patch.setattr(alone, "check_vrf", functools.cache(alone.check_vrf))
        patch.setattr(alone.receipt, "is_ed25519", functools.cache(alone.receipt.is_ed25519))
        yield


GOOD = make_good()


def ours(data):
    """Return exit code and facts of our verifier."""
    try:
        return OK, verify_membership(data, vkey=SIGNER.vkey).to_dict()
    except BackstoryError as error:
        return exit_code(type(error)), None


def theirs(data):
    """Return exit code and facts of the stand-alone one."""
    try:
        return alone.VERIFIED, alone.check_file(data, LOGS)
    except alone.receipt.FailedError:
        return alone.FAILED, None
    except alone.receipt.CannotCheckError:
        return alone.CANNOT_CHECK, None


def changed(chance, data, other):
    """Return a file changed in one way."""
    if chance.random() < 0.3:
        return _change_bytes(chance, data, other)
    document, second = json.loads(data), json.loads(other)
    way = chance.random()
    if way < 0.2:
        head, _, note = document["log"].partition("\n\n")
        document["log"] = f"{head}\n\n{_note(chance, note, second['log'].partition(chr(10) * 2)[2])}"
        return _dump(document)
    if way < 0.35:
        lines = document["log"].split("\n")
        at = chance.randrange(6)
        lines[at] = chance.choice([lines[at] + "=", lines[at].upper(), "", _stray(lines[at]), lines[at] + " "])
        document["log"] = "\n".join(lines)
        return _dump(document)
    holder, key = pick(chance, document)
    value, source = holder[key], second.get(key) if isinstance(key, str) else None
    ways = [lambda: source, lambda: None, lambda: True, lambda: 2**53, lambda: -1, str, list, dict, lambda: [value]]
    if isinstance(value, str):
        ways += [lambda: _stray(value), lambda: _number(chance, value), lambda: _flip(chance, value), value.upper] * 4
    if isinstance(value, list):
        ways += [lambda: _list(chance, value, source or [])] * 8
    if chance.random() < 0.15:
        holder = document if isinstance(holder, list) else holder
        holder[chance.choice(["x", "", "row", "subject", "v"])] = chance.choice(
            [1, 2, "1", copy.copy(second.get("row"))]
        )
    else:
        holder[key] = chance.choice(ways)()
    return _dump(document, chance)


def pick(chance, document):
    """Return somewhere in a document to change something: what holds it, and under which name or number."""
    holder = document
    while True:
        key = chance.choice(sorted(holder) if isinstance(holder, dict) else range(len(holder)))
        if not isinstance(holder[key], dict | list) or not holder[key] or chance.random() < 0.3:
            return holder, key
        holder = holder[key]


@pytest.fixture(scope="module")
def bad():
    """Return changed files."""
    chance = random.Random("membership")
    files = []
    while len(files) < COUNT:
        data = chance.choice(GOOD)
        one = changed(chance, data, chance.choice(GOOD))
        files += [one] if one != data else []
    return files


@pytest.mark.parametrize("number", range(len(GOOD)))
def test_the_facts_are_the_same(number):
    """Of a good file both give the same JSON."""
    code, facts = ours(GOOD[number])
    assert code == OK
    assert theirs(GOOD[number]) == (code, facts)


def test_they_refuse_the_same(bad):
    """Of hundreds of changed files both refuse or accept the same, with the same exit code and facts."""
    assert [(ours(one), theirs(one), one[:2000]) for one in bad if ours(one) != theirs(one)][:2] == []


def test_nothing_that_was_changed_is_accepted_with_other_facts(bad):
    """What is accepted says what a good file says: only signatures nobody asked for can be added."""
    known = [ours(one)[1] for one in GOOD]
    codes = [ours(one) for one in bad]
    assert all(facts in known for code, facts in codes if code == OK)
    assert [code for code, _ in codes].count(FAILED) > 0.8 * COUNT


def test_the_program_runs_alone(tmp_path):
    """The two files, with Python's standard library and nothing else, say which way a proof goes; and exit codes."""
    (tmp_path / "verify_membership.py").write_bytes(membership_checker())
    (tmp_path / "verify_receipt.py").write_bytes(verifier_files()["verify_receipt.py"])
    files = {"good": GOOD[-1], "bad": GOOD[-1][:-3] + b'2"}', "cut": GOOD[-1][:-1], "other": b"{}"}
    answers = {}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        command = [sys.executable, "-I", "-S", "verify_membership.py", name, "--vkey", SIGNER.vkey, "--json"]
        answers[name] = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert json.loads(answers["good"].stdout) == {"verdict": "verified", **ours(GOOD[-1])[1]}
    assert {name: done.returncode for name, done in answers.items()} == {"good": 0, "bad": 20, "cut": 20, "other": 21}


def test_it_imports_nothing_of_the_package():
    """The program needs Python's standard library and the other program only."""
    source = Path(alone.__file__).read_text("utf-8")
    assert "backstory." not in source.replace("docs/format.md", "")
