"""Serving an application with uvicorn until told to stop."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable

from backstory.errors import InputError, StorageError
from backstory.ledger.stopping import stop_on
from backstory.server.asgi import App

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})")
_PORT_MAX = 65_535
_STOP_SECONDS = 5
"""How long requests under way may take once it is to stop: one that never ends must not keep a machine from it."""


def parse_address(text: str) -> tuple[str, int]:
    """Parse where to listen.

    Args:
        text: `host:port` or `[IPv6 address]:port`; port 0 lets the system choose one.

    Raises:
        InputError: It has another form.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > _PORT_MAX:
        raise InputError("address to listen on: expected host:port, such as 127.0.0.1:8080")
    return match["six"] or match["host"], int(match["port"])


def serve(app: App, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve an application until SIGTERM or Ctrl-C, then finish the requests under way, but not those that take long.

    In the main thread only.

    Args:
        app: The application.
        host: Address or name of this machine to listen on.
        port: Port; 0 for one the system chooses.
        on_ready: Told the URL once connections are accepted.

    Raises:
        InputError: uvicorn is not installed.
        StorageError: The port cannot be listened on.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise InputError("serving: needs the package uvicorn, expected `backstory[server]`") from error
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise StorageError(f"listening on {host}:{port}: {error.strerror or error}") from error
    options = {"lifespan": "off", "log_level": "warning", "access_log": False, "server_header": False}
    options["timeout_graceful_shutdown"] = _STOP_SECONDS
    shown = f"[{host}]" if ":" in host else host

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_ready(f"http://{shown}:{listener.getsockname()[1]}")

    # uvicorn stops at the signal and then raises it again: here that ends the program in order.
    with listener, stop_on([signal.SIGTERM, signal.SIGINT]):
        Server(uvicorn.Config(app, **options)).run(sockets=[listener])  # type: ignore[arg-type]
