"""Two verifiers of certificates of erasures, written apart, say the same: ours, and the one without Backstory."""

from __future__ import annotations

import functools
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.standalone.mutations import _change_bytes, _dump, _flip, _list, _note, _number, _stray
from tests.support.erasures import certificate_of
from tests.support.receipts import SIGNER

from backstory.cli.exit_codes import FAILED, OK, exit_code
from backstory.errors import BackstoryError
from backstory.verify.erasure_certificate import verify_erasure
from backstory.verify.standalone import check_erasure as alone
from backstory.verify.standalone import erasure_checker, verifier_files

COUNT = 400
LOGS = [alone.receipt.Key(SIGNER.vkey, 1)]
RECORDS = [f"record 0198c0de-0000-7000-8000-{number:012x}" for number in range(20)]


def make_good():
    """Return good files: of nothing, of few things and of more than the least tree holds; whole, in part, waiting."""
    row = f"row {'ab' * 32} 17"
    said = [{}, {"complete": False}, {"partial": True}, {"ground": "child", "follows": "7" * 64, "request": "8" * 64}]
    texts = [[], RECORDS[:1], [*RECORDS[:3], row], RECORDS]
    return [certificate_of(some, **members) for some in texts for members in said]


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Check once a signature that most changed files have in common."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alone.receipt, "is_ed25519", functools.cache(alone.receipt.is_ed25519))
        yield


GOOD = make_good()


def ours(data):
    """Return exit code and facts of our verifier."""
    try:
        return OK, verify_erasure(data, vkey=SIGNER.vkey).to_dict()
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
        at = chance.randrange(5)
        lines[at] = chance.choice([lines[at] + "=", lines[at].upper(), "", _stray(lines[at]), lines[at] + " "])
        document["log"] = "\n".join(lines)
        return _dump(document)
    if way < 0.45:
        document["leaves"] = _list(chance, document["leaves"], second["leaves"])
        return _dump(document)
    holder, key = pick(chance, document)
    value = holder[key]
    ways = [lambda: None, lambda: True, lambda: 2**53, lambda: -1, str, list, dict, lambda: [value]]
    if isinstance(value, str):
        ways += [lambda: _stray(value), lambda: _number(chance, value), lambda: _flip(chance, value), value.upper] * 4
    if isinstance(value, list):
        ways += [lambda: _list(chance, value, second["leaves"])] * 8
    if chance.random() < 0.1:
        document[chance.choice(["x", "", "v", "leaves"])] = chance.choice([1, 2, "1", second["leaves"]])
    else:
        holder[key] = chance.choice(ways)()
    return _dump(document, chance)


def pick(chance, document):
    """Return somewhere in a document to change something: what holds it, and under which name or number."""
    holder = document
    while True:
        key = chance.choice(sorted(holder) if isinstance(holder, dict) else range(len(holder)))
        if not isinstance(holder[key], dict | list) or not holder[key] or chance.random() < 0.2:
            return holder, key
        holder = holder[key]


@pytest.fixture(scope="module")
def bad():
    """Return changed files."""
    chance = random.Random("erasure")
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


def test_nothing_that_was_changed_is_accepted_with_more(bad):
    """What is accepted says what a good file says, or of fewer things: a certificate may be cut down to one record."""
    known = [ours(one)[1] for one in GOOD]
    codes = [ours(one) for one in bad]
    for code, facts in codes:
        if code == OK:
            assert any({**facts, "erased": one["erased"]} == one for one in known)
            assert any(set(facts["erased"]) <= set(one["erased"]) for one in known)
    assert [code for code, _ in codes].count(FAILED) > 0.8 * COUNT


@pytest.mark.parametrize(
    "said",
    [
        {"ground": "boredom"},
        {"leaves": "17"},
        {"leaves": "8"},
        {"leaves": str(1 << 25)},
        {"values": "3"},
        {"tables": "-1"},
        {"complete": None},
        {"partial": "false"},
        {"rekeyed": 1},
        {"counts": None},
        {"request": ""},
        {"follows": "A" * 64},
        {"root": "5"},
        {"type": "subject.found"},
        {"time": None},
        {"v": 2},
        {"v": None},
    ],
    ids=str,
)
def test_they_refuse_the_same_entries(said):
    """An entry that is in the log and says no erasure as the format has it is refused by both, with the same code."""
    data = certificate_of([], **said)
    assert ours(data)[0] != OK
    assert ours(data) == theirs(data)


def test_the_program_runs_alone(tmp_path):
    """The two files, with Python's standard library and nothing else, say what was erased; and exit codes."""
    (tmp_path / "check_erasure.py").write_bytes(erasure_checker())
    (tmp_path / "verify_receipt.py").write_bytes(verifier_files()["verify_receipt.py"])
    files = {"good": GOOD[-1], "bad": GOOD[-1][:-3] + b'2"}', "cut": GOOD[-1][:-1], "other": b"{}"}
    answers = {}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        command = [sys.executable, "-I", "-S", "check_erasure.py", name, "--vkey", SIGNER.vkey, "--json"]
        answers[name] = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert json.loads(answers["good"].stdout) == {"verdict": "verified", **ours(GOOD[-1])[1]}
    assert {name: done.returncode for name, done in answers.items()} == {"good": 0, "bad": 20, "cut": 20, "other": 21}


def test_a_reader_is_told_what_is_not_erased(tmp_path, capsys):
    """Where records had to be kept, or were waited for, the text says so, as ours does."""
    for data, words in (
        (GOOD[1], "other processes or workers' spools might still hold records"),
        (GOOD[2], "had to be kept"),
    ):
        (tmp_path / "file").write_bytes(data)
        assert alone.main([str(tmp_path / "file"), "--vkey", SIGNER.vkey]) == alone.VERIFIED
        assert words in capsys.readouterr().out
        assert words in str(verify_erasure(data, vkey=SIGNER.vkey))


def test_it_imports_nothing_of_the_package():
    """The program needs Python's standard library and the other program only."""
    source = Path(alone.__file__).read_text("utf-8")
    assert "backstory." not in source.replace("docs/format.md", "")
