"""Habits that no linter knows: where clocks, settings and chance may be, how modules are named, how long they get."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "backstory"
MODULES = sorted(PACKAGE.rglob("*.py"))

MODULE_LINES_MAX = 600
"""A module at 400 lines should ask itself why; here it must stop."""

NAMES_THAT_SAY_NOTHING = frozenset(
    {"base", "common", "handler", "helper", "helpers", "info", "manager", "misc", "util", "utils"}
)

CALLS = {
    "clock": (
        "time.time",
        "time.time_ns",
        "datetime.now",
        "datetime.utcnow",
        "datetime.today",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.datetime.today",
        "date.today",
        "datetime.date.today",
    ),
    "environment": ("os.environ", "os.environb", "os.getenv"),
    "chance": ("random", "numpy.random", "np.random", "os.urandom", "secrets", "uuid.uuid1", "uuid.uuid4"),
}
"""What makes a result depend on more than the arguments, by kind; a bare module name means all of it."""

ALLOWED = {
    "clock": frozenset({"storage/world.py"}),
    "environment": frozenset({"cli/main.py", "models/environment.py"}),
    "chance": frozenset(
        {"storage/disk.py", "storage/encryption.py", "storage/keys.py", "storage/master.py", "storage/world.py"}
    ),
}
"""Modules at the edge, as paths inside the package, that may do so; everything else is given a value."""


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Map every name that an import binds, wherever it stands, to what it is the name of."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def dotted_uses(tree: ast.Module) -> set[str]:
    """Name every imported thing a module uses, in full, whatever it is called there."""
    names = imported_names(tree)
    uses = set()
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value  # noqa: PLW2901 - walks down one chain
        if isinstance(node, ast.Name) and node.id in names:
            uses.add(".".join([names[node.id], *reversed(parts)]))
    return uses


@functools.cache
def uses_of_modules() -> dict[str, set[str]]:
    """Name every imported thing that each module uses."""
    return {path.relative_to(PACKAGE).as_posix(): dotted_uses(ast.parse(path.read_bytes())) for path in MODULES}


def modules_that_use(kind: str) -> set[str]:
    """Name the modules with a use of this kind."""
    return {
        module
        for module, uses in uses_of_modules().items()
        for use in uses
        if any(use == name or use.startswith(name + ".") for name in CALLS[kind])
    }


@pytest.mark.parametrize("kind", CALLS)
def test_only_the_edge_depends_on_the_world(kind):
    """Clock, environment and chance are used by the modules allowed to, and every permission is used."""
    assert modules_that_use(kind) == ALLOWED[kind]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import time\ntime.time()", "time.time"),
        ("import time as t\nt.time_ns()", "time.time_ns"),
        ("from datetime import datetime as D\nD.now()", "datetime.datetime.now"),
        ("def f():\n    from os import environ\n    return environ['A']", "os.environ"),
        ("import numpy as np\nnp.random.default_rng()", "numpy.random.default_rng"),
    ],
)
def test_uses_are_seen_under_any_name(source, expected):
    """A use is found through renamed, nested and from-imports."""
    assert expected in dotted_uses(ast.parse(source))


def test_modules_stay_small():
    """No module is longer than a person can hold in mind."""
    assert [path.name for path in MODULES if len(path.read_text("utf-8").splitlines()) > MODULE_LINES_MAX] == []


def test_module_names_say_something():
    """No module or package is named after being handy."""
    names = {path.relative_to(PACKAGE).as_posix(): path.relative_to(PACKAGE).with_suffix("").parts for path in MODULES}
    assert [path for path, parts in names.items() if NAMES_THAT_SAY_NOTHING.intersection(parts)] == []
