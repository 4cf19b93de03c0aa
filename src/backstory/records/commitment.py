"""Salted commitments to groups of values, and their openings. Bytes: docs/format.md section 5."""

from __future__ import annotations

import hashlib
import hmac

from backstory.errors import FormatError, VerificationError

SALT_SIZE = 32
_DOMAIN = b"backstory/commitment/v1\x00"
_FIELDS_DOMAIN = b"backstory/commitment/v2\x00"
FIELD_PREFIX = b"backstory/field/v1\x00"
"""What is hashed before the group's salt for the salt of a field."""
_GROUP_SIZE_MAX = 255


def commitment_prefix(group: str) -> bytes:
    """Return what is hashed before the salt: the domain and the group's name.

    Raises:
        FormatError: The group's name is empty or longer than 255 bytes.
    """
    return _DOMAIN + _sized(group)


def fields_prefix(group: str, count: int) -> bytes:
    """Return what is hashed before the root of a group that is committed to by field.

    Args:
        group: Name of the sealed group.
        count: How many columns it has.

    Raises:
        FormatError: The group's name is empty or longer than 255 bytes.
    """
    return _FIELDS_DOMAIN + _sized(group) + count.to_bytes(4, "little")


def _sized(group: str) -> bytes:
    name = group.encode()
    if not 0 < len(name) <= _GROUP_SIZE_MAX:
        raise FormatError(f"commitment: expected a group name of 1 to {_GROUP_SIZE_MAX} bytes, got {len(name)}")
    return bytes([len(name)]) + name


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


def field_salt(salt: bytes, index: int) -> bytes:
    """Return the salt of one field of a group, which shows nothing about the group's or another field's.

    Args:
        salt: The group's salt, 32 bytes.
        index: Which of its columns, in byte order of their names.

    >>> field_salt(bytes(32), 1).hex()[:16]
    '4a5c34afe56c621b'
    """
    return hashlib.sha256(FIELD_PREFIX + salt + index.to_bytes(4, "little")).digest()


def field_data(salt: bytes, row: bytes) -> bytes:
    """Return what the leaf of one field is of.

    Args:
        salt: The field's salt, 32 bytes.
        row: Row encoding of the one column.

    Raises:
        FormatError: The salt is not 32 bytes.
    """
    if len(salt) != SALT_SIZE:
        raise FormatError(f"commitment: expected a field's salt of {SALT_SIZE} bytes, got {len(salt)}")
    return salt + row


def commit_fields(group: str, count: int, root: bytes) -> bytes:
    """Commit to a group by field.

    Args:
        group: Name of the sealed group.
        count: How many columns it has.
        root: Root of the tree over their leaves.

    Raises:
        FormatError: The group's name is empty or longer than 255 bytes.
    """
    return hashlib.sha256(fields_prefix(group, count) + root).digest()


def verify_fields(commitment: bytes, group: str, count: int, root: bytes) -> None:
    """Check that the leaves of a group's fields lead to its commitment.

    Raises:
        VerificationError: They do not.
    """
    if not hmac.compare_digest(commit_fields(group, count, root), commitment):
        raise VerificationError(f"opened fields of group {group!r} do not match its commitment {commitment.hex()}")
