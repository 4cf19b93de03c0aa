"""Classes of columns in an archive: drafted, confirmed, in force for every way in, and told by every answer."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import backstory
from backstory.errors import ColumnError, ConflictError, ForbiddenError, InputError
from backstory.frames.personal_names import hints_of_name
from backstory.governance.classification import classes_of_source
from backstory.governance.classification_draft import draft_of_table
from backstory.lineage.dataset import find_version
from backstory.lineage.refs import LineageWarning

PEOPLE = pd.DataFrame(
    {
        "customer": [f"c-{number}" for number in range(12)],
        "income": [1000.5 + 37 * number for number in range(12)],
        "age": [30 + number % 9 for number in range(12)],
        "product": [number % 3 for number in range(12)],
    }
)
CLASSES = {"feature.age": "D5", "feature.income": "D3", "feature.product": {"class": "D1", "open": True}}


def score(frame):
    """Return a score a row."""
    return frame["income"] / 1000


def judge(income, age, product, note=""):
    """Return a score."""
    return income / 1000 + age + product + len(note)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Return an archive with a source of people and a classified model."""
    root = tmp_path_factory.mktemp("classified") / "archive"
    backstory.init(root, origin="example.org/classified").close()
    with backstory.open(root, actor="Ann", purpose="tests") as made:
        frame = made.source(PEOPLE, "people", subject="customer")
        _, rows = made.split(frame, ["income", "age", "product"])
        made.register(score, name="credit", rows=rows)
        made.privacy.confirm(CLASSES, model="credit", fields=True)
        yield made


def newest(archive):
    """Return the id of the newest prediction of the model: ids rise with time."""
    archive.flush()
    return max(archive.search("model = 'credit'")["id"].tolist())


def receipt_of(archive, prediction, **asked):
    """Return what the receipt of a prediction shows."""
    archive.flush()
    return backstory.verify_receipt(archive.receipt(prediction, **asked).data, vkey=archive.vkey)


def shown(receipt):
    """Return what stands in clear in a receipt."""
    return receipt.to_dict()["values"]


def test_a_draft_says_classes_and_reasons_and_no_value(archive):
    """A draft of a source of people proposes a class for each column, and names nothing of a row."""
    drafted = archive.privacy.classify("people")
    assert {one.name: one.sensitivity for one in drafted.columns} == {
        "customer": "D3", "income": "D3", "age": "D5", "product": "D3",
    }  # fmt: skip
    told = str(drafted) + json.dumps(drafted.to_dict())
    assert not [value for value in PEOPLE["customer"] if value in told]
    assert "1000.5" not in told


def test_a_draft_of_a_model_goes_by_its_features(archive):
    """A draft of a model has its features, and what it gives."""
    drafted = archive.privacy.classify(archive.model("credit"))
    assert [one.name for one in drafted.columns] == [
        "feature.income", "feature.age", "feature.product", "output", "decision", "outcome",
    ]  # fmt: skip
    assert drafted.where({"feature.age": "D4"}).classes["feature.age"] == {"class": "D4", "open": False}
    with pytest.raises(InputError, match=r"no column 'feature\.agee'.*feature\.age"):
        drafted.where({"feature.agee": "D4"})


@pytest.mark.parametrize(
    "name",
    [
        "born",
        "yob",
        "birth_year",
        "dateOfBirth",
        "dob",
        "ssn",
        "mrn",
        "iban",
        "cellphone",
        "fax",
        "addr",
        "ipv4",
        "gps",
    ],
)
def test_usual_names_of_what_names_a_person_are_known(name):
    """Where a name says so, a column is D4: nobody sees it by the role alone."""
    assert max(hint.sensitivity for hint in hints_of_name(name)) == "D4"


@pytest.mark.parametrize(
    ("values", "class_", "reason"),
    [
        (["ann@example.org", "bob@example.org"], "D4", "e-mail addresses"),
        (["DE89 3704 0044 0532 0130 00"] * 2, "D4", "IBANs"),
        (["4111 1111 1111 1111", "5500-0055-5555-5559"], "D4", "card numbers"),
        ([4111111111111111, 5500005555555559], "D4", "card numbers"),
        (["+49 30 901820", "(030) 90 18 20"], "D4", "telephone numbers"),
        (["called twice and was very upset", "came into the branch about a loan"], "D4", "free text"),
        (["0f8fad5b-d9cb-469f-a165-70867728950e"] * 2, "D3", "UUIDs"),
        (["a", "b"], "D1", "nothing found"),
        ([1.5, None], "D1", "nothing found"),
        ([None, None], "D1", "nothing found"),
    ],
)
def test_values_suggest_classes(values, class_, reason):
    """What a column holds is seen from its values, where they have a pattern or a check digit."""
    import pyarrow as pa

    (column,) = draft_of_table(pa.table({"x": values}), "table").columns
    assert (column.sensitivity, reason in column.reasons[0]) == (class_, True)


def test_a_contract_counts(tmp_path):
    """What the contract of a source says of a column is among the reasons of its draft."""
    properties = [
        {"name": "k", "logicalType": "integer", "classification": "confidential"},
        {"name": "x", "logicalType": "integer", "tags": ["PII"]},
        {"name": "y", "logicalType": "integer", "classification": "D6"},
    ]
    document = {
        "kind": "DataContract", "apiVersion": "v3.1.0", "id": "t", "version": "1.0.0", "status": "active",
        "schema": [{"name": "table", "properties": properties}],
    }  # fmt: skip
    with backstory.init(tmp_path / "archive", origin="example.org/contract") as made:
        made.contracts.set("table", document)
        frame = made.source(pd.DataFrame({"k": [1, 2], "x": [3, 3], "y": [5, 5]}), "table")
        made.register(judge, name="m", rows=frame)
        drafted = made.privacy.classify("table")
    assert {one.name: one.sensitivity for one in drafted.columns} == {"k": "D2", "x": "D4", "y": "D6"}


def test_batches_are_sealed_class_by_class(archive):
    """Of a prediction about a person each class is a group, an open column stands in clear, the context says why."""
    frame = archive.source(PEOPLE, "people", subject="customer")
    ids = archive.predict("credit", frame, method="__call__").ids
    receipt = receipt_of(archive, ids[2])
    assert set(receipt.opened) == {"features.D3", "features.D5", "output", "subject"}
    assert shown(receipt)["feature.product"] == "2"
    (named,) = receipt.context["classification"]
    assert (named["kind"], named["name"], named["version"]) == ("model", "credit", "1")
    story = archive.why(ids[2])
    assert story.column_classes["feature.age"] == "D5"
    assert story.features == {"income": 1074.5, "age": 32, "product": 2}
    assert "model credit, version 1" in str(story)
    assert archive.replay(ids[2]).verdict in {"exact", "not-replayable"}


def test_workers_know_the_classes(archive, tmp_path):
    """A worker, which holds no archive, records under the classes its spool was told, in microseconds or slowly."""
    archive.spool(tmp_path / "spool", models=["credit"])
    with backstory.recorder(tmp_path / "spool", model="credit") as recorder:
        quick = recorder.record({"income": 5.0, "age": 41, "product": 1}, 0.5, subject="c-3")
        slow = recorder.record({"income": 5.0, "age": [41], "product": 1}, {"a b": 0.5}, subject="c-3")
        nobody = recorder.record({"income": 5.0, "age": 41, "product": 1}, 0.5)
    archive.collect(tmp_path / "spool")
    for name in (quick, slow):
        receipt = receipt_of(archive, name)
        assert set(receipt.opened) == {"features.D3", "features.D5", "output", "subject"}
        assert shown(receipt)["feature.product"] == "1"
    receipt = receipt_of(archive, nobody)
    assert (set(receipt.opened), shown(receipt)["output"]) == ({"features.D3", "features.D5"}, "0.5")


def test_functions_and_predictions_by_hand_know_the_classes(archive):
    """A traced function and a prediction whose parts come one by one are placed by the classes; so are their steps."""
    traced = archive.traced(judge, model=archive.model("credit"), subject="note")
    traced(5.0, 41, 1, "c-2")
    latest = newest(archive)
    with archive.prediction(archive.model("credit"), subject="c-1") as observed:
        observed.step("seen", {"age": 41})
        archive.predict("credit", pd.DataFrame({"income": [5.0], "age": [41], "product": [1]}), method="__call__")
    receipt = receipt_of(archive, observed.id)
    assert set(receipt.opened) == {"features.D3", "features.D5", "output", "steps.D5", "subject"}
    assert receipt_of(archive, latest).classes["feature.age"] == "D5"


def test_large_values_that_are_sealed_are_no_blobs(archive):
    """A large text in a sealed column of a record about nobody stays among the sealed values."""
    text = "41" * 40_000
    traced = archive.traced(judge, model=archive.model("credit"))
    traced(5.0, text and 41, 1, text)
    latest = newest(archive)
    receipt = receipt_of(archive, latest)
    assert receipt.opened["features"]["feature.note"] == text
    assert not [
        path for path in (archive.path / "blobs").rglob("*") if path.is_file() and text.encode() in path.read_bytes()
    ]


def test_outcomes_have_their_class(archive):
    """What turned out is sealed in the group of the class the model's classification gives it."""
    archive.privacy.confirm({**CLASSES, "outcome": "D5"}, model="credit", fields=True)
    frame = archive.source(PEOPLE, "people", subject="customer")
    ids = archive.predict("credit", frame, method="__call__").wait("sealed").ids
    archive.outcome(list(ids[:2]), [1, 0])
    archive.flush()
    kinds = {entry["kind"] for entry in archive._inside.ledger.find_entries("segment.sealed")}
    assert "outcome" in kinds
    ledger = archive._inside.ledger
    schemas = [ledger.schema(e["schema"]) for e in ledger.find_entries("segment.sealed") if e["kind"] == "outcome"]
    assert schemas[-1].groups == ("outcome.D5",)
    assert [outcome["value"] for outcome in archive.why(ids[0]).outcomes] == [1]


def test_versions_are_numbered_and_a_lower_class_needs_a_reason(archive):
    """The same again is no version; a lower class, or one that stands open, needs a reason, which the log hides."""
    before = archive.privacy.classification(model="credit")
    assert archive.privacy.confirm(
        {column.name: {"class": column.sensitivity, "open": column.open} for column in before.classification.columns},
        model="credit", fields=before.classification.fields,
    ) == before  # fmt: skip
    with pytest.raises(InputError, match=r"expected a reason, as column 'feature\.age' was D5"):
        archive.privacy.confirm({**CLASSES, "feature.age": "D4"}, model="credit")
    after = archive.privacy.confirm({**CLASSES, "feature.age": "D4"}, model="credit", reason="as counsel said")
    assert int(after.version) == int(before.version) + 1
    entry = archive._inside.ledger.find_entries("classification.confirmed", "credit")[-1]
    assert "counsel" not in json.dumps(entry)
    archive.privacy.confirm(CLASSES, model="credit", fields=True)


def test_another_person_approves(archive):
    """A proposed classification is in force once somebody else approved it; later ones need that, too."""
    proposal = archive.privacy.confirm({"output": "D4"}, model="other", four_eyes=True)
    assert archive.privacy.classification(model="other") is None
    with pytest.raises(ForbiddenError):
        archive.privacy.approve(proposal.index)
    with backstory.open(archive.path, actor="Bob") as other:
        assert other.privacy.approve(proposal.index).version == "1"
        with pytest.raises(ForbiddenError):
            other.privacy.confirm({"output": "D5"}, model="other")
        with pytest.raises(ConflictError):
            other.privacy.approve(proposal.index)
    archive._inside.ledger.catch_up()
    assert archive.privacy.classification(model="other").classification.classes == {"output": "D4"}
    assert len(archive._inside.ledger.find_entries("action.refused")) == 2


@pytest.mark.parametrize(
    "asked",
    [
        {"draft": {"output": "D9"}, "model": "m"}, {"draft": {"age": "D3"}, "model": "m"}, {"draft": {}, "model": "m"},
        {"draft": {"output": {"class": "D3", "open": True}}, "model": "m"}, {"draft": {"output": "D3"}},
        {"draft": {"output": "D3"}, "model": "m", "source": "s"}, {"draft": {"output": 3}, "model": "m"},
        {"draft": {"output": "D3"}, "model": "m", "fields": ["D8"]},
        {"draft": {"x": "D3"}, "source": "s", "anonymous": True},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_confirmed(archive, asked):
    """A class or column that there is not, an open personal one, or anonymity without a reason is refused."""
    with pytest.raises(InputError):
        archive.privacy.confirm(**asked)


def test_a_source_of_people_needs_a_subject(archive):
    """A source whose columns are classified as personal is not kept in clear, unless a reason says it is anonymous."""
    table = pd.DataFrame({"height": [1.7, 1.8], "shop": ["a", "b"]})
    archive.privacy.confirm({"height": "D5", "shop": "D1"}, source="heights")
    with pytest.raises(InputError, match="expected subject=, as its columns height are about people"):
        archive.source(table, "heights")
    archive.privacy.confirm({"height": "D5"}, source="heights", anonymous=True, reason="rounded, of 40,000 people")
    assert len(archive.source(table, "heights")) == 2


def test_versions_that_stand_in_clear_are_warned_of(archive):
    """Whoever classifies a source as personal that was fixed without a subject is told that its rows are in clear."""
    frame = archive.source(pd.DataFrame({"weight": [70.5, 80.5]}), "weights")
    archive.register(judge, name="weigher", rows=frame)
    with pytest.warns(LineageWarning, match="1 of its versions stand in clear"):
        archive.privacy.confirm({"weight": "D5"}, source="weights")


def test_classes_of_a_source_cover_every_column_of_people(archive):
    """Of a version about people each column has a class: as confirmed, else D4; the subject D3."""
    ledger = archive._inside.ledger
    digest = find_version(ledger, "people").digest
    assert classes_of_source(ledger, digest) == {"customer": "D3", "income": "D4", "age": "D4", "product": "D4"}
    archive.privacy.confirm({"age": "D5"}, source="people")
    assert classes_of_source(ledger, digest)["age"] == "D5"


def test_the_audit_checks_them(archive):
    """The whole archive verifies, and every version of a classification is one of the log."""
    archive.flush()
    assert archive.verify(check=False).findings == ()
    entries = archive._inside.ledger.find_entries("classification.confirmed", "heights")
    assert [entry["version"] for entry in entries] == ["1", "2"]


def test_a_reader_without_purpose_sees_what_stands_open(archive, tmp_path):
    """Who names no purpose sees the open columns of a record about a person, and nothing of its groups."""
    frame = archive.source(PEOPLE, "people", subject="customer")
    ids = archive.predict("credit", frame, method="__call__").wait("sealed").ids
    with backstory.open(archive.path, mode="r") as reader:
        story = reader.why(ids[1])
        assert (story.features, story.output) == ({"product": 1}, None)
        assert set(story.sealed) == {"features.D3", "features.D5", "output", "subject"}
        assert "predicted a sealed value" in str(story)


def test_nothing_is_classified_without_an_actor(tmp_path):
    """Classes are confirmed by somebody."""
    with backstory.init(tmp_path / "archive", origin="example.org/nobody") as made, pytest.raises(ForbiddenError):
        made.privacy.confirm({"output": "D3"}, model="m")


def test_unknown_columns_are_an_error_of_the_caller(archive):
    """What cannot be drafted from is refused."""
    with pytest.raises(InputError, match="expected name="):
        archive.privacy.classify(PEOPLE)
    with pytest.raises((InputError, ColumnError)):
        archive.privacy.classification()
