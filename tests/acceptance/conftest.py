"""What the acceptance tests share: an empty archive, and one with predictions in it that every test gets a copy of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.archives import ORIGIN, archive_with_predictions

import backstory
from backstory.archive import Archive


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """An empty archive, open for writing."""
    with backstory.init(tmp_path / "audit", origin=ORIGIN) as opened:
        yield opened


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...], str]:
    """A closed archive with a source, a group, a model and 40 predictions: its path, their ids, its public key."""
    path = tmp_path_factory.mktemp("whole") / "audit"
    archive, ids = archive_with_predictions(path)
    with archive:
        vkey = archive.vkey
    return path, tuple(ids), vkey


@pytest.fixture
def kept(whole: tuple[Path, tuple[str, ...], str], tmp_path: Path) -> tuple[Path, tuple[str, ...], str]:
    """A copy of the archive with predictions, to be done with as a test likes."""
    path, ids, vkey = whole
    return shutil.copytree(path, tmp_path / "kept"), ids, vkey
