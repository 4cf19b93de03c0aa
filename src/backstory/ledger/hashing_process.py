"""What the hashing process runs: `python -m backstory.ledger.hashing_process`."""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for who seals, whose end closes the input
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody is left to be answered

    from backstory.columns.own_process import hide_pandas, keep_memory

    hide_pandas()
    keep_memory()
    import pyarrow as pa

    from backstory.ledger.hashing import answer

    pa.set_cpu_count(1)
    answer(sys.stdin.buffer, sys.stdout.buffer)
