"""Predictions that were given up are recorded once, by one thread, and whoever waits for them finds them recorded."""

from __future__ import annotations

import threading

import pytest

from backstory.capture.deferred import Deferred

SECONDS = 10


def _nobody() -> None:
    """Ring for no thread."""


def test_who_waits_comes_back_when_another_thread_is_done():
    """Otherwise a flush would say that all is durable while something is still being recorded."""
    deferred, begun, may_end, order = Deferred(_nobody), threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        may_end.wait(SECONDS)
        order.append("recorded")

    def flush() -> None:
        deferred.end_all(wait=True)
        order.append("flushed")

    deferred.add(slow)
    recording, flushing = threading.Thread(target=deferred.end_all), threading.Thread(target=flush)
    recording.start()
    assert begun.wait(SECONDS)
    flushing.start()
    flushing.join(0.05)
    assert flushing.is_alive()
    may_end.set()
    recording.join(SECONDS)
    flushing.join(SECONDS)
    assert order == ["recorded", "flushed"]


def test_who_does_not_wait_passes_by():
    """The thread that makes room must not wait for one that waits for room."""
    deferred, begun, may_end = Deferred(_nobody), threading.Event(), threading.Event()
    deferred.add(lambda: (begun.set(), may_end.wait(SECONDS)))
    recording = threading.Thread(target=deferred.end_all)
    recording.start()
    assert begun.wait(SECONDS)
    deferred.add(_nobody)
    deferred.end_all()
    may_end.set()
    recording.join(SECONDS)
    assert not deferred


def test_recording_one_may_come_back_here():
    """It records, and whoever records looks for what was given up."""
    deferred, done = Deferred(_nobody), []
    deferred.add(lambda: (deferred.end_all(wait=True), done.append("outer")))
    deferred.add(lambda: done.append("inner"))
    deferred.end_all()
    assert done == ["outer", "inner"]


def test_an_error_of_one_is_nobody_elses():
    """It is logged, and the others are recorded."""
    deferred, done = Deferred(_nobody), []
    deferred.add(lambda: 1 / 0)
    deferred.add(lambda: done.append("next"))
    deferred.end_all()
    assert done == ["next"]


def test_an_interrupted_one_is_tried_again():
    """A signal handler may raise in the middle of it."""
    rung = []
    deferred = Deferred(lambda: rung.append(True))
    raises = iter([KeyboardInterrupt])
    done = []

    def end() -> None:
        for error in raises:
            raise error
        done.append("recorded")

    deferred.add(end)
    with pytest.raises(KeyboardInterrupt):
        deferred.end_all()
    assert len(rung) == 2
    deferred.end_all()
    assert done == ["recorded"]
