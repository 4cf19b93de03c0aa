"""Keyed digests: what is the same for equal content about people, for whoever has the key and for nobody else.

A digest says under which key it is, as keys are destroyed when somebody is erased: digests of two keys say nothing
about each other. Bytes: docs/format.md section 38.
"""

from __future__ import annotations

import hashlib
import hmac

_DOMAIN = b"backstory/dataset-key/v1\x00"


def keyed(key: bytes, data: bytes) -> str:
    """Return the keyed digest of something that could be guessed.

    >>> keyed(bytes(32), b"").count(":")
    1
    """
    return f"{name_of_key(key)}:{hmac.digest(key, data, hashlib.sha256).hex()}"


def name_of_key(key: bytes) -> str:
    """Return what names a key in the digests under it; a key of 32 random bytes cannot be found from it."""
    return hashlib.sha256(_DOMAIN + key).hexdigest()


def is_under(key: bytes, digest: object) -> bool:
    """Say whether a keyed digest is under a key, and so can be compared with others that are."""
    return isinstance(digest, str) and digest.partition(":")[0] == name_of_key(key)


def are_comparable(one: object, other: object) -> bool:
    """Say whether two digests, keyed or plain, are under one key, or both under none."""
    names = [text.partition(":")[0] if isinstance(text, str) and ":" in text else None for text in (one, other)]
    return names[0] == names[1]
