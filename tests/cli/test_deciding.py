"""`backstory decisions` and `backstory rights`: what somebody does with them, and what they print."""

from __future__ import annotations

import re
import shutil

import pytest
from tests.support.deciding import PEOPLE, credit_archive

from backstory.cli.exit_codes import FORBIDDEN, INPUT, OK

CLERK = ("--actor", "a.clerk", "--purpose", "deciding")
SAID = ("--outcome", "granted", "--no-adverse", "--automation", "human-decided", "--reliance", "sole")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A closed archive, and the ids of its predictions."""
    path = tmp_path_factory.mktemp("deciding") / "audit"
    return path, credit_archive(path)


@pytest.fixture
def office(template, ask, tmp_path):
    """Ask a command of a copy of it; and the ids."""
    path, ids = template
    copy = shutil.copytree(path, tmp_path / "office")
    return (lambda *arguments: ask(*arguments, archive=copy)), ids


def test_a_draft_becomes_a_decision(office):
    """Recorded by one, verified by another, and shown to who may see it."""
    ask, ids = office
    made = ask(
        "decisions", "record", ids[0], *SAID, "--action", "accepted", "--domain", "four-eyes", "--subject", PEOPLE[0],
        *CLERK, "--json",
    ).json()  # fmt: skip
    assert made["state"] == "draft"
    name = made["id"]
    refused = ask("decisions", "verify", name, *CLERK)
    assert (refused.code, "another person" in refused.err) == (FORBIDDEN, True)
    assert ask("decisions", "verify", name, "--actor", "b.lead").out == f"{name} draft\n"
    assert ask("decisions", "finalise", name, "--actor", "b.lead").out == f"{name} final\n"
    assert [one["id"] for one in ask("decisions", "of", ids[0], *CLERK, "--json").json()["decisions"]] == [name]
    assert re.search(r"decided by +a\.clerk\n", ask("decisions", "show", name, *CLERK).out)
    assert "1 decision\n" in ask("decisions", "list").out
    assert ask("decisions", "oversight", "--model", "credit", "--json").json()["decisions"] == 1


def test_proposals_are_listed_and_decided(office):
    """By another person."""
    ask, _ = office
    waiting = [one for one in ask("decisions", "proposals", "--json").json()["proposals"] if one["verdict"] is None]
    assert waiting == []
    assert "decision.domain credit-us: approved" in ask("decisions", "proposals").out
    assert ask("decisions", "decide", "999999", "--actor", "b.lead").code != OK
    assert ask("decisions", "decide", "x", "--actor", "b.lead").code == INPUT


def test_a_request_is_recorded_answered_and_overdue_before(office, tmp_path):
    """With its clock; and a notice with its content."""
    ask, _ = office
    asked = ("rights", "request", "access", "--subject", "c-1", "--rule", "eu-request")
    made = ask(*asked, "--began", "2027-01-31T10:00:00Z", *CLERK, "--json").json()
    assert made["due"] == "2027-02-28T23:59:59.999999Z"
    assert made["id"] in ask("rights", "overdue", "--now", "2027-06-01T00:00:00Z").out
    answered = ask("rights", "answer", made["id"], "refused", "--ground", "GDPR Article 12(5)", *CLERK)
    assert "refused" in answered.out
    assert ask("rights", "requests", "--json").json()["requests"][0]["state"] == "refused"
    assert "access: refused" in ask("rights", "show", made["id"], *CLERK).out
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear applicant")
    notice = ("rights", "notice", "transparency", "--subject", "c-1", "--ground", "a rule", "--content", letter)
    name = ask(*notice, *CLERK, "--json").json()["id"]
    assert ask("rights", "delivery", name, "sent", *CLERK).out == f"{name} sent\n"
    assert "transparency" in ask("rights", "notices").out
    assert ask("rights", "missing", "--json").json() == {"missing": []}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("decisions", "record", *CLERK), INPUT),
        (("decisions", "record", "00", *SAID, "--action", "accepted"), FORBIDDEN),
        (("decisions", "record", "00", *SAID, *CLERK), INPUT),
        (("rights", "request", "access", *CLERK), INPUT),
        (("rights", "request", *CLERK), INPUT),
        (("rights", "request", "access", "--subject", "c-1", "--rule", "eu-request"), FORBIDDEN),
        (("rights", "request", "access", "--subject", "c-1", "--channel", "letter", *CLERK), INPUT),
    ],
)
def test_what_is_missing_is_said(office, arguments, code):
    """Nobody who acts, nothing it is about, an option of another act."""
    assert office[0](*arguments).code == code


def test_known_clocks_name_their_source(office):
    """As text and as JSON."""
    ask, _ = office
    assert "us-reg-b: 30 days from when a completed application was received; 12 CFR" in ask("rights", "clocks").out
    assert len(ask("rights", "clocks", "--json").json()["clocks"]) > 3
