"""Asking over HTTP: bounded in size and time, and nowhere but where it was told to ask."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.support.loopback import answering, refusing, running

from backstory.errors import InputError, StorageError
from backstory.storage.remote import ask, require_url


class Endless(BaseHTTPRequestHandler):
    """Answers without end."""

    def do_GET(self):
        """Begin an answer."""
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 1000)
        except OSError:
            return

    def log_message(self, *_):
        """Say nothing."""


@pytest.mark.parametrize("status", [200, 301, 307, 404, 500])
def test_any_answer_is_an_answer(status):
    """Whatever the status, it is returned; a redirect is not followed."""
    with answering(status, b"body", location="http://127.0.0.1:1/", content_type="Text/Plain; charset=x") as url:
        reply = ask(url, size_max=4)
    assert (reply.status, reply.content_type, reply.body) == (status, "text/plain", b"body")


def test_answer_that_is_too_large_is_not_read():
    """One byte more than allowed is too many."""
    with answering(200, b"12345") as url, pytest.raises(StorageError, match="at most 4 bytes"):
        ask(url, size_max=4)


def test_answer_that_does_not_end_is_given_up():
    """Bytes that go on coming do not keep the clock from running out."""
    with (
        running(ThreadingHTTPServer(("127.0.0.1", 0), Endless)) as url,
        pytest.raises(StorageError, match=r"timed out|too long"),
    ):
        ask(url, size_max=1 << 40, seconds=0.05)


def test_silence_is_given_up():
    """Somebody who takes the call and says nothing is left."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(StorageError, match=r"timed out|too long"):
        ask(f"http://127.0.0.1:{silent.getsockname()[1]}", size_max=1, seconds=0.05)


@contextlib.contextmanager
def trickling(head, piece):
    """Take one call, say something, then a little more again and again for two seconds."""
    stopped = threading.Event()

    def talk():
        line, _ = listener.accept()
        with line, contextlib.suppress(OSError):
            line.recv(1 << 16)
            line.sendall(head)
            for _ in range(200):
                if stopped.wait(0.01):
                    return
                line.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stopped.set()
            thread.join()


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"),
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 9999\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    ],
    ids=["continue", "header", "body", "body of an error", "size of a chunk"],
)
def test_what_trickles_in_is_given_up(head, piece):
    """Wherever an answer is when time is over, and though each piece of it comes soon, it is not waited for."""
    with trickling(head, piece) as url, pytest.raises(StorageError, match="took too long"):
        ask(url, size_max=10_000, seconds=0.1)


def test_nobody_is_told():
    """The message names the machine that was asked."""
    with pytest.raises(StorageError, match="asking 127"):
        ask(refusing(), size_max=1)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "file:///etc/passwd",
        "ftp://a",
        "http://",
        "http://a?b",
        "http://a#b",
        "http://a b",
        "http://[a",
    ],
)
def test_what_is_no_url_is_refused(url):
    """Only the prefix of a web server is one."""
    with pytest.raises(InputError):
        require_url(url, "log")


def test_slash_at_the_end_does_not_matter():
    """A prefix is the same with it and without."""
    assert require_url("https://example.org/log/", "log") == "https://example.org/log"
