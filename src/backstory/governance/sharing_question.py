"""What a figure is asked of: a statistic, of what, of which rows, in which cells. Everything here is known beforehand.

Conditions look at one row at a time and cannot fail, so which rows fit says nothing about other rows. Cells are listed
before anything is read, so which cells there are says nothing about anybody.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any, Final, Literal, TypeAlias, get_args

from backstory.errors import InputError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue
from backstory.records.privacy_budget import Loss, Unit, decimal_text

Statistic = Literal["count", "sum", "mean", "rate", "histogram", "quantile"]
Plain: TypeAlias = "str | bool | int | float"
"""A value of a condition or a key."""

PUBLIC: Final = ("model", "day", "month")
"""What rows are put into cells by without reading what is sealed."""
OPERATORS: Final = ("=", "!=", "<", "<=", ">", ">=")
COLUMNS: Final = ("decision", "outcome", "output")
CELLS_MAX: Final = 10_000
ROWS_EACH_MAX: Final = 1_000
SIZE_MIN: Final = 1e-15
"""The least size of the larger bound: its steps are numbers a float tells from 0."""
SIZE_MAX: Final = 1e15
"""The largest size of a bound: sums of so many rows as an archive can hold stay finite."""
_WHERE_MAX: Final = 16
_TEXT_MAX: Final = 256
_FORMATS: Final = {"day": re.compile(r"\d{4}-\d{2}-\d{2}"), "month": re.compile(r"\d{4}-\d{2}")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a row has to fulfil to count: a comparison of one column with one value.

    Attributes:
        column: `output`, `decision`, `outcome` or `feature.<name>`.
        operator: One of `OPERATORS`. A missing value, or one of another type, fulfils none.
        value: What the column is compared with.
    """

    column: str
    operator: str
    value: Plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A figure that is asked for.

    Attributes:
        statistic: What is worked out.
        of: The column it is worked out of; None to count rows.
        where: Conditions, all of which a row fulfils.
        by: What cells are made by, each with its keys.
        model: Only predictions of this model, by name or as `name:version`; None for all.
        since: Only predictions recorded from this moment on, RFC 3339.
        until: Only predictions recorded before it.
        rows_each: How many rows of one person count at most, the latest.
        bounds: Least and largest value that counts as it is; of a histogram of numbers None.
        share: Of a quantile: below which share of the rows it lies.
        value: Of a rate: which value is counted; None for true.
        categories: Of a histogram: values; None where edges are given, or where what is found is the answer.
        edges: Of a histogram of numbers: where bins begin and end, rising; the last bin has its end.
        loss: What it may lose.
        unit: Whose presence is protected.
    """

    statistic: Statistic
    of: str | None
    where: tuple[Condition, ...]
    by: tuple[tuple[str, tuple[Plain, ...]], ...]
    model: str | None
    since: str | None
    until: str | None
    rows_each: int
    loss: Loss
    unit: Unit
    bounds: tuple[float, float] | None = None
    share: float | None = None
    value: Plain | None = None
    categories: tuple[Plain, ...] | None = None
    edges: tuple[float, ...] | None = None

    def document(self) -> JsonObject:
        """Return it as JSON without floats; equal for equal questions."""
        document: JsonObject = {
            "by": [[name, [_told(key) for key in keys]] for name, keys in self.by],
            "delta": decimal_text(self.loss.delta),
            "epsilon": decimal_text(self.loss.epsilon),
            "model": self.model,
            "of": self.of,
            "per_person": str(self.rows_each),
            "since": self.since,
            "statistic": self.statistic,
            "unit": self.unit,
            "until": self.until,
            "where": [[one.column, one.operator, _told(one.value)] for one in self.where],
        }
        extra: dict[str, JsonValue] = {
            "bounds": None if self.bounds is None else [repr(bound) for bound in self.bounds],
            "categories": None if self.categories is None else [_told(one) for one in self.categories],
            "edges": None if self.edges is None else [repr(edge) for edge in self.edges],
            "share": None if self.share is None else repr(self.share),
            "value": None if self.value is None else _told(self.value),
        }
        return document | {name: value for name, value in extra.items() if value is not None}

    def text(self) -> str:
        """Return the canonical JSON of `document`."""
        return canonical.encode(self.document()).decode()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it looks at, each once."""
        named = [self.of, *(one.column for one in self.where), *(name for name, _ in self.by)]
        return tuple(dict.fromkeys(name for name in named if name is not None and name not in PUBLIC))

    @property
    def keys(self) -> list[dict[str, Plain]]:
        """The keys of its cells, in order; one cell without any where nothing was listed."""
        names = [name for name, _ in self.by]
        return [dict(zip(names, keys, strict=True)) for keys in product(*(keys for _, keys in self.by))]

    @property
    def bins(self) -> list[str]:
        """What a histogram counts, in order, with what is none of it last; nothing where that is the answer."""
        if self.edges is not None:
            pairs = zip(self.edges, self.edges[1:], strict=False)
            return [*(f"{low!r} to {high!r}" for low, high in pairs), "(others)"]
        return [*map(str, self.categories), "(others)"] if self.categories is not None else []


def check(question: Question) -> Question:
    """Return a question after looking whether it can be asked; what records hold is not looked at.

    Raises:
        InputError: It cannot.
    """
    what = f"sharing: {question.statistic}"
    if question.statistic not in get_args(Statistic):
        raise InputError(f"sharing: expected a statistic of {', '.join(get_args(Statistic))}")
    if question.loss.epsilon <= 0:
        raise InputError(f"{what}: expected an epsilon above 0")
    if (
        isinstance(question.rows_each, bool)
        or not isinstance(question.rows_each, int)
        or not 1 <= question.rows_each <= ROWS_EACH_MAX
    ):
        raise InputError(f"{what}: expected per_person of 1 to {ROWS_EACH_MAX}")
    if (question.of is None) != (question.statistic == "count"):
        raise InputError(f"{what}: expected of= to name a column, except for a count")
    for column in (question.of, *(one.column for one in question.where)):
        if column is not None and not is_column(column):
            raise InputError(f"{what}: expected output, decision, outcome or feature.<name> as a column")
    _check_statistic(question, what)
    _check_cells(question, what)
    return question


def _check_statistic(question: Question, what: str) -> None:
    if question.statistic in {"sum", "mean", "quantile"}:
        if question.bounds is None:
            raise InputError(f"{what}: expected bounds=(least, largest): what lies outside counts as the nearer one")
        low, high = question.bounds
        if not (math.isfinite(low) and math.isfinite(high) and low < high and SIZE_MIN <= max(-low, high) <= SIZE_MAX):
            raise InputError(f"{what}: expected two rising bounds, the larger of a size from 1e-15 to 1e15")
    if question.statistic == "quantile" and not 0 < (question.share or 0) < 1:
        raise InputError(f"{what}: expected a share between 0 and 1, such as 0.5 for the median")
    edges = question.edges or ()
    if any(not math.isfinite(edge) for edge in edges) or list(edges) != sorted(set(edges)) or len(edges) == 1:
        raise InputError(f"{what}: expected at least two rising edges")
    finding = question.statistic == "histogram" and not edges and question.categories is None
    if finding and question.by:
        raise InputError(f"{what}: expected categories or edges: cells are listed before anything is read")
    if finding != (question.loss.delta > 0):
        raise InputError(
            f"{what}: expected a delta for a histogram without categories and edges, where which values there are is "
            "part of the answer, and none for anything else"
        )
    if _has_twins(question.categories or ()):
        raise InputError(f"{what}: expected each category once")
    if edges and question.categories is not None:
        raise InputError(f"{what}: expected categories or edges, got both")


def _check_cells(question: Question, what: str) -> None:
    names = [name for name, _ in question.by]
    if len(set(names)) < len(names) or len(question.where) > _WHERE_MAX:
        raise InputError(f"{what}: expected each of by once, and at most {_WHERE_MAX} conditions")
    for name, keys in question.by:
        if name not in PUBLIC and not is_column(name):
            raise InputError(f"{what}: expected {', '.join(PUBLIC)} or a column in by, got {name!r}")
        if not keys or _has_twins(keys):
            raise InputError(
                f"{what}: expected the keys of {name}, each once: a cell is there whether or not it is empty"
            )
        if name in _FORMATS and not all(isinstance(key, str) and _FORMATS[name].fullmatch(key) for key in keys):
            raise InputError(f"{what}: expected keys of {name} such as 2026-03 of a month or 2026-03-01 of a day")
    count = math.prod(len(keys) for _, keys in question.by) * max(len(question.bins), 1)
    if count > CELLS_MAX:
        raise InputError(f"{what}: expected at most {CELLS_MAX:,} cells, got {count:,}")


def _has_twins(keys: Sequence[Plain]) -> bool:
    """Say whether two keys are the same value; true is no 1, and 1 is 1.0."""
    return len({(isinstance(key, bool), isinstance(key, str), key) for key in keys}) < len(keys)


def is_column(name: object) -> bool:
    """Say whether a name is of a column that figures can be of."""
    return isinstance(name, str) and (name in COLUMNS or (name.startswith("feature.") and len(name) > len("feature.")))


def conditions_of(given: Iterable[tuple[str, str, Any]]) -> tuple[Condition, ...]:
    """Return conditions from `(column, operator, value)`.

    Raises:
        InputError: One is something else.
    """
    found = []
    for one in given:
        if isinstance(one, str) or len(one) != len(("column", "operator", "value")) or one[1] not in OPERATORS:
            raise InputError(f"sharing: expected conditions of a column, one of {' '.join(OPERATORS)}, and a value")
        found.append(Condition(column=str(one[0]), operator=one[1], value=plain_value(one[2])))
    return tuple(found)


def keys_of(given: Mapping[str, Sequence[Any]]) -> tuple[tuple[str, tuple[Plain, ...]], ...]:
    """Return what cells are made by, from a mapping of names to lists of keys.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(given, Mapping) or any(isinstance(keys, str) for keys in given.values()):
        raise InputError(
            'sharing: expected by= to map each name to its keys, such as {"feature.region": ["north", "south"]}: keys '
            "are listed, as to find them would tell who is there"
        )
    return tuple((str(name), tuple(map(plain_value, keys))) for name, keys in given.items())


def plain_value(value: Any) -> Plain:  # noqa: ANN401  what somebody gave, of NumPy too
    """Return a value of a condition, a key or a category.

    Raises:
        InputError: It is no text, number or truth value.
    """
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, str | int | float) or (
        not isinstance(value, str) and not -sys.float_info.max <= value <= sys.float_info.max
    ):
        raise InputError(f"sharing: expected a text, a finite number, true or false, got {type(value).__name__}")
    if isinstance(value, str) and len(value) > _TEXT_MAX:
        raise InputError(f"sharing: expected a text of at most {_TEXT_MAX} characters")
    return value


def moment_text(given: str | datetime | None) -> str | None:
    """Return a moment as a question says it."""
    return given.isoformat() if isinstance(given, datetime) else given


def _told(value: Plain) -> JsonValue:
    if isinstance(value, bool | str):
        return value
    return {"int": str(value)} if isinstance(value, int) else {"float": repr(value)}
