"""Asking another machine over HTTP: one request, one answer of limited size within limited time, no redirect followed.

Nothing that comes in here is believed; whoever asked verifies it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import IO, Self
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


class _Deadline:
    """Hangs up when time is over: an answer that trickles in outlasts the time that any single wait may take."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._lock = threading.Lock()
        self._lines: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for line in self._lines:
                line.close()
            self._lines.clear()

    def watch(self, line: socket.socket) -> None:
        """Hang this up too, under a descriptor of its own, as TLS takes that of the socket over."""
        with self._lock:
            self._lines.append(socket.socket(fileno=os.dup(line.fileno())))
        if self.is_over:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        with self._lock:
            for line in self._lines:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)


def _opener(deadline: _Deadline) -> urllib.request.OpenerDirector:
    """Return what opens URLs until a deadline, and follows no redirect."""

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            deadline.watch(self.sock)

    class Secure(http.client.HTTPSConnection, Plain):
        """Connects as `Plain` does before it speaks TLS."""

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, req)

    return urllib.request.build_opener(_NoRedirect(), PlainHandler(), SecureHandler())


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
    with _Deadline(seconds) as deadline:
        try:
            with _open(request, seconds, deadline) as response:
                content = _read(response, size_max, deadline)
                content_type = response.headers.get_content_type()
                reply = Reply(status=response.status or 0, content_type=content_type, body=content)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            told = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            what = "the answer took too long" if deadline.is_over else told
            raise StorageError(f"asking {host}: {what}") from error
    if deadline.is_over:  # what was hung up may look like an answer that ended
        raise StorageError(f"asking {host}: the answer took too long")
    if len(content) > size_max:
        raise StorageError(f"asking {host}: expected an answer of at most {size_max} bytes")
    return reply


def _open(
    request: urllib.request.Request, seconds: float, deadline: _Deadline
) -> http.client.HTTPResponse | urllib.error.HTTPError:
    try:
        response: http.client.HTTPResponse = _opener(deadline).open(request, timeout=seconds)
    except urllib.error.HTTPError as error:
        return error  # an answer like any other
    return response


def _read(response: http.client.HTTPResponse | urllib.error.HTTPError, size_max: int, deadline: _Deadline) -> bytes:
    """Read a body piece by piece until it ends, is too large or takes too long."""
    content = bytearray()
    while len(content) <= size_max and not deadline.is_over and (piece := response.read(_CHUNK)):
        content += piece
    return bytes(content)
