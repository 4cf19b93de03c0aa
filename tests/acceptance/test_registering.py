"""Version numbers are given out once, however many register at once; earlier sources are found by name."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from tests.support.archives import ORIGIN, fitted, loans

import backstory
from backstory.archive import Archive

if TYPE_CHECKING:
    import numpy as np


def _first(table: pd.DataFrame) -> np.ndarray:
    return table.iloc[:, 0].to_numpy()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Archive, Archive]]:
    """One archive, open twice."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as one, backstory.open(tmp_path / "audit") as other:
        yield one, other


def _numbers(archive: Archive) -> list[str]:
    archive._ledger.catch_up()
    return [str(entry["version"]) for entry in archive._ledger.find_entries("model.registered", "credit")]


def _register_at_once(both: tuple[Archive, Archive], models: list[object]) -> list[str]:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda pair: pair[0].register(pair[1], name="credit"), zip(both, models, strict=True)))
    return _numbers(both[0])


def test_two_models_at_once_get_two_numbers(both: tuple[Archive, Archive]):
    """Two openers of an archive that register under one name at once count on from each other."""
    assert _register_at_once(both, [fitted(loans(20)), fitted(loans(30))]) == ["1", "2"]


def test_one_model_twice_at_once_is_one_version(both: tuple[Archive, Archive]):
    """Two openers that register the same model at once get the same version."""
    assert _register_at_once(both, [fitted(loans(20))] * 2) == ["1"]


def test_a_version_entered_twice_is_found_by_its_digest(archive: Archive):
    """A digest that two entries name leads to the first, not to a complaint that it is ambiguous."""
    digest = archive.register(fitted(loans()), name="credit").digest
    entry = archive._ledger.find_entries("model.registered")[0]
    archive._ledger.append([{**entry, "version": "2"}])
    assert archive.model(digest).version == 1


def test_a_source_of_an_earlier_session_is_found_beside_a_shorter_name(tmp_path: Path):
    """Rows of `loans_may` of an earlier session are known although this one has fixed `loans`."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        frame = archive.source(pd.DataFrame({"a": [1.0, 2.0]}), "loans_may")
        features, rows = archive.split(frame)
        version = archive.register(_first, name="first")
        archive.predict(version, features, rows=rows, method="__call__")
    with backstory.open(tmp_path / "audit") as archive:
        archive.source(loans(), "loans")
        _, again = archive.split(frame)
        assert again.positions["loans_may"].tolist() == [0, 1]


def test_a_self_join_of_an_earlier_session_is_found_beside_a_longer_name(tmp_path: Path):
    """Where the column's name is that of another source, the tokens say of which source they are."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as archive:
        frame = archive.source(pd.DataFrame({"a": [1.0, 2.0]}), "loans")
        version = archive.register(_first, name="first")
        for known in (frame, archive.source(pd.DataFrame({"a": [3.0]}), "loans_x")):
            features, rows = archive.split(known)
            archive.predict(version, features, rows=rows, method="__call__")
    with backstory.open(tmp_path / "audit") as archive:
        _, again = archive.split(frame.merge(frame, on="a"))
        assert [again.origins[name][0].name for name in ("loans_x", "loans_y")] == ["loans", "loans"]
