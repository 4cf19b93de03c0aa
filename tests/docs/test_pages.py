"""Every page of the documentation runs as printed, and gives what it says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.docs.commands import Commands
from tests.docs.page import LANGUAGES, compare, read_blocks, run_page

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
RUN = [page for page in PAGES if {block.language for block in read_blocks(page)} & {"console", "python"}]
EXAMPLE_LINES_MAX = 20


def name_of(page: Path) -> str:
    """Return a page's path as a reader knows it."""
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """The process behind `backstory`."""
    running = Commands(tmp_path_factory.mktemp("commands"))
    yield running
    running.close()


@pytest.fixture
def environment(tmp_path, monkeypatch, commands):
    """What commands and programs of a page find: this interpreter, its `backstory`, this checkout, no colours."""
    folder = tmp_path / "bin"
    folder.mkdir()
    commands.install(folder / "backstory")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    sources = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    for name, value in (("NO_COLOR", "1"), ("PATH", path), ("PYTHONPATH", sources), ("TMPDIR", str(tmp_path))):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("page", RUN, ids=name_of)
@pytest.mark.usefixtures("environment")
def test_page_runs_as_printed(page, tmp_path, monkeypatch):
    """Every block runs, in order, in an empty directory, and gives what the page says."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    known = set(sys.modules)
    run_page(page, tmp_path)
    for name in set(sys.modules) - known:  # a page's own module, of whose name another page has another
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(work)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_what_they_are(page):
    """A block without a known language would go untested without anyone noticing."""
    assert {block.language for block in read_blocks(page) if name_of(page) != "docs/format.md"} <= LANGUAGES


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_page_that_makes_an_archive_says_where(page):
    """Pages use one name for their archive; a second page in the same directory would be refused."""
    text = " ".join(page.read_text("utf-8").split())
    assert "backstory.init(" not in text or "empty directory" in text


def test_first_example_is_short():
    """The example in the README fits a glance."""
    example = next(block for block in read_blocks(ROOT / "README.md") if block.language == "python")
    lines = [line for line in example.text.splitlines() if line.strip()]
    assert len(lines) <= EXAMPLE_LINES_MAX


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 2  # -> nothing\n```\n",
        "```python\n1 + 1  # -> 3\n```\n",
        "```python\nprint('a')\n# -> b\n```\n",
        "```console\n$ false\n```\n",
        "```console\n$ echo a\nb\n```\n",
    ],
)
def test_wrong_page_is_noticed(text, tmp_path):
    """A page that says something else than what happens does not pass."""
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError):
        run_page(page, tmp_path)


def test_comparison_is_loose():
    """Spaces, line breaks and what dots stand for do not matter."""
    compare("an id ...\nand more\n", "an id 0190\nand   more", "here")


def test_later_blocks_see_earlier_ones(tmp_path):
    """The blocks of a page are one program, and functions in it have their source."""
    page = tmp_path / "some-page.md"
    source = "inspect.getsource(f)\n# -> def f():\n# ->     return 1"
    page.write_text(f"```python\nimport inspect\ndef f():\n    return 1\n```\ntext\n```python\n{source}\n```\n")
    assert run_page(page, tmp_path).f() == 1
