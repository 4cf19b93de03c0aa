"""How a file, a query or a table of another system is to be read: the options of `source`, checked and as JSON."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import pyarrow as pa

from backstory.columns.arrow_type import arrow_type
from backstory.errors import ColumnError, InputError
from backstory.records.canonical import JsonObject
from backstory.records.names import names_instead

ENCODING: Final = "utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How something is to be read; what is not given is as the file or the system has it.

    Attributes:
        columns: Only these columns, in this order.
        delimiter: What stands between the cells of a CSV file, one character.
        encoding: Encoding of a CSV file; UTF-8 if not given.
        names: Names of the columns of a CSV file whose first line is none.
        nulls: Texts of a CSV file that mean "missing"; as pandas has them if not given.
        pattern: Which files of a directory are meant, as `*.csv`.
        quote: What stands around cells of a CSV file, one character.
        skip: How many lines of a CSV file come before its first.
        snapshot: Which snapshot of an Iceberg table; the current one if not given.
        types: Logical types of columns, as `int64`, `string`, `date`, `timestamp[UTC]` or `decimal(10,2)`.
    """

    columns: tuple[str, ...] = ()
    delimiter: str | None = None
    encoding: str | None = None
    names: tuple[str, ...] = ()
    nulls: tuple[str, ...] = ()
    pattern: str | None = None
    quote: str | None = None
    skip: int = 0
    snapshot: str | None = None
    types: tuple[tuple[str, str], ...] = ()

    def document(self) -> JsonObject:
        """Return the options that were given as JSON."""
        given: JsonObject = {}
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if name == "types":
                value = dict(value)
            elif name == "skip":
                value = str(value) if value else None
            elif isinstance(value, tuple):
                value = list(value)
            if value:
                given[name] = value
        return given

    def arrow_types(self) -> dict[str, pa.DataType]:
        """Return the types of columns as Arrow has them."""
        return {name: arrow_type(type_) for name, type_ in self.types}


_LISTS: Final = frozenset({"columns", "names", "nulls"})
_CHARACTERS: Final = frozenset({"delimiter", "quote"})


def read_options(given: Mapping[str, Any] | None) -> ReadOptions:
    """Return options from what a caller, or the archive, says.

    Args:
        given: Options by name; see `ReadOptions`.

    Raises:
        InputError: One is unknown, or cannot be used.
    """
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"reading: expected options by name, got {type(given).__name__}")
    known = [field.name for field in fields(ReadOptions)]
    taken: dict[str, Any] = {}
    for name, value in (given or {}).items():
        if name not in known:
            raise InputError(f"reading: no option {name!r}{names_instead(str(name), known)}")
        taken[name] = _checked(name, value)
    return ReadOptions(**taken)


def require_known(options: ReadOptions, known: Sequence[str], what: str) -> None:
    """Refuse options that mean nothing to what is read.

    Raises:
        InputError: There is one.
    """
    unknown = sorted(set(options.document()) - set(known))
    if unknown:
        taken = f"those for it are {', '.join(known)}" if known else "it takes none"
        raise InputError(f"reading: {unknown[0]!r} is no option for {what}; {taken}")


def _checked(name: str, value: Any) -> Any:
    if name == "types":
        return _types(value)
    if name in _LISTS:
        texts = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Sequence) else (None,)
        if not texts or not all(isinstance(text, str) for text in texts):
            raise InputError(f"reading: expected {name!r} to be a list of texts, got {type(value).__name__}")
        return texts
    if name == "skip":
        if isinstance(value, bool) or not str(value).isdecimal():
            raise InputError("reading: expected 'skip' to be a number of lines")
        return int(value)
    text = str(value) if name == "snapshot" and isinstance(value, int) else value
    if not isinstance(text, str) or not text or (name in _CHARACTERS and len(text) != 1):
        wanted = "one character" if name in _CHARACTERS else "text"
        raise InputError(f"reading: expected {name!r} to be {wanted}, got {type(value).__name__}")
    if name == "encoding":
        try:
            codecs.lookup(text)
        except LookupError:
            raise InputError(f"reading: no encoding {text!r}; encodings are utf-8, utf-16, latin-1 and so on") from None
    return text


def _types(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise InputError(f"reading: expected 'types' to be types by column, got {type(value).__name__}")
    for name, type_ in value.items():
        try:
            if not isinstance(type_, str):
                raise InputError(f"reading: expected the type of {name!r} as text, got {type(type_).__name__}")
            arrow_type(type_)
        except (ColumnError, pa.ArrowException, ValueError):
            raise InputError(
                f"reading: no type {type_!r} (column {name!r}); types are int64, float64, string, bool, date, "
                "timestamp, timestamp[UTC], time, duration, bytes, decimal(10,2) and smaller numbers"
            ) from None
    return tuple((str(name), type_) for name, type_ in sorted(value.items()))
