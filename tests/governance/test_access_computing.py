"""Questions that run models again are for whoever sees all of the call, and each call is judged by its own records."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN
from tests.support.policies import opener

import backstory
from backstory.errors import ForbiddenError
from backstory.governance.access_policy import policy_document, text_of_policy
from backstory.governance.proposal import REFUSED

MODEL = "credit"
HOUSE = """
@id("house-operators-compute")
permit (
    principal in Role::"operator",
    action == Action::"clear",
    resource
)
when { resource in [Class::"D1", Class::"D2"] && context.assigned };

@id("house-subjects-compute")
permit (
    principal in Role::"data-subject",
    action == Action::"own",
    resource
)
when { resource in [Class::"D1", Class::"D2"] };
"""
"""What a house adds to the policy that is shipped: whoever handles a case may run its models again."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Return what opens an archive as somebody, and predictions: four calls of one record, one of three."""
    path = tmp_path_factory.mktemp("computing") / "audit"
    rows = np.arange(7.0)
    table = pd.DataFrame({"cust": [f"c-{row}" for row in range(7)], "income": rows, "age": rows**2})
    with backstory.init(path, origin=ORIGIN):
        pass
    with backstory.open(path, actor="root", purpose="set up") as archive:
        frame = archive.source(table, "loans", key="cust", subject="cust")
        features, refs = archive.split(frame, features=["income", "age"])
        fitted = LinearRegression().fit(features, table["income"])
        model = archive.register(fitted, name=MODEL, rows=refs, target=table["income"])
        given = {"explain": "linear"}
        ids = [
            archive.predict(
                model, features[row : row + 1], subject=table["cust"][row], request_id=f"case-{row}", **given
            ).ids[0]
            for row in range(4)
        ]
        requests = ["case-4", "case-5", "case-6"]
        ids += archive.predict(model, features[4:], subject=table["cust"][4:], request_id=requests, **given).ids
        archive.flush()
        for role in ("operator", "regulator", "platform-admin", "data-scientist", "validator"):
            archive.access.assign(role, role)
        archive.access.assign("data-subject", "data-subject", subject="c-2")
        for case in ("case-0", "case-4"):
            archive.access.assign_case("operator", case)
        archive.access.assign_case("regulator", "inspection", models=MODEL)
        proposal = archive.access.propose_policy(text_of_policy(policy_document("starting")) + HOUSE)
    with backstory.open(path, actor="approver") as archive:
        archive.access.approve(proposal.index)
    return opener(path), ids


COMPUTING = {
    "replay": lambda archive, name: archive.replay(name).verdict == "exact",
    "stages": lambda archive, name: archive.stages(name).verdict == "exact",
    "whatif": lambda archive, name: archive.whatif(name, features={"income": 9.0}),
    "explain": lambda archive, name: archive.explain(name).contributions,
    "counterfactual": lambda archive, name: archive.explanations.counterfactual(
        name, target="> 100", change=["income"], bounds={"income": (0.0, 500.0)}, steps=4
    ),
}


@pytest.mark.parametrize("question", COMPUTING)
def test_a_question_about_one_record_is_judged_by_that_record(scene, question):
    """Whoever works on its case runs the model on it again; of a case of others they are refused, on record."""
    as_, ids = scene
    with as_("operator", case="case-0") as archive:
        assert COMPUTING[question](archive, ids[0])
        assert accesses(archive._ledger)[-1]["outcome"] == "allowed"
        with pytest.raises(ForbiddenError, match="for role operator"):
            COMPUTING[question](archive, ids[1])
        assert accesses(archive._ledger)[-1]["outcome"] == "denied"


def test_a_person_may_have_what_is_about_them_run_again(scene):
    """Where a policy lets them see all of it: their own, and nobody else's."""
    as_, ids = scene
    with as_("data-subject") as archive:
        assert archive.replay(ids[2]).verdict == "exact"
        with pytest.raises(ForbiddenError, match="where it is its own"):
            archive.replay(ids[0])


def test_who_sees_one_record_of_a_call_does_not_run_all_of_it(scene):
    """The model is given the whole call, so every record of it has to be for whoever asks."""
    as_, ids = scene
    with as_("operator", case="case-4") as archive:
        found = archive.replay(ids[4])
        assert (found.verdict, found.recorded) == ("not-replayable", None)
        assert "D3 is for role operator not to be seen" in found.reason
        assert accesses(archive._ledger, "replay")[-1]["outcome"] == "denied"
        assert archive.why(ids[4]).output is not None
    with as_("regulator", case="inspection") as archive:
        assert archive.replay(ids[4]).verdict == "exact"


def test_a_question_about_many_needs_all_of_them(scene):
    """One case is not the set: what computes with many is refused, and shows nothing."""
    as_, ids = scene
    with as_("operator", case="case-0") as archive:
        for question in (
            lambda: archive.replay(ids[:2]),
            lambda: archive.replay(model=MODEL),
            lambda: archive.drift.compare(MODEL),
        ):
            with pytest.raises(ForbiddenError, match="for role operator"):
                question()


def test_two_records_are_compared_as_far_as_each_is_seen(scene):
    """What stays sealed of one of them is not compared."""
    as_, ids = scene
    with as_("regulator", case="inspection") as archive:
        assert archive.diff(ids[0], ids[1]).first.name == "features"
    with as_("regulator", case="nothing") as archive:
        assert "sealed" in str(archive.diff(ids[0], ids[1]))


def test_whoever_decides_need_not_see_why_the_model_said_so(scene):
    """That the codes of an adverse decision apply is compared by a rule; to be shown them is another question."""
    as_, ids = scene
    codes = {"R1": {"features": ["income"], "direction": "increases", "text": "too high"}}
    codes["R2"] = {"features": ["income"], "direction": "decreases", "text": "too low"}
    with as_("data-scientist") as archive:
        archive.explanations.define("codes", codes)
        proposal = archive.decisions.domain("credit", reasons="codes")
    with as_("validator") as archive:
        archive.decisions.decide(proposal, "approved")
    said = {"outcome": "no", "adverse": True, "automation": "human-decided", "reliance": "sole", "action": "accepted"}
    with as_("operator", case="case-4") as archive:
        with pytest.raises(ForbiddenError, match="for role operator"):
            archive.explanations.reasons(ids[4], "codes")
        before = len(accesses(archive._ledger))
        refused = []
        for code in codes:
            try:
                archive.decisions.record(ids[4], subject="c-4", domain="credit", reasons=[code], **said)
            except ForbiddenError:
                refused.append(code)
        assert len(refused) == 1
        assert archive._ledger.find_entries(REFUSED)
        assert len(accesses(archive._ledger)) == before
