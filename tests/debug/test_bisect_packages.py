"""Bisecting over versions of a package: the model runs in the recorded environment with each of them."""

from __future__ import annotations

import os

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression

import backstory
from backstory.archive import Archive
from backstory.errors import QueryError

MADE = os.environ.get("BACKSTORY_ENVIRONMENTS_MADE")
TOO_OLD = "1.7.2"


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Archive:
    """An empty archive."""
    with backstory.init(tmp_path_factory.mktemp("packages") / "a", origin="example.org/packages") as opened:
        yield opened


@pytest.fixture(scope="module")
def predicted(archive: Archive) -> str:
    """The id of a prediction of a linear model."""
    features = np.arange(80.0).reshape(40, 2)
    archive.register(LogisticRegression().fit(features, (np.arange(40) % 3 == 0).astype(int)), name="m")
    return str(archive.predict("m", features, method="predict_proba").wait("sealed").ids[2])


@pytest.mark.parametrize("versions", [[], ["1.9.0"], "1.9.0"])
def test_a_package_needs_two_versions(predicted, archive, versions):
    """Between one version and itself nothing changed."""
    with pytest.raises(QueryError, match="two or more versions"):
        archive.bisect(predicted, packages={"scikit-learn": versions}, good="true")


def test_a_package_that_was_not_recorded_cannot_be_swapped(predicted, archive):
    """The good end cannot be replayed, and the reason is said."""
    with pytest.raises(QueryError, match="no package 'nothing-like-it'"):
        archive.bisect(predicted, packages={"nothing-like-it": ["1", "2"]}, good="true")


@pytest.mark.skipif(not MADE, reason="needs an index of packages; `make soak`, or BACKSTORY_ENVIRONMENTS_MADE=1")
def test_each_version_is_really_the_one_that_runs(predicted, archive):
    """The present one replays; one that cannot read what the present one stored says so."""
    lines = []
    versions = [sklearn.__version__, TOO_OLD]
    with pytest.raises(QueryError, match=f"got skip .scikit-learn {TOO_OLD}"):
        archive.bisect(predicted, packages={"scikit-learn": versions}, good='output."1" < 0.5', say=lines.append)
    assert f"[scikit-learn {versions[0]}] good" in lines[1]
