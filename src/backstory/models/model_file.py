"""The file of a model, known by its content: of a form that is safe to load, or a pickle, which stays closed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backstory.errors import ModelError
from backstory.models import container, pickle_format
from backstory.models.artifact import Artifact
from backstory.models.container import Container

_XGBOOST, _LIGHTGBM, _ZIP = b"{", b"tree\n", b"PK\x03\x04"


def capture(path: Path, trusted: Sequence[str]) -> Artifact:
    """Capture a model from its file.

    Args:
        path: A file of ONNX, XGBoost (UBJSON or JSON), LightGBM (text) or skops; or a pickle.
        trusted: Names of types in a skops file the caller answers for.

    Raises:
        ModelError: There is no such file, or it is of no form that is known.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"model: expected a file to read, got {path.name!r} ({error.strerror})") from error
    if data.startswith(_ZIP) and _is_skops(data):
        from backstory.models import skops_format

        return skops_format.capture(skops_format.load(data, trusted), trusted)
    if data.startswith(_XGBOOST):
        from backstory.models import xgboost_format

        return xgboost_format.capture(xgboost_format.load(_booster(data, {})))
    if data.startswith(_LIGHTGBM):
        from backstory.models import lightgbm_format

        return lightgbm_format.capture(lightgbm_format.load(_booster(data, {"best_iteration": -1})))
    if pickle_format.is_pickle(data):
        return pickle_format.capture(data)
    if path.suffix == ".onnx":
        from backstory.models import onnx_format

        return onnx_format.capture(onnx_format.OnnxModel(data))
    raise ModelError(
        f"model: expected a file of ONNX, XGBoost, LightGBM or skops, or a pickle, got {path.name!r}, which is none"
    )


def _booster(data: bytes, state: dict[str, Any]) -> bytes:
    """Put a booster's file into a container, which says no more than that it is one."""
    return container.encode(Container(class_name="Booster", params={}, state=state, body=data))


def _is_skops(data: bytes) -> bool:
    from backstory.models import skops_schema

    try:
        skops_schema.read_zip(data)
    except ModelError:
        return False
    return True
