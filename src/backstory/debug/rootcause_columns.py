"""Factor columns: what each prediction has, as numbered values with labels for a reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import decoded, is_text
from backstory.columns.python_value import python_value
from backstory.debug.enrichment import Factor
from backstory.errors import InputError
from backstory.lineage.plain import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.integer]

Level: TypeAlias = Literal[
    "model", "context", "source", "file", "day", "attribute", "group", "call", "hour", "row", "flag", "feature"
]
LEVELS: Final[dict[Level, int]] = {
    "source": 0, "model": 1, "context": 2, "file": 3, "day": 4, "group": 5, "attribute": 6, "call": 7, "hour": 8,
    "row": 9, "flag": 10, "feature": 11,
}  # fmt: skip
"""From coarse to fine: of several names for the same predictions the first is the answer."""
LATER: Final = frozenset({"flag", "feature"})
"""What predictions show; all else is where they come from."""
NAMES_ROWS: Final = frozenset({"source", "file", "row"})
BINS = 10
_VALUES_MAX = 20
"""A number with more values is put into bins."""
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(?![0-9])")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactorColumn:
    """One factor of all predictions.

    Attributes:
        name: What it is, such as `weather.station`.
        level: How coarse it is, and of what sort.
        codes: For each prediction the number of its value; −1 where it has none.
        values: How many values there are.
        label: Gives a value's text for a reader.
        reference: The row reference it comes through, or the feature it is of; None for any other.
    """

    name: str
    level: Level
    codes: Ints
    values: int
    label: Callable[[int], str]
    reference: str | None = None

    def factor(self) -> Factor:
        """Return it as it is searched."""
        return Factor(
            name=self.name,
            level=LEVELS[self.level],
            codes=self.codes,
            values=self.values,
            later=self.level in LATER,
            rows_of=self.reference if self.level not in LATER else None,
            names_rows=self.level in NAMES_ROWS,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """Values as numbers.

    Attributes:
        codes: The number of each; −1 for none.
        values: How many different ones there are.
        label: Gives one's text for a reader.
    """

    codes: Ints
    values: int
    label: Callable[[int], str]

    def column(self, name: str, level: Level, reference: str | None = None) -> FactorColumn:
        """Return it as a factor."""
        return FactorColumn(
            name=name, level=level, codes=self.codes, values=self.values, label=self.label, reference=reference
        )

    def take(self, rows: Ints) -> Coded:
        """Return the values of some rows; of rows below 0 none."""
        return replace(self, codes=np.where(rows >= 0, self.codes[np.maximum(rows, 0)], -1).astype(np.int32))


def listed(codes: Ints, labels: Sequence[str]) -> Coded:
    """Return values whose texts are known already."""
    return Coded(codes=np.asarray(codes, np.int32), values=len(labels), label=labels.__getitem__)


def texts(values: Sequence[str | None]) -> Coded:
    """Number texts; None is none."""
    labels = list(dict.fromkeys(text for text in values if text is not None))
    number = {text: at for at, text in enumerate(labels)}
    return listed(np.array([-1 if text is None else number[text] for text in values], np.int32), labels)


def coded(values: pa.Array) -> Coded:
    """Number the distinct values of a column; null is a value.

    Raises:
        InputError: Values of its type cannot be told apart.
    """
    values = decoded(values)
    try:
        encoded = values.dictionary_encode("encode")
    except pa.ArrowException:
        raise InputError(f"values of type {values.type} have no order or equality") from None
    known = encoded.dictionary
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    return Coded(codes=codes, values=len(known), label=lambda code: shown(python_value(known[code])))


def binned(values: pa.Array) -> Coded:
    """Number values of a column by bins that hold about as many of them each; missing ones and NaN have their own."""
    numbers = values.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
    there = ~np.isnan(numbers)
    codes = np.full(len(numbers), -1, np.int32)
    labels: list[str] = []
    if there.any():
        given = numbers[there]
        edges = np.unique(np.quantile(given, np.arange(1, BINS) / BINS, method="higher"))
        number = np.searchsorted(edges, given, side="right").astype(np.int32)
        for at in range(len(edges) + 1):
            inside = given[number == at]
            ends = (inside.min(), inside.max()) if len(inside) else (np.nan, np.nan)
            labels.append(f"{ends[0]:.6g}" if ends[0] == ends[1] else f"{ends[0]:.6g} to {ends[1]:.6g}")
        codes[there] = number
    if not there.all():
        codes[~there] = len(labels)
        labels.append("missing")
    return listed(codes, labels)


def is_number(type_: pa.DataType) -> bool:
    """Say whether values of a type can be put into bins."""
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def has_many_values(values: pa.Array) -> bool:
    """Say whether numbers have too many values to be looked at one by one."""
    return len(values.unique()) > _VALUES_MAX


def days(values: pa.Array) -> pa.Array | None:
    """Return the days of moments, or of texts that begin with one; None where a column has none or is of days alone."""
    if pa.types.is_timestamp(values.type):
        return values.cast(pa.date32(), safe=False)
    if not is_text(values.type):
        return None
    known = values.drop_null().unique()
    some = known.slice(0, _VALUES_MAX).to_pylist()
    if not some or not all(_ISO_DAY.match(text) and len(text) > 10 for text in some):  # noqa: PLR2004  of a day
        return None
    return pc.utf8_slice_codeunits(values, 0, 10)
