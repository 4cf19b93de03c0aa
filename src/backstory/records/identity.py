"""Ids and times as the formats write them. Pure: the clock and the randomness come from the caller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from backstory.errors import FormatError
from backstory.records.canonical import JsonValue

ID_SIZE = 16
ID_CHARACTERS = 36
"""Length of an id's text."""
_LAST_BITS = 48
_LAST: int = 2**_LAST_BITS - 1
"""The last group of an id's text."""
_LOW_BITS = 2**62 - 1
_TIME_MS_MAX = 2**48 - 1
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEX_ID = re.compile(r"[0-9a-f]{32}")


def id_number(time_ms: int, random: int) -> int:
    """Return a UUID version 7 as an integer.

    Args:
        time_ms: Milliseconds since the epoch, below 2**48.
        random: 74 random bits.

    Source: RFC 9562 section 5.7.
    """
    high, low = random >> 62, random & (2**62 - 1)
    return (time_ms << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low


def next_ids(previous: int, time_ms: int, random: int, count: int) -> tuple[int, int]:
    """Return the first and last of `count` consecutive ids, all above `previous`.

    Ids of one call differ only in their low 62 bits and rise by one; the random part keeps room for that.

    Args:
        previous: Last id given out, 0 before the first.
        time_ms: Milliseconds since the epoch now; a clock that went back is overruled by `previous`.
        random: 74 random bits.
        count: How many, at least 1.
    """
    room = _LOW_BITS + 1 - count
    low = (random & _LOW_BITS) % (room // 2)
    first = id_number(min(max(time_ms, 0), _TIME_MS_MAX), (random >> 62 << 62) | low)
    if first <= previous:
        fits = (previous & _LOW_BITS) + 1 <= room
        first = previous + 1 if fits else id_number((previous >> 80) + 1, low)
    return first, first + count - 1


def check_hex_id(text: str, what: str) -> str:
    """Return the hex form of an id or stream if it is 32 lower-case hex digits.

    Raises:
        FormatError: It is not.
    """
    if not _HEX_ID.fullmatch(text):
        raise FormatError(f"{what}: expected 32 lower-case hex digits")
    return text


def id_text(data: bytes) -> str:
    """Return the text of an id, 36 characters.

    >>> id_text(bytes(16))
    '00000000-0000-0000-0000-000000000000'
    """
    if len(data) != ID_SIZE:
        raise FormatError(f"id: expected {ID_SIZE} bytes, got {len(data)}")
    return id_text_of(int.from_bytes(data, "big"))


def id_text_of(number: int) -> str:
    """Return the text of an id given as an integer below 2**128.

    >>> id_text_of(1)
    '00000000-0000-0000-0000-000000000001'
    """
    return _id_head(number >> _LAST_BITS) + (number & _LAST).to_bytes(_LAST_BITS // 8, "big").hex()


@lru_cache(256)
def _id_head(number: int) -> str:
    """Return an id's text up to the last group, which ids made one after the other have in common."""
    digits = f"{number:020x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:]}-"


def time_text(time_ns: int) -> str:
    """Return a time as RFC 3339 text with nine fractional digits.

    >>> time_text(1)
    '1970-01-01T00:00:00.000000001Z'
    """
    seconds, fraction = divmod(time_ns, 10**9)
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]}.{fraction:09d}Z"


def parse_time(text: str) -> int:
    """Return the nanoseconds since the epoch that `time_text` wrote.

    Raises:
        FormatError: Not that form.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise FormatError("time: expected RFC 3339 with nine fractional digits and Z")
    try:
        moment = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise FormatError("time: not a date of the calendar") from error
    return round((moment - _EPOCH).total_seconds()) * 10**9 + int(match[2])


def check_digest(text: object, what: str) -> str:
    """Return a digest's text if it is 64 lower-case hex digits.

    Raises:
        FormatError: It is not.
    """
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise FormatError(f"{what}: expected a digest of 64 lower-case hex digits")
    return text


def digests_in(value: JsonValue) -> Iterator[str]:
    """Yield every text in a document that has the form of a digest."""
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from digests_in(item)
