"""Recorded values as JSON and as text for a reader. Nothing is rounded; what has no JSON form becomes text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

TEXT_CHARACTERS_MAX = 80
"""Longer text and bytes are cut for a reader, with their length; JSON has them whole."""

ITEM_COUNT_MAX = 8
"""A longer list is cut for a reader; JSON has it whole."""


def plain(value: Any) -> Any:
    r"""Return a value as JSON has it.

    Args:
        value: What Arrow gives for a recorded value.

    Returns:
        Numbers, booleans, text and null as they are; bytes in hex, moments in ISO 8601, decimals and durations as
        text, and the three floats JSON does not have as `NaN`, `Infinity` and `-Infinity`.

    >>> plain({"x": b"\x01", "y": float("inf")})
    {'x': '01', 'y': 'Infinity'}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _NOT_FINITE[str(value)]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime | date | time):
        return _moment(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def shown(value: Any) -> str:
    r"""Return a value as a reader should see it, on one line and without control characters.

    >>> shown("a\x1b"), shown(0.1), shown(None), shown({"late": 0.25})
    ("'a\\x1b'", '0.1', 'null', 'late 0.25')
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        cut = value[:TEXT_CHARACTERS_MAX]
        return repr(value) if cut == value else f"{cut!r}… ({len(value):,} characters)"
    if isinstance(value, bytes):
        cut = value[: TEXT_CHARACTERS_MAX // 2].hex()
        return cut if len(cut) == 2 * len(value) else f"{cut}… ({len(value):,} bytes)"
    if isinstance(value, datetime | date | time):
        return _moment(value)
    if isinstance(value, Mapping):
        return named(value)
    if isinstance(value, list | tuple):
        items = ", ".join(shown(item) for item in value[:ITEM_COUNT_MAX])
        return f"[{items}]" if len(value) <= ITEM_COUNT_MAX else f"[{items}, … {len(value):,} items]"
    return str(value)


def named(values: Mapping[str, Any]) -> str:
    """Return named values for a reader: `origin 'JFK', hour 9`."""
    return ", ".join(f"{label(name)} {shown(value)}" for name, value in values.items())


def label(name: object) -> str:
    """Return a name for a reader; quoted if it could be taken for something else."""
    text = str(name)
    return text if text.isprintable() and text and text.strip() == text else repr(text)


def count_text(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun; the plural is the noun with an s where none is given.

    >>> count_text(1, "row"), count_text(1429, "prediction")
    ('1 row', '1,429 predictions')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def to_second(moment: str) -> str:
    """Return a moment as tables have it.

    >>> to_second("2026-01-02T03:04:05.000000006Z")
    '2026-01-02T03:04:05Z'
    """
    return moment.partition(".")[0] + "Z" if "." in moment else moment


def printable(text: str) -> str:
    r"""Return text with every character a terminal would act on, or not show, escaped; line breaks stay.

    >>> printable("a\x1b[1m")
    'a\\x1b[1m'
    """
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _moment(value: datetime | date | time) -> str:
    return value.isoformat().replace("+00:00", "Z")
