"""How values look to whoever may not see them as they are: pure functions. Rules: docs/format.md section 40."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from backstory.records.access import View
from backstory.records.canonical import JsonObject

HIDDEN = "•••"
"""What stands for a value that shows nothing of itself."""

SUBJECT = "subject"
"""Name of the column that says whom a record is about."""

PSEUDONYMS_KEY = "pseudonyms"
"""The key file with the key of pseudonyms."""

_SMALL = "-10…10"
_DIGITS_SHOWN = 14
_PSEUDONYM_DOMAIN = b"backstory pseudonym v1\x00"
_PSEUDONYM_DIGITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """A field that is not shown as it is.

    Attributes:
        field: Its name.
        class_: Its class.
        view: How it is seen instead; `none` where not at all.
        reason: Why.
        group: Sealed group it is in; None for an open column.
        commitment: What its record commits to for the group, in hex: a later disclosure opens it.
    """

    field: str
    class_: str
    view: View
    reason: str
    group: str | None = None
    commitment: str | None = None

    def to_dict(self) -> JsonObject:
        """Return it as values JSON has."""
        return {
            "class": self.class_,
            "commitment": self.commitment,
            "field": self.field,
            "group": self.group,
            "reason": self.reason,
            "view": self.view,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How a column is seen.

    Attributes:
        class_: Its class.
        view: How that class is seen.
        is_subject: Whether it says whom a record or row is about.
    """

    class_: str
    view: View
    is_subject: bool = False

    @property
    def as_it_is(self) -> bool:
        """Whether its values are shown unchanged: clear, or under pseudonyms any but the person's id."""
        return self.view == "clear" or (self.view == "pseudonymised" and not self.is_subject)


def shown_as(value: object, seen: Seen, pseudonym: Callable[[str], str]) -> object:
    """Return a value as it is seen; None where no single value is.

    >>> shown_as(41_250, Seen(class_="D4", view="masked"), str)
    '40000…50000'
    """
    if seen.as_it_is:
        return value
    if seen.view == "pseudonymised":
        return None if value is None else pseudonym(str(value))
    return masked(value) if seen.view == "masked" else None


def masked(value: object) -> str:
    """Return what is left of a value that is masked: of a number its range, of a moment its year, else nothing.

    >>> masked(1234.5), masked(-42), masked(3), masked("ann"), masked(date(2026, 5, 1))
    ('1000…2000', '-50…-40', '-10…10', '•••', '2026')
    """
    if isinstance(value, date):  # a datetime too
        return f"{value.year:04}"
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return HIDDEN
    number = Decimal(value) if not isinstance(value, float) or math.isfinite(value) else None
    if number is None or not number.is_finite():
        return HIDDEN
    if abs(number) < 10:  # noqa: PLR2004  one digit is the whole number
        return _SMALL
    if number.adjusted() > _DIGITS_SHOWN:
        return f"{'-' if number < 0 else ''}{number.as_tuple().digits[0]}e{number.adjusted()}"
    step = 10 ** number.adjusted()
    low = number.as_tuple().digits[0] * step
    return f"{low}…{low + step}" if number > 0 else f"-{low + step}…-{low}"


def pseudonym_of(key: bytes, purpose: str, subject: str) -> str:
    """Return what stands for a person within a purpose: the same for the same person, and linked to no other purpose's.

    >>> pseudonym_of(bytes(32), "audit", "ann") == pseudonym_of(bytes(32), "audit", "ann")
    True
    """
    message = _PSEUDONYM_DOMAIN + purpose.encode() + b"\x00" + subject.encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:_PSEUDONYM_DIGITS]
