"""How right a model version was, as far as outcomes are recorded: by period and by group, with their counts.

A prediction without an outcome says nothing, and those that have one may not be like the others: the answer says how
many have. Where several were recorded of one prediction, the latest counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import flatten, unchunked
from backstory.debug.drift import window_of
from backstory.debug.drift_read import read_predictions, read_segment
from backstory.errors import InputError, NotFoundError
from backstory.frames.sketch import category_text
from backstory.ledger.read import records_now
from backstory.lineage.answer import Answer
from backstory.lineage.page import Page, Section, rows_of
from backstory.lineage.plain import count_text, label, plain, shown, to_second
from backstory.records.access import whole_segments
from backstory.records.envelope import OUTCOME
from backstory.records.identity import time_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.ledger.ledger import Ledger
    from backstory.lineage.registry import Registered
    from backstory.records.access import Gate

Metric = Literal["auto", "mae", "rmse", "accuracy", "rate"]
SMALL: Final = 10
"""Groups of fewer people are not told apart."""
_GROUPS_MAX: Final = 50
_FIFTHS: Final = 5
_CATEGORIES_MAX: Final = 12
"""Numbers of more different values are put into fifths."""
_OTHERS: Final = "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """How right the predictions of a group in a period were.

    Attributes:
        since: First moment of the period; None where there is one period.
        group: Which group; None where all are together.
        predictions: How many predictions it has.
        outcomes: How many of them have an outcome that can be compared.
        value: The metric over these; None where there are none, or so few that a person could be recognised.
    """

    since: str | None
    group: str | None
    predictions: int
    outcomes: int
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance(Answer):
    """How right a model version was.

    Attributes:
        model: Name of the model.
        version: Number of its version.
        metric: What was measured.
        by: Name of the feature that groups; None for all together.
        predictions: Predictions that did not fail.
        outcomes: How many of them have an outcome that can be compared.
        groups: By period and group.
        suppressed: Groups without a value because they are of fewer than 10 people.
    """

    model: str
    version: int
    metric: str
    by: str | None
    predictions: int
    outcomes: int
    groups: tuple[Group, ...]
    suppressed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the performance as values JSON has."""
        return {**plain(asdict(self)), "groups": [plain(asdict(group)) for group in self.groups]}

    def __repr__(self) -> str:
        """Return the counts on one line."""
        return f"<Performance: {_page(self).headline}>"

    def _page(self) -> Page:
        return _page(self)


def measure_performance(
    ledger: Ledger,
    gate: Gate,
    version: Registered,
    *,
    metric: Metric,
    by: str | None,
    since: datetime | str | None,
    until: datetime | str | None,
    period: str | timedelta | None,
) -> Performance:
    """Join outcomes with the predictions of a model version; for the arguments see `archive.drift.performance`.

    Raises:
        NotFoundError: There are no predictions, or no such feature.
        ForbiddenError: Values are sealed, and the gate lets nothing through.
        InputError: The metric does not fit, or is none.
    """
    window = window_of(since, until, period)
    parts, is_personal = read_predictions(ledger, gate, version.digest, window)
    name = f"{version.name}:{version.version}"
    if not parts:
        raise NotFoundError(f"performance: {name} has no predictions in this time")
    numbers = np.concatenate([np.full(part.num_rows, number) for number, part in parts])
    table = _joined(
        [part for _, part in parts], ["id", "status", "output", "decision", *["feature"] * (by is not None)]
    )
    ok = pc.equal(table["status"], "ok").to_numpy()
    table, numbers = table.filter(pa.array(ok)), numbers[ok]
    ids, values = _outcomes(ledger, gate)
    found = pc.index_in(table["id"].cast(pa.large_binary()), value_set=ids)
    truth = values.take(unchunked(found)) if len(values) else pa.nulls(table.num_rows)
    chosen, scores = _scores(table, truth, metric)
    groups = _groups(table, by, name) if by is not None else np.zeros(table.num_rows, object)
    if is_personal and by is not None:  # the name of a group of few may itself be what must not be told
        names, places, counts = np.unique(groups, return_inverse=True, return_counts=True)
        groups = np.where(counts[places] < SMALL, _OTHERS, names[places])
    rows = []
    for number in np.unique(numbers):
        for group in sorted(set(groups[numbers == number]), key=str):
            own = (numbers == number) & (groups == group)
            known = scores[own][~np.isnan(scores[own])]
            hidden = is_personal and len(known) < SMALL
            mean = None if hidden or not len(known) else float(known.mean())
            rows.append(
                Group(
                    since=None if period is None else time_text(window.bounds(int(number))[0]),
                    group=None if by is None else str(group),
                    predictions=int(own.sum()),
                    outcomes=len(known),
                    value=mean**0.5 if mean is not None and chosen == "rmse" else mean,
                )
            )
    return Performance(
        model=version.name,
        version=version.version,
        metric=chosen,
        by=by,
        predictions=table.num_rows,
        outcomes=int((~np.isnan(scores)).sum()),
        groups=tuple(rows),
        suppressed=sum(row.value is None and row.outcomes > 0 for row in rows),
    )


def _outcomes(ledger: Ledger, gate: Gate) -> tuple[pa.Array, pa.Array]:
    """Return the ids of predictions with an outcome, each once, and the latest outcome of each.

    Raises:
        InputError: They are of types that cannot stand in one column.
    """
    sealed, unsealed = records_now(ledger, OUTCOME)
    groups = [(ledger.schema(manifest.schema).groups, manifest.count) for _, manifest in sealed]
    groups += [(schema.groups, table.num_rows) for schema, table in unsealed]
    hidden = [(names, rows) for names, rows in groups if names]
    if hidden:
        scope = None if unsealed else whole_segments(manifest for _, manifest in sealed)
        read = sorted({name for names, _ in hidden for name in names})
        gate.pass_through("performance", read, sum(rows for _, rows in hidden), scope)
    names = ["time", "of", "value"]
    tables = [read_segment(ledger, manifest, names) for _, manifest in sealed]
    tables += [table.select(names) for _, table in unsealed]
    if not tables:
        return pa.array([], pa.large_binary()), pa.nulls(0)
    table = _joined(tables, names)
    table = table.append_column("place", pa.array(np.arange(table.num_rows)))  # of one moment the last recorded counts
    table = table.sort_by([("time", "descending"), ("place", "descending")])
    of = unchunked(table["of"]).cast(pa.large_binary())
    first = pc.index_in(pc.unique(of), value_set=of)
    return of.take(first), unchunked(table["value"]).take(first)


def _joined(tables: Sequence[pa.Table], names: Sequence[str]) -> pa.Table:
    """Return columns of tables, as far as they have them, one after the other.

    Raises:
        InputError: They are of types that cannot stand in one column.
    """
    picked = [table.select([name for name in names if name in table.column_names]) for table in tables]
    try:
        return pa.concat_tables(picked, promote_options="permissive")
    except pa.ArrowException:
        told = "outcomes" if "value" in names else "features, outputs and decisions"
        raise InputError(f"performance: expected {told} of one type, got others") from None


def _scores(table: pa.Table, truth: pa.Array, metric: Metric) -> tuple[str, NDArray[np.float64]]:
    """Return the metric and what it says of each prediction; NaN where it has no outcome.

    Raises:
        InputError: The metric does not fit the outcomes.
    """
    output = unchunked(table["output"]) if "output" in table.column_names else pa.nulls(table.num_rows)
    said = unchunked(table["decision"]) if "decision" in table.column_names else output
    is_number = not pa.types.is_boolean(truth.type) and _is_number(truth.type) and _is_number(output.type)
    chosen = metric if metric != "auto" else "mae" if is_number and pa.types.is_floating(output.type) else "accuracy"
    makers: dict[str, Callable[[], NDArray[np.float64]]] = {
        "accuracy": lambda: _equal(said, truth),
        "mae": lambda: np.abs(_numbers(output) - _numbers(truth)),
        "rate": lambda: _numbers(truth),
        "rmse": lambda: (_numbers(output) - _numbers(truth)) ** 2,
    }
    if chosen not in makers:
        raise InputError(f"performance: expected a metric of auto, {', '.join(makers)}, got {chosen!r}")
    return chosen, makers[chosen]()


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_))


def _numbers(values: pa.Array) -> NDArray[np.float64]:
    if not (_is_number(values.type) or pa.types.is_null(values.type)):
        raise InputError(f"performance: expected numbers or bools for this metric, got {values.type}")
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), float)


def _equal(said: pa.Array, truth: pa.Array) -> NDArray[np.float64]:
    if pa.types.is_null(truth.type):
        return np.full(len(truth), np.nan)
    if _is_number(said.type) and _is_number(truth.type):
        one, other = _numbers(said), _numbers(truth)
        return np.where(np.isnan(one) | np.isnan(other), np.nan, one == other)
    try:
        same = pc.equal(said.cast(pa.large_string()), truth.cast(pa.large_string()))
    except pa.ArrowException:
        raise InputError(f"performance: expected outcomes of type {said.type}, got {truth.type}") from None
    return np.asarray(same.cast(pa.int8()).cast(pa.float64()).to_numpy(zero_copy_only=False), float)


def _groups(table: pa.Table, by: str, model: str) -> NDArray[np.object_]:
    """Return the group of each prediction by a feature.

    Raises:
        NotFoundError: There is no such feature.
    """
    columns = {column.name: column.values for column in flatten(table.select(["feature"]))}
    values = columns.get(f"feature.{by.removeprefix('feature.')}")
    if values is None:
        raise NotFoundError(f"performance: {model} has no feature {by!r}")
    if pc.count_distinct(values).as_py() > _CATEGORIES_MAX and _is_number(values.type):
        numbers = _numbers(values)
        edges = np.unique(np.nanquantile(numbers, np.arange(1, _FIFTHS) / _FIFTHS))
        names = [f"fifth 1: at most {edges[0]:g}", *(f"fifth {at}: over {edge:g}" for at, edge in enumerate(edges, 2))]
        found = np.array(names, object)[np.searchsorted(edges, numbers, side="left")]
        found[np.isnan(numbers)] = "null"
        return np.asarray(found, object)
    counts = pc.value_counts(values).to_pylist()
    listed = {one["values"] for one in sorted(counts, key=lambda one: -one["counts"])[:_GROUPS_MAX]}
    plain_values = values.to_pylist()
    texts = [_OTHERS if v not in listed else "null" if v is None else _text(v) for v in plain_values]
    return np.array(texts, object)


def _text(value: Any) -> str:  # noqa: ANN401  any recorded value
    return category_text(value) if isinstance(value, bool | int | str) else shown(value)


def _page(answer: Performance) -> Page:
    part = answer.outcomes / answer.predictions if answer.predictions else 0.0
    known = f"{answer.outcomes:,} of {count_text(answer.predictions, 'prediction')} have an outcome ({part:.1%})"
    alarms = []
    if answer.suppressed:
        alarms.append(f"PARTIAL: {count_text(answer.suppressed, 'group')} of fewer than {SMALL} people not shown")
    columns = [name for name, there in (("from", _has(answer, "since")), (answer.by or "", answer.by)) if there]
    return Page(
        headline=f"{answer.metric} of {answer.model}:{answer.version}: {known}",
        alarms=tuple(alarms),
        sections=(
            Section(
                title="By group" if answer.by else "By period",
                columns=(*map(label, columns), "predictions", "outcomes", answer.metric),
                rows=rows_of(_lines(answer)),
            ),
        ),
    )


def _has(answer: Performance, member: str) -> bool:
    return any(getattr(group, member) is not None for group in answer.groups)


def _lines(answer: Performance) -> Iterator[tuple[str, ...]]:
    for group in answer.groups:
        first = [] if group.since is None else [to_second(group.since)]
        first += [] if group.group is None else [label(group.group)]
        yield (
            *first,
            f"{group.predictions:,}",
            f"{group.outcomes:,}",
            "" if group.value is None else f"{group.value:.4g}",
        )
