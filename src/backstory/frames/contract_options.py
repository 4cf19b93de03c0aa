"""From the standard's `logicalTypeOptions` to tests of values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backstory.errors import InputError
from backstory.frames.contract import Bound, HasLength, InRange, Matches, MultipleOf, RowTest, Scalar
from backstory.frames.contract_bounds import is_temporal
from backstory.frames.contract_draft import Draft
from backstory.frames.contract_pattern import read_pattern
from backstory.records.names import names_instead

_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_NUMBER: Final = frozenset({*_BOUNDS, "multipleOf", "format"})
_MOMENT: Final = frozenset({*_BOUNDS, "format"})
_OF_TYPE: Final[dict[str | None, frozenset[str]]] = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "integer": _NUMBER,
    "number": _NUMBER,
    "date": _MOMENT,
    "time": _MOMENT | {"timezone", "defaultTimezone"},
    "timestamp": _MOMENT | {"timezone", "defaultTimezone"},
    "array": frozenset({"minItems", "maxItems", "uniqueItems"}),
    "object": frozenset({"minProperties", "maxProperties", "required"}),
    "vector": frozenset(
        {"dimensions", "distanceMetric", "elementType", "embeddingModel", "embeddingModelVersion", "normalized"}
    ),
    "boolean": frozenset(),
    "map": frozenset(),
    None: frozenset({*_NUMBER, "minLength", "maxLength", "pattern", "minItems", "maxItems", "defaultTimezone"}),
}
_NOT_CHECKED: Final = frozenset(
    {
        "distanceMetric",
        "elementType",
        "embeddingModel",
        "embeddingModelVersion",
        "maxProperties",
        "minProperties",
        "normalized",
        "required",
        "uniqueItems",
    }
)
_FORMATS: Final = {
    "email": r"^[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+$",
    "uuid": r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
    "ipv4": r"^(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])$",
    "uri": r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s]*$",
    "hostname": r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
}
_WIDTHS: Final = {f"{sign}{bits}": (sign, bits) for sign in "iu" for bits in (8, 16, 32, 64, 128)}


def option_tests(type_: str | None, options: dict[str, Any], place: str, draft: Draft) -> Iterator[tuple[str, RowTest]]:
    """Yield what the options of a property ask for, each with the kind of rule it is.

    Raises:
        InputError: An option is unknown or has a value that cannot be used.
    """
    place = f"{place}, logicalTypeOptions"
    _require_known(type_, options, place)
    left_out = _NOT_CHECKED | ({"timezone"} if type_ == "time" else set())
    draft.unchecked += [f"{place}: {name} is not checked" for name in options if name in left_out]
    zone = read_zone(options, place)
    if any(name in options for name in _BOUNDS):
        yield "range", _range(type_, options, zone, place)
    if "pattern" in options:
        yield "pattern", Matches(pattern=checked_pattern(options["pattern"], place))
    for names in (("minLength", "maxLength"), ("minItems", "maxItems"), ("dimensions", "dimensions")):
        low, high = (_count(options[name], name, place) if name in options else None for name in names)
        if low is not None or high is not None:
            yield "length", HasLength(low=low, high=high)
    if "multipleOf" in options:
        yield "multiple", MultipleOf(divisor=_divisor(options["multipleOf"], place))
    if "format" in options:
        yield from _format(type_, options["format"], place, draft)


def read_zone(options: dict[str, Any], place: str) -> str:
    """Return the time zone of moments that have none.

    Raises:
        InputError: There is no such zone.
    """
    zone = options.get("defaultTimezone", "UTC")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise InputError(f"contract: no time zone {zone!r} ({place})") from None
    return "UTC" if zone == "Etc/UTC" else str(zone)


def checked_pattern(pattern: Any, place: str) -> str:
    """Return a regular expression that both engines take.

    Raises:
        InputError: It is none.
    """
    if not isinstance(pattern, str):
        raise InputError(f"contract: expected a pattern as text, got {type(pattern).__name__} ({place})")
    try:
        read_pattern(pattern)
    except InputError as error:
        raise InputError(f"contract: {error} ({place})") from None
    return pattern


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def scalars(values: Any, place: str, *, nulls: bool = False) -> tuple[Scalar, ...]:
    """Return values to compare with.

    Raises:
        InputError: They are no list, none, one of them is no text, boolean, number, date or time, or booleans stand
            among texts, as an unquoted `no` does.
    """
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise InputError(f"contract: expected a list of values ({place})")
    kept = [value for value in values if not (nulls and value is None)]
    for value in kept:
        if not is_number(value) and not isinstance(value, bool | str | date | datetime | time):
            raise InputError(
                f"contract: expected text, booleans, numbers or dates, got {type(value).__name__} ({place})"
            )
    if any(isinstance(value, bool) for value in kept) and any(isinstance(value, str) for value in kept):
        raise InputError(
            f"contract: expected text or booleans, got both; for YAML no, yes, on, off are none: quote ({place})"
        )
    return tuple(kept)


def _require_known(type_: str | None, options: dict[str, Any], place: str) -> None:
    for name in options:
        if name not in _OF_TYPE[type_]:
            of = "without a logicalType" if type_ is None else f"of type {type_}"
            raise InputError(f"contract: no option {name!r} {of}{names_instead(name, _OF_TYPE[type_])} ({place})")


def _divisor(value: Any, place: str) -> float:
    if not is_number(value) or value <= 0:
        raise InputError(f"contract: expected multipleOf to be a number above 0 ({place})")
    return value  # type: ignore[no-any-return]


def _count(value: Any, name: str, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"contract: expected {name} to be a count ({place})")
    return value


def _format(type_: str | None, given: Any, place: str, draft: Draft) -> Iterator[tuple[str, RowTest]]:
    if type_ == "string" and given in _FORMATS:
        yield "pattern.format", Matches(pattern=_FORMATS[given])
    elif type_ == "integer" and given in _WIDTHS:
        sign, bits = _WIDTHS[given]
        low, high = (0, (1 << bits) - 1) if sign == "u" else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        yield "range.format", InRange(low=low, high=high)
    elif not (type_ == "number" and given == "f64"):  # which every number fits
        draft.unchecked.append(f"{place}: format {given!r} is not checked")


def _range(type_: str | None, options: dict[str, Any], zone: str, place: str) -> InRange:
    read = _reader(type_)
    bounds = {}
    for name in _BOUNDS:
        value = options.get(name)
        if value is None or isinstance(value, bool):
            continue
        try:
            bounds[name] = read(value)
        except (TypeError, ValueError):
            what = "a number" if read is _number else f"a {type_} in ISO 8601"
            raise InputError(f"contract: expected {name} to be {what} ({place})") from None
    return InRange(
        **_side("low", bounds, options, ("minimum", "exclusiveMinimum"), place),
        **_side("high", bounds, options, ("maximum", "exclusiveMaximum"), place),
        zone=zone,
    )


def _side(
    side: str, bounds: dict[str, Bound], options: dict[str, Any], names: tuple[str, str], place: str
) -> dict[str, Any]:
    """Return one side of a range; `exclusive…: true` beside a bound, as the standard's 3.0 had it, opens that."""
    closed, open_ = names
    if closed in bounds and open_ in bounds:
        raise InputError(f"contract: expected {closed} or {open_}, got both ({place})")
    if open_ in bounds:
        return {side: bounds[open_], f"{side}_open": True}
    if closed in bounds:
        return {side: bounds[closed], f"{side}_open": options.get(open_) is True}
    if isinstance(options.get(open_), bool):
        raise InputError(f"contract: expected {closed} beside {open_}: true or false ({place})")
    return {}


def _reader(type_: str | None) -> Callable[[Any], Bound]:
    return {"date": _date, "timestamp": _timestamp, "time": _time}.get(str(type_), _number)


def _number(value: Any) -> Bound:
    if not is_number(value):
        raise TypeError
    return value  # type: ignore[no-any-return]


def _date(value: Any) -> Bound:
    if isinstance(value, datetime):
        raise TypeError
    return value if isinstance(value, date) else date.fromisoformat(value)


def _timestamp(value: Any) -> Bound:
    if isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day) if is_temporal(value) else datetime.fromisoformat(value)  # noqa: DTZ001  its zone is told apart


def _time(value: Any) -> Bound:
    return value if isinstance(value, time) else time.fromisoformat(value)
