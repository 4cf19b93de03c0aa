"""Entries with sketches: what they say must be what the records give."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import backstory
from backstory.columns.seal import merge_columns
from backstory.frames.sketch_document import by_model, said_of
from backstory.ledger.read import manifests
from backstory.ledger.sealed import read_shard
from backstory.records.envelope import PREDICTION
from backstory.verify.archive import verify_archive


@pytest.fixture
def archive(tmp_path):
    """An archive with a segment that is too small to be sketched, and the entry that would be right."""
    with backstory.init(tmp_path / "audit", origin="example.org/sketch") as made:
        table = pd.DataFrame({"x": np.arange(60.0)})
        made.register(LinearRegression().fit(table, table.x * 2), name="double")
        made.predict("double", table)
        made.flush()
        yield made


def told(archive):
    """Return the entry about the segment, and what is said of its model."""
    ledger = archive._ledger
    ((_, manifest),) = manifests(ledger, PREDICTION)
    assert ledger.find_entries("segment.sketched") == []
    reader = ledger.segment(manifest, checked=True)
    ((model, table),) = by_model(ledger.document, reader.read_groups(range(reader.group_count)))
    said = said_of(model, table)
    document = {**said.document(), "columns": [column.document() for column in said.columns]}
    entry = {"count": "60", "first_seq": "0", "stream": manifest.stream, "type": "segment.sketched"}
    return entry, document


def problems(archive, entry, *models):
    """Return what the audit says once an entry with these documents is in the log."""
    sketches = archive._ledger.put_document({"models": list(models), "v": 1})
    archive._ledger.append([{**entry, "sketches": sketches}])
    return [one.what for one in verify_archive(archive.path).findings if one.severity == "failed"]


def test_what_the_records_give_is_believed(archive):
    """An entry that says what the records give is not objected to."""
    assert problems(archive, *told(archive)) == []


@pytest.mark.parametrize(
    "lie", [{"rows": "59"}, {"errors": "1"}, {"first": "2024-01-01T00:00:00.000000000Z"}, {"columns": []}]
)
def test_a_lie_is_named(archive, lie):
    """An entry that says other counts, times or columns is named."""
    entry, document = told(archive)
    (what,) = problems(archive, entry, {**document, **lie})
    assert what.startswith("segment.sketched: is not what the records of model version")


def test_other_quantiles_are_named(archive):
    """A sketch that has its values from elsewhere is named."""
    entry, document = told(archive)
    columns = [dict(column) for column in document["columns"]]
    columns[0]["quantiles"] = columns[1]["quantiles"]
    (what,) = problems(archive, entry, {**document, "columns": columns})
    assert "is not what the records of model version" in what


def test_an_entry_about_nothing_is_named(archive):
    """An entry must be about a manifest before it, and be the only one about it."""
    entry, document = told(archive)
    assert problems(archive, {**entry, "first_seq": "7"}, document) == ["segment.sketched: names no manifest before it"]
    assert problems(archive, entry, document)[1:] == []
    assert problems(archive, entry, document)[-1] == "segment.sketched: is the second about these records"


def test_a_model_left_out_is_named(archive):
    """A document without a model version of the records is named."""
    entry, _ = told(archive)
    assert problems(archive, entry) == ["segment.sketched: is about other model versions than the records"]


def test_open_sketches_of_people_are_named(tmp_path):
    """Right or not, what is sketched of sealed values must not stand in the open."""
    with backstory.init(tmp_path / "audit", origin="example.org/people") as made:
        table = pd.DataFrame({"x": np.arange(60.0), "name": [f"person {at}" for at in range(60)]})
        features, rows = made.split(made.source(table, "people", subject="name"), ["x"])
        made.register(LinearRegression().fit(features, features.x * 2), name="double")
        made.predict("double", features, rows=rows)
        made.flush()
        ((_, manifest),) = manifests(made._ledger, PREDICTION)
        shard = read_shard(made._ledger, manifest.shard)
        reader = made._ledger.segment(manifest, checked=True)
        records = merge_columns(reader.read_groups(range(reader.group_count)), shard)
        ((model, own),) = by_model(made._ledger.document, records)
        said = said_of(model, own)
        document = {**said.document(), "columns": [column.document() for column in said.columns]}
        entry = {"count": "60", "first_seq": "0", "stream": manifest.stream, "type": "segment.sketched"}
        (what,) = problems(made, entry, document)
        assert "has open sketches of records whose values are not" in what
