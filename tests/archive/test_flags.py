"""Predictions are flagged where what the model was given differs from training, or breaks its contract."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from tests.support.archives import ORIGIN, fitted, loans

import backstory
from backstory.errors import InputError

FEATURES = ["amount", "years"]
CONTRACT = {
    "apiVersion": "v3.0.2", "kind": "DataContract", "id": "loans", "version": "1.0.0", "status": "active",
    "schema": [{"name": "credit", "properties": [
        {"name": "years", "logicalType": "integer", "logicalTypeOptions": {"maximum": 50}},
    ]}],
}  # fmt: skip


def trained(archive, name="credit", **options):
    """Register a model trained on 40 loans."""
    frame = archive.source(loans(), name, key="loan")
    _, rows = archive.split(frame, FEATURES)
    return archive.register(fitted(frame), name=name, rows=rows, target=frame["paid"], **options)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive with a model that was trained on loans."""
    with backstory.init(tmp_path_factory.mktemp("flags") / "audit", origin=ORIGIN) as opened:
        trained(opened)
        yield opened


def one(**values):
    """Return a frame of one loan."""
    return pd.DataFrame([{"amount": 100.0, "years": 2.0} | values])


def test_a_prediction_like_training_has_no_flags(archive):
    """And its context says that somebody looked."""
    story = archive.why(archive.predict("credit", one()).ids[0])
    assert story.flags == ()
    assert set(story.context["watch"]) == {"profile"}


def test_a_prediction_unlike_training_is_flagged(archive):
    """In its story, and in words."""
    story = archive.why(archive.predict("credit", one(amount=1e6)).ids[0])
    assert story.flags == ("range:amount",)
    assert "amount is outside of what training saw" in str(story)


def test_flagged_predictions_are_found(archive):
    """By a search."""
    name = archive.predict("credit", one(years=99.0)).ids[0]
    assert name in set(archive.search("flags like '%range:years%'")["id"])
    archive.flush()
    assert name in set(archive.search("flags is not null")["id"])


def test_each_row_of_a_batch_has_its_own_flags(archive):
    """Not the batch."""
    ids = archive.predict("credit", pd.concat([one(), one(amount=-5.0)])).ids
    assert [archive.why(name).flags for name in ids] == [(), ("range:amount",)]


def test_a_traced_function_is_watched(archive):
    """If it stands for a model."""
    score = archive.traced(lambda **_: 0.5, model="credit")
    for amount in (100.0, -1.0, "many"):
        score(amount=amount, years=2.0)
    table = archive.search("output = 0.5").sort_values("time")
    found = [json.loads(text) if isinstance(text, str) else [] for text in table["flags"]]
    assert found == [[], ["range:amount"], ["type:amount"]]


def test_a_prediction_by_hand_is_watched(archive):
    """By the features it names."""
    with archive.prediction("credit") as prediction:
        prediction.features({"amount": 1e7, "years": 2.0})
        prediction.output(1)
    assert archive.why(prediction.id).flags == ("range:amount",)


def test_a_call_that_becomes_a_step_keeps_its_flags(archive):
    """And of a prediction of which nobody said what it was given, nothing is said to have been compared."""
    with archive.prediction("credit") as prediction:
        archive.predict("credit", one(amount=1e6))
        prediction.output(1)
    story = archive.why(prediction.id)
    assert [step["flags"] for step in story.steps["steps"]] == ['["range:amount"]']
    assert story.flags == ()
    assert "watch" not in story.context


def test_flags_of_people_are_sealed(tmp_path):
    """They tell of a person's values; a profile of people is in the vault."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as opened:
        frame = opened.source(loans(), "people", key="loan", subject="loan")
        _, rows = opened.split(frame, FEATURES)
        opened.register(fitted(frame), name="credit", rows=rows, target=frame["paid"])
        ids = opened.predict("credit", one(amount=1e6), subject="p-1").ids
        opened.flush()
        story = opened.why(ids[0])
        assert story.flags == ()
        assert set(story.context["watch"]) == {"sealed_profile"}
    with backstory.open(tmp_path / "audit", actor="a", purpose="case 1") as reader:
        assert reader.why(ids[0]).flags == ("range:amount",)
        assert not reader.verify(workers=1).failed


def test_a_contract_that_refuses_refuses_the_call(archive):
    """The model is not asked, and the call is recorded as failed."""
    trained(archive, "strict", contract=CONTRACT)
    with pytest.raises(InputError, match="refused"):
        archive.predict("strict", one(years=99))
    failed = archive.search("model = 'strict' and status = 'error'")
    assert list(failed["error"]) == ["InputError"]
    assert "contract:" in failed["flags"][0]


def test_a_contract_refuses_a_traced_call(archive):
    """The function is not called."""
    trained(archive, "strict", contract=CONTRACT)
    called = []
    score = archive.traced(lambda **given: called.append(given), model="strict")
    with pytest.raises(InputError, match="refused"):
        score(amount=1.0, years=99)
    assert called == []
    with pytest.raises(InputError, match="refused"), archive.prediction("strict") as prediction:
        prediction.features({"amount": 1.0, "years": 99})


def test_another_contract_is_another_version(archive):
    """A version's contract never changes."""
    first = trained(archive, "twice", contract=CONTRACT)
    assert trained(archive, "twice", contract=CONTRACT).version == first.version
    assert trained(archive, "twice").version == first.version + 1


def test_a_model_without_training_rows_is_not_watched(archive):
    """There is nothing to compare with."""
    archive.register(fitted(loans()), name="bare")
    story = archive.why(archive.predict("bare", one(amount=1e6)).ids[0])
    assert story.flags == ()
    assert "watch" not in story.context


def test_a_profile_that_is_gone_keeps_no_model_from_predicting(tmp_path, caplog):
    """It is said, once."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as opened:
        trained(opened)
        (entry,) = opened._ledger.find_entries("model.registered")
        digest = opened._ledger.document(entry["about"])["profile"]
    opened._ledger.blobs.path(digest).unlink()
    with backstory.open(tmp_path / "audit") as again:
        again.predict("credit", one())
        again.predict("credit", one())
    assert caplog.text.count("not compared") == 1


def test_flagged_records_verify(archive):
    """And their receipts."""
    archive.predict("credit", one(amount=1e6))
    archive.flush()
    assert not archive.verify(workers=1).failed
