"""Who is let in, as what, until when; and that every refusal and every read is on record."""

import os
import threading
from dataclasses import replace

import pytest
from tests.support.accesses import accesses
from tests.support.policies import MODEL, govern, opener, people, record_people, score

import backstory
from backstory.cli.access import _page
from backstory.cli.main import run
from backstory.errors import ConflictError, ForbiddenError, InputError, NotFoundError, StorageError
from backstory.governance.access_roles import review_due
from backstory.governance.proposal import REFUSED
from backstory.records.access import RecordRun, Scope
from backstory.records.identity import parse_time, time_text
from backstory.storage.world import World

HOUR_NS = 3600 * 10**9
MONDAY = parse_time("2026-11-23T09:00:00.000000000Z")


class Clock:
    """A clock that tests set."""

    def __init__(self):
        self.now_ns = MONDAY

    def tick(self):
        """Return a later moment."""
        self.now_ns += 1_000_000
        return self.now_ns

    @property
    def world(self):
        """What an archive takes from outside, with this clock."""
        return replace(World(), now_ns=self.tick)


@pytest.fixture(scope="module")
def clock():
    """Return the clock of the archive."""
    return Clock()


@pytest.fixture(scope="module")
def path(tmp_path_factory, clock):
    """Return an archive about people under the policy that is shipped."""
    root = tmp_path_factory.mktemp("access") / "audit"
    record_people(root, clock.world)
    govern(root, clock.world)
    return root


@pytest.fixture(scope="module")
def as_(path, clock):
    """Return what opens it as somebody in a role."""
    return opener(path, clock.world)


@pytest.fixture(scope="module")
def ids(path, clock):
    """Return the ids of its predictions, oldest first."""
    with opener(path, clock.world)("dpo") as archive:
        return list(archive.predictions()["id"])


def refused(archive):
    """Return what was refused last, as the log says it."""
    return archive._ledger.find_entries(REFUSED)[-1]


# --- without a policy -------------------------------------------------------------------------------------------------


def test_without_a_policy_actor_and_purpose_open(tmp_path):
    """As long as none was approved, a proposal alone changes nothing; `policy` says that none is in force."""
    ids = record_people(tmp_path / "audit")
    with backstory.open(tmp_path / "audit", actor="ann", purpose="p") as archive:
        archive.access.propose_policy("starting")
        assert archive.access.policy() is None
        assert archive.why(ids[3]).features["income"] == people()["income"][3]
    with backstory.open(tmp_path / "audit", actor="ann") as archive:
        assert archive.why(ids[3]).sealed == ("features", "features.D5", "output", "subject")


# --- policies and roles -----------------------------------------------------------------------------------------------


def test_author_and_approver_are_two_people(as_):
    """Whoever proposed a policy cannot approve it, and that they tried is in the log."""
    with as_("platform-admin") as archive:
        proposal = archive.access.propose_policy("starting")
        with pytest.raises(ForbiddenError, match="another person"):
            archive.access.approve(proposal.index)
        assert refused(archive)["ground"] == "same person"


def test_nobody_is_locked_out(as_):
    """A policy under which nobody could give roles is not put in force."""
    with as_("platform-admin") as archive:
        proposal = archive.access.propose_policy('permit (principal in Role::"chief", action, resource);')
    with as_("dpo") as archive, pytest.raises(ConflictError, match="may give roles under it"):
        archive.access.approve(proposal.index)


def test_a_policy_is_approved_where_somebody_looks_that_nobody_is_locked_out(as_):
    """Not where any proposal is decided on; nor is what else has a verb of its own, such as rules of keeping."""
    with as_("platform-admin") as archive:
        proposals = [archive.access.propose_policy('permit (principal in Role::"chief", action, resource);').index]
    with as_("dpo") as archive:
        before = archive.access.policy()
        proposals.append(archive.retention.adopt("eu-default").index)
        proposals.append(archive.sharing.budget("board", epsilon=1).proposal)
        proposals.append(archive.privacy.confirm({"cust": "D3"}, source="other", reason="x", four_eyes=True).index)
    with as_("validator") as archive:
        for proposal, verb in zip(proposals, ("access", "retention", "sharing", "privacy"), strict=True):
            with pytest.raises(InputError, match=f"approved with {verb}"):
                archive.decisions.decide(proposal, "approved")
        assert archive.decisions.decide(proposals[0], "rejected").verdict == "rejected"  # from which nothing follows
        assert archive.access.policy() == before


ACTS = {
    "approve": lambda archive, _: archive.deployments.approve(MODEL),
    "classify": lambda archive, _: archive.privacy.confirm({"name": "D0"}, source="loans", reason="x"),
    "decide": lambda archive, ids: archive.decisions.finalise(ids[3]),
    "deploy": lambda archive, _: archive.deployments.set("production", MODEL),
    "notice": lambda archive, _: archive.rights.notice("explanation", ground="x", subject="subject-1"),
    "operate-keys": lambda archive, _: archive.keys.rotate(),
    "outcome": lambda archive, ids: archive.outcome(ids[3], 1.0),
    "propose": lambda archive, _: archive.decisions.threshold("cut", 0.5),
    "rectify": lambda archive, ids: archive.privacy.rectify(ids[3], {"income": 1.0}, reason="x"),
    "register": lambda archive, _: archive.register(score, name="another"),
    "request": lambda archive, _: archive.rights.request("access", subject="s", due="2100-01-01T00:00:00Z"),
}


@pytest.mark.parametrize("role", ["vendor", None])
@pytest.mark.parametrize("act", ACTS)
def test_what_the_policy_does_not_permit_is_not_done(as_, ids, role, act):
    """Nothing is recorded but that somebody tried."""
    with as_(role) as archive:
        size = archive._ledger.log.checkpoint().size
        with pytest.raises(ForbiddenError, match=f"{act}: the policy of entry .* does not permit it"):
            ACTS[act](archive, ids)
        assert archive._ledger.log.checkpoint().size == size
        assert accesses(archive._ledger, act)[-1]["outcome"] == "denied"


OTHER_ACTS = {
    "alias": ("deploy", lambda archive: archive.alias(MODEL, "champion")),
    "contracts.set": ("register", lambda archive: archive.contracts.set("loans", None)),
    "explanations.define": ("register", lambda archive: archive.explanations.define("codes", {})),
    "explanations.disclose": ("notice", lambda archive: archive.explanations.disclose("x", "codes", [])),
    "features.define": ("register", lambda archive: archive.features.define("inputs", {})),
    "keys.add_ml_dsa": ("operate-keys", lambda archive: archive.keys.add_ml_dsa()),
    "keys.rekey": ("operate-keys", lambda archive: archive.keys.rekey()),
    "keys.rotate_master": ("operate-keys", lambda archive: archive.keys.rotate_master()),
    "promises": ("operate-keys", lambda archive: archive.promises(delay=1)),
}


@pytest.mark.parametrize("verb", OTHER_ACTS)
def test_verbs_that_say_the_same_need_the_same_right(as_, verb):
    """What serves, what later records are judged by, what people are told, and keys: one right each."""
    act, do = OTHER_ACTS[verb]
    with as_("vendor") as archive, pytest.raises(ForbiddenError, match=f"{act}: the policy of entry .* does not"):
        do(archive)


def test_recording_is_never_refused(as_):
    """A service that has no role, or names nobody at all, predicts under a policy as it did before."""
    for who in ({"role": None}, {"role": None, "actor": None, "purpose": None, "case": None}):
        with as_(**who) as archive:
            with archive.prediction(subject="somebody new") as made:
                made.features({"income": 1.0})
                made.output(2.0)
            with pytest.raises(ForbiddenError, match=r"outcome: the policy .* whoever has no role"):
                archive.outcome(made.id, 1.0)


def test_whoever_operates_keys_sees_no_values(as_, ids, path):
    """The right is enough for it, on the command line too; a refusal there is on record."""
    who = ["--purpose", "yearly", "--for-case", "case"]
    for role, code in (("operator", 13), ("platform-admin", 0)):
        words = ["keys", "rotate-master", str(path), "--actor", role, "--role", role, *who]
        assert run(words) == code
    with as_("platform-admin") as archive:
        assert accesses(archive._ledger, "operate-keys")[-1]["outcome"] == "denied"
        assert archive._ledger.find_entries("vault.rekeyed")
        assert archive.why(ids[3]).features == {}


def test_nobody_lowers_a_class_alone_under_a_policy(as_, ids):
    """As it would show what is recorded already: whoever may classify proposes, another person approves."""
    lower = {"cust": "D0", "name": "D0", "income": "D0", "faith": "D0"}
    with as_("data-scientist") as archive:
        with pytest.raises(ForbiddenError, match="four_eyes=True"):
            archive.privacy.confirm(lower, source="loans", reason="I want to see them")
        assert refused(archive)["ground"] == "one person"
        proposal = archive.privacy.confirm(lower, source="loans", reason="I want to see them", four_eyes=True)
        with pytest.raises(ForbiddenError, match="approve: the policy"):
            archive.privacy.approve(proposal.index)
        assert archive.why(ids[3]).rows[0].values["name"] != people()["name"][3]


@pytest.mark.parametrize("role", ["vendor", None])
def test_not_even_that_there_are_decisions_is_for_everybody(as_, role):
    """Nor notices, requests or corrections: what is known of them openly is structure, too."""
    with as_(role) as archive:
        for question in (
            archive.decisions.find,
            archive.rights.notices,
            archive.rights.requests,
            archive.rights.missing_notices,
            archive.rights.overdue,
        ):
            with pytest.raises(ForbiddenError, match="it shows values as they are, and D0"):
                question()


def test_a_report_shows_open_values_to_whom_they_are_for(as_, ids, tmp_path):
    """Its receipts and documents hold them as they are: whoever may see them masked is refused."""
    with as_("legal") as archive:
        for kind, asked in (("individual-explanation", {"prediction": ids[3]}), ("model-history", {"model": MODEL})):
            with pytest.raises(ForbiddenError, match="for role legal masked"):
                archive.reports.make(kind, tmp_path / "r.zip", **asked)
            assert accesses(archive._ledger, "report")[-1]["outcome"] == "denied"
    assert not list(tmp_path.iterdir())


def test_a_role_that_no_policy_names_is_not_given(as_, tmp_path):
    """Nor, where none is in force, one that neither the policy that is shipped nor a proposed one names."""
    with as_("platform-admin") as archive, pytest.raises(InputError, match="did you mean 'operator'"):
        archive.access.assign("new", "operater")
    with backstory.init(tmp_path / "audit", origin="example.org/roles"):
        pass
    with backstory.open(tmp_path / "audit", actor="ann") as archive:
        with pytest.raises(InputError, match="got 'chief'"):
            archive.access.assign("new", "chief")
        archive.access.propose_policy('permit (principal in Role::"chief", action, resource);')
        archive.access.assign("new", "chief")
        archive.access.assign("new", "dpo")


def test_a_mistyped_name_and_class_are_named(as_):
    """A policy's name that is close says which is shipped; breaking the glass speaks of itself."""
    with as_("platform-admin") as archive, pytest.raises(InputError, match="did you mean 'starting'"):
        archive.access.propose_policy("startin")
    with as_("dpo") as archive, pytest.raises(InputError, match="breaking the glass: expected classes"):
        archive.access.break_glass("D9", "case", why="x")


def test_a_refusal_says_what_the_policy_lacks(as_, ids):
    """Where an actor and a purpose were given, it is the role; and what is not shown as it is is marked as such."""
    with as_("data-scientist") as archive:
        with pytest.raises(ForbiddenError, match="D3 is for role data-scientist under pseudonyms"):
            archive.impact("loans", keys=["subject-3"])
        told = str(archive.why(ids[3]))
    assert "(masked: D4)" in told
    assert "(pseudonym: D3)" in told
    assert "give an actor" not in told


def test_the_key_of_pseudonyms_is_known(as_, ids):
    """Verifying does not take the key file that pseudonyms are made with for one that was left behind."""
    with as_("data-scientist") as archive:
        archive.why(ids[3])
        assert [one for one in archive.verify().findings if "pseudonyms" in one.place] == []


def test_a_role_is_refused_unless_assigned(as_):
    """Opening under another's role is refused and in the log; somebody else's name does not help."""
    with pytest.raises(ForbiddenError, match="expected a role that was assigned, got dpo"):
        as_("dpo", actor="mallory")
    with as_("dpo") as archive:
        assert refused(archive)["ground"] == "role not assigned"


@pytest.mark.parametrize("given", [{"role": "dpo"}, {"case": "c"}])
def test_a_role_is_somebody_s(path, given):
    """A role or a case needs an actor, and an archive that records what is seen."""
    with pytest.raises(InputError, match="expected an actor"):
        backstory.open(path, **given)
    with pytest.raises(ForbiddenError, match="mode 'rw'"):
        backstory.open(path, mode="r", **given)


@pytest.mark.parametrize("given", ["actor", "purpose", "role", "case"])
def test_an_empty_text_says_nothing(path, given):
    """Neither who asks nor what for: a policy that wants a purpose and a case wants words."""
    asked = {"actor": "dpo", "purpose": "review", "role": "dpo", "case": "case"} | {given: " "}
    with pytest.raises(InputError, match=f"expected the {given} in words"):
        backstory.open(path, **asked)


def test_a_case_is_over_when_its_time_is(as_, ids, clock):
    """For who works on it, under that case and no other."""
    with as_("platform-admin") as admin:
        with pytest.raises(InputError, match="expected a case"):
            admin.access.assign_case("operator", "")
        admin.access.assign_case("operator", "request-5", until=time_text(clock.now_ns + HOUR_NS))
    with as_("operator", case="request-5") as archive:
        assert archive.why(ids[5]).features
        clock.now_ns += 2 * HOUR_NS
        assert archive.why(ids[5]).features == {}


def test_nobody_assigns_themselves(as_):
    """Not a role, not a case, not a grant; each refusal is in the log."""
    with as_("platform-admin") as archive:
        for act in (
            lambda: archive.access.assign("Platform-ADMIN ", "dpo"),
            lambda: archive.access.assign_case("platform-admin", "c"),
        ):
            with pytest.raises(ForbiddenError, match="expected another person"):
                act()
            assert refused(archive)["ground"] == "same person"
    with as_("dpo") as archive, pytest.raises(ForbiddenError, match="break the glass"):
        archive.access.grant("dpo", "D4", "case", until="2100-01-01T00:00:00Z", why="curious")


def test_only_who_may_assigns(as_):
    """A role whose policy does not let it give roles is refused, and that is an access."""
    with as_("dpo") as archive:
        with pytest.raises(ForbiddenError, match="does not permit it to role dpo"):
            archive.access.assign("new", "dpo")
        assert accesses(archive._ledger, "assign-role")[-1]["outcome"] == "denied"


def test_a_role_ends_when_its_time_is_over(as_, clock, ids):
    """In a session that is open already, too."""
    with as_("platform-admin") as archive:
        until = time_text(clock.now_ns + HOUR_NS)
        archive.access.assign("guest", "dpo", until=until)
    with as_("dpo", actor="guest") as archive:
        assert archive.why(ids[3]).output is not None
        clock.now_ns += 2 * HOUR_NS
        with pytest.raises(ForbiddenError, match="whoever has no role"):
            archive.why(ids[3])
    with pytest.raises(ForbiddenError, match="a role that was assigned"):
        as_("dpo", actor="guest")


def test_a_role_that_is_taken_away_is_gone_at_once(as_, ids):
    """A session of another process sees it with its next question."""
    with as_("platform-admin") as admin:
        admin.access.assign("temp", "dpo")
        with as_("dpo", actor="temp") as archive:
            assert archive.why(ids[3]).output is not None
            admin.access.remove("temp", "dpo")
            with pytest.raises(ForbiddenError, match="whoever has no role"):
                archive.why(ids[3])
        with pytest.raises(NotFoundError, match="expected somebody who is dpo"):
            admin.access.remove("temp", "dpo")


def test_names_of_people_are_nowhere_in_the_log(path, as_):
    """Entries have commitments to who has a role, works on a case, was granted what and why."""
    with as_("platform-admin") as archive:
        archive.access.assign("Zebedee Quux", "data-subject", subject="subject-xyzzy")
        archive.access.assign_case("Zebedee Quux", "case-xyzzy")
    written = b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())
    assert b"Zebedee" not in written
    assert b"xyzzy" not in written


# --- cases, grants, break-glass ---------------------------------------------------------------------------------------


def test_an_operator_sees_assigned_cases_only(as_, ids):
    """The case that was assigned, if it is the one they came for; no other."""
    with as_("operator", case="request-3") as archive:
        assert archive.why(ids[3]).features["income"] == people()["income"][3]
        assert archive.why(ids[4]).sealed == ("features", "features.D5", "output", "subject")
        assert list(archive.predictions(subject="subject-3")["id"]) == [ids[3]]
        with pytest.raises(ForbiddenError, match="D3 is for role operator not to be seen"):
            archive.predictions(subject="subject-4")
        with pytest.raises(ForbiddenError, match="D3 is for role operator not to be seen"):
            archive.predictions(subject="nobody there")
    with as_("operator", case="request-4") as archive:
        assert archive.why(ids[3]).features == {}


def test_a_regulator_sees_what_was_asked_for(as_, ids, clock):
    """Until the work on the case ends."""
    with as_("platform-admin") as admin:
        entry = admin.access.assign_case("regulator", "second", models=MODEL, between=(time_text(clock.now_ns), None))
    with as_("regulator", case="second") as archive:
        assert archive.why(ids[3]).features == {}  # recorded before
    with as_("regulator", case="inspection") as archive:
        assert archive.why(ids[3]).features["faith"] == people()["faith"][3]
    with as_("dpo") as archive:
        archive.access.end(entry)


def test_a_data_subject_sees_own_records_only(as_, ids):
    """Of another's not even that there are any; a search is refused."""
    with as_("data-subject") as archive:
        assert list(archive.predictions()["subject"]) == ["subject-3"]
        assert archive.why(ids[3]).features["faith"] == people()["faith"][3]
        for question in (lambda: archive.why(ids[4]), lambda: archive.search("true"), lambda: archive.graph(ids[3])):
            with pytest.raises(ForbiddenError, match="D0 is for role data-subject where it is its own"):
                question()


@pytest.fixture(scope="module")
def decided(as_, ids):
    """Return what was decided about two people, told them and asked by them: ids of decisions, notices, requests."""
    given = {"outcome": "no", "adverse": True, "automation": "human-decided", "reliance": "sole", "action": "accepted"}
    found = []
    with as_("operator", case="request-3") as archive:
        for row in (3, 4):
            whose = f"subject-{row}"
            decision = archive.decisions.record(ids[row], subject=whose, text=f"words-{row}", **given)
            notice = archive.rights.notice("adverse-action", ground="x", subject=whose, decision=decision.id)
            request = archive.rights.request("contest", subject=whose, due="2100-01-01T00:00:00Z", text=f"why-{row}")
            archive.rights.answer(request.id, "identified")
            found.append((decision.id, notice.id, request.id))
    return found


@pytest.mark.parametrize("wait", ["spool", "sealed"])
def test_a_person_sees_own_decisions_notices_and_requests_only(as_, ids, decided, wait):
    """With what was said in them, who said it apart; of another's not even that there are any."""
    (decision, notice, request), others = decided
    with as_("operator") as archive:
        if wait == "sealed":
            archive.flush()
    with as_("data-subject") as archive:
        assert [one.id for one in archive.decisions.find()] == [decision]
        assert [one.id for one in archive.decisions.of(ids[3])] == [decision]
        assert archive.decisions.of(ids[4]) == []
        shown = archive.decisions.show(decision)
        assert (shown.subject, shown.text, shown.who) == ("subject-3", "words-3", None)
        assert [one.id for one in archive.rights.notices()] == [notice]
        assert [one.id for one in archive.rights.notices(decision=decision)] == [notice]
        assert [one.id for one in archive.rights.requests()] == [request]
        assert archive.rights.show(request).text == "why-3"
        assert [one.state for one in archive.rights.show(request).steps] == ["identified"]
        assert {one.id for one in archive.why(ids[3]).followed} == {decision, notice}
        for show, name in zip(
            (archive.decisions.show, archive.rights.show_notice, archive.rights.show), others, strict=True
        ):
            with pytest.raises(ForbiddenError, match="D0 is for role data-subject where it is its own"):
                show(name)
            assert accesses(archive._ledger)[-1]["outcome"] == "denied"
        for question in (archive.rights.missing_notices, archive.rights.overdue):
            with pytest.raises(ForbiddenError, match="D0 is for role data-subject"):
                question()
    with as_("data-subject", case=None) as archive:  # whom they are about is seen for a case only
        for question in (archive.decisions.find, archive.rights.notices, archive.rights.requests):
            with pytest.raises(ForbiddenError, match="D3 is for role data-subject not to be seen"):
                question()
            assert accesses(archive._ledger)[-1]["outcome"] == "denied"
        assert archive.why(ids[3]).followed is None


def test_where_a_person_is_is_refused_on_record(as_):
    """Whoever may not see whom records are about is told why, and that they asked is in the stream."""
    with as_("operator", case="another") as archive:
        with pytest.raises(ForbiddenError, match="D3 is for role operator not to be seen"):
            archive.privacy.find("subject-3")
        assert accesses(archive._ledger, "find person")[-1]["outcome"] == "denied"


def test_what_followed_is_for_whom_the_prediction_is(as_, ids, decided):
    """Whoever works on a case sees what was decided in it, and of other cases only that they may not."""
    with as_("operator", case="request-3") as archive:
        assert decided[0][0] in {one.id for one in archive.why(ids[3]).followed}
        assert archive.why(ids[4]).followed is None


def test_a_grant_opens_for_a_while(as_, ids, clock):
    """Its classes, for its case, until its time; the access says which grant it was."""
    with as_("legal", case="claim") as archive:
        assert archive.why(ids[3]).features == {}
    with as_("dpo") as dpo:
        entry = dpo.access.grant(
            "legal", ["D3", "D4"], "claim", until=time_text(clock.now_ns + HOUR_NS), why="court order"
        )
    with as_("legal", case="claim") as archive:
        story = archive.why(ids[3])
        assert (story.features, story.sealed) == ({"income": people()["income"][3]}, ("features.D5",))
        assert {access["grant"] for access in accesses(archive._ledger, "why")[-2:]} == {entry}
        clock.now_ns += 2 * HOUR_NS
        assert archive.why(ids[3]).features == {}
    with as_("legal", case="other") as archive:
        assert archive.why(ids[3]).features == {}


def test_a_grant_can_be_ended(as_, ids):
    """At once, for a session that is open."""
    with as_("dpo") as dpo:
        entry = dpo.access.grant("legal", "D4", "short", until="2100-01-01T00:00:00Z", why="x")
        with as_("legal", case="short") as archive:
            assert archive.why(ids[3]).features
            dpo.access.end(entry)
            assert archive.why(ids[3]).features == {}
        with pytest.raises(NotFoundError):
            dpo.access.end(0)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"classes": "D9"}, "expected classes"),
        ({"classes": ()}, "expected classes"),
        ({"why": " "}, "expected a reason"),
        ({"case": " "}, "expected a case"),
        ({"person": ""}, "expected a person"),
        ({"until": "2001-01-01T00:00:00Z"}, "expected an end in the future"),
    ],
)
def test_a_grant_says_what_for_whom_and_why(as_, given, match):
    """Classes, a reason, and an end that is to come."""
    asked = {"person": "legal", "classes": "D4", "case": "case", "until": "2100-01-01T00:00:00Z", "why": "x"} | given
    with as_("dpo") as archive, pytest.raises(InputError, match=match):
        archive.access.grant(**asked)


def test_a_broken_glass_expires_and_is_reviewed_by_another_person(as_, ids, clock, tmp_path):
    """At most 4 hours, then refused; overdue after one working day; not to be reviewed by whoever broke it."""
    clock.now_ns = max(clock.now_ns, MONDAY)
    with as_("internal-auditor", case="emergency") as archive:
        with pytest.raises(InputError, match="at most 4 hours"):
            archive.access.break_glass("D4", "emergency", why="x", minutes=241)
        entry = archive.access.break_glass("D4", "emergency", why="somebody is in danger")
        assert archive.why(ids[3]).features == {"income": people()["income"][3]}
        archive.bundle(tmp_path / "given.zip", predictions=[ids[3]], opened="features")
        clock.now_ns += 5 * HOUR_NS
        with pytest.raises(ForbiddenError, match="D4 is for role internal-auditor with a grant for the case"):
            archive.bundle(tmp_path / "refused.zip", predictions=[ids[3]], opened="features")
        assert [one["outcome"] for one in accesses(archive._ledger, "bundle")] == ["allowed", "denied"]
        assert archive.why(ids[3]).features == {}
        with pytest.raises(ForbiddenError, match="another person"):
            archive.access.review(entry, "justified", reason="by me")
        assert refused(archive)["action"] == "reviewing a break-glass"
    with as_("dpo") as dpo:
        assert entry not in {one.index for one in dpo.access.reviews(overdue=True)}
        clock.now_ns += 24 * HOUR_NS
        assert entry in {one.index for one in dpo.access.reviews(overdue=True)}
        dpo.access.review(entry, "justified", reason="there was")
        assert entry not in {one.index for one in dpo.access.reviews(overdue=True)}
        with pytest.raises(ConflictError, match="was reviewed"):
            dpo.access.review(entry, "not-justified", reason="no")
        with pytest.raises(NotFoundError, match="no break-glass"):
            dpo.access.review(0, "justified", reason="no")


def test_a_broken_glass_that_was_not_justified_ends_with_the_review(as_, ids):
    """In the session it was broken in; one that was justified goes on until its time."""
    with as_("internal-auditor", case="glass") as archive, as_("dpo") as dpo:
        for verdict, left in (("justified", {"income": people()["income"][3]}), ("not-justified", {})):
            entry = archive.access.break_glass(["D3", "D4"], "glass", why="x", minutes=1)
            with pytest.raises(InputError, match="expected a reason"):
                dpo.access.review(entry, verdict, reason=" ")
            dpo.access.review(entry, verdict, reason="the case file")
            if verdict == "justified":
                assert archive.why(ids[3]).features == left
                dpo.access.end(entry)
        assert archive.why(ids[3]).features == left


def test_who_may_not_break_the_glass_does_not(as_):
    """A role the policy does not let is refused, and that is an access."""
    with as_("data-scientist") as archive:
        with pytest.raises(ForbiddenError, match="does not permit it"):
            archive.access.break_glass("D5", "case", why="I want to")
        assert accesses(archive._ledger, "break-glass")[-1]["outcome"] == "denied"


@pytest.mark.parametrize(
    ("taken", "due"),
    [
        ("2026-11-19T10:00:00.000000000Z", "2026-11-20T10:00:00.000000000Z"),
        ("2026-11-20T15:00:00.000000000Z", "2026-11-23T15:00:00.000000000Z"),
        ("2026-11-21T15:00:00.000000000Z", "2026-11-24T00:00:00.000000000Z"),
        ("2026-11-22T23:59:59.000000000Z", "2026-11-24T00:00:00.000000000Z"),
    ],
)
def test_a_working_day_leaves_out_the_weekend(taken, due):
    """24 hours of Monday to Friday; what happens at a weekend counts from Monday on."""
    assert time_text(review_due(parse_time(taken))) == due


# --- the stream of accesses -------------------------------------------------------------------------------------------


def test_the_auditor_can_ask_who_saw_somebody(as_, ids):
    """Who, when, what for, for which case, by which question: of the person's predictions and source rows."""
    with as_("data-scientist", purpose="a new model") as archive:
        archive.why(ids[2])
        archive.predictions(model=MODEL)
        archive.receipts(ids[5:7])
    with as_("internal-auditor") as auditor:
        seen = auditor.access.who_saw(subject="subject-2")
        assert all(one.certain for one in seen)
        ours = [one for one in seen if one.access.purpose == "a new model"]
        assert [(one.access.question, one.access.outcome) for one in ours] == [
            ("why", "redacted"), ("why", "redacted"), ("predictions", "redacted"),
        ]  # fmt: skip
        assert {(one.access.actor, one.access.role, one.access.case) for one in ours} == {
            ("data-scientist", "data-scientist", "case")
        }
        assert ours[0].records == (ids[2],)
        assert [one.access.question for one in auditor.access.who_saw(prediction=ids[6])][-1] == "predictions"


def test_who_saw_prints_a_line_for_a_question(as_, ids):
    """One that read the record and the row of a person is two accesses, and one line with the classes of both."""
    with as_("data-scientist", purpose="once") as archive:
        archive.why(ids[1])
    with as_("internal-auditor") as auditor:
        seen = [one for one in auditor.access.who_saw(subject="subject-1") if one.access.purpose == "once"]
    (section,) = _page("who-saw", seen).sections
    assert (len(seen), len(section.rows)) == (2, 1)


def test_reading_the_log_is_an_access_and_needs_the_right(as_):
    """Whoever may not is refused, and both are in it."""
    with as_("data-scientist") as archive:
        with pytest.raises(ForbiddenError, match="query-access-log"):
            archive.access.log()
        with pytest.raises(InputError, match="a subject or a prediction"):
            archive.access.who_saw()
    with as_("internal-auditor") as auditor:
        auditor.access.log()
        last = auditor.access.log(actor="internal-auditor")[-2:]
        assert [one.question for one in last] == ["access-log", "access-log"]
        denied = auditor.access.log(question="query-access-log")[-1]
        assert (denied.actor, denied.outcome) == ("data-scientist", "denied")


def test_none_is_missing_under_concurrency(as_, path, clock):
    """Every read of many threads and of a forked process is on record."""
    each, threads = 5, 4

    def ask(archive, number):
        for turn in range(each):
            run = RecordRun(stream=f"{number}", first=turn, count=1)
            archive._gate.pass_through("count", ["output"], 1, Scope(runs=(run,)))

    with as_("dpo") as archive:
        workers = [threading.Thread(target=ask, args=(archive, number)) for number in range(threads)]
        child = os.fork()
        if not child:
            code = 1
            try:
                ask(archive, 99)
                archive._sealing.recorder.close()
                code = 0
            finally:
                os._exit(code)
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert os.waitpid(child, 0)[1] == 0
    with as_("internal-auditor") as auditor:
        found = [one.runs[0][:2] for one in auditor.access.log(question="count")]
        assert sorted(found) == sorted((f"{n}", turn) for n in (*range(threads), 99) for turn in range(each))
        assert not auditor.verify(check=False, workers=1).failed


def test_what_cannot_be_recorded_is_not_shown(as_, ids, monkeypatch):
    """A disk that does not take the access keeps the value: the story is not told."""
    with as_("dpo") as archive:
        archive.why(ids[3])

        def fail(_path):
            raise StorageError("no room")

        monkeypatch.setattr("backstory.capture.recorder.Recorder.record", lambda *_: fail(None))
        with pytest.raises(StorageError):
            archive.why(ids[3])


def test_a_copy_that_is_read_only_shows_nothing(path, ids):
    """It records no access, so that under a policy it answers nobody."""
    with backstory.open(path, mode="r") as archive:
        with pytest.raises(ForbiddenError, match="whoever has no role"):
            archive.why(ids[3])
        assert not archive.verify(check=False, workers=1).failed
