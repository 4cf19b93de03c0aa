"""What a worker process runs: `python -m backstory.verify.worker_process`."""

from __future__ import annotations

if __name__ == "__main__":
    from backstory.columns.without_pandas import hide_pandas

    hide_pandas()
    from backstory.verify.worker import main

    main()
