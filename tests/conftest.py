"""What every test shares: how Hypothesis searches, and where temporary files are.

On a developer's machine Hypothesis looks for new examples each time; under CI it takes the same ones each time, so
that a change is never blamed for an example nobody had tried before. Neither has a deadline: two busy cores make any of
them a lie.

Temporary files are in memory where the system has room for them there: nothing a test kills takes the kernel with it,
power cuts are simulated, and flushing to a disk would cost a quarter of the run. `make soak` writes to the disk.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30
if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
