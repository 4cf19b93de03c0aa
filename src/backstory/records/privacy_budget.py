"""Privacy budgets: how much may be learnt about one person from all figures an audience is given, and what is used up.

What figures use up adds up (basic composition), in exact decimals. Bytes: docs/format.md section 42.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, get_args

from backstory.errors import FormatError, InputError
from backstory.records import canonical
from backstory.records.canonical import JsonObject, JsonValue

BUDGET: Final = "budget"
"""Kind of the proposals that are budgets."""
SPENT: Final = "sharing.spent"
RELEASED: Final = "sharing.released"
Period = Literal["month", "quarter", "year"]
Unit = Literal["subject", "record"]

EPSILON_MAX: Final = Decimal(100)
_AUDIENCE = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z_.-]{0,63}")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,5})(?:\.[0-9]{0,17}[1-9])?")
_UNITS: Final[dict[str, Unit]] = {unit: unit for unit in get_args(Unit)}
_PERIODS: Final[dict[str, Period]] = {period: period for period in get_args(Period)}
_STEP: Final = Decimal("1e-18")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What of privacy is lost: by one figure, or by several together.

    Attributes:
        epsilon: By how much, at most, the odds that a person is in the data change, as a natural logarithm.
        delta: How likely, at most, they change by more.
    """

    epsilon: Decimal
    delta: Decimal

    def __add__(self, other: Loss) -> Loss:
        """Return what both together lose.

        >>> (Loss(epsilon=Decimal("0.1"), delta=Decimal()) + Loss(epsilon=Decimal("0.2"), delta=Decimal())).epsilon
        Decimal('0.3')
        """
        return Loss(epsilon=self.epsilon + other.epsilon, delta=self.delta + other.delta)

    def fits(self, limit: Loss) -> bool:
        """Say whether it is within a limit."""
        return self.epsilon <= limit.epsilon and self.delta <= limit.delta


NO_LOSS: Final = Loss(epsilon=Decimal(), delta=Decimal())


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetTerms:
    """What an audience's budget is.

    Attributes:
        limit: The most that figures may lose together.
        unit: Whose presence is protected.
        period: After which time a new budget begins; None if never.
    """

    limit: Loss
    unit: Unit
    period: Period | None

    def document(self) -> JsonObject:
        """Return it as canonical JSON has it."""
        return {
            "delta": decimal_text(self.limit.delta),
            "epsilon": decimal_text(self.limit.epsilon),
            "period": self.period,
            "unit": self.unit,
            "v": 1,
        }


def parse_terms(document: JsonObject) -> BudgetTerms:
    """Read a budget from its document.

    Raises:
        FormatError: It is none of version 1.
    """
    canonical.check_version(document, 1, BUDGET)
    unit, period = _UNITS.get(str(document.get("unit"))), _PERIODS.get(str(document.get("period")))
    if (
        set(document) != {"delta", "epsilon", "period", "unit", "v"}
        or unit is None
        or (period is None and document.get("period") is not None)
    ):
        raise FormatError("budget: expected exactly delta, epsilon, period, unit and v of section 42")
    limit = parse_loss(document)
    if not 0 < limit.epsilon <= EPSILON_MAX:
        raise FormatError(f"budget: expected an epsilon above 0 and at most {EPSILON_MAX}")
    return BudgetTerms(limit=limit, unit=unit, period=period)


def parse_loss(document: JsonObject) -> Loss:
    """Read epsilon and delta of a budget, or of a `sharing.spent`.

    Raises:
        FormatError: One is no decimal of section 42, or delta is not below 1.
    """
    epsilon, delta = (canonical.text_of(document, name) for name in ("epsilon", "delta"))
    if not _DECIMAL.fullmatch(epsilon) or not _DECIMAL.fullmatch(delta) or Decimal(delta) >= 1:
        raise FormatError("privacy loss: expected epsilon and delta as decimals, delta below 1")
    return Loss(epsilon=Decimal(epsilon), delta=Decimal(delta))


def decimal_of(given: object, what: str) -> Decimal:
    """Return a number that somebody gave as an exact decimal; a float as Python writes it.

    >>> decimal_of(0.1, "epsilon")
    Decimal('0.1')

    Raises:
        InputError: It is no number from 0 to 999,999 with at most 18 digits behind the point.
    """
    if isinstance(given, bool) or not isinstance(given, int | float | str | Decimal):
        raise InputError(f"{what}: expected a number, got {type(given).__name__}")
    try:
        value = Decimal(str(given))
        text = f"{value.normalize():f}"
    except ArithmeticError:
        text = ""
    if not _DECIMAL.fullmatch(text):
        raise InputError(f"{what}: expected a number from 0 on with at most 18 digits behind the point")
    return Decimal(text)


def decimal_text(value: Decimal) -> str:
    """Return a decimal as the log has it.

    >>> decimal_text(Decimal("1.50")), decimal_text(Decimal(10)), decimal_text(Decimal("0.0"))
    ('1.5', '10', '0')
    """
    return f"{value.quantize(_STEP).normalize():f}" if value else "0"


def is_unit(value: object) -> bool:
    """Say whether it is a unit of privacy."""
    return value in _UNITS


def is_period(value: object) -> bool:
    """Say whether it is a period of a budget, None included."""
    return value is None or value in _PERIODS


def is_audience(name: object) -> bool:
    """Say whether a text can name an audience."""
    return isinstance(name, str) and _AUDIENCE.fullmatch(name) is not None


def period_of(time: str, period: Period | None) -> str:
    """Return the name of the period a moment is in; the empty text where budgets have none.

    >>> period_of("2026-11-23T21:00:00.000000000Z", "quarter"), period_of("2026-11-23T21:00:00Z", "month")
    ('2026-Q4', '2026-11')
    """
    year, month = time[:4], time[5:7]
    if period == "quarter":
        return f"{year}-Q{(int(month) + 2) // 3}"
    return {"month": f"{year}-{month}", "year": year}.get(str(period), "")


def spent_in(
    entries: Iterable[JsonObject], audience: str, terms: BudgetTerms, time: str, periods: Mapping[str, Period | None]
) -> Loss:
    """Return what of the losses of an audience's figures still counts at a moment.

    That is what was lost in the period the moment is in, or in a later one where a clock was set back: that of the
    budget in force, or that of the budget it was charged to. So a budget with another period forgets nothing that the
    one before it would still count.

    Args:
        entries: Entries of type `sharing.spent`.
        audience: The audience.
        terms: The budget that is in force.
        time: The moment, RFC 3339 in UTC.
        periods: The periods of all budgets, by the index of their proposal as entries name it.
    """
    total = NO_LOSS
    for entry in entries:
        if entry.get("name") == audience:
            spent, charged = canonical.text_of(entry, "time"), periods.get(canonical.text_of(entry, "budget"))
            if any(period_of(spent, period) >= period_of(time, period) for period in (terms.period, charged)):
                total += parse_loss(entry)
    return total


def noise_entry(mechanism: str, scale: float) -> JsonValue:
    """Return what an entry says of noise that is drawn."""
    return {"mechanism": mechanism, "scale": repr(scale)}
