"""What the hashing process runs: `python -m backstory.ledger.hashing_process`."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from backstory.columns.without_pandas import hide_pandas

    hide_pandas()
    import pyarrow as pa

    from backstory.ledger.hashing import answer

    pa.set_cpu_count(1)
    answer(sys.stdin.buffer, sys.stdout.buffer)
