"""The front door where something goes wrong or is given as something else: nothing half done, no bare Python error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from tests.support.archives import ORIGIN
from tests.support.disks import WiredDisk

import backstory
from backstory.archive import Archive
from backstory.errors import ConflictError, ForbiddenError, InputError, ModelError, StorageError
from backstory.ledger.read import records_now
from backstory.storage.world import World

TABLE = pd.DataFrame({"customer": ["a", "b"], "x": [1.0, 2.0]})


@pytest.fixture
def disk() -> WiredDisk:
    """A disk that can be filled."""
    return WiredDisk()


@pytest.fixture
def opened(tmp_path: Path, disk: WiredDisk) -> Iterator[Callable[..., Archive]]:
    """Return a function that opens an archive on that disk under a policy."""
    path = tmp_path / "audit"
    backstory.init(path, origin=ORIGIN).close()
    archives: list[Archive] = []

    def open_it(**options: Any) -> Archive:
        archives.append(backstory.open(path, sealer="none", world=World(disk=disk), **options))
        return archives[-1]

    yield open_it
    disk.full = set()
    for archive in archives:
        archive.close()


@pytest.fixture
def archive(opened: Callable[..., Archive]) -> Archive:
    """An empty archive."""
    return opened()


def recorded(archive: Archive, subject: str | None = None) -> str:
    """Record a prediction and return its id."""
    with archive.prediction(subject=subject) as prediction:
        prediction.features({"x": 1.0})
        prediction.output(1.0)
    return str(prediction.id)


def outcomes(archive: Archive) -> int:
    """Return how many outcomes there are."""
    archive.flush()
    sealed, waiting = records_now(archive._ledger, "outcome")
    return sum(manifest.count for _, manifest in sealed) + sum(table.num_rows for _, table in waiting)


# --- closing ----------------------------------------------------------------------------------------------------------


def test_a_close_that_failed_is_tried_again(archive: Archive, disk: WiredDisk, tmp_path: Path):
    """On a full disk every close says so; once there is room the next one keeps what was held."""
    name = recorded(archive)
    disk.full = {tmp_path / "audit"}
    with pytest.raises(StorageError):
        archive.close()
    with pytest.raises(StorageError):
        archive.close()
    disk.full = set()
    archive.close()
    archive.close()
    with backstory.open(tmp_path / "audit", mode="r") as asked:
        assert asked.why(name).proof["state"] == "sealed"


# --- outcomes ---------------------------------------------------------------------------------------------------------


def fail_at(archive: Archive, monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """Let one of the calls of a function of the recorder fail as a full disk does."""
    recorder, calls = archive._recorder, []
    inner = getattr(recorder, name)

    def failing(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == call:
            raise StorageError("writing: No space left on device")
        return inner(*given)

    monkeypatch.setattr(recorder, name, failing)


def test_outcomes_are_all_recorded_or_none(archive: Archive, monkeypatch: pytest.MonkeyPatch):
    """Where those about people cannot be, the others are not either, so that a retry doubles none."""
    ids = [recorded(archive), recorded(archive, "anna")]
    fail_at(archive, monkeypatch, "_open", 2)
    with pytest.raises(StorageError) as caught:
        archive.outcome(ids, [1.0, 2.0])
    assert caught.value.details == {}
    assert outcomes(archive) == 0
    assert all(archive.outcome(ids, [1.0, 2.0]))
    assert outcomes(archive) == 2


def test_an_error_between_outcomes_says_which_were_recorded(archive: Archive, monkeypatch: pytest.MonkeyPatch):
    """Where a disk fails in the middle all the same, the error has the ids that were given out."""
    ids = [recorded(archive, "anna"), recorded(archive)]
    fail_at(archive, monkeypatch, "record", 2)
    with pytest.raises(StorageError) as caught:
        archive.outcome(ids, [1.0, 2.0])
    monkeypatch.undo()
    sealed, clear = caught.value.details["ids"]
    assert (sealed, bool(clear)) == ("", True)
    assert outcomes(archive) == 1


def test_outcomes_are_refused_as_predictions_are(opened: Callable[..., Archive], disk: WiredDisk, tmp_path: Path):
    """Under `on_failure="open"` there is no error and no id, and they are counted."""
    archive = opened(on_failure="open")
    ids = [recorded(archive), recorded(archive, "anna")]
    archive.flush()
    disk.full = {tmp_path / "audit"}
    assert archive.outcome(ids[0], 1.0) == ""
    assert archive.outcome(ids, [1.0, 2.0]) == ["", ""]
    assert archive.metrics().refused_total == 3


@pytest.mark.parametrize(
    "values",
    [{"a": 1.0}, {1.0}, "1", b"1", 1.0, None, np.array(1.0), pd.DataFrame({"a": [1.0]}), pl.DataFrame({"a": [1.0]})],
    ids=lambda values: type(values).__name__,
)
def test_outcomes_of_a_list_of_ids_are_a_list(values: Any, archive: Archive):
    """Nothing else is taken for one by its length: the names of a dict or the letters of a text are no values."""
    name = recorded(archive)
    with pytest.raises(InputError, match="expected a list, an array or a column"):
        archive.outcome([name], values)
    assert outcomes(archive) == 0


@pytest.mark.parametrize(
    "values",
    [[1.5], (1.5,), np.array([1.5]), pd.Series([1.5]), pl.Series([1.5]), pa.array([1.5]), pa.chunked_array([[1.5]])],
    ids=lambda values: type(values).__module__ + type(values).__name__,
)
def test_any_list_of_outcomes_will_do(values: Any, archive: Archive):
    """A list, an array or a column."""
    name = recorded(archive)
    archive.outcome([name], values)
    assert [outcome["value"] for outcome in archive.why(name).outcomes] == [1.5]


# --- what is given ----------------------------------------------------------------------------------------------------


def _predict(archive: Archive, **options: Any) -> object:
    version = archive.register(len, name="length")
    return archive.predict(version, TABLE, method="__call__", **options)


WRONG = [
    pytest.param(lambda archive: archive.source("table", TABLE), "expected text, got DataFrame", id="source"),
    pytest.param(
        lambda archive: archive.group(archive.source(TABLE, "table"), "customer", name="g", x="mean"),
        r"x=\(column, function\)",
        id="aggregation",
    ),
    pytest.param(
        lambda archive: archive.group(archive.source(TABLE, "table"), "customer", name="g", x=("x", 1)),
        r"x=\(column, function\)",
        id="aggregation's function",
    ),
    pytest.param(lambda archive: archive.outcome(5, 1.0), "expected an id as text", id="id of an outcome"),
    pytest.param(lambda archive: _predict(archive, decision=0.5), r"Threshold\(0.2\)", id="decision"),
    pytest.param(lambda archive: archive.job("nightly", run="1", expect="5"), "whole number of records", id="expect"),
    pytest.param(lambda archive: archive.job("nightly", run="1", expect=True), "whole number of records", id="truth"),
    pytest.param(lambda archive: archive.register(len, name=5), "expected text, got int", id="model's name"),
]


@pytest.mark.parametrize(("call", "naming"), WRONG)
def test_another_type_is_refused_with_what_was_expected(
    call: Callable[[Archive], object], naming: str, archive: Archive
):
    """No TypeError or AttributeError of Python comes through."""
    with pytest.raises(InputError, match=naming):
        call(archive)


def test_a_class_is_no_model(archive: Archive):
    """Who forgot to make an instance hears of it at once."""
    with pytest.raises(ModelError, match="class LogisticRegression"):
        archive.register(LogisticRegression, name="never_made")


def test_one_text_is_a_list_of_one(archive: Archive, tmp_path: Path):
    """Where several names may be given, one is not taken for its letters."""
    features, _ = archive.split(archive.source(TABLE, "table"), "x")
    assert list(features.columns) == ["x"]
    version = archive.register(
        LogisticRegression().fit(features, [0, 1]), name="line", alias="production", trusted="a.B"
    )
    archive.spool(tmp_path / "one", models="line@production")
    archive.spool(tmp_path / "two", models=version)
    for spool, model in {"one": "line@production", "two": "line:1"}.items():
        with backstory.recorder(tmp_path / spool, model=model) as recorder:
            recorder.record({"x": 1.0}, 1.0)
    assert not archive.verify(workers=1, spools=str(tmp_path / "one")).failed


def test_an_actor_of_a_read_only_archive_is_refused(archive: Archive):
    """It would be written nowhere, and would open nothing."""
    with pytest.raises(ForbiddenError, match="'rw'"):
        backstory.open(archive.path, mode="r", actor="auditor")


def test_a_receipt_replaces_no_file_unasked(archive: Archive, tmp_path: Path):
    """As the command line does it: what is there stays, until the caller says otherwise."""
    name = recorded(archive)
    archive.flush()
    receipt, path = archive.receipt(name), tmp_path / "a.tlog-proof"
    path.write_text("mine")
    with pytest.raises(ConflictError, match="overwrite=True"):
        receipt.save(path)
    assert path.read_text() == "mine"
    receipt.save(path, overwrite=True)
    assert path.read_bytes() == receipt.data
