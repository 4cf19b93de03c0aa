"""What a fitted pipeline is made of, and from which input columns each feature of its predictor comes.

Told from the fitted state alone; `sklearn_probe` compares it with what the pipeline does. Names of features that are
made of values, such as the categories of a one-hot encoder, can be left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backstory.models.json_value import DEPTH_MAX, parameters_of, qualified_name
from backstory.models.sklearn_parts import PASSTHROUGH, Path, kind_of_step, parts_of, selected, thawed
from backstory.models.sklearn_rules import Edges, Grade, edges_of, weakest
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

COLUMNS_MAX = 20_000
"""Columns of one step up to which a structure is kept; a step that makes a column of each word has more."""

EDGES_MAX = 250_000
"""Edges from columns to features up to which a structure is kept: components of many columns have more."""

SEPARATOR = "__"
"""Between the names of a composition and of its part, as in scikit-learn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column on its way through a pipeline.

    Attributes:
        name: Its name.
        sources: The input columns it comes from, each with the grade of the edge.
    """

    name: str
    sources: Mapping[str, Grade]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fitted step.

    Attributes:
        name: Names of the parts that lead to it, joined with `__`.
        class_name: Its class; `passthrough` for none.
        params: Digest of its parameters.
        path: Where it stands in the model.
        ins: Names of the columns it gets.
        outs: Names of the columns it gives; none for a predictor.
    """

    name: str
    class_name: str
    params: str
    path: Path
    ins: tuple[str, ...]
    outs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """What is given features in the end.

    Attributes:
        name: Name of its step; empty where the last step is a transformer.
        features: Its features.
        used: Names of those it can use; None where nothing says which.
    """

    name: str
    features: tuple[Column, ...]
    used: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """A fitted model, step by step.

    Attributes:
        columns: Names of its input columns.
        steps: The steps; inner before outer, in the order data meets them.
        predictors: What is given features in the end; several where a wrapper holds several fitted models.
    """

    columns: tuple[str, ...]
    steps: tuple[Step, ...]
    predictors: tuple[Predictor, ...]

    @property
    def width(self) -> int:
        """How many columns the widest step takes or gives."""
        return max(len(names) for step in self.steps for names in (step.ins, step.outs))

    @property
    def edges(self) -> int:
        """How many edges lead from its input columns to features."""
        return sum(len(column.sources) for predictor in self.predictors for column in predictor.features)

    def document(self, states: Mapping[Path, str]) -> JsonObject:
        """Return it as JSON.

        Args:
            states: Digest of the fitted state of each step that has one, by path.
        """
        return {
            "columns": list(self.columns),
            "predictors": [_predictor(predictor) for predictor in self.predictors],
            "steps": [
                {
                    "class": step.class_name,
                    "in": list(step.ins),
                    "name": step.name,
                    "out": list(step.outs),
                    "params": step.params,
                    "state": states.get(step.path),
                }
                for step in self.steps
            ],
            "v": 1,
        }


def input_names(model: Any, given: Sequence[str] | None) -> list[str]:
    """Return the names of a model's input columns: as it knows them, as its training rows have them, or by place.

    Args:
        model: A fitted estimator.
        given: Names of the columns of the rows it was trained on, where these are known.
    """
    own = getattr(model, "feature_names_in_", None)
    if own is None:  # a booster without an estimator around it
        own = getattr(model, "feature_names", None) or getattr(model, "feature_name", None)
        own = own() if callable(own) else own
    if own is not None:
        return [str(name) for name in own]
    count = getattr(model, "n_features_in_", None)
    if given is not None and count in {None, len(given)}:
        return list(given)
    return [f"x{at}" for at in range(count or 0)]


def structure_of(model: Any, columns: Sequence[str], *, with_values: bool = True) -> Structure:
    """Return what a fitted model is made of.

    Args:
        model: A fitted scikit-learn estimator, pipeline, or wrapper around one.
        columns: Names of its input columns.
        with_values: Whether names of features may be made of values of rows.
    """
    walk = _Walk(with_values=with_values)
    walk.model(model, "", (), [Column(name=name, sources={name: "exact"}) for name in columns], 0)
    return Structure(columns=tuple(columns), steps=tuple(walk.steps), predictors=tuple(walk.predictors))


@dataclass(slots=True, kw_only=True)
class _Walk:
    """Walks a fitted model with its columns, and takes down steps and predictors."""

    with_values: bool
    steps: list[Step] = field(default_factory=list)
    predictors: list[Predictor] = field(default_factory=list)

    def model(self, model: Any, name: str, path: Path, columns: list[Column], depth: int) -> None:
        """Walk what predicts: to the last step of a pipeline, into each model a wrapper holds."""
        if isinstance(model, str):  # a pipeline that ends in nothing
            self._step(model, name, path, columns, columns)
            self.predictors.append(Predictor(name="", features=tuple(columns)))
            return
        model, path = thawed(model, path)
        kind = kind_of_step(model) if depth < DEPTH_MAX else "leaf"
        parts = parts_of(model)
        if kind == "pipeline":
            for place, part in enumerate(parts[:-1]):
                columns = self.transformer(
                    part.step,
                    joined(name, part.name),
                    path + part.path,
                    columns,
                    _width(parts[place + 1 :]),
                    depth + 1,
                )
            last = parts[-1]
            self.model(last.step, joined(name, last.name), path + last.path, columns, depth + 1)
        elif kind == "wrapper":
            for part in parts:
                self.model(part.step, joined(name, part.name), path + part.path, columns, depth + 1)
            self._step(model, name, path, columns, ())
        elif hasattr(model, "transform") and not hasattr(model, "predict"):
            features = self.transformer(model, name, path, columns, None, depth)
            self.predictors.append(Predictor(name="", features=tuple(features)))
        else:
            columns = _fitting(model, columns)
            self._step(model, name, path, columns, ())
            name = name or type(model).__name__.lower()
            self.predictors.append(Predictor(name=name, features=tuple(columns), used=_used(model, columns)))

    def transformer(
        self, step: Any, name: str, path: Path, columns: list[Column], width: int | None, depth: int
    ) -> list[Column]:
        """Walk what transforms, and return the columns it gives.

        Args:
            step: The fitted transformer, or `passthrough`.
            name: Its name.
            path: Where it stands.
            columns: What it gets.
            width: How many columns it gives, where what comes after it says so.
            depth: Compositions around it.
        """
        if isinstance(step, str):
            self._step(step, name, path, columns, columns)
            return columns
        step, path = thawed(step, path)
        kind = kind_of_step(step) if depth < DEPTH_MAX else "leaf"
        if kind == "pipeline":
            parts = parts_of(step)
            for place, part in enumerate(parts):
                inner = _width(parts[place + 1 :]) if place + 1 < len(parts) else width
                columns = self.transformer(
                    part.step, joined(name, part.name), path + part.path, columns, inner, depth + 1
                )
            return columns
        if kind in {"columns", "union"}:
            branches = self._columns if kind == "columns" else self._union
            outs = self._named(step, columns, branches(step, name, path, columns, width, depth))
        else:
            columns = _fitting(step, columns)
            outs = self._leaf(step, name, columns, width)
        self._step(step, name, path, columns, outs)
        return outs

    def _columns(
        self, step: Any, name: str, path: Path, columns: list[Column], _width: int | None, depth: int
    ) -> list[Column]:
        """Return what the branches of a ColumnTransformer give, where they stand in its output."""
        columns = _fitting(step, columns)
        names = [column.name for column in columns]
        own = [str(one) for one in getattr(step, "feature_names_in_", names)]
        found: dict[int, Column] = {}
        for part in parts_of(step):
            place = step.output_indices_.get(part.name, slice(0, 0))
            count = len(range(*place.indices(place.stop)))
            if not count:
                continue
            chosen = [columns[at] for at in selected(part.columns, own if len(own) == len(names) else names)]
            outs = self.transformer(part.step, joined(name, part.name), path + part.path, chosen, count, depth + 1)
            if len(outs) != count:
                outs = _all_of(chosen, part.name, count)
            prefix = "" if not getattr(step, "verbose_feature_names_out", True) else f"{part.name}{SEPARATOR}"
            found |= {
                place.start + at: dataclasses.replace(column, name=prefix + column.name)
                for at, column in enumerate(outs)
            }
        return [found[at] for at in sorted(found)]

    def _union(
        self, step: Any, name: str, path: Path, columns: list[Column], width: int | None, depth: int
    ) -> list[Column]:
        """Return what the branches of a FeatureUnion give, one after the other."""
        parts = parts_of(step)
        counts = [len(columns) if part.step == PASSTHROUGH else _count(part.step, columns) for part in parts]
        if counts.count(None) == 1 and width is not None:
            counts[counts.index(None)] = width - sum(count for count in counts if count is not None)
        outs: list[Column] = []
        for part, count in zip(parts, counts, strict=True):
            branch = self.transformer(part.step, joined(name, part.name), path + part.path, columns, count, depth + 1)
            outs += [dataclasses.replace(one, name=f"{part.name}{SEPARATOR}{one.name}") for one in branch]
        return outs

    def _leaf(self, step: Any, name: str, columns: list[Column], width: int | None) -> list[Column]:
        """Return the columns one transformer gives."""
        label = name.rpartition(SEPARATOR)[2] or type(step).__name__.lower()
        if width is not None and width > COLUMNS_MAX:  # more than is kept: names and powers of so many take all memory
            return _all_of(columns, label, width)
        names = _names_out(step, columns)
        count = width if width is not None else None if names is None else len(names)
        if count is None:
            count = len(columns) if _is_one_to_one(step, columns) else None
        if count is None:
            return _all_of(columns, label, 1)
        edges = edges_of(step, len(columns), count)
        if names is None or len(names) != count or not self.with_values:
            names = _structural_names(columns, edges, label)
        outs: list[Column] = []
        for at, (own, inputs) in enumerate(zip(names, edges.inputs, strict=True)):
            is_again = at > 0 and inputs is edges.inputs[at - 1]  # components all come from the same columns
            sources = outs[-1].sources if is_again else _sources(columns, inputs, edges.grade)
            outs.append(Column(name=own, sources=sources))
        return outs

    def _named(self, step: Any, columns: list[Column], outs: list[Column]) -> list[Column]:
        """Return columns under the names a composition gives them itself, where it does and they may be told."""
        names = _names_out(step, columns) if self.with_values else None
        if names is None or len(names) != len(outs):
            return outs
        return [dataclasses.replace(out, name=name) for out, name in zip(outs, names, strict=True)]

    def _step(self, step: Any, name: str, path: Path, ins: Sequence[Column], outs: Sequence[Column]) -> None:
        is_text = isinstance(step, str)
        self.steps.append(
            Step(
                name=name or type(step).__name__.lower(),
                class_name=step if is_text else qualified_name(type(step)),
                params=canonical.digest_of({} if is_text else parameters_of(step, deep=False)),
                path=path,
                ins=tuple(column.name for column in ins),
                outs=tuple(column.name for column in outs),
            )
        )


def joined(name: str, part: str) -> str:
    """Return the name of a part inside a step, as scikit-learn writes it."""
    return f"{name}{SEPARATOR}{part}" if name else part


def _width(later: Sequence[Any]) -> int | None:
    """Return how many columns the first of some steps takes that says so, past those that change nothing."""
    for part in later:
        if not isinstance(part.step, str):
            count = getattr(part.step, "n_features_in_", None)
            return None if count is None else int(count)
    return None


def _fitting(step: Any, columns: list[Column]) -> list[Column]:
    """Return as many columns as a step was fitted on: if they are others than those known, each may be of all."""
    count = getattr(step, "n_features_in_", None)
    if count is None or count == len(columns):
        return columns
    return _all_of(columns, "x", int(count))


def _all_of(columns: Sequence[Column], label: str, count: int) -> list[Column]:
    sources = _sources(columns, range(len(columns)), "coarse")
    return [Column(name=f"{label}[{at}]", sources=sources) for at in range(count)]


def _sources(columns: Sequence[Column], inputs: Sequence[int], grade: Grade) -> Mapping[str, Grade]:
    """Return where the inputs come from; an edge is as sure as the least sure one on the way."""
    if len(inputs) == 1 and grade == "exact":
        return columns[inputs[0]].sources
    found: dict[str, Grade] = {}
    for at in inputs:
        for name, before in columns[at].sources.items():
            through = weakest(before, grade)
            # Reached on two ways it is as sure as the surer one.
            found[name] = through if name not in found or weakest(found[name], through) == found[name] else found[name]
    return found


def _structural_names(columns: Sequence[Column], edges: Edges, label: str) -> list[str]:
    """Return names that say from which column a feature comes, and nothing of values."""
    counts: dict[str, int] = {}
    names = []
    for inputs in edges.inputs:
        name = columns[inputs[0]].name if len(inputs) == 1 else label
        at = counts[name] = counts.get(name, -1) + 1
        names.append(name if len(inputs) == 1 and edges.own_names else f"{name}[{at}]")
    return names


def _names_out(step: Any, columns: Sequence[Column]) -> list[str] | None:
    """Return the names a transformer gives its outputs; None where it gives none."""
    function: Callable[..., Any] | None = getattr(step, "get_feature_names_out", None)
    if function is None:
        return None
    names = [column.name for column in columns]
    own = getattr(step, "feature_names_in_", None)
    try:
        # One fitted on a named table knows its columns; one that makes words of texts takes no names.
        given = function() if own is not None or not hasattr(step, "n_features_in_") else function(names)
    except Exception:  # noqa: BLE001  a foreign transformer may raise what it likes; then there are no names
        return None
    return [str(name) for name in given]


def _count(step: Any, columns: Sequence[Column]) -> int | None:
    names = _names_out(step, columns)
    if names is not None:
        return len(names)
    return len(columns) if _is_one_to_one(step, columns) else None


def _is_one_to_one(step: Any, columns: Sequence[Column]) -> bool:
    edges = edges_of(step, len(columns), len(columns))
    return edges.own_names


def _used(model: Any, columns: Sequence[Column]) -> tuple[str, ...] | None:
    """Return the features that trees of XGBoost or LightGBM split on."""
    booster = model.get_booster() if hasattr(model, "get_booster") else getattr(model, "booster_", model)
    library = type(booster).__module__.partition(".")[0]
    names = [column.name for column in columns]
    if library == "xgboost":
        split = set(booster.get_score(importance_type="weight"))
        own = booster.feature_names or [f"f{at}" for at in range(len(names))]
        return tuple(name for name, one in zip(names, own, strict=False) if one in split)
    if library == "lightgbm":
        counts = booster.feature_importance(importance_type="split").tolist()
        return tuple(name for name, count in zip(names, counts, strict=False) if count)
    return None


def _predictor(predictor: Predictor) -> JsonObject:
    features: list[JsonValue] = [{"from": dict(column.sources), "name": column.name} for column in predictor.features]
    said: JsonObject = {"features": features, "name": predictor.name}
    return said if predictor.used is None else said | {"used": list(predictor.used)}
