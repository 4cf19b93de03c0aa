"""Values of any kind as values that can be recorded.

Nothing here raises whatever the value is: a call that works is not to fail because its arguments are hard to record.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import uuid
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa

from backstory.columns.encode import iter_blocks
from backstory.errors import InputError
from backstory.frames.table import kind_of, to_arrow

VALUES_MAX = 1 << 20
"""Values inside one value that are kept, such as the numbers of an array; of the others, that they were there."""
_DEPTH_MAX = 24
"""Lists and dicts inside each other that are kept; also ends those that hold themselves."""
_EXACT = frozenset({bool, int, float, bytes, type(None)})
_PLAIN = (
    bool,
    int,
    float,
    bytes,
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    decimal.Decimal,
)
_LISTINGS = ("tolist", "to_list", "to_pylist")
_MISSING = frozenset({"NAType", "NaTType"})
_NUMBER_KINDS = frozenset("biuf")
_TIME_KINDS = frozenset("mM")


def one_value(value: Any) -> pa.Array:  # noqa: ANN401
    """Return a value as an Arrow array of one; as JSON text where it is or holds a dict, or has no other form.

    A dict's names are data of the call, and the names of columns stand in clear.
    """
    return array_of_one(plain_value(value))


def array_of_one(plain: Any) -> pa.Array:  # noqa: ANN401
    """Return what `plain_value` gave as an Arrow array of one; see `one_value`."""
    if isinstance(plain, dict):
        return pa.array([json_text(plain)])
    try:
        array = pa.array([plain])
        if _has_names(array.type):
            return pa.array([json_text(plain)])
        for block in iter_blocks(pa.table({"value": array})):
            block.joined()
    except Exception:  # noqa: BLE001  a time zone of the caller's own may raise anything
        return pa.array([json_text(plain)])
    return array


def json_text(plain: Any, *, compact: bool = False) -> str:  # noqa: ANN401
    """Return what `plain_value` gave as JSON; a value in it that has no text becomes the name of its type.

    Args:
        plain: The value.
        compact: Whether to leave out what is only there for readers, and to sort names.
    """
    layout: dict[str, Any] = {"separators": (",", ":"), "sort_keys": True} if compact else {}
    try:
        text = json.dumps(plain, default=str, ensure_ascii=False, **layout)
    except Exception:  # noqa: BLE001  a whole number of thousands of digits, a time zone of the caller's own
        text = json.dumps(_writable(plain), default=str, ensure_ascii=False, **layout)
    return plain_text(text)


def plain_value(value: Any) -> Any:  # noqa: ANN401
    """Return a value made of plain Python; what has no plain form becomes the name of its type."""
    if type(value) in _EXACT:
        return value
    return plain_text(value) if type(value) is str else _Reader().read(value, 0)


def plain_text(text: str) -> str:
    r"""Return a text that has a form in UTF-8: half a surrogate pair is written as an escape.

    >>> plain_text("\ud800")
    '\\ud800'
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def distinct_names(names: Iterable[Any]) -> list[str]:
    """Return names as texts, none of them empty and no two alike.

    >>> distinct_names([1, "1", "x"])
    ['1', '1 (str)', 'x']
    """
    names = list(names)
    if {str}.issuperset(map(type, names)) and "".join(names).isascii() and len({*names, ""}) > len(names):
        return names
    texts: dict[str, None] = {}
    for name in names:
        text = (plain_text(name) if type(name) is str else _name_text(name)) or '""'
        if text in texts:
            text = first = f"{text} ({type(name).__name__})"
            number = 2
            while text in texts:
                text, number = f"{first} {number}", number + 1
        texts[text] = None
    return list(texts)


class _Reader:
    """Reads one value, up to a number of values inside it."""

    def __init__(self) -> None:
        self._left = VALUES_MAX

    def read(self, value: Any, depth: int) -> Any:  # noqa: ANN401
        if type(value) in _EXACT:
            return value
        try:
            return self._read(value, depth)
        except Exception:  # noqa: BLE001  properties and methods of any object may raise anything
            return _type_name(value)

    def _read(self, value: Any, depth: int) -> Any:  # noqa: ANN401, C901, PLR0911  one return for each kind of value
        kind = type(value)
        if isinstance(value, enum.Enum):
            return self.read(value.value, depth + 1)
        if isinstance(value, str):
            return plain_text(str.__str__(value))
        if kind.__name__ in _MISSING:
            return None
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, list | tuple | set | frozenset) and depth < _DEPTH_MAX:
            return self._list(value, depth)
        if isinstance(value, bytearray | memoryview):
            return bytes(value)
        if isinstance(value, uuid.UUID | PurePath):
            return plain_text(str(value))
        if isinstance(value, type) or depth >= _DEPTH_MAX:
            return _type_name(value)
        if isinstance(value, Mapping):
            return self._dict(list(value), list(value.values()), depth)
        if dataclasses.is_dataclass(value):  # field by field: some fields cannot be copied
            names = [field.name for field in dataclasses.fields(value)]
            return self._dict(names, [getattr(value, name, None) for name in names], depth)
        if hasattr(kind, "model_dump"):  # asked of the type: some objects answer to every name
            return self.read(value.model_dump(), depth + 1)
        if _is_frame(value):
            return self._frame(value, depth)
        return self._array(value, depth) if any(hasattr(kind, name) for name in _LISTINGS) else _type_name(value)

    def _dict(self, names: list[Any], values: list[Any], depth: int) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for name, value in zip(distinct_names(names), values, strict=True):
            if self._left <= 0:
                return {**plain, f"<{len(names) - len(plain)} more>": None}
            self._left -= 1
            plain[name] = self.read(value, depth + 1)
        return plain

    def _list(self, values: Any, depth: int) -> list[Any]:  # noqa: ANN401
        plain: list[Any] = []
        for value in values:
            if self._left <= 0:
                return [*plain, f"<{len(values) - len(plain)} more>"]
            self._left -= 1
            plain.append(self.read(value, depth + 1))
        return plain

    def _array(self, array: Any, depth: int) -> Any:  # noqa: ANN401
        """Read an array of any rank as lists inside each other, a scalar as what it holds."""
        shape = tuple(array.shape) if hasattr(array, "shape") else (len(array),)
        kind = getattr(getattr(array, "dtype", None), "kind", None)
        if kind in _TIME_KINDS and isinstance(array, np.ndarray | np.generic):
            array = np.asarray(array).astype(str)  # as it is written: some units would come out as bare numbers
        if not shape:
            item = array.item()
            return str(array) if type(item) is type(array) else self.read(item, depth + 1)  # wider than any column
        size = math.prod(shape)
        if size == 0 and len(shape) > 1:
            return _type_name(array)
        if size > self._left:
            flat = array if len(shape) == 1 else array.reshape(-1)
            return self._cut(array, shape, _listed(flat[: self._left]), depth)
        listed = _listed(array)
        if kind not in _NUMBER_KINDS:
            return self._list(listed, depth)
        self._left -= size
        return listed

    def _frame(self, frame: Any, depth: int) -> Any:  # noqa: ANN401
        """Read a frame as a list of dicts, one a row."""
        shape = tuple(frame.shape)
        if 0 in shape:
            return _type_name(frame)
        kept = max(1, self._left // (shape[1] + 1))
        rows = _rows(frame.slice(0, kept) if hasattr(frame, "slice") else frame[:kept])
        return self._list(rows, depth) if kept >= shape[0] else self._cut(frame, shape, rows, depth)

    def _cut(self, value: Any, shape: tuple[int, ...], first: list[Any], depth: int) -> dict[str, Any]:  # noqa: ANN401
        return {"first": self._list(first, depth), "shape": list(shape), "type": _type_name(value)}


def _is_frame(value: Any) -> bool:  # noqa: ANN401
    try:
        return kind_of(value) in {"pandas", "polars", "arrow", "arrow-batch"}
    except InputError:
        return False


def _listed(array: Any) -> list[Any]:  # noqa: ANN401
    listing = next(name for name in _LISTINGS if hasattr(array, name))
    return list(getattr(array, listing)())


def _rows(frame: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    try:
        return list(to_arrow(frame).to_pylist())
    except InputError:  # pandas takes names that are not text or stand twice, and columns of several types
        names = distinct_names(frame.columns)
        return [dict(zip(names, row, strict=True)) for row in frame.itertuples(index=False, name=None)]


def _type_name(value: Any) -> str:  # noqa: ANN401
    kind = type(value)  # its `__class__` may be a property, which raises
    if issubclass(kind, type):
        return plain_text(f"<class {value.__module__}.{value.__qualname__}>")
    name = plain_text(f"{kind.__module__}.{kind.__qualname__}")
    try:
        shape = value.shape
        return f"<{name} of shape {tuple(map(int, shape))}>" if isinstance(shape, tuple) else f"<{name}>"
    except Exception:  # noqa: BLE001  it has none, or does not say
        return f"<{name}>"


def _name_text(name: Any) -> str:  # noqa: ANN401
    try:
        return plain_text(str.__str__(str(name)))
    except Exception:  # noqa: BLE001
        return _type_name(name)


def _writable(plain: Any) -> Any:  # noqa: ANN401
    if isinstance(plain, dict):
        return {name: _writable(value) for name, value in plain.items()}
    if isinstance(plain, list):
        return list(map(_writable, plain))
    try:
        json.dumps(plain, default=str)
    except Exception:  # noqa: BLE001
        return _type_name(plain)
    return plain


def _has_names(type_: pa.DataType) -> bool:
    """Say whether values of a type have fields, whose names would stand in the schema."""
    while pa.types.is_list(type_):
        type_ = type_.value_type
    return bool(pa.types.is_struct(type_))
