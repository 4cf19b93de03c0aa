"""ONNX models, run by ONNX Runtime on the processor: the model's own bytes, and how they are run.

A session of ONNX Runtime does not give back the model it was made of, so what is registered is the model: its file, its
bytes in an `OnnxModel`, or a `ModelProto`. The bytes stand in a `backstory.models.container` as they were given, beside
the settings that change arithmetic.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backstory.errors import ModelError
from backstory.models import container, onnx_bytes
from backstory.models.artifact import ONNX, Artifact
from backstory.models.container import Container
from backstory.models.json_value import json_safe
from backstory.records.canonical import JsonValue

_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint64)": np.uint64,
    "tensor(uint32)": np.uint32,
    "tensor(uint16)": np.uint16,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
_LABELLED = ("seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))")
_MATRIX = 2


class OnnxModel:
    """An ONNX model that predicts as an estimator does: from a frame or an array of rows.

    A model with one input gets all columns, one with several gets columns by their names where a frame has them all,
    else as many columns for each input as it is wide, in order. Values are converted to the types the inputs have, as
    32-bit floats are usual.

    Attributes:
        bytes: The model, as it was given.
        inputs: Names of its inputs.
        outputs: Names of the outputs asked for.
        threads: Threads of one operator.
        optimization: How far the graph is rewritten before it runs.
    """

    def __init__(
        self,
        model: bytes | Path | Any,
        *,
        outputs: Sequence[str] | None = None,
        threads: int = 1,
        optimization: str = "all",
    ) -> None:
        """Load a model on the processor.

        Args:
            model: Its bytes, its file, or a `ModelProto`.
            outputs: Names of the outputs to compute: the first is what `predict` gives, the second `predict_proba`. All
                of them by default.
            threads: Threads of one operator. One by default: sums over more depend on the machine's number.
            optimization: How far ONNX Runtime rewrites the graph, which changes last bits: "disabled", "basic",
                "extended" or "all".

        Raises:
            ModelError: It is not an ONNX model, keeps tensors in other files, needs operators ONNX Runtime does not
                have, or takes something else than rows of columns.
        """
        self.bytes = _bytes_of(model)
        self.threads, self.optimization = threads, optimization
        self._session = _session(self.bytes, threads, optimization)
        self._inputs = self._session.get_inputs()
        for one in self._inputs:
            if one.type not in _TYPES or len(one.shape) not in {1, _MATRIX}:
                shape = "×".join(map(str, one.shape))
                raise ModelError(f"model: expected inputs of one or two dimensions, got {one.name}: {one.type} {shape}")
        self.inputs = [str(one.name) for one in self._inputs]
        types = {str(one.name): str(one.type) for one in self._session.get_outputs()}
        self.outputs = list(types) if outputs is None else [str(name) for name in outputs]
        unknown = [name for name in self.outputs if name not in types]
        if unknown or not self.outputs:
            raise ModelError(f"model: expected outputs among {list(types)}, got {unknown}")
        self._types = [types[name] for name in self.outputs]

    def __getattr__(self, name: str) -> Any:
        """Give the names of the features, as a fitted estimator does, where each input is one column.

        Raises:
            AttributeError: Anything else.
        """
        if name == "feature_names_in_" and len(self.inputs) > 1 and set(self._widths()) == {1}:
            return list(self.inputs)
        raise AttributeError(name)

    def predict(self, features: Any) -> Any:
        """Return the first output; a column by itself as an array of one dimension.

        Args:
            features: A frame or an array of two dimensions.

        Raises:
            ModelError: The columns are not what the inputs take, or the output is of a kind that cannot be recorded.
        """
        output = self._output(0, features)
        is_column = getattr(output, "ndim", 1) == _MATRIX and output.shape[1] == 1
        return output[:, 0] if is_column else output

    def predict_proba(self, features: Any) -> Any:
        """Return the second output: an array with a column a class, or one dict a row where the model labels them.

        Args:
            features: A frame or an array of two dimensions.

        Raises:
            ModelError: As of `predict`; or there is no second output.
        """
        if len(self.outputs) < 2:  # noqa: PLR2004  the second
            raise ModelError(f"model: expected a second output with probabilities, got {self.outputs} alone")
        return self._output(1, features)

    def _output(self, place: int, features: Any) -> Any:
        kind = self._types[place]
        if kind not in _TYPES and kind not in _LABELLED:
            raise ModelError(f"model: output {self.outputs[place]} is a {kind}, which cannot be recorded")
        (output,) = self._session.run([self.outputs[place]], self._given(features))
        if kind in _LABELLED:
            return [{str(label): value for label, value in row.items()} for row in output]
        return output

    def _given(self, features: Any) -> dict[str, Any]:
        names = [str(name) for name in getattr(features, "column_names", getattr(features, "columns", []))]
        if len(self.inputs) > 1 and names and set(names) >= set(self.inputs):
            return {
                one.name: _converted(_column(features, one.name), one, width)
                for one, width in zip(self._inputs, self._widths(), strict=True)
            }
        matrix = features.to_pandas() if hasattr(features, "column_names") else features
        matrix = matrix.to_numpy() if hasattr(matrix, "to_numpy") else np.asarray(matrix)
        if len(self.inputs) == 1:
            return {self.inputs[0]: _converted(matrix, self._inputs[0], matrix.shape[1])}
        widths = self._widths()
        known = [width for width in widths if width is not None]
        if len(known) < len(widths) or sum(known) != matrix.shape[1]:
            raise ModelError(
                f"model: expected columns for the inputs {self.inputs}, of widths {widths}, got {matrix.shape[1]}"
            )
        parts = np.split(matrix, np.cumsum(known)[:-1], axis=1)
        return {one.name: _converted(part, one, part.shape[1]) for one, part in zip(self._inputs, parts, strict=True)}

    def _widths(self) -> list[int | None]:
        shapes = [list(one.shape) for one in self._inputs]
        return [1 if len(shape) == 1 else shape[1] if isinstance(shape[1], int) else None for shape in shapes]

    def __repr__(self) -> str:
        """Return inputs and outputs."""
        return f"OnnxModel({', '.join(self.inputs)} -> {', '.join(self.outputs)})"


def is_onnx(model: object) -> bool:
    """Tell whether a model is one of ONNX: an `OnnxModel`, a `ModelProto`, or a session of ONNX Runtime."""
    return isinstance(model, OnnxModel) or _is_proto(model) or _is_session(model)


def capture(model: Any) -> Artifact:
    """Capture an ONNX model.

    Args:
        model: An `OnnxModel`, or a `ModelProto`, which is run with the settings an `OnnxModel` has by default.

    Raises:
        ModelError: It is a session, which does not give back its model; or cannot be loaded again.
    """
    if _is_session(model):
        raise ModelError(
            "model: an InferenceSession does not give back the model it was made of; register that: "
            "its file as a Path, or backstory.OnnxModel(its bytes)"
        )
    import onnxruntime

    given = model if isinstance(model, OnnxModel) else OnnxModel(model)
    params: dict[str, Any] = {
        "optimization": given.optimization,
        "outputs": list(given.outputs),
        "threads": given.threads,
    }
    data = container.encode(Container(class_name="OnnxModel", params=params, state={}, body=given.bytes))
    known = given._session.get_modelmeta()  # noqa: SLF001  of this module
    hyperparameters: dict[str, JsonValue] = {name: json_safe(value) for name, value in params.items()}
    hyperparameters |= {"inputs": list(given.inputs), "producer": json_safe(known.producer_name)}
    return Artifact(
        format=ONNX,
        data=data,
        content_digest=hashlib.sha256(data).hexdigest(),
        framework="onnx",
        versions={"onnxruntime": str(onnxruntime.__version__)},
        class_name=f"{OnnxModel.__module__}.{OnnxModel.__qualname__}",
        hyperparameters=hyperparameters,
        seeds={},
        steps=(),
        classes=None,
        trusted=(),
        replayable=True,
        reason=None,
    )


def load(data: bytes) -> OnnxModel:
    """Load an ONNX model from its container.

    Raises:
        ModelError: Not a container of an ONNX model, or ONNX Runtime is not installed.
    """
    parts = container.parse(data)
    if parts.class_name != "OnnxModel" or set(parts.params) != {"optimization", "outputs", "threads"}:
        raise ModelError("model: the container is not one of an ONNX model")
    return OnnxModel(parts.body, **parts.params)


def _bytes_of(model: Any) -> bytes:
    if isinstance(model, Path):
        return model.read_bytes()
    if _is_proto(model):
        return bytes(model.SerializeToString(deterministic=True))
    if isinstance(model, bytes):
        return model
    raise ModelError(f"model: expected the bytes or the path of an ONNX model, got {type(model).__name__}")


def _session(data: bytes, threads: int, optimization: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        msg = "model: an ONNX model needs the package onnxruntime, expected `backstory[onnx]`"
        raise ModelError(msg) from error

    if optimization not in _LEVELS or not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ModelError(f"model: expected threads of 1 or more and optimization one of {sorted(_LEVELS)}")
    onnx_bytes.check_whole(data)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[optimization])
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")  # never guessed from the bytes
    try:
        return onnxruntime.InferenceSession(data, sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has an error class for each of its codes
        msg = f"model: ONNX Runtime cannot load the model ({type(error).__name__})"
        raise ModelError(msg) from error


def _column(features: Any, name: str) -> Any:
    column = features[name]
    return column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)


def _converted(values: Any, wanted: Any, width: int | None) -> Any:
    """Return values as an input takes them: its type and number of dimensions."""
    rows = len(values)
    if math.prod(values.shape) != rows * (width or 1):
        raise ModelError(f"model: expected {width} columns for the input {wanted.name}")
    shape = (rows,) if len(wanted.shape) == 1 else (rows, width or 1)
    # Numbers among objects come from frames of several types; else a number is never cut to a whole one.
    casting: Any = "unsafe" if values.dtype.kind == "O" else "same_kind"
    try:
        return np.ascontiguousarray(values.reshape(shape).astype(_TYPES[wanted.type], casting=casting, copy=False))
    except (TypeError, ValueError):
        raise ModelError(f"model: expected values of {wanted.type} for the input {wanted.name}") from None


def _is_proto(model: object) -> bool:
    return type(model).__name__ == "ModelProto" and hasattr(model, "SerializeToString")


def _is_session(model: object) -> bool:
    return type(model).__name__ == "InferenceSession" and type(model).__module__.startswith("onnxruntime")
