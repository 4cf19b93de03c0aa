"""Notices: by when a person has to be told, what became of it, and which adverse decisions have none."""

from __future__ import annotations

import shutil

import pytest
from tests.support.deciding import HUMAN, PEOPLE, acting, credit_archive

from backstory.errors import ConflictError, ForbiddenError, InputError, NotFoundError

DECIDED = "2027-01-15T08:00:00Z"
BEFORE, AFTER = "2027-02-10T00:00:00Z", "2027-03-10T00:00:00Z"
CLOCK = {"ground": "12 CFR 1002.9(a)(1)(i)", "rule": "us-reg-b", "began": "2027-01-14T20:00:00Z"}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A closed archive with an adverse decision, one that is not adverse, and one in a domain that wants a notice."""
    path = tmp_path_factory.mktemp("notices") / "audit"
    ids = credit_archive(path)
    made = []
    with acting(path, "Ann Lee", "deciding", began=5_000) as archive:
        codes = {one.code for one in archive.explanations.reasons(ids[2], "credit-us").codes}
        for number, said in enumerate(
            [
                {"adverse": True, "map": "credit-us", "reasons": ["R01"]},
                {"adverse": False},
                {"adverse": True, "domain": "credit-us", "reasons": sorted(codes)},
            ]
        ):
            given = HUMAN | {"outcome": "said", "decided": DECIDED, "subject": PEOPLE[number]} | said
            made.append(archive.decisions.record(ids[number], **given).id)
    return path, made


@pytest.fixture
def office(template, tmp_path):
    """A copy of it, open, and the ids of its decisions."""
    path, made = template
    with acting(shutil.copytree(path, tmp_path / "audit"), "Bo Chen", "notices", began=9_000) as archive:
        yield archive, made


def missing(archive, now=AFTER):
    """Return what is missing, by decision."""
    return {one.decision: one.problems for one in archive.rights.missing_notices(now)}


def test_an_adverse_decision_without_a_notice_is_named(office):
    """At once, as nobody said when a notice is due; a decision that is not adverse needs none."""
    archive, (first, _, third) = office
    assert missing(archive, DECIDED) == {first: ("none",), third: ("none",)}
    (one, other) = archive.rights.missing_notices(DECIDED)
    assert (one.expected, other.expected) == (None, "adverse-action")


def test_a_notice_that_was_sent_in_time_is_enough(office):
    """The clock runs from when the application was complete, and ends with a day in the zone."""
    archive, (first, _, third) = office
    notice = archive.rights.notice("adverse-action", decision=first, zone="America/Denver", **CLOCK)
    assert notice.due.isoformat() == "2027-02-14T06:59:59.999999+00:00"
    assert missing(archive, BEFORE) == {third: ("none",)}
    assert missing(archive) == {first: ("not sent",), third: ("none",)}
    archive.rights.delivery(notice.id, "sent", at=BEFORE)
    delivered = archive.rights.delivery(notice.id, "delivered", at=AFTER)
    assert (delivered.state, delivered.sent.isoformat()) == ("delivered", "2027-02-10T00:00:00+00:00")
    assert missing(archive) == {third: ("none",)}


@pytest.mark.parametrize(
    ("happened", "problem"), [([("sent", AFTER)], "late"), ([("sent", BEFORE), ("failed", AFTER)], "failed")]
)
def test_a_notice_that_came_late_or_not_at_all_is_not(office, happened, problem):
    """Sent after it was due, or sent to nobody."""
    archive, (first, _, _) = office
    notice = archive.rights.notice("adverse-action", decision=first, **CLOCK)
    for state, at in happened:
        archive.rights.delivery(notice.id, state, at=at)
    assert missing(archive)[first] == (problem,)


def test_an_exemption_is_recorded_with_its_ground(office):
    """It stands in place of a notice, and nothing can be sent for it."""
    archive, (first, _, third) = office
    exempt = archive.rights.exempt(first, "adverse-action", ground="withdrawn by the applicant")
    assert (exempt.state, exempt.ground) == ("exempt", "withdrawn by the applicant")
    assert missing(archive) == {third: ("none",)}
    with pytest.raises(ConflictError):
        archive.rights.delivery(exempt.id, "sent")


def test_a_domain_says_which_notice(office):
    """A notice of another type does not count."""
    archive, (_, _, third) = office
    archive.rights.delivery(archive.rights.notice("transparency", ground="a rule", decision=third).id, "sent")
    assert missing(archive)[third] == ("none",)
    archive.rights.delivery(archive.rights.notice("adverse-action", ground="a rule", decision=third).id, "sent")
    assert third not in missing(archive)


def test_an_adverse_decision_without_reasons_is_named(office, template):
    """Where no domain demanded them."""
    archive, _ = office
    (found,) = archive.search("model = 'credit'", limit=1)["id"].tolist()
    given = HUMAN | {"outcome": "refused", "adverse": True, "subject": PEOPLE[0]}
    made = archive.decisions.record(found, **given)
    archive.rights.exempt(made.id, "adverse-action", ground="a rule")
    assert missing(archive)[made.id] == ("no reason",)


def test_what_was_sent_is_sealed(office):
    """Its content is found again by who may open it, from the decision."""
    archive, (first, _, _) = office
    notice = archive.rights.notice("adverse-action", decision=first, content=b"Dear applicant", **CLOCK)
    assert (notice.content, notice.subject) == (None, None)
    archive.flush()
    (found,) = archive.rights.notices(decision=first)
    assert (found.id, found.content, found.subject, found.who) == (notice.id, b"Dear applicant", PEOPLE[0], "Bo Chen")
    assert archive.rights.show_notice(notice.id[:13]).decision == first
    with acting(archive.path, "Cy Diaz", began=20_000) as other:
        assert [one.content for one in other.rights.notices()] == [None]
        with pytest.raises(ForbiddenError):
            other.rights.notices(decision=first)
    archive.verify()


@pytest.mark.parametrize(
    "said",
    [
        {"type": "adverse action"},
        {"ground": ""},
        {"rule": "us-reg-b"},
        {"rule": "eu-forever", "began": DECIDED},
        {"rule": "us-reg-b", "began": DECIDED, "due": AFTER},
        {"content": "some text"},
        {"decision": None},
    ],
)
def test_what_cannot_be_recorded_is_refused(office, said):
    """A text that is no code, a clock without its beginning, a person nobody named."""
    archive, (first, _, _) = office
    given = {"type": "adverse-action", "ground": "a rule", "decision": first} | said
    with pytest.raises(InputError):
        archive.rights.notice(given.pop("type"), **given)


def test_a_notice_of_no_decision_is_about_somebody(office):
    """A general one names the person; one about a decision that is not there is refused."""
    archive, _ = office
    assert archive.rights.notice("transparency", ground="a rule", subject="applicant-005").state == "issued"
    with pytest.raises(NotFoundError):
        archive.rights.notice("transparency", ground="a rule", decision="0" * 32)
    with pytest.raises(NotFoundError):
        archive.rights.delivery("0" * 32, "sent")


def test_a_notice_about_a_decision_is_to_whom_it_is_about(office):
    """To somebody else it would make up for the one that is missing, and erasing the person would not find it."""
    archive, (first, _, _) = office
    with pytest.raises(InputError, match="whom its decision is about"):
        archive.rights.notice("adverse-action", decision=first, subject=PEOPLE[5], **CLOCK)
    assert missing(archive)[first] == ("none",)
