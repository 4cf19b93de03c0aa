"""What the demo leaves to go on with."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from backstory.cli import demo, demo_data
from backstory.cli.main import build_app
from backstory.errors import NotFoundError

SHOWN = demo._Shown(prediction="01a2066f", receipt=Path("a b.tlog-proof"), vkey="example.org/x+7a3abcba+AYOu")


def test_commands_can_be_pasted():
    """The closing commands are valid, are about the prediction that was shown, and pin the key."""
    commands = [shlex.split(command)[1:] for command in demo._commands(Path("my archive"), SHOWN)]
    for command in commands:
        _, _, ignored = build_app().parse_args(command)
        assert ignored == {}
    named = {command[0]: command for command in commands}
    assert named["why"][1] == SHOWN.prediction
    assert SHOWN.vkey in named["verify"]
    assert named["verify-receipt"][1:] == [str(SHOWN.receipt), "--vkey", SHOWN.vkey]


def test_what_the_demo_needs_is_named(monkeypatch):
    """Without what the extra installs, the message names it and how to install it."""
    monkeypatch.setattr(demo_data, "PACKAGES", ("no_such_package",))
    with pytest.raises(NotFoundError, match=r"no_such_package; .*pip install '\.\[demo\]'"):
        demo_data.read_tables()
