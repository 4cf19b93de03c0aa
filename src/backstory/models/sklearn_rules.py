"""From which of its input columns each output column of one fitted transformer comes.

Only exact classes of scikit-learn are known here: a subclass may do anything. Some that keep one column a column still
mix them (`Normalizer` divides by the length of the row), so what is one-to-one is listed, not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Grade: TypeAlias = Literal["exact", "declared", "probed", "coarse"]
"""How sure the edge from a column to a feature is; the grades of row lineage that can occur here."""

_ORDER: tuple[Grade, ...] = ("exact", "declared", "probed", "coarse")

_ONE_TO_ONE = frozenset(
    {
        "Binarizer", "MaxAbsScaler", "MinMaxScaler", "OrdinalEncoder", "PowerTransformer", "QuantileTransformer",
        "RobustScaler", "StandardScaler",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """From which inputs each output comes.

    Attributes:
        inputs: For each output column the places of input columns.
        grade: How sure that is.
        own_names: Whether outputs have no names but those of their inputs, so that these say nothing of values.
    """

    inputs: Sequence[Sequence[int]]
    grade: Grade
    own_names: bool = False


def weakest(*grades: Grade) -> Grade:
    """Return the least sure of some grades."""
    return max(grades, key=_ORDER.index)


def edges_of(step: Any, inputs: int, outputs: int) -> Edges:
    """Return from which inputs each output of a transformer comes; all of them, `coarse`, where nothing says more.

    Args:
        step: A fitted transformer.
        inputs: How many columns it gets.
        outputs: How many it gives.
    """
    found = _declared(step, inputs)
    rule = _RULES.get(_sklearn_name(step))
    if rule is not None:
        try:
            found = rule(step, inputs)
        except (AttributeError, IndexError, TypeError, ValueError):  # fitted otherwise than any version known here
            found = None
    if (
        found is not None
        and len(found.inputs) == outputs
        and all(0 <= at < inputs for one in found.inputs for at in one)
    ):
        return found
    # A transformer that is handed a single column has nothing else to make features of.
    return Edges(inputs=[range(inputs)] * outputs, grade="exact" if inputs == 1 else "coarse")


def _sklearn_name(step: Any) -> str:
    owner = type(step)
    return owner.__name__ if owner.__module__.partition(".")[0] == "sklearn" else ""


def _declared(step: Any, inputs: int) -> Edges | None:
    """Return what a transformer of another library, or a function, says of itself: that columns stay columns."""
    name = _sklearn_name(step)
    if name == "FunctionTransformer":
        if step.func is not None and step.feature_names_out != "one-to-one":
            return None
        return _one_to_one(step, inputs, "declared" if step.func is not None else "exact")
    if name:
        return _support(step, inputs)
    is_mixin = any(owner.__name__ == "OneToOneFeatureMixin" for owner in type(step).__mro__)
    return _one_to_one(step, inputs, "declared") if is_mixin else None


def _support(step: Any, inputs: int) -> Edges | None:
    if not hasattr(step, "get_support"):
        return None
    mask = step.get_support()
    return Edges(inputs=[[at] for at in range(inputs) if mask[at]], grade="exact", own_names=True)


def _one_to_one(_step: Any, inputs: int, grade: Grade = "exact") -> Edges:
    return Edges(inputs=[[at] for at in range(inputs)], grade=grade, own_names=True)


def _blocks(counts: Sequence[int]) -> Edges:
    """Return the edges of a transformer that gives a run of columns for each input."""
    return Edges(inputs=[[at] for at, count in enumerate(counts) for _ in range(int(count))], grade="exact")


def _one_hot(step: Any, _inputs: int) -> Edges:
    infrequent = getattr(step, "infrequent_categories_", [None] * len(step.categories_))
    dropped = [None] * len(step.categories_) if step.drop_idx_ is None else step.drop_idx_
    return _blocks(
        [
            len(categories) - (0 if rare is None else len(rare) - 1) - (drop is not None)
            for categories, rare, drop in zip(step.categories_, infrequent, dropped, strict=True)
        ]
    )


def _simple_imputer(step: Any, inputs: int) -> Edges:
    kept = list(range(inputs))
    if not step.keep_empty_features:  # a column without any value when it was fitted is left out
        kept = [at for at, value in enumerate(step.statistics_) if value == value]  # noqa: PLR0124  NaN is not itself
    shown = [] if step.indicator_ is None else [int(at) for at in step.indicator_.features_]
    return Edges(inputs=[[at] for at in [*kept, *shown]], grade="exact")


def _missing_indicator(step: Any, _inputs: int) -> Edges:
    return Edges(inputs=[[int(at)] for at in step.features_], grade="exact")


def _polynomial(step: Any, _inputs: int) -> Edges:
    return Edges(inputs=[[int(at) for at in powers.nonzero()[0]] for powers in step.powers_], grade="exact")


def _bins(step: Any, inputs: int) -> Edges:
    return _one_to_one(step, inputs) if step.encode == "ordinal" else _blocks(step.n_bins_)


def _spline(step: Any, inputs: int) -> Edges:
    return _blocks([int(step.n_features_out_) // inputs] * inputs)


def _target(step: Any, inputs: int) -> Edges:
    if step.target_type_ == "multiclass":
        return _blocks([len(step.classes_)] * inputs)
    return _one_to_one(step, inputs)


_RULES: dict[str, Callable[[Any, int], Edges]] = {
    **dict.fromkeys(_ONE_TO_ONE, _one_to_one),
    "KBinsDiscretizer": _bins,
    "MissingIndicator": _missing_indicator,
    "OneHotEncoder": _one_hot,
    "PolynomialFeatures": _polynomial,
    "SimpleImputer": _simple_imputer,
    "SplineTransformer": _spline,
    "TargetEncoder": _target,
}
