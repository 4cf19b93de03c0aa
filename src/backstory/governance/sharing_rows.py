"""The rows a figure is made of: which fit, whose they are, in which cell, with which value. Pure, over Arrow tables.

Each of these looks at one row, or at the rows of one person: what is worked out for a person does not change when
another person's rows come or go. That is what the mechanisms' loss per person rests on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, unchunked
from backstory.governance.sharing_question import Condition, Plain, Question

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOWHERE: Final = -1
"""The cell of a row that is in none."""
_COMPARE: Final = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Values of a column, by what they are; a row has at most one of the three.

    Attributes:
        numbers: Those that are numbers, as float64; None where none can be.
        texts: Those that are texts.
        truths: Those that are true or false.
    """

    numbers: pa.Array | None = None
    texts: pa.Array | None = None
    truths: pa.Array | None = None

    def of_kind(self, value: Plain) -> pa.Array | None:
        """Return the values that can be compared with one."""
        if isinstance(value, bool):
            return self.truths
        return self.texts if isinstance(value, str) else self.numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows that fit a question, of some of the records.

    Attributes:
        people: Whom each is about, as text; null of nobody known.
        times: When each was recorded, in nanoseconds.
        cells: The cell of each.
        numbers: The value of each, where the statistic adds values up or puts them in order.
        texts: The same where it counts values nobody listed.
    """

    people: pa.Array
    times: NDArray[np.int64]
    cells: NDArray[np.int64]
    numbers: NDArray[np.float64]
    texts: pa.Array


def values_of(column: pa.Array) -> Values:
    """Return the values of an Arrow column; of a type with no order and no text none."""
    array = decoded(column)
    kind = array.type
    if pa.types.is_boolean(kind):
        return Values(truths=array)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = array.cast(pa.float64(), safe=False)
        return Values(numbers=pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return Values(texts=array.cast(pa.large_string()))
    return Values()


def fitting_rows(
    question: Question,
    table: pa.Table,
    people: pa.Array,
    columns: dict[str, Values],
    *,
    excluded: NDArray[np.bool_],
) -> Rows:
    """Return the rows that fit a question.

    Args:
        question: What is asked.
        table: Records with at least `time`, and `model` (`name:version`) where cells are made by it.
        people: Whom each is about.
        columns: The values of the columns the question looks at.
        excluded: Rows that do not count.
    """
    count = table.num_rows
    mask = ~excluded
    for condition in question.where:
        mask &= _fulfilled(condition, columns[condition.column], count)
    times = unchunked(table["time"]).cast(pa.int64()).to_numpy(zero_copy_only=False)
    cells = np.zeros(count, np.int64)
    for name, keys in question.by:
        place = _places(_public(name, table, times) if name not in columns else columns[name], keys, count)
        cells = np.where((cells >= 0) & (place >= 0), cells * len(keys) + place, NOWHERE)
    own = Values() if question.of is None else columns[question.of]
    numbers, texts = np.zeros(count), pa.nulls(count, pa.large_string())
    if question.statistic in {"sum", "mean", "quantile"}:
        numbers = _numbers(own.numbers, count)
        mask &= ~np.isnan(numbers)
    elif question.statistic == "rate":
        truth = _truths(own, question.value, count)
        mask &= truth >= 0
        cells = np.where(cells >= 0, cells * 2 + truth, NOWHERE)
    elif question.statistic == "histogram" and question.bins:
        mask &= _known(own, count)
        bins = _bins(own, question, count)
        cells = np.where(cells >= 0, cells * len(question.bins) + bins, NOWHERE)
    elif question.statistic == "histogram":
        texts = _texts(own, count)
        mask &= pc.is_valid(texts).to_numpy(zero_copy_only=False)
    chosen = np.flatnonzero(mask & (cells >= 0))
    return Rows(
        people=people.take(pa.array(chosen)),
        times=times[chosen],
        cells=cells[chosen],
        numbers=numbers[chosen],
        texts=texts.take(pa.array(chosen)),
    )


def bounded(parts: Sequence[Rows], rows_each: int) -> Rows:
    """Return the rows that count: of each person the latest, at most so many; a row of nobody known is its own person.

    Of rows of one moment those count that came later.
    """
    people = pa.chunked_array([part.people for part in parts], pa.large_string())
    codes = unchunked(people).dictionary_encode().indices
    known = pc.is_valid(codes).to_numpy(zero_copy_only=False)
    numbers = codes.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    whose = np.where(known, numbers, -1 - np.arange(len(people)))
    nothing = np.zeros(0, np.int64)
    times = np.concatenate([nothing, *(part.times for part in parts)])
    order = np.lexsort((np.arange(len(people)), times, whose))
    last = np.searchsorted(whose[order], whose[order], side="right")
    kept = np.sort(order[last - np.arange(len(order)) <= rows_each])
    texts = unchunked(pa.chunked_array([part.texts for part in parts], pa.large_string()))
    return Rows(
        people=unchunked(people).take(pa.array(kept)),
        times=times[kept],
        cells=np.concatenate([nothing, *(part.cells for part in parts)])[kept],
        numbers=np.concatenate([np.zeros(0), *(part.numbers for part in parts)])[kept],
        texts=texts.take(pa.array(kept)),
    )


def _fulfilled(condition: Condition, values: Values, count: int) -> NDArray[np.bool_]:
    own = values.of_kind(condition.value)
    if own is None:
        return np.zeros(count, bool)
    told = float(condition.value) if own is values.numbers else condition.value
    answer = _COMPARE[condition.operator](own, pa.scalar(told, own.type))
    return np.asarray(answer.fill_null(fill_value=False).to_numpy(zero_copy_only=False), bool)


def _public(name: str, table: pa.Table, times: NDArray[np.int64]) -> Values:
    if name == "model":
        return values_of(unchunked(table["model"]))
    moments = times.astype("datetime64[ns]").astype({"day": "datetime64[D]", "month": "datetime64[M]"}[name])
    return Values(texts=pa.array(np.datetime_as_string(moments), pa.large_string()))


def _places(values: Values, keys: Sequence[Plain], count: int) -> NDArray[np.int64]:
    """Return for each row which of the keys it has, or that it has none."""
    place = np.full(count, NOWHERE, np.int64)
    for example in (True, "", 0.0):
        own = values.of_kind(example)
        of_kind = [at for at, key in enumerate(keys) if _is_of_kind(key, example)]
        if own is None or not of_kind:
            continue
        told = [float(keys[at]) if isinstance(example, float) else keys[at] for at in of_kind]
        if isinstance(example, bool):  # Arrow has no index_in of truth values
            own, told = own.cast(pa.int8()), [int(key) for key in told]
        found = pc.index_in(own, value_set=pa.array(told, own.type), skip_nulls=True)
        there = pc.is_valid(found).to_numpy(zero_copy_only=False)
        place[there] = np.array(of_kind)[found.drop_null().to_numpy(zero_copy_only=False)]
    return place


def _is_of_kind(key: Plain, example: Plain) -> bool:
    if isinstance(example, bool) or isinstance(key, bool):
        return isinstance(example, bool) and isinstance(key, bool)
    return isinstance(key, str) == isinstance(example, str)


def _numbers(array: pa.Array | None, count: int) -> NDArray[np.float64]:
    if array is None:
        return np.full(count, np.nan)
    return np.asarray(array.fill_null(np.nan).to_numpy(zero_copy_only=False), np.float64)


def _truths(values: Values, counted: Plain | None, count: int) -> NDArray[np.int64]:
    """Return 1 for rows with the value that is counted, 0 for those with another one, -1 for those with none."""
    same = _places(values, [True if counted is None else counted], count) == 0
    known = _known(values, count) if counted is not None else _known(Values(truths=values.truths), count)
    return np.where(known, same.astype(np.int64), NOWHERE)


def _known(values: Values, count: int) -> NDArray[np.bool_]:
    known = np.zeros(count, bool)
    for array in (values.numbers, values.texts, values.truths):
        if array is not None:
            known |= pc.is_valid(array).to_numpy(zero_copy_only=False)
    return known


def _bins(values: Values, question: Question, count: int) -> NDArray[np.int64]:
    """Return the bin of each row; the last one, of others, where it is in no other."""
    others = len(question.bins) - 1
    if question.categories is not None:
        place = _places(values, question.categories, count)
        return np.where(place >= 0, place, others)
    edges = np.array(question.edges)
    numbers = _numbers(values.numbers, count)
    place = np.searchsorted(edges, numbers, side="right") - 1
    place = np.where(numbers == edges[-1], others - 1, place)
    return np.where((place >= 0) & (place < others) & ~np.isnan(numbers), place, others)


def _texts(values: Values, count: int) -> pa.Array:
    texts = pa.nulls(count, pa.large_string())
    for array in (values.texts, values.truths, values.numbers):
        if array is not None:
            texts = pc.coalesce(texts, array.cast(pa.large_string()))
    return texts
