"""What a worker process runs: `python -m backstory.verify.worker_process`."""

from __future__ import annotations

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for who verifies, whose end closes the input
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody is left to be answered

    from backstory.columns.own_process import hide_pandas

    hide_pandas()
    from backstory.verify.worker import main

    main()
