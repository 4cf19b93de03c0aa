"""Salted commitments to groups of values, and their openings. Bytes: docs/format.md section 5."""

from __future__ import annotations

import hashlib
import hmac

from backstory.errors import FormatError, VerificationError

SALT_SIZE = 32
_DOMAIN = b"backstory/commitment/v1\x00"
_GROUP_SIZE_MAX = 255


def commitment_prefix(group: str) -> bytes:
    """Return what is hashed before the salt: the domain and the group's name.

    Raises:
        FormatError: The group's name is empty or longer than 255 bytes.
    """
    name = group.encode()
    if not 0 < len(name) <= _GROUP_SIZE_MAX:
        raise FormatError(f"commitment: expected a group name of 1 to {_GROUP_SIZE_MAX} bytes, got {len(name)}")
    return _DOMAIN + bytes([len(name)]) + name


def commit(group: str, salt: bytes, row: bytes) -> bytes:
    """Commit to the row encoding of a group's columns.

    Args:
        group: Name of the sealed group.
        salt: 32 secret bytes, used for this record and group only.
        row: Row encoding of the group's columns.

    Returns:
        The commitment, 32 bytes. It hides the row as long as the salt is secret (SHA-256 as a random oracle); it is
        computationally, not perfectly, hiding.

    Raises:
        FormatError: The salt is not 32 bytes.

    >>> commit("output", bytes(32), b"row").hex()[:16]
    '8fef8115f6bd3b4f'
    """
    if len(salt) != SALT_SIZE:
        raise FormatError(f"commitment: expected a salt of {SALT_SIZE} bytes, got {len(salt)}")
    return hashlib.sha256(commitment_prefix(group) + salt + row).digest()


def verify_opening(commitment: bytes, group: str, salt: bytes, row: bytes) -> None:
    """Check that a salt and a row open a commitment.

    Raises:
        VerificationError: They do not.
    """
    if not hmac.compare_digest(commit(group, salt, row), commitment):
        raise VerificationError(f"opening of group {group!r} does not match its commitment {commitment.hex()}")
