"""Progress: only on a terminal, only on stderr, only after a while."""

from __future__ import annotations

import sys
import threading
from io import StringIO

from backstory.cli.progress import progress


class Terminal(StringIO):
    """Text that says it is a terminal, and when something was written to it."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def write(self, text):
        """Note when the bar is written."""
        count = super().write(text)
        if "verifying" in text:
            self.written.set()
        return count

    def isatty(self):
        """Say yes."""
        return True


def test_bar_on_a_terminal(monkeypatch):
    """A bar that was begun says what is being done, and is taken away at the end."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress("verifying", delay_seconds=0.0) as report:
        report("records", 1, 2)
        assert terminal.written.wait(10)
    assert terminal.getvalue().endswith("\x1b[2K")


def test_what_is_quick_shows_nothing(monkeypatch):
    """Nothing is drawn before the delay is over."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress("verifying", delay_seconds=60.0) as report:
        report("records", 1, 2)
    assert terminal.getvalue().strip() == ""


def test_nothing_into_a_file(monkeypatch):
    """Where stderr is no terminal nothing is ever drawn."""
    monkeypatch.setattr(sys, "stderr", StringIO())
    with progress("verifying", delay_seconds=0.0) as report:
        report("records", 1, 2)
    assert sys.stderr.getvalue() == ""
