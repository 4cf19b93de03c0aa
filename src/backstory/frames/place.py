"""Where something is, as it may be written down: without user, password and options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

_URL: Final = re.compile(
    # A password may hold what should be escaped in it: what has a colon goes up to the last @.
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<user>[^/@:\s]*:[^\s'\"]*@|[^/@\s]*@)?(?P<rest>[^?#\s]*)"
    r"(?P<options>[?#]\S*)?"
)
_SECRET: Final = re.compile(
    r"((?:password|passwd|pwd|secret|token|access_?key)\s*=)\s*('(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|[^\s;&'\"]+)",
    re.IGNORECASE,
)
_MOTHERDUCK: Final = "md:"


def without_secrets(place: str) -> str:
    """Return a text in which URLs have no user, password and options, and `password=…` and the like have no value.

    >>> without_secrets("postgresql://anna:pw@db.example.org/loans?sslpassword=x")
    'postgresql://db.example.org/loans'
    >>> without_secrets("s3://bucket/june.csv")
    's3://bucket/june.csv'
    >>> without_secrets("host=db.example.org password=pw dbname=loans")
    'host=db.example.org password= dbname=loans'
    """
    cleaned = _SECRET.sub(r"\1", _URL.sub(lambda found: f"{found['scheme']}://{found['rest']}", place))
    return cleaned.partition("?")[0] if cleaned.startswith(_MOTHERDUCK) else cleaned


def local_path(place: str) -> Path | None:
    """Return the path of a place on this machine's file system; None for one elsewhere.

    >>> local_path("file:///srv/a%20b"), local_path("s3://bucket/a")
    (PosixPath('/srv/a b'), None)
    """
    if "://" not in place:
        return Path(place)
    parts = urlsplit(place)
    is_here = parts.scheme == "file" and parts.netloc in {"", "localhost"}
    return Path(unquote(parts.path)) if is_here else None
