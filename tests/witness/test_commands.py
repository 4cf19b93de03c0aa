"""Witness, server, feeder, monitor and time stamps from the command line, as processes that are told to stop."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.authority import Authority, authority_server
from tests.support.ledgers import new_ledger
from tests.support.logs import DiskLog, witness_at
from tests.support.loopback import answering, refusing, running, serving

from backstory.cli.main import run
from backstory.ledger.rotate import rotate_key
from backstory.server import witness_app
from backstory.tlog.key import KeyKind
from backstory.tlog.signer import Ed25519Signer

URL = re.compile(r"http://127\.0\.0\.1:\d+")


@contextmanager
def process(*arguments):
    """Run a command until the block ends, then tell it to stop."""
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH")]))
    started = subprocess.Popen(
        [sys.executable, "-m", "backstory", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    try:
        yield started
        started.send_signal(signal.SIGTERM)
        started.communicate(timeout=20)
    finally:
        started.kill()
        started.communicate()


@pytest.fixture
def log(tmp_path):
    """A log of five entries."""
    return DiskLog(tmp_path / "a").append(5)


def write_policy(log, tmp_path, vkey, url):
    """Write a policy with one witness, and return its path."""
    path = tmp_path / "policy"
    path.write_text(f"log {log.vkey}\nwitness w1 {vkey} {url}\nquorum w1\n")
    return path


def printed(capsys):
    """Return what was printed as JSON."""
    return json.loads(capsys.readouterr().out)


def test_whole_walk(log, tmp_path, capsys):
    """Make a witness, tell it of the log, run it, serve the log, feed, monitor over HTTP; both servers stop with 0."""
    assert run(["witness", "init", "--state", f"{tmp_path}/w", "--name", "witness.example.net/w1", "--json"]) == 0
    vkey = printed(capsys)["vkey"]
    assert run(["witness", "add-log", "--state", f"{tmp_path}/w", "--vkey", log.vkey]) == 0
    serve_witness = process("witness", "--state", tmp_path / "w", "--listen", "127.0.0.1:0")
    serve_log = process("serve-log", "-a", log.root, "--listen", "127.0.0.1:0")
    with serve_witness as witness, serve_log as server:
        told, served = witness.stdout.readline(), server.stdout.readline()
        assert served.strip() == f"serving the log at {URL.search(served)[0]}", (
            "what is printed is what `monitor` takes"
        )
        policy = str(write_policy(log, tmp_path, vkey, URL.search(told)[0]))
        assert run(["feed", "-a", str(log.root), "--policy", policy, "--vkey", log.vkey]) == 0
        common = ["--state", f"{tmp_path}/m", "--vkey", log.vkey, "--policy", policy, "--max-age", "600"]
        assert run(["monitor", URL.search(served)[0], *common]) == 0
    assert "1 of 1 witnesses cosigned now; the quorum is met" in capsys.readouterr().out
    assert (witness.returncode, server.returncode) == (0, 0)
    assert run(["witness", "status", "--state", f"{tmp_path}/w", "--json"]) == 0
    assert printed(capsys)["logs"][0]["tree_size"] == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ["init"],
        ["init", "--name", "white space"],
        ["init", "--name", "x", "--vkey", "y"],
        ["add-log"],
        ["add-log", "--vkey", "nonsense"],
        ["--listen", "nowhere"],
        ["--name", "x"],
        ["status", "--listen", "127.0.0.1:0"],
    ],
)
def test_witness_takes_what_belongs_together(arguments, tmp_path):
    """Options of another action, missing and malformed ones are mistakes of the caller."""
    state = tmp_path / "w"
    if arguments[0] != "init":
        witness_at(state)
    assert run(["witness", *arguments, "--state", str(state)]) == 2


def test_witness_that_is_not_there_cannot_run(tmp_path, capsys):
    """A mistyped directory is no new witness."""
    assert run(["witness", "--state", f"{tmp_path}/nowhere"]) == 10
    assert not (tmp_path / "nowhere").exists()


def test_quorum_that_is_not_met_is_21(log, tmp_path, capsys):
    """Nothing is said about the evidence, and nothing was kept."""
    policy = write_policy(log, tmp_path, witness_at(tmp_path / "w").vkey, refusing())
    assert run(["feed", "-a", str(log.root), "--policy", str(policy), "--json"]) == 21
    assert printed(capsys)["met"] is False


def test_contradiction_is_20(log, tmp_path, capsys):
    """A witness that was shown another history makes the feeder fail; that the log's key signed it is said and kept."""
    other = DiskLog(tmp_path / "b").append(5, "other")
    witness = witness_at(tmp_path / "w", log)
    witness.add_checkpoint(other.request(0))
    with serving(witness_app(tmp_path / "w")) as url:
        policy = str(write_policy(log, tmp_path, witness.vkey, url))
        assert run(["feed", "-a", str(log.root), "--policy", policy]) == 20
        told = capsys.readouterr().out.splitlines()
        assert "THE LOG'S KEY SIGNED ANOTHER HISTORY" in told[0]
        assert told[1].startswith("ALARM fork:")
        assert Path(told[1].partition("; evidence in ")[2]).is_file()
        assert run(["feed", "-a", str(log.root), "--policy", policy, "--json"]) == 20
    (alarm,) = printed(capsys)["alarms"]
    assert alarm["kind"] == "fork"


def test_a_witness_that_contradicts_stops_no_other(log, tmp_path):
    """Where the feeder goes on, a word without evidence is told in each round, and the others cosign what comes."""
    witness = witness_at(tmp_path / "w", log)
    liar = Ed25519Signer.generate("witness.example.net/x", kind=KeyKind.COSIGNATURE).vkey
    with serving(witness_app(tmp_path / "w")) as url, answering(409, b"99\n") as lying:
        policy = write_policy(log, tmp_path, witness.vkey, url)
        policy.write_text(policy.read_text().replace("quorum", f"witness x {liar} {lying}\nquorum"))
        with process("feed", "-a", log.root, "--policy", policy, "--watch", "0.01") as feeder:
            told = [feeder.stdout.readline() for _ in range(4)]
            log.append(1)
            assert any(line.startswith("tree size 6: 1 of 2 witnesses cosigned now;") for line in feeder.stdout)
    assert told[0] == told[2]
    assert "A WITNESS SAYS IT WAS SHOWN ANOTHER HISTORY, and shows nothing signed of it; the quorum is met" in told[0]
    assert told[1].startswith("x: has cosigned 99 entries")
    assert feeder.returncode == 0


def test_key_that_was_swapped_is_not_fed(log, tmp_path):
    """With a pinned key the archive's own does not count."""
    policy = write_policy(log, tmp_path, witness_at(tmp_path / "w").vkey, refusing())
    other = DiskLog(tmp_path / "b", seed=bytes(32)).append(1)
    assert run(["feed", "-a", str(log.root), "--policy", str(policy), "--vkey", other.vkey]) == 20


def test_feeder_goes_on_until_told_to_stop(log, tmp_path):
    """A round that fails is told, and the next one comes."""
    policy = write_policy(log, tmp_path, witness_at(tmp_path / "w").vkey, refusing())
    with process("feed", "-a", log.root, "--policy", policy, "--watch", "0.01") as feeder:
        assert "THE QUORUM IS NOT MET" in feeder.stdout.readline()
        assert "refused" in feeder.stdout.readline()
        assert "THE QUORUM IS NOT MET" in feeder.stdout.readline()
    assert feeder.returncode == 0


def test_feeder_goes_on_once_the_policy_has_the_rotated_key(tmp_path):
    """Until the new key is in the policy each round says which it is; from then on the log is fed again."""
    ledger = new_ledger(tmp_path / "a")
    policy = write_policy(ledger.log.layout.config, tmp_path, witness_at(tmp_path / "w").vkey, refusing())
    with process("feed", "-a", tmp_path / "a", "--policy", policy, "--watch", "0.01") as feeder:
        assert "THE QUORUM IS NOT MET" in feeder.stdout.readline()
        new = rotate_key(ledger).key.vkey
        assert f"does not list the key of this log: log {new}" in feeder.stderr.readline()
        policy.write_text(policy.read_text() + f"log {new}\n")
        assert any(line.startswith("tree size 2:") for line in feeder.stdout)
    assert feeder.returncode == 0


def test_monitor_goes_on_until_an_alarm(log, tmp_path):
    """It looks again and again, and ends at once with 20 when the log forks."""
    fork = DiskLog(tmp_path / "b").append(6, "other")
    watched = ("monitor", log.folder, "--state", tmp_path / "m", "--vkey", log.vkey, "--watch", "0.01", "--json")
    with process(*watched) as monitor:
        assert monitor.stdout.readline()
        (log.folder / "tile").rename(tmp_path / "old")
        (fork.folder / "tile").rename(log.folder / "tile")
        (fork.folder / "checkpoint").rename(log.folder / "checkpoint")
        out, _ = monitor.communicate(timeout=20)
    assert monitor.returncode == 20
    assert '"kind": "fork"' in out


def test_monitor_tells_an_alarm_in_one_line(log, tmp_path, capsys):
    """Kind, log, what, and where the evidence is."""
    common = ["--state", f"{tmp_path}/m", "--vkey", log.vkey]
    run(["monitor", str(log.root), *common])
    capsys.readouterr()
    assert run(["monitor", str(DiskLog(tmp_path / "b").append(5, "other").root), *common]) == 20
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        "ALARM fork: example.org/delays: it shows another tree of size 5 than it showed before; evidence in "
    )


def test_log_that_cannot_be_read_is_21(log, tmp_path):
    """Unreachable is not an alarm about the log."""
    assert run(["monitor", refusing(), "--state", f"{tmp_path}/m", "--vkey", log.vkey]) == 21


@pytest.mark.parametrize("arguments", [["--watch", "0"], ["--max-age", "0"], ["--max-age", "60"], ["--vkey", "x"]])
def test_monitor_refuses_what_makes_no_sense(log, tmp_path, arguments):
    """Mistakes of the caller are told before anything is read."""
    assert run(["monitor", str(log.root), "--state", f"{tmp_path}/m", "--vkey", log.vkey, *arguments]) == 2


def test_timestamp_tells_when_and_by_whose_word(log, tmp_path, capsys):
    """The command keeps a token, and says whether anybody was authenticated."""
    authority = Authority()
    (tmp_path / "root.pem").write_bytes(authority.pem)
    with running(authority_server(authority.answer)) as url:
        assert run(["timestamp", "-a", str(log.root), "--authority", url]) == 0
        assert "not authenticated" in capsys.readouterr().out
        root = ["--root", f"{tmp_path}/root.pem", "--json"]
        assert run(["timestamp", "-a", str(log.root), "--authority", url, *root]) == 0
    assert printed(capsys)["authenticated"] is True


def test_verify_says_by_when_and_passes_over_who_nobody_believes(tmp_path, capsys):
    """Of two authorities one is believed: its time stands in the report, also as JSON, and the other is no failure."""
    root, authority = new_ledger(tmp_path / "a").layout.root, Authority()
    (tmp_path / "root.pem").write_bytes(authority.pem)
    for one in (authority, Authority("Other")):
        with running(authority_server(one.answer)) as url:
            assert run(["timestamp", "-a", str(root), "--authority", url]) == 0
    capsys.readouterr()
    assert run(["verify", "-a", str(root), "--tsa-root", f"{tmp_path}/root.pem", "--json"]) == 0
    said = [one["what"] for one in printed(capsys)["findings"] if "/anchors/" in one["place"]]
    assert said[0].endswith("; the tree of size 1 was there by 2026-01-01T12:00:00Z")
    assert said[1].startswith("time stamps of authorities that the given certificates do not lead to: 1")


def test_timestamp_of_another_authority_is_20(log, tmp_path):
    """A stamp that does not hold under the given certificate is not kept."""
    (tmp_path / "root.pem").write_bytes(Authority().pem)
    with running(authority_server(Authority().answer)) as url:
        given = ["--authority", url, "--root", f"{tmp_path}/root.pem"]
        assert run(["timestamp", "-a", str(log.root), *given]) == 20
    assert not (log.folder / "anchors").exists()


@pytest.mark.parametrize("listen", ["8080", "127.0.0.1", "127.0.0.1:65536", "::1:80", "host:-1"])
def test_address_that_is_none_is_refused(log, listen):
    """Where to listen is host and port."""
    assert run(["serve-log", "-a", str(log.root), "--listen", listen]) == 2
