"""A registered model version: a name for it, and a drop-in estimator that records."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from backstory.errors import InputError
from backstory.models.determinism import Determinism
from backstory.records.canonical import JsonObject

_RECORDED = frozenset({"decision_function", "forward", "transform"})
"""Methods that give outputs, besides those whose names begin with `predict`."""


class ModelVersion:
    """One immutable version of a model.

    Calling `decision_function`, `forward`, `transform`, any method whose name begins with `predict`, or the version
    itself records the predictions and returns what the model returns. What else it is given, such as
    `num_iteration=1`, goes to the model and into the record's context, as `options` of `Archive.predict` does. Other
    methods of the model are not here, as nothing would record what they predict: `version.estimator.score(X, y)`.
    Attributes such as `classes_` are the model's own.

    Attributes:
        name: Name of the model.
        version: Number of the version, from 1.
        digest: Digest of the version's document, in hex.
        document: What the version commits to.
        determinism: How far it gives the same bits again, as found out when it was registered; None where nobody
            looked. Its `promise` says in words what a replay can promise.
    """

    def __init__(
        self,
        *,
        name: str,
        version: int,
        digest: str,
        document: JsonObject,
        load: Callable[[], object],
        determinism: Determinism | None,
        record: Callable[[ModelVersion, str, Any, tuple[Any, ...], dict[str, Any]], Any],
    ) -> None:
        """Made by `Archive.register` and `Archive.model`.

        `record` records a method's call: the features, what else it is given by position, and what by name.
        """
        self.name = name
        self.version = version
        self.digest = digest
        self.document = document
        self.determinism = determinism
        self._load = load
        self._record = record

    @property
    def reference(self) -> JsonObject:
        """How a context names the version."""
        return {"digest": self.digest, "name": self.name, "version": str(self.version)}

    @cached_property
    def estimator(self) -> Any:  # noqa: ANN401  the user's own model
        """The model itself; predictions made with it directly are not recorded.

        Of a version that is kept as a pickle it may be set, to the model the caller has opened and answers for.

        Raises:
            ModelError: The version has no artifact to load.
        """
        return self._load()

    def predict(self, *features: Any, **options: Any) -> Any:  # noqa: ANN401  what the model takes and returns
        """Record and return the model's predictions."""
        return self._call("predict", *features, **options)

    def __call__(self, *features: Any, **options: Any) -> Any:  # noqa: ANN401
        """Record and return what calling the model gives."""
        return self._call("__call__", *features, **options)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Return a recording method of the model, or an attribute such as `classes_`.

        Raises:
            AttributeError: The model has none, or it is a method that is not recorded.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(self.estimator, name)
        if name.startswith("predict") or name in _RECORDED:
            return functools.partial(self._call, name)
        if inspect.isroutine(value):
            msg = f"{name} is not recorded; call it as estimator.{name} of the version"
            raise AttributeError(msg, name=name, obj=self)
        return value

    def _call(self, method: str, /, *given: Any, **options: Any) -> Any:  # noqa: ANN401
        """Record a call: what the method is given first are the features, by whatever name."""
        if given:
            return self._record(self, method, given[0], given[1:], options)
        signature = inspect.signature(self.estimator if method == "__call__" else getattr(self.estimator, method))
        name = next((name for name in signature.parameters if name in options), None)
        if name is None:
            signature.bind(**options)  # where something is missing the model's own error says what
            raise InputError(f"{method}: expected features, got nothing")
        return self._record(self, method, options.pop(name), (), options)

    def __repr__(self) -> str:
        """Return name, version and the beginning of the digest."""
        return f"ModelVersion({self.name}:{self.version}, {self.digest[:12]})"


def names_of(function: Callable[..., Any], rest: Sequence[Any]) -> dict[str, Any]:
    """Return what a method is given by position after the features, by the names of its parameters.

    Where these are not known, by position; what a `*args` takes under that name.
    """
    if not rest:
        return {}
    try:
        (first, _), *others = inspect.signature(function).bind_partial(None, *rest).arguments.items()
    except (TypeError, ValueError):
        return {str(at): value for at, value in enumerate(rest, 1)}
    return dict(others) or {first: tuple(rest)}
