"""Deployments: which version served a prediction, and whether it was approved then."""

from __future__ import annotations

import dataclasses
import shutil
from decimal import Decimal
from itertools import count

import pytest
from tests.support.archives import ORIGIN, fitted, loans

import backstory
from backstory.archive import Archive
from backstory.errors import ForbiddenError, InputError, NotFoundError
from backstory.storage.world import World

BEGAN_NS = 1_800_000_000_000_000_000
FEATURES = ["amount", "years"]


def opened_at(path, began, actor="validator"):
    """Open an archive with a clock that goes on by a second a look, and an actor."""
    seconds = count(began)
    world = dataclasses.replace(World(), now_ns=lambda: BEGAN_NS + next(seconds) * 10**9)
    return Archive(path, actor=actor, world=world)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A closed archive with two versions of a model."""
    path = tmp_path_factory.mktemp("deployments") / "audit"
    backstory.init(path, origin=ORIGIN).close()
    with opened_at(path, 0, "author") as opened:
        for rows in (20, 30):
            opened.register(fitted(loans(rows)), name="credit")
    return path


@pytest.fixture
def archive(template, tmp_path):
    """A copy of it, open for writing."""
    with opened_at(shutil.copytree(template, tmp_path / "audit"), 1_000) as opened:
        yield opened


def predicted(archive, spec="credit:1", **options):
    """Return the id of a prediction that is in the log."""
    ids = archive.predict(spec, loans(1)[FEATURES], **options).ids
    archive.flush()
    return ids[0]


def test_what_served_a_prediction_is_known(archive):
    """Which version, in which deployment, with which part of the traffic."""
    archive.deployments.set("production", {"credit:1": 0.9, "credit:2": "0.1"})
    served = archive.deployments.served(predicted(archive))
    assert served.model == "credit:1"
    assert [one.deployment for one in served.deployments] == ["production"]
    assert [(share.model, share.share) for share in served.deployments[0].shares] == [
        ("credit:1", "0.9"),
        ("credit:2", "0.1"),
    ]
    assert "90% of its traffic" in str(served)


def test_a_deployment_serves_until_it_is_changed(archive):
    """Intervals follow each other without a gap."""
    archive.deployments.set("production", "credit:1")
    before = predicted(archive)
    archive.deployments.set("production", "credit:2", reason="quarterly")
    archive.deployments.set("production", None)
    first, second, third = archive.deployments.intervals("production")
    assert (first.until, second.until, third.until) == (second.since, third.since, None)
    assert (second.reason, third.shares) == ("quarterly", ())
    assert archive.deployments.served(before).deployments == (first,)
    assert archive.deployments.served(predicted(archive)).deployments == ()


def test_the_same_again_is_not_recorded(archive):
    """The log says what changed."""
    archive.deployments.set("production", {"credit:1": 1})
    archive.deployments.set("production", "credit:1")
    assert len(archive.deployments.intervals()) == 1


def test_nobody_approved_is_not_approved(archive):
    """Even where it was deployed."""
    archive.deployments.set("production", "credit:1")
    served = archive.deployments.served(predicted(archive))
    assert not served.approved
    assert "NOT approved" in str(served)


def test_approved_before_is_approved(archive):
    """For this deployment, or for any."""
    archive.deployments.set("production", "credit:1")
    archive.deployments.approve("credit:1", deployment="production", role="model risk", reason="validated")
    served = archive.deployments.served(predicted(archive))
    assert served.approved
    assert served.verdicts[0].role == "model risk"
    archive.deployments.approve("credit:2")
    assert archive.deployments.served(predicted(archive, "credit:2")).approved


def test_approved_for_another_deployment_is_not_approved(archive):
    """An approval for staging says nothing of production."""
    archive.deployments.set("production", "credit:1")
    archive.deployments.approve("credit:1", deployment="staging")
    assert not archive.deployments.served(predicted(archive)).approved


def test_each_deployment_needs_its_approval(archive):
    """Nothing says which of two made the prediction, so that an approval for the one is none for the other."""
    for deployment in ("production", "staging"):
        archive.deployments.set(deployment, "credit:1")
    archive.deployments.approve("credit:1", deployment="production", verdict="rejected")
    archive.deployments.approve("credit:1", deployment="staging")
    served = archive.deployments.served(predicted(archive))
    assert not served.approved
    assert "NOT approved then for production: rejected" in str(served)
    archive.deployments.approve("credit:1", deployment="production")
    assert archive.deployments.served(predicted(archive)).approved


def test_a_verdict_for_another_deployment_is_not_named(archive):
    """Neither as why a version was approved nor as why it was not."""
    archive.deployments.set("production", "credit:1")
    archive.deployments.approve("credit:1", deployment="staging", role="intern")
    assert "NOT approved then for production: nobody" in str(archive.deployments.served(predicted(archive)))
    archive.deployments.approve("credit:1", deployment="production", role="model risk")
    archive.deployments.approve("credit:1", deployment="staging", role="intern")
    assert "by the model risk" in str(archive.deployments.served(predicted(archive)))


def test_a_clock_set_back_ends_no_deployment_before(archive):
    """What was changed behind the prediction's manifest still served it, whatever the time of the change says."""
    archive.deployments.set("production", "credit:1")
    name = predicted(archive)
    ledger = archive._ledger
    ledger.world = dataclasses.replace(ledger.world, now_ns=lambda: BEGAN_NS)
    archive.deployments.set("production", "credit:2")
    assert [one.deployment for one in archive.deployments.served(name).deployments] == ["production"]


def test_approved_after_is_not_approved_then(archive):
    """It is named as later."""
    archive.deployments.set("production", "credit:1")
    name = predicted(archive)
    archive.deployments.approve("credit:1")
    served = archive.deployments.served(name)
    assert not served.approved
    assert [one.verdict for one in served.later] == ["approved"]


def test_a_clock_set_back_approves_nothing(archive):
    """A verdict behind the prediction's manifest came later, whatever its time says."""
    archive.deployments.set("production", "credit:1")
    name = predicted(archive)
    ledger = archive._ledger
    ledger.world = dataclasses.replace(ledger.world, now_ns=lambda: BEGAN_NS)
    archive.deployments.approve("credit:1")
    served = archive.deployments.served(name)
    assert served.later[0].time < served.time
    assert not served.approved


@pytest.mark.parametrize("verdict", ["rejected", "withdrawn"])
def test_the_last_verdict_counts(archive, verdict):
    """Approved once is not approved for ever."""
    archive.deployments.set("production", "credit:1")
    archive.deployments.approve("credit:1")
    archive.deployments.approve("credit:1", verdict=verdict)
    assert not archive.deployments.served(predicted(archive)).approved


def test_a_request_is_asked_by_its_id(archive):
    """Every prediction of it."""
    archive.deployments.set("production", "credit:1")
    predicted(archive, request_id="case-7")
    (served,) = archive.deployments.served_request("case-7")
    assert served.model == "credit:1"
    assert archive.deployments.served_request("case-8") == []


def test_a_prediction_of_no_model_was_served_by_none(archive):
    """A function that stands for no version."""
    archive.traced(lambda amount: amount)(3)
    archive.flush()
    name = archive.search("model is null")["id"][0]
    assert archive.deployments.served(name).model is None


@pytest.mark.parametrize(
    "shares", [{"credit:1": 0.9}, {"credit:1": 1.1}, {"credit:1": "all"}, {"credit:1": float("nan")}]
)
def test_shares_are_one_together(archive, shares):
    """A deployment serves all of its traffic."""
    with pytest.raises(InputError, match="share"):
        archive.deployments.set("production", shares)
    assert archive.deployments.intervals() == []


def test_thirds_are_kept_as_what_is_one_together(archive):
    """Doubles cannot say 1/3; what is kept is exact and without exponents, however small a share is."""
    archive.register(lambda amount: amount, name="debit")
    archive.deployments.set("thirds", {"credit:1": 2 / 3, "debit": 1 / 3})
    archive.deployments.set("canary", {"credit:1": 1 - 1e-7, "debit": 1e-7})
    for interval in archive.deployments.intervals():
        kept = [Decimal(one.share) for one in interval.shares]
        assert sum(kept) == 1
        assert not any("E" in one.share for one in interval.shares)
    with pytest.raises(InputError, match="share"):
        archive.deployments.set("canary", {"credit:1": 1, "debit": "1e-400"})
    with pytest.raises(InputError, match="version once"):
        archive.deployments.set("canary", {"credit:2": 0.5, "credit": 0.5})


def test_an_unknown_model_is_not_deployed(archive):
    """Nor approved."""
    with pytest.raises(NotFoundError):
        archive.deployments.set("production", "credit:9")
    with pytest.raises(NotFoundError):
        archive.deployments.approve("debit")


def test_a_verdict_is_one_of_three(archive):
    """And a reason is short."""
    with pytest.raises(InputError, match="withdrawn"):
        archive.deployments.approve("credit", verdict="maybe")
    with pytest.raises(InputError, match="1024"):
        archive.deployments.approve("credit", reason="x" * 1025)


@pytest.mark.parametrize("role", ["", 5, "a\nb"])
def test_a_role_is_text(archive, role):
    """Of one line."""
    with pytest.raises(InputError, match="role"):
        archive.deployments.approve("credit:1", role=role)


def test_a_verdict_is_somebodys(archive):
    """The log says who gave it, without naming them."""
    archive.deployments.approve("credit:1")
    (verdict,) = archive.deployments.approvals("credit:1")
    assert len(verdict.by) == 64
    with backstory.open(archive.path) as nobody, pytest.raises(ForbiddenError, match="actor"):
        nobody.deployments.approve("credit:1")


@pytest.mark.parametrize(("author", "ground"), [("VALIDATOR ", "same person"), (None, "author unknown")])
def test_whoever_registered_a_version_does_not_approve_it(archive, author, ground):
    """Nor anybody where nobody knows who did; the refusal is recorded, and whoever registered it may withdraw it."""
    with opened_at(archive.path, 5_000, author) as opened:
        opened.register(fitted(loans(25)), name="credit")
    with pytest.raises(ForbiddenError, match="refusal is in the log"):
        archive.deployments.approve("credit:3")
    refused = archive._ledger.find_entries("action.refused")[-1]
    assert (refused["action"], refused["ground"]) == ("approving a model version", ground)
    assert archive.deployments.approvals("credit:3") == []
    archive.deployments.approve("credit:3", verdict="withdrawn")


def test_it_verifies(archive):
    """The audit passes."""
    archive.deployments.set("production", "credit:1")
    archive.deployments.approve("credit:1")
    predicted(archive)
    assert not archive.verify(workers=1).failed
