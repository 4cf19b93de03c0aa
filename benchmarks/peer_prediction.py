"""The prediction that everything measured records: 14 floats, 4 whole numbers, 2 strings, and one float as output.

The values follow from the number of the call, differ from call to call, and are alike in every process. Only the
standard library is used: the peers' environment has to run it too.
"""

from __future__ import annotations

Fields = dict[str, float | int | str]

SPREAD = 2_654_435_761
"""Odd and near 2^32 divided by the golden ratio: multiples of it, modulo 2^32, look like chance."""

CARRIERS = ("9E", "AA", "B6", "DL", "EV", "MQ", "UA", "US", "WN")


def prediction_fields(call: int) -> Fields:
    """Return the 20 fields of one call.

    Half of the floats have two decimals, as measured values have; the others use every digit, as computed ones do.
    """
    first = call * 20
    fields: Fields = {f"measured_{i}": round(1_000 * _fraction(first + i), 2) for i in range(7)}
    fields |= {f"computed_{i}": _fraction(first + 7 + i) - 0.5 for i in range(7)}
    fields |= {f"count_{i}": int(10**i * _fraction(first + 14 + i)) for i in range(1, 5)}
    fields["carrier"] = CARRIERS[int(len(CARRIERS) * _fraction(first + 19))]
    fields["tail_number"] = f"N{call * 7_919 % 100_000:05d}"
    return fields


def prediction_score(call: int) -> float:
    """Return what the model answered to one call."""
    return _fraction(call * 20 + 20_011)


def _fraction(step: int) -> float:
    return step * SPREAD % 2**32 / 2**32
