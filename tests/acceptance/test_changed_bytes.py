"""Bytes that somebody changed below an archive: no question answers from them, with the key pinned and without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import backstory
from backstory.archive import Archive
from backstory.errors import VerificationError

Kept = tuple[Path, tuple[str, ...], str]


def _set_column(root: Path, having: str, column: str, value: object) -> None:
    """Give every row of the segments that have a column the same value in another, and leave what else they say."""
    for path in (root / "segments").iterdir():
        table = pq.read_table(path)
        if having in table.column_names:
            index, field = table.column_names.index(column), table.schema.field(column)
            changed = table.set_column(index, field, pa.array([value] * table.num_rows, field.type))
            pq.write_table(changed, path)


@pytest.fixture
def judged(kept: Kept) -> Kept:
    """An archive with an outcome."""
    path, ids, vkey = kept
    with backstory.open(path) as archive:
        archive.outcome(ids[0], 1.0)
    return path, ids, vkey


def test_a_forged_outcome_is_never_shown(judged: Kept):
    """What was recorded later about a prediction is proven as the prediction is."""
    path, ids, vkey = judged
    _set_column(path, "of", "value", -777.0)
    with backstory.open(path, mode="r", vkey=vkey) as archive, pytest.raises(VerificationError):
        archive.why(ids[0])


def test_a_hidden_outcome_is_noticed(judged: Kept):
    """An outcome that was made another prediction's is not just left out of the story."""
    path, ids, vkey = judged
    _set_column(path, "of", "of", bytes(16))
    with backstory.open(path, mode="r", vkey=vkey) as archive, pytest.raises(VerificationError):
        archive.why(ids[0])


QUESTIONS = [
    pytest.param(lambda archive: archive.impact("loans", rows=[0]), id="impact"),
    pytest.param(lambda archive: archive.search("output >= 0"), id="search"),
    pytest.param(lambda archive: archive.reconcile(requests=["one"]), id="reconcile"),
]


@pytest.mark.parametrize("ask", QUESTIONS)
def test_questions_about_all_records_are_not_answered_from_changed_ones(ask: Callable[[Archive], object], kept: Kept):
    """References, values and request ids are read from the files the log names, or not at all."""
    path, _, vkey = kept
    _set_column(path, "request_id", "request_id", "forged")
    with backstory.open(path, mode="r", vkey=vkey) as archive, pytest.raises(VerificationError):
        ask(archive)


@pytest.mark.parametrize("ask", QUESTIONS)
def test_what_is_changed_while_an_archive_is_open_is_noticed(ask: Callable[[Archive], object], kept: Kept):
    """A file that was checked once is checked again after it has changed."""
    path, _, _ = kept
    with backstory.open(path, mode="r") as archive:
        ask(archive)
        _set_column(path, "request_id", "request_id", "forged")
        with pytest.raises(VerificationError):
            ask(archive)
