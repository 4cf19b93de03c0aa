"""A FastAPI dependency: the handler gets its request's prediction, to say things about it by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from backstory.capture.asgi import HEADER, Recording, record, somebody
from backstory.capture.enclosing import enclosing
from backstory.capture.observation import Observation
from backstory.capture.request_id import cut_request_id
from backstory.capture.subject import Id


def prediction(
    archive: Recording | Callable[[], Recording],
    model: Any = None,  # noqa: ANN401  what the archive takes as one
    *,
    subject: Callable[[Any], Id | None] | None = None,
    header: str = HEADER,
) -> Any:  # noqa: ANN401  FastAPI types what its `Depends` returns as anything
    """Return a dependency that gives a handler its request's prediction.

    `def score(loan: Loan, p: Annotated[Observation, prediction(archive)])`: inside, `p.features({...})`, `p.step(...)`
    and `p.output(...)`; what is predicted inside is a part of it. It is recorded when the handler returns, before the
    response is sent, or when the handler calls `p.finish()`. An exception is recorded by its class, FastAPI's
    `HTTPException` as `HTTP 422`, and goes on.

    Behind `RecordingMiddleware` it gives the middleware's prediction, and the middleware sets the header. Without, and
    for a route that is none of the middleware's `paths`, the header is set where the handler called `p.finish()` and
    returned values rather than a response of its own: FastAPI makes the response before a dependency ends.

    Args:
        archive: What records, or a function that gives it, where it is opened after the application was made.
        model: The model version the predictions are of, where the handler does not call one that is registered.
        subject: Told the request, says whom it is about. Its values are then sealed, also where it says nobody.
        header: Name of the response's header with the prediction's id.
    """
    import fastapi
    from starlette.exceptions import HTTPException  # FastAPI's own is one of these

    async def begin(request: Any, response: Any) -> AsyncIterator[Observation]:  # noqa: ANN401
        around = enclosing()
        if isinstance(around, Observation):
            yield around
            return
        recording = archive() if callable(archive) else archive
        observation = recording.prediction(
            request_id=cut_request_id(request.headers.get("x-request-id") or request.headers.get("traceparent")),
            subject=None if subject is None else somebody(subject(request)),
            **({} if model is None else {"model": model}),
        )
        observation.when_recorded = lambda name: response.headers.append(header, name)
        with observation:
            try:
                yield observation
            except HTTPException as error:
                if not observation.is_over:
                    observation.fail(f"HTTP {error.status_code}")
                    await record(observation)
                raise
            if not observation.is_over:
                await record(observation)

    # FastAPI finds out what to give it from these, and cannot see a name imported inside a function.
    begin.__annotations__ |= {"request": fastapi.Request, "response": fastapi.Response}
    return fastapi.Depends(begin, scope="function")
