"""What a data contract promises, as values: rules, each with an id, a severity and what it looks at.

A rule is about single rows (a type, a range, a pattern …) or about a whole table (uniqueness, row count, freshness, an
SQL query, or a count of rows that may break it). What a rule means is the same for a table (`contract_check`) and for
one record (`contract_record`); docs/format.md section 26 has the meanings. Reading contracts is `contract_odcs`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final, Literal, TypeAlias

Severity: TypeAlias = Literal["refuse", "flag", "note"]
Bound: TypeAlias = "int | float | date | datetime | time"
Scalar: TypeAlias = "bool | int | float | str | date | datetime | time"

SEVERITIES: Final[tuple[Severity, ...]] = ("refuse", "flag", "note")
LOGICAL_TYPES: Final = frozenset(
    {"array", "boolean", "date", "integer", "map", "number", "object", "string", "time", "timestamp", "vector"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfType:
    """The column is there, and its values have a type.

    Attributes:
        type: One of `LOGICAL_TYPES`; None where any will do.
        zoned: Whether a timestamp has a time zone; None where either will do.
    """

    type: str | None
    zoned: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotNull:
    """There is a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMissing:
    """The value is none of those that stand for a missing one.

    Attributes:
        values: Those values.
        null: Whether null is one of them.
    """

    values: tuple[Scalar, ...]
    null: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InRange:
    """The value lies between two bounds, of which one may be missing. NaN lies between none.

    Attributes:
        low: The lower bound.
        high: The upper bound.
        low_open: Whether the lower bound itself is outside.
        high_open: Whether the upper bound itself is outside.
        zone: Time zone of moments that have none.
    """

    low: Bound | None = None
    high: Bound | None = None
    low_open: bool = False
    high_open: bool = False
    zone: str = "UTC"

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Return the bounds there are."""
        return tuple(bound for bound in (self.low, self.high) if bound is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf:
    """The value is one of these. Text, booleans, numbers and dates are never equal to each other."""

    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """A regular expression is found somewhere in the text."""

    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HasLength:
    """A text has so many characters, a list so many items."""

    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipleOf:
    """The number is a multiple of another, of floats to one part in 10⁹."""

    divisor: int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique:
    """No row has the values of an earlier one in some columns; rows with a null among them are not compared."""

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount:
    """The table has so many rows; the rule's `allowed` says how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """The newest moment of a column is not older than this.

    Attributes:
        seconds: The age it may have.
        zone: Time zone of moments that have none.
    """

    seconds: int
    zone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query gives one value; the rule's `allowed` says which."""

    sql: str


RowTest: TypeAlias = "OfType | NotNull | NotMissing | InRange | OneOf | Matches | HasLength | MultipleOf"
TableTest: TypeAlias = "Unique | RowCount | Fresh | Query"
Test: TypeAlias = "RowTest | TableTest"

TABLE_TESTS: Final = (Unique, RowCount, Fresh, Query)
KINDS: Final[dict[type[Test], str]] = {
    OfType: "type",
    NotNull: "required",
    NotMissing: "missing",
    InRange: "range",
    OneOf: "enumeration",
    Matches: "pattern",
    HasLength: "length",
    MultipleOf: "multiple",
    Unique: "unique",
    RowCount: "row count",
    Fresh: "freshness",
    Query: "sql",
}
"""What a test is called, in contracts (for severities) and in answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What a count, a share of the rows in percent, or the value of a query must be.

    Attributes:
        operator: `mustBe` and so on, as the standard has it.
        operands: What it compares with: one, or two for `mustBeBetween` and `mustNotBeBetween`.
        percent: Whether a count is taken as percent of the rows.
    """

    operator: str
    operands: tuple[Scalar, ...]
    percent: bool = False

    def holds(self, value: Scalar) -> bool:
        """Return whether a value is as it must be; one of another type is not.

        >>> Allowed(operator="mustBeBetween", operands=(1, 3)).holds(3)
        True
        """
        first, last = self.operands[0], self.operands[-1]
        if self.operator in {"mustBe", "mustNotBe"}:
            same = isinstance(value, bool) == isinstance(first, bool) and value == first
            return same == (self.operator == "mustBe")
        if not _is_number(value) or not _is_number(first) or not _is_number(last):
            return False
        return {
            "mustBeGreaterThan": value > first,  # type: ignore[operator]
            "mustBeGreaterOrEqualTo": value >= first,  # type: ignore[operator]
            "mustBeLessThan": value < first,  # type: ignore[operator]
            "mustBeLessOrEqualTo": value <= first,  # type: ignore[operator]
            "mustBeBetween": first <= value <= last,  # type: ignore[operator]
            "mustNotBeBetween": not first <= value <= last,  # type: ignore[operator]
        }[self.operator]

    @property
    def is_none(self) -> bool:
        """Whether no row may be counted, so that each row by itself breaks the rule."""
        wanted = {"mustBe": 0, "mustBeLessOrEqualTo": 0} | ({} if self.percent else {"mustBeLessThan": 1})
        given = self.operands[0]
        return _is_number(given) and self.operator in wanted and wanted[self.operator] == given


OPERATORS: Final = {
    "mustBe": 1,
    "mustNotBe": 1,
    "mustBeGreaterThan": 1,
    "mustBeGreaterOrEqualTo": 1,
    "mustBeLessThan": 1,
    "mustBeLessOrEqualTo": 1,
    "mustBeBetween": 2,
    "mustNotBeBetween": 2,
}
"""The standard's operators with how many operands each has."""


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One promise of a contract.

    Attributes:
        id: Names it within its contract.
        severity: What happens where it is broken: `refuse`, `flag`, `note`.
        test: What must hold.
        column: The column it is about; None for the whole table.
        allowed: How many rows may break it, or what a row count or query must give; None where none may.
    """

    id: str
    severity: Severity
    test: Test
    column: str | None = None
    allowed: Allowed | None = None

    @property
    def kind(self) -> str:
        """What sort of rule it is; see `KINDS`."""
        return KINDS[type(self.test)]

    @property
    def needs_table(self) -> bool:
        """Whether one row alone cannot break it."""
        return self.allowed is not None or isinstance(self.test, TABLE_TESTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A data contract, or the part of one that is about one table.

    Attributes:
        id: The contract's id, as it says.
        version: The contract's version, as it says.
        table: Name of the table it is about.
        rules: Its rules; none has another's id.
        unchecked: What it says and is not checked, and why, each a sentence.
        valued: Columns of which the text names values: enumerations, bounds, examples.
        text: The contract in YAML as it is kept: without the names of people.
    """

    id: str
    version: str
    table: str
    rules: tuple[Rule, ...]
    unchecked: tuple[str, ...]
    valued: frozenset[str]
    text: str

    @property
    def digest(self) -> str:
        """Name of the contract: SHA-256 of its text."""
        return hashlib.sha256(self.text.encode()).hexdigest()
