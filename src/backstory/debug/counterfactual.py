"""What would have changed an output: the fewest changes of some features after which the model answers otherwise.

An honest search: tried are values the model's training had, or that somebody gave, first one feature at a time, then
pairs, then more; what is found is run through the model once more by itself. Where nothing is found, that says only how
much was tried.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import unchunked
from backstory.columns.draw import Draw
from backstory.columns.python_value import python_value
from backstory.debug.case import Case, Workshop, model_of, read_case, run_model
from backstory.debug.verdict import judge
from backstory.errors import InputError, ModelError, NotFoundError
from backstory.frames.profile import ColumnProfile, Profile
from backstory.ledger.read import Found
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import count_text, label, plain, shown
from backstory.lineage.registry import find_version
from backstory.lineage.store import read_profile
from backstory.records import canonical
from backstory.records.schema import escape_name

Bounds: TypeAlias = "tuple[float, float] | Sequence[Any]"

QUESTION = "counterfactual"
_BATCH_ROWS = 4_096
_COMPARISON = re.compile(r"\s*(<=|>=|<|>)\s*(\S+)\s*")
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """A row that is answered as wanted.

    Attributes:
        changes: By feature its value as recorded, and the value it would have.
        distance: How far it is: of a number its change in parts of the range tried, of anything else 1; added up.
        output: What the model gives for it.
    """

    changes: dict[str, tuple[Any, Any]]
    distance: float
    output: Any

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        changes = {name: {"from": plain(then), "to": plain(now)} for name, (then, now) in self.changes.items()}
        return {"changes": changes, "distance": plain(self.distance), "output": plain(self.output)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactuals(Answer):
    """What a search found.

    Attributes:
        id: Id of the prediction.
        output: Its output as recorded.
        target: What was wanted, in words.
        change: The features that were allowed to change.
        found: What was found: fewest changes first, then nearest.
        evaluations: How many rows the model was given.
        widest: Most features that were changed together.
        is_whole: Whether every combination of the values tried was given to the model, up to `widest`.
        tried: By feature how many values were tried.
    """

    id: str
    output: Any
    target: str
    change: tuple[str, ...]
    found: tuple[Counterfactual, ...]
    evaluations: int
    widest: int
    is_whole: bool
    tried: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return it as values JSON has."""
        return {
            "change": list(self.change),
            "evaluations": self.evaluations,
            "found": [one.to_dict() for one in self.found],
            "id": self.id,
            "is_whole": self.is_whole,
            "output": plain(self.output),
            "target": self.target,
            "tried": dict(self.tried),
            "widest": self.widest,
        }

    def __repr__(self) -> str:
        """Return the answer on one line."""
        return f"<Counterfactuals of {self.id}: {counterfactuals_page(self).headline}>"

    def _page(self) -> Page:
        return counterfactuals_page(self)


def counterfactuals_page(found: Counterfactuals) -> Page:
    """Return what a search found for a reader."""
    tried = count_text(found.evaluations, "evaluation")
    headline = f"none found in {tried}"
    if found.found:
        fewest = count_text(len(found.found[0].changes), "change")
        headline = f"with {fewest} the model gives {shown(found.found[0].output)} instead of {shown(found.output)}"
    lines = [
        (
            "\n".join(f"{label(name)} {shown(then)} → {shown(now)}" for name, (then, now) in one.changes.items()),
            f"{one.distance:.4g}",
            shown(one.output),
        )
        for one in found.found
    ]
    every = "every combination" if found.is_whole else "some combinations, as the budget was used up,"
    facts = (
        ("prediction", found.id),
        ("wanted", found.target),
        ("may change", ", ".join(map(label, found.change))),
        ("tried", f"{tried}: {every} of up to {count_text(found.widest, 'feature')}"),
        ("says", "what this model would answer; features that depend on each other were changed as if they did not"),
    )
    section = Section(title="Found", columns=("changes", "distance", "output"), rows=rows_of(lines))
    return Page(headline=headline, facts=facts, sections=(section,) if lines else ())


def search_counterfactuals(
    shop: Workshop,
    found: Found,
    *,
    target: bool | str,
    change: Sequence[str],
    bounds: dict[str, Bounds],
    steps: int,
    budget: int,
    count: int,
    seed: int,
) -> Counterfactuals:
    """Search for the fewest changes after which a model would have answered otherwise; see `Explanations`.

    Raises:
        ForbiddenError: The values are sealed, and the gate lets nothing through.
        InputError: A feature is none, nothing says which values to try, or the target is none, or reached already.
        ModelError: The call failed, the model is not there, or its replay diverges.
    """
    if min(steps, budget, count) < 1:
        raise InputError(
            f"counterfactual: expected at least 1 step, evaluation and result, got {steps}, {budget}, {count}"
        )
    case = read_case(shop, found, QUESTION)
    (row,) = case.rows
    features = case.features.slice(row, 1)
    unknown = [name for name in [*change, *bounds] if name not in features.column_names]
    if unknown or not change or len(set(change)) != len(change) or set(bounds) - set(change):
        raise InputError(
            f"counterfactual: expected features of the prediction, each once, got {unknown or list(change)}"
        )
    is_reached, wanted = _target(target, case)
    estimator = model_of(shop, case)
    judgement = judge(case.output.slice(row, 1), run_model(estimator, case, features), case.decision)[0]
    if judgement.verdict == "diverged":
        raise ModelError(
            f"counterfactual: its replay diverges ({judgement.reason}), so another answer would be changed"
        )
    if bool(is_reached(case.output.slice(row, 1))[0]):
        raise InputError(f"counterfactual: expected a target that it does not have, got what it has: {wanted}")
    profile = _profile(shop, case) if set(change) - set(bounds) else None
    axes = {name: _axis(features[name], name, bounds.get(name), profile, steps) for name in change}
    search = _Search(
        features=features,
        axes=axes,
        run=lambda table: run_model(estimator, case, table),
        is_reached=is_reached,
        budget=budget,
        draw=Draw(seed),
    )
    near = search.nearest(count)
    return Counterfactuals(
        id=found.id,
        output=python_value(case.output[row]),
        target=wanted,
        change=tuple(change),
        found=tuple(near),
        evaluations=search.evaluations,
        widest=search.widest,
        is_whole=search.is_whole,
        tried={name: len(axis.values) for name, axis in axes.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """The values one feature may take, none of them its own, and how far each is."""

    own: Any
    values: pa.Array
    distances: list[float]


@dataclass(slots=True, kw_only=True)
class _Search:
    """A search under way.

    Attributes:
        features: The row, as recorded.
        axes: What may change.
        run: Gives rows to the model.
        is_reached: Says of outputs which are as wanted.
        budget: How many rows the model may be given.
        draw: Draws combinations where not all can be tried.
        evaluations: How many rows it was given.
        widest: Most features that were changed together.
        is_whole: Whether no combination was left out.
    """

    features: pa.Table
    axes: dict[str, _Axis]
    run: Callable[[pa.Table], pa.Array]
    is_reached: Callable[[pa.Array], np.ndarray]
    budget: int
    draw: Draw
    evaluations: int = 0
    widest: int = 0
    is_whole: bool = True

    def nearest(self, count: int) -> list[Counterfactual]:
        """Return the nearest rows that are answered as wanted, with as few changes as any has."""
        for width in range(1, len(self.axes) + 1):
            candidates = self._combinations(width, self.budget - self.evaluations)
            if not candidates:
                break
            self.widest = width
            hits: list[dict[str, int]] = []
            for begin in range(0, len(candidates), _BATCH_ROWS):
                part = candidates[begin : begin + _BATCH_ROWS]
                reached = self.is_reached(self.run(self._table(part)))
                self.evaluations += len(part)
                hits += [one for one, is_hit in zip(part, reached, strict=True) if is_hit]
            found = list(itertools.islice(self._verified(hits), count))
            if found:
                return found
        return []

    def _combinations(self, width: int, most: int) -> list[dict[str, int]]:
        """Return which value each changed feature takes: all combinations of a width, or as many as may be, drawn."""
        sizes = {name: len(axis.values) for name, axis in self.axes.items() if len(axis.values)}
        chosen = list(itertools.combinations(sizes, width))
        total = sum(math.prod(sizes[name] for name in names) for names in chosen)
        if total <= most:
            return [
                dict(zip(names, places, strict=True))
                for names in chosen
                for places in itertools.product(*(range(sizes[name]) for name in names))
            ]
        self.is_whole = False
        drawn: dict[tuple[tuple[str, int], ...], None] = {}
        for _ in range(max(most, 0)):
            names = chosen[self._below(len(chosen))]
            drawn[tuple((name, self._below(sizes[name])) for name in names)] = None
        return [dict(one) for one in drawn]

    def _below(self, end: int) -> int:
        return int(self.draw.below(end, 1)[0])

    def _verified(self, hits: list[dict[str, int]]) -> Iterator[Counterfactual]:
        """Yield hits, nearest first, that the model answers as wanted by themselves too."""
        for hit in sorted(hits, key=self._distance):
            output = self.run(self._table([hit]))
            self.evaluations += 1
            if self.is_reached(output)[0]:
                changes = {
                    name: (self.axes[name].own, python_value(self.axes[name].values[place]))
                    for name, place in hit.items()
                }
                yield Counterfactual(changes=changes, distance=self._distance(hit), output=python_value(output[0]))

    def _distance(self, hit: dict[str, int]) -> float:
        return sum(self.axes[name].distances[place] for name, place in hit.items())

    def _table(self, candidates: list[dict[str, int]]) -> pa.Table:
        columns = []
        for name in self.features.column_names:
            own = unchunked(self.features[name])
            if name in self.axes:
                stack = pa.concat_arrays([own, self.axes[name].values])
                columns.append(stack.take(pa.array([one.get(name, -1) + 1 for one in candidates])))
            else:
                columns.append(own.take(pa.array(np.zeros(len(candidates), np.int64))))
        return pa.Table.from_arrays(columns, names=self.features.column_names)


def _target(target: object, case: Case) -> tuple[Callable[[pa.Array], np.ndarray], str]:
    """Return what says which outputs are as wanted, and what is wanted in words."""
    rule = case.decision
    if isinstance(target, bool):
        if rule is None:
            raise InputError("counterfactual: no rule made a decision; expected a target such as '< 0.5', or a label")
        is_wanted = pa.scalar(target)
        return lambda output: np.asarray(pc.equal(rule.decide(output), is_wanted)), f"the decision {target}"
    if not isinstance(target, str):
        raise InputError(f"counterfactual: expected a truth value or a text as target, got {type(target).__name__}")
    comparison = _COMPARISON.fullmatch(target)
    if comparison is None:
        _require_label(target, case.output.type)
        return lambda output: np.array([str(python_value(one)) == target for one in output]), f"the output {target!r}"
    try:
        bound = float(comparison[2])
    except ValueError as error:
        raise InputError(f"counterfactual: expected a number to compare with, got {comparison[2]!r}") from error
    compare = _OPERATORS[comparison[1]]

    def is_reached(output: pa.Array) -> np.ndarray:
        if rule is not None:
            scores = rule.scores(output)
        else:
            scores = output.field(output.type.num_fields - 1) if pa.types.is_struct(output.type) else output
        if not (pa.types.is_floating(scores.type) or pa.types.is_integer(scores.type)):
            raise InputError("counterfactual: expected an output that is a number to compare, got another")
        return np.asarray(compare(scores.to_numpy(zero_copy_only=False), bound))

    return is_reached, f"an output {target.strip()}"


def _require_label(target: str, outputs: pa.DataType) -> None:
    """Refuse a label where outputs are numbers: none would ever be found."""
    try:
        is_number = math.isfinite(float(target))
    except ValueError:
        is_number = False
    if pa.types.is_struct(outputs) or (pa.types.is_floating(outputs) and not is_number):
        raise InputError("counterfactual: the output is no label; expected a comparison such as '< 0.5', or a decision")


def _profile(shop: Workshop, case: Case) -> Profile | None:
    """Return the profile of the rows the model was trained on; None where there is none."""
    model = case.context.get("model")
    digest = canonical.text_of(model, "digest") if isinstance(model, dict) else ""
    about = find_version(shop.ledger, digest).about if digest else None
    said = shop.ledger.document(about).get("profile") if about is not None else None
    if isinstance(said, dict):
        shop.gate.pass_through(QUESTION, ["features"], 1)
    with contextlib.suppress(NotFoundError):  # it was erased
        return read_profile(shop.ledger, said)
    return None


def _axis(column: pa.ChunkedArray, name: str, bounds: Bounds | None, profile: Profile | None, steps: int) -> _Axis:
    """Return the values a feature may take: those given, or those of training."""
    own = unchunked(column)[0]
    known = None if profile is None else profile.column(escape_name(name))
    values = _given(bounds, known, column.type, steps, name)
    try:
        array = pa.array(values).cast(column.type) if values else pa.array([], column.type)
    except (pa.ArrowException, TypeError, ValueError):
        raise InputError(f"counterfactual: expected values of type {column.type} to try (feature {name!r})") from None
    kept = [one for one in dict.fromkeys(array.to_pylist()) if one is not None and one != own.as_py()]
    is_number = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
    numbers = [*kept, own.as_py()] if is_number and own.is_valid else []
    span = float(max(numbers) - min(numbers)) if numbers else 0.0
    distances = [abs(float(one - own.as_py())) / span if span else 1.0 for one in kept]
    return _Axis(own=python_value(own), values=pa.array(kept, column.type), distances=distances)


def _given(bounds: Bounds | None, known: ColumnProfile | None, kind: pa.DataType, steps: int, name: str) -> list[Any]:
    """Return the values to try, before they have the type of the feature.

    Raises:
        InputError: Nothing says which.
    """
    is_whole = pa.types.is_integer(kind)
    if isinstance(bounds, tuple) and len(bounds) == 2 and (is_whole or pa.types.is_floating(kind)):  # noqa: PLR2004
        numbers = np.linspace(float(bounds[0]), float(bounds[1]), steps)
        return [round(one) for one in numbers] if is_whole else [float(one) for one in numbers]
    if bounds is not None:
        return list(bounds)
    if known is None:
        raise InputError(f"counterfactual: nothing says which values to try; give bounds= (feature {name!r})")
    if known.values is not None and (not is_whole or len(known.values) <= steps):
        return list(known.values)
    is_number = is_whole or pa.types.is_floating(kind)
    found = known.quantiles([float(rank) for rank in np.linspace(0.0, 1.0, steps)]) if is_number else None
    if found is None:
        raise InputError(f"counterfactual: training kept no values to try; give bounds= (feature {name!r})")
    return [round(one) for one in found] if is_whole else found
