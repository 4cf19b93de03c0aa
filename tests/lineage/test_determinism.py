"""What the archive finds out of a model's determinism when it is registered, and what it says of it."""

from __future__ import annotations

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier
from tests.support.archives import ORIGIN, loans
from xgboost import XGBClassifier

import backstory
from backstory.cli.models import list_models
from backstory.lineage import registry
from backstory.lineage.determinism import probe_determinism
from backstory.models import capture_artifact, determinism

COLUMNS = ["amount", "years"]

MODELS = {
    "boosting": (HistGradientBoostingClassifier(max_iter=3), "row-exact"),
    "xgboost": (XGBClassifier(n_estimators=3), "row-exact"),
    "lightgbm": (LGBMClassifier(n_estimators=3, verbose=-1), "row-exact"),
    "tree": (DecisionTreeClassifier(max_depth=3), "row-exact"),
    "linear": (LogisticRegression(), "tile-exact"),
    "forest": (RandomForestClassifier(3, n_jobs=4), "run-varying"),
}


class Drawing(RegressorMixin, BaseEstimator):
    """Draws what it predicts, and counts how often it is asked."""

    asked = 0

    def fit(self, table, _target=None):
        """Learn nothing."""
        self.n_features_in_ = table.shape[1]
        return self

    def predict(self, table):
        """Return other numbers each time."""
        type(self).asked += 1
        return np.random.default_rng(type(self).asked).normal(size=len(table))


@pytest.fixture(scope="module")
def patched():
    """Set things for the tests of this file: a busy machine must not change what they see."""
    with pytest.MonkeyPatch.context() as given:
        yield given


@pytest.fixture(scope="module")
def archive(tmp_path_factory, patched):
    """An archive with a model of each kind, trained on rows it knows."""
    table = loans(200)
    patched.setattr(determinism, "PROBE_SECONDS_MAX", 60.0)
    with backstory.init(tmp_path_factory.mktemp("determinism") / "archive", origin=ORIGIN) as made:
        _, rows = made.split(made.source(table, "loans", key="loan"), COLUMNS)
        for name, (model, _) in MODELS.items():
            made.register(model.fit(table[COLUMNS], table["paid"]), name=name, rows=rows)
        yield made


@pytest.fixture(scope="module")
def prediction(archive):
    """Id of a prediction of the linear model."""
    return archive.predict("linear", loans(3)[COLUMNS]).ids[0]


@pytest.mark.usefixtures("archive")
def test_chance_that_all_share_goes_on_where_it_was():
    """A model that draws from the generator of the whole process does not move it when it is looked at."""

    class Shared(Drawing):
        def predict(self, table):
            return np.random.random(len(table))  # noqa: NPY002  the shared one is meant

    seen = np.random.get_state()[1:3]  # noqa: NPY002
    found = probe_determinism(Shared().fit(np.ones((2, 2))), capture_artifact(MODELS["tree"][0]), None)
    now = np.random.get_state()[1:3]  # noqa: NPY002
    assert found.kind == "run-varying"
    assert (seen[0].tolist(), seen[1]) == (now[0].tolist(), now[1])


@pytest.mark.parametrize("name", MODELS)
def test_models_are_classed(archive, name):
    """Boosters and trees are row-exact, linear models not, and a forest of several jobs varies."""
    assert archive.model(name).determinism.kind == MODELS[name][1]


def test_the_training_rows_are_run(archive):
    """Where the rows are known some of them are run, and what they were run on is said."""
    found = archive.model("tree").determinism
    assert (found.rows, found.source) == (64, "training")
    assert 12 <= found.alone <= 32
    assert set(found.kernels)
    assert archive.model("forest").determinism.rows == 0


def test_made_up_rows_are_said_to_be(archive):
    """Without training rows a model of numbers is run on numbers that are nobody's."""
    table = loans(200)
    model = archive.register(LogisticRegression().fit(table[COLUMNS], table["paid"] == 0), name="unknown-rows")
    assert model.determinism.source == "synthetic"


def test_what_takes_text_is_not_probed_without_rows(archive):
    """A model that cannot take made-up numbers is registered all the same, and says why it has no class."""
    table = loans(50)
    text = make_pipeline(OneHotEncoder(), DecisionTreeClassifier()).fit(table[["loan"]], table["paid"])
    assert archive.register(text, name="text").determinism.in_words.startswith("not known: the model raised")


def test_code_alone_is_not_run(archive):
    """A function is not called when it is registered: it may do anything."""
    called = []
    version = archive.register(called.append, name="function")
    assert called == []
    assert version.determinism is None


def test_chance_varies_and_the_same_again_is_not_asked_again(archive):
    """A model that draws is run-varying; registered again it is the version there is, and is not run."""
    model, trusted = Drawing().fit(np.zeros((9, 2))), f"{Drawing.__module__}.Drawing"
    version = archive.register(model, name="drawing", trusted=trusted)
    assert version.determinism.kind == "run-varying"
    asked = Drawing.asked
    assert archive.register(model, name="drawing", trusted=trusted).digest == version.digest
    assert Drawing.asked == asked


def test_a_library_loaded_later_makes_no_other_version(archive, monkeypatch):
    """The same model registered again names the environment it was registered in first."""
    table = loans(30)
    model = LogisticRegression().fit(table[COLUMNS], table["paid"])
    first = archive.register(model, name="again")
    monkeypatch.setattr(registry, "environment", lambda: {"loaded": "since"})
    assert archive.register(model, name="again").version == first.version


def test_pages_say_what_replay_can_promise(archive, prediction):
    """`why` of a prediction and of a version, and the list of models, say the class in words."""
    said = archive.model("linear").determinism
    assert said.in_words.startswith("tile-exact: a row gives the same bits only in its batch")
    story = archive.why(prediction)
    assert story.determinism == said
    assert "tile-exact: a row gives" in str(story)
    version = archive.why("linear:1")
    assert version.determinism == said
    assert version.to_dict()["determinism"]["class"] == "tile-exact"
    assert "tile-exact: a row gives" in str(version)
    assert {one["name"]: one["determinism"] for one in list_models(archive._ledger)}["linear"] == said.document()
