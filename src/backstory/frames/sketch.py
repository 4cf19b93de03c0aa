"""Sketches of the columns of records: exact counts, values of equal rank, how often which category came.

A sketch is small, and the same for the same values: nothing in it is drawn. Its numbers are those at ranks ½, 1½, … of
m in their order, kept in a KLL sketch of Apache DataSketches that is large enough to hold them all, so the rank of any
value is known to 1/2m. Of very many values, one of every two, three, … is put in order. Profiles of training data are
made in `profile.py`; what both say of a column is compared in `debug/drift_measures.py`. Bytes: docs/format.md section
34.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import datasketches
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import FlatColumn, flatten
from backstory.errors import FormatError
from backstory.frames.profile import measured
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS: Final = ("feature", "output", "decision", "flags")
"""The columns of records that are sketched, or whose fields are."""
LISTED_MAX: Final = 32
"""Categories of one column that are listed with their counts."""
CHARACTERS_MAX: Final = 64
"""Longer texts are not listed."""
_POINTS_MAX: Final = 128
_POINTS_MIN: Final = 16
_POINTS_ALL: Final = 1_200
"""Values that all columns together keep, as long as each has its least: 9,600 bytes."""
_ORDERED_MAX: Final = 1 << 15
"""Values that are put in order: what a day of records takes to sort must not slow sealing them."""
_KLL_K_MIN: Final = 8
_GOLDEN: Final = 0x9E3779B97F4A7C15
"""2⁶⁴ divided by the golden ratio: its multiples, modulo 2⁶⁴, are spread evenly and repeat no pattern."""
_NO_NUMBERS: Final = frozenset({"bool", "string", "bytes", "null"})


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnSketch:
    """What is kept of one column.

    Attributes:
        name: Flattened, escaped name.
        type: Logical type as JSON.
        rows: Number of rows.
        nulls: Rows without a value.
        nans: Rows whose value is NaN.
        points: Values of equal rank, rising: all of them where they are few; empty of what is no number.
        counts: How often each category came, the most frequent first, of texts, bools and numbers of few values; of
            flags how many rows have each; None of others.
        others: Rows of categories that are not listed.
    """

    name: str
    type: JsonValue
    rows: int
    nulls: int
    nans: int = 0
    points: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    counts: dict[str, int] | None = None
    others: int = 0

    @property
    def values(self) -> int:
        """Rows with a value that is not NaN."""
        return self.rows - self.nulls - self.nans

    @property
    def ordered(self) -> int:
        """How many of these were put in order."""
        return -(-self.values // _step(self.values))

    def document(self) -> JsonObject:
        """Return the sketch as JSON; members without a value are absent."""
        document: JsonObject = {"name": self.name, "nulls": str(self.nulls), "type": self.type}
        if self.nans:
            document["nans"] = str(self.nans)
        if len(self.points):
            kll = datasketches.kll_doubles_sketch(max(len(self.points), _KLL_K_MIN))
            kll.update(np.array(self.points))
            document["quantiles"] = base64.b64encode(kll.serialize()).decode()
        if self.counts is not None:
            document["values"] = [[value, str(count)] for value, count in self.counts.items()]
            document["others"] = str(self.others)
        return document


def points_of(columns: int) -> int:
    """Return how many values each of so many columns keeps, so that all together stay small."""
    return max(_POINTS_MIN, min(_POINTS_MAX, _POINTS_ALL // max(columns, 1)))


def sketch_of(table: pa.Table, points: int | None = None) -> tuple[ColumnSketch, ...]:
    """Return sketches of what is sketched of records.

    Args:
        table: Records, with the columns of `COLUMNS` they have.
        points: How many values to keep of each column; None for as many as are small.

    Raises:
        ColumnError: A column's type has no encoding.
    """
    columns = flatten(table.select([name for name in COLUMNS if name in table.column_names]))
    kept = points_of(len(columns)) if points is None else points
    return tuple(_sketch(column, kept) for column in columns)


def _sketch(column: FlatColumn, points: int) -> ColumnSketch:
    values, type_, rows = column.values, column.type, len(column.values)
    nulls = rows if type_ == "null" else values.null_count
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.large_string())
    values = values.drop_null() if nulls else values
    found = ColumnSketch(name=column.name, type=type_, rows=rows, nulls=nulls)
    if column.name == "flags":
        return replace(found, counts=_flag_counts(values))
    if not isinstance(type_, str):
        return found  # lists have neither order nor categories
    if type_ in {"bool", "string"}:
        counts, others = _category_counts(values)
        return replace(found, counts=counts, others=others)
    if type_ in _NO_NUMBERS:
        return found
    numbers = measured(values)
    nans = int(np.isnan(numbers).sum())
    numbers = numbers[~np.isnan(numbers)] if nans else numbers
    numbers = np.sort(numbers[_spread_places(len(numbers))])
    found = replace(found, nans=nans, points=equal_ranks(numbers, points))
    if not type_.startswith(("int", "uint")) or not len(numbers) or _changes(numbers) >= LISTED_MAX:
        return found
    counts, others = _category_counts(values)
    return replace(found, counts=counts, others=others)


def _step(values: int) -> int:
    return max(1, -(-values // _ORDERED_MAX))


def _spread_places(values: int) -> NDArray[np.uint64]:
    """Return one place of each `_step` that follow one another: another one each time, as what comes may alternate."""
    step = _step(values)
    begins = np.arange(0, values, step, dtype=np.uint64)
    turns = (np.arange(len(begins), dtype=np.uint64) * np.uint64(_GOLDEN)) >> np.uint64(32)
    begins += turns * np.minimum(np.uint64(step), np.uint64(values) - begins) >> np.uint64(32)
    return begins


def equal_ranks(rising: NDArray[np.float64], points: int) -> NDArray[np.float64]:
    """Return the values at equal ranks of values that rise; all of them where they are no more."""
    if len(rising) <= points:
        return rising
    ranks = (2 * np.arange(points, dtype=np.int64) + 1) * len(rising) // (2 * points)
    return rising[ranks]


def _changes(rising: NDArray[np.float64]) -> int:
    return int(np.count_nonzero(rising[1:] != rising[:-1]))


def _category_counts(values: pa.Array) -> tuple[dict[str, int], int]:
    """Return the most frequent categories with their counts, and how many rows have others."""
    counted = pc.value_counts(values)
    found = pa.table({"name": counted.field("values").cast(pa.large_string()), "count": counted.field("counts")})
    found = found.filter(pc.less_equal(pc.utf8_length(found["name"]), CHARACTERS_MAX))
    order = [("count", "descending"), ("name", "ascending")]
    found = found.take(pc.select_k_unstable(found, min(LISTED_MAX, found.num_rows), order))  # names are no ties
    listed = dict(zip(found["name"].to_pylist(), found["count"].to_pylist(), strict=True))
    return listed, len(values) - sum(listed.values())


def category_text(value: bool | int | str) -> str:  # noqa: FBT001  a value, not a switch
    """Return a category as it is listed."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flag_counts(values: pa.Array) -> dict[str, int]:
    """Return how many rows have each flag, the most frequent ones."""
    found: Counter[str] = Counter()
    for pair in pc.value_counts(values).to_pylist():
        for flag in json.loads(pair["values"]):
            found[flag] += pair["counts"]
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:LISTED_MAX])


def parse_sketches(columns: JsonValue, rows: int) -> tuple[ColumnSketch, ...]:
    """Read sketches from their documents.

    Args:
        columns: The documents.
        rows: How many records they are of.

    Raises:
        FormatError: They are none.
    """
    if not isinstance(columns, list):
        raise FormatError("sketch: expected a list of columns")
    return tuple(_parse(column, rows) for column in columns)


def _parse(document: JsonValue, rows: int) -> ColumnSketch:
    if not isinstance(document, dict):
        raise FormatError("sketch: expected an object for each column")
    counts, values = None, document.get("values")
    try:
        if isinstance(values, list):
            pairs = [pair for pair in values if isinstance(pair, list)]
            counts = {str(value): int(str(count)) for value, count in pairs}
        points = _points(document["quantiles"]) if "quantiles" in document else np.empty(0)
    except (ValueError, TypeError, RuntimeError, IndexError, binascii.Error):
        raise FormatError("sketch: expected pairs of values and counts, and a KLL sketch in base64") from None
    return ColumnSketch(
        name=canonical.text_of(document, "name"),
        type=document.get("type"),
        rows=rows,
        nulls=canonical.count_of(document, "nulls"),
        nans=canonical.count_of(document, "nans") if "nans" in document else 0,
        points=points,
        counts=counts,
        others=canonical.count_of(document, "others") if "others" in document else 0,
    )


def _points(text: JsonValue) -> NDArray[np.float64]:
    kll = datasketches.kll_doubles_sketch.deserialize(base64.b64decode(str(text), validate=True))
    if kll.is_estimation_mode():
        raise ValueError
    return np.array(kll.get_quantiles((np.arange(kll.n) + 0.5) / kll.n))


def same_sketches(some: Sequence[ColumnSketch], others: Sequence[ColumnSketch]) -> bool:
    """Say whether sketches say the same of the same columns."""
    return len(some) == len(others) and all(
        (one.name, one.type, one.nulls, one.nans, one.counts, one.others)
        == (other.name, other.type, other.nulls, other.nans, other.counts, other.others)
        and np.array_equal(one.points, other.points)
        for one, other in zip(some, others, strict=True)
    )
