"""Recording a service's requests: one prediction each, in order before the response, whatever the handler does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import fastapi
import httpx
import numpy as np
import pytest
from fastapi.responses import PlainTextResponse, StreamingResponse
from sklearn.linear_model import LinearRegression
from starlette.middleware.base import BaseHTTPMiddleware
from tests.support.archives import readable_content

import backstory
from backstory.capture.asgi import HEADER, RecordingMiddleware
from backstory.capture.fastapi import prediction
from backstory.capture.observation import Observation
from backstory.errors import StorageError
from backstory.ledger.read import find_record
from backstory.ledger.sealed import open_rows

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def archive(tmp_path):
    """A new archive."""
    with backstory.init(tmp_path / "audit", origin="example.org/service") as archive:
        yield archive


class OurError(RuntimeError):
    """An error only these handlers raise."""


OUR_ERROR = OurError("loan 4711")


def service(archive, **options: Any) -> fastapi.FastAPI:  # noqa: C901  one handler of each kind
    """Return a service with a handler of each kind, all below `/score`."""
    app = fastapi.FastAPI()
    app.add_middleware(RecordingMiddleware, archive=archive, paths=["/score", "/score/"], **options)
    model = archive.register(LinearRegression().fit(np.array([[0.0], [1.0]]), [0.0, 2.0]), name="line")

    @archive.traced
    def halve(x: float) -> float:
        return x / 2

    @app.get("/score")
    def score(x: float) -> dict[str, float]:
        return {"score": float(model.predict(np.array([[x]]))[0])}

    @app.get("/score/async")
    async def score_async(x: float) -> dict[str, float]:
        await asyncio.sleep(0)
        first = halve(x)
        await asyncio.sleep(0)
        return {"score": halve(first)}

    @app.get("/score/nothing")
    async def nothing() -> str:
        return "nothing"

    @app.get("/score/batch")
    async def batch() -> list[float]:
        return list(model.predict(np.array([[1.0], [2.0], [3.0]])))

    @app.get("/score/teapot")
    async def teapot(x: float) -> None:
        halve(x)
        raise fastapi.HTTPException(418)

    @app.get("/score/broken")
    async def broken(x: float) -> None:
        halve(x)
        raise OUR_ERROR

    @app.get("/score/stream")
    def stream(x: float) -> StreamingResponse:
        halve(x)

        async def parts() -> Any:
            yield "a"
            halve(100.0)  # after the response began
            yield "b"

        return StreamingResponse(parts())

    @app.get("/health")
    async def health() -> str:
        return "well"

    return app


async def _get(app: Any, *paths: str, **options: Any) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=options.pop("raise_app_exceptions", False))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await asyncio.gather(*(client.get(path, **options) for path in paths))


def ask(app: Any, *paths: str, **options: Any) -> list[httpx.Response]:
    """Send requests at once and return their responses."""
    return asyncio.run(_get(app, *paths, **options))


def found(archive):
    """Return all predictions, once they are sealed."""
    archive.flush()
    return archive.search("true")


def only(archive):
    """Return the story of the only prediction there is."""
    (name,) = found(archive)["id"]
    return archive.why(name)


def told(archive, response):
    """Return the story of the prediction a response names."""
    archive.flush()
    return archive.why(response.headers[HEADER])


def steps(story) -> dict[str, Any]:
    """Return what the steps of a story say, by name; the last of each name."""
    return {step["name"]: step for step in story.steps["steps"]}


# --- what is recorded -------------------------------------------------------------------------------------------------


def test_the_id_of_the_record_is_in_the_response(archive):
    """A model called in a handler in a thread is the request's one prediction, with its features and output."""
    (response,) = ask(service(archive), "/score?x=3")
    story = told(archive, response)
    assert response.json() == {"score": pytest.approx(6.0)}
    assert (story.status, story.model["name"], story.output) == ("ok", "line", response.json()["score"])
    assert len(found(archive)) == 1
    assert steps(story)["request"]["values"] == {"method": "GET", "path": "/score"}


def test_calls_inside_an_async_handler_are_steps(archive):
    """Two traced calls make one record; it is of the request, and the calls are its steps."""
    (response,) = ask(service(archive), "/score/async?x=8")
    story = only(archive)
    assert story.id == response.headers[HEADER]
    assert [step["values"] for step in story.steps["steps"][1:]] == [4.0, 2.0]
    assert (story.features, story.output) == ({"method": "GET", "path": "/score/async"}, {"status": 200})


def test_a_handler_that_predicts_nothing_is_recorded(archive):
    """What was asked and the status answered stand for features and output."""
    ask(service(archive), "/score/nothing")
    story = only(archive)
    assert (story.features, story.output) == ({"method": "GET", "path": "/score/nothing"}, {"status": 200})


def test_other_paths_are_left_alone(archive):
    """A health check is no prediction and gets no header."""
    (response,) = ask(service(archive), "/health")
    assert HEADER not in response.headers
    assert len(found(archive)) == 0


def test_a_batch_inside_is_referred_to(archive):
    """Rows of a batch are records of their own; the request's record says which."""
    (response,) = ask(service(archive), "/score/batch", headers={"x-request-id": "r-1"})
    story = told(archive, response)
    rows = archive.search("model = 'line'")
    values = steps(story)["predict"]["values"]
    assert (values["count"], values["first"], values["last"]) == (3, rows.id.iloc[0], rows.id.iloc[-1])
    assert set(rows.request_id) == {"r-1"}


def test_the_request_id_and_trace_of_the_caller_are_kept(archive):
    """The request id as given, the trace as a step."""
    ask(service(archive), "/score?x=1", headers={"X-Request-Id": "r-7", "traceparent": TRACE})
    story = only(archive)
    assert found(archive).request_id[0] == "r-7"
    assert steps(story)["request"]["values"]["traceparent"] == TRACE


def test_a_long_request_id_of_a_client_is_cut(archive):
    """And ends in a mark; the request is answered and recorded."""
    (response,) = ask(service(archive), "/score?x=1", headers={"X-Request-Id": "r" * 5_000})
    assert response.status_code == 200
    assert found(archive).request_id[0] == "r" * 255 + "…"


def test_a_trace_alone_is_the_request_id(archive):
    """Where the caller gives no request id."""
    ask(service(archive), "/score?x=1", headers={"traceparent": TRACE})
    assert found(archive).request_id[0] == TRACE


@pytest.mark.parametrize("path", ["/score?x=3", "/score/async?x=3", "/score/nothing"])
def test_values_about_a_person_are_sealed(archive, path):
    """With a subject, features, output and steps are sealed, and the path too."""
    app = service(archive, subject=lambda scope: dict(scope["headers"])[b"x-customer"].decode())
    ask(app, path, headers={"x-customer": "c-17"})
    story = only(archive)
    assert set(story.sealed) >= {"features", "output", "steps", "subject"}
    segments = b"".join(readable_content(path) for path in (archive.path / "segments").iterdir())
    assert b"/score" not in segments
    assert b"c-17" not in segments


@pytest.mark.parametrize(("said", "recorded"), [(0, "0"), (None, ""), ("c-17", "c-17")])
@pytest.mark.parametrize("way", ["middleware", "dependency"])
def test_whom_a_request_is_about(tmp_path, way, said, recorded):
    """Person 0 is somebody; where it is nobody, the record is sealed all the same."""
    backstory.init(tmp_path / "audit", origin="example.org/service").close()
    with backstory.open(tmp_path / "audit", actor="auditor", purpose="test", sealer="none") as archive:
        if way == "middleware":
            app = service(archive, subject=lambda _: said)
        else:
            app = fastapi.FastAPI()
            given = prediction(archive, subject=lambda _: said)

            @app.get("/score")
            async def score(x: float, p: Any = given) -> None:
                p.output(x)

        ask(app, "/score?x=3")
        archive.flush()
        (name,) = archive.search("true")["id"]
        found = find_record(archive._ledger, name, "prediction")
        row = open_rows(archive._ledger, found.place.manifest, 0, found.table).to_pylist()[0]
        assert row["subject"] == recorded


def test_fifty_at_once_have_each_their_own(archive):
    """Fifty concurrent requests make fifty records, each with its own id, arguments and steps."""
    responses = ask(service(archive), *(f"/score/async?x={number}" for number in range(50)))
    ids = [response.headers[HEADER] for response in responses]
    assert sorted(found(archive)["id"]) == sorted(ids)
    assert len(set(ids)) == 50
    for number, name in enumerate(ids):
        assert [step["values"] for step in archive.why(name).steps["steps"][1:]] == [number / 2, number / 4]


def test_another_middleware_between_does_not_matter(archive):
    """Starlette's own kind runs the application in another task."""
    app = service(archive)

    async def pass_on(request: fastapi.Request, call_next: Any) -> Any:
        return await call_next(request)

    inner = BaseHTTPMiddleware(service(archive), pass_on)
    app = RecordingMiddleware(inner, archive, "/score")
    (response,) = ask(app, "/score?x=2")
    assert only(archive).id == response.headers[HEADER]


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "status"), [("/score", 422), ("/score/teapot?x=1", 418), ("/score/unknown", 404)])
def test_a_refused_request_is_a_failed_prediction(archive, path, status):
    """A status of 400 or more, from validation, the handler or the router."""
    (response,) = ask(service(archive), path)
    story = told(archive, response)
    assert response.status_code == status
    assert (story.status, story.error, story.output) == ("error", f"HTTP {status}", None)


def test_a_refused_request_keeps_what_was_predicted(archive):
    """The call inside gives the features; what it returned is a step."""
    ask(service(archive), "/score/teapot?x=5")
    story = only(archive)
    assert story.features == {"x": 5.0}
    assert [step["values"] for step in story.steps["steps"] if step["kind"] == "call"] == [2.5]


def test_an_exception_goes_on_untouched(archive):
    """The server gets the very object the handler raised; the record has its class and nothing it says."""
    with pytest.raises(OurError) as caught:
        ask(service(archive), "/score/broken?x=5", raise_app_exceptions=True)
    assert caught.value is OUR_ERROR
    assert caught.traceback[-1].name == "broken"
    story = only(archive)
    assert (story.status, story.error, story.features) == ("error", "OurError", {"x": 5.0})
    assert "4711" not in str(story)


def test_the_answer_to_an_exception_has_the_header_where_the_middleware_sees_it(archive):
    """FastAPI makes it outside all middleware that was added, so only one around the whole application does."""
    added = service(archive)
    app = fastapi.FastAPI()

    @app.get("/score/broken")
    async def broken() -> None:
        raise OUR_ERROR

    around = RecordingMiddleware(app, archive, "/score/")
    responses = ask(added, "/score/broken?x=5") + ask(around, "/score/broken")
    assert [response.status_code for response in responses] == [500, 500]
    assert [HEADER in response.headers for response in responses] == [False, True]
    assert told(archive, responses[1]).error == "HTTP 500"
    with pytest.raises(OurError):
        ask(around, "/score/broken", raise_app_exceptions=True)


def test_what_a_streamed_body_predicts_is_recorded_by_itself(archive):
    """The request's record is made before the body; a prediction made in the body is not lost."""
    (response,) = ask(service(archive), "/score/stream?x=5")
    assert response.text == "ab"
    story = told(archive, response)
    assert (story.features, story.output) == ({"x": 5.0}, 2.5)
    assert sorted(found(archive).output) == [2.5, 50.0]


def test_a_cancelled_request_is_recorded(archive):
    """A task that is cancelled while the handler waits."""
    began = asyncio.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    async def cancel() -> None:
        task = asyncio.create_task(_get(RecordingMiddleware(wait, archive, "/score"), "/score"))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert (only(archive).status, only(archive).error) == ("error", "CancelledError")


@pytest.mark.parametrize(("message", "error"), [("http.disconnect", "CancelledError"), ("http.request", "no response")])
def test_a_request_that_was_never_answered_is_recorded(archive, message, error):
    """An application that returns without a response, as the client is gone or for no reason."""

    async def leave(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async def receive() -> dict[str, str]:
        return {"type": message}

    async def send(_: Any) -> None:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/score", "headers": []}
    asyncio.run(RecordingMiddleware(leave, archive, "/score")(scope, receive, send))
    assert only(archive).error == error


class _Full:
    """A recorder whose predictions cannot be recorded, as on a full disk."""

    def __init__(self, archive: Any) -> None:
        self._archive = archive

    def prediction(self, **about: Any) -> Observation:
        observation = self._archive.prediction(**about)
        observation._record = _fail
        return observation


def _fail() -> None:
    raise StorageError("writing: the disk is full")


def test_no_response_without_its_record(archive):
    """Where the record cannot be kept the client gets an error and nothing that was predicted."""
    app = fastapi.FastAPI()
    app.add_middleware(RecordingMiddleware, archive=_Full(archive), paths="/score")

    @app.get("/score")
    def score() -> str:
        return "a secret"

    (response,) = ask(app, "/score")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert HEADER not in response.headers


@pytest.mark.parametrize("durability", ["sync", "group"])
def test_the_record_is_made_before_the_response_is_begun(tmp_path, durability):
    """With `sync` it is on disk when the first byte could go out."""
    backstory.init(tmp_path / "a", origin="example.org/service").close()
    with backstory.open(tmp_path / "a", durability=durability) as archive:
        seen = []

        async def send(message: Any) -> None:
            seen.append((message["type"], archive.metrics()))

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b""})

        scope = {"type": "http", "method": "GET", "path": "/score", "headers": []}
        asyncio.run(RecordingMiddleware(answer, archive, "/score")(scope, None, send))
        kind, metrics = seen[0]
        assert kind == "http.response.start"
        assert metrics.records_total == 1
        assert durability == "group" or metrics.watermark_lag_records == 0


def test_an_archive_opened_later_is_found(archive):
    """A function gives it, as where the application's lifespan opens it."""
    opened: list[Any] = []
    app = RecordingMiddleware(PlainTextResponse("yes"), lambda: opened[0], lambda scope: scope["method"] == "GET")
    opened.append(archive)
    (response,) = ask(app, "/anything")
    assert only(archive).id == response.headers[HEADER]


def test_a_worker_records_without_the_archive(archive, tmp_path):
    """A recorder of a worker will do as well."""
    archive.spool(tmp_path / "spool")
    with backstory.recorder(tmp_path / "spool") as recorder:
        (response,) = ask(RecordingMiddleware(PlainTextResponse("yes"), recorder, "/score"), "/score")
    archive.collect(tmp_path / "spool")
    assert only(archive).id == response.headers[HEADER]


def test_paths_are_the_applications_own():
    """What a server mounts the application below is no part of them."""
    recorded = RecordingMiddleware(None, None, ["/score", "/models/"])._is_recorded
    scopes = [("", "/score"), ("/api", "/api/score"), ("", "/models/7"), ("", "/score/7"), ("", "/models"), ("", "/")]
    assert [recorded({"root_path": root, "path": path}) for root, path in scopes] == [True, True, True] + [False] * 3


# --- the dependency ---------------------------------------------------------------------------------------------------


def by_hand(archive, *, middleware: bool) -> fastapi.FastAPI:
    """Return a service whose handlers are given the prediction."""
    app = fastapi.FastAPI()
    if middleware:
        app.add_middleware(RecordingMiddleware, archive=archive, paths="/")
    given = prediction(archive)

    async def score(x: float, p: Any = given) -> dict[str, float]:
        p.features({"x": x})
        p.step("clip", min(x, 5.0))
        p.output(min(x, 5.0) * 2)
        return {"score": min(x, 5.0) * 2}

    def finish(x: float, p: Any = given) -> dict[str, str]:
        p.features({"x": x})
        p.output(x)
        p.finish()
        return {"id": p.id}

    async def refuse(x: float, p: Any = given) -> None:
        p.features({"x": x})
        raise fastapi.HTTPException(409)

    async def fail(x: float, p: Any = given) -> None:
        p.features({"x": x})
        raise OUR_ERROR

    for handler in (score, finish, refuse, fail):
        app.get(f"/{handler.__name__}")(handler)
    return app


@pytest.mark.parametrize("middleware", [True, False])
def test_a_handler_says_things_by_hand(archive, middleware):
    """Features, steps and output as the handler gives them, in one record with or without the middleware."""
    (response,) = ask(by_hand(archive, middleware=middleware), "/score?x=7")
    story = only(archive)
    assert response.json() == {"score": 10.0}
    assert (story.features, story.output, steps(story)["clip"]["values"]) == ({"x": 7.0}, 10.0, 5.0)


@pytest.mark.parametrize("middleware", [True, False])
def test_a_handler_that_finishes_knows_the_id(archive, middleware):
    """And the header has it in either case, once."""
    (response,) = ask(by_hand(archive, middleware=middleware), "/finish?x=7")
    assert response.headers.get_list(HEADER) == [response.json()["id"]] == [only(archive).id]


@pytest.mark.parametrize("middleware", [True, False])
@pytest.mark.parametrize(("path", "error"), [("/refuse?x=1", "HTTP 409"), ("/fail?x=1", "OurError")])
def test_a_failing_handler_is_recorded(archive, middleware, path, error):
    """A refusal by its status, an exception by its class."""
    ask(by_hand(archive, middleware=middleware), path)
    story = only(archive)
    assert (story.status, story.error, story.features) == ("error", error, {"x": 1.0})


def test_a_route_outside_the_middlewares_paths_has_the_header_once_it_finished(archive):
    """It is recorded all the same; only FastAPI's response knows no id that comes after it."""
    app = fastapi.FastAPI()
    app.add_middleware(RecordingMiddleware, archive=archive, paths="/elsewhere")
    app.mount("/", by_hand(archive, middleware=False))
    responses = ask(app, "/score?x=7", "/finish?x=7")
    assert [HEADER in response.headers for response in responses] == [False, True]
    assert len(found(archive)) == 2


def test_steps_are_json(archive):
    """What stands on the record says how much of the steps was kept, and why."""
    ask(service(archive), "/score/async?x=1")
    text = json.loads(found(archive).steps[0])
    assert (text["keep"], text["why"]) == ("full", "always")
