"""Reports by somebody who may not see business secrets: possible, proven, and with what is left out named."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import zipfile

import pandas as pd
import pytest
from tests.support.governed import govern
from tests.support.policies import govern as put_policy_in_force
from tests.support.policies import opener

import backstory
from backstory.records import canonical
from backstory.verify.bundle import verify_bundle

CASE = "request 7"
SECRETS = (b'"threshold"', b"0.7 or more")


@pytest.fixture(scope="module")
def governed(tmp_path_factory):
    """An archive with a threshold and explanations, under the policy that is shipped."""
    made = govern(tmp_path_factory.mktemp("masked") / "audit")
    with backstory.open(made.path, actor="Cleo Clerk", purpose="prices", sealer="none") as archive:
        archive.privacy.confirm({"feature.price": {"class": "D2", "open": True}}, model="prices")
        model = archive.register(lambda rows: [0.5] * len(rows), name="prices")
        archive.predict(model, pd.DataFrame({"price": [17.5]}), method="__call__", subject=["bob"])
        model = archive.register(lambda rows: [0.5] * len(rows), name="limits")
        for person, limit in (("ida", 0.31), ("jon", 0.32)):
            rule = backstory.Threshold(limit)
            archive.predict(model, pd.DataFrame({"sum": [1.5]}), method="__call__", subject=[person], decision=rule)
    put_policy_in_force(made.path)
    return made


@pytest.fixture(scope="module")
def officer(governed):
    """The archive, open for the data-protection officer, who sees what identifies people for this case."""
    with opener(governed.path)("dpo", case=CASE) as archive:
        archive.access.break_glass(["D4", "D5"], CASE, why="the clock of the request runs out today")
        yield archive


@pytest.fixture(scope="module")
def made(officer, governed, tmp_path_factory):
    """What the officer gives out, by kind."""
    folder = tmp_path_factory.mktemp("made")
    asked = {
        "individual-explanation": {"prediction": governed.predictions[0]},
        "subject-access": {"subject": "ann"},
    }
    return {kind: officer.reports.make(kind, folder / f"{kind}.zip", **given) for kind, given in asked.items()}


def receipts_in(path):
    """Return the records of a bundle, as their receipts prove them."""
    with zipfile.ZipFile(path) as file:
        return [json.loads(line) for line in file.read("records.jsonl").splitlines()]


def parts_of(data):
    """Return what a file of receipts says in base64."""
    document = json.loads(data)
    texts = [*document["contexts"], *document["schemas"], *(one["row"] for one in document["receipts"])]
    return map(base64.b64decode, texts)


@pytest.mark.parametrize("kind", ["individual-explanation", "subject-access"])
def test_a_report_without_secrets_verifies(made, governed, kind, tmp_path):
    """With the package and with the program in it: records without their context are proven all the same."""
    path = made[kind].path
    assert verify_bundle(path, vkey=governed.vkey).records == made[kind].records
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path)
    command = [sys.executable, "-I", tmp_path / "verify/check_bundle.py", path, "--vkey", governed.vkey]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_an_extract_has_the_answer_and_its_data(made):
    """All of a person's that the officer may see, quoted from what is proven."""
    sections = {one["name"]: one["rows"] for one in made["subject-access"].document["sections"]}
    assert [row["program"] for row in sections["answers"]] == ["credit version 1"]
    assert {row["name"] for row in sections["data"]} == {"amount", "years"}
    assert {row["factor"] for row in sections["factors"]} == {"amount", "years"}
    assert [row["source"] for row in sections["sources"]] == ["applications"]
    columns = {one.get("column") for one in made["subject-access"].document["quotes"]}
    assert {"feature.amount", "attribution.amount", "decision", "outcome"} <= columns


@pytest.mark.parametrize("kind", ["individual-explanation", "subject-access"])
def test_no_secret_is_in_a_report_for_whom_it_is_not(made, kind):
    """In no file of it: neither the threshold, nor how the model was asked."""
    with zipfile.ZipFile(made[kind].path) as file:
        said = {name: file.read(name) for name in file.namelist() if not name.endswith(".receipts")}
        said |= {name: b"".join(parts_of(file.read(name))) for name in file.namelist() if name.endswith(".receipts")}
    assert not [name for name, data in said.items() if any(secret in data for secret in SECRETS)]


@pytest.mark.parametrize("kind", ["individual-explanation", "subject-access"])
def test_what_is_left_out_is_named_and_can_be_compared_later(made, officer, kind):
    """With its class, the reason and the digest of the context, which is what a later disclosure has."""
    document = made[kind].document
    (said,) = [one for one in document["redaction"]["withheld"] if one["group"] == "context"]
    assert (said["class"], said["reason"]) == ("D2", "D2 is for role dpo masked")
    context = canonical.encode(officer._ledger.document(said["commitment"]))
    assert (hashlib.sha256(context).hexdigest(), SECRETS[0] in context) == (said["commitment"], True)
    bare = [one for one in receipts_in(made[kind].path) if one["context"] is None]
    assert {one["values"]["context"] for one in bare} == {said["commitment"]}
    assert any(f"The proofs of {len(bare)} record leave the context out" in line for line in document["completeness"])


def test_a_rule_that_may_not_be_seen_is_not_called_absent(made):
    """The report says that it is not shown, and why."""
    sections = {one["name"]: one["rows"] for one in made["individual-explanation"].document["sections"]}
    rule = {row["what"]: row["value"] for row in sections["model"]}["its rule"]
    assert rule == "not shown: D2 is for role dpo masked"


def test_a_record_with_an_open_secret_is_left_out_and_counted(officer, governed, tmp_path):
    """Its row cannot be proven without the secret: it is named with the reason, and the rest is told and proven."""
    report = officer.reports.make("subject-access", tmp_path / "bob.zip", subject="bob")
    assert verify_bundle(report.path, vkey=governed.vkey).records == report.records
    sections = {one["name"]: one["rows"] for one in report.document["sections"]}
    assert sections["confirmation"][0] == {"what": "records of kind prediction", "value": "2"}
    assert [row["prediction"] for row in sections["answers"]] == [governed.predictions[1]]
    (said,) = [one for one in report.document["redaction"]["withheld"] if not one["group"]]
    assert said["reason"] == "D2 is for role dpo masked"
    assert f"Left out, and proven nowhere here: {said['what']}. {said['reason']}." in report.document["completeness"]


@pytest.fixture(scope="module")
def ungranted(governed):
    """The archive, open for the officer without a grant: what identifies people stays sealed."""
    with opener(governed.path)("dpo", case="request 8") as archive:
        yield archive


def test_what_is_withheld_is_not_called_unrecorded(ungranted, governed, tmp_path):
    """What each factor added was recorded: the person and whoever explains are told that it is not shown."""
    report = ungranted.reports.make("subject-access", tmp_path / "ann.zip", subject="ann")
    (factors,) = (one for one in report.document["sections"] if one["name"] == "factors")
    said = "What each factor added was recorded with 1 answer, and is withheld here; see what is not shown."
    assert (factors["text"], factors["rows"]) == ([said], [])
    asked = {"prediction": governed.predictions[0]}
    report = ungranted.reports.make("individual-explanation", tmp_path / "one.zip", **asked)
    assert report.summary[-1] == "What counted most was recorded with the answer, and is withheld here."


def test_rows_that_may_not_be_seen_are_counted_and_withheld(ungranted, tmp_path):
    """Of one who is only in a training set: how many rows, which model learned from them, and none of their data."""
    report = ungranted.reports.make("subject-access", tmp_path / "r.zip", subject="ann-1")
    sections = {one["name"]: one["rows"] for one in report.document["sections"]}
    (held,) = sections["rows"]
    assert (held["source"], held["rows"]) == ("applications", "1")
    assert [row["name"] for row in sections["values"]] == ["person"]
    assert sections["learned"] == [{"program": "credit:1"}]
    withheld = {one["what"]: one for one in report.document["redaction"]["withheld"]}
    said = withheld["amount of 1 row of source applications"]
    assert (said["class"], said["commitment"]) == ("D4", held["version"])
    assert said["reason"] == "D4 is for role dpo with a grant for the case"


def test_no_context_of_others_is_named(officer, tmp_path):
    """Of records that are sealed with a person's, under other thresholds, not even the digest of the context."""
    report = officer.reports.make("subject-access", tmp_path / "ida.zip", subject="ida")
    (bare,) = receipts_in(report.path)
    said = [one["commitment"] for one in report.document["redaction"]["withheld"] if one["group"] == "context"]
    assert (bare["context"], said) == (None, [bare["values"]["context"]])
