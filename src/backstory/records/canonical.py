"""Canonical JSON: one value, one sequence of bytes.

The subset of RFC 8785 of docs/format.md section 1: no floats, integers up to 2**53 − 1. `parse` accepts only bytes that
`encode` would have produced, so a document can be named by the digest of its bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TypeAlias

from backstory.errors import FormatError
from backstory.records.limits import INTEGER_MAX, NESTING_DEPTH_MAX

JsonValue: TypeAlias = "bool | int | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = "dict[str, JsonValue]"

# Made once: `json.dumps` would make one for every document. What it is given is a tree of our own, without circles.
_written = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode

_COUNT = re.compile(r"0|[1-9][0-9]{0,19}")  # at most 20 digits hold every u64


def encode(value: JsonValue) -> bytes:
    """Write a value in its canonical form.

    Args:
        value: Nested dicts, lists, strings, booleans, None, and integers of magnitude at most 2**53 − 1.

    Returns:
        UTF-8 bytes without white space; object members in order of their names' UTF-16 code units.

    Raises:
        FormatError: The value holds a float, a larger integer, a lone surrogate, another type, or is nested too deep.

    Source: RFC 8785 sections 3.2.1 to 3.2.3.

    >>> encode({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    ordered = _ordered(value, 0)
    try:
        return _written(ordered).encode()
    except UnicodeEncodeError as error:
        raise FormatError("canonical JSON: expected Unicode text, got a lone surrogate") from error


def parse(data: bytes, what: str = "canonical JSON") -> JsonValue:
    """Read a value and insist that its bytes are canonical.

    Args:
        data: The bytes.
        what: What the document is, for the error message.

    Raises:
        FormatError: Not JSON, or not the canonical form of what it says.
    """
    try:
        value: JsonValue = json.loads(data.decode())
        canonical = encode(value)
    except (ValueError, RecursionError, FormatError) as error:
        raise FormatError(f"{what}: is not canonical JSON ({len(data)} bytes)") from error
    if canonical != data:
        raise FormatError(f"{what}: is JSON in another than its canonical form ({len(data)} bytes)")
    return value


def parse_object(data: bytes, what: str) -> JsonObject:
    """Read a canonical JSON object.

    Args:
        data: The bytes.
        what: What the document is, for the error message.

    Raises:
        FormatError: Not canonical JSON, or not an object.
    """
    value = parse(data, what)
    if not isinstance(value, dict):
        raise FormatError(f"{what}: expected a JSON object, got {type(value).__name__}")
    return value


def digest_of(value: JsonValue) -> str:
    """Return the SHA-256 of a value's canonical form, in hex."""
    return hashlib.sha256(encode(value)).hexdigest()


def check_version(document: JsonObject, version: int, what: str) -> None:
    """Insist on a document's version.

    Args:
        document: A parsed document.
        version: The version it must have.
        what: What the document is, for the error message.

    Raises:
        FormatError: It has another one, or none.
    """
    found = document.get("v")
    if found is True or found != version:  # JSON's true is not a number, though Python's equals 1
        raise FormatError(f"{what}: expected version {version}")


def text_of(document: JsonObject, key: str) -> str:
    """Return a string member of a parsed document.

    Raises:
        FormatError: The member is missing or not a string.
    """
    value = document.get(key)
    if not isinstance(value, str):
        raise FormatError(f"document: expected a string {key!r}, got {type(value).__name__}")
    return value


def count_of(document: JsonObject, key: str) -> int:
    """Return a member that holds a count as decimal text.

    Raises:
        FormatError: The member is missing, or not a decimal number of at most 20 digits without leading zeros.
    """
    text = text_of(document, key)
    if not _COUNT.fullmatch(text):
        raise FormatError(f"document: expected a decimal count {key!r}")
    return int(text)


def _ordered(value: JsonValue, depth: int) -> JsonValue:
    if depth > NESTING_DEPTH_MAX:
        raise FormatError(f"canonical JSON: nested deeper than {NESTING_DEPTH_MAX}")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) > INTEGER_MAX:
            raise FormatError("canonical JSON: expected an integer of magnitude at most 2**53 - 1, got a larger one")
        return value
    if isinstance(value, list | tuple):
        return [_ordered(item, depth + 1) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise FormatError("canonical JSON: expected string member names")
        if all(map(str.isascii, value)):  # then either order is the same
            return {name: _ordered(value[name], depth + 1) for name in sorted(value)}
        try:
            names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        except UnicodeEncodeError as error:
            raise FormatError("canonical JSON: expected Unicode text, got a lone surrogate") from error
        return {name: _ordered(value[name], depth + 1) for name in names}
    raise FormatError(
        f"canonical JSON: expected null, bool, integer, string, list or object, got {type(value).__name__}"
    )
