"""Checking a whole table against a contract: which rules it breaks, in how many rows.

A verdict holds ids, counts and positions of rows, never a value.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.errors import ColumnError, InputError
from backstory.frames.contract import Allowed, Contract, Fresh, OfType, Query, RowCount, Rule, Scalar, Severity, Unique
from backstory.frames.contract_bounds import NS, nanoseconds
from backstory.frames.contract_rows import broken_rows, plain_column
from backstory.frames.contract_sql import Queries
from backstory.frames.key import first_appearance, first_rows, has_nulls, row_codes
from backstory.records.canonical import JsonObject, JsonValue

if TYPE_CHECKING:
    from numpy.typing import NDArray

State: TypeAlias = Literal["passed", "flagged", "refused"]

POSITIONS_MAX: Final = 100
_DAY_NS: Final = 86_400 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleVerdict:
    """What was found of one rule.

    Attributes:
        rule: The rule.
        broken: Whether it is broken.
        rows: How many rows break it, also where a contract allows as many; None for rules that no row breaks.
        positions: Positions of the first `POSITIONS_MAX` of them.
    """

    rule: Rule
    broken: bool
    rows: int | None = None
    positions: tuple[int, ...] = ()

    def document(self) -> JsonObject:
        """Return what is kept of a broken rule."""
        said: JsonObject = {"id": self.rule.id, "severity": self.rule.severity}
        return said if self.rows is None else {**said, "rows": str(self.rows)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of a contract's rules in one table.

    Attributes:
        contract: The contract.
        rows: How many rows the table has.
        rules: What was found, rule by rule.
    """

    contract: Contract
    rows: int
    rules: tuple[RuleVerdict, ...]

    @property
    def broken(self) -> tuple[RuleVerdict, ...]:
        """The rules that are broken."""
        return tuple(found for found in self.rules if found.broken)

    @property
    def state(self) -> State:
        """`refused`, `flagged` or `passed`: what the gravest broken rule asks for; one to be noted passes."""
        severities = {found.rule.severity for found in self.broken}
        return "refused" if "refuse" in severities else "flagged" if "flag" in severities else "passed"

    def of(self, severity: Severity) -> tuple[RuleVerdict, ...]:
        """Return the broken rules of a severity."""
        return tuple(found for found in self.broken if found.rule.severity == severity)

    def document(self) -> JsonObject:
        """Return the verdict as it is kept: docs/format.md section 26."""
        rules: list[JsonValue] = [found.document() for found in self.broken]
        return {
            "checked": str(len(self.rules)),
            "contract": self.contract.digest,
            "id": self.contract.id,
            "rules": rules,
            "verdict": self.state,
            "version": self.contract.version,
        }


def check_table(contract: Contract, table: pa.Table, *, now_ns: int) -> Verdict:
    """Check every rule of a contract on a table.

    Args:
        contract: The contract.
        table: The table.
        now_ns: The time to measure freshness by, in nanoseconds since 1970.

    Raises:
        InputError: A query of the contract fails, though the data has the types the contract says.
    """
    columns = _Columns(table)
    queries = Queries(contract, table)
    try:
        found = {rule.id: _check(rule, columns, now_ns) for rule in contract.rules if not isinstance(rule.test, Query)}
        is_of_type = not any(one.broken and isinstance(one.rule.test, OfType) for one in found.values())
        for rule in contract.rules:
            if isinstance(rule.test, Query):
                found[rule.id] = _ask(rule, rule.test.sql, queries, is_of_type=is_of_type)
    finally:
        queries.close()
    return Verdict(contract=contract, rows=table.num_rows, rules=tuple(found[rule.id] for rule in contract.rules))


def check_rows(contract: Contract, table: pa.Table, columns: Collection[str] | None = None) -> list[tuple[str, ...]]:
    """Return for each row the ids of the rules it breaks, in the order of the contract, as a record check does.

    Args:
        contract: The contract; its rules that need a whole table are not looked at.
        table: The rows.
        columns: The columns a record has; rules about others are skipped. All of the contract without it.
    """
    found: list[tuple[str, ...]] = [()] * table.num_rows
    held = _Columns(table)
    for rule in contract.rules:
        if rule.needs_table or (columns is not None and rule.column not in columns):
            continue
        for row in np.flatnonzero(held.broken_rows(rule)).tolist():
            found[row] += (rule.id,)
    return found


class _Columns:
    """The columns of a table, each made plain once."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._plain: dict[str, pa.ChunkedArray] = {}

    def get(self, name: str) -> pa.ChunkedArray | None:
        """Return a column; None if there is none, or several, of that name."""
        if name not in self._plain:
            if self.table.schema.get_field_index(name) < 0:
                return None
            self._plain[name] = plain_column(self.table.column(name))
        return self._plain[name]

    def broken_rows(self, rule: Rule) -> NDArray[np.bool_]:
        """Return which rows break a rule about single rows; where its column is not there, the rule of type."""
        column = self.get(str(rule.column))
        if column is None:
            return np.full(self.table.num_rows, isinstance(rule.test, OfType))
        return broken_rows(rule.test, column)


def _ask(rule: Rule, sql: str, queries: Queries, *, is_of_type: bool) -> RuleVerdict:
    """Put a rule's query; one that fails over data of other types than promised is broken by that data."""
    try:
        value = queries.value(rule, sql)
    except InputError:
        if is_of_type:
            raise
        return RuleVerdict(rule=rule, broken=True)
    return RuleVerdict(rule=rule, broken=value is None or not _holds(rule.allowed, value))


def _check(rule: Rule, columns: _Columns, now_ns: int) -> RuleVerdict:
    match rule.test:
        case RowCount():
            return RuleVerdict(rule=rule, broken=not _holds(rule.allowed, columns.table.num_rows))
        case Fresh():
            return RuleVerdict(rule=rule, broken=not _is_fresh(rule.test, columns.get(str(rule.column)), now_ns))
        case Unique(columns=names):
            present = all(columns.get(name) is not None for name in names)
            mask = _repeated(columns.table, names) if present else np.zeros(columns.table.num_rows, np.bool_)
        case _:
            mask = columns.broken_rows(rule)
    count, rows = int(np.count_nonzero(mask)), columns.table.num_rows
    if rule.allowed is None:
        # A column that is not there breaks its rule of type in a table without rows too.
        is_absent = isinstance(rule.test, OfType) and columns.get(str(rule.column)) is None
        broken = count > 0 or is_absent
    else:
        broken = not rule.allowed.holds(100 * count / max(rows, 1) if rule.allowed.percent else count)
    positions = np.flatnonzero(mask)[:POSITIONS_MAX].tolist() if count else ()
    return RuleVerdict(rule=rule, broken=broken, rows=count, positions=tuple(positions))


def _holds(allowed: Allowed | None, value: Scalar) -> bool:
    return allowed is None or allowed.holds(value)


def _repeated(table: pa.Table, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which rows have the values of an earlier row."""
    is_whole = ~has_nulls(table, names)
    rows = np.flatnonzero(is_whole)
    compared = table.select(list(dict.fromkeys(names)))
    try:
        codes = first_appearance(row_codes(compared if len(rows) == len(table) else compared.take(rows), names))
    except ColumnError:  # lists and the like: not what the rule is about
        return is_whole
    repeated = np.zeros(table.num_rows, np.bool_)
    if len(codes):
        is_first = np.zeros(len(codes), np.bool_)
        is_first[first_rows(codes, int(codes.max()) + 1)] = True
        repeated[rows[~is_first]] = True
    return repeated


def _is_fresh(test: Fresh, column: pa.ChunkedArray | None, now_ns: int) -> bool:
    """Return whether the newest moment of a column is young enough; a date counts with its end."""
    if column is None or column.null_count == len(column):
        return False
    type_ = column.type
    if pa.types.is_date(type_):
        newest = (pc.max(column.cast(pa.int32())).as_py() + 1) * _DAY_NS
    elif pa.types.is_timestamp(type_):
        newest = pc.max(column.cast(pa.int64())).as_py() * NS[type_.unit]
        if type_.tz is None:
            newest += _offset_ns(newest, test.zone)
    else:
        return False
    return bool(now_ns - newest <= test.seconds * 10**9)


def _offset_ns(wall_ns: int, zone: str) -> int:
    """Return what is to be added to what a clock in a zone shows to have UTC."""
    if zone == "UTC":
        return 0
    from datetime import datetime, timedelta

    wall = datetime(1970, 1, 1) + timedelta(microseconds=wall_ns // 1000)  # noqa: DTZ001  what a clock shows
    return nanoseconds(wall, "UTC", zone) - wall_ns // 1000 * 1000


def refuse(verdict: Verdict, what: str) -> None:
    """Refuse data that broke a rule whose severity is `refuse`.

    Raises:
        InputError: It did; `details` has contract, version and rules.
    """
    if verdict.state != "refused":
        return
    raise InputError(
        f"contract {verdict.contract.id} {verdict.contract.version} refuses {what}: {told(verdict.of('refuse'))}",
        contract=verdict.contract.digest,
        rules=verdict.document()["rules"],
    )


def told(found: Collection[RuleVerdict]) -> str:
    """Return broken rules for a reader: `amount.range (3 rows)`."""
    return ", ".join(
        one.rule.id + ("" if one.rows is None else f" ({one.rows:,} row{'' if one.rows == 1 else 's'})")
        for one in found
    )
