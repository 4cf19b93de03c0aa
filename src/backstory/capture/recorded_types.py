"""The types columns are recorded in: one for a name, as far as its values allow.

A field of a request is 1, 1.5 or null as it comes. If each were recorded as its own type, every mixture of them in the
fields of a request would be another schema, with a stream and segments of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

import pyarrow as pa

from backstory.columns.arrow_type import arrow_type, flat_fields, logical_type
from backstory.errors import ColumnError
from backstory.records.canonical import JsonValue
from backstory.records.schema import escape_name, split_name
from backstory.storage.fork import renew_in_child

_NAMES_MAX = 65_536
"""Names one process remembers types of; then it begins anew."""


class RecordedTypes:
    """Remembers the types seen under each name. Threads may share it.

    Attributes:
        widened: How many types gave way to wider ones so far.
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        self.widened = 0
        self._seen: dict[tuple[str, ...], list[JsonValue]] = {}
        self._lock = threading.Lock()
        renew_in_child(self, "_lock", threading.Lock)

    def cast(self, where: tuple[str, ...], columns: dict[str, pa.Array], exact: Collection[str] = ()) -> pa.Table:
        """Cast every column to its recorded type: its own, or a wider one that was seen under its name.

        A column that is all null takes any type, one of int64 takes float64 where that holds all its values.

        Args:
            where: What the columns belong to, such as a method of a model.
            columns: The columns by name.
            exact: Names of columns, or first parts of their names, whose numbers keep their own type.

        Raises:
            ColumnError: A type has no encoding, or a value does not fit its recorded type.
        """
        cast = {}
        for name, values in columns.items():
            try:
                cast[name] = values.cast(self._type_of(where, name, values, exact))
            except pa.ArrowInvalid:  # it quotes the value
                raise ColumnError(
                    f"recording: a value of type {values.type} is out of range (column {name!r})"
                ) from None
        table = pa.table(cast)
        flat_fields(table.schema)  # refuses what has no encoding
        return table

    def _type_of(self, where: tuple[str, ...], name: str, values: pa.Array, exact: Collection[str]) -> pa.DataType:
        if pa.types.is_struct(values.type):
            parts = [(f.name, f"{name}.{escape_name(f.name)}", values.field(at)) for at, f in enumerate(values.type)]
            return pa.struct([(part, self._type_of(where, path, inner, exact)) for part, path, inner in parts])
        own = logical_type(values.type, name)
        wider = self._widest((*where, name), own)
        if own in ("null", wider):
            return arrow_type(wider)
        is_exact = name in exact or split_name(name)[0] in exact
        return arrow_type(own if is_exact or not _fits(values, arrow_type(wider)) else wider)

    def _widest(self, key: tuple[str, ...], own: JsonValue) -> JsonValue:
        """Return the widest type seen under a name that a type can be recorded as, and remember the type."""
        with self._lock:
            if len(self._seen) >= _NAMES_MAX:
                self._seen.clear()
            seen = self._seen.setdefault(key, [])
            for at, other in enumerate(seen):
                if is_within(own, other):
                    return other
                if is_within(other, own):
                    seen[at] = own
                    self.widened += 1
                    return own
            seen.append(own)
            return own


def is_within(one: JsonValue, other: JsonValue) -> bool:
    """Say whether values of a logical type can be recorded as another, as far as the types tell.

    >>> is_within("int64", "float64"), is_within("float64", "int64"), is_within("null", "string")
    (True, False, True)
    """
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys() == {"list"}:
        return is_within(one["list"], other["list"])
    return one in ("null", other) or (one, other) == ("int64", "float64")


def _fits(values: pa.Array, type_: pa.DataType) -> bool:
    """Say whether a type holds all values: float64 holds whole numbers up to 2**53."""
    try:
        values.cast(type_)
    except pa.ArrowException:
        return False
    return True
