"""A small archive for drills, and a drill of it that is held once."""

from __future__ import annotations

import contextlib
import io
import tempfile

import pytest
from tests.support.archives import ORIGIN, archive_with_predictions, fitted, loans

import backstory
from backstory.drill.hold import hold_drill
from backstory.drill.scene import set_scene


@pytest.fixture(scope="session", autouse=True)
def memory(tmp_path_factory):
    """Copies are made where the tests' files are, which is in memory where there is room."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("copies"))
    yield
    tempfile.tempdir = before


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """The path of an archive with a model and 40 predictions."""
    root = tmp_path_factory.mktemp("drill") / "archive"
    with contextlib.redirect_stdout(io.StringIO()):
        made, _ = archive_with_predictions(root)
    made.close()
    return root


@pytest.fixture(scope="session")
def people_once(tmp_path_factory):
    """The path of an archive with 30 predictions about people, a group of people, and an outcome."""
    root = tmp_path_factory.mktemp("drill") / "people"
    table = loans(30)
    with contextlib.redirect_stdout(io.StringIO()), backstory.init(root, origin=ORIGIN) as archive:
        frame = archive.source(table, "loans", key="loan", subject="loan")
        frame = frame.merge(archive.group(frame, "years", name="term", term_mean=("amount", "mean")), on="years")
        features, rows = archive.split(frame, ["amount", "years"])
        model = archive.register(fitted(frame), name="credit", rows=rows)
        ids = archive.predict(model, features, rows=rows).wait("sealed").ids
        for name in ids:
            archive.outcome(name, 1.0)
    return root


@pytest.fixture(scope="session")
def held(archive):
    """The report of a whole drill of it."""
    return hold_drill(archive, workers=1, walks=2, seed=7)


@pytest.fixture(scope="session")
def scene(archive, tmp_path_factory):
    """The scene of a drill of it, set once."""
    return set_scene(archive, tmp_path_factory.mktemp("scene"), None, 1, None)
