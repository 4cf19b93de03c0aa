"""What this process runs on: Python, operating system, packages, numerics. For replay, not for identifying anyone.

No host name, user name or path is in it. A package's `record` digest says which files were installed: the SHA-256 of
the lines of its RECORD file that came in the wheel, sorted. Lines that differ between two installations of one wheel
(scripts, which name the interpreter; compiled files; the installer's own notes) are left out, so equal wheels give
equal digests.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata

from backstory.models.json_value import json_safe
from backstory.records.canonical import JsonObject, JsonValue

VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "GOTO_NUM_THREADS",
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
    "NUMBA_DISABLE_JIT",
    "NUMBA_NUM_THREADS",
    "NUMBA_THREADING_LAYER",
    "NUMEXPR_NUM_THREADS",
    "OMP_DYNAMIC",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_SCHEDULE",
    "OMP_THREAD_LIMIT",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "VECLIB_MAXIMUM_THREADS",
)
"""Environment variables that change arithmetic or its order. Only these are read: others hold paths and secrets."""

_POOL_FACTS = ("user_api", "internal_api", "prefix", "version", "num_threads", "threading_layer", "architecture")


@functools.cache
def environment() -> JsonObject:
    """Describe the process, once.

    Returns:
        JSON-safe: `python`, `platform`, `packages` (name to `version` and `record`), `numerics` (`pools`, the thread
        pools loaded so far, and `variables`). The same object on every call: do not change it.
    """
    return {
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "build": list(platform.python_build()),
            "compiler": platform.python_compiler(),
        },
        "platform": {
            "os": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
            "libc": " ".join(platform.libc_ver()).strip() or None,
            "byteorder": sys.byteorder,
        },
        "packages": dict(sorted(_packages())),
        "numerics": {
            "pools": _pools(),
            "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        },
    }


def _packages() -> Iterator[tuple[str, JsonValue]]:
    seen: set[str] = set()
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", str(distribution.metadata["Name"])).lower()
        if name not in seen:  # the first on the path is the one that is imported
            seen.add(name)
            yield name, {"version": distribution.version, "record": _record_digest(distribution.read_text("RECORD"))}


def _record_digest(record: str | None) -> str | None:
    if record is None:
        return None
    lines = sorted(line for line in record.splitlines() if line and _came_in_the_wheel(line.partition(",")[0]))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _came_in_the_wheel(path: str) -> bool:
    if path.startswith(("..", "/", '"..')) or path.endswith(".pyc"):
        return False
    folder, _, name = path.rpartition("/")
    return not folder.endswith(".dist-info") or name in {"METADATA", "WHEEL"}


def _pools() -> JsonValue:
    try:
        import threadpoolctl
    except ImportError:
        return None
    # The report also names library files, by path; those stay out.
    pools: list[JsonValue] = [
        {fact: json_safe(pool[fact]) for fact in _POOL_FACTS if fact in pool}
        for pool in threadpoolctl.threadpool_info()
    ]
    return pools
