"""Decisions: what they need before they are recorded, who may verify them, when they are final."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
from tests.support.deciding import CODES, HUMAN, PEOPLE, acting, credit_archive, refusals

from backstory.errors import ConflictError, ForbiddenError, InputError, NotFoundError


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A closed archive, and the ids of its predictions."""
    path = tmp_path_factory.mktemp("decisions") / "audit"
    return path, credit_archive(path)


class Office:
    """An archive that people open one after the other."""

    def __init__(self, path, ids):
        self.path, self.ids, self.began = path, ids, 10_000

    @contextmanager
    def acting(self, actor, purpose=None):
        """Let somebody act."""
        self.began += 1_000
        with acting(self.path, actor, purpose, self.began) as archive:
            yield archive

    def decide(self, actor="Ann Lee", number=0, **said):
        """Record a decision about one person; return it."""
        given = HUMAN | {"outcome": "granted", "adverse": False, "subject": PEOPLE[number]} | said
        with self.acting(actor, "deciding") as archive:
            return archive.decisions.record(self.ids[number], **given)

    def state(self):
        """Return how many entries and decisions there are, and what was refused last."""
        with self.acting("auditor") as archive:
            return archive._ledger.log.checkpoint().size, len(archive.decisions.find()), refusals(archive)[-1:]


@pytest.fixture
def office(template, tmp_path):
    """A copy of it."""
    path, ids = template
    return Office(shutil.copytree(path, tmp_path / "audit"), ids)


def test_a_decision_is_found_from_its_prediction(office):
    """Whoever may open what is sealed finds the decision, with whom it is about, why it was made and by whom."""
    made = office.decide(text="income was proven", factors=["a letter"], shown=b"<p>page</p>", authority="band 3")
    assert (made.state, made.models, made.outcome, made.subject) == ("final", ("credit:1",), None, None)
    with office.acting("Cy Diaz", "a complaint") as archive:
        (found,) = archive.decisions.of(office.ids[0])
        assert archive.decisions.of(office.ids[1]) == []
    assert (found.id, found.outcome, found.subject, found.who) == (made.id, "granted", PEOPLE[0], "Ann Lee")
    assert (found.text, found.factors, found.page) == ("income was proven", ("a letter",), b"<p>page</p>")
    assert found.predictions == (office.ids[0],)
    assert "granted" in str(found)


def test_without_a_purpose_nothing_leads_to_a_decision(office):
    """Lists show what identifies nobody; the link from a prediction is refused."""
    office.decide()
    with office.acting("Cy Diaz") as archive:
        (listed,) = archive.decisions.find(model="credit", adverse=False)
        assert (listed.action, listed.who, listed.predictions, listed.outcome) == ("accepted", None, (), None)
        with pytest.raises(ForbiddenError):
            archive.decisions.of(office.ids[0])


def test_one_decision_on_many_predictions_and_many_on_one(office):
    """A decision names every prediction it was made with, and a prediction may be decided on again."""
    with office.acting("Ann Lee", "deciding") as archive:
        given = HUMAN | {"outcome": "granted", "adverse": False, "subject": PEOPLE[0]}
        both = archive.decisions.record(office.ids[:2], **given)
        again = archive.decisions.record(office.ids[0], **given)
        assert [one.id for one in archive.decisions.of(office.ids[0])] == [both.id, again.id]
        assert [one.id for one in archive.decisions.of(office.ids[1])] == [both.id]


def test_an_adverse_decision_without_reasons_is_refused_and_recorded(office):
    """Where the domain demands reasons; one entry says so, and no decision is there."""
    size, decisions, _ = office.state()
    with pytest.raises(ForbiddenError, match="at least 1 of the domain's reasons"):
        office.decide(adverse=True, outcome="refused", domain="credit-us")
    assert office.state() == (size + 1, decisions, [("recording a decision", "no reasons")])


def test_a_reason_that_was_not_scored_is_refused(office):
    """A code none of whose features moved the score to the adverse side is no reason."""
    with office.acting("Ann Lee", "deciding") as archive:
        applying = {one.code for one in archive.explanations.reasons(office.ids[1], "credit-us").codes}
    (other,) = sorted(set(CODES) - applying)[:1]
    with pytest.raises(ForbiddenError, match="factors that were scored"):
        office.decide(number=1, adverse=True, outcome="refused", domain="credit-us", reasons=[other])
    assert office.state()[2] == [("recording a decision", "reason not scored")]
    made = office.decide(number=1, adverse=True, outcome="refused", domain="credit-us", reasons=sorted(applying))
    assert (made.state, made.reason_count, made.map) == ("final", len(applying), "credit-us:1")


@pytest.mark.parametrize(
    ("said", "ground"),
    [
        ({"reasons": ["R99"]}, "unknown reason"),
        ({"reasons": ["R01", "R02", "R03", "R04", "R05"]}, "unknown reason"),
        ({"actor": PEOPLE[0].upper()}, "own case"),
        ({"subject": PEOPLE[1]}, "another person"),
    ],
)
def test_what_a_domain_does_not_allow_is_refused(office, said, ground):
    """Codes of no map, a decision about oneself, and one about somebody whom its prediction is not about."""
    with pytest.raises(ForbiddenError):
        office.decide(adverse=True, outcome="refused", domain="credit-us", **said)
    assert office.state()[2] == [("recording a decision", ground)]


def test_predictions_of_a_model_are_decided_on_in_its_domain(office):
    """Once a domain names a model, a decision outside the domain is refused."""
    with office.acting("Ann Lee") as archive:
        proposal = archive.decisions.domain("credit-us", reasons="credit-us", models=["credit"])
    office.decide()
    with office.acting("Bo Chen") as archive:
        archive.decisions.decide(proposal, "approved")
    with pytest.raises(ForbiddenError, match="the domain credit-us"):
        office.decide()
    assert office.decide(domain="credit-us").domain == "credit-us"


def test_two_different_people_verify_before_a_decision_is_final(office):
    """A draft, two verifiers with proof of competence, and then the one entry that makes it a decision."""
    draft = office.decide(domain="biometric")
    assert draft.state == "draft"
    for verifier in ("Cy Diaz", "Di Ek"):
        with office.acting(verifier) as archive:
            with pytest.raises(ForbiddenError, match="different people"):
                archive.decisions.finalise(draft.id)
            archive.decisions.verify(draft.id, competence="certificate 12", signature="I compared the pictures")
    with office.acting("Ann Lee") as archive:
        made = archive.decisions.finalise(draft.id)
        assert (made.state, len(made.verifications), made.finalised is None) == ("final", 2, False)
        with pytest.raises(ConflictError):
            archive.decisions.finalise(draft.id)
        with pytest.raises(ConflictError):
            archive.decisions.verify(draft.id, competence="late")
        archive.flush()
        archive.verify()


@pytest.mark.parametrize(
    "again", ["Ann Park", "ann  park", "\uff21nn Park", "A\u00adnn\u200b Park", "Ann\u3164Park\ufe0f"]
)
def test_the_same_person_does_not_verify_twice(office, again):
    """However the name is written; the refusal is recorded, and the verdict is not."""
    draft = office.decide(actor="Bo Chen", domain="biometric")
    with office.acting("Ann Park") as archive:
        archive.decisions.verify(draft.id, competence="certificate 12")
    with office.acting(again) as archive:
        with pytest.raises(ForbiddenError, match="another person"):
            archive.decisions.verify(draft.id, competence="certificate 12")
        assert refusals(archive)[-1] == ("verifying a decision", "same person")
        (found,) = archive.decisions.find(domain="biometric")
        assert len(found.verifications) == 1


@pytest.mark.parametrize(
    ("verifier", "domain", "ground"),
    [
        (PEOPLE[0], "biometric", "own case"),
        ("Cy Diaz", "biometric", "no competence"),
        ("ann lee", "four-eyes", "same person"),
    ],
)
def test_who_may_not_verify(office, verifier, domain, ground):
    """Whom it is about, whoever names no competence where one is demanded, whoever decided it alone."""
    draft = office.decide(domain=domain)
    with office.acting(verifier) as archive:
        with pytest.raises(ForbiddenError):
            archive.decisions.verify(draft.id)
        assert refusals(archive)[-1] == ("verifying a decision", ground)


def test_what_is_disputed_is_never_final(office):
    """One verifier who disputes is enough."""
    draft = office.decide(domain="four-eyes")
    for verifier, verdict in (("Cy Diaz", "confirmed"), ("Di Ek", "disputed")):
        with office.acting(verifier) as archive:
            archive.decisions.verify(draft.id, verdict=verdict)
    with office.acting("Ann Lee") as archive:
        with pytest.raises(ForbiddenError, match="dispute"):
            archive.decisions.finalise(draft.id)
        assert archive.decisions.oversight().disputed == 1


def test_of_two_who_finalise_at_once_one_wins(office):
    """Both saw the draft open; the log has one entry, and the other is told."""
    draft = office.decide(domain="four-eyes")
    with office.acting("Cy Diaz") as archive:
        archive.decisions.verify(draft.id)
    with office.acting("Ann Lee") as first, office.acting("Bo Chen") as second:
        append = first._ledger.append

        def too_late(entries):
            second.decisions.finalise(draft.id)
            return append(entries)

        first._ledger.append = too_late
        with pytest.raises(ConflictError, match="meanwhile"):
            first.decisions.finalise(draft.id)
        assert len(first._ledger.find_entries("decision.finalised")) == 1


def test_a_reversal_does_not_leave_the_domain_or_the_person(office):
    """What is reversed to somebody's disadvantage needs the reasons its domain demands; a draft is not reversed."""
    granted, draft = office.decide(domain="credit-us"), office.decide(domain="four-eyes")
    reversing = {"action": "reversed", "ground": "error", "adverse": True, "outcome": "refused"}
    for said, ground in (
        ({"reverses": granted.id}, "outside its domain"),
        ({"reverses": granted.id, "domain": "credit-us"}, "no reasons"),
        ({"reverses": granted.id, "domain": "credit-us", "number": 1}, "another person"),
        ({"reverses": draft.id, "domain": "four-eyes"}, "not final"),
    ):
        with pytest.raises(ForbiddenError):
            office.decide(**reversing, **said)
        assert office.state()[2] == [("recording a decision", ground)]


def test_many_decisions_are_about_whom_their_predictions_are_about(office):
    """Subjects in another order are refused, sealed predictions or not, and nothing is recorded."""
    given = {"outcome": "granted", "adverse": False, "reliance": "sole"}
    _, before, _ = office.state()
    with office.acting("Ann Lee") as archive, pytest.raises(ForbiddenError, match="about somebody whom"):
        archive.decisions.record_many(office.ids, **given, subject=PEOPLE[::-1])
    assert office.state()[1:] == (before, [("recording a decision", "another person")])


def test_a_reversal_stands_beside_what_it_reverses(office):
    """Both stay; the first no longer stands."""
    first = office.decide(adverse=True, outcome="refused")
    with pytest.raises(InputError, match="reverses="):
        office.decide(action="reversed", ground="new-evidence")
    with pytest.raises(NotFoundError):
        office.decide(action="reversed", ground="new-evidence", reverses="0" * 32)
    second = office.decide(actor="Bo Chen", action="reversed", ground="new-evidence", reverses=first.id)
    with office.acting("Cy Diaz", "a complaint") as archive:
        found = archive.decisions.of(office.ids[0])
    assert [(one.id, one.stands, one.reversed_by, one.reverses) for one in found] == [
        (first.id, False, (second.id,), None),
        (second.id, True, (), first.id),
    ]


def test_oversight_counts_people_and_names_none(office):
    """Rates by action and model, and the median time of a review where it may be opened."""
    times = {"opened": "2026-11-23T10:00:00Z", "decided": "2026-11-23T10:04:00Z"}
    office.decide(**times)
    office.decide(number=1, action="overrode", ground="wrong-income", **times)
    with office.acting("machine") as archive:
        archive.decisions.record_many(
            office.ids[2:4], outcome="granted", adverse=False, reliance="sole", subject=PEOPLE[2:4]
        )
        hidden = archive.decisions.oversight("credit")
    with office.acting("Cy Diaz", "a review") as archive:
        found = archive.decisions.oversight("credit")
    assert (hidden.decisions, hidden.review_seconds) == (4, None)
    assert (found.by_action, found.by_automation) == (
        {"accepted": 1, "overrode": 1},
        {"human-decided": 2, "solely-automated": 2},
    )
    assert (found.rate("overrode"), found.review_seconds, found.timed) == (0.5, 240.0, 2)
    assert "Ann" not in str(found)


@pytest.mark.parametrize(
    "said",
    [
        {"subject": None},
        {"automation": "by hand"},
        {"action": "overrode"},
        {"ground": "no-need"},
        {"action": "overrode", "ground": "Ann said so"},
        {"adverse": "no"},
        {"shown": "a page"},
        {"shown": bytes(2**20 + 1)},
        {"opened": "2026-11-24T10:00:00Z", "decided": "2026-11-23T10:00:00Z"},
        {"text": ""},
        {"reasons": ["R01", "R01"]},
    ],
)
def test_what_cannot_be_recorded_is_refused(office, said):
    """Something missing, something that says nothing, or a text where only a code may stand."""
    with pytest.raises(InputError):
        office.decide(**said)


def test_a_program_decides_about_many(office):
    """One decision each, with its own outcome, person and reasons; all of them or none."""
    with office.acting("machine") as archive:
        ids = archive.decisions.record_many(
            office.ids,
            outcome=["granted", "refused"] * 3,
            adverse=[False, True] * 3,
            reliance="sole",
            subject=PEOPLE,
            map="credit-us",
            reasons=[[], ["R01"]] * 3,
        )
        assert archive.decisions.record_many([], outcome="x", adverse=False, reliance="sole") == []
        with pytest.raises(InputError, match="one for each of 6"):
            archive.decisions.record_many(office.ids, outcome=["x"], adverse=False, reliance="sole", subject=PEOPLE)
    with office.acting("Cy Diaz", "a review") as archive:
        found = [archive.decisions.show(one) for one in ids]
    assert [(one.outcome, one.subject, one.reasons) for one in found[:2]] == [
        ("granted", PEOPLE[0], ()),
        ("refused", PEOPLE[1], ("R01",)),
    ]


def test_nothing_of_a_decision_stands_in_clear(office):
    """No name, no person and no text is in any file but vault and keys, and no entry holds them."""
    office.decide(text="said on the telephone", authority="band 3", case="case-77")
    office.state()
    needles = [b"applicant-000", b"said on the telephone", b"band 3", b"case-77", b"Ann Lee"]
    for file in office.path.rglob("*"):
        if file.is_file() and not {"vault", "keys"} & set(file.relative_to(office.path).parts):
            data = file.read_bytes()
            assert not [needle for needle in needles if needle in data], file


def test_domains_and_thresholds_need_two_people(office):
    """Whoever proposes does not approve; until somebody else does, nothing is in force."""
    with office.acting("Ann Lee") as archive:
        proposal = archive.decisions.threshold("credit", 0.2)
        with pytest.raises(ForbiddenError):
            archive.decisions.decide(proposal, "approved")
        assert refusals(archive)[-1] == ("deciding on a threshold", "same person")
        with pytest.raises(NotFoundError):
            archive.decisions.threshold_at("credit")
    with office.acting("Bo Chen") as archive:
        archive.decisions.decide(proposal, "approved")
        assert archive.decisions.threshold_at("credit").new == "0.2"
        with pytest.raises(ConflictError):
            archive.decisions.threshold("credit", 0.3)
        archive.decisions.threshold("credit", 0.3, old="0.20")
        assert [one.new for one in archive.decisions.thresholds("credit")] == ["0.2"]


def test_a_model_has_one_domain(office):
    """A second that names it is refused, when it is proposed or approved; once the first gave it up, it is not."""
    with office.acting("Ann Lee") as archive:
        first, second = (archive.decisions.domain(name, models=["cards"]) for name in ("one", "two"))
    with office.acting("Bo Chen") as archive:
        archive.decisions.decide(first, "approved")
        with pytest.raises(ConflictError, match="domain two: expected models of no other domain, got cards of one"):
            archive.decisions.decide(second, "approved")
        with pytest.raises(ConflictError, match="got cards of one"):
            archive.decisions.domain("three", models=["loans", "cards"])
        without = archive.decisions.domain("one")
        again = archive.decisions.domain("one", models=["cards", "loans"])
    with office.acting("Ann Lee") as archive:
        archive.decisions.decide(without, "approved")
    with office.acting("Bo Chen") as archive:
        archive.decisions.decide(second, "approved")
    with office.acting("Ann Lee") as archive:
        with pytest.raises(ConflictError, match="got cards of two"):
            archive.decisions.decide(again, "approved")
        assert archive.decisions.decide(again, "rejected").verdict == "rejected"


def test_a_corrected_outcome_stands_beside_the_original(office):
    """`why` says which stands; both are there."""
    with office.acting("Ann Lee", "a correction") as archive:
        wrong = archive.outcome(office.ids[0], "paid")
        archive.flush()
        right = archive.decisions.correct_outcome(wrong, "not paid")
        archive.flush()
        story = archive.why(office.ids[0])
        archive.verify()
    assert [(one["id"], one["value"], one["corrects"], one["stands"]) for one in story.outcomes] == [
        (wrong, "paid", None, False),
        (right, "not paid", wrong, True),
    ]
    assert "CORRECTED since" in str(story)


def test_why_shows_what_was_decided(office):
    """The decision and its notice stand in the prediction's story; without a purpose it says that they are sealed."""
    made = office.decide(adverse=True, outcome="refused")
    with office.acting("Ann Lee", "a notice") as archive:
        archive.rights.notice("adverse-action", ground="12 CFR 1002.9", decision=made.id)
        archive.flush()
        story = archive.why(office.ids[0])
        other = archive.why(office.ids[1])
    with office.acting(None) as archive:
        hidden = archive.why(office.ids[0])
    assert [(one.kind, one.text) for one in story.followed] == [
        ("decision", "'refused', adverse: accepted, human-decided"),
        ("notice", "adverse-action: issued"),
    ]
    assert "adverse-action: issued" in str(story)
    assert (other.followed, hidden.followed) == ((), None)
    assert "what leads to them is sealed" in str(hidden)
