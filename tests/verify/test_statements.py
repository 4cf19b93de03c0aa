"""Entries about data, models, features and runs: one that is malformed or contradicts another is named by the audit."""

from __future__ import annotations

import pytest
from tests.support.ledgers import new_ledger

from backstory.verify.archive import verify_archive

ONE, TWO = "1" * 64, "2" * 64
MODEL = {"artifact": None, "model": ONE, "name": "m", "type": "model.registered", "version": "1"}
FEATURES = {"about": ONE, "features": ONE, "name": "f", "type": "features.defined", "version": "1"}
APPROVED = {
    "actor": ONE, "deployment": None, "model": ONE, "name": "m", "role": None, "type": "model.approved",
    "verdict": "approved", "version": "1",
}  # fmt: skip
SERVED = {"digest": ONE, "name": "m", "share": "1", "version": "1"}
DEPLOYED = {"models": [SERVED], "name": "production", "type": "deployment.set"}
SOURCE = {
    "dataset": ONE, "first": "0", "name": "s", "origin": None, "part": None, "rows": "3", "salt": "0" * 16,
    "type": "source.fixed",
}  # fmt: skip
CONTRACT = {"contract": ONE, "id": "c", "name": "s", "type": "contract.set", "version": "1.0"}
DRIFTED = {
    "column": "output", "measure": "ks", "model": ONE, "name": "m", "reference": "training",
    "since": "2026-01-01T00:00:00.000000000Z", "threshold": "0.05", "type": "drift.alarmed",
    "until": "2026-01-02T00:00:00.000000000Z", "value": "0.25", "version": "1",
}  # fmt: skip
REASONS = {"name": "r", "reasons": ONE, "type": "reasons.defined", "version": "1"}
DISCLOSED = {
    "adverse": "high", "codes": ["R01"], "computed": "afterwards", "method": "tree", "name": "r",
    "prediction": "01a209ed-cd2e-7e79-9176-87c0e8fe309e", "reasons": ONE, "recipient": None,
    "type": "reasons.disclosed", "version": "1",
}  # fmt: skip
SHOWN = {"dataset": ONE, "proof": ONE, "type": "membership.shown"}
GOOD = (
    MODEL,
    {**MODEL, "model": TWO, "parents": [ONE], "version": "2"},
    {**MODEL, "name": "other"},
    {"alias": "best", "model": TWO, "name": "m", "type": "model.aliased", "version": "2"},
    FEATURES,
    {**FEATURES, "about": TWO},
    {**FEATURES, "features": TWO, "version": "2"},
    APPROVED,
    {**APPROVED, "deployment": "production", "reason": "as agreed", "verdict": "withdrawn"},
    DEPLOYED,
    {**DEPLOYED, "models": []},
    {**DEPLOYED, "models": [{**SERVED, "share": "0.1"}, {**SERVED, "digest": TWO, "share": "0.9", "version": "2"}]},
    SOURCE,
    {**SOURCE, "kept": "reference", "origin": "a file", "part": "june"},
    CONTRACT,
    {**CONTRACT, "contract": None, "id": None, "version": None},
    DRIFTED,
    {**DRIFTED, "measure": "errors", "value": "2e-05"},
    REASONS,
    {**REASONS, "reasons": TWO, "version": "2"},
    DISCLOSED,
    {**DISCLOSED, "codes": None, "sealed_codes": TWO, "reasons": TWO, "version": "2"},
    SHOWN,
    {"model": ONE, "proof": ONE, "type": "membership.shown"},
    {"document": ONE, "name": "nightly", "type": "run.recorded"},
    {"name": "prepare.clean", "step": ONE, "type": "step.recorded"},
    {"group": ONE, "groups": "3", "name": "g", "salt": "0" * 16, "type": "group.recorded"},
)
BAD = {
    "no dataset": {**SOURCE, "dataset": None},
    "a reason map without a number": {**REASONS, "version": None},
    "reasons for nothing": {**DISCLOSED, "prediction": "some"},
    "reasons without codes": {**DISCLOSED, "codes": []},
    "codes both open and sealed": {**DISCLOSED, "sealed_codes": ONE},
    "reasons of no side": {**DISCLOSED, "adverse": "left"},
    "reasons computed at no time": {**DISCLOSED, "computed": "some day"},
    "rows that are no count": {**SOURCE, "rows": 3},
    "a table that is no digest": {**SOURCE, "table": "x"},
    "kept in another way": {**SOURCE, "kept": "nowhere"},
    "a name that is none": {**SOURCE, "name": "../s"},
    "about that is none": {**SOURCE, "about": []},
    "a group without salt": {"group": ONE, "groups": "3", "name": "g", "type": "group.recorded"},
    "a step without document": {"name": "clean", "step": "ab", "type": "step.recorded"},
    "a run without document": {"document": {}, "name": "nightly", "type": "run.recorded"},
    "a contract without version": {**CONTRACT, "version": None},
    "a second model under a number": {**MODEL, "model": TWO},
    "a number left out": {**MODEL, "model": "3" * 64, "version": "4"},
    "a parent nobody knows": {**MODEL, "model": "3" * 64, "parents": ["4" * 64], "version": "3"},
    "another number for a feature set": {**FEATURES, "version": "2"},
    "a second feature set under a number": {**FEATURES, "features": "3" * 64, "version": "2"},
    "an alias to another version": {"alias": "best", "model": ONE, "name": "m", "type": "model.aliased",
                                    "version": "2"},
    "an approval of another version": {**APPROVED, "model": TWO},
    "an approval of a version to come": {**APPROVED, "model": "3" * 64, "version": "3"},
    "an approval by nobody": {name: value for name, value in APPROVED.items() if name != "actor"},
    "another verdict": {**APPROVED, "verdict": ["approved"]},
    "shares that are not all": {**DEPLOYED, "models": [{**SERVED, "share": "0.5"}]},
    "shares that are no numbers": {**DEPLOYED, "models": [{**SERVED, "share": "much"}]},
    "a deployed version nobody knows": {**DEPLOYED, "models": [{**SERVED, "digest": TWO}]},
    "a deployed thing that is none": {**DEPLOYED, "models": [ONE]},
    "drift of a version nobody knows": {**DRIFTED, "model": TWO},
    "drift that is none": {**DRIFTED, "value": "nan"},
    "drift by another measure": {**DRIFTED, "measure": "mood"},
    "drift at no time": {**DRIFTED, "since": "yesterday"},
    "shown of nothing": {"proof": ONE, "type": "membership.shown"},
    "shown of two": {**SHOWN, "model": ONE},
    "granted for nothing": {"case": "0" * 64, "classes": ["D4"], "kind": "granted", "type": "access.granted"},
}  # fmt: skip


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Return what verification says of entries by their number, and the number of the first bad one."""
    ledger = new_ledger(tmp_path_factory.mktemp("statements") / "archive")
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
    entry = BAD[name]
    finding = named[0][named[1] + list(BAD).index(name)]
    assert finding.severity == "failed"
    assert finding.what.startswith(f"{entry['type']}: ")
