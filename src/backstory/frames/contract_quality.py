"""From the standard's quality rules and service levels to rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from backstory.errors import InputError
from backstory.frames.contract import (
    KINDS,
    OPERATORS,
    Allowed,
    Fresh,
    Matches,
    NotMissing,
    NotNull,
    OneOf,
    Query,
    RowCount,
    Test,
    Unique,
)
from backstory.frames.contract_draft import Draft
from backstory.frames.contract_options import checked_pattern, is_number, read_zone, scalars
from backstory.frames.contract_severity import Severities, read_severity
from backstory.records.names import names_instead

if TYPE_CHECKING:
    from open_data_contract_standard.model import (
        DataQuality,
        OpenDataContractStandard,
        SchemaObject,
        ServiceLevelAgreementProperty,
    )


_COLUMN_METRICS: Final = ("nullValues", "missingValues", "invalidValues", "duplicateValues")
_TABLE_METRICS: Final = ("duplicateValues", "rowCount")
_ARGUMENTS: Final = {
    "duplicateValues": {"properties"},
    "invalidValues": {"validValues", "pattern"},
    "missingValues": {"missingValues"},
}
_FRESHNESS: Final = frozenset({"latency", "ly", "freshness"})
_SECONDS: Final = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86_400),
    **dict.fromkeys(("y", "yr", "year", "years"), 365 * 86_400),
}


def read_quality(
    draft: Draft, given: Sequence[DataQuality] | None, column: str | None, outer: Severities, columns: list[str]
) -> None:
    """Add the quality rules of a property, or of a table.

    Args:
        draft: What they are added to.
        given: The rules.
        column: The property; None for those of the table.
        outer: Severities of rules that say none.
        columns: Names that a rule about several columns may use.

    Raises:
        InputError: A rule is malformed.
    """
    for number, one in enumerate(given or ()):
        place = f"{'schema' if column is None else f'property {column}'}, quality[{number}]"
        kind = one.type or "library"
        if kind in {"text", "custom"}:
            said = one.id or one.name or (f"engine {one.engine}" if one.engine else one.description) or ""
            draft.unchecked.append(f"{place}: type {kind} is not checked{f' ({said})' if said else ''}")
            continue
        if kind == "library":
            test = _library_test(one, column, columns, place)
        elif kind == "sql":
            test = _query(one, place)
        else:
            known = ("library", "sql", "text", "custom")
            raise InputError(f"contract: no type of quality rule {kind!r}{names_instead(kind, known)} ({place})")
        _add(draft, one, test, column, outer, place)
        if isinstance(test, OneOf | NotMissing) and column is not None:
            draft.valued.add(column)


def _add(draft: Draft, one: DataQuality, test: Test, column: str | None, outer: Severities, place: str) -> None:
    allowed = _allowed(one, place)
    is_count = not isinstance(test, RowCount | Query)
    if one.unit is not None and one.unit not in {"rows", "percent"}:
        raise InputError(f"contract: expected unit rows or percent, got {one.unit!r} ({place})")
    if not is_count and allowed.percent:
        raise InputError(f"contract: expected unit rows, got percent ({place})")
    if is_count and not all(is_number(operand) for operand in allowed.operands):
        raise InputError(f"contract: expected a number behind {allowed.operator} ({place})")
    what = {"Query": "sql", "RowCount": "rowCount"}.get(type(test).__name__) or str(one.metric or one.rule)
    id_ = one.id or one.name or (what if column is None else f"{column}.{what}")
    kept = None if is_count and allowed.is_none else allowed
    severity = outer.of(KINDS[type(test)]) if one.severity is None else read_severity(one.severity, place)
    draft.add(id_, test, severity, column, allowed=kept)


def _library_test(one: DataQuality, column: str | None, columns: list[str], place: str) -> Test:
    metric = str(one.metric or one.rule)
    known = _TABLE_METRICS if column is None else _COLUMN_METRICS
    if metric not in known:
        of = "a table" if column is None else "a property"
        raise InputError(f"contract: no metric {metric!r} of {of}{names_instead(metric, known)} ({place})")
    arguments = one.arguments or {}
    for name in arguments:
        if name not in _ARGUMENTS.get(metric, ()):
            there = names_instead(str(name), _ARGUMENTS.get(metric, ()))
            raise InputError(f"contract: metric {metric} has no argument {name!r}{there} ({place})")
    if metric == "rowCount":
        return RowCount()
    if metric == "nullValues":
        return NotNull()
    if metric == "duplicateValues":
        return Unique(columns=_named(arguments.get("properties"), column, columns, place))
    if metric == "missingValues":
        listed = arguments.get("missingValues")
        return NotMissing(values=scalars(listed, place, nulls=True), null=isinstance(listed, list) and None in listed)
    return _invalid(arguments, place)


def _invalid(arguments: dict[str, Any], place: str) -> Test:
    if len(arguments) != 1:
        raise InputError(f"contract: expected one of validValues and pattern, got {len(arguments)} of them ({place})")
    if "pattern" in arguments:
        return Matches(pattern=checked_pattern(arguments["pattern"], place))
    return OneOf(values=scalars(arguments["validValues"], place))


def _named(given: Any, column: str | None, columns: list[str], place: str) -> tuple[str, ...]:
    if given is None and column is not None:
        return (column,)
    if not isinstance(given, list) or not given or not all(isinstance(name, str) for name in given):
        raise InputError(f"contract: expected arguments.properties, a list of names ({place})")
    for name in given:
        if name not in columns:
            raise InputError(f"contract: no property {name!r}{names_instead(name, columns)} ({place})")
    return tuple(given)


def _query(one: DataQuality, place: str) -> Query:
    if not one.query or not one.query.strip():
        raise InputError(f"contract: expected a query ({place})")
    return Query(sql=one.query)


def _allowed(one: DataQuality, place: str) -> Allowed:
    given = {name: getattr(one, name) for name in OPERATORS if getattr(one, name) is not None}
    if len(given) != 1:
        raise InputError(f"contract: expected one operator such as mustBe, got {len(given)} ({place})")
    ((operator, value),) = given.items()
    operands = tuple(value) if OPERATORS[operator] > 1 else (value,)
    for operand in operands:
        if not is_number(operand) and not isinstance(operand, bool | str):
            raise InputError(f"contract: expected a number, text or boolean behind {operator} ({place})")
    if len(operands) > 1 and operands[0] > operands[1]:
        raise InputError(f"contract: expected the smaller number first behind {operator} ({place})")
    return Allowed(operator=operator, operands=operands, percent=one.unit == "percent")


def read_sla(draft: Draft, model: OpenDataContractStandard, chosen: SchemaObject, severities: Severities) -> None:
    """Add a rule for each service level about freshness; name the others.

    Raises:
        InputError: One about freshness is malformed.
    """
    for number, one in enumerate(model.slaProperties or ()):
        place = f"slaProperties[{number}]"
        if str(one.property).lower() not in _FRESHNESS:
            draft.unchecked.append(f"{place}: {one.property} is not checked")
            continue
        elements = one.element or model.slaDefaultElement
        if not elements:
            draft.unchecked.append(f"{place}: {one.property} without an element is not checked")
            continue
        for element in elements.split(","):
            _add_freshness(draft, one, element.strip(), model, chosen, severities, place)


def _add_freshness(
    draft: Draft,
    one: ServiceLevelAgreementProperty,
    element: str,
    model: OpenDataContractStandard,
    chosen: SchemaObject,
    severities: Severities,
    place: str,
) -> None:
    table, dot, column = element.rpartition(".")
    if dot and table != chosen.name:
        if table not in {other.name for other in model.schema_ or ()}:
            raise InputError(f"contract: no table {table!r} ({place}, element)")
        return
    names = {str(other.name): other for other in chosen.properties or ()}
    if column not in names:
        raise InputError(f"contract: no property {column!r}{names_instead(column, names)} ({place}, element)")
    unit = str(one.unit or "d").lower()
    if unit not in _SECONDS:
        raise InputError(f"contract: no unit {unit!r}{names_instead(unit, _SECONDS)} ({place})")
    try:
        number = Fraction(str(one.value))
    except (ValueError, ZeroDivisionError):
        number = Fraction(-1)
    if isinstance(one.value, bool) or number < 0:
        raise InputError(f"contract: expected value to be a number of {unit} ({place})")
    zone = read_zone(names[column].logicalTypeOptions or {}, f"property {column}")
    test = Fresh(seconds=math.ceil(number * _SECONDS[unit]), zone=zone)
    draft.add(one.id or f"{column}.freshness", test, severities.of("freshness"), column)
