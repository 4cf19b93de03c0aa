"""Checking one record against a contract, in microseconds: which rules a mapping of plain Python values breaks.

The rules are compiled once into small functions. They mean what `contract_rows` means by them: the same row breaks the
same rules. Rules that need a whole table are not looked at, and are named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, TypeAlias

from backstory.frames.contract import (
    Contract,
    HasLength,
    InRange,
    Matches,
    MultipleOf,
    NotMissing,
    NotNull,
    OfType,
    OneOf,
    Rule,
    Scalar,
    Test,
)
from backstory.frames.contract_bounds import (
    as_decimal,
    at_midnight,
    days,
    float_limits,
    is_temporal,
    whole_limits,
    with_zone,
    without_zone,
)
from backstory.frames.contract_pattern import matcher
from backstory.frames.contract_rows import RELATIVE_ERROR

Holds: TypeAlias = "Callable[[Any], bool]"

_ABSENT: Final = object()
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_PLAIN: Final = frozenset({bool, bytes, date, datetime, Decimal, dict, float, int, list, str, time, tuple})
_FAMILIES: Final = (bool, str, datetime, date, time, Decimal)
"""Types of values that are never equal to each other; a moment is a date to Python, so it stands first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """The rules about one column."""

    name: str
    if_absent: tuple[str, ...]
    if_null: tuple[str, ...]
    tests: tuple[tuple[str, Holds], ...]


class RecordCheck:
    """Says which rules of a contract a record breaks.

    Attributes:
        skipped: Ids of the rules that need a whole table, or are about columns that are not looked at.
    """

    __slots__ = ("_columns", "_order", "skipped")

    def __init__(self, contract: Contract, columns: Collection[str] | None) -> None:
        rules = [
            rule for rule in contract.rules if not rule.needs_table and (columns is None or rule.column in columns)
        ]
        kept = {rule.id for rule in rules}
        self.skipped = tuple(rule.id for rule in contract.rules if rule.id not in kept)
        self._order = {rule.id: place for place, rule in enumerate(rules)}.__getitem__
        names = dict.fromkeys(str(rule.column) for rule in rules)
        self._columns = tuple(_column(name, [rule for rule in rules if rule.column == name]) for name in names)

    def __call__(self, record: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the ids of the rules a record breaks, in the order of the contract.

        Args:
            record: Values by column, as Python has them; a column that is not there breaks its rule of type.
        """
        broken: list[str] = []
        for column in self._columns:
            value = record.get(column.name, _ABSENT)
            if value is None:
                broken += column.if_null
                continue
            if type(value) not in _PLAIN:
                if value is _ABSENT:
                    broken += column.if_absent
                    continue
                value = _plain(value)
            for name, holds in column.tests:
                if not holds(value):
                    broken.append(name)
        if len(broken) > 1:
            broken.sort(key=self._order)
        return tuple(broken)


def compile_record_check(contract: Contract, columns: Collection[str] | None = None) -> RecordCheck:
    """Return a check of single records, to be kept: compiling takes longer than checking.

    Args:
        contract: The contract.
        columns: The columns a record has; rules about others are skipped. All of the contract without it.
    """
    return RecordCheck(contract, None if columns is None else frozenset(columns))


def _column(name: str, rules: list[Rule]) -> _Column:
    return _Column(
        name=name,
        if_absent=tuple(rule.id for rule in rules if isinstance(rule.test, OfType)),
        if_null=tuple(
            rule.id
            for rule in rules
            if isinstance(rule.test, NotNull) or (isinstance(rule.test, NotMissing) and rule.test.null)
        ),
        tests=tuple((rule.id, _compiled(rule.test)) for rule in rules if _looks_at_values(rule.test)),
    )


def _looks_at_values(test: Test) -> bool:
    return not isinstance(test, NotNull) and test != OfType(type=None)


def _plain(value: Any) -> Any:
    """Return a value of NumPy or a class of its own as the plain one it stands for, where there is one."""
    item = getattr(value, "item", None)
    if callable(item) and type(value).__module__ == "numpy":
        return item()
    return value


def _compiled(test: Test) -> Holds:
    match test:
        case OfType():
            return _of_type(test)
        case InRange():
            return _in_time(test) if any(is_temporal(bound) for bound in test.bounds) else _in_range(test)
        case OneOf():
            return _among(test.values)
        case NotMissing():
            among = _among(test.values)
            return lambda value: not among(value)
        case Matches():
            found = matcher(test.pattern)
            return lambda value: isinstance(value, str) and found(value)
        case HasLength():
            return _has_length(test)
        case MultipleOf():
            return _is_multiple(test)
    raise AssertionError(test)


def _of_type(test: OfType) -> Holds:
    def is_moment(value: Any) -> bool:
        return isinstance(value, datetime) and test.zoned in {None, value.tzinfo is not None}

    def is_vector(value: Any) -> bool:
        return isinstance(value, list | tuple) and all(is_number(item) for item in value)

    def is_number(value: Any) -> bool:
        return isinstance(value, int | float | Decimal) and not isinstance(value, bool)

    return {
        "array": lambda value: isinstance(value, list | tuple),
        "boolean": lambda value: isinstance(value, bool),
        "date": lambda value: isinstance(value, date) and not isinstance(value, datetime),
        "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
        "map": lambda value: isinstance(value, dict | list),
        "number": is_number,
        "object": lambda value: isinstance(value, dict),
        "string": lambda value: isinstance(value, str),
        "time": lambda value: isinstance(value, time),
        "timestamp": is_moment,
        "vector": is_vector,
    }[str(test.type)]


def _in_range(test: InRange) -> Holds:
    least, greatest = whole_limits(test, Fraction(1), Fraction)
    low, high = (-math.inf if least is None else least), (math.inf if greatest is None else greatest)
    low_float, high_float = float_limits(test)
    low_decimal = None if test.low is None else as_decimal(test.low)
    high_decimal = None if test.high is None else as_decimal(test.high)

    def holds(value: Any) -> bool:
        if isinstance(value, float):
            return low_float <= value <= high_float
        if isinstance(value, int):
            return low <= value <= high and value is not True and value is not False
        if not isinstance(value, Decimal):
            return False
        if low_decimal is not None and not (value > low_decimal if test.low_open else value >= low_decimal):
            return False
        return high_decimal is None or (value < high_decimal if test.high_open else value <= high_decimal)

    return holds


def _in_time(test: InRange) -> Holds:
    if any(not hasattr(bound, "year") for bound in test.bounds):
        return _between(test, time, lambda bound: bound)
    least, greatest = whole_limits(test, Fraction(1), days)
    low, high = (-math.inf if least is None else least), (math.inf if greatest is None else greatest)
    zoned = _between(test, datetime, lambda bound: with_zone(at_midnight(bound), test.zone))
    wall = _between(test, datetime, lambda bound: without_zone(at_midnight(bound), test.zone))

    def holds(value: Any) -> bool:
        if isinstance(value, datetime):
            return wall(value) if value.tzinfo is None else zoned(value)
        return isinstance(value, date) and low <= value.toordinal() - _EPOCH_ORDINAL <= high

    return holds


def _between(test: InRange, kind: type, converted: Callable[[Any], Any]) -> Holds:
    low = None if test.low is None else converted(test.low)
    high = None if test.high is None else converted(test.high)

    def holds(value: Any) -> bool:
        if not isinstance(value, kind):
            return False
        if low is not None and not (value > low if test.low_open else value >= low):
            return False
        return high is None or (value < high if test.high_open else value <= high)

    return holds


def _family(value: Any) -> type:
    return next((kind for kind in _FAMILIES if isinstance(value, kind)), float)


def _among(values: tuple[Scalar, ...]) -> Holds:
    """Return a function that looks a value up among those of its own sort; numbers of any type are one sort."""
    sets: dict[type, set[Any]] = {}
    for value in values:
        sets.setdefault(_family(value), set()).add(value)
        if _family(value) is float:
            sets.setdefault(Decimal, set()).add(as_decimal(value))
    if set(sets) == {str}:
        texts = frozenset(sets[str])
        return lambda value: isinstance(value, str) and value in texts

    def holds(value: Any) -> bool:
        among = sets.get(_family(value))
        return among is not None and _is_hashable(value) and value in among

    return holds


def _is_hashable(value: Any) -> bool:
    return not isinstance(value, list | dict)


def _has_length(test: HasLength) -> Holds:
    low, high = (test.low or 0), (math.inf if test.high is None else test.high)
    return lambda value: isinstance(value, str | list | tuple) and low <= len(value) <= high


def _is_multiple(test: MultipleOf) -> Holds:
    divisor = test.divisor

    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            return False
        if isinstance(value, int) and isinstance(divisor, int):
            return value % divisor == 0
        times = float(value) / float(divisor)
        return math.isfinite(times) and abs(times - round(times)) <= RELATIVE_ERROR * max(1.0, abs(times))

    return holds
