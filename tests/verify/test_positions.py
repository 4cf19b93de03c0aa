"""Positions that point to people: changed in the vault, they are neither read nor verified."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.support.archives import ORIGIN

import backstory
from backstory.errors import VerificationError
from backstory.lineage.store import positions_table
from backstory.lineage.trace import Tracer
from backstory.verify.archive import verify_archive


@pytest.fixture
def grouped(tmp_path):
    """An open archive with a model trained on a group of people's rows, and the documents that refer to positions."""
    archive = backstory.init(tmp_path / "archive", origin=ORIGIN)
    people = pd.DataFrame({"name": [f"p{n}" for n in range(20)], "town": np.arange(20) % 3, "age": np.arange(20.0)})
    frame = archive.source(people, "people", subject="name")
    towns = archive.group(frame, "town", name="towns", mean=("age", "mean"))
    features, rows = archive.split(frame.merge(towns, on="town"), ["age", "mean"])
    from sklearn.linear_model import LinearRegression

    model = archive.register(LinearRegression().fit(features, people["age"]), name="m", rows=rows, target=people["age"])
    (entry,) = archive._ledger.find_entries("group.recorded")
    yield archive._ledger, [archive._ledger.document(entry["group"]), model.document["training"]]
    archive.close()


def test_changed_positions_are_refused_and_named(grouped):
    """Other positions under the right key do not lead to the root in the document, for questions and verification."""
    ledger, documents = grouped
    assert not verify_archive(ledger.layout.root, workers=1).failed
    for document in documents:
        name = document["sealed_edges"]
        kept = ledger.vault.read_table(name)
        changed = positions_table({field.name: np.zeros(20, np.int64) for field in kept["row"].type})
        ledger.vault.write_table(name, changed, ledger.keys.key(name, "shard_key"))
        with pytest.raises(VerificationError, match="root"):
            Tracer(ledger).positions(document)
    failed = {f.place for f in verify_archive(ledger.layout.root, workers=1).findings if f.severity == "failed"}
    assert failed == {f"vault/{document['sealed_edges']}" for document in documents}


def test_positions_that_are_not_here_are_unknown(grouped):
    """Without the key of a positions table nothing is said about it."""
    ledger, (_, training) = grouped
    ledger.keys.destroy(training["sealed_edges"])
    report = verify_archive(ledger.layout.root, workers=1)
    assert not report.failed
    assert [f.place for f in report.findings if f.severity == "unknown"] == [f"vault/{training['sealed_edges']}"]
