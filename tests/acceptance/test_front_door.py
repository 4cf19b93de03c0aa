"""The front door as somebody meets it at a prompt: names, one-line answers, and what is said where no archive is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.archives import ORIGIN, loans

import backstory
from backstory.errors import ConflictError, InputError, NotFoundError, VerificationError
from backstory.verify.archive import verify_archive

Kept = tuple[Path, tuple[str, ...], str]


def test_completion_knows_the_public_names():
    """`dir` lists what the package offers, also what is loaded when it is first used."""
    assert set(backstory.__all__) <= set(dir(backstory))


def test_every_answer_is_one_line_at_a_prompt(kept: Kept):
    """What an archive gives, and the archive itself, shows as one line that names it, however much is in it."""
    path, ids, vkey = kept
    with backstory.open(path, vkey=vkey) as archive:
        made = archive.predict("credit", loans()[["amount", "years"]])
        receipt = archive.receipt(ids[0])
        job = archive.job("nightly", run="1")
        shown = {
            ids[0]: [archive.why(ids[0]), archive.replay(ids[0]), receipt],
            str(path): [archive],
            made.ids[0]: [made, made.ids],
            "verified": [archive.verify(workers=1)],
            "1 row of loans reached": [archive.impact("loans", rows=3)],
            "80 recorded": [archive.reconcile(count=80)],
            "nightly": [job],
            "part '1'": [job.predict("credit", loans()[["amount", "years"]], part=1)],
            f"record {ids[0]}": [backstory.verify_receipt(receipt.data, vkey=vkey)],
        }
    for naming, answers in shown.items():
        for answer in answers:
            assert naming in repr(answer)
            assert "\n" not in repr(answer)
            assert len(repr(answer)) < 250


def test_what_is_no_archive_is_told_apart(tmp_path: Path, kept: Kept):
    """A file, a worker's spool, another directory and nothing: each is named."""
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with backstory.open(kept[0], vkey=kept[2]) as archive:
        archive.spool(tmp_path / "spool")
    for name, got in {"file": "a file", "empty": "one without", "spool": "a worker's spool", "none": "nothing"}.items():
        with pytest.raises(NotFoundError, match=f"got {got}"):
            backstory.open(tmp_path / name)


def test_init_of_an_archive_says_how_to_open_it(kept: Kept):
    """Whoever runs a notebook again reads what to do instead."""
    with pytest.raises(ConflictError, match=r"open it with backstory\.open\('.*kept'\)"):
        backstory.init(kept[0], origin=ORIGIN)


def test_a_purpose_needs_an_actor(kept: Kept):
    """Nobody reads sealed values without saying who they are, on the command line and in Python."""
    with pytest.raises(InputError, match="actor"):
        backstory.open(kept[0], purpose="case 1")


def test_a_checkpoint_signed_by_another_key_says_so(kept: Kept, tmp_path: Path):
    """A receipt of one archive under the key of another names both keys."""
    path, ids, vkey = kept
    with backstory.init(tmp_path / "other", origin=ORIGIN) as other:
        theirs = other.vkey
    with backstory.open(path, mode="r", vkey=vkey) as archive:
        data = archive.receipt(ids[0]).data
    key = theirs[: len(ORIGIN) + 9].replace("+", r"\+")
    with pytest.raises(VerificationError, match=f"signed by .*, expected {key}"):
        backstory.verify_receipt(data, vkey=theirs)


def test_no_worker_checks_nothing(kept: Kept):
    """A number of processes below one is a mistake."""
    with pytest.raises(InputError, match="at least 1"):
        verify_archive(kept[0], workers=0)
