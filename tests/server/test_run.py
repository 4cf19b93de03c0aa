"""Serving until told to stop: a request that does not end does not keep it from that."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from urllib.parse import urlsplit

from backstory.server import run


def test_a_request_that_does_not_end_is_left(monkeypatch):
    """A client that goes on and on cannot hold up the end of a server that was told to stop."""
    lines, waited = [], []

    async def app(_scope, _receive, _send):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=5)
        waited.append("to the end")

    def call(url):
        address = urlsplit(url)
        lines.append(socket.create_connection((address.hostname, address.port)))
        lines[0].sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")

    monkeypatch.setattr(run, "_STOP_SECONDS", 1)
    run.serve(app, "127.0.0.1", 0, call)
    lines[0].close()
    assert not waited
