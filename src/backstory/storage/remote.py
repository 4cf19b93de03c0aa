"""Asking another machine over HTTP: one request, one answer of limited size within limited time, no redirect followed.

Nothing that comes in here is believed; whoever asked verifies it.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import IO
from urllib.parse import urlsplit

from backstory.errors import InputError, StorageError
from backstory.version import VERSION

TIMEOUT_SECONDS = 15.0
"""What one request may take altogether, unless told otherwise."""
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back.

    Attributes:
        status: HTTP status.
        content_type: What the body is said to be, in lower case and without parameters.
        body: The content.
    """

    status: int
    content_type: str
    body: bytes


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Follow none: neither witnesses nor logs redirect, and where one leads is not where we were told to ask."""


_OPENER = urllib.request.build_opener(_NoRedirect())


def require_url(url: str, what: str) -> str:
    """Return a URL prefix that a person gave, without a slash at its end.

    Args:
        url: The prefix.
        what: What it is of, for the message.

    Raises:
        InputError: It is not an `http` or `https` URL of a host, or it has a query or fragment.
    """
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in {"http", "https"} and parts.hostname and not (parts.query or parts.fragment)
    except ValueError:
        is_one = False
    if not is_one or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(f"{what}: expected a URL that begins with https:// or http:// and has no query")
    return url.rstrip("/")


def ask(
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    size_max: int,
    seconds: float = TIMEOUT_SECONDS,
) -> Reply:
    """Send a request and return what came back, whatever its status.

    Args:
        url: What to ask.
        body: What to send with POST; None to GET.
        headers: Headers by name.
        size_max: Bytes an answer may have.
        seconds: How long all of it may take.

    Raises:
        StorageError: There was no answer, it took too long, or it is too large.
    """
    host = urlsplit(url).netloc
    request = urllib.request.Request(url, data=body, headers={"User-Agent": f"backstory/{VERSION}", **(headers or {})})  # noqa: S310  `require_url` let http and https pass
    until = time.monotonic() + seconds
    try:
        with _open(request, seconds) as response:
            content = _read(response, size_max, until, host)
            content_type = response.headers.get_content_type()
            return Reply(status=response.status or 0, content_type=content_type, body=content)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        told = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise StorageError(f"asking {host}: {told}") from error


def _open(request: urllib.request.Request, seconds: float) -> http.client.HTTPResponse | urllib.error.HTTPError:
    try:
        response: http.client.HTTPResponse = _OPENER.open(request, timeout=seconds)
    except urllib.error.HTTPError as error:
        return error  # an answer like any other
    return response


def _read(response: http.client.HTTPResponse | urllib.error.HTTPError, size_max: int, until: float, host: str) -> bytes:
    """Read a body piece by piece: one that trickles in would outlast the time any single wait may take."""
    content = bytearray()
    while piece := response.read1(_CHUNK) if isinstance(response, http.client.HTTPResponse) else response.read(_CHUNK):
        content += piece
        if len(content) > size_max:
            raise StorageError(f"asking {host}: expected an answer of at most {size_max} bytes")
        if time.monotonic() > until:
            raise StorageError(f"asking {host}: the answer took too long")
    return bytes(content)
