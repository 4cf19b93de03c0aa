"""A witness over HTTP, as C2SP tlog-witness says: `POST /add-checkpoint` and `GET /<origin digest>/checkpoint`."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from backstory.errors import BackstoryError
from backstory.server.asgi import (
    App,
    Receive,
    Response,
    Scope,
    Send,
    method_and_path,
    not_allowed,
    read_body,
    refused,
    send_response,
)
from backstory.storage.world import World
from backstory.tlog.witness import ADD_CHECKPOINT_SIZE_MAX
from backstory.verify.witness import Witness

_log = logging.getLogger(__name__)
_TROUBLE = refused(500, "this witness has trouble of its own; its operator's log says which")
_NO_STORE = {"cache-control": "no-store"}


def witness_app(folder: str | Path, world: World | None = None) -> App:
    """Return an ASGI application that is a witness.

    Args:
        folder: Directory of the witness, made by `backstory witness init`.
        world: Clock and disk; None for the real ones.

    Raises:
        StorageError: The witness's state is gone.
        NotFoundError: Its key is gone.
        VerificationError: The key is not the one the state belongs to.
    """
    witness = Witness(Path(folder), world or World())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, path = method_and_path(scope)
        try:
            response = await _respond(witness, method, path, receive)
        except BackstoryError:
            _log.exception("witness: a request failed")
            response = _TROUBLE
        await send_response(send, method, response)

    return app


async def _respond(witness: Witness, method: str, path: str, receive: Receive) -> Response:
    if path == "/add-checkpoint":
        if method != "POST":
            return not_allowed("POST")
        body = await read_body(receive, ADD_CHECKPOINT_SIZE_MAX)
        if body is None:
            return refused(400, "the request is too large or was cut off")
        answer = await asyncio.to_thread(witness.add_checkpoint, body)
        return Response(status=answer.status, body=answer.body, content_type=answer.content_type)
    note = await asyncio.to_thread(witness.checkpoint, path.removeprefix("/"))
    if note is None:
        return refused(404, "not found")
    if method not in {"GET", "HEAD"}:
        return not_allowed("GET", "HEAD")
    return Response(status=200, body=note, headers=_NO_STORE)
