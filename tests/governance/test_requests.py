"""Requests: what a person asked for, what became of it, and what is overdue."""

from __future__ import annotations

import shutil

import pytest
from tests.support.archives import ORIGIN
from tests.support.deciding import acting

import backstory
from backstory.errors import ConflictError, ForbiddenError, InputError, NotFoundError

RECEIVED = "2027-01-31T10:00:00Z"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A closed, empty archive."""
    path = tmp_path_factory.mktemp("requests") / "audit"
    backstory.init(path, origin=ORIGIN).close()
    return path


@pytest.fixture
def archive(template, tmp_path):
    """A copy of it, open."""
    with acting(shutil.copytree(template, tmp_path / "audit"), "Bo Chen", "requests") as opened:
        yield opened


def asked(archive, type_="access", **said):
    """Record a request; return it."""
    given = {"subject": "c-17", "received": RECEIVED, "rule": "eu-request"} | said
    return archive.rights.request(type_, **given)


def test_the_clock_runs_from_when_it_was_received(archive):
    """Not from when it was recorded; a month from the last of January ends with February."""
    request = asked(archive)
    assert (request.state, request.due.isoformat()) == ("received", "2027-02-28T23:59:59.999999+00:00")
    assert request.recorded < "2027-01-16"
    assert archive.rights.overdue("2027-02-28T23:59:59.999999Z") == []
    assert [one.id for one in archive.rights.overdue("2027-03-01T00:00:00Z")] == [request.id]


def test_what_became_of_it_is_told_in_order(archive):
    """Identified, extended, fulfilled, and a recipient told after that."""
    request = asked(archive, "rectification", text="my income is wrong", about=[])
    archive.rights.answer(request.id, "identified", at="2027-02-01T00:00:00Z")
    extended = archive.rights.answer(request.id, "extended", at="2027-02-02T00:00:00Z")
    assert extended.due.isoformat() == "2027-04-28T23:59:59.999999+00:00"
    archive.flush()
    done = archive.rights.answer(request.id, "fulfilled", at="2027-04-01T00:00:00Z", text="it was corrected")
    archive.rights.answer(request.id, "notified", at="2027-04-02T00:00:00Z", recipient="the bureau")
    found = archive.rights.show(request.id)
    assert [step.state for step in found.steps] == ["identified", "extended", "fulfilled", "notified"]
    assert (found.state, found.subject, found.text) == ("fulfilled", "c-17", "my income is wrong")
    assert (found.steps[-1].recipient, found.steps[-2].text) == ("the bureau", "it was corrected")
    assert done.subject is None
    assert not found.is_late(2**62)
    assert archive.rights.overdue("2030-01-01T00:00:00Z") == []
    assert "fulfilled" in str(found)
    archive.flush()
    archive.verify()


def test_a_refusal_names_its_ground(archive):
    """And ends the clock; it is answered once."""
    request = asked(archive)
    with pytest.raises(InputError, match="ground"):
        archive.rights.answer(request.id, "refused")
    refused = archive.rights.answer(request.id, "refused", ground="GDPR Article 12(5)", at="2027-02-01T00:00:00Z")
    assert (refused.state, refused.ground) == ("refused", "GDPR Article 12(5)")
    with pytest.raises(ConflictError, match="answered"):
        archive.rights.answer(request.id, "fulfilled")


def test_an_extension_is_given_once_and_in_time(archive):
    """Not after the term ended, not twice, and not where the clock allows none."""
    request = asked(archive)
    with pytest.raises(ConflictError, match="too late"):
        archive.rights.answer(request.id, "extended", at="2027-03-02T00:00:00Z")
    with pytest.raises(InputError, match="its clock eu-request allows"):
        archive.rights.answer(request.id, "extended", at="2027-02-02T00:00:00Z", due="2027-05-01T00:00:00Z")
    archive.rights.answer(request.id, "extended", at="2027-02-02T00:00:00Z")
    with pytest.raises(ConflictError, match="extended before"):
        archive.rights.answer(request.id, "extended", at="2027-02-03T00:00:00Z")
    other = asked(archive, "explanation", rule="eu-explanation")
    with pytest.raises(InputError, match="allows none"):
        archive.rights.answer(other.id, "extended", at="2027-02-02T00:00:00Z")
    given = archive.rights.answer(other.id, "extended", at="2027-02-02T00:00:00Z", due="2027-05-01T00:00:00Z")
    assert given.due.isoformat() == "2027-05-01T00:00:00+00:00"


def test_what_is_due_first_comes_first(archive):
    """Of what is overdue."""
    later = asked(archive, due="2027-03-02T00:00:00Z", rule=None)
    first = asked(archive, "erasure")
    found = archive.rights.overdue("2027-04-01T00:00:00Z")
    assert [(one.id, one.type, one.is_late(2**62)) for one in found] == [
        (first.id, "erasure", True),
        (later.id, "access", True),
    ]


def test_nothing_about_the_person_stands_in_clear(archive):
    """Not in a list, and in no file but vault and keys."""
    asked(archive, subject="person-0815", text="please show me", case="case-77")
    archive.flush()
    (listed,) = archive.rights.requests()
    assert (listed.subject, listed.text, listed.case) == (None, None, None)
    for file in archive.path.rglob("*"):
        if file.is_file() and not {"vault", "keys"} & set(file.relative_to(archive.path).parts):
            data = file.read_bytes()
            assert not [one for one in (b"person-0815", b"please show me", b"case-77") if one in data], file


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        ("wish", {}),
        ("access", {"subject": None}),
        ("access", {"rule": None}),
        ("access", {"rule": "eu-forever"}),
        ("access", {"rule": None, "due": "2026-01-01T00:00:00Z"}),
        ("access", {"due": "2027-05-01T00:00:00Z"}),
        ("access", {"text": ""}),
        ("access", {"received": "last week"}),
    ],
)
def test_what_cannot_be_recorded_is_refused(archive, type_, said):
    """A type that is none, nobody who asks, no moment by which it is answered, or two."""
    with pytest.raises(InputError):
        asked(archive, type_, **said)


@pytest.mark.parametrize("said", [{"state": "done"}, {"state": "notified"}, {"state": "fulfilled", "recipient": "x"}])
def test_an_answer_is_one(archive, said):
    """A state that is none, a notification of nobody, a recipient of something else."""
    request = asked(archive)
    with pytest.raises(InputError):
        archive.rights.answer(request.id, **said)


def test_who_is_nobody_answers_nothing(archive):
    """A request and an answer are somebody's; an answer is to a request that is there."""
    with pytest.raises(NotFoundError):
        archive.rights.answer("0" * 32, "fulfilled")
    with acting(archive.path, None, began=5_000) as nobody, pytest.raises(ForbiddenError):
        asked(nobody)
