"""The value every adapter returns: a model as bytes and as facts that can be written down."""

from __future__ import annotations

from dataclasses import dataclass

from backstory.records.canonical import JsonObject, JsonValue

SKOPS = "skops"
"""A zip of arrays and a JSON schema; docs: `backstory.models.skops_format`."""

XGBOOST = "xgboost-ubj"
"""A container (`backstory.models.container`) around XGBoost's universal binary JSON."""

LIGHTGBM = "lightgbm-text"
"""A container around LightGBM's model text."""

ONNX = "onnx"
"""A container around the bytes of an ONNX model."""

TORCH = "torch-safetensors"
"""A container around the tensors of a PyTorch module in safetensors, with its structure in the header."""

PICKLE = "pickle"
"""A file that is opened by running what it says: hashed and kept, never opened here."""

CALLABLE = "callable"
"""Code we can name but not store: there are no bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A captured model.

    Attributes:
        format: One of "skops", "xgboost-ubj", "lightgbm-text", "onnx", "torch-safetensors", "pickle", "callable".
        data: The bytes `load_artifact` reads; those of a "pickle" it never does; None for "callable".
        content_digest: SHA-256 in hex of what the model is, whatever bytes its library wrote: two models with one
            digest give the same outputs in the same environment.
        framework: "scikit-learn", "xgboost", "lightgbm", "onnx", "torch" or "python".
        versions: Version of each library the model needs, by import name.
        class_name: Qualified name of the model's class or function.
        hyperparameters: Parameters by name; floats as their repr, arrays as shape and digest.
        seeds: The hyperparameters that seed a generator, as text; unset ones are absent.
        steps: One object a step, outer before inner: `name`, `class`, `params`, and `columns` inside a
            ColumnTransformer.
        classes: Class labels as text, for a classifier with one output.
        trusted: Names from the caller's `trusted` that loading needs again.
        replayable: Whether `data` gives back a model that can predict.
        reason: Why not, or None.
    """

    format: str
    data: bytes | None
    content_digest: str
    framework: str
    versions: dict[str, str]
    class_name: str
    hyperparameters: dict[str, JsonValue]
    seeds: dict[str, str]
    steps: tuple[JsonObject, ...]
    classes: tuple[str, ...] | None
    trusted: tuple[str, ...]
    replayable: bool
    reason: str | None
