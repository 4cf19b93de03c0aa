"""A registered model version: a name for it, and a drop-in estimator that records."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import cached_property
from typing import Any

from backstory.records.canonical import JsonObject

_RECORDED = frozenset({"decision_function", "transform"})
"""Methods that give outputs, besides those whose names begin with `predict`."""


class ModelVersion:
    """One immutable version of a model.

    Calling `decision_function`, `transform`, any method whose name begins with `predict`, or the version itself records
    the predictions and returns what the model returns. Any other attribute is the model's own.

    Attributes:
        name: Name of the model.
        version: Number of the version, from 1.
        digest: Digest of the version's document, in hex.
        document: What the version commits to.
    """

    def __init__(
        self,
        *,
        name: str,
        version: int,
        digest: str,
        document: JsonObject,
        load: Callable[[], object],
        record: Callable[..., Any],
    ) -> None:
        """Made by `Archive.register` and `Archive.model`."""
        self.name = name
        self.version = version
        self.digest = digest
        self.document = document
        self._load = load
        self._record = record

    @property
    def reference(self) -> JsonObject:
        """How a context names the version."""
        return {"digest": self.digest, "name": self.name, "version": str(self.version)}

    @cached_property
    def estimator(self) -> Any:  # noqa: ANN401  the user's own model
        """The model itself; predictions made with it directly are not recorded.

        Raises:
            ModelError: The version has no artifact to load.
        """
        return self._load()

    def predict(self, features: Any) -> Any:  # noqa: ANN401  what the model takes and returns
        """Record and return the model's predictions."""
        return self._record(self, features, "predict")

    def __call__(self, features: Any) -> Any:  # noqa: ANN401
        """Record and return what calling the model gives."""
        return self._record(self, features, "__call__")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Return a recording method of the model, or an attribute such as `classes_`."""
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(self.estimator, name)
        if name.startswith("predict") or name in _RECORDED:
            return functools.partial(self._record, self, method=name)
        return value

    def __repr__(self) -> str:
        """Return name, version and the beginning of the digest."""
        return f"ModelVersion({self.name}:{self.version}, {self.digest[:12]})"
