"""Sealing again and again: what is due, that one stream does not stop the others, and how it ends."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal

import pytest
from tests.support.ledgers import OPEN, SEALED, make_batch, new_ledger, new_recorder

from backstory.errors import StorageError
from backstory.ledger import watch as watch_module
from backstory.ledger.seal import LEASE_NS
from backstory.ledger.stopping import stop_on
from backstory.ledger.watch import DUTY_NS, OnDuty, Rule, Waiting, Watch, is_due, watch

SECOND = 10**9
RULE = Rule(rows=100, age_ns=10 * SECOND)


def never(_seconds):
    """Do not stop."""
    return False


def waiting(**given):
    """Return a stream of a living writer that has waited for no time."""
    return Waiting(**{"records": 1, "since_ns": 0, "has_ended": False} | given)


@pytest.fixture
def clock():
    """A clock that goes where a test puts it, in nanoseconds."""
    return [0]


@pytest.fixture
def ledger(tmp_path, clock):
    """A new archive, open for writing, whose monotonic clock the test moves."""
    opened = new_ledger(tmp_path / "archive")
    opened.world = dataclasses.replace(opened.world, monotonic_ns=lambda: clock[0])
    return opened


@pytest.mark.parametrize(
    ("stream", "now_ns", "due"),
    [
        (waiting(records=99), 0, False),
        (waiting(records=100), 0, True),
        (waiting(records=1), 10 * SECOND - 1, False),
        (waiting(records=1), 10 * SECOND, True),
        (waiting(records=0), 10 * SECOND, True),
        (waiting(records=0, has_ended=True), 0, True),
        (waiting(records=1_000, is_part=True), 99 * SECOND, False),
        (waiting(is_part=True, has_ended=True), 0, True),
    ],
)
def test_what_is_due(stream, now_ns, due):
    """A stream is due by its records, by their age, or because its writer is gone; a part of a job only by that."""
    assert is_due(stream, RULE, now_ns) is due


def test_few_young_records_are_left_alone(ledger, clock):
    """Records of a living writer wait until they are many or old, and then are sealed once."""
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 3))
    look = Watch(ledger, RULE).look
    assert look(never) == 0
    clock[0] += 10 * SECOND
    assert look(never) == 3
    recorder.record(make_batch(ledger, OPEN, 3, 100))
    assert look(never) == 100
    recorder.close()


def test_what_has_not_grown_is_not_read_again(ledger, clock, monkeypatch):
    """A stream that is sealed to its end costs a look at the sizes of its files."""
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 100))
    look = Watch(ledger, RULE).look
    assert look(never) == 100
    monkeypatch.setattr(ledger.spool, "frames", None)
    clock[0] += 100 * SECOND
    assert look(never) == 0
    recorder.close()


def test_records_written_while_sealing_are_seen_later(ledger, clock, monkeypatch):
    """What is appended between reading and remembering a stream's size is not taken for sealed."""
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 100))
    seal = watch_module.seal_stream

    def seal_and_append(*arguments):
        sealed = seal(*arguments)
        recorder.record(make_batch(ledger, OPEN, 100, 2))
        return sealed

    monkeypatch.setattr(watch_module, "seal_stream", seal_and_append)
    look = Watch(ledger, RULE).look
    assert look(never) == 100
    monkeypatch.setattr(watch_module, "seal_stream", seal)
    assert look(never) == 0
    clock[0] += 10 * SECOND
    assert look(never) == 2
    recorder.close()


def test_a_stream_whose_writer_is_gone_is_closed_at_once(ledger):
    """The end of a writer is in the log after the next look, and its stream is out of the spool."""
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 3))
    recorder.close()
    assert Watch(ledger, RULE).look(never) == 3
    assert ledger.spool.stream_names() == []
    assert len(ledger.find_entries("stream.closed")) == 1


@pytest.mark.parametrize("error", [StorageError("disk full"), ValueError("a value of a record")])
def test_a_stream_that_fails_does_not_stop_the_others(ledger, clock, monkeypatch, caplog, error):
    """It is logged, without a value, left alone for a while and tried again; the others are sealed."""
    for schema in (OPEN, SEALED):
        recorder = new_recorder(ledger)
        recorder.record(make_batch(ledger, schema, 0, 3))
        recorder.close()
    bad = ledger.spool.stream_names()[0]
    seal = watch_module.seal_stream

    def seal_but_one(opened, info):
        if info.stream == bad:
            raise error
        return seal(opened, info)

    monkeypatch.setattr(watch_module, "seal_stream", seal_but_one)
    look = Watch(ledger, RULE).look
    with caplog.at_level(logging.WARNING, "backstory"):
        assert look(never) == 3
        assert look(never) == 0
    (message,) = caplog.messages
    assert bad in message
    assert "value" not in message
    monkeypatch.setattr(watch_module, "seal_stream", seal)
    clock[0] += watch_module.RETRY_NS
    assert look(never) == 3


def test_a_stream_somebody_holds_is_named_after_a_while(ledger, clock, caplog):
    """A stuck sealer is not waited for; who holds the stream is said once a minute."""
    recorder = new_recorder(ledger)
    recorder.record(make_batch(ledger, OPEN, 0, 100))
    (name,) = ledger.spool.stream_names()
    now_ns = ledger.world.now_ns()
    ledger.lock.take_lease(name, "elsewhere:77:ab", now_ns, now_ns + LEASE_NS)
    look = Watch(ledger, RULE).look
    assert look(never) == 0
    assert caplog.messages == []
    clock[0] += 60 * SECOND
    assert look(never) == look(never) == 0
    assert caplog.messages == [f"stream {name} waits to be sealed for 60 s: held by elsewhere:77:ab"]
    ledger.lock.release_lease(name, "elsewhere:77:ab")
    clock[0] += 60 * SECOND
    assert look(never) == 100
    recorder.close()


def test_a_watch_stops_between_two_streams(ledger):
    """Told to stop, it finishes the seal under way and begins no other."""
    for schema in (OPEN, SEALED):
        recorder = new_recorder(ledger)
        recorder.record(make_batch(ledger, schema, 0, 3))
        recorder.close()
    answers = iter([False, True, True])
    assert watch([Watch(ledger, RULE)], lambda _seconds: next(answers), 5) == 3
    assert len(ledger.spool.stream_names()) == 1


def test_a_watch_waits_between_two_looks(ledger):
    """It asks for the pause it was given, and goes on until told to stop."""
    asked = []

    def stop(seconds):
        asked.append(seconds)
        return len(asked) == 3

    assert watch([Watch(ledger, RULE)], stop, 5) == 0
    assert asked == [5, 5, 5]


def test_one_is_on_duty(ledger, clock):
    """Of several processes one looks; when it leaves, another does."""
    seen = []

    class Look:
        """Notes that it was asked."""

        def __init__(self, name):
            self.name = name

        def look(self, _stop):
            """Note it."""
            seen.append(self.name)
            return 0

    first, second = OnDuty(ledger, Look("first")), OnDuty(ledger, Look("second"))
    for one in (first, second, first):
        one.look(never)
    first.leave()
    clock[0] += DUTY_NS
    second.look(never)
    first.look(never)
    assert seen == ["first", "first", "second"]


def test_a_signal_stops_without_interrupting():
    """A signal is remembered; the handler that was there is back afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    with stop_on([signal.SIGTERM]) as stop:
        assert not stop(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop(60)
        assert stop(0)
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_end_of_a_pipe_stops():
    """Whoever holds the writing end stops it by letting go."""
    reading, writing = os.pipe()
    with stop_on([], reading) as stop:
        assert not stop(0)
        os.close(writing)
        assert stop(60)
    os.close(reading)
