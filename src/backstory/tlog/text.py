"""The two scalar forms of the log's text formats: decimal numbers and base64; and how names are printed.

Both forms have exactly one spelling for each value. Python's own parsers are more forgiving (`int` takes `+8`, ` 8`,
`1_0` and digits of other scripts; base64 decoding ignores stray low bits), so nothing else in this package calls them
on text from outside.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from backstory.errors import FormatError
from backstory.tlog.limits import TREE_SIZE_MAX

# 19 digits hold every number below 2**63; the bound keeps the conversion cheap on hostile input.
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def parse_decimal(text: str, what: str) -> int:
    """Parse a size or an index.

    Args:
        text: ASCII digits without sign, space or leading zero.
        what: Name of the field, for the message.

    Returns:
        A number from 0 to `TREE_SIZE_MAX`.

    Raises:
        FormatError: Another spelling, or a number of 2**63 or more.
    """
    if _DECIMAL.fullmatch(text) is None or (number := int(text)) > TREE_SIZE_MAX:
        raise FormatError(f"{what} is malformed: expected a plain decimal below 2^63")
    return number


def parse_base64(text: str, what: str, size: int | None = None) -> bytes:
    """Parse standard, padded, canonical base64 (RFC 4648 section 4).

    Args:
        text: The encoded bytes; not empty.
        what: Name of the field, for the message.
        size: Number of bytes it must hold, or None for any number above 0.

    Returns:
        The decoded bytes.

    Raises:
        FormatError: Another alphabet or padding, stray bits, nothing at all, or another number of bytes.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"{what} is malformed: expected base64") from error
    if not data or encode_base64(data) != text:
        raise FormatError(f"{what} is malformed: expected canonical base64 of at least one byte")
    if size is not None and len(data) != size:
        raise FormatError(f"{what} is malformed: expected {size} bytes, got {len(data)}")
    return data


def printable(name: str) -> str:
    """Write a name that others chose so that it does no harm in a message or on a terminal.

    Args:
        name: The name, which may hold bytes that are no UTF-8 (`surrogateescape`).

    Returns:
        The name with escapes for whatever is not printable.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


def encode_base64(data: bytes) -> str:
    """Write bytes as standard, padded base64."""
    return base64.b64encode(data).decode("ascii")
