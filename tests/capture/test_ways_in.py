"""Every way into the recorder: one record per prediction, the right error class, the caller's exception untouched."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import traceback

import httpx
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression
from tests.support.archives import readable_content

import backstory
from backstory.capture.enclosing import Enclosing
from backstory.capture.recorder import Recorder

WORKERS = 3


@pytest.fixture
def archive(tmp_path):
    """A new archive."""
    with backstory.init(tmp_path / "audit", origin="example.org/ways") as archive:
        yield archive


class OurError(RuntimeError):
    """An error only these functions raise."""


def found(archive):
    """Return all predictions, oldest first, once they are sealed."""
    archive.flush()
    return archive.search("true")


def only(archive):
    """Return the story of the only prediction there is."""
    (name,) = found(archive)["id"]
    return archive.why(name)


def values_of_steps(story):
    """Return what the steps of a story gave."""
    return [step.get("values") for step in story.steps["steps"]]


def in_clear(archive, what):
    """Say whether bytes stand in a segment, compressed or not."""
    return any(what in readable_content(path) for path in (archive.path / "segments").iterdir())


# --- processes --------------------------------------------------------------------------------------------------------

_PREFORK = """
    import os
    import backstory

    archive = backstory.open({path!r})

    @archive.traced
    def score(worker: int, x: int) -> int:
        return worker * 1000 + x

    score(0, 0)  # the master has a stream, a thread and shapes of its own before it forks
    children = []
    for worker in range(1, {workers} + 1):
        child = os.fork()
        if child == 0:
            for x in range(50):
                score(worker, x)
            archive.close()
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    score(0, 1)
    archive.close()
"""


def test_pre_forked_workers_record_each_call_once(tmp_path):
    """An archive opened before the fork, used in the master and in every worker."""
    backstory.init(tmp_path / "audit", origin="example.org/ways").close()
    code = textwrap.dedent(_PREFORK).format(path=str(tmp_path / "audit"), workers=WORKERS)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with backstory.open(tmp_path / "audit") as archive:
        expected = {0, 1} | {worker * 1000 + x for worker in range(1, WORKERS + 1) for x in range(50)}
        outputs = found(archive).output.tolist()
        assert sorted(outputs) == sorted(expected)
        assert not archive.verify().failed


def in_child(act):
    """Run a function in a forked child, which has ten seconds."""
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        with contextlib.suppress(BaseException):
            act()
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def predict_inside(archive, way, act):
    """Do something inside a prediction of 1.0."""
    if way == "traced":
        archive.traced(lambda x: act() or x)(1.0)
    else:
        with archive.prediction() as p:
            act()
            p.features({"x": 1.0})
            p.output(1.0)


@pytest.mark.parametrize("way", ["traced", "prediction"])
def test_what_a_child_forked_inside_a_prediction_predicts_is_recorded(archive, way):
    """By itself: the child has a copy of the prediction around it, which nobody finishes."""
    score = archive.traced(lambda x: x)
    model = archive.register(lambda rows: rows[:, 0], name="same")

    def predict():
        score(2.0)
        model(np.array([[3.0]]))
        with archive.prediction() as p:
            score(4.0)
            p.output(5.0)
        archive._recorder.close()

    predict_inside(archive, way, lambda: in_child(predict))
    assert sorted(found(archive).output) == [1.0, 2.0, 3.0, 5.0]


def test_a_child_waits_for_no_step_of_its_parent(archive):
    """A thread that was adding one when the child was forked is not there to end it."""
    score, is_held, go_on = archive.traced(lambda x: x), threading.Event(), threading.Event()

    def hold():
        with Enclosing._lock:
            is_held.set()
            go_on.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(10)
    in_child(lambda: score(score(2.0)))
    go_on.set()
    thread.join()


def test_a_value_that_is_slow_to_read_keeps_no_other_step_waiting(archive):
    """Its code runs before the step is added."""
    score, is_read, go_on = archive.traced(lambda x: x), threading.Event(), threading.Event()

    class Slow:
        def tolist(self):
            is_read.set()
            return [1.0 if go_on.wait(10) else 0.0]

        def __len__(self):
            return 1

    with archive.prediction() as p:
        p.output(3.0)
        slow = archive.traced(lambda x: (x, Slow())[1])
        thread = threading.Thread(target=contextvars.copy_context().run, args=(slow, 1.0))
        thread.start()
        is_read.wait(10)
        score(2.0)
        go_on.set()
        thread.join()
    assert values_of_steps(only(archive)) == [2.0, [1.0]]


_SERVICE = """
    import contextlib
    import os

    import fastapi
    import backstory
    from backstory.capture.asgi import RecordingMiddleware

    @contextlib.asynccontextmanager
    async def lifespan(app):
        with backstory.open(os.environ["ARCHIVE"]) as app.state.archive:
            yield

    app = fastapi.FastAPI(lifespan=lifespan)
    app.add_middleware(RecordingMiddleware, archive=lambda: app.state.archive, paths="/score")

    @app.get("/score")
    async def score(x: float) -> dict:
        return {"score": x, "worker": os.getpid()}
"""


def test_uvicorn_workers_record_every_request(tmp_path):
    """Two worker processes behind one socket: each answered request is a record; SIGTERM leaves nothing behind."""
    path = tmp_path / "audit"
    backstory.init(path, origin="example.org/ways").close()
    (tmp_path / "service.py").write_text(textwrap.dedent(_SERVICE))
    listener = socket.create_server(("127.0.0.1", 0))
    command = [sys.executable, "-m", "uvicorn", "service:app", "--workers", "2", "--fd", str(listener.fileno())]
    server = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"ARCHIVE": str(path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        pass_fds=[listener.fileno()],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:  # a connection waits in the socket until a worker is there to take it
        answers = [httpx.get(f"{base}/score", params={"x": number}, timeout=60) for number in range(20)]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        listener.close()
    with backstory.open(path) as archive:
        ids = [answer.headers["x-backstory-prediction"] for answer in answers]
        assert sorted(found(archive).id) == sorted(ids)
        assert not archive.verify().failed


# --- threads and tasks ------------------------------------------------------------------------------------------------


def test_threads_record_each_call_once(archive):
    """Threads share one traced function."""

    @archive.traced
    def score(thread: int, x: int) -> int:
        return thread * 1000 + x

    threads = [
        threading.Thread(target=lambda t=thread: [score(t, x) for x in range(50)], name=str(thread))
        for thread in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found(archive).output) == [t * 1000 + x for t in range(4) for x in range(50)]


def test_tasks_keep_their_steps_apart(archive):
    """What tasks predict in turn is each a step of its own task's prediction."""

    @archive.traced
    async def inner(x: float) -> float:
        await asyncio.sleep(0)
        return x + 0.5

    @archive.traced
    async def outer(x: float) -> float:
        first = await inner(x)
        return await inner(first)

    async def all_of_them() -> list[float]:
        return await asyncio.gather(*(outer(float(number)) for number in range(20)))

    asyncio.run(all_of_them())
    stories = [archive.why(name) for name in found(archive).id]
    assert sorted(story.output for story in stories) == [number + 1.0 for number in range(20)]
    assert all(values_of_steps(story) == [story.output - 0.5, story.output] for story in stories)


def test_a_thread_with_the_context_of_a_prediction_adds_its_steps(archive):
    """`asyncio.to_thread` and a service's thread pool copy the context."""

    @archive.traced
    def inner(x: float) -> float:
        return x + 1

    @archive.traced
    async def outer(x: float) -> float:
        return await asyncio.to_thread(inner, x)

    asyncio.run(outer(1.0))
    assert values_of_steps(only(archive)) == [2.0]


@pytest.mark.parametrize("way", ["traced", "prediction"])
def test_what_outlives_a_prediction_is_recorded_by_itself(archive, way):
    """A task begun inside that predicts after the prediction was recorded makes a record; it is not lost."""

    @archive.traced
    def score(x: float) -> float:
        return x

    async def later(released: asyncio.Event) -> None:
        await released.wait()
        score(2.0)

    def begin(released: asyncio.Event) -> asyncio.Task[None]:
        return asyncio.create_task(later(released))

    async def main() -> None:
        released = asyncio.Event()
        if way == "traced":
            begun: list[asyncio.Task[None]] = []
            archive.traced(lambda x: begun.append(begin(released)) or x)(1.0)
        else:
            with archive.prediction() as p:
                begun = [begin(released)]
                p.output(1.0)
        released.set()
        await begun[0]

    asyncio.run(main())
    assert sorted(found(archive).output) == [1.0, 2.0]


# --- generators -------------------------------------------------------------------------------------------------------


def test_a_generator_is_one_record(archive):
    """However many values it yields; what it predicts between is its steps."""

    @archive.traced
    def inner(x: int) -> int:
        return x * 10

    @archive.traced
    def stream(count: int):
        for number in range(count):
            yield inner(number)

    assert list(stream(3)) == [0, 10, 20]
    story = only(archive)
    assert (story.status, story.output["count"], story.output["values"]) == ("ok", 3, [0, 10, 20])
    assert values_of_steps(story) == [0, 10, 20]


def test_an_async_generator_is_one_record(archive):
    """Of text, the output is the whole text."""

    @archive.traced
    async def stream(word: str):
        for letter in word:
            await asyncio.sleep(0)
            yield letter

    async def read() -> str:
        return "".join([letter async for letter in stream("word")])

    assert asyncio.run(read()) == "word"
    assert only(archive).output == {"count": 4, "values": "word"}


def test_a_generator_closed_early_says_what_it_gave(archive):
    """It did not fail: its output is what was given out, and a step says that its consumer wanted no more."""

    @archive.traced
    def stream(count: int):
        yield from range(count)

    values = stream(5)
    assert [next(values), next(values)] == [0, 1]
    values.close()
    story = only(archive)
    assert (story.status, story.output) == ("ok", {"count": 2, "values": [0, 1]})
    assert [(step["name"], step["values"]) for step in story.steps["steps"]] == [("closed", "by its consumer")]


def test_an_async_generator_closed_early_is_recorded(archive):
    """And the generator within is closed with it."""
    closed = []

    @archive.traced
    async def stream(count: int):
        try:
            for number in range(count):
                yield number
        finally:
            closed.append(count)

    async def read() -> None:
        async with contextlib.aclosing(stream(5)) as values:
            async for _ in values:
                break

    asyncio.run(read())
    assert closed == [5]
    assert (only(archive).status, only(archive).output) == ("ok", {"count": 1, "values": [0]})


def test_a_generator_is_sent_and_thrown_what_its_caller_sends_and_throws(archive):
    """It behaves as without the decorator: values, exceptions it handles, and what it returns."""

    @archive.traced
    def stream(x: int):
        got = yield x
        try:
            yield got
        except OurError as error:
            yield str(error)
        return "end"

    values = stream(1)
    assert (next(values), values.send("sent"), values.throw(OurError("thrown"))) == (1, "sent", "thrown")
    with pytest.raises(StopIteration) as stop:
        next(values)
    assert stop.value.value == "end"
    assert only(archive).status == "ok"


def test_an_async_generator_is_sent_and_thrown_what_its_caller_sends_and_throws(archive):
    """The same with `asend` and `athrow`."""

    @archive.traced
    async def stream(x: int):
        got = yield x
        try:
            yield got
        except OurError as error:
            yield str(error)

    async def drive() -> list[object]:
        values = stream(1)
        given = [await anext(values), await values.asend("sent"), await values.athrow(OurError("thrown"))]
        with pytest.raises(StopAsyncIteration):
            await anext(values)
        return given

    assert asyncio.run(drive()) == [1, "sent", "thrown"]
    assert only(archive).status == "ok"


def test_an_exception_thrown_into_a_generator_is_its_error(archive):
    """The very object comes out again, and its class is recorded."""

    @archive.traced
    def stream(x: int):
        yield x

    values, error = stream(1), OurError()
    next(values)
    with pytest.raises(OurError) as caught:
        values.throw(error)
    assert caught.value is error
    assert only(archive).error == "OurError"


def test_a_generator_may_go_on_in_another_context(archive):
    """As where a service reads a response's parts by a pool of threads, each step in a copy of the context."""

    def stream():
        with archive.prediction() as p:
            yield 1
            p.output(2.0)
            yield 2

    values = stream()
    assert [contextvars.copy_context().run(next, values, None) for _ in range(3)] == [1, 2, None]
    assert only(archive).output == 2.0


def stubborn():
    """Give one value more where it should end, and then end."""
    try:
        yield 1
    except GeneratorExit:
        yield "caught"


def obedient():
    """End where it is told to, with a value."""
    with contextlib.suppress(GeneratorExit):
        yield 1
    return "end"


def drive(function, *acts):
    """Return what each step of a generator gives, or what it raises."""
    values, given = function(), []
    for act in (next, *acts):
        try:
            given.append(act(values))
        except (GeneratorExit, RuntimeError, StopIteration) as error:
            given.append((type(error), str(error)))
    return given


@pytest.mark.parametrize("function", [stubborn, obedient], ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    "acts",
    [[lambda values: values.throw(GeneratorExit), next, next], [lambda values: values.close(), next]],
    ids=["throw", "close"],
)
def test_a_generator_is_told_to_end_as_without_the_decorator(archive, function, acts):
    """It may go on, end with a value, or refuse: its caller sees the same, and there is one record."""
    assert drive(archive.traced(function), *acts) == drive(function, *acts)
    only(archive)


def test_an_async_generator_is_told_to_end_as_without_the_decorator(archive):
    """It may go on where GeneratorExit is thrown into it."""

    async def stream():
        try:
            yield "thrown"
        except GeneratorExit:
            yield " and caught"

    async def drive_later(function) -> list[object]:
        values = function()
        given = [await anext(values), await values.athrow(GeneratorExit)]
        return [*given, [value async for value in values]]

    assert asyncio.run(drive_later(archive.traced(stream))) == asyncio.run(drive_later(stream))
    assert only(archive).output == {"count": 2, "values": "thrown and caught"}


# --- methods ----------------------------------------------------------------------------------------------------------


def test_methods_of_every_kind_are_recorded(archive):
    """Methods, class methods and static methods, the decorator above or below the other one."""

    class Scorer:
        factor = 2.0

        @archive.traced
        def method(self, x: float) -> float:
            return x * self.factor

        @archive.traced
        @classmethod
        def above_class(cls, x: float) -> float:
            return x * cls.factor

        @classmethod
        @archive.traced
        def below_class(cls, x: float) -> float:
            return x * cls.factor

        @archive.traced
        @staticmethod
        def above_static(x: float) -> float:
            return x * 2

        @staticmethod
        @archive.traced
        def below_static(x: float) -> float:
            return x * 2

    names = ["method", "above_class", "below_class", "above_static", "below_static"]
    assert [getattr(Scorer(), name)(float(at)) for at, name in enumerate(names)] == [0.0, 2.0, 4.0, 6.0, 8.0]
    stories = [archive.why(name) for name in found(archive).id]
    assert [(s.method.rpartition(".")[2], s.features) for s in stories] == [
        (name, {"x": float(at)}) for at, name in enumerate(names)
    ]


class Particular(BaseEstimator):
    """A model whose methods take more than features."""

    def predict(self, rows, factor, /):
        """Multiply."""
        return rows[:, 0] * factor

    def predict_all(self, rows, *factors):
        """Multiply by all."""
        return rows[:, 0] * np.prod(factors)

    def predict_any(self, rows, factor=1.0, **others):
        """Multiply, also by what has another name."""
        return rows[:, 0] * factor * others.get("more", 1.0)


CALLS = {
    "by position only": ("predict", (2.0,), {}, {"factor": {"float": "2.0"}}),
    "any number": ("predict_all", (2.0, 3.0), {}, {"factors": {"type": "tuple"}}),
    "by position": ("predict_any", (2.0,), {}, {"factor": {"float": "2.0"}}),
    "by name": (
        "predict_any",
        (),
        {"factor": 2.0, "more": 3.0},
        {"factor": {"float": "2.0"}, "more": {"float": "3.0"}},
    ),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_method_is_given_what_its_caller_gives(archive, what):
    """By position what comes by position; the record has the names of the parameters."""
    name, args, kwargs, options = CALLS[what]
    rows = np.array([[1.5]])
    version = archive.register(Particular(), name="particular", trusted=f"{__name__}.Particular")
    expected = getattr(Particular(), name)(rows, *args, **kwargs)
    assert getattr(version, name)(rows, *args, **kwargs).tolist() == expected.tolist()
    story = only(archive)
    assert story.context["options"] == options
    again = archive.replay(story.id)
    assert again.verdict == ("exact" if what != "any number" else "not-replayable"), again.reason


# --- exceptions -------------------------------------------------------------------------------------------------------


def broken(x: float) -> float:
    """Raise."""
    raise OurError("loan 4711")


async def broken_later(x: float) -> float:
    """Raise after a while."""
    await asyncio.sleep(0)
    raise OurError("loan 4711")


def broken_stream(x: float):
    """Raise after a value."""
    yield x
    raise OurError("loan 4711")


def broken_prediction(archive):
    """Raise inside a prediction."""
    with archive.prediction() as p:
        p.features({"x": 1.0})
        broken(1.0)


WAYS = {
    "function": lambda archive: archive.traced(broken)(1.0),
    "coroutine": lambda archive: asyncio.run(archive.traced(broken_later)(1.0)),
    "generator": lambda archive: list(archive.traced(broken_stream)(1.0)),
    "prediction": broken_prediction,
    "model": lambda archive: archive.register(broken, name="broken")(np.array([[1.0]])),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_goes_on_as_it_is(archive, way):
    """Nothing is chained to it, its traceback ends in the caller's own code, and the record has its class."""
    with pytest.raises(OurError, match="loan 4711") as caught:
        WAYS[way](archive)
    assert (caught.value.__cause__, caught.value.__context__, caught.value.__suppress_context__) == (None, None, False)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name.startswith("broken")
    story = only(archive)
    assert (story.status, story.error, story.output) == ("error", "OurError", None)
    assert "4711" not in str(story)


@pytest.mark.parametrize("way", ["function", "coroutine", "generator", "prediction", "model"])
def test_an_exception_goes_on_where_it_cannot_be_recorded(tmp_path, way, caplog):
    """The caller learns what went wrong with the prediction; the log, that its record is missing."""
    with backstory.init(tmp_path / "audit", origin="example.org/ways") as archive:
        version = archive.register(broken, name="broken")
    ways = {**WAYS, "model": lambda _: version(np.array([[1.0]]))}
    with pytest.raises(OurError):
        ways[way](archive)
    assert "a failed prediction is not recorded" in caplog.text


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, StopIteration, asyncio.CancelledError])
def test_what_is_no_ordinary_error_is_recorded(archive, stop):
    """By its class, and it goes on."""

    @archive.traced
    def score(x: float) -> float:
        raise stop

    with pytest.raises(stop):
        score(1.0)
    assert only(archive).error == stop.__name__


@pytest.mark.parametrize("way", ["traced", "prediction"])
def test_a_cancelled_task_is_recorded(archive, way):
    """As CancelledError, and the task is cancelled."""
    began = asyncio.Event()

    async def wait(x: float) -> None:
        began.set()
        await asyncio.Event().wait()

    async def observed(x: float) -> None:
        with archive.prediction() as p:
            p.features({"x": x})
            await wait(x)

    async def main() -> None:
        task = asyncio.create_task((archive.traced(wait) if way == "traced" else observed)(1.0))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    story = only(archive)
    assert (story.error, story.features) == ("CancelledError", {"x": 1.0})


@pytest.mark.parametrize("way", WAYS)
def test_no_error_of_the_recorder_takes_the_place_of_an_exception(archive, way, caplog, monkeypatch):
    """Whatever it is; the log says it by its class, as its words may hold values."""
    archive.register(broken, name="broken")

    def fail(*_):
        raise ZeroDivisionError("a value")

    monkeypatch.setattr(Recorder, "record", fail)
    monkeypatch.setattr(Recorder, "record_row", fail)
    with pytest.raises(OurError):
        WAYS[way](archive)
    assert "a failed prediction is not recorded: ZeroDivisionError" in caplog.text


GIVEN_WRONGLY = {"too few": ((), {}), "too many": ((1.0, 2.0), {}), "another name": ((1.0,), {"y": 2.0})}


@pytest.mark.parametrize("wrongly", GIVEN_WRONGLY)
@pytest.mark.parametrize("subject", [None, "x"])
def test_wrong_arguments_are_the_error_of_the_function(archive, wrongly, subject):
    """The caller reads its words, and the call is recorded as failed."""

    def score(x: float) -> float:
        return x

    args, kwargs = GIVEN_WRONGLY[wrongly]
    with pytest.raises(TypeError) as native:
        score(*args, **kwargs)
    with pytest.raises(TypeError) as recorded:
        archive.traced(score, subject=subject)(*args, **kwargs)
    assert str(recorded.value) == str(native.value)
    assert only(archive).error == "TypeError"


# --- nesting ----------------------------------------------------------------------------------------------------------


def test_nested_ways_in_are_one_record(archive):
    """A model in a prediction in a traced function: the outermost is the record, the others are steps."""
    model = archive.register(LinearRegression().fit(np.array([[0.0], [1.0]]), [0.0, 1.0]), name="line")

    @archive.traced
    def outer(x: float) -> float:
        with archive.prediction() as p:
            p.step("clip", x)
            return float(model.predict(np.array([[x]]))[0])

    outer(3.0)
    story = only(archive)
    (step,) = story.steps["steps"]
    assert story.method.endswith("outer")
    assert [(inner["name"], inner["kind"]) for inner in step["values"]["steps"]] == [
        ("clip", "step"),
        ("predict", "call"),
    ]


def test_a_model_that_fails_inside_and_is_replaced_is_no_failure(archive):
    """The fallback's call is the prediction; the failed one is a step."""
    fallback = archive.traced(lambda x: x / 2)
    with archive.prediction():
        with contextlib.suppress(OurError):
            archive.traced(broken)(1.0)
        fallback(4.0)
    story = only(archive)
    assert (story.status, story.features, story.output) == ("ok", {"x": 4.0}, 2.0)
    assert [step.get("error") for step in story.steps["steps"]] == ["OurError", None]


def test_the_model_inside_takes_the_subject_of_the_prediction(archive):
    """A model's features and output are sealed where the prediction around it is about a person."""
    with archive.prediction(subject="c-17"):
        archive.traced(lambda diagnosis: f"no offer for {diagnosis}")("a rare disease")
    assert set(only(archive).sealed) == {"features", "output", "subject"}
    assert not in_clear(archive, b"rare disease")


def test_values_of_a_step_about_a_person_need_a_sealed_record(archive):
    """In a prediction about nobody, a call about somebody leaves its name among the steps and nothing else."""

    def offer(customer: str, diagnosis: str) -> str:
        return f"no offer for {diagnosis}"

    with archive.prediction() as p:
        archive.traced(subject="customer")(offer)("c-17", "a rare disease")
        p.features({"x": 1.0})
        p.output(0.5)
    (step,) = only(archive).steps["steps"]
    assert (step["kind"], step.get("values")) == ("call", None)
    assert not in_clear(archive, b"rare disease")


def test_a_finished_prediction_has_its_id_inside_the_block(archive):
    """And takes nothing more: the model called after it is a record of its own."""
    score = archive.traced(lambda x: x)
    with archive.prediction() as p:
        p.output(1.0)
        p.finish()
        name = p.id
        score(2.0)
        with pytest.raises(backstory.BackstoryError, match="recorded already"):
            p.output(3.0)
    assert found(archive).output.tolist() == [1.0, 2.0]
    assert archive.why(name).output == 1.0
