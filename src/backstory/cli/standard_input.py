"""What is read from standard input, so that no list of commands has it and no history, such as a person's id."""

from __future__ import annotations

import sys
from typing import Final

from backstory.errors import InputError

STDIN: Final = "-"
"""What stands for it on the command line."""


def read_line(command: str, what: str) -> str:
    """Return the next line.

    Args:
        command: The command that asks.
        what: What it asks for.

    Raises:
        InputError: There is none, or it is empty.
    """
    line = sys.stdin.readline().rstrip("\n")
    if not line:
        raise InputError(f"{command}: expected {what} as a line on standard input")
    return line
