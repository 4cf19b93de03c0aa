"""Every read of sealed values is in the log, with how many records it was of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN

import backstory
from backstory.archive import Archive

PEOPLE = 12
Opened = list[tuple[str, tuple[str, ...], int]]


def _first(table: pd.DataFrame) -> np.ndarray:
    return table.iloc[:, 0].to_numpy()


def _record(archive: Archive) -> list[str]:
    """Register and predict from a group of a source about people; return the ids."""
    people = pd.DataFrame({"who": [f"p{n}" for n in range(PEOPLE)], "years": np.arange(PEOPLE) % 3, "v": 1.0})
    frame = archive.source(people, "people", subject="who")
    frame = frame.merge(archive.group(frame, "years", name="term", a=("v", "mean")), on="years")
    features, rows = archive.split(frame, ["a"])
    version = archive.register(_first, name="first", rows=rows)
    return list(archive.predict(version, features, rows=rows, method="__call__").ids)


@pytest.fixture(params=["sealed", "in the spool"])
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Archive, str]]:
    """An archive about people, open for a purpose, and the id of a prediction in it that has an outcome."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        ids = _record(archive)
        archive.outcome(ids[3], 7.0)
        if request.param == "sealed":
            archive.flush()
        else:
            archive._recorder.sync()
        with backstory.open(tmp_path / "audit", actor="auditor", purpose="case 1") as opened:
            yield opened, ids[3]


def _opened(archive: Archive) -> Opened:
    entries = accesses(archive._ledger)
    return [(str(e["question"]), tuple(map(str, e["groups"])), int(str(e["records"]))) for e in entries]


def test_a_replay_is_recorded_with_its_whole_batch(asked: tuple[Archive, str]):
    """A replay opens every record of the call, and one entry says so."""
    archive, identity = asked
    archive.replay(identity)
    assert _opened(archive) == [("replay", ("features", "output", "subject"), PEOPLE)]


def test_an_impact_is_recorded_with_all_it_opened(asked: tuple[Archive, str]):
    """References of the records, positions of the group and of the training set: one entry each."""
    archive, _ = asked
    hits = archive.impact("people", rows=[3])
    assert (hits.counts["predictions"], hits.counts["models"]) == (PEOPLE // 3, 1)
    positions = ("impact", ("positions",), PEOPLE)
    assert sorted(_opened(archive)) == [positions, positions, ("impact", ("subject",), PEOPLE)]


def test_a_story_is_recorded_with_all_it_opened(asked: tuple[Archive, str]):
    """The record, the rows it came from, the group's positions and the outcome: one entry each."""
    archive, identity = asked
    assert archive.why(identity).outcomes[0]["value"] == 7.0
    assert sorted(_opened(archive)) == [
        ("why", ("features", "output", "subject"), 1),
        ("why", ("outcome",), 1),
        ("why", ("positions",), PEOPLE),
        ("why", ("source", "source.D3"), 1),
        ("why", ("source", "source.D3"), 1),
    ]


def test_an_impact_without_a_purpose_opens_nothing(tmp_path: Path):
    """Without a purpose no sealed reference is followed; the answer says that some were left out."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        _record(archive)
        archive.flush()
        hits = archive.impact("people", rows=[3])
        assert (hits.counts, hits.sealed) == ({"predictions": 0, "models": 0, "features": 0}, 1)
        assert _opened(archive) == []
        assert hits.sealed_models == 1
        assert "1 model version with sealed training rows not looked at" in str(hits)


def test_what_cannot_lead_to_rows_is_not_said_to_be_left_out(tmp_path: Path):
    """Sealed references to others leave nothing out of an answer about open rows."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        _record(archive)
        days = archive.source(pd.DataFrame({"rain": [1.0, 2.0]}), "days")
        features, rows = archive.split(days)
        version = archive.register(_first, name="rain", rows=rows)
        archive.predict(version, features, rows=rows, method="__call__")
        archive.flush()
        hits = archive.impact("days", rows=[1])
        assert (hits.counts["predictions"], hits.counts["models"], hits.sealed, hits.sealed_models) == (1, 1, 0, 0)


def test_the_same_personal_rows_again_are_the_same_version(tmp_path: Path):
    """Registering again in a later session, groups made anew, finds the version and adds nothing to the vault."""
    for _ in range(2):
        opened = backstory.open if (tmp_path / "audit").exists() else backstory.init
        with opened(tmp_path / "audit", **({} if opened is backstory.open else {"origin": ORIGIN})) as archive:
            _record(archive)
            versions = [entry["version"] for entry in archive._ledger.find_entries("model.registered")]
    assert versions == ["1"]
    shards = {path.name for path in (tmp_path / "audit" / "vault").glob("*.shard")}
    expected = "the source, its profile, the group, the training rows, their profile"
    assert len([name for name in shards if "-" not in name]) == 5, expected
