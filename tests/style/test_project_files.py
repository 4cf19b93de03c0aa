"""The files around the code agree with each other: version, changelog, requirements, and the page about them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from backstory.version import VERSION

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = sorted((ROOT / "requirements").iterdir())
LOCKS = [path for path in REQUIREMENTS if path.suffix == ".txt"]
STAND_INS = {"xgboost": "xgboost-cpu"}
"""Installed here in the place of what a user installs; dev.in says why."""


def requirement_lines(name: str) -> set[str]:
    """Return the requirements of one file, without its comments."""
    lines = (ROOT / "requirements" / name).read_text("utf-8").splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def name_of(requirement: str) -> str:
    """Return the name at the start of a requirement."""
    return re.match(r"[a-z0-9-]+", requirement)[0]


def declared() -> set[str]:
    """Return everything pyproject.toml asks for, extras included."""
    return set(PROJECT["dependencies"]).union(*PROJECT["optional-dependencies"].values())


def test_changelog_is_of_this_version():
    """The changelog's first version is the package's."""
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert versions[0] == VERSION


def test_readme_names_every_extra():
    """Nobody has to look into pyproject.toml for what can be installed."""
    (sentence,) = re.findall(r"The extras are (.+?)\. ", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert set(PROJECT["optional-dependencies"]) - set(re.findall(r"`(\w+)`", sentence)) == set()


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_name_no_address(path):
    """Where packages come from is the machine's setting, never the project's."""
    text = path.read_text("utf-8")
    assert not re.search(r"://|^\s*-", text.replace("    --hash=sha256:", ""), re.MULTILINE)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_locked_requirement_has_a_hash(path):
    """Nothing is installed whose bytes were not fixed."""
    blocks = re.split(r"\n(?=\S)", path.read_text("utf-8"))
    assert [block for block in blocks if not block.startswith("#") and "--hash=sha256:" not in block] == []


def test_development_installs_what_users_install():
    """Every dependency and extra is in dev.in or data.in, with the bound pyproject.toml gives; PyTorch apart."""
    elsewhere = {r for r in declared() if name_of(r) == "torch"}  # `make torch` has an environment of its own
    wanted = {re.sub(r"^[a-z0-9-]+", STAND_INS.get(name_of(r), name_of(r)), r) for r in declared() - elsewhere}
    assert wanted - requirement_lines("dev.in") - requirement_lines("data.in") == set()


def test_demo_and_tests_share_versions():
    """What the demo locks, the tests lock too, to the same version."""
    pins = {line.split(" ")[0] for line in requirement_lines("demo.txt") if "==" in line}
    assert pins - {line.split(" ")[0] for line in requirement_lines("dev.txt")} == set()


def test_every_dependency_has_its_reason():
    """docs/dependencies.md has one row for each thing asked for by name, and no other."""
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    explained = re.findall(r"^\| `([a-z0-9-]+)`", page, re.MULTILINE)
    asked = {name_of(line) for path in REQUIREMENTS if path.suffix == ".in" for line in requirement_lines(path.name)}
    assert sorted(explained) == sorted(asked | {name_of(requirement) for requirement in declared()})
