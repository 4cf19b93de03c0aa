"""The command line as `python -m backstory`."""

from __future__ import annotations

import sys

from backstory.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
