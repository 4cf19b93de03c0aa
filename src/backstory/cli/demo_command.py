"""`backstory demo`: what the demo takes from the command line."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from backstory.cli.answer import print_json
from backstory.cli.options import Json

DIRECTORY = Path("demo-archive")


def demo(into: Path = DIRECTORY, /, *, replace: bool = False, json: Json = False) -> None:
    """Show the whole story on real data, in about a minute.

    Args:
        into: Directory of the archive to make.
        replace: Remove an archive that is there.
        json: Print one JSON document; the story then goes to stderr.
    """
    from rich.console import Console

    from backstory.cli.demo import run_demo

    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        run_demo(into, replace=replace, console=Console())
    if json:
        print_json({"archive": str(into)})
