"""What this process runs on: Python, operating system, packages, numerics. For replay, not for identifying anyone.

No host name, user name or path is in it. A package's `record` digest says which files were installed: the SHA-256 of
the lines of its RECORD file that came in the wheel, sorted. Lines that differ between two installations of one wheel
(scripts, which name the interpreter; compiled files; the installer's own notes) are left out, so equal wheels give
equal digests.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import operator
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib import metadata
from types import ModuleType
from typing import Any

from backstory.models.json_value import json_safe
from backstory.records import canonical
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

_CPU_FLAGS = ("ASIMD", "AVX", "F16C", "FMA", "NEON", "RVV", "SVE", "VSX", "VX", "X86_V")
"""How names of processor features that numerical kernels are chosen by begin, as NumPy names them."""

_TORCH_SWITCHES = ("are_deterministic_algorithms_enabled", "get_num_threads")
"""Functions of PyTorch whose answers a program may change at any time; asked with each call."""

_POOL_FACTS = ("user_api", "internal_api", "prefix", "version", "num_threads", "threading_layer", "architecture")


def environment() -> JsonObject:
    """Describe the process, as far as it is loaded: libraries that are imported later change `numerics`.

    Returns:
        JSON-safe: `python`, `platform`, `packages` (name to `version` and `record`), `numerics` (`pools`, the thread
        pools loaded so far; `cpu`, processor features in use; `cpus`, how many it may use; `subnormals`; `torch`, where
        that is loaded; and `variables`). The same object while nothing changed: do not change it.
    """
    _lasting()  # imports what it needs, before modules are counted
    torch = sys.modules.get("torch")
    switches = () if torch is None else tuple(_of(torch, name) for name in _TORCH_SWITCHES)
    return _when_loaded(len(sys.modules), switches)


def kernels() -> dict[str, str]:
    """Return for each numerical library that is loaded the family of processors its kernels are for."""
    controller = _controller()
    pools = [] if controller is None else controller.info()
    return {str(pool["prefix"]): str(pool["architecture"]) for pool in pools if pool.get("architecture")}


def one_thread() -> AbstractContextManager[object]:
    """Limit the numerical libraries that are loaded to one thread, of the whole process, within a `with` block."""
    controller = _controller()
    limited: AbstractContextManager[object] = nullcontext() if controller is None else controller.limit(limits=1)
    return limited


@functools.lru_cache(maxsize=1)
def _when_loaded(modules: int, switches: tuple[JsonValue, ...]) -> JsonObject:  # noqa: ARG001  what the answer is for
    """Describe the process with so many modules loaded: looking for libraries again takes milliseconds."""
    return _described(canonical.encode(_numerics()))


@functools.lru_cache(maxsize=8)
def _described(numerics: bytes) -> JsonObject:
    return {**_lasting(), "numerics": canonical.parse_object(numerics, "numerics")}


@functools.cache
def _lasting() -> JsonObject:
    """Describe what stays the same while a process runs."""
    _threadpoolctl()
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
    }


def _numerics() -> JsonObject:
    """Describe what chooses the order and the precision of sums."""
    found: JsonObject = {
        "cpu": _cpu(),
        "cpus": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "pools": _pools(),
        "subnormals": "kept" if sys.float_info.min / 2 else "flushed",
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    torch = sys.modules.get("torch")
    return found if torch is None else {**found, "torch": _torch(torch)}


def _cpu() -> JsonValue:
    """Return the processor features NumPy found and was not told to leave alone; None where it does not say."""
    try:
        features = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):
        return None
    return sorted(name for name, is_on in features.items() if is_on and name.startswith(_CPU_FLAGS))


def _torch(torch: ModuleType) -> JsonObject:
    """Return the switches of PyTorch that change sums; of a GPU only where one is in use."""
    found: JsonObject = {
        "cpu": _of(torch, "backends.cpu.get_cpu_capability"),
        "deterministic": _of(torch, "are_deterministic_algorithms_enabled"),
        "matmul_precision": _of(torch, "get_float32_matmul_precision"),
        "mkl": _of(torch, "backends.mkl.is_available"),
        "onednn": _of(torch, "backends.mkldnn.is_available"),
        "threads": _of(torch, "get_num_threads"),
    }
    if _of(torch, "cuda.is_initialized") is not True:
        return found
    gpu: JsonObject = {
        "cuda": _of(torch, "version.cuda"),
        "cudnn": _of(torch, "backends.cudnn.version"),
        "device": _of(torch, "cuda.get_device_name"),
        "tf32": _of(torch, "backends.cuda.matmul.allow_tf32"),
    }
    return {**found, "gpu": gpu}


def _of(module: ModuleType, path: str) -> JsonValue:
    """Return an attribute of a module, or what it returns where it is a function; None where there is none."""
    try:
        found = operator.attrgetter(path)(module)
        return json_safe(found() if callable(found) else found)
    except (AttributeError, RuntimeError, AssertionError):
        return None


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


def _controller() -> Any:
    """Return what knows the thread pools that are loaded; None without the library that finds them."""
    library = _threadpoolctl()
    return None if library is None else _controller_of(library, len(sys.modules))


@functools.cache
def _threadpoolctl() -> ModuleType | None:
    try:
        return importlib.import_module("threadpoolctl")
    except ImportError:
        return None


@functools.lru_cache(maxsize=1)
def _controller_of(library: ModuleType, modules: int) -> Any:  # noqa: ARG001  what the answer is for
    return library.ThreadpoolController()


def _pools() -> JsonValue:
    controller = _controller()
    if controller is None:
        return None
    # The report also names library files, by path; those stay out.
    pools: list[JsonValue] = [
        {fact: json_safe(pool[fact]) for fact in _POOL_FACTS if fact in pool} for pool in controller.info()
    ]
    return pools


def variables_of(document: JsonObject) -> dict[str, str]:
    """Return the variables of arithmetic that an environment's description names, and no others it may name."""
    numerics = document.get("numerics")
    given = numerics.get("variables") if isinstance(numerics, dict) else None
    found = given if isinstance(given, dict) else {}
    return {name: str(value) for name, value in found.items() if name in VARIABLES}
