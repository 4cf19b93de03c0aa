"""What may be traced, what ends a call that nobody waits for, and how much one record takes in."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import logging
import sys
import threading

import duckdb
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression
from tests.support.archives import stories

import backstory
from backstory.records.limits import REQUEST_ID_MAX, STEPS_MAX, STEPS_SIZE_MAX


@pytest.fixture
def archive(tmp_path):
    """A new archive."""
    with backstory.init(tmp_path / "audit", origin="example.org/traced") as archive:
        yield archive


class Holder:
    """Something that only the garbage collector frees."""

    def __init__(self, held):
        self.itself, self.held = self, held


def collect():
    """Collect garbage; return the context variables that were set meanwhile."""
    changed = []

    def note(_frame, event, called):
        if event == "c_call" and isinstance(getattr(called, "__self__", None), contextvars.ContextVar):
            changed.append(called.__name__)

    sys.setprofile(note)
    try:
        gc.collect()
    finally:
        sys.setprofile(None)
    return [name for name in changed if name != "get"]


# --- given up ---------------------------------------------------------------------------------------------------------


def begin_generator(archive):
    """Return a generator that has given one value."""

    @archive.traced
    def stream(x):
        yield x
        yield x

    values = stream(1.5)
    next(values)
    return values


def begin_prediction(archive):
    """Return a generator inside a prediction."""

    def stream():
        with archive.prediction() as p:
            p.features({"x": 1.5})
            yield

    values = stream()
    next(values)
    return values


def begin_coroutine(archive):
    """Return a coroutine that waits for ever."""

    @archive.traced
    async def score(x):
        await asyncio.Future(loop=loop)

    loop = asyncio.new_event_loop()
    waiting = score(1.5)
    waiting.send(None)
    loop.close()
    return waiting


BEGUN = {
    "generator": (begin_generator, ("ok", {"count": 1, "values": [1.5]})),
    "prediction": (begin_prediction, ("error", None)),
    "coroutine": (begin_coroutine, ("error", None)),
}


@pytest.fixture
def no_collection():
    """Nothing is collected but where a test says so."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("way", BEGUN)
def test_the_finalizer_of_a_call_sets_no_context_variable(archive, way):
    """The collector may run in the middle of another `set`, which CPython 3.11 does not survive; one record is made."""
    begin, expected = BEGUN[way]
    Holder(begin(archive))
    assert collect() == []
    (story,) = stories(archive)
    assert (story.status, story.output) == expected
    assert story.features == {"x": 1.5}


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("way", BEGUN)
def test_the_finalizer_of_a_call_waits_for_no_lock(archive, way):
    """Whoever it interrupts may hold it."""
    score = archive.traced(lambda x: x)
    score(2.0)
    begin, _ = BEGUN[way]
    Holder(begin(archive))
    recorder = archive._recorder
    (stream,) = recorder._streams.values()
    collector = threading.Thread(target=gc.collect, daemon=True)
    with recorder._lock, stream.io, stream.lock:
        collector.start()
        collector.join(10)
        assert not collector.is_alive()
    score(3.0)
    assert len(stories(archive)) == 3


def test_what_was_given_up_belongs_to_no_prediction_that_goes_on_then(archive):
    """It is recorded by whoever records next, and is no step of theirs."""
    values = begin_generator(archive)
    with archive.prediction() as p:
        values.close()
        archive.traced(lambda x: x)(1)
        p.features({"y": 1})
        p.output(2)
    assert [story.features for story in stories(archive)] == [{"x": 1.5}, {"y": 1}]


def test_what_cannot_be_recorded_of_a_given_up_call_is_no_error_of_the_next(archive, caplog):
    """The log says so."""
    recorder = archive._recorder
    recorder.defer(lambda: 1 / 0)
    with caplog.at_level(logging.ERROR):
        assert archive.traced(lambda x: x)(1.0) == 1.0
    assert "given up is not recorded" in caplog.text


def test_a_closed_archive_has_recorded_what_was_given_up(tmp_path):
    """Nothing else is needed to record it."""
    with backstory.init(tmp_path / "audit", origin="example.org/traced") as archive:
        begin_generator(archive).close()
    with backstory.open(tmp_path / "audit") as archive:
        assert [story.output["count"] for story in stories(archive)] == [1]


# --- generators -------------------------------------------------------------------------------------------------------


def test_a_generator_is_recorded_with_the_values_it_gave(archive):
    """As they were when they were given, whatever it does to them later."""

    @archive.traced
    def stream(count):
        state = [0]
        for number in range(count):
            state[0] = number
            yield state

    assert len(list(stream(3))) == 3
    assert stories(archive)[0].output["values"] == [[0], [1], [2]]


def test_of_a_long_stream_the_first_bytes_are_kept(archive):
    """And how many values are left out."""

    @archive.traced
    def stream(count):
        for _ in range(count):
            yield "x" * (STEPS_SIZE_MAX // 2)

    for _ in stream(5):
        pass
    (story,) = stories(archive)
    assert (story.output["count"], story.output["left_out"]) == (5, 3)


def test_a_generator_that_its_reader_leaves_did_not_fail(archive):
    """Its output is what it gave until then."""
    stream = archive.traced(lambda x: (yield from range(x)))
    for _ in stream(3):
        break
    (story,) = stories(archive)
    assert (story.status, story.output, story.steps["steps"][0]["name"]) == (
        "ok",
        {"count": 1, "values": [0]},
        "closed",
    )


def test_a_generator_that_fails_while_it_is_closed_failed(archive):
    """By the class of its own error."""

    @archive.traced
    def stream(x):
        try:
            yield x
        finally:
            raise KeyError

    values = stream(1)
    next(values)
    with pytest.raises(KeyError):
        values.close()
    assert stories(archive)[0].error == "KeyError"


# --- callables --------------------------------------------------------------------------------------------------------


class Scorer:
    """An object that is called."""

    def __call__(self, x):
        """Add one."""
        return x + 1

    async def later(self, x):
        """Add one."""
        return x + 1


class LaterScorer:
    """An object whose call is a coroutine."""

    async def __call__(self, x):
        """Add one."""
        return x + 1


async def add(x, y):
    """Add."""
    return x + y


CALLABLES = {
    "partial": (functools.partial(lambda y, x: x + y, 1), "<lambda>"),
    "object": (Scorer(), "Scorer.__call__"),
    "method": (Scorer().__call__, "Scorer.__call__"),
    "coroutine object": (LaterScorer(), "LaterScorer.__call__"),
    "coroutine method": (Scorer().later, "Scorer.later"),
    "partial of a coroutine": (functools.partial(add, y=1), "add"),
    "built-in": (max, "max"),
}


@pytest.mark.parametrize("what", CALLABLES)
def test_whatever_can_be_called_can_be_traced(archive, what):
    """A coroutine stays one, and the record names what was called."""
    function, name = CALLABLES[what]
    given = (1, 2) if what == "built-in" else (1,)
    output = archive.traced(function)(*given)
    assert (asyncio.run(output) if asyncio.iscoroutine(output) else output) == 2
    (story,) = stories(archive)
    assert (story.method.endswith(name), story.output) == (True, 2)


def test_a_traced_function_names_its_model_as_a_prediction_does(archive):
    """By what `model()` takes."""
    archive.register(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), name="line", alias="production")
    archive.traced(model="line@production")(lambda x: x)(1.0)
    assert stories(archive)[0].model["name"] == "line"


# --- features ---------------------------------------------------------------------------------------------------------


def test_parameters_of_a_function_are_features_whatever_their_names(archive):
    """Only a method's object is none."""

    def score(cls, self):
        return cls + self

    archive.traced(score)(3, 4)
    assert stories(archive)[0].features == {"cls": 3, "self": 4}


def test_features_whose_names_are_alike_as_text_are_all_recorded(archive):
    """Under distinct names."""
    archive.traced(len)({1: "a", "1": "b"})
    assert stories(archive)[0].features == {"1": "a", "1 (str)": "b"}


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_record_takes_in_so_many_steps_and_counts_the_others(archive):
    """A recursive function makes thousands."""

    @archive.traced
    def count(number):
        return 0 if number == 0 else 1 + max(count(number - 1), 0)

    @archive.traced
    def often(number):
        return sum(count(1) for _ in range(number))

    often(STEPS_MAX)
    (story,) = stories(archive)
    assert (len(story.steps["steps"]), story.steps["left_out"]) == (STEPS_MAX, STEPS_MAX)


def test_values_of_steps_have_a_greatest_size(archive):
    """A step that has no room keeps its name."""
    with archive.prediction() as p:
        p.step("large", "x" * STEPS_SIZE_MAX)
        p.step("more", "x")
        p.step("small", [1.0])
        p.output(1)
    steps = stories(archive)[0].steps["steps"]
    assert [step["name"] for step in steps] == ["large", "more", "small"]
    assert [step["values"] for step in steps[1:]] == ["<about 1 bytes, left out>", "<about 8 bytes, left out>"]


def test_a_request_id_has_a_greatest_length(archive):
    """A longer one is refused before anything is predicted."""
    with pytest.raises(backstory.BackstoryError, match="at most 256 characters"):
        archive.prediction(request_id="r" * (REQUEST_ID_MAX + 1))


def test_a_rule_that_raises_keeps_all(archive):
    """The prediction is recorded, with its steps in full."""
    with archive.prediction(keep="record", keep_if=lambda output: output["missing"]) as p:
        p.step("clip", 1.0)
        p.output({"score": 1.0})
    steps = stories(archive)[0].steps
    assert (steps["why"], steps["steps"][0]["values"]) == ("rule", 1.0)


def test_calls_inside_a_prediction_with_an_output_are_steps_only(archive):
    """Of many, none is the prediction, and none of their inputs is held."""
    score = archive.traced(lambda x: x)
    with archive.prediction() as p:
        for number in range(5):
            score(number)
        assert p.only_steps
        assert len(p._inner) == 2
    assert len(stories(archive)[0].steps["steps"]) == 5


def test_a_pool_of_threads_adds_steps_where_it_is_given_the_context(archive):
    """Otherwise what it predicts are records of their own."""
    score = archive.traced(lambda x: x)
    with concurrent.futures.ThreadPoolExecutor(1) as pool, archive.prediction() as p:
        pool.submit(score, 1.0).result()
        pool.submit(contextvars.copy_context().run, score, 2.0).result()
        p.features({"y": 1})
        p.output(0)
    assert [story.output for story in stories(archive)] == [1.0, 0]


@pytest.mark.parametrize(
    "make",
    [lambda: pl.LazyFrame({"a": [1, 2]}), lambda: duckdb.connect().sql("SELECT 1 AS a")],
    ids=["polars", "duckdb"],
)
def test_what_runs_anew_at_each_read_is_not_run_for_a_record(archive, make):
    """A lazy frame or a relation among the arguments is recorded as what it is, and the call is as without a record."""

    @archive.traced
    def first(frame):
        return frame.select("a")

    first(make())
    archive.flush()
    (story,) = stories(archive)
    assert story.status == "ok"
    assert story.features["frame"].startswith("<")
