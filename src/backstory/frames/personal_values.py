"""What the values of a column suggest about whom they tell. Values are looked at and counted, and never said.

A check sum (IBAN, card numbers) makes chance unlikely; a pattern alone does not. What is found is advice: a column in
which nothing is found may tell everything about a person.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import is_text
from backstory.frames.personal_names import Hint
from backstory.records.sensitivity import IDENTIFYING, PSEUDONYMOUS

VALUES_MAX: Final = 2_000
"""Different values that are looked at, of a column."""
SHARE_MIN: Final = 0.2
"""Of so many of them a pattern must hold, to say that a column holds such things."""
_SHARE_OF_NUMBERS: Final = 0.8
"""One number in ten has the check digit of a card by chance."""
_WORDS_MIN: Final = 3
_TEXT_LENGTH_MIN: Final = 24
_CARD: Final = (13, 19)
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_PATTERNS: Final = (
    (Hint(IDENTIFYING, "e-mail addresses"), re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")),
    (Hint(IDENTIFYING, "telephone numbers"), re.compile(r"(\+[0-9]|\(?0)[0-9 ()/.-]{6,18}[0-9]")),
    (Hint(IDENTIFYING, "social security numbers"), re.compile(r"[0-9]{3}-[0-9]{2}-[0-9]{4}")),
    (Hint(IDENTIFYING, "network addresses"), re.compile(r"([0-9]{1,3}\.){3}[0-9]{1,3}")),
    (Hint(PSEUDONYMOUS, "UUIDs"), re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")),
)  # fmt: skip


def is_iban(text: str) -> bool:
    """Say whether a text is an IBAN with a right check sum (ISO 13616).

    >>> is_iban("DE89 3704 0044 0532 0130 00"), is_iban("DE89 3704 0044 0532 0130 01")
    (True, False)
    """
    plain = text.replace(" ", "").upper()
    if not plain.isascii() or not _IBAN.fullmatch(plain):
        return False
    return int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def is_card_number(text: str) -> bool:
    """Say whether a text is a number of 13 to 19 digits with the check digit of a card (ISO/IEC 7812).

    >>> is_card_number("4111 1111 1111 1111"), is_card_number("4111 1111 1111 1112")
    (True, False)
    """
    plain = re.sub(r"[ -]", "", text)
    if not plain.isascii() or not plain.isdigit() or not _CARD[0] <= len(plain) <= _CARD[1]:
        return False
    doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(plain))]
    return sum(one - 9 * (one > 9) for one in doubled) % 10 == 0  # noqa: PLR2004  digits of the double, added


def hints_of_values(column: pa.ChunkedArray) -> list[Hint]:
    """Return what a column's values suggest.

    Args:
        column: The column.
    """
    values = column.drop_null()
    if not len(values):
        return []
    if pa.types.is_integer(values.type):
        texts = [str(value) for value in _some(values)]
        return [Hint(IDENTIFYING, "card numbers")] if _share(texts, is_card_number) >= _SHARE_OF_NUMBERS else []
    if not is_text(values.type):
        return []
    texts = [value.strip() for value in _some(values)]
    found = [hint for hint, pattern in _PATTERNS if _share(texts, _fits(pattern)) >= SHARE_MIN]
    found += [Hint(IDENTIFYING, "IBANs")] if _share(texts, is_iban) >= SHARE_MIN else []
    found += [Hint(IDENTIFYING, "card numbers")] if _share(texts, is_card_number) >= _SHARE_OF_NUMBERS else []
    if _share(texts, _is_prose) >= SHARE_MIN:
        found.append(Hint(IDENTIFYING, "free text, which may say anything"))
    return found


def differs_in_every_row(column: pa.ChunkedArray) -> bool:
    """Say whether a column names every row: texts or whole numbers, of which no two are equal."""
    values = column.drop_null()
    is_key = is_text(values.type) or pa.types.is_integer(values.type)
    return is_key and len(values) > 1 and pc.count_distinct(values).as_py() == len(values)


def _some(values: pa.ChunkedArray) -> list[Any]:
    """Return some different values, from all over the column."""
    step = max(1, len(values) // (4 * VALUES_MAX))
    return pc.unique(values.take(pa.array(range(0, len(values), step)))).slice(0, VALUES_MAX).to_pylist()  # type: ignore[no-any-return]


def _share(texts: list[str], test: Callable[[str], bool]) -> float:
    return sum(map(test, texts)) / len(texts)


def _fits(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def _is_prose(text: str) -> bool:
    return len(text) >= _TEXT_LENGTH_MIN and len(text.split()) >= _WORDS_MIN
