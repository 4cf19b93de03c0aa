"""An archive's log over HTTP, as C2SP tlog-tiles names it: `/checkpoint`, `/tile/…`, and nothing else.

What it serves is public by design: entries hold no values of people and no rows. It reads the files of the log and
nothing besides: no key, no vault, no segment.
"""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

from backstory.errors import FormatError, StorageError
from backstory.server.asgi import (
    App,
    Receive,
    Response,
    Scope,
    Send,
    method_and_path,
    not_allowed,
    refused,
    send_response,
)
from backstory.storage.anchors import published_checkpoint
from backstory.storage.disk import read_file
from backstory.storage.layout import Layout, read_layout
from backstory.tlog.tile import parse_tile_path

_FOR_SECONDS = {"cache-control": "public, max-age=2"}
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}
_BYTES = "application/octet-stream"
_NOW_ONLY = {"cache-control": "no-store"}
"""Of an answer that may be another in a moment: a cache that kept it would hide a tile once it is there."""
_NOT_HERE = refused(404, "not found", **_NOW_ONLY)


def log_app(archive: str | Path) -> App:
    """Return an ASGI application that serves an archive's log to any C2SP tlog-tiles client.

    It may be served alone, as `backstory serve-log` does, or mounted: `app.mount("/log", log_app("audit"))` in FastAPI
    and Starlette. The log's prefix is then that path.

    Args:
        archive: Directory of the archive. After a restore, which opens another log, the application is made anew.

    Raises:
        NotFoundError: There is no archive.
        FormatError: Its `backstory.toml` is malformed.
    """
    layout = read_layout(Path(archive))

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, path = method_and_path(scope)
        if method not in {"GET", "HEAD"}:
            await send_response(send, method, not_allowed("GET", "HEAD"))
            return
        response = await asyncio.to_thread(_respond, layout, path, with_gzip=_takes_gzip(scope))
        await send_response(send, method, response)

    return app


def _respond(layout: Layout, path: str, *, with_gzip: bool) -> Response:
    if path == "/checkpoint":
        try:
            return Response(status=200, body=published_checkpoint(layout), headers=_FOR_SECONDS)
        except (FormatError, StorageError):
            return refused(503, "the checkpoint cannot be read", **_NOW_ONLY)
    if not path.startswith("/tile/"):
        return _NOT_HERE
    try:
        tile = parse_tile_path(path.removeprefix("/"))
    except FormatError:
        return _NOT_HERE
    try:
        # The path was parsed and is written anew: what is read is never a name that came from outside.
        data = read_file(layout.log / tile.path)
    except StorageError as error:
        # A partial tile that the full one replaced is gone too; C2SP has clients ask for the full one then.
        is_gone = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)
        return _NOT_HERE if is_gone else refused(503, "the tile cannot be read", **_NOW_ONLY)
    if tile.level is not None:
        return Response(status=200, body=data, content_type=_BYTES, headers=_FOR_EVER)
    headers = {**_FOR_EVER, "vary": "accept-encoding"}
    if with_gzip:
        data = gzip.compress(data, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(status=200, body=data, content_type=_BYTES, headers=headers)


def _takes_gzip(scope: Scope) -> bool:
    """Say whether the client's `Accept-Encoding` names gzip without refusing it."""
    for name, value in scope["headers"]:
        if name.lower() == b"accept-encoding":
            for choice in value.decode("latin-1").split(","):
                coding, _, weight = choice.partition(";")
                if coding.strip().lower() == "gzip":
                    return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
