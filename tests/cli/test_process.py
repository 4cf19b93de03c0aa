"""The command as a process of its own: exit codes, speed, streams, completion."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backstory.cli.main import COMMANDS, build_app, run
from backstory.version import VERSION

SOURCE = Path(__file__).parents[2] / "src"
COMMAND = (sys.executable, "-m", "backstory.cli.main")

HELP_SECONDS_MAX = 0.25
"""Budget of `backstory --help`."""


def environment(**more):
    """Return an environment in which this checkout is found."""
    return os.environ | {"PYTHONPATH": str(SOURCE)} | more


def start(*arguments, **options):
    """Run the command in a process of its own."""
    options = {"capture_output": True, "text": True, "timeout": 60, "env": environment()} | options
    return subprocess.run([*COMMAND, *arguments], check=False, **options)


def test_help_is_quick():
    """`backstory --help` keeps its budget, in the best of five."""

    def seconds():
        began = time.perf_counter()
        assert start("--help").returncode == 0
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < HELP_SECONDS_MAX


def test_commands_that_start_without_pandas_need_none(made, copy, tmp_path):
    """Where pandas does not exist they answer as they do elsewhere."""
    archive = ["-a", str(copy)]
    commands = [
        ["init", str(tmp_path / "new"), "--origin", "example.org/new"],
        *([name, *archive] for name in ("info", "models", "log", "verify", "seal", "merge", "reindex")),
        ["why", made.first, *archive],
        ["impact", "flights", "--key", "0", *archive],
        ["reconcile", "--count", "1", *archive],
        ["receipt", made.first, "-o", str(tmp_path / "receipt"), *archive],
    ]
    program = (
        "import sys; from backstory.columns.own_process import hide_pandas; hide_pandas();"
        "from backstory.cli.main import run;"
        f"print([run(given) for given in {commands!r}], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, env=environment()
    )
    expected = [run(given) if given[0] not in {"init", "receipt"} else 0 for given in commands]
    assert done.stderr.splitlines()[-1] == str(expected)


def test_exit_code_reaches_the_shell(made):
    """The process ends with the code, and what went wrong is on stderr."""
    done = start("why", "00", "-a", str(made.path))
    assert (done.returncode, done.stdout) == (10, "")
    assert done.stderr.startswith("backstory: prediction: none with an id that begins with '00'")


def test_interrupted_process_gives_130():
    """Ctrl-C ends in a sentence and 130."""
    program = (
        "import os, signal, backstory.cli.main as m;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # tests in the background are started without
        "m.build_app = lambda: lambda given: os.kill(os.getpid(), signal.SIGINT);"
        "raise SystemExit(m.run(['info']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, env=environment()
    )
    assert (done.returncode, done.stderr) == (130, "backstory: interrupted\n")


def test_reader_that_left_is_no_traceback(made):
    """A pipe that is closed early ends the command quietly."""
    script = f"{COMMAND[0]} -m {COMMAND[2]} log --json -a {made.path} | true"
    done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True, env=environment())
    assert done.stderr == ""


def test_terminal_gets_a_frame(made):
    """On a terminal an answer has a frame and colour."""
    ours, theirs = pty.openpty()
    named = environment(COLUMNS="100", TERM="xterm")
    process = subprocess.Popen([*COMMAND, "why", made.first, "-a", str(made.path)], stdout=theirs, env=named)
    os.close(theirs)
    shown = b""
    while chunk := read_some(ours):
        shown += chunk
    os.close(ours)
    assert process.wait() == 0
    assert "╭─ delay:1 predicted" in shown.decode().replace("\x1b[1m", "").replace("\x1b[0m", "")


def read_some(terminal):
    """Read from a terminal until its other end is closed."""
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux says so when the other end is gone
        return b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_commands(capsys, shell):
    """A completion script knows every command and options of each."""
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in script] == []
    assert "purpose" in script


def test_completion_is_sound_bash(capsys):
    """The script for bash is one bash accepts."""
    run(["completion", "bash"])
    assert subprocess.run(["bash", "-n"], check=False, input=capsys.readouterr().out, text=True).returncode == 0


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])
def test_every_command_has_json(name):
    """Each command takes --json."""
    app = build_app()[name]
    assert "--json" in {option for argument in app.assemble_argument_collection() for option in argument.names}


def test_version(capsys):
    """`--version` prints the version and nothing else."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"{VERSION}\n"


def test_nothing_asked_is_a_usage_error(capsys):
    """Without a command the help is shown, and the code says nothing was done."""
    assert run([]) == 2
    assert "Usage: backstory COMMAND" in capsys.readouterr().out
