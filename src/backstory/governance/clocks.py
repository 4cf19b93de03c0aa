"""By when something is due: terms in days, business days and months, and the terms that are known. Pure.

A term runs from a moment that somebody recorded, such as when an application was complete, never from when a record was
made. It ends with a day in a time zone. Where the last day is a holiday or a Sunday some laws give until the next
working day; the day named here is the earlier one. Nothing here says which law applies to whom.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backstory.errors import InputError

Unit = Literal["days", "business days", "months"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)
_SATURDAY: Final = 5
_MONTHS: Final = 12
_COUNT_MAX: Final = 3_660


@dataclass(frozen=True, slots=True)
class Term:
    """A length of time as laws give it.

    Attributes:
        count: How many; negative for what is due before a moment, not after it.
        unit: Of what.
    """

    count: int
    unit: Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A term that is known, and what it runs from.

    Attributes:
        name: What a notice or a request names it by.
        runs_from: What happens at its beginning.
        term: How long it is.
        extension: By how much it may be extended; None if it may not.
        source: Where that stands.
    """

    name: str
    runs_from: str
    term: Term
    extension: Term | None
    source: str


CLOCKS: Final = MappingProxyType(
    {
        one.name: one
        for one in (
            Clock(
                name="eu-request",
                runs_from="the request was received",
                term=Term(1, "months"),
                extension=Term(2, "months"),
                source="Regulation (EU) 2016/679 (GDPR), Article 12(3)",
            ),
            Clock(
                name="eu-explanation",
                runs_from="the request was received",
                term=Term(1, "months"),
                extension=None,
                source="Regulation (EU) 2024/1689, Article 86, states no term; a month is our own choice",
            ),
            Clock(
                name="us-reg-b",
                runs_from="a completed application was received",
                term=Term(30, "days"),
                extension=None,
                source="12 CFR 1002.9(a)(1)(i) (Regulation B)",
            ),
            Clock(
                name="us-co-adverse",
                runs_from="the adverse outcome",
                term=Term(30, "days"),
                extension=None,
                source="Colorado SB 26-189, from 2027 on",
            ),
            Clock(
                name="us-nyc-hiring",
                runs_from="the tool is used",
                term=Term(-10, "business days"),
                extension=None,
                source="New York City Local Law 144 of 2021; 6 RCNY 5-300 ff.",
            ),
        )
    }
)
"""Terms by name. Others are given with the notice or request, as the moment it is due."""


def clock_named(name: str) -> Clock:
    """Return a known term.

    Raises:
        InputError: There is none of that name.
    """
    if name not in CLOCKS:
        raise InputError(f"clock: expected one of {', '.join(sorted(CLOCKS))}, got {name!r}")
    return CLOCKS[name]


def due_ns(
    began_ns: int,
    term: Term,
    *,
    zone: str = "UTC",
    holidays: Collection[date] = (),
    extension: Term | None = None,
) -> int:
    """Return the last microsecond of the day on which a term ends, in nanoseconds since the epoch.

    Args:
        began_ns: The moment it runs from, in nanoseconds since the epoch.
        term: How long it is.
        zone: The time zone whose days count, such as `Europe/Berlin`.
        holidays: Days that are no business days though they are Monday to Friday.
        extension: A term that is added to the day on which the first ends.

    Raises:
        InputError: The time zone is not known, or the term leads out of the calendar.
    """
    where = _zone(zone)
    try:
        began = (_EPOCH + timedelta(microseconds=began_ns // 1000)).astimezone(where).date()
        last = add_term(began, term, holidays)
        if extension is not None:
            last = add_term(last, extension, holidays)
        # The day that follows begins at its first moment there: clocks that are set forward at midnight have no 00:00.
        end = datetime.combine(last + _DAY, datetime.min.time(), where).astimezone(UTC) - _MICROSECOND
    except OverflowError as error:
        raise InputError("clock: expected a term that ends within the calendar") from error
    return (end - _EPOCH) // _MICROSECOND * 1000


def add_term(day: date, term: Term, holidays: Collection[date] = ()) -> date:
    """Return the day on which a term that begins on a day ends.

    >>> add_term(date(2027, 1, 31), Term(1, "months")), add_term(date(2026, 11, 20), Term(2, "business days"))
    (datetime.date(2027, 2, 28), datetime.date(2026, 11, 24))

    Raises:
        InputError: The term is longer than ten years.
        OverflowError: It leads out of the calendar.
    """
    if abs(term.count) > _COUNT_MAX:
        raise InputError(f"clock: expected a term of at most {_COUNT_MAX} {term.unit}, got {term.count}")
    if term.unit == "days":
        return day + term.count * _DAY
    if term.unit == "months":
        return _add_months(day, term.count)
    step, left = (_DAY if term.count > 0 else -_DAY), abs(term.count)
    while left:
        day += step
        left -= is_business_day(day, holidays)
    return day


def is_business_day(day: date, holidays: Collection[date] = ()) -> bool:
    """Say whether a day is one of Monday to Friday and no holiday."""
    return day.weekday() < _SATURDAY and day not in holidays


def _add_months(day: date, count: int) -> date:
    years, month = divmod(day.month - 1 + count, _MONTHS)
    year = day.year + years
    if not date.min.year <= year <= date.max.year:
        raise OverflowError
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(f"clock: expected a time zone such as Europe/Berlin, got {name!r}") from error
