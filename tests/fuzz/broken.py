"""Parsers that do what none must do, to see that the fuzzers notice."""

from __future__ import annotations

import os
import time

from tests.fuzz.parser import Parser, text_of

from backstory.errors import FormatError


def _sloppy(data):
    try:
        number = int(text_of(data))
    except ValueError as error:
        raise FormatError("no number") from error
    yield
    assert str(number) == text_of(data)


def _raising(data):
    _ = [{}[byte] for byte in data if byte > 0x7F]
    yield


def _greedy(data):
    _ = b"x" * int.from_bytes(data[:4], "big")
    yield


def _slow(data):
    until = time.thread_time() + (1.5 if data[:1] != b"{" else 0)
    while time.thread_time() < until:
        pass
    yield


def _hanging(data):
    while data[:1] != b"{":
        time.sleep(1)
    yield


def _dying(data):
    if data[:1] != b"{":
        os._exit(1)
    yield


def _parser(check, seed):
    return Parser(check, lambda: [seed], ())


PARSERS = {
    "sloppy": _parser(_sloppy, b"412"),
    "raising": _parser(_raising, b"text"),
    "greedy": _parser(_greedy, b"\0\0\1\0"),
    "slow": _parser(_slow, b"{}"),
    "hanging": _parser(_hanging, b"{}"),
    "dying": _parser(_dying, b"{}"),
}
