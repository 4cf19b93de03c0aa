"""Importing the package is quick, and each floor imports only what its place allows.

The arrows between packages that always exist are import-linter's business (pyproject.toml). Here are the rules about
single packages, which may come later than the rule.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]

IMPORT_MS_MAX = 100.0
"""Budget of `import backstory`, in milliseconds beyond starting Python."""

FRAMEWORKS = frozenset(
    {"fastapi", "lightgbm", "opentelemetry", "pandas", "polars", "skops", "sklearn", "starlette", "xgboost"}
)
"""Optional: a base install has none of them."""

LIBRARIES = frozenset({"cryptography", "cyclopts", "duckdb", "msgspec", "narwhals", "numpy", "pyarrow", "rich"})

SLOW_STANDARD = frozenset(
    {"asyncio", "http", "multiprocessing", "socket", "sqlite3", "ssl", "subprocess", "urllib.request"}
)
"""Parts of the standard library that cost more than all of our own names."""

FRAMEWORK_ADAPTERS = (
    "backstory.capture.fastapi",
    "backstory.cli.demo_data",
    "backstory.frames",
    "backstory.interop.opentelemetry",
    "backstory.models",
)
"""The packages that may import them, when used; the demo plays a user, who has them."""

NEVER = [
    ("backstory.lineage", "backstory.capture"),
    ("backstory.capture", "backstory.catalog"),
    ("backstory.capture", "backstory.server"),
    ("backstory.verify", "backstory.capture"),
    ("backstory.verify", "backstory.catalog"),
    ("backstory.verify", "backstory.ledger"),
]


def run_python(code: str) -> str:
    """Run code in a fresh interpreter that finds this checkout, and return what it prints."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-X", "utf8", "-c", code]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    ).stdout


@pytest.fixture(scope="module")
def graph():
    """Every import of the package, those inside functions too."""
    return grimp.build_graph("backstory", include_external_packages=True, cache_dir=None)


def is_inside(module: str, package: str) -> bool:
    """Tell whether a module is a package or in it."""
    return module == package or module.startswith(package + ".")


def test_import_is_quick():
    """Importing backstory takes less than its budget in a fresh interpreter, in the best of five."""
    code = "import time; t = time.perf_counter(); import backstory; print((time.perf_counter() - t) * 1000)"
    assert min(float(run_python(code)) for _ in range(5)) < IMPORT_MS_MAX


def test_import_loads_nothing_heavy():
    """Importing backstory loads no numeric, table, database, network or machine learning library."""
    loaded = set(run_python("import sys, backstory; print(*sys.modules)").split())
    assert loaded & (FRAMEWORKS | LIBRARIES | SLOW_STANDARD) == set()


def test_optional_frameworks_stay_in_their_adapters(graph):
    """Only the adapters import an optional framework."""
    found = {
        (module, framework)
        for framework in FRAMEWORKS & graph.modules
        for module in graph.find_modules_that_directly_import(framework)
        if not any(is_inside(module, adapter) for adapter in FRAMEWORK_ADAPTERS)
    }
    assert found == set()


@pytest.mark.parametrize(("source", "target"), NEVER)
def test_forbidden_arrow(graph, source, target):
    """A package that must stay clear of another reaches it by no chain of imports."""
    if {source, target} <= graph.modules:
        assert graph.find_shortest_chains(source, target, as_packages=True) == set()
