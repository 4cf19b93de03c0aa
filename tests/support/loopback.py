"""Applications served for real, on a port of the loopback that the kernel chooses."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

import uvicorn

from backstory.server.asgi import App

os.environ.setdefault("no_proxy", "127.0.0.1")


class _Shared:
    """One server for all tests of a process, as starting and stopping one takes longer than most tests.

    Each application is mounted below a path of its own.
    """

    def __init__(self) -> None:
        self.apps: dict[str, App] = {}
        self.numbers = itertools.count()
        is_ready = threading.Event()

        class Server(uvicorn.Server):
            async def startup(self, sockets=None):
                await super().startup(sockets)
                is_ready.set()

        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.server = Server(uvicorn.Config(self.answer, interface="asgi3", lifespan="off", log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],), daemon=True)
        self.thread.start()
        assert is_ready.wait(10)
        atexit.register(self.close)

    async def answer(self, scope, receive, send):
        """Hand a request to the application its path begins with."""
        mount = "/" + scope["path"].split("/")[1]
        await self.apps[mount]({**scope, "root_path": mount}, receive, send)

    def close(self) -> None:
        """Stop."""
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()


_shared = functools.cache(_Shared)


@contextlib.contextmanager
def serving(app: App) -> Iterator[str]:
    """Serve an ASGI application and give its URL, which has a path, as behind a proxy."""
    shared = _shared()
    mount = f"/{next(shared.numbers)}"
    shared.apps[mount] = app
    try:
        yield f"{shared.url}{mount}"
    finally:
        del shared.apps[mount]


@contextlib.contextmanager
def running(server: HTTPServer) -> Iterator[str]:
    """Run a server of the standard library and give its URL."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    """Serve the same answer to every request and give the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.do_POST()

        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


def refusing() -> str:
    """Return a URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
