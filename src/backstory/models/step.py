"""What a composed model consists of, and what its outputs are called.

Reads the public attributes scikit-learn gives its compositions (`steps`, `transformers_`, `transformer_list`,
`estimators`), so it works for every estimator that follows them and imports nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backstory.models.json_value import DEPTH_MAX, json_safe, parameters_of, qualified_name
from backstory.records.canonical import JsonObject, JsonValue

OVER_CLASSES = frozenset({"predict_proba", "predict_log_proba", "decision_function"})
"""Methods whose output has one column a class."""


def steps_of(model: object) -> tuple[JsonObject, ...]:
    """List the steps of a model, outer before inner.

    Args:
        model: A fitted estimator.

    Returns:
        One object a step; a model that composes nothing is its own only step. Inner names are joined with `__`, as
        scikit-learn joins parameter names. `columns` are the input columns of a ColumnTransformer's branch.
    """
    found = list(_inner_steps(model, "", 0))
    return tuple(found or [_step(type(model).__name__.lower(), model)])


def class_labels(model: object) -> tuple[str, ...] | None:
    """Return a classifier's labels as text; None without labels or with several outputs."""
    try:
        labels = getattr(model, "classes_", None)
    except Exception:  # noqa: BLE001  a property of a foreign class may raise what it likes; then there are no labels
        return None
    if labels is None or getattr(labels, "ndim", None) != 1:
        return None
    return tuple(str(label) for label in labels.tolist())


def output_names(model: object, method: str) -> list[str] | None:
    """Name the columns of a two-dimensional output.

    Args:
        model: A fitted model.
        method: Name of the method that made the output.

    Returns:
        The class labels for methods that answer per class; None where the columns have no name.
    """
    if method not in OVER_CLASSES:
        return None
    if method == "decision_function" and getattr(model, "decision_function_shape", None) == "ovo":
        return None  # one column a pair of classes
    labels = class_labels(model)
    return None if labels is None else list(labels)


def _step(name: str, step: object, columns: object = None) -> JsonObject:
    facts: JsonObject = {"name": name}
    if isinstance(step, str):  # "passthrough" and "drop" stand where a transformer could
        facts |= {"class": step, "params": {}}
    else:
        facts |= {"class": qualified_name(step), "params": parameters_of(step, deep=False)}
    return facts if columns is None else facts | {"columns": _columns(columns)}


def _inner_steps(model: object, prefix: str, depth: int) -> Iterator[JsonObject]:
    if depth >= DEPTH_MAX:
        return
    for name, step, columns in _parts(model):
        if step is None:
            continue
        yield _step(prefix + name, step, columns)
        if not isinstance(step, str):
            yield from _inner_steps(step, f"{prefix}{name}__", depth + 1)


def _parts(model: Any) -> Iterator[tuple[str, object, object]]:
    if isinstance(model, type):
        return
    if hasattr(model, "transformers_"):
        yield from ((str(part[0]), part[1], part[2]) for part in model.transformers_)
    for attribute in ("steps", "transformer_list", "estimators"):
        parts = getattr(model, attribute, None)
        if isinstance(parts, list):
            yield from ((str(part[0]), part[1], None) for part in parts if isinstance(part, tuple))
    for attribute in ("best_estimator_", "regressor_", "transformer_", "final_estimator_"):
        if hasattr(getattr(model, attribute, None), "get_params"):
            yield attribute.rstrip("_"), getattr(model, attribute), None


def _columns(columns: Any) -> JsonValue:
    if getattr(columns, "ndim", None) == 1:
        columns = columns.nonzero()[0].tolist() if columns.dtype.kind == "b" else columns.tolist()
    if isinstance(columns, list | tuple):
        # Names of columns, not values: always written out, however many there are.
        return [json_safe(column, DEPTH_MAX) for column in columns]
    return json_safe(columns)
