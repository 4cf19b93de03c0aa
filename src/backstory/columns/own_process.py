"""For processes of our own, which seal or verify and do nothing else.

Arrow imports pandas, where it is installed, to recognise pandas' values. These processes see none, and the import takes
longer than hashing a hundred thousand rows.

Arrow's own allocator hands freed memory back to the kernel at once. A batch of 50 MB, read, hashed and freed, then
costs a third of the kernel's time again for each next one; the system's allocator keeps it.
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


def keep_memory() -> None:
    """Let Arrow take memory from the system's allocator from now on."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
