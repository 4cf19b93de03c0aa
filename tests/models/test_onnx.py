"""ONNX models come back byte for byte, and predict from frames and arrays; what is not whole is refused."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import backstory
from backstory.errors import ModelError
from backstory.models import capture_artifact, container, load_artifact
from backstory.models.onnx_format import OnnxModel

ROWS = np.random.default_rng(2).normal(size=(40, 3)).astype(np.float32)
YES = (ROWS.sum(axis=1) > 0).astype(int)
FRAME = pd.DataFrame(ROWS, columns=list("abc")).assign(kind=np.where(YES, "x", "y"))
WEIGHT = np.arange(1, 4, dtype=np.float32).reshape(3, 1)


def product(*, weight=None, inputs=(("rows", TensorProto.FLOAT, [None, 3]),), operator="MatMul", domain=""):
    """Return a model that multiplies its first input by a weight."""
    tensor = numpy_helper.from_array(WEIGHT, "weight") if weight is None else weight
    graph = helper.make_graph(
        [helper.make_node(operator, [inputs[0][0], "weight"], ["product"], domain=domain)],
        "graph",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, [None, 1])],
        [tensor],
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.fixture(scope="module")
def estimator():
    """A logistic regression behind one column of text and three of numbers."""
    columns = ColumnTransformer([("n", StandardScaler(), list("abc")), ("k", OneHotEncoder(), ["kind"])])
    return make_pipeline(columns, LogisticRegression()).fit(FRAME, np.where(YES, "good", "bad"))


@pytest.fixture(scope="module")
def labelled(estimator):
    """The regression in ONNX with one input a column, giving dicts of labels."""
    return to_onnx(estimator, FRAME[:1])


@pytest.fixture(scope="module")
def plain(estimator):
    """The same, giving an array of probabilities."""
    return to_onnx(estimator, FRAME[:1], options={"zipmap": False})


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive."""
    with backstory.init(tmp_path_factory.mktemp("onnx") / "audit", origin="example.org/onnx") as made:
        yield made


def test_bytes_are_kept():
    """The artifact holds the very bytes of the model, and its digest is the content's."""
    given = product().SerializeToString()
    artifact = capture_artifact(OnnxModel(given))
    assert container.parse(artifact.data).body == given
    assert artifact.content_digest == hashlib.sha256(artifact.data).hexdigest()


@pytest.mark.parametrize("make", [OnnxModel, lambda model: model], ids=["OnnxModel", "ModelProto"])
def test_what_may_be_registered(make):
    """A model of bytes, and a `ModelProto`, are one model."""
    given = product()
    assert capture_artifact(make(given)).content_digest == capture_artifact(given).content_digest


def test_file_is_the_model_of_its_bytes(tmp_path):
    """The file of a model is registered as the model."""
    path = tmp_path / "model.onnx"
    onnx.save_model(product(), path)
    assert capture_artifact(path).data == capture_artifact(OnnxModel(path)).data


def test_session_is_refused_with_advice():
    """A session cannot give back its model; the error says what to register."""
    session = onnxruntime.InferenceSession(product().SerializeToString(), providers=["CPUExecutionProvider"])
    with pytest.raises(ModelError, match="OnnxModel"):
        capture_artifact(session)


def test_settings_come_back():
    """Outputs, threads and rewriting are those it was registered with, and other settings are another model."""
    model = OnnxModel(product(), outputs=["product"], threads=2, optimization="basic")
    artifact = capture_artifact(model)
    loaded = load_artifact(artifact.format, artifact.data)
    assert (loaded.outputs, loaded.threads, loaded.optimization) == (["product"], 2, "basic")
    assert artifact.content_digest != capture_artifact(product()).content_digest


@pytest.mark.parametrize(
    "given",
    [
        ROWS,
        ROWS.astype(np.float64),
        np.asfortranarray(ROWS),
        FRAME[list("abc")],
        pl.DataFrame(ROWS),
        pa.table(FRAME[list("abc")]),
    ],
    ids=["float32", "float64", "fortran", "pandas", "polars", "arrow"],
)
def test_one_input_takes_all_columns(given):
    """Arrays of any layout and frames of any library are what the one input takes; one column out is flat."""
    expected = OnnxModel(product())._session.run(None, {"rows": ROWS})[0][:, 0]
    np.testing.assert_array_equal(OnnxModel(product()).predict(given), expected)


@pytest.mark.parametrize(
    "convert", [lambda f: f, pl.from_pandas, pa.Table.from_pandas], ids=["pandas", "polars", "arrow"]
)
def test_columns_go_to_inputs_by_name(plain, estimator, convert):
    """With one input a column, a frame's columns are taken by name, in whatever order they are."""
    frame = convert(FRAME[["kind", "c", "a", "b"]])
    assert list(OnnxModel(plain).predict(frame)) == list(estimator.predict(FRAME))


def test_array_goes_to_inputs_by_place():
    """With several inputs, an array's columns are taken in order, as many as each input is wide."""
    wide = [("rows", TensorProto.FLOAT, [None, 3]), ("rest", TensorProto.FLOAT, [None])]
    model = OnnxModel(product(inputs=wide))
    given = np.column_stack([ROWS, ROWS[:, 0]])
    np.testing.assert_array_equal(model.predict(given), OnnxModel(product()).predict(ROWS))
    with pytest.raises(ModelError, match=r"of widths \[3, 1\], got 3"):
        model.predict(ROWS)


def test_number_is_not_cut():
    """A fraction is not made whole for an input of whole numbers."""
    whole = numpy_helper.from_array(np.ones((3, 1), np.int64), "weight")
    model = product(weight=whole, inputs=[("rows", TensorProto.INT64, [None, 3])])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(ModelError, match="int64"):
        OnnxModel(model).predict(ROWS)


def test_feature_names_are_the_inputs(plain):
    """A model with one input a column knows its features by name."""
    assert OnnxModel(plain).feature_names_in_ == ["a", "b", "c", "kind"]
    assert not hasattr(OnnxModel(product()), "feature_names_in_")


@pytest.mark.parametrize("form", ["plain", "labelled"])
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_prediction_is_recorded_and_replayed(archive, request, form, method):
    """Labels, arrays and dicts of probabilities are recorded, and come out again to the bit."""
    version = archive.register(request.getfixturevalue(form), name=form)
    predictions = archive.predict(version, FRAME, method=method)
    assert archive.replay(predictions.ids[3]).verdict == "exact"


def test_labels_name_the_probabilities(archive, labelled):
    """Where the model labels its probabilities, the record has a column a label."""
    predictions = archive.predict(archive.register(labelled, name="labelled"), FRAME, method="predict_proba")
    assert set(archive.why(predictions.ids[0]).output) == {"good", "bad"}


def test_float32_model_is_another_model(estimator, plain):
    """A conversion is not the model it was made of: nothing claims they are equal."""
    assert capture_artifact(plain).content_digest != capture_artifact(estimator).content_digest


def test_output_that_was_not_asked_for_is_not_there(labelled):
    """Probabilities that were not among the outputs asked for are refused; the error names those that were."""
    model = OnnxModel(labelled, outputs=["output_label"])
    with pytest.raises(ModelError, match="output_label"):
        model.predict_proba(FRAME)


def _outside():
    tensor = numpy_helper.from_array(WEIGHT, "weight")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd", 0, 12)
    tensor.ClearField("raw_data")
    return tensor


@pytest.mark.parametrize("place", ["initializer", "attribute", "function"])
def test_data_in_other_files_is_refused(place):
    """A model whose tensors are elsewhere would be kept without them; wherever they hide."""
    model = product(weight=_outside()) if place == "initializer" else product()
    constant = helper.make_node("Constant", [], ["x"], value=_outside())
    if place == "attribute":
        model.graph.node.append(constant)
    if place == "function":
        model.functions.append(helper.make_function("own", "f", [], ["x"], [constant], model.opset_import))
    with pytest.raises(ModelError, match="other files"):
        OnnxModel(model)


def test_data_in_other_files_cannot_be_hidden(tmp_path, monkeypatch):
    """Field numbers written with bits that some readers leave out are no numbers of other fields."""
    monkeypatch.chdir(tmp_path)
    WEIGHT.tofile("weight")
    outside = bytes.fromhex("ea80808010") + b"\x12" + b"\x0a\x08location\x12\x06weight"
    hidden = b"\x08\x03\x08\x01\x10\x01\x42\x06weight" + outside + bytes.fromhex("f080808010") + b"\x01"
    graph = product().graph
    graph.ClearField("initializer")
    model = product()
    model.ClearField("graph")
    body = graph.SerializeToString() + b"\x2a" + bytes([len(hidden)]) + hidden
    whole = model.SerializeToString() + b"\x3a" + len(body).to_bytes(1, "big") + b"\x01" + body
    assert len(body) > 127
    with pytest.raises(ModelError, match="not one"):
        OnnxModel(whole, optimization="disabled")


def test_operators_of_other_libraries_are_refused():
    """No library is loaded for a model: what needs one is refused."""
    with pytest.raises(ModelError, match="cannot load"):
        OnnxModel(product(operator="Mystery", domain="example.org"))


def test_images_are_refused():
    """Inputs of more than two dimensions are no rows of columns."""
    with pytest.raises(ModelError, match="one or two dimensions"):
        OnnxModel(product(inputs=[("rows", TensorProto.FLOAT, [None, 2, 2, 3])]))


@pytest.mark.parametrize("data", [b"", b"ONNX", b"\x08\x09", b"\xff" * 40, product().SerializeToString()[:-3]])
def test_other_bytes_are_refused(data):
    """Bytes that are no model, or one cut short, are refused before ONNX Runtime sees them."""
    with pytest.raises(ModelError, match="expected an ONNX model"):
        OnnxModel(data)


@pytest.mark.parametrize("settings", [{"threads": 0}, {"threads": True}, {"optimization": "most"}, {"outputs": ["x"]}])
def test_settings_nobody_knows_are_refused(settings):
    """Settings outside what is known are refused, with what is expected."""
    with pytest.raises(ModelError, match="expected"):
        OnnxModel(product(), **settings)
