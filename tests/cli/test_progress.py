"""Progress: only on a terminal, only on stderr, only after a while."""

from __future__ import annotations

import sys
import threading
from io import StringIO

import pytest

from backstory.cli.progress import progress


class Terminal(StringIO):
    """Text that says it is a terminal, and when something was written to it."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def write(self, text):
        count = super().write(text)
        if "verifying" in text:
            self.written.set()
        return count

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal as stderr."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def test_bar_on_a_terminal(terminal):
    """A bar that was begun says what is being done, and is taken away at the end."""
    with progress("verifying", delay_seconds=0.0) as report:
        report("records", 1, 2)
        assert terminal.written.wait(3), repr(terminal.getvalue())
    assert terminal.getvalue().endswith("\x1b[2K")


def test_what_is_quick_shows_nothing(terminal):
    """Nothing is drawn before the delay is over."""
    with progress("verifying", delay_seconds=60.0) as report:
        report("records", 1, 2)
    assert terminal.getvalue().strip() == ""


def test_nothing_into_a_file(monkeypatch):
    """Where stderr is no terminal nothing is ever drawn."""
    monkeypatch.setattr(sys, "stderr", StringIO())
    with progress("verifying", delay_seconds=0.0) as report:
        report("records", 1, 2)
    assert sys.stderr.getvalue() == ""
