"""The demo's predictions made again from source rows, and its model trained again from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.support.archives import ORIGIN

import backstory
from backstory.archive import Archive
from backstory.cli.demo_data import Tables, features, fit, prepare, read_tables
from backstory.debug.match_report import MatchReport
from backstory.debug.retraining import Retraining

EACH = 12
"""Of so many flights one is in the archive: enough training rows for the model to stop early, by chance and order."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """The demo's archive with a twelfth of the flights, open for reading only."""
    path = tmp_path_factory.mktemp("rows") / "audit"
    tables = read_tables()
    tables = Tables(
        flights=tables.flights.iloc[::EACH].reset_index(drop=True), weather=tables.weather, planes=tables.planes
    )
    with backstory.init(path, origin=ORIGIN) as opened:
        prepared = prepare(tables, opened)
        version = opened.register(fit(prepared), name="delay", rows=prepared.train_rows, target=prepared.target)
        opened.predict(version, prepared.later, rows=prepared.later_rows, decision=backstory.Threshold(15.0))
    with backstory.open(path, mode="r") as opened:
        yield opened


def test_a_thousand_predictions_follow_from_their_source_rows(archive: Archive):
    """All of them exact or equivalent, and each stage says how long it took."""
    report = archive.replay(level=2, model="delay", sample=1_000, seed=6, steps=features)
    assert isinstance(report, MatchReport)
    counts = report.counts
    assert sum(counts.values()) == 1_000
    assert counts.get("exact", 0) + counts.get("equivalent", 0) == 1_000, str(report)
    for stage in ("rows", "step features", "features", "model"):
        assert stage in str(report)


@pytest.fixture(scope="module")
def again(archive: Archive) -> Retraining:
    """The model, trained again."""
    return archive.replay("delay:1", level=3, steps=features)


def test_the_model_is_trained_again_to_the_bit(again: Retraining):
    """Its content digest is the recorded one."""
    assert again.verdict == "exact", str(again)
    assert again.retrained == again.recorded


def test_shuffled_training_rows_are_named_as_the_difference(archive: Archive, again: Retraining):
    """Nothing else is: not the features, not the environment."""
    order = np.random.default_rng(1).permutation(again.rows)
    shuffled = archive.replay("delay:1", level=3, steps=features, rows=order)
    assert shuffled.verdict == "diverged"
    assert [(one.name, one.said) for one in shuffled.differences] == [("order", "the same rows, shuffled")]
