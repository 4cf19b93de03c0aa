"""What the documentation refers to is there: pages, headings, targets of make, public names."""

from __future__ import annotations

import ast
import dataclasses
import re
import textwrap
from pathlib import Path

import pytest
from tests.docs.page import read_blocks

import backstory
from backstory.capture.metrics import Metrics
from backstory.capture.prediction import Predictions
from backstory.capture.promise import PromiseFile
from backstory.debug.diff import Diff
from backstory.debug.replay import Replay
from backstory.debug.whatif import WhatIf
from backstory.frames.aggregate import AGGREGATIONS
from backstory.ledger.receipt import ReceiptFile
from backstory.lineage.audit import Audit
from backstory.lineage.data_diff import DataDiff
from backstory.lineage.dataset_details import DatasetDetails
from backstory.lineage.graph import Graph
from backstory.lineage.impact import Impact
from backstory.lineage.overlap import Overlap
from backstory.lineage.reconcile import Reconciliation
from backstory.lineage.story import RowStory, Story
from backstory.lineage.version_story import VersionStory
from backstory.lineage.why_not import WhyNot
from backstory.report.membership import MembershipFile
from backstory.verify.finding import VerificationReport
from backstory.verify.membership import Membership
from backstory.verify.promise import Promise
from backstory.verify.receipt import Receipt

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
RECORDS = sorted((DOCS / "adr").glob("[0-9]*.md"))
RECORD_LINES_MAX = 100
ANSWERS = [
    Audit, DataDiff, DatasetDetails, Diff, Graph,
    Impact, Membership, MembershipFile, Metrics, Predictions, Promise, PromiseFile, Receipt, ReceiptFile,
    Reconciliation, Replay, RowStory, Story, VerificationReport, WhatIf, WhyNot, Overlap, VersionStory,
]  # fmt: skip
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_NAMED_PAGE = re.compile(r"docs/([\w/-]+\.md|adr/\d{4})")


def name_of(page: Path) -> str:
    """Return a page's path as a reader knows it."""
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    """Every link inside the project leads to a file that exists, and to a heading that does."""
    dead = []
    for link in _LINK.findall(_CODE.sub("", page.read_text("utf-8"))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_every_page_can_be_reached():
    """From the index, or the index of the decision records, a reader gets to every page."""
    indexes = [ROOT / "README.md", DOCS / "index.md", DOCS / "adr" / "index.md"]
    linked = {
        (index.parent / link.partition("#")[0]).resolve()
        for index in indexes
        for link in _LINK.findall(index.read_text("utf-8"))
    }
    assert [name_of(page) for page in DOCS.rglob("*.md") if page not in linked] == []


def test_pages_named_in_the_code_exist():
    """A comment that sends its reader to a page sends to one that is there."""
    files = [path for folder in ("src", "tests") for path in (ROOT / folder).rglob("*.py")]
    named = {match[1] for path in files for match in _NAMED_PAGE.finditer(path.read_text("utf-8"))}
    assert [name for name in sorted(named) if not list(DOCS.glob(f"{name.removesuffix('.md')}*.md"))] == []


def test_make_has_the_targets_that_pages_name():
    """Every `make` command of a page is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"\bmake ([a-z]+)`", page.read_text("utf-8"))}
    blocks = [block for page in PAGES for block in read_blocks(page) if block.language == "sh"]
    named |= {target for block in blocks for target in re.findall(r"^make ([a-z]+)", block.text, re.MULTILINE)}
    assert named - targets == set()


def test_reference_has_every_verb():
    """The page about the archive names each of its public methods and properties, and nothing that is not there."""
    page = (DOCS / "reference" / "archive.md").read_text("utf-8")
    documented = re.findall(r"^\| `(?:archive\.)([a-z_]+)", page, re.MULTILINE)
    assert set(documented) == {name for name in dir(backstory.Archive) if not name.startswith("_")}


def test_reference_has_every_public_name():
    """The page about the archive names everything the package exports."""
    page = (DOCS / "reference" / "archive.md").read_text("utf-8")
    documented = set(re.findall(r"`backstory\.(\w+)", page))
    assert documented >= set(backstory.__all__)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__name__)
def test_reference_has_every_field(answer):
    """The page about the archive has each public field of what a verb returns, under the answer's own heading."""
    page = (DOCS / "reference" / "archive.md").read_text("utf-8")
    section = page.split(f"\n### {answer.__name__}\n", 1)[1].split("\n#", 1)[0]
    fields = {field.name for field in dataclasses.fields(answer)}
    fields |= {name for name, value in vars(answer).items() if isinstance(value, property)}
    assert {name for name in fields if not name.startswith("_")} - set(re.findall(r"`(\w+)", section)) == set()


@pytest.mark.parametrize("verb", ["why", "impact", "replay", "search", "verify", "reconcile", "receipt", "metrics"])
def test_questions_say_what_they_return(verb):
    """`help` of a question says what is in the answer."""
    assert "Returns:\n" in getattr(backstory.Archive, verb).__doc__


def test_reference_has_every_aggregation():
    """The page about the archive names every function `group` takes."""
    page = (DOCS / "reference" / "archive.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("| `archive.group(")]
    assert AGGREGATIONS - set(re.findall(r"`(\w+)`", line)) == set()


def test_help_begins_with_an_example():
    """`help(backstory)` shows how to begin, in lines that are valid Python."""
    example = backstory.__doc__.split("\n\n")[1]
    assert "backstory.open(" in example
    ast.parse(textwrap.dedent(example))


@pytest.mark.parametrize("record", RECORDS, ids=name_of)
def test_decision_records_have_one_shape(record):
    """A decision record is short and has the headings of the template."""
    text = record.read_text("utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    template = re.findall(r"^## (.+)$", (DOCS / "adr" / "template.md").read_text("utf-8"), re.MULTILINE)
    assert headings == template
    assert len(text.splitlines()) < RECORD_LINES_MAX


def test_decision_records_are_numbered():
    """Decision records are numbered from 1 without gaps."""
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))
