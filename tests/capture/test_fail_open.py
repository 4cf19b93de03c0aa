"""A disk that is full when a kind of prediction comes for the first time: the policy holds there too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.disks import WiredDisk

import backstory
from backstory.archive import Archive
from backstory.errors import StorageError
from backstory.storage.world import World

FRAME = pd.DataFrame({"x": [1.0, 2.0]})
LARGE = "a" * 70_000


def record_new_kind(archive: Archive) -> None:
    """Record features that no record had."""
    with archive.prediction() as prediction:
        prediction.features({"x": 1.0, "y": 2})
        prediction.output(3.0)


def record_payload(archive: Archive) -> None:
    """Record a text that is kept as a blob."""
    with archive.prediction() as prediction:
        prediction.features({"text": LARGE})
        prediction.output(3.0)


def call_traced(archive: Archive) -> None:
    """Call a function with a value that is taken down before it runs."""
    assert archive.traced(sum)([1, 2, 3]) == 6


def call_with_plain_values(archive: Archive) -> None:
    """Call a function that is recorded after it ran."""
    assert archive.traced(lambda x: x)(1.0) == 1.0


def call_for_a_list(archive: Archive) -> None:
    """Call a function that is taken down after it ran."""
    assert archive.traced(lambda x: [x, x])(1.0) == [1.0, 1.0]


def call_with_table(archive: Archive) -> None:
    """Call a function with several rows."""
    assert archive.traced(len)(FRAME) == 2


def call_inside(archive: Archive) -> None:
    """Call a function within another: it is a step."""
    inner = archive.traced(lambda x: x)
    assert archive.traced(lambda x: inner(x) + 1.0)(1.0) == 2.0


def call_for_values(archive: Archive) -> None:
    """Read what a generator gives."""
    assert list(archive.traced(lambda x: (yield x))(1.0)) == [1.0]


def call_about_person(archive: Archive) -> None:
    """Call a function whose values are sealed."""
    assert archive.traced(subject="who")(lambda who, x: (who, x))("anna", 1.0) == ("anna", 1.0)


def predict(archive: Archive) -> None:
    """Let a model predict rows of a source that is not kept yet."""
    frame = archive.source(FRAME, "rows")
    made = archive.predict("double", frame, method="__call__")
    assert list(made.output) == [2.0, 4.0]
    assert len(made.ids) == 0


CALLS = (
    call_traced,
    call_with_plain_values,
    call_for_a_list,
    call_inside,
    call_for_values,
    call_about_person,
)
WAYS = {record_new_kind: 1, record_payload: 1, **dict.fromkeys(CALLS, 1), call_with_table: 2, predict: 2}


@pytest.fixture
def disk() -> WiredDisk:
    """A disk that can be filled."""
    return WiredDisk()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an archive is in which nothing is yet, neither a model nor what is said of the environment."""
    backstory.init(tmp_path / "audit", origin="example.org/full").close()
    return tmp_path / "audit"


@pytest.fixture
def opened(path: Path, disk: WiredDisk) -> Iterator[Callable[..., Archive]]:
    """Return a function that opens the archive for a kind of prediction, under a policy, and fills the disk."""
    archives: list[Archive] = []

    def open_full(way: Callable[..., Any], **policy: Any) -> Archive:
        archive = backstory.open(path, sealer="none", world=World(disk=disk), **policy)
        if way is predict:
            archive.register(lambda table: np.asarray(table["x"]) * 2, name="double")
        disk.full = {path}
        archives.append(archive)
        return archive

    yield open_full
    disk.full = set()
    for archive in archives:
        archive.close()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_predictions_go_out_and_are_counted(opened: Callable[..., Archive], disk: WiredDisk, path: Path, way: Any):
    """Under `on_failure="open"` whoever predicts gets what they asked for; the log says how many have no record."""
    archive = opened(way, on_failure="open")
    way(archive)
    assert (archive.metrics().refused_total, archive.metrics().records_total) == (WAYS[way], 0)
    disk.full = set()
    with archive.prediction() as prediction:
        prediction.features({"x": 1.0})
        prediction.output(1.0)
    archive.close()
    with backstory.open(path, mode="r") as asked:
        closed = [asked._ledger.log.entry(at) for at in range(asked._ledger.log.checkpoint().size)]
    refused = [int(entry["mark"]["refused"]) for entry in closed if entry["type"] == "stream.closed"]
    assert sum(refused) == WAYS[way]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_predictions_do_not_go_out(opened: Callable[..., Archive], way: Any):
    """Under `on_failure="closed"` there is an error and no prediction."""
    archive = opened(way)
    with pytest.raises(StorageError):
        way(archive)
    assert archive.metrics().refused_total == WAYS[way]


def fail(x: object) -> None:
    """Raise."""
    raise KeyError


@pytest.mark.parametrize("given", [1.0, [1.0]], ids=["plain", "list"])
@pytest.mark.parametrize("on_failure", ["open", "closed"])
def test_failed_predictions_are_counted(opened: Callable[..., Archive], on_failure: str, given: Any):
    """Their own exception goes on, whatever the policy; that it is not recorded is not lost."""
    archive = opened(fail, on_failure=on_failure)
    with pytest.raises(KeyError):
        archive.traced(fail)(given)
    assert (archive.metrics().refused_total, archive.metrics().records_total) == (1, 0)
