"""Models called alternately in one process still make large segments: one a schema, whatever the order of the calls."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.support.ledgers import OPEN, make_batch, new_ledger, new_recorder, row

from backstory.capture.recorder import RowTarget
from backstory.ledger.seal import seal_all
from backstory.records.envelope import prediction_schema
from backstory.records.limits import SEGMENT_CONTEXTS_MAX
from backstory.records.manifest import MANIFEST_TYPE
from backstory.records.schema import Schema
from backstory.verify.archive import verify_archive

ROUNDS = 30
MODELS_A_SCHEMA = 5
"""Models that take features of the same names and types, and so share a stream."""


def schema_of(features: int) -> Schema:
    """Return the schema of models with so many features."""
    names = [(f"feature.x{number}", "float64") for number in range(features)]
    outputs = [("output", "float64")]
    return prediction_schema(rows=[], personal_rows=[], features=names, outputs=outputs, decision=None, subject=False)


@pytest.fixture
def ledger(tmp_path):
    """A new archive."""
    return new_ledger(tmp_path / "archive")


def segments(ledger) -> list[int]:
    """Return how many records each segment has."""
    return [int(entry["count"]) for entry in ledger.find_entries(MANIFEST_TYPE)]


@pytest.mark.parametrize("schemas", [3, 16])
def test_single_records_of_alternating_models_fill_one_segment_a_schema(ledger, schemas):
    """Models of several schemas, each called in turn, make one segment a schema, with all its records."""
    recorder = new_recorder(ledger, "async")
    targets = [RowTarget(schema_of(number + 1)) for number in range(schemas)]
    contexts = [bytes.fromhex(ledger.put_document({"model": {"name": f"{n}"}, "v": 1})) for n in range(MODELS_A_SCHEMA)]
    for round_ in range(ROUNDS):
        for number, target in enumerate(targets):
            values = [0.5] * (number + 2)
            recorder.record_row(target, row(contexts[round_ % MODELS_A_SCHEMA], values))
        if round_ % 10 == 0:
            recorder.sync()  # frames of every stream lie between each other in time
    recorder.close()
    assert seal_all(ledger) == schemas * ROUNDS
    assert segments(ledger) == [ROUNDS] * schemas
    assert not verify_archive(ledger.layout.root, workers=1).failed


def test_batches_of_alternating_models_share_a_segment(ledger):
    """Many models of one schema, as many as a manifest names, called in turn many times, make one segment."""
    recorder = new_recorder(ledger, "async")
    batches = [make_batch(ledger, OPEN, 0, 2, model=f"{number}") for number in range(SEGMENT_CONTEXTS_MAX)]
    for _ in range(3):
        for batch in batches:
            recorder.record(batch)
    recorder.close()
    seal_all(ledger)
    assert segments(ledger) == [2 * 3 * SEGMENT_CONTEXTS_MAX]
    counted = Counter(len(entry["contexts"]) for entry in ledger.find_entries(MANIFEST_TYPE))
    assert counted == {SEGMENT_CONTEXTS_MAX: 1}
