"""What the applications here share of ASGI: reading a request whole, answering it whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, cast

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a request is answered with.

    Attributes:
        status: HTTP status.
        body: The content.
        content_type: What the content is.
        headers: Other headers by name.
    """

    status: int
    body: bytes
    content_type: str = TEXT
    headers: dict[str, str] = field(default_factory=dict)


def method_and_path(scope: Scope) -> tuple[str, str]:
    """Return the method and the path as the application knows it, whatever it is mounted below."""
    return cast("str", scope["method"]), cast("str", scope["path"]).removeprefix(scope.get("root_path", "").rstrip("/"))


def refused(status: int, what: str, **headers: str) -> Response:
    """Answer with a status and one line that says why."""
    return Response(status=status, body=f"{what}\n".encode(), headers=headers)


def not_allowed(*methods: str) -> Response:
    """Answer a request whose path does not know its method."""
    return refused(405, "method not allowed", allow=", ".join(methods))


async def read_body(receive: Receive, size_max: int) -> bytes | None:
    """Return a request's body; None if it is larger than `size_max` or its sender went away."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > size_max:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def send_response(send: Send, method: str, response: Response) -> None:
    """Send a response; to HEAD without its body."""
    headers = {"content-type": response.content_type, "content-length": str(len(response.body)), **response.headers}
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": pairs})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else response.body})
