"""What the sealer's process runs: `python -m backstory.ledger.sealer_process ARCHIVE [VKEY]`.

It seals what is due until its standard input ends, which it does when its parent closes it or dies. Several processes
of a service have one each: one of them is on duty, the others stand by.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from backstory.columns.own_process import hide_pandas, keep_memory

NICENESS = 5


def main(arguments: Sequence[str]) -> int:
    """Seal an archive's streams until standard input ends; return the exit code."""
    hide_pandas()
    keep_memory()
    from backstory.errors import BackstoryError
    from backstory.ledger.ledger import Ledger
    from backstory.ledger.stopping import stop_on
    from backstory.ledger.watch import OnDuty, Rule, Watch, watch
    from backstory.storage.world import World

    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the service, whose group this process is in
    try:
        vkey = arguments[1] if len(arguments) > 1 else None
        with (
            stop_on([signal.SIGTERM], sys.stdin.fileno()) as stop,
            closing(Ledger(Path(arguments[0]), World(), writable=True, vkey=vkey, actor=None)) as ledger,
        ):
            on_duty = OnDuty(ledger, Watch(ledger, Rule()))
            watch([on_duty], stop)
            on_duty.leave()
    except BackstoryError as error:
        logging.getLogger("backstory").warning("the sealer's process ends: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
