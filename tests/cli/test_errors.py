"""Errors: one sentence or one JSON object on stderr, nothing on stdout, and the right exit code."""

from __future__ import annotations

import inspect
import json
import shlex

import pytest

from backstory import errors
from backstory.cli import exit_codes
from backstory.cli.exit_codes import (
    CONFLICT,
    FAILED,
    INPUT,
    INTERRUPTED,
    MEANINGS,
    NOT_FOUND,
    UNLISTED,
    UNVERIFIED,
    exit_code,
)
from backstory.cli.main import COMMANDS, EXAMPLES, build_app, help_text, run

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass)]

CODES = {
    "input": 2, "not-found": 10, "ambiguous": 11, "conflict": 11, "busy": 12, "forbidden": 13, "verification": 20,
    "storage": 21, "format": 21, "column": 2, "unsupported-version": 21, "query": 2, "error": 1,
}  # fmt: skip


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_has_an_exit_code(error):
    """Every class has a documented code, and only the root is unlisted."""
    assert exit_code(error) in MEANINGS
    assert (exit_code(error) == UNLISTED) == (error is errors.BackstoryError)


@pytest.mark.parametrize("error", [e for e in CLASSES if e.code in CODES])
def test_exit_codes_are_fixed(error):
    """The numbers are public: they never change."""
    assert exit_code(error) == CODES[error.code]


def test_help_names_commands_and_codes():
    """`--help` lists every command and every exit code."""
    text = help_text()
    assert [name for name in COMMANDS if f"\n  {name} " not in text] == []
    assert [code for code in MEANINGS if f"\n  {code} " not in text] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_is_broken_by_the_terminal_only(name, capsys, monkeypatch):
    """What an option does is one paragraph: where the docstring's lines end nothing is broken."""
    monkeypatch.setenv("COLUMNS", "5000")
    assert run([name, "--help"]) == 0
    body = capsys.readouterr().out.partition("Parameters:\n")[2].partition("\n\n")[0]
    assert body, "every command has options"
    assert [line for line in body.splitlines() if not line.startswith("  -")] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_has_examples_that_parse(name, capsys):
    """Where arguments are SQL or JSON, the command's help shows how to quote them, and the examples are valid."""
    assert run([name, "--help"]) == 0
    shown = capsys.readouterr().out
    for example in EXAMPLES[name]:
        assert example in shown
        command, _, ignored = build_app().parse_args(shlex.split(example)[1:])
        assert (command.__name__, ignored) == (name, {})


CASES = [
    (["why", "zz"], INPUT, "query"),
    (["why", "00"], NOT_FOUND, "not-found"),
    (["why", "0"], CONFLICT, "ambiguous"),
    (["why"], INPUT, "usage"),
    (["why", "00", "--nonsense"], INPUT, "usage"),
    (["log", "--limit", "many"], INPUT, "usage"),
    (["nonsense"], INPUT, "usage"),
    (["impact", "nonsense", "--row", "1"], NOT_FOUND, "not-found"),
]


@pytest.mark.parametrize(("arguments", "code", "name"), CASES)
def test_error_is_one_sentence(ask, arguments, code, name):
    """An error is one line on stderr without a traceback."""
    answer = ask(*arguments)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith("backstory: ")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code", "name"), CASES)
def test_error_as_json(ask, arguments, code, name):
    """With --json it is an object with code, message and details."""
    answer = ask(*arguments, "--json")
    assert (answer.code, answer.out) == (code, "")
    error = json.loads(answer.err)
    assert set(error) == {"code", "details", "message"}
    assert error["code"] == name


def test_missing_archive(ask, tmp_path):
    """Where there is no archive, that is said."""
    assert ask("info", archive=tmp_path).code == NOT_FOUND


def test_nobody_named_an_archive(ask, monkeypatch, tmp_path):
    """Where neither an option nor the environment names an archive, and this directory is none, both are named."""
    monkeypatch.chdir(tmp_path)
    for command in ("info", "verify"):
        answer = ask(command, archive=".")
        assert answer.code == NOT_FOUND
        assert "give -a DIR or set BACKSTORY_ARCHIVE" in answer.err


@pytest.mark.parametrize(
    "arguments", [("verify", "--workers", "0"), ("log", "--first", "1000"), ("verify", "--workers", "-1")]
)
def test_numbers_that_mean_nothing_are_refused(ask, arguments):
    """No process to hash with, and an entry behind the last, are mistakes."""
    assert ask(*arguments).code == INPUT


def test_a_bug_shows_its_traceback_when_asked(monkeypatch, capsys):
    """The sentence about a bug names the variable that shows where it came from."""

    def raising(given):
        raise KeyError("Ada")

    monkeypatch.setattr("backstory.cli.main.build_app", lambda: raising)
    assert run(["info"]) == UNLISTED
    assert "BACKSTORY_TRACEBACK=1" in capsys.readouterr().err
    monkeypatch.setenv("BACKSTORY_TRACEBACK", "1")
    run(["info"])
    assert "in raising" in capsys.readouterr().err


def test_an_archive_without_its_lock_store_is_verified(copy, ask):
    """Verification names what is gone; any other question says that it cannot read, not that there is no archive."""
    (copy / "lock.sqlite").unlink()
    answer = ask("verify", archive=copy)
    assert (answer.code, "lock.sqlite" in answer.out) == (FAILED, True)
    assert ask("info", archive=copy).code == UNVERIFIED


def test_an_emptied_lock_store_is_named(copy, ask):
    """The message says what it is, and what to do."""
    (copy / "lock.sqlite").write_bytes(b"")
    answer = ask("search", "true", archive=copy)
    assert answer.code == UNVERIFIED
    assert "it was emptied or replaced (lock.sqlite); restore it from a copy" in answer.err


def test_a_command_that_is_nearly_one_is_named(capsys):
    """A typing mistake is answered with the command that was meant."""
    assert run(["whyy"]) == INPUT
    assert "did you mean 'why'?" in capsys.readouterr().err


def test_control_characters_do_not_reach_the_terminal(ask):
    """What somebody else wrote cannot move the cursor."""
    assert "\x1b" not in ask("impact", "\x1b[2J", "--row", "1").err


@pytest.mark.parametrize(
    ("raised", "code"), [(KeyboardInterrupt(), INTERRUPTED), (KeyError("Ada"), UNLISTED), (errors.BusyError("b"), 12)]
)
def test_whatever_is_raised_becomes_a_code(monkeypatch, capsys, raised, code):
    """An interrupt and a bug end in a sentence too; a bug's message, which may hold a value, is left out."""

    def raising(given):
        raise raised

    monkeypatch.setattr("backstory.cli.main.build_app", lambda: raising)
    assert run(["info"]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "Ada" not in err


def test_exit_codes_are_only_the_documented_ones():
    """Every constant has a meaning."""
    numbers = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert numbers == set(MEANINGS)
