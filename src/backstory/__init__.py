"""Backstory: a provable backstory for every machine-learning prediction.

    with backstory.open("audit") as archive:  # `backstory.init` makes one
        predictions = archive.predict("minutes@production", features, rows=rows)
        print(archive.why(predictions.ids[0]))

`help(backstory.Archive)` has every verb. What is not in `backstory.__all__` may change without notice.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from backstory.errors import BackstoryError, VerificationError
from backstory.version import VERSION as __version__  # noqa: N811  the name the language gives it

if TYPE_CHECKING:
    from backstory.archive import Archive, init
    from backstory.archive import open_archive as open  # noqa: A004  the verb users know
    from backstory.capture.decision import Threshold
    from backstory.capture.model_version import ModelVersion
    from backstory.capture.worker import recorder
    from backstory.debug.explanation_plan import Explain
    from backstory.frames.query import Query
    from backstory.frames.stream import Stream
    from backstory.interop.asof_feast import FeastAsOf
    from backstory.interop.asof_sql import SqlAsOf
    from backstory.interop.asof_tables import DeltaAsOf, IcebergAsOf
    from backstory.models.onnx_format import OnnxModel
    from backstory.verify.membership import verify_membership
    from backstory.verify.promise import verify_promise
    from backstory.verify.receipt import verify_receipt, verify_receipts

__all__ = [
    "Archive",
    "BackstoryError",
    "DeltaAsOf",
    "Explain",
    "FeastAsOf",
    "IcebergAsOf",
    "ModelVersion",
    "OnnxModel",
    "Query",
    "SqlAsOf",
    "Stream",
    "Threshold",
    "VerificationError",
    "__version__",
    "init",
    "open",
    "recorder",
    "verify_membership",
    "verify_promise",
    "verify_receipt",
    "verify_receipts",
]

_LAZY = {
    "Archive": ("backstory.archive", "Archive"),
    "DeltaAsOf": ("backstory.interop.asof_tables", "DeltaAsOf"),
    "Explain": ("backstory.debug.explanation_plan", "Explain"),
    "FeastAsOf": ("backstory.interop.asof_feast", "FeastAsOf"),
    "IcebergAsOf": ("backstory.interop.asof_tables", "IcebergAsOf"),
    "ModelVersion": ("backstory.capture.model_version", "ModelVersion"),
    "OnnxModel": ("backstory.models.onnx_format", "OnnxModel"),
    "Query": ("backstory.frames.query", "Query"),
    "SqlAsOf": ("backstory.interop.asof_sql", "SqlAsOf"),
    "Stream": ("backstory.frames.stream", "Stream"),
    "Threshold": ("backstory.capture.decision", "Threshold"),
    "init": ("backstory.archive", "init"),
    "open": ("backstory.archive", "open_archive"),
    "recorder": ("backstory.capture.worker", "recorder"),
    "verify_membership": ("backstory.verify.membership", "verify_membership"),
    "verify_promise": ("backstory.verify.promise", "verify_promise"),
    "verify_receipt": ("backstory.verify.receipt", "verify_receipt"),
    "verify_receipts": ("backstory.verify.receipt", "verify_receipts"),
}
"""Where public names come from; loaded when first used, so that importing the package is quick."""


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'backstory' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    """Name what the package offers, also what is not loaded yet."""
    return list(__all__)
