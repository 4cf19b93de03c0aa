"""Values of any kind as values that can be recorded."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import json
from typing import Any

import pyarrow as pa

from backstory.columns.encode import iter_blocks
from backstory.errors import ColumnError

_PLAIN = (
    bool,
    int,
    float,
    str,
    bytes,
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    decimal.Decimal,
)


def one_value(value: Any) -> pa.Array:  # noqa: ANN401
    """Return a value as an Arrow array of one; as JSON text where the row encoding has no form for it."""
    plain = plain_value(value)
    try:
        array = pa.array([plain])
        for block in iter_blocks(pa.table({"value": array})):
            block.joined()
    except (pa.ArrowException, ColumnError, OverflowError, TypeError, ValueError):
        return _as_json(plain)
    return array


def _as_json(plain: Any) -> pa.Array:  # noqa: ANN401
    try:
        return pa.array([json.dumps(plain, default=str, ensure_ascii=False)])
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can write down
        return pa.array([json.dumps(plain, default=str)])


def plain_value(value: Any) -> Any:  # noqa: ANN401  one return for each kind of value
    """Return a value made of plain Python; what has no plain form becomes the name of its type."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, dict):
        return {str(name): plain_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_value(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain_value(dataclasses.asdict(value))
    if hasattr(value, "model_dump"):
        return plain_value(value.model_dump())
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        item = value.item()
        return str(value) if type(item) is type(value) else plain_value(item)  # a number wider than any column
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1:
        return plain_value(value.tolist())
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    shape = getattr(value, "shape", None)
    return f"<{name}>" if shape is None else f"<{name} of shape {shape}>"
