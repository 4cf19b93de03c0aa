"""Terms: on which day something is due, and at which moment that day ends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import InputError
from backstory.governance.clocks import CLOCKS, Term, add_term, clock_named, due_ns, is_business_day

DAYS = st.dates(date(1990, 1, 1), date(2200, 1, 1))
COUNTS = st.integers(0, 400)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/Denver", "Pacific/Apia", "America/Sao_Paulo", "Asia/Kolkata"])
MOMENTS = st.integers(0, 7_000_000_000).map(lambda seconds: seconds * 10**9)


def ns(*parts):
    """Return a moment of UTC in nanoseconds."""
    return int((datetime(*parts, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**9


def text(moment):
    """Return a moment as RFC 3339."""
    return datetime.fromtimestamp(moment // 10**9, UTC).isoformat()


@pytest.mark.parametrize(
    ("name", "began", "due"),
    [
        ("eu-request", (2027, 1, 31, 12), "2027-02-28T23:59:59+00:00"),
        ("eu-request", (2026, 11, 23), "2026-12-23T23:59:59+00:00"),
        ("us-reg-b", (2026, 11, 23), "2026-12-23T23:59:59+00:00"),
        ("us-co-adverse", (2027, 2, 1), "2027-03-03T23:59:59+00:00"),
        ("us-nyc-hiring", (2026, 11, 23), "2026-11-09T23:59:59+00:00"),
    ],
)
def test_known_terms(name, began, due):
    """Each term of the table ends where a calendar on the wall says."""
    assert text(due_ns(ns(*began), clock_named(name).term)) == due


def test_a_day_ends_in_its_own_zone():
    """Late in the evening in Denver it is the next day in UTC, and the term begins a day earlier."""
    began = ns(2026, 11, 24, 3)
    assert text(due_ns(began, Term(30, "days"))) == "2026-12-24T23:59:59+00:00"
    assert text(due_ns(began, Term(30, "days"), zone="America/Denver")) == "2026-12-24T06:59:59+00:00"


def test_an_extension_begins_where_the_term_ends():
    """A month and two more are three; from the end of January they are not the end of April but of its day."""
    began = ns(2027, 1, 31)
    assert text(due_ns(began, Term(1, "months"), extension=Term(2, "months"))) == "2027-04-28T23:59:59+00:00"


def test_holidays_are_no_business_days():
    """A holiday moves the end by one business day."""
    holidays = {date(2026, 12, 25)}
    assert add_term(date(2026, 12, 24), Term(1, "business days"), holidays) == date(2026, 12, 28)
    assert not is_business_day(date(2026, 12, 25), holidays)


@given(DAYS, COUNTS, st.sets(DAYS, max_size=20))
def test_business_days_are_counted(day, count, holidays):
    """As many business days lie after the beginning, up to the end, and the end is one of them."""
    end = add_term(day, Term(count, "business days"), holidays)
    between = [day + timedelta(days=n) for n in range(1, (end - day).days + 1)]
    assert sum(is_business_day(one, holidays) for one in between) == count
    assert not count or is_business_day(end, holidays)


@given(DAYS, COUNTS, st.sets(DAYS, max_size=20))
def test_business_days_before_are_counted_too(day, count, holidays):
    """What is due before a moment is due on a business day, as many of them away."""
    end = add_term(day, Term(-count, "business days"), holidays)
    between = [day - timedelta(days=n) for n in range(1, (day - end).days + 1)]
    assert sum(is_business_day(one, holidays) for one in between) == count


@given(DAYS, COUNTS)
def test_months_keep_the_day_or_end_the_month(day, count):
    """The day of the month is the same, or the last one where the month has no such day."""
    end = add_term(day, Term(count, "months"))
    assert (end.year - day.year) * 12 + end.month - day.month == count
    assert end.day == day.day or (end.day < day.day and (end + timedelta(days=1)).day == 1)


@given(MOMENTS, MOMENTS, COUNTS, st.sampled_from(["days", "business days", "months"]), ZONES)
def test_later_beginnings_end_no_earlier(one, other, count, unit, zone):
    """A term that begins later never ends earlier, and none ends before it begins."""
    first, second = sorted([one, other])
    term = Term(count, unit)
    assert first <= due_ns(first, term, zone=zone) <= due_ns(second, term, zone=zone)


def test_every_term_says_where_it_stands():
    """A term names what it runs from and its source."""
    assert all(one.source and one.runs_from and one.term.count for one in CLOCKS.values())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: clock_named("eu-forever"),
        lambda: due_ns(0, Term(1, "days"), zone="Mars/Olympus"),
        lambda: due_ns(0, Term(10_000, "days")),
        lambda: due_ns(-(2**62) * 50, Term(1, "days")),
    ],
)
def test_what_has_no_end_is_refused(wrong):
    """An unknown clock, an unknown zone, a term beyond measure."""
    with pytest.raises(InputError):
        wrong()
