"""Which rows of a column break a test: vectorised, in Arrow and NumPy.

A null breaks `NotNull`, and `NotMissing` where null is one of its values; nothing else. A value of a type that a test
is not about (text where a range of numbers is promised) breaks it.
"""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backstory.columns.arrow_type import is_text
from backstory.frames.contract import (
    HasLength,
    InRange,
    Matches,
    MultipleOf,
    NotMissing,
    NotNull,
    OfType,
    OneOf,
    Test,
)
from backstory.frames.contract_bounds import (
    NS,
    as_decimal,
    days,
    float_limits,
    is_temporal,
    nanoseconds,
    time_nanoseconds,
    whole_limits,
)
from backstory.frames.contract_pattern import match_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backstory.frames.contract import Scalar

RELATIVE_ERROR: Final = 1e-9
"""How far a float may be from a multiple, relative to how many times it is."""

_INT_BITS: Final = 64


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column without dictionary or run-end encoding, and floats as float64."""
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return plain_column(column.cast(type_.value_type))
    if pa.types.is_run_end_encoded(type_):
        chunks = [pc.run_end_decode(chunk) for chunk in column.chunks]
        return plain_column(pa.chunked_array(chunks, type_.value_type))
    if pa.types.is_float16(type_) or pa.types.is_float32(type_):
        return column.cast(pa.float64())
    if pa.types.is_date64(type_):
        return column.cast(pa.date32())
    if pa.types.is_string_view(type_):
        return column.cast(pa.large_string())
    return column


def broken_rows(test: Test, column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return which rows break a test.

    Args:
        test: A test of single rows.
        column: From `plain_column`.
    """
    if isinstance(test, NotNull):
        return _mask(pc.is_null(column), len(column))
    if isinstance(test, NotMissing):
        found = _is_in(column, test.values)
        missing = np.zeros(len(column), np.bool_) if found is None else _mask(found, len(column))
        return missing | _mask(pc.is_null(column), len(column)) if test.null else missing
    if pa.types.is_null(column.type) or (isinstance(test, OfType) and has_type(column.type, test)):
        return np.zeros(len(column), np.bool_)
    holds = _holds(test, column)
    if holds is None:
        return _mask(pc.is_valid(column), len(column))
    return _mask(pc.invert(holds), len(column))


def has_type(type_: pa.DataType, test: OfType) -> bool:
    """Return whether the values of a column are of a promised type; see docs/format.md section 26."""
    is_ = pa.types
    if is_.is_timestamp(type_):
        return test.type in {"timestamp", None} and (test.zoned is None or test.zoned == (type_.tz is not None))
    found = {
        "array": is_list(type_),
        "boolean": is_.is_boolean(type_),
        "date": is_.is_date(type_),
        "integer": is_.is_integer(type_),
        "map": is_.is_map(type_),
        "number": is_number(type_),
        "object": is_.is_struct(type_),
        "string": is_text(type_),
        "time": is_.is_time(type_),
        "timestamp": False,
        "vector": is_list(type_) and is_number(type_.value_type),
    }
    return test.type is None or bool(found[test.type])


def is_number(type_: pa.DataType) -> bool:
    """Return whether a type is a number; a boolean is none."""
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def is_list(type_: pa.DataType) -> bool:
    """Return whether a type is a list."""
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))


def _mask(values: pa.ChunkedArray, rows: int) -> NDArray[np.bool_]:
    if not rows:
        return np.zeros(0, np.bool_)
    filled = values.fill_null(False) if values.null_count else values  # noqa: FBT003  Arrow's own signature
    return np.asarray(filled.to_numpy(), np.bool_)


def _holds(test: Test, column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return for each value whether it holds, true or null for null; None if none can, as it is of another type."""
    type_ = column.type
    match test:
        case OfType():
            return None
        case InRange():
            return _in_range(test, column)
        case OneOf():
            found = _is_in(column, test.values)
            return None if found is None else pc.or_(found, pc.is_null(column))
        case Matches():
            return match_column(test.pattern, column) if is_text(type_) else None
        case HasLength():
            if is_text(type_):
                return _between(pc.utf8_length(column).cast(pa.int64()), test.low, test.high)
            if is_list(type_):
                return _between(pc.list_value_length(column).cast(pa.int64()), test.low, test.high)
            return None
        case MultipleOf():
            return _is_multiple(column, test.divisor)
    raise AssertionError(test)


def _in_range(test: InRange, column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    type_ = column.type
    if any(is_temporal(bound) for bound in test.bounds):
        return _in_time(test, column)
    if pa.types.is_integer(type_):
        return _between(column, *whole_limits(test, Fraction(1), Fraction))
    if pa.types.is_float64(type_):
        low, high = float_limits(test)
        return pc.and_(pc.greater_equal(column, low), pc.less_equal(column, high))
    if pa.types.is_decimal(type_):
        low_, high_ = whole_limits(test, Fraction(1, 10**type_.scale), as_decimal)
        greatest = 10**type_.precision - 1
        if (low_ is not None and low_ > greatest) or (high_ is not None and high_ < -greatest):
            return pc.is_null(column)
        limits = (None if low_ is None else max(low_, -greatest), None if high_ is None else min(high_, greatest))
        scaled = (None if limit is None else pa.scalar(_decimal(limit, type_.scale), type_) for limit in limits)
        return _compared(column, *scaled)
    return None


def _in_time(test: InRange, column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    type_ = column.type
    is_time_of_day = any(not hasattr(bound, "year") for bound in test.bounds)
    if is_time_of_day:
        if not pa.types.is_time(type_):
            return None
        limits = whole_limits(test, Fraction(NS[type_.unit]), time_nanoseconds)
        return _between(column.cast(pa.int32() if type_.bit_width == 32 else pa.int64()), *limits)  # noqa: PLR2004
    if pa.types.is_date(type_):
        return _between(column.cast(pa.int32()), *whole_limits(test, Fraction(1), days))
    if pa.types.is_timestamp(type_):
        limits = whole_limits(test, Fraction(NS[type_.unit]), lambda bound: nanoseconds(bound, type_.tz, test.zone))
        return _between(column.cast(pa.int64()), *limits)
    return None


def _between(column: pa.ChunkedArray, low: int | None, high: int | None) -> pa.ChunkedArray:
    """Compare integers with limits that their type may not hold."""
    bits, is_signed = column.type.bit_width, pa.types.is_signed_integer(column.type)
    least = -(1 << (bits - 1)) if is_signed else 0
    greatest = (1 << (bits - is_signed)) - 1
    if (low is not None and low > greatest) or (high is not None and high < least):
        return pc.is_null(column)  # no value is; a null is null again where this is inverted
    limits = (None if low is None else max(low, least), None if high is None else min(high, greatest))
    return _compared(column, *(None if limit is None else pa.scalar(limit, column.type) for limit in limits))


def _compared(column: pa.ChunkedArray, low: pa.Scalar | None, high: pa.Scalar | None) -> pa.ChunkedArray:
    holds = pc.is_valid(column) if low is None else pc.greater_equal(column, low)
    return holds if high is None else pc.and_(holds, pc.less_equal(column, high))


def _is_multiple(column: pa.ChunkedArray, divisor: float) -> pa.ChunkedArray | None:
    type_ = column.type
    if pa.types.is_integer(type_) and isinstance(divisor, int):
        if divisor.bit_length() >= _INT_BITS:
            return pc.equal(column, 0)
        values = column.fill_null(0).to_numpy()
        holds = values == 0 if divisor > np.iinfo(values.dtype).max else values % values.dtype.type(divisor) == 0
    elif is_number(type_):
        with np.errstate(all="ignore"):
            times = column.cast(pa.float64(), safe=False).to_numpy() / float(divisor)
            near = np.abs(times - np.rint(times)) <= RELATIVE_ERROR * np.maximum(1.0, np.abs(times))
        holds = near & np.isfinite(times)
    else:
        return None
    return pc.or_(pa.chunked_array([pa.array(holds)]), pc.is_null(column))


def _is_in(column: pa.ChunkedArray, values: tuple[Scalar, ...]) -> pa.ChunkedArray | None:
    """Return which values are among some, false for null; None if the column can hold none of them."""
    wanted = _values_of(column.type, values)
    return pc.is_in(column, value_set=wanted) if wanted is not None and len(wanted) else None


def _values_of(type_: pa.DataType, values: tuple[Scalar, ...]) -> pa.Array | None:
    """Return those of some values that a column of a type can hold; None if values are never of that type."""
    is_ = pa.types
    if is_text(type_):
        return pa.array([value for value in values if isinstance(value, str)], type_)
    if is_.is_boolean(type_):
        return pa.array([value for value in values if isinstance(value, bool)], type_)
    if is_.is_date(type_):
        return pa.array([v for v in values if isinstance(v, date) and not isinstance(v, datetime)], type_)
    if is_.is_timestamp(type_):
        moments = [v for v in values if isinstance(v, datetime) and (v.tzinfo is None) == (type_.tz is None)]
        return _in_units([nanoseconds(moment, type_.tz, "UTC") for moment in moments], type_)
    if is_.is_time(type_):
        return _in_units([time_nanoseconds(value) for value in values if isinstance(value, time)], type_)
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if is_.is_integer(type_):
        whole = [int(number) for number in numbers if number == int(number)]
        signed = is_.is_signed_integer(type_)
        greatest = (1 << (type_.bit_width - signed)) - 1
        return pa.array([n for n in whole if (-greatest - 1 if signed else 0) <= n <= greatest], type_)
    if is_.is_float64(type_):
        exact = [float(number) + 0.0 for number in numbers if float(number) == number]  # 0.0, not -0.0
        return pa.array([*exact, *(-0.0 for number in exact if number == 0)], type_)
    if is_.is_decimal(type_):
        return _in_scale([as_decimal(number) for number in numbers], type_)
    return None


def _in_units(nanoseconds_: list[int], type_: pa.DataType) -> pa.Array:
    whole = [count // NS[type_.unit] for count in nanoseconds_ if not count % NS[type_.unit]]
    return pa.array(whole, pa.int32() if type_.bit_width == 32 else pa.int64()).cast(type_)  # noqa: PLR2004


def _in_scale(numbers: list[Decimal], type_: pa.DataType) -> pa.Array:
    """Return the numbers that a decimal type has."""
    counts = [Fraction(number) * 10**type_.scale for number in numbers]
    whole = [int(count) for count in counts if count.denominator == 1 and abs(count) < 10**type_.precision]
    return pa.array([_decimal(count, type_.scale) for count in whole], type_)


def _decimal(count: int, scale: int) -> Decimal:
    """Return a whole number of the last digit of a scale; arithmetic of decimals would round a long one."""
    return Decimal((count < 0, Decimal(abs(count)).as_tuple().digits, -scale))
