"""Entries of proposals, approvals and final decisions: one that is malformed or contradicts another is named."""

from __future__ import annotations

import pytest
from tests.support.ledgers import new_ledger

from backstory.verify.archive import verify_archive

ONE = "1" * 64
NAME = "01a209ed-cd2e-7e79-9176-87c0e8fe309e"
MADE = {"actor": ONE, "document": ONE, "kind": "threshold", "name": "credit", "type": "proposal.made"}
DECIDED = {"actor": ONE, "name": "credit", "proposal": "1", "type": "proposal.decided", "verdict": "approved"}
FINAL = {"actor": ONE, "decision": NAME, "type": "decision.finalised"}
REASONS = {"name": "r", "reasons": ONE, "type": "reasons.defined", "version": "1"}
APPROVED = {
    "actor": ONE, "kind": "reason map", "name": "r", "of": "4", "type": "definition.approved", "verdict": "approved",
}  # fmt: skip
JUSTIFIED = {
    "actor": ONE, "document": ONE, "kind": "model", "name": "m", "of": ONE, "type": "choice.justified", "version": "1",
}  # fmt: skip
REFUSED = {"action": "recording a decision", "ground": "no reasons", "type": "action.refused"}
GOOD = (MADE, DECIDED, FINAL, REASONS, APPROVED, JUSTIFIED, REFUSED)
BAD = {
    "a proposal of nobody": {**MADE, "actor": None},
    "decided twice": DECIDED,
    "decided on nothing": {**DECIDED, "proposal": "3"},
    "decided on another thing": {**DECIDED, "name": "debit"},
    "a verdict that is none": {**DECIDED, "verdict": "maybe"},
    "final twice": FINAL,
    "no decision": {**FINAL, "decision": "some"},
    "nothing approved": {**APPROVED, "of": "2"},
    "approved before it was defined": {**APPROVED, "of": "999"},
    "another kind": {**APPROVED, "kind": "deployment"},
    "chosen for no reason": {**JUSTIFIED, "document": None},
    "refused on no ground": {**REFUSED, "ground": ""},
}


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Return what verification says of entries by their number, and the number of the first bad one."""
    ledger = new_ledger(tmp_path_factory.mktemp("two-people") / "archive")
    ledger.append(list(GOOD))
    first = ledger.append(list(BAD.values())).start
    found = verify_archive(ledger.layout.root, workers=1).findings
    return {one.index: one for one in found if one.place == f"entry {one.index}"}, first


def test_what_is_written_is_no_finding(named):
    """Entries as the archive writes them have their form and contradict nothing."""
    assert [str(one) for index, one in named[0].items() if index < named[1]] == []


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_or_contradicting_entry_is_named(named, name):
    """It fails, with its index."""
    finding = named[0][named[1] + list(BAD).index(name)]
    assert finding.severity == "failed"
    assert finding.what.startswith(f"{BAD[name]['type']}: ")
