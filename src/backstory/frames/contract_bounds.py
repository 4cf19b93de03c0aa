"""Bounds of a range in the units of a column, so that comparing is exact whatever type the column has.

Integers, decimals, dates and times are whole numbers of some unit, so a bound, open or not, becomes the nearest whole
number inside it. Floats are compared as float64, with the nearest float inside the bound.
"""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from backstory.frames.contract import Bound, InRange

Limits: TypeAlias = "tuple[int | None, int | None]"

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  wall clock; moments are brought to one zone first
_EPOCH_DAY: Final = date(1970, 1, 1)
NS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Nanoseconds in the units Arrow has."""


def is_temporal(bound: Bound) -> bool:
    """Return whether a bound is a date, a moment or a time of day."""
    return isinstance(bound, date | time)


def whole_limits(test: InRange, unit: Fraction, measure: Callable[[Any], Any]) -> Limits:
    """Return the least and the greatest whole number of units in a range; None where it has no such bound.

    Args:
        test: The range.
        unit: The unit.
        measure: Gives a bound as a number.
    """
    low = high = None
    if test.low is not None:
        at = Fraction(measure(test.low)) / unit
        low = math.floor(at) + 1 if test.low_open else math.ceil(at)
    if test.high is not None:
        at = Fraction(measure(test.high)) / unit
        high = math.ceil(at) - 1 if test.high_open else math.floor(at)
    return low, high


def float_limits(test: InRange) -> tuple[float, float]:
    """Return the least and the greatest float in a range."""
    low = -math.inf if test.low is None else _float_inside(test.low, math.inf, is_open=test.low_open)
    high = math.inf if test.high is None else _float_inside(test.high, -math.inf, is_open=test.high_open)
    return low, high


def _float_inside(bound: Any, inside: float, *, is_open: bool) -> float:
    """Return the first float that a bound lets in.

    Args:
        bound: The bound.
        inside: Which way the range lies from it: one of the infinities.
        is_open: Whether the bound itself is outside.
    """
    exact = Fraction(bound)
    try:
        value = float(bound)
    except OverflowError:  # an integer that no float reaches
        return inside if (inside > 0) == (exact > 0) else -math.copysign(math.nextafter(math.inf, 0), inside)
    is_outside = exact > Fraction(value) if inside > 0 else exact < Fraction(value)
    return math.nextafter(value, inside) if is_outside or (is_open and exact == Fraction(value)) else value


def as_decimal(bound: Any) -> Decimal:
    """Return a bound as it was written: 0.1 is a tenth."""
    return Decimal(repr(bound))


def days(bound: Any) -> Fraction:
    """Return a date or moment in days since 1970."""
    if isinstance(bound, datetime):
        return Fraction(nanoseconds(bound, None, "UTC"), 86_400 * 10**9)
    return Fraction((bound - _EPOCH_DAY).days)


def nanoseconds(bound: Any, column_zone: str | None, zone: str) -> int:
    """Return a date or moment in nanoseconds since 1970, as a column counts them.

    Args:
        bound: The date or moment.
        column_zone: The column's time zone; None where its moments have none.
        zone: What zone moments without one are in.
    """
    moment = at_midnight(bound)
    if column_zone is not None:
        wall = with_zone(moment, zone).astimezone(timezone.utc).replace(tzinfo=None)  # noqa: UP017
    else:
        wall = without_zone(moment, zone)
    return (wall - _EPOCH) // timedelta(microseconds=1) * 1000


def time_nanoseconds(bound: Any) -> int:
    """Return a time of day in nanoseconds since midnight."""
    seconds = (int(bound.hour) * 60 + int(bound.minute)) * 60 + int(bound.second)
    return seconds * 10**9 + int(bound.microsecond) * 1000


def at_midnight(bound: Any) -> datetime:
    """Return a moment; of a date its first."""
    return bound if isinstance(bound, datetime) else datetime(bound.year, bound.month, bound.day)  # noqa: DTZ001


def with_zone(moment: datetime, zone: str) -> datetime:
    """Return a moment with a zone: its own, or this one."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=ZoneInfo(zone))


def without_zone(moment: datetime, zone: str) -> datetime:
    """Return what a clock in a zone shows at a moment."""
    return moment if moment.tzinfo is None else moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
