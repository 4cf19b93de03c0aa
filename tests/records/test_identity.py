"""Ids rise whatever the clock does, and times have one text."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory.errors import FormatError
from backstory.records.identity import ID_SIZE, check_digest, id_number, id_text, next_ids, parse_time, time_text

TIMES = st.integers(-(2**40), 2**49)
RANDOM = st.integers(0, 2**74 - 1) | st.just(2**74 - 1) | st.just(0)
CALLS = st.lists(st.tuples(TIMES, RANDOM, st.integers(1, 2**32 - 1)), min_size=1, max_size=20)


def insist_uuid(number):
    """Insist that a number is a UUID version 7."""
    identity = uuid.UUID(bytes=number.to_bytes(ID_SIZE, "big"))
    assert (identity.version, identity.variant) == (7, uuid.RFC_4122)


@given(CALLS)
def test_ids_rise_under_any_clock(calls):
    """Each run of ids lies above the one before, in UUIDs of version 7, whatever clock and chance say."""
    last = 0
    for time_ms, random, count in calls:
        first, end = next_ids(last, time_ms, random, count)
        assert last < first
        assert end == first + count - 1
        assert first >> 62 == end >> 62, "only the low 62 bits change in a run"
        insist_uuid(first)
        insist_uuid(end)
        last = end


@given(TIMES, RANDOM, st.integers(1, 2**32 - 1), st.integers(0, 3))
def test_ids_carry_over_at_the_end_of_a_millisecond(time_ms, random, count, left):
    """When the low bits run out, the next millisecond begins."""
    previous = id_number(2**47, 2**74 - 1 - left)
    first, _ = next_ids(previous, min(time_ms, 2**46), random, count)
    assert first > previous
    insist_uuid(first)


@given(st.binary(min_size=16, max_size=16))
def test_id_text_is_the_uuids(data):
    """The text of an id is that of the standard library."""
    assert id_text(data) == str(uuid.UUID(bytes=data))


@given(st.integers(-(2**62), 2**62))
def test_time_text_is_invertible(time_ns):
    """A time and its text say the same nanosecond."""
    assert parse_time(time_text(time_ns)) == time_ns


@pytest.mark.parametrize(
    "text",
    ["2026-01-01T00:00:00Z", "2026-13-01T00:00:00.000000000Z", "2026-01-01T00:00:00.000000000", "", "2026-01-01"],
)
def test_other_times_are_refused(text):
    """Only nine fractional digits, Z, and a day of the calendar are a time."""
    with pytest.raises(FormatError):
        parse_time(text)


@pytest.mark.parametrize("text", ["", "A" * 64, "a" * 63, "a" * 65, None, 7, "g" * 64, "a" * 64 + "\n"])
def test_digests_are_64_lower_case_digits(text):
    """Nothing else is a digest."""
    with pytest.raises(FormatError):
        check_digest(text, "test")
