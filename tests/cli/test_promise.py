"""Commands about promises tell a shell whether one was kept."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.support.archives import ORIGIN
from tests.support.ledgers import world

import backstory
from backstory.cli.exit_codes import CONFLICT, FAILED, INPUT, NOT_FOUND, OK, UNVERIFIED
from backstory.cli.main import run


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An archive in the current directory's `audit` that gives promises, and one prediction, sealed."""
    monkeypatch.chdir(tmp_path)
    with backstory.init("audit", origin=ORIGIN) as made:
        made.promises(delay=1)
        version = made.register(lambda rows: [1.0] * len(rows), name="constant")
        done = made.predict(version, [{"x": 1.0}], method="__call__")
        done.promise().save("one.promise")
        return made.vkey, done.ids[0]


def test_a_promise_is_written_and_kept(archive, capsys):
    """`promise` writes it, `verify-promise` finds the record in the log, and nothing is replaced."""
    vkey, identity = archive
    assert run(["promise", identity, "-a", "audit", "-o", "two.promise"]) == OK
    assert run(["promise", identity, "-a", "audit", "-o", "two.promise"]) == CONFLICT
    capsys.readouterr()
    assert run(["verify-promise", "two.promise", "--vkey", vkey, "--log", "audit", "--json"]) == OK
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["id"], answer["vouched"]) == ("kept", identity, True)
    assert run(["promise", identity, "-a", "audit", "-o", "three.promise"]) == OK
    assert f"will be in the log by {answer['deadline']}" in capsys.readouterr().out


def test_a_promise_without_a_log_is_pending(archive, capsys):
    """Without a log nothing is said of whether it was kept: that is no success."""
    assert run(["promise-key", "-a", "audit", "--json"]) == OK
    vkey = json.loads(capsys.readouterr().out)["vkey"]
    assert run(["verify-promise", "one.promise", "--promise-vkey", vkey]) == UNVERIFIED
    assert "pending: no log" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "expected --promise-vkey, the public key of promises; or --vkey and --log"),
        (["--log", "audit"], "expected --vkey"),
        (["--receipt", "one.promise", "--promise-vkey", "x"], "expected --vkey"),
    ],
)
def test_a_missing_key_is_named_by_its_option(archive, arguments, told, capsys):
    """Without the keys it takes, the command says which options give them."""
    assert run(["verify-promise", "one.promise", *arguments]) == INPUT
    assert told in capsys.readouterr().err


def test_a_broken_promise_ends_as_a_failed_verification(archive, tmp_path, capsys):
    """A log that does not have the record, and is shown to be newer than the deadline, ends with that code."""
    made = backstory.open("audit", sealer="none", world=world())  # where it is the first of January
    version = made.register(lambda rows: [1.0] * len(rows), name="other")
    made.predict(version, [{"x": 1.0}], method="__call__").promise().save("dropped.promise")
    made._recorder.abandon()
    for stream in (tmp_path / "audit" / "spool").iterdir():
        shutil.rmtree(stream)
    command = ["verify-promise", "dropped.promise", "--vkey", archive[0], "--log", "audit"]
    assert run([*command, "--as-of", "2026-01-02T00:00:00Z"]) == FAILED
    assert capsys.readouterr().out.startswith("broken: the log at size")


@pytest.mark.parametrize("moment", ["2126-01-01T00:00:00Z", "2026-01-01T00:00:00", "yesterday"])
def test_a_moment_that_is_none_is_the_callers(moment, archive):
    """A moment to come, one without a time zone, and no moment at all are refused."""
    command = ["verify-promise", "one.promise", "--vkey", archive[0], "--log", "audit"]
    assert run([*command, "--as-of", moment]) == INPUT


def test_what_was_changed_and_what_is_not_there_differ(archive, tmp_path, capsys):
    """A changed promise fails; a log that is not there leaves it open."""
    command = ["verify-promise", "one.promise", "--vkey", archive[0], "--log"]
    assert run([*command, "nowhere"]) == UNVERIFIED
    path = tmp_path / "one.promise"
    path.write_bytes(path.read_bytes().replace(b'"seq":"0"', b'"seq":"1"'))
    assert run([*command, "audit"]) == FAILED
    assert "damaged or changed" in capsys.readouterr().err


def test_promises_are_switched_on_once(tmp_path, monkeypatch, capsys):
    """`promise-key` says that there is none, and with a delay makes it."""
    monkeypatch.chdir(tmp_path)
    backstory.init("audit", origin=ORIGIN).close()
    assert run(["promise-key", "-a", "audit"]) == NOT_FOUND
    assert run(["promise-key", "-a", "audit", "--delay", "0"]) == INPUT
    capsys.readouterr()
    assert run(["promise-key", "-a", "audit", "--delay", "60"]) == OK
    confirmed = capsys.readouterr().out
    assert run(["promise-key", "-a", "audit"]) == OK
    assert capsys.readouterr().out == confirmed
    assert f"{ORIGIN}/promises+" in confirmed
    assert "60 seconds after it is on disk" in confirmed
    assert run(["promise-key", "-a", "audit", "--delay", "5", "--json"]) == OK
    assert json.loads(capsys.readouterr().out)["delay"] == 5
