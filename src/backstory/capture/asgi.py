"""One prediction per HTTP request: middleware for any ASGI application, such as FastAPI's or Starlette's.

What the application predicts while it answers is the prediction's features, output and steps. It is recorded at the
moment the application begins its response, before any of it is sent, so that the id can stand in a header and nothing
is given out without its record. What a streamed body does after that is no part of it. Web sockets are passed on as
they are.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol, cast

from backstory.capture.observation import Observation
from backstory.capture.request_id import cut_request_id
from backstory.capture.subject import Id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = "x-backstory-prediction"
_STATUS_FAILED = 400


class Recording(Protocol):
    """What begins predictions: an archive that is open for writing, or a worker's recorder."""

    def prediction(self, **about: Any) -> Observation:  # noqa: ANN401  as the two know it
        """Begin a prediction; see `Archive.prediction`."""


class RecordingMiddleware:
    """Records one prediction for each request to some paths, and puts its id into a header of the response.

    A handler that predicts nothing, or several things, is recorded with method and path as features and the response's
    status as output; what it predicts are then steps. A status of 400 or more is a failed prediction, its error
    `HTTP 422`; so is an exception, by its class, which goes on untouched, and a cancelled request. Method and path
    (without the query) and the caller's `traceparent` are a step named `request`; the request id is the caller's
    `x-request-id`, or else the `traceparent`; of more than 256 characters only the first are kept, and `…`.

    A response that is made outside the middleware has no header. So it is with the 500 that FastAPI and Starlette make
    of an exception, around all middleware that was added to them. With the middleware around the whole application, as
    `RecordingMiddleware(app, …)`, it has one; the prediction's error is then `HTTP 500`, not the exception's class.

    Request ids stand in clear, and without a subject so do paths: they should name nobody.
    """

    def __init__(
        self,
        app: App,
        archive: Recording | Callable[[], Recording],
        paths: str | Sequence[str] | Callable[[Scope], bool],
        *,
        model: Any = None,  # noqa: ANN401  what the archive takes as one
        subject: Callable[[Scope], Id | None] | None = None,
        header: str = HEADER,
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            archive: What records, or a function that gives it, where it is opened after the middleware was made.
            paths: The paths that predict, without the application's root; one that ends in `/` stands for all below
                it. Or a function that is told the scope of a request.
            model: The model version the predictions are of, where the handler does not call one that is registered.
            subject: Told the scope, says whom the request is about. Its values are then sealed, also where it says
                nobody.
            header: Name of the response's header with the prediction's id.
        """
        self._app = app
        self._archive = archive
        self._is_recorded = paths if callable(paths) else _paths((paths,) if isinstance(paths, str) else tuple(paths))
        self._options = {} if model is None else {"model": model}
        self._subject = subject
        self._header = header.lower().encode("latin-1")
        self._is_warm = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and record it if its path is one of those that predict."""
        if scope["type"] != "http" or not self._is_recorded(scope):
            await self._app(scope, receive, send)
            return
        observation = await self._begin(scope)
        is_gone = False

        async def receive_noting() -> Message:
            nonlocal is_gone
            message = await receive()
            is_gone = is_gone or message["type"] == "http.disconnect"
            return message

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                if not observation.is_over:
                    await self._finish(observation, scope, status=message["status"])
                message = with_header(message, self._header, observation.id)
            await send(message)

        with observation:
            try:
                await self._app(scope, receive_noting, send_recorded)
            except BaseException as error:
                if not observation.is_over:
                    observation.fail(type(error).__qualname__)
                    _fill(observation, scope)
                raise  # leaving the block records it
            if not observation.is_over:  # no response at all: the client is gone, or the application forgot it
                observation.fail(asyncio.CancelledError.__qualname__ if is_gone else "no response")
                await self._finish(observation, scope)

    async def _begin(self, scope: Scope) -> Observation:
        headers = _headers(scope)
        trace = cut_request_id(headers.get("traceparent"))
        archive = self._archive() if callable(self._archive) else self._archive
        begin = functools.partial(
            archive.prediction,
            request_id=cut_request_id(headers.get("x-request-id")) or trace,
            subject=None if self._subject is None else somebody(self._subject(scope)),
            **self._options,
        )
        # The first prediction of a process finds out about code and environment, which takes a while.
        observation = begin() if self._is_warm else await asyncio.to_thread(begin)
        self._is_warm = True
        observation.step("request", {**_request(scope), **({} if trace is None else {"traceparent": trace})})
        return observation

    async def _finish(self, observation: Observation, scope: Scope, *, status: int | None = None) -> None:
        if status is not None and status >= _STATUS_FAILED:
            observation.fail(f"HTTP {status}")
        _fill(observation, scope, status)
        await record(observation)


def somebody(subject: Id | None) -> Id:
    """Return whom a request is about; an empty text for nobody, so that the record is sealed as others are."""
    return "" if subject is None else subject


async def record(observation: Observation) -> None:
    """Record a prediction, in a thread where that may take as long as a disk does.

    Raises:
        StorageError: It could not be recorded.
    """
    if observation.may_wait:
        await asyncio.to_thread(observation.finish)
    else:
        observation.finish()


def with_header(message: Message, name: bytes, value: str | None) -> Message:
    """Return the message that begins a response with one header more, unless there is no value."""
    if value is None:
        return message
    return {**message, "headers": [*message.get("headers", ()), (name, value.encode("ascii"))]}


def _fill(observation: Observation, scope: Scope, status: int | None = None) -> None:
    """Say what was asked and answered of a request that is no single prediction."""
    if observation.says_nothing:
        observation.features(_request(scope))
        if status is not None:
            observation.output({"status": status})


def _request(scope: Scope) -> dict[str, str]:
    return {"method": scope["method"], "path": _path(scope)}


def _path(scope: Scope) -> str:
    """Return the path as the application knows it, whatever it is mounted below."""
    return cast("str", scope["path"]).removeprefix(scope.get("root_path", "").rstrip("/"))


def _paths(paths: tuple[str, ...]) -> Callable[[Scope], bool]:
    below = tuple(path for path in paths if path.endswith("/"))
    exact = frozenset(paths)

    def is_one(scope: Scope) -> bool:
        path = _path(scope)
        return path in exact or (bool(below) and path.startswith(below))

    return is_one


def _headers(scope: Scope) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
