"""What is known of models whatever a probe of a few rows shows.

Reads public attributes of fitted estimators, in and inside compositions, and imports nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

FORESTS: Final = ("sklearn.ensemble._forest", "BaseForest")
"""Where trees of a forest are: module and name of their common class."""

_SUMS: Final = {
    "coef_": "a linear model",
    "coefs_": "a neural network",
    "components_": "a projection on components",
    "cluster_centers_": "distances to centres",
    "dual_coef_": "a kernel machine",
    "X_train_": "a Gaussian process",
    "_fit_X": "distances to neighbours",
    "scalings_": "a discriminant",
    "precisions_cholesky_": "a mixture",
    "feature_log_prob_": "a sum of log probabilities",
}
"""Fitted attributes of estimators that sum products of a row by BLAS, whose order depends on the batch."""

_ARRAY_LIBRARIES: Final = ("onnx", "torch")
"""Frameworks whose kernels choose the order of sums by the batch, or may in another version."""

_PARTS_MAX: Final = 10_000
_DEPTH_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a model.

    Attributes:
        limit: The most a probe may say of it.
        reason: Why, where it is not the most there is; else empty.
    """

    limit: Literal["row-exact", "tile-exact", "run-varying"] = "row-exact"
    reason: str = ""


def what_is_known(model: object, framework: str) -> Known:
    """Return what is known of a model and of all that is inside it.

    Args:
        model: The fitted model.
        framework: Its framework, as the artifact names it.
    """
    summed: str | None = None
    for part in _inside(model, 0, set()):
        if _is_forest(part) and getattr(part, "n_jobs", None) not in {None, 1}:
            name = type(part).__name__
            return Known(
                limit="run-varying",
                reason=f"the {part.n_jobs} jobs of {name} add to one sum in the order they end; n_jobs=1 ends that",
            )
        if summed is None:
            held = getattr(part, "__dict__", {})
            summed = next((what for name, what in _SUMS.items() if name in held), None)
            summed = "a linear booster" if held.get("booster") == "gblinear" else summed
    if summed is None and framework in _ARRAY_LIBRARIES:
        summed = framework
    return Known() if summed is None else Known(limit="tile-exact", reason=f"{summed}: sums depend on the batch")


def _is_forest(part: object) -> bool:
    return any((one.__module__, one.__name__) == FORESTS for one in type(part).__mro__)


def _inside(value: Any, depth: int, seen: set[int]) -> Iterator[Any]:
    """Yield an estimator and all fitted ones it holds; trees of a forest are its own business."""
    if depth > _DEPTH_MAX or id(value) in seen or len(seen) > _PARTS_MAX or isinstance(value, type):
        return
    if isinstance(value, list | tuple):
        for item in value:
            yield from _inside(item, depth + 1, seen)
    elif isinstance(value, dict):
        yield from _inside(list(value.values()), depth + 1, seen)
    elif hasattr(value, "get_params") or type(value).__name__ == "_CalibratedClassifier":
        seen.add(id(value))
        yield value
        if not _is_forest(value):
            yield from _inside(list(getattr(value, "__dict__", {}).values()), depth + 1, seen)
