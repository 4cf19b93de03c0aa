"""What each input column added to one output of a model: values that add up, with a base, to what the model gave.

The adapters (`attribution_tree`, `attribution_linear`, `attribution_permutation`) say what each feature of the last
fitted model added. Here they are brought back to the input columns, and checked to add up row by row. An attribution
tells what the model's arithmetic did with the values it was given; it says nothing about causes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from backstory.errors import ModelError
from backstory.models import attribution_linear, attribution_tree
from backstory.models.attribution_terms import Terms
from backstory.models.sklearn_lineage import structure_of
from backstory.models.sklearn_parts import kind_of_step, parts_of, thawed
from backstory.models.sklearn_stages import features_given

Method: TypeAlias = Literal["tree", "linear", "permutation"]

METHODS: tuple[Method, ...] = ("tree", "linear", "permutation")

Group: TypeAlias = tuple[str, ...]
"""The input columns that something was added by: one, or several whose parts cannot be told apart."""

_CLASSES_OF_ONE_MARGIN = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attribution:
    """What was added to the outputs of some rows.

    Attributes:
        added: A row for each row, a column for each group of input columns.
        base: What is there before anything is added, one a row.
        total: What they add up to: the model's own answer, one a row.
    """

    added: np.ndarray
    base: np.ndarray
    total: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """How a model is explained by what its last fitted part is.

    Attributes:
        method: `tree` or `linear`.
        versions: Packages that compute it.
        units: What the values add up to: `output` as recorded, `probability` of the class, `log-odds` of the class, or
            the `margin` the model turns into an output.
        groups: The input columns, as they can be told apart.
        attribute: Returns the attribution of rows in the kind of table the model takes.
    """

    method: Method
    versions: dict[str, str]
    units: str
    groups: tuple[Group, ...]
    attribute: Callable[[Any], Attribution]


def known_method(model: Any) -> Method:
    """Return the method that is exact for a model; `permutation` where none is."""
    last = predictor_of(model)
    if last is not None and attribution_tree.explains(last):
        return "tree"
    return "linear" if last is not None and attribution_linear.explains(last) else "permutation"


def predictor_of(model: Any) -> Any:
    """Return what a pipeline gives its features in the end; None where its answer is not the model's own."""
    model, _ = thawed(model, ())
    kind = kind_of_step(model)
    if kind == "pipeline":
        last = parts_of(model)[-1].step
        return None if isinstance(last, str) else predictor_of(last)
    if kind == "wrapper":
        return predictor_of(model.best_estimator_) if hasattr(model, "best_estimator_") else None
    return model


def class_index(labels: Sequence[str] | None, column: str | int | None) -> int | None:
    """Return which of a model's outputs is explained: of two classes the second, unless a column says otherwise.

    Args:
        labels: Labels of the classes, or names of the output's columns; None where there are none.
        column: A label, or a place.

    Raises:
        ModelError: There are several, and nothing says which; or there is no such one.
    """
    if column is None:
        if labels is not None and len(labels) > _CLASSES_OF_ONE_MARGIN:
            raise ModelError(f"explain: expected column= to say which of {len(labels)} outputs, got none")
        return None if labels is None else len(labels) - 1
    if labels is not None and str(column) in labels:
        return list(labels).index(str(column))
    place = int(column) if isinstance(column, int) or column.isdecimal() else -1
    if not 0 <= place < (len(labels) if labels is not None else place + 1):
        raise ModelError(f"explain: expected column= to name an output of the model, got {column!r}")
    return place


def route_of(
    model: Any, method: Method, call: str, columns: Sequence[str], which: int | None, background: Any
) -> Route:
    """Return how a model is explained.

    Args:
        model: The fitted model.
        method: `tree` or `linear`.
        call: Name of the method that is called, such as `predict_proba`.
        columns: Names of its input columns, in order.
        which: Which output, from `class_index`.
        background: Rows it is compared with, in the kind of table the model takes; needed for `linear`.

    Raises:
        ModelError: The model is not of this kind.
    """
    last = predictor_of(model)
    adapter = attribution_tree if method == "tree" else attribution_linear
    if last is None or not adapter.explains(last):
        raise ModelError(f"explain: expected a model of the kind that method {method!r} is for; use 'permutation'")
    (predictor,) = structure_of(model, columns).predictors
    sources = [tuple(name for name in columns if name in feature.sources) for feature in predictor.features]
    groups = tuple(dict.fromkeys(group for group in sources if group))
    if method == "tree":
        units, terms = attribution_tree.units_of(last, call), attribution_tree.terms_for(last, which)
    else:
        (given,) = features_given(model, background)
        units, terms = attribution_linear.units_of(last, call), attribution_linear.terms_for(last, which, given)

    def attribute(features: Any) -> Attribution:
        (given,) = features_given(model, features)
        return _grouped(terms(given), sources, groups)

    return Route(method=method, versions=adapter.versions_of(last), units=units, groups=groups, attribute=attribute)


def _grouped(terms: Terms, sources: list[Group], groups: tuple[Group, ...]) -> Attribution:
    """Return what features added as what input columns added; what comes from none is part of the base."""
    if terms.added.shape[1] != len(sources):
        raise ModelError(f"explain: expected {len(sources)} features of the model, got {terms.added.shape[1]}")
    place = {group: at for at, group in enumerate(groups)}
    values, base = np.zeros((len(terms.added), len(groups))), terms.base.astype(np.float64).copy()
    for at, group in enumerate(sources):
        if group:
            values[:, place[group]] += terms.added[:, at]
        else:
            base += terms.added[:, at]
    found = Attribution(added=values, base=base, total=terms.total)
    check_additive(found, terms.tolerance)
    return found


def check_additive(found: Attribution, tolerance: float) -> None:
    """Insist that base and values add up to the total, row by row.

    Args:
        found: The attribution.
        tolerance: How far they may be off, in parts of the size of what is added.

    Raises:
        ModelError: They do not: the method does not explain this model.
    """
    size = 1.0 + np.abs(found.base) + np.abs(found.added).sum(axis=1)
    off = np.abs(found.base + found.added.sum(axis=1) - found.total)
    wrong = ~(off <= tolerance * size)  # NaN is wrong too
    if wrong.any():
        raise ModelError(
            f"explain: what the features add does not add up to the model's answer in {int(wrong.sum())} of "
            f"{len(off)} rows: expected within {tolerance:g} of their size; this method does not explain this model"
        )
