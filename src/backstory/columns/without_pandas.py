"""For processes of our own: Arrow imports pandas, where it is installed, to recognise pandas' values.

They see none, and the import takes them longer than hashing a hundred thousand rows, so there pandas does not exist.
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


def hide_pandas() -> None:
    """Let this process go without pandas; before Arrow is imported."""
    sys.meta_path.insert(0, _NoPandas())
