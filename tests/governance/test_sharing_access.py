"""Figures and queries under an access policy: who may make them, and what of people they show."""

from __future__ import annotations

import pytest
from tests.support.accesses import accesses
from tests.support.policies import govern, opener, record_people

from backstory.errors import ForbiddenError
from backstory.storage.world import World


@pytest.fixture(scope="module")
def as_(tmp_path_factory):
    """Return what opens an archive about people, under the policy that is shipped, as somebody in a role."""
    root = tmp_path_factory.mktemp("sharing_access") / "audit"
    record_people(root, World())
    govern(root, World())
    open_as = opener(root, World())
    with open_as("data-scientist") as archive:
        proposal = archive.sharing.budget("press", epsilon=100).proposal
    with open_as("dpo") as archive:
        archive.sharing.decide(proposal, "approved")
    return open_as


def test_who_may_share_may_make_figures(as_):
    """Whom the policy lets share makes figures of classes they see no value of; the read is in the stream."""
    with as_("data-scientist") as archive:
        assert archive.sharing.mean("press", "feature.income", bounds=(0, 100_000), epsilon=50).value is not None
        assert accesses(archive._ledger, "share")


@pytest.mark.parametrize("role", ["operator", "platform-admin", "vendor"])
def test_others_make_none(as_, role):
    """Whom the policy does not let share is refused, and nothing is charged."""
    with as_(role) as archive:
        before = archive.sharing.budgets("press")[0].left_epsilon
        with pytest.raises(ForbiddenError, match="share"):
            archive.sharing.count("press", epsilon=1)
        assert archive.sharing.budgets("press")[0].left_epsilon == before


def test_budgets_are_proposed_and_approved_by_whom_the_policy_names(as_):
    """A role without the right neither proposes nor approves."""
    with as_("vendor") as archive, pytest.raises(ForbiddenError, match="propose"):
        archive.sharing.budget("friends", epsilon=1)


def test_names_in_answers_are_for_those_who_may_see_staff(as_):
    """An auditor sees who changed what; a data scientist sees commitments, each time another one."""
    with as_("internal-auditor") as archive:
        assert "dpo" in str([row["approver"] for row in archive.query("Q-19").rows])
    with as_("data-scientist") as archive:
        named = {row["approver"] for row in archive.query("Q-19").rows} - {None}
    assert named
    assert all(name.startswith("commitment ") for name in named)


def test_the_stream_of_accesses_is_for_those_who_may_read_it(as_):
    """Who saw what is refused to a role that may not read the stream."""
    with as_("data-scientist") as archive, pytest.raises(ForbiddenError):
        archive.query("Q-26")
    with as_("dpo") as archive:
        assert archive.query("Q-26").status == "answered"


def test_structure_is_needed_for_any_answer(as_):
    """Under a role that sees no structure, and under none, no query is answered."""
    with as_("data-subject") as archive, pytest.raises(ForbiddenError):
        archive.query("Q-13")
