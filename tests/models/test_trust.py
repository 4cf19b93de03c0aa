"""Loading runs nothing the file chooses: unknown types, misplaced types, pickles and damaged trees are refused."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from lightgbm import LGBMRegressor
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import Birch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor
from xgboost import XGBRegressor

from backstory.errors import ModelError
from backstory.models import capture_artifact, load_artifact, skops_schema

X = np.random.default_rng(3).normal(size=(60, 3))
Y = X @ [1.0, 2.0, 3.0]
STEP = f"{__name__}.Doubler"
FORMATS = ["skops", "xgboost-ubj", "lightgbm-text"]


class Doubler(TransformerMixin, BaseEstimator):
    """A transformer nobody has reviewed."""

    def fit(self, inputs, _target=None):
        """Learn nothing."""
        self.n_features_in_ = inputs.shape[1]
        return self

    def transform(self, inputs):
        """Double."""
        return 2 * inputs


class Sentinel:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Say what unpickling calls."""
        return open, (str(self.path), "w")


@pytest.fixture
def importable(monkeypatch):
    """Make this test module importable by name, as skops does on loading."""
    import sys

    module = type(sys)(__name__)
    module.Doubler = Doubler
    monkeypatch.setitem(sys.modules, __name__, module)


def changed(data, change):
    """Apply a change to the schema and members of a skops file."""
    schema, members = skops_schema.read_zip(data)
    change(schema, members)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
        for name, content in members.items():
            archive.writestr(name, content)
    return written.getvalue()


def changed_array(data, field, value):
    """Set one field of the first nodes array that has it."""

    def change(schema, members):
        for name, content in members.items():
            array = np.load(io.BytesIO(content)) if name.endswith(".npy") else np.zeros(0)
            if field in (array.dtype.names or ()):
                array[field][0] = value
                written = io.BytesIO()
                np.save(written, array)
                members[name] = written.getvalue()

    return changed(data, change)


def test_unknown_type_is_named(importable):
    """A type outside the list is refused by name, with the way out."""
    model = make_pipeline(Doubler(), Ridge()).fit(X, Y)
    with pytest.raises(ModelError, match=r"Doubler.*trusted="):
        capture_artifact(model)


def test_trusted_type_is_stored_and_needed_again(importable):
    """A trusted type is stored and recorded; loading asks for it again."""
    model = make_pipeline(Doubler(), Ridge()).fit(X, Y)
    artifact = capture_artifact(model, trusted=[STEP, "never.Used"])
    assert artifact.trusted == (STEP,)
    with pytest.raises(ModelError, match="Doubler"):
        load_artifact("skops", artifact.data)
    again = load_artifact("skops", artifact.data, trusted=artifact.trusted)
    assert again.predict(X).tobytes() == model.predict(X).tobytes()


@pytest.mark.parametrize("trusted", [True, "one.Name", [3]])
def test_trusted_is_a_list_of_names(trusted):
    """Anything but a list of names is refused, so trust is never widened by accident."""
    with pytest.raises(ModelError, match="trusted"):
        capture_artifact(Ridge().fit(X, Y), trusted=trusted)


def test_lambda_is_refused_even_when_trusted():
    """A lambda cannot be found again by name, so trusting it does not help."""
    model = make_pipeline(FunctionTransformer(lambda x: x), Ridge()).fit(X, Y)
    with pytest.raises(ModelError):
        capture_artifact(model, trusted=[f"{__name__}.<lambda>"])


def test_unsupported_estimator_is_an_error():
    """An estimator skops cannot write is refused with its name."""
    with pytest.raises(ModelError, match="Birch"):
        capture_artifact(Birch(n_clusters=2).fit(X))


@pytest.mark.parametrize("model", [Ridge(), XGBRegressor(), LGBMRegressor()])
def test_unfitted_is_refused(model):
    """A model that was not fitted is refused."""
    with pytest.raises(ModelError, match="fitted"):
        capture_artifact(model)


def test_function_as_objective_is_refused():
    """A booster trained with a Python objective is refused, with the way out."""
    model = XGBRegressor(n_estimators=2, n_jobs=1, objective=lambda y, p: (p - y, np.ones_like(y))).fit(X, Y)
    with pytest.raises(ModelError, match="get_booster"):
        capture_artifact(model)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("trusted", [(), ("builtins.open", "io.open", "_io.open")])
def test_pickle_is_never_opened(tmp_path, format_, trusted):
    """A pickle offered as any format is refused and does not run."""
    path = tmp_path / "ran"
    with pytest.raises(ModelError):
        load_artifact(format_, pickle.dumps(Sentinel(path)), trusted=trusted)
    assert not path.exists()


def test_pickle_inside_an_array_is_never_opened(tmp_path):
    """An object array with a pickle, put into a skops file, is refused and does not run."""
    path = tmp_path / "ran"
    written = io.BytesIO()
    np.save(written, np.array([Sentinel(path)], dtype=object), allow_pickle=True)

    def change(schema, members):
        members.update(dict.fromkeys(members, written.getvalue()))

    with pytest.raises(ModelError):
        load_artifact("skops", changed(capture_artifact(Ridge().fit(X, Y)).data, change))
    assert not path.exists()


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "subprocess.Popen", "numpy.fromfile"])
@pytest.mark.parametrize("loader", ["ObjectNode", "FunctionNode", "TypeNode", "ConstructorFromReduceNode"])
def test_dangerous_names_are_refused(name, loader):
    """A file that names a function of the system is refused, whatever the loader."""
    module, _, attribute = name.rpartition(".")

    def change(schema, members):
        schema.update({"__module__": module, "__class__": attribute, "__loader__": loader})

    with pytest.raises(ModelError, match=name):
        load_artifact("skops", changed(capture_artifact(Ridge().fit(X, Y)).data, change))


def test_reviewed_name_under_a_calling_loader_is_refused():
    """A reviewed type is accepted only from the loader it was reviewed with."""

    def change(schema, members):
        schema.update({"__module__": "xgboost.core", "__class__": "Booster", "__loader__": "ConstructorFromReduceNode"})

    with pytest.raises(ModelError, match="under another"):
        load_artifact("skops", changed(capture_artifact(Ridge().fit(X, Y)).data, change))


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        (DecisionTreeRegressor(), "left_child", 10**6),
        (DecisionTreeRegressor(), "right_child", 0),
        (DecisionTreeRegressor(), "feature", 3),
        (HistGradientBoostingRegressor(max_iter=1, min_samples_leaf=5), "left", 10**6),
        (HistGradientBoostingRegressor(max_iter=1, min_samples_leaf=5), "feature_idx", 3),
        (KNeighborsRegressor(algorithm="kd_tree"), "idx_end", 10**6),
    ],
)
def test_damaged_trees_are_refused(model, field, value):
    """A tree that points outside itself, back to itself or to a missing feature is refused."""
    data = capture_artifact(model.fit(X, Y)).data
    with pytest.raises(ModelError, match="damaged"):
        load_artifact("skops", changed_array(data, field, value))


def test_fewer_nodes_than_children_are_refused():
    """A tree that claims fewer nodes than its children need is refused."""
    model = DecisionTreeRegressor(max_depth=2).fit(X, Y)
    count = str(model.tree_.node_count)

    def change(schema, members):
        state = json.dumps(schema)
        place = state.index('"node_count"')
        found = state.index(f'"content": "{count}"', place)
        schema.clear()
        schema.update(json.loads(state[:found] + '"content": "2"' + state[found + len(f'"content": "{count}"') :]))

    with pytest.raises(ModelError):
        load_artifact("skops", changed(capture_artifact(model).data, change))


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("keep", [0, 7, 40, 200])
def test_cut_bytes_are_refused(format_, keep, capfd):
    """The first bytes of a model are refused as that format."""
    model = {"skops": LogisticRegression(), "xgboost-ubj": XGBRegressor(n_estimators=1, n_jobs=1),
             "lightgbm-text": LGBMRegressor(n_estimators=1, n_jobs=1, verbose=-1)}[format_]  # fmt: skip
    data = capture_artifact(model.fit(X, (Y > 0).astype(int))).data
    with pytest.raises(ModelError):
        load_artifact(format_, data[:keep])


def test_container_names_only_its_own_classes():
    """A booster container that names another class is refused."""
    data = capture_artifact(XGBRegressor(n_estimators=1, n_jobs=1).fit(X, Y)).data
    with pytest.raises(ModelError, match="class of XGBoost"):
        load_artifact("xgboost-ubj", data.replace(b'"XGBRegressor"', b'"XGBModelBase"'))


@pytest.mark.parametrize("format_", ["callable", "joblib", ""])
def test_formats_without_bytes_are_refused(format_):
    """Formats that store nothing, or that we do not have, are refused."""
    with pytest.raises(ModelError, match=r"format|callable"):
        load_artifact(format_, b"")
