"""No parser crashes, hangs, takes memory without bounds, or accepts a second form of what has one.

`BACKSTORY_FUZZ_SECONDS` says how long each is tried, `BACKSTORY_FUZZ_SEED` repeats a run. Without it CI tries what
strangers send for 20 seconds each, and everything else is tried for a moment. An input that failed is kept
in `cases/`, one folder a parser, and is tried ever after. `python -m tests.fuzz.worker NAME SECONDS` fuzzes one alone.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import secrets
from pathlib import Path

import pytest
from tests.fuzz.fuzzing import attempt
from tests.fuzz.parsers import PARSERS
from tests.fuzz.worker import Fuzzer

SECONDS = os.environ.get("BACKSTORY_FUZZ_SECONDS")
SEED = os.environ.get("BACKSTORY_FUZZ_SEED") or ("0" if os.environ.get("CI") else secrets.token_hex(4))
CASES = Path(__file__).parent / "cases"
SOURCE = Path(__file__).parents[2] / "src" / "backstory"
FROM_STRANGERS = {
    "bundle", "checkpoint", "manifest", "membership", "note", "policy", "proof file", "receipt", "receipts file",
    "report", "tile path",
}  # fmt: skip
"""What comes by mail or over a network, and is tried for longer."""
ROOMS = ("tlog", "records", "verify", "storage")
STAND_ALONE = SOURCE / "verify" / "standalone" / "verify_receipt.py"
NAMED_LIKE_A_PARSER = re.compile(r"(parse|decode|open|read|load)(_\w+)?")

EXCUSED = {
    "LogSource.read_tile": "a protocol",
    "open_keys": "opens a store of keys and reads nothing yet",
    "open_sections": "reached through `Vault.open_sections`",
    "Vault.read_opening": "reached through `open_opening`",
    "ParquetReader.read_group": "reached through `segment`",
    "ParquetReader.read_groups": "reached through `segment`",
    "ParquetReader.read_rows": "slices what `read_groups` gives",
    "RangeReader.read_hash": "computes from tiles that `decode_tile` cut",
    "Schema.open_columns": "reads nothing: the columns that are open",
    "Spool.read_on": "adds up what `read_on` of the frames gives",
    "Vault.read_table": "decodes only what was authenticated",
    "alone.decode_point": "of public keys: reached through `key of the stand-alone verifier`",
    "open_column": "reads nothing: describes a column",
    "open_log": "decides by the beginning of a text",
    "read_buffer": "hands out bytes as they are",
    "read_file": "hands out bytes as they are",
    "read_holdings": "reads entries that other parsers here take apart",
    "read_log_file": "cuts what `decode_bundle` reads",
    "read_rotation": "made of `decode_bundle` and `parse_rotated`",
    "read_rotations": "calls `read_rotation`",
    "read_state": "calls `parse_state`",
}
"""What has the name of a parser and is tried by no fuzzer, and why."""


def seconds_for(name):
    """Return how long a parser is tried."""
    if SECONDS:
        return float(SECONDS)
    return 20.0 if "CI" in os.environ and name in FROM_STRANGERS else 0.05


def folder_of(name):
    """Return the folder of a parser's cases."""
    return CASES / re.sub(r"\W+", "-", name)


def case_files():
    """Return every kept case with its parser."""
    names = {folder_of(name).name: name for name in PARSERS}
    return [(names[path.parent.name], path) for path in sorted(CASES.glob("*/*"))]


def named_like_parsers():
    """Return the names of all functions and methods that a parser would have."""
    found = set()
    for path in sorted(path for room in ROOMS for path in (SOURCE / room).rglob("*.py")):
        prefix = "alone." if path == STAND_ALONE else ""
        tree = ast.parse(path.read_bytes())
        for holder in [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]:
            owner = "" if holder is tree else f"{holder.name}."
            functions = (node.name for node in holder.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
            is_private = owner.startswith("_")
            found |= {prefix + owner + n for n in functions if NAMED_LIKE_A_PARSER.fullmatch(n) and not is_private}
    return found


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory):
    """A process that fuzzes."""
    running = Fuzzer(tmp_path_factory.mktemp("fuzz") / "input")
    yield running
    running.close()


@pytest.mark.parametrize("name", PARSERS)
def test_parser_keeps_its_promises(fuzzer, name):
    """Whatever the input, the parser refuses it with its own error or accepts the one form it has, soon and cheaply."""
    found = fuzzer.fuzz(name, seconds_for(name), SEED)
    failure = found["failure"]
    if failure is not None:
        data = bytes.fromhex(failure["input"])
        case = folder_of(name) / hashlib.sha256(data).hexdigest()[:16]
        case.parent.mkdir(exist_ok=True)
        case.write_bytes(data)
        told = f"{failure['why']}\nBACKSTORY_FUZZ_SEED={SEED}, input {failure['number']}, kept as {case.name}:"
        pytest.fail(f"{told}\n{failure['input'][:4_000]}", pytrace=False)
    assert found["accepted"] > 0, "no seed is valid: nothing behind the first check is tried"


@pytest.mark.parametrize(("name", "path"), case_files(), ids=lambda value: getattr(value, "name", value))
def test_what_failed_once_does_not_again(name, path):
    """A case that was found before is accepted or refused as it should be."""
    attempt(PARSERS[name], path.read_bytes())


def test_no_parser_is_forgotten():
    """Every function with a parser's name is fuzzed, or is excused for a reason; nothing that is gone is listed."""
    covered = {name for parser in PARSERS.values() for name in parser.covers}
    named = named_like_parsers()
    assert named - covered - set(EXCUSED) == set()
    assert {name for name in covered if NAMED_LIKE_A_PARSER.fullmatch(name.rpartition(".")[2])} - named == set()
    assert set(EXCUSED) - named == set()
    assert covered & set(EXCUSED) == set()


@pytest.mark.parametrize(
    ("name", "seconds", "why"),
    [
        ("sloppy", 20, "AssertionError"), ("raising", 20, "KeyError"), ("greedy", 20, "memory"),
        ("slow", 20, "processor time"), ("hanging", 0.1, "no answer"), ("dying", 20, "died"),
    ],
)  # fmt: skip
def test_a_bad_parser_is_found(tmp_path, name, seconds, why):
    """A parser that does one of the things none must do is found, with the input."""
    fuzzer = Fuzzer(tmp_path / "input", "tests.fuzz.broken")
    try:
        assert fuzzer.fuzz("sloppy", 20, "0")["failure"]  # the process is there
        failure = fuzzer.fuzz(name, seconds, "0", grace=1)["failure"]
    finally:
        fuzzer.close()
    assert why.lower() in failure["why"].lower()
    assert failure["input"]
