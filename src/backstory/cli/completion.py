"""`backstory completion`: scripts that let a shell complete commands and options."""

from __future__ import annotations

import sys
from typing import Literal

from backstory.cli.answer import print_json
from backstory.cli.options import Json

Shell = Literal["bash", "zsh", "fish"]


def completion(shell: Shell, /, *, json: Json = False) -> None:
    """Print a script that lets a shell complete commands and options.

    Args:
        shell: Which shell.
        json: Print one JSON document with the script in it.
    """
    from backstory.cli.main import PROGRAM, build_app

    script = build_app().generate_completion(prog_name=PROGRAM, shell=shell)
    if json:
        print_json({"script": script, "shell": shell})
    else:
        sys.stdout.write(script)
