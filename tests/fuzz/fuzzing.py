"""Gives a parser changed inputs for a while and looks for what it must not do.

A parser is tried with inputs that are valid, then with changed ones. An input that is refused at a place where none was
refused before is kept and changed further: so deeper checks are reached, at no cost. (To trace every line instead
reaches hardly more: of five parsers, each in 15 seconds, 547 lines against 544, with half the inputs.) Failures are:

    any error but the parser's own; an assertion of its check: what it accepted has another form too
    more than `SECONDS_MAX` of processor time for one input, and as much again for each megabyte of it
    memory that grows by more than `MEMORY_MAX` for one input, and 16 times its size
"""

from __future__ import annotations

import contextlib
import random
import resource
import sys
import time
import traceback

from tests.fuzz.mutations import mutate

SECONDS_MAX = 1.0
MEMORY_MAX = 96 << 20
CORPUS_MAX = 300
KEPT_SIZE_MAX = 30_000
_SHRINK_SECONDS = 2.0
# Linux counts in kilobytes, macOS in bytes.
_UNIT = 1 if sys.platform == "darwin" else 1024


class FailedError(Exception):
    """A parser did what it must not do."""


def attempt(parser, data):
    """Give a parser one input.

    Returns:
        None where it was accepted, else where it was refused.

    Raises:
        FailedError: It did what it must not do.
    """
    memory, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
    place = None
    steps = parser.check(data)
    try:
        try:
            next(steps)
        except parser.refusals as error:
            place = _place_of(error)
        else:
            assert next(steps, None) is None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of a library in another language it may be anything
        raise FailedError(_told(error)) from error
    seconds = time.thread_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * _UNIT
    if seconds > SECONDS_MAX * (1 + len(data) / 2**20):
        raise FailedError(f"took {seconds:.1f} s of processor time")
    if grown > MEMORY_MAX + 16 * len(data):
        raise FailedError(f"took {grown >> 20} MiB of memory")
    return place


def fuzz(parser, seconds, seed, note=None):
    """Try a parser for a while.

    Args:
        parser: A `Parser`.
        seconds: How long, once its seeds and large inputs were tried.
        seed: Chance; the same one gives the same inputs.
        note: Is told every input before the parser is given it; or None.

    Returns:
        How many inputs there were, how many of them were accepted, at how many places the others were refused, and what
        failed: None, or the input and why.
    """
    corpus, places, failure, accepted, number = parser.seeds(), {None}, None, 0, 0
    for number, data in enumerate(_inputs(parser, corpus, seconds, random.Random(seed)), start=1):
        if note is not None:
            note(data)
        try:
            place = attempt(parser, data)
        except FailedError as error:
            shrunk = data if error.__cause__ is None else _shrunk(parser, data)
            failure = {"input": shrunk.hex(), "why": str(error), "number": number}
            break
        accepted += place is None
        if place not in places and len(corpus) < CORPUS_MAX and len(data) < KEPT_SIZE_MAX:
            places.add(place)
            corpus.append(data)
    return {"inputs": number, "accepted": accepted, "places": len(places) - 1, "failure": failure}


def _inputs(parser, corpus, seconds, chance):
    """Yield inputs; what is added to the corpus meanwhile is changed too."""
    yield from [*corpus, *parser.large()]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield mutate(chance, chance.choice(corpus), corpus)


def _place_of(error):
    """Say where an input was refused: the line of each error in the chain."""
    place = []
    while error is not None:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is not None:
            place.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        error = error.__cause__
    return tuple(place)


def _told(error):
    lines = traceback.format_exception(error, limit=-6)
    return "".join(lines)[-3_000:]


def _kind_of(parser, data):
    """Return how a parser fails; None where it does not."""
    try:
        attempt(parser, data)
    except FailedError as error:
        return type(error.__cause__)
    return None


def _shrunk(parser, data):
    """Leave out what a failure does not need."""
    until, kind, size = time.monotonic() + _SHRINK_SECONDS, _kind_of(parser, data), len(data) // 2
    while size and kind is not None and time.monotonic() < until:
        at = 0
        while at < len(data) and time.monotonic() < until:
            shorter = data[:at] + data[at + size :]
            if _kind_of(parser, shorter) is kind:
                data = shorter
            else:
                at += size
        size //= 2
    return data


@contextlib.contextmanager
def limited_memory(room):
    """Let one allocation of more than the room fail at once, where the system can."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
            used = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # no such system
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (used + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
