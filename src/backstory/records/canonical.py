"""Canonical JSON: one value, one sequence of bytes.

The subset of RFC 8785 of docs/format.md section 1: no floats, integers up to 2**53 − 1. `parse` accepts only bytes that
`encode` would have produced, so a document can be named by the digest of its bytes.
"""

from __future__ import annotations

import hashlib
import json
from typing import TypeAlias

from backstory.errors import FormatError
from backstory.records.limits import INTEGER_MAX, NESTING_DEPTH_MAX

JsonValue: TypeAlias = "None | bool | int | str | list[JsonValue] | dict[str, JsonValue]"
JsonObject: TypeAlias = "dict[str, JsonValue]"


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
        return json.dumps(ordered, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        msg = "canonical JSON: expected Unicode text, got a lone surrogate"
        raise FormatError(msg) from error


def parse(data: bytes) -> JsonValue:
    """Read a value and insist that its bytes are canonical.

    Raises:
        FormatError: Not JSON, or not the canonical form of what it says.
    """
    try:
        value: JsonValue = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        msg = f"canonical JSON: cannot be parsed ({len(data)} bytes)"
        raise FormatError(msg) from error
    if encode(value) != data:
        msg = f"canonical JSON: bytes are not in canonical form ({len(data)} bytes)"
        raise FormatError(msg)
    return value


def parse_object(data: bytes, what: str) -> JsonObject:
    """Read a canonical JSON object.

    Args:
        data: The bytes.
        what: What the document is, for the error message.

    Raises:
        FormatError: Not canonical JSON, or not an object.
    """
    value = parse(data)
    if not isinstance(value, dict):
        msg = f"{what}: expected a JSON object, got {type(value).__name__}"
        raise FormatError(msg)
    return value


def digest_of(value: JsonValue) -> str:
    """Return the SHA-256 of a value's canonical form, in hex."""
    return hashlib.sha256(encode(value)).hexdigest()


def text_of(document: JsonObject, key: str) -> str:
    """Return a string member of a parsed document.

    Raises:
        FormatError: The member is missing or not a string.
    """
    value = document.get(key)
    if not isinstance(value, str):
        msg = f"document: expected a string {key!r}, got {type(value).__name__}"
        raise FormatError(msg)
    return value


def count_of(document: JsonObject, key: str) -> int:
    """Return a member that holds a count as decimal text.

    Raises:
        FormatError: The member is missing or not a decimal number without leading zeros.
    """
    text = text_of(document, key)
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0"):
        msg = f"document: expected a decimal count {key!r}"
        raise FormatError(msg)
    return int(text)


def _ordered(value: JsonValue, depth: int) -> JsonValue:
    if depth > NESTING_DEPTH_MAX:
        msg = f"canonical JSON: nested deeper than {NESTING_DEPTH_MAX}"
        raise FormatError(msg)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) > INTEGER_MAX:
            msg = "canonical JSON: expected an integer of magnitude at most 2**53 - 1, got a larger one"
            raise FormatError(msg)
        return value
    if isinstance(value, list | tuple):
        return [_ordered(item, depth + 1) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            msg = "canonical JSON: expected string member names"
            raise FormatError(msg)
        try:
            names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        except UnicodeEncodeError as error:
            msg = "canonical JSON: expected Unicode text, got a lone surrogate"
            raise FormatError(msg) from error
        return {name: _ordered(value[name], depth + 1) for name in names}
    msg = f"canonical JSON: expected null, bool, integer, string, list or object, got {type(value).__name__}"
    raise FormatError(msg)
