"""What a fitted scikit-learn composition is made of, and where each part stands in it.

Reads the public attributes of fitted compositions and imports nothing. Parts have the names `backstory.models.step`
gives them. `path` leads from the composition to the part: names of attributes, and places in lists and tuples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

PASSTHROUGH = "passthrough"
DROP = "drop"

Kind: TypeAlias = Literal["pipeline", "columns", "union", "wrapper", "leaf"]
Path: TypeAlias = tuple[str | int, ...]

_INNER = ("best_estimator_", "regressor_", "estimator_")
"""Attributes under which a wrapper keeps the one fitted model that gets the wrapper's own input."""

_NOT_INNER = ("estimators_", "get_support")
"""What estimators have whose `estimator_` is none of that: an ensemble's pattern, a selector's judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a composition.

    Attributes:
        name: Its name within the composition.
        step: The fitted part; text for `passthrough`.
        path: Where it stands.
        columns: What a ColumnTransformer selects for it; None elsewhere.
    """

    name: str
    step: Any
    path: Path
    columns: Any = None


def thawed(step: Any, path: Path) -> tuple[Any, Path]:
    """Return what a `FrozenEstimator` holds, which otherwise passes for it, and where that stands."""
    while type(step).__name__ == "FrozenEstimator":
        step, path = step.estimator, (*path, "estimator")
    return step, path


def kind_of_step(step: Any) -> Kind:
    """Say how a fitted estimator treats its parts; `leaf` for one whose parts, if any, are its own business."""
    if isinstance(getattr(step, "steps", None), list):
        return "pipeline"
    if isinstance(getattr(step, "transformers_", None), list) and hasattr(step, "output_indices_"):
        return "columns"
    if isinstance(getattr(step, "transformer_list", None), list):
        return "union"
    return "wrapper" if any(True for _ in _wrapped(step)) else "leaf"


def parts_of(step: Any) -> list[Part]:
    """Return the parts of a composition in the order data meets them; those that drop their columns are left out."""
    kind = kind_of_step(step)
    if kind == "wrapper":
        return list(_wrapped(step))
    attribute = {"pipeline": "steps", "columns": "transformers_", "union": "transformer_list"}.get(kind)
    found = () if attribute is None else enumerate(getattr(step, attribute))
    return [
        Part(
            name=str(part[0]),
            step=PASSTHROUGH if part[1] is None else part[1],
            path=(str(attribute), place, 1),
            columns=part[2] if kind == "columns" else None,
        )
        for place, part in found
        if not (isinstance(part[1], str) and part[1] == DROP)
    ]


def selected(columns: Any, names: Sequence[str]) -> list[int]:
    """Return the places of the columns a ColumnTransformer selects, among the names of its input.

    Args:
        columns: A name or place, several of them, a slice of either, or a mask.
        names: Names of the input's columns.
    """
    if isinstance(columns, slice):
        start, stop = columns.start, columns.stop
        start = names.index(start) if isinstance(start, str) else start
        stop = names.index(stop) + 1 if isinstance(stop, str) else stop  # a slice of names has its last one in it
        return list(range(len(names))[start : stop : columns.step])
    if isinstance(columns, str | int):
        columns = [columns]
    items = columns.tolist() if hasattr(columns, "tolist") else list(columns)
    if items and all(isinstance(item, bool) for item in items):
        return [place for place, is_in in enumerate(items) if is_in]
    return [names.index(item) if isinstance(item, str) else range(len(names))[item] for item in items]


def _wrapped(step: Any) -> Iterator[Part]:
    """Yield the fitted models a wrapper hands its own input to."""
    members = getattr(step, "calibrated_classifiers_", None)
    if isinstance(members, list):
        for place, member in enumerate(members):
            path = ("calibrated_classifiers_", place, "estimator")
            yield Part(name=f"calibrated_{place}", step=member.estimator, path=path)
        return
    named, fitted = getattr(step, "estimators", None), getattr(step, "estimators_", None)
    if isinstance(named, list) and isinstance(fitted, list):  # a vote or a stack, by the names they were given
        names = [str(pair[0]) for pair in named if isinstance(pair, tuple) and not isinstance(pair[1], str)]
        if len(names) == len(fitted):
            places = enumerate(zip(names, fitted, strict=True))
            yield from (Part(name=name, step=one, path=("estimators_", at)) for at, (name, one) in places)
            if getattr(step, "passthrough", None) is True and hasattr(step, "final_estimator_"):
                yield Part(name=PASSTHROUGH, step=PASSTHROUGH, path=("passthrough",))  # what judges gets the input too
        return
    if any(hasattr(step, attribute) for attribute in _NOT_INNER):
        return
    for attribute in _INNER:
        inner = getattr(step, attribute, None)
        if inner is not None and hasattr(inner, "get_params"):
            yield Part(name=attribute.rstrip("_"), step=inner, path=(attribute,))
            return
