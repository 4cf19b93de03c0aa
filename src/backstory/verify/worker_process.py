"""What a worker process runs: `python -m backstory.verify.worker_process`.

Arrow imports pandas, where it is installed, to recognise pandas' values. Workers see none, and the import costs them
longer than hashing a hundred thousand rows, so here pandas does not exist.
"""

from __future__ import annotations

import sys


class _NoPandas:
    """An import finder that says pandas is not installed."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        """Refuse pandas, leave everything else to the finders after this one."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


if __name__ == "__main__":
    sys.meta_path.insert(0, _NoPandas())
    from backstory.verify.worker import main

    main()
