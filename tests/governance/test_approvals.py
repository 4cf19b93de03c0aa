"""Approvals by another person than the author, and why choices were made."""

from __future__ import annotations

import shutil

import pytest
from tests.support.deciding import CODES, acting, credit_archive, refusals

from backstory.errors import ForbiddenError, InputError, NotFoundError


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A closed archive, and the ids of its predictions."""
    path = tmp_path_factory.mktemp("approvals") / "audit"
    credit_archive(path)
    with acting(path, "Ann Lee", began=5_000) as archive:
        archive.deployments.set("production", "credit:1")
    return path


@pytest.fixture
def path(template, tmp_path):
    """A copy of it."""
    return shutil.copytree(template, tmp_path / "audit")


@pytest.mark.parametrize(("kind", "spec"), [("reason map", "credit-us"), ("deployment", "production")])
def test_whoever_defined_it_does_not_approve_it(path, kind, spec):
    """Under no spelling of the name; another person does, and the author may reject."""
    with acting(path, "ANN  LEE") as archive:
        with pytest.raises(ForbiddenError, match="another person"):
            archive.decisions.approve(kind, spec)
        assert refusals(archive)[-1] == (f"approving a {kind}", "same person")
        assert archive.decisions.approvals() == []
        archive.decisions.approve(kind, spec, verdict="rejected")
    with acting(path, "Bo Chen", began=2_000) as archive:
        given = archive.decisions.approve(kind, spec, reason="looked at")
        assert (given.kind, given.name, given.verdict) == (kind, spec, "approved")
        assert [one.verdict for one in archive.decisions.approvals(kind, spec)] == ["rejected", "approved"]
        archive.flush()
        archive.verify()


def test_an_approval_is_of_one_version(path):
    """It names the entry that defined the version."""
    with acting(path, "Cy Diaz") as archive:
        archive.explanations.define("credit-us", {"R01": CODES["R01"]})
    with acting(path, "Ann Lee", began=2_000) as archive:
        second = archive.decisions.approve("reason map", "credit-us")
        with pytest.raises(ForbiddenError):
            archive.decisions.approve("reason map", "credit-us:1")
    assert second.of > 0


def test_what_is_not_there_is_not_approved(path):
    """Nor what is approved elsewhere."""
    with acting(path, "Bo Chen") as archive:
        with pytest.raises(NotFoundError):
            archive.decisions.approve("deployment", "staging")
        with pytest.raises(NotFoundError):
            archive.decisions.approve("feature set", "income")
        with pytest.raises(InputError):
            archive.decisions.approve("model", "credit")


def test_why_a_model_was_chosen_is_told(path):
    """`why` of the version and its history say why, and what else was looked at."""
    with acting(path, "Ann Lee") as archive:
        said = archive.decisions.justify("credit", text="monotone and small", alternatives=["a forest: no gain"])
        assert archive.decisions.justifications("credit:1") == [said]
        story, history = archive.why("credit:1"), archive.runs.history("credit")
        assert story.justifications == (said,)
        assert "monotone and small" in str(story)
        assert "a forest: no gain" in str(story)
        assert "monotone and small" in str(history)
        archive.flush()
        archive.verify()


@pytest.mark.parametrize(
    "said", [{"model": "credit", "text": ""}, {"text": "why"}, {"model": "credit", "feature_set": "f", "text": "why"}]
)
def test_a_justification_is_of_something(path, said):
    """Of a model or a feature set, and in words."""
    with acting(path, "Ann Lee") as archive, pytest.raises(InputError):
        archive.decisions.justify(**said)
