"""Running a fitted model one step at a time: what each step gives for some rows.

The steps have the names `sklearn_lineage` gives them. Branches are run on their own and a composition once more as a
whole, so that what it gives is its own doing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeAlias

from backstory.models.sklearn_lineage import joined
from backstory.models.sklearn_parts import kind_of_step, parts_of, selected, thawed

Given: TypeAlias = tuple[str, Any]
"""Name of a step, and what it gave: a table, an array or a sparse matrix, as the step returned it."""


def run_stages(model: Any, features: Any, predict: Callable[[Any, Any], Any]) -> Iterator[Given]:
    """Run some rows through a fitted model, yielding what each step gives; the model's own output comes last.

    Args:
        model: The fitted model.
        features: The rows, in the kind of table the model takes.
        predict: Given the last fitted model and what it gets, returns its output.
    """
    yield from _model(model, "", features, predict)


def features_given(model: Any, features: Any) -> list[Any]:
    """Return what each predictor inside a model gets for some rows, in the order of `Structure.predictors`."""
    model, _ = thawed(model, ())
    kind = kind_of_step(model)
    if kind == "pipeline":
        *before, last = parts_of(model)
        for part in before:
            features = features if isinstance(part.step, str) else part.step.transform(features)
        return features_given(last.step, features)
    if kind == "wrapper":
        return [given for part in parts_of(model) for given in features_given(part.step, features)]
    if hasattr(model, "transform") and not hasattr(model, "predict"):
        return [model.transform(features)]
    return [features]


def _model(model: Any, name: str, features: Any, predict: Callable[[Any, Any], Any]) -> Iterator[Given]:
    if isinstance(model, str):
        yield name, features
        return
    model, _ = thawed(model, ())
    kind = kind_of_step(model)
    if kind == "pipeline":
        *before, last = parts_of(model)
        for part in before:
            given = yield from _transformer(part.step, joined(name, part.name), features)
            features = given
        yield from _model(last.step, joined(name, last.name), features, predict)
        return
    if kind == "wrapper":
        for part in parts_of(model):
            yield from _model(part.step, joined(name, part.name), features, _inside(predict))
    yield name or type(model).__name__.lower(), predict(model, features)


def _inside(predict: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return what runs a model inside a wrapper: as the wrapper is run, or `predict` where the model cannot be."""

    def run(model: Any, features: Any) -> Any:
        try:
            return predict(model, features)
        except AttributeError:  # a wrapper that gives probabilities may hold models that give none
            return model.predict(features)

    return run


def _transformer(step: Any, name: str, features: Any) -> Generator[Given, None, Any]:
    """Yield what the parts of a transformer give, then what it gives itself, and return that."""
    if isinstance(step, str):
        yield name, features
        return features
    step, _ = thawed(step, ())
    kind = kind_of_step(step)
    if kind == "pipeline":
        for part in parts_of(step):
            given = yield from _transformer(part.step, joined(name, part.name), features)
            features = given
        return features
    if kind in {"columns", "union"}:
        for part in parts_of(step):
            taken = features if kind == "union" else _select(step, part.columns, features)
            if kind == "union" or _width(taken):
                yield from _transformer(part.step, joined(name, part.name), taken)
    given = step.transform(features)
    yield name, given
    return given


def _width(features: Any) -> int:
    return int(features.shape[1]) if len(features.shape) > 1 else 1


def _select(step: Any, columns: Any, features: Any) -> Any:
    """Return the columns a branch of a ColumnTransformer gets; of one column by name, the column itself."""
    names = getattr(features, "columns", None)
    own = [f"{at}" for at in range(features.shape[1])] if names is None else [str(name) for name in names]
    fitted = [str(name) for name in getattr(step, "feature_names_in_", own)]
    places = selected(columns, fitted)
    if names is not None:  # a place is one in the table it was fitted on, which may have had another order
        places = [own.index(fitted[at]) if fitted != own else at for at in places]
    if hasattr(features, "iloc"):
        return features.iloc[:, places[0] if isinstance(columns, str | int) else places]
    if names is not None:  # polars
        return features[names[places[0]]] if isinstance(columns, str | int) else features[[names[at] for at in places]]
    return features[:, places[0] if isinstance(columns, str | int) else places]
