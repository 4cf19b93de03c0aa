"""A service that is killed, stopped, and let down by its disk and clock keeps every record it answered for, once.

`BACKSTORY_CHAOS_ROUNDS` says how often; `make soak` goes 500 rounds.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.chaos import Chaos, Nursery

ROUNDS = int(os.environ.get("BACKSTORY_CHAOS_ROUNDS", "8"))
ROUNDS_PER_ARCHIVE = 30
"""Checking takes longer the more an archive holds, so a long run goes on in another one."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """The program that forks services and sealers."""
    program = Nursery()
    yield program
    program.close()


@pytest.mark.parametrize("start", range(0, ROUNDS, ROUNDS_PER_ARCHIVE))
def test_chaos_loses_and_doubles_nothing(start: int, nursery: Nursery, tmp_path: Path):
    """After each round the archive verifies, has each answered record once, and says which writers were killed."""
    chaos = Chaos(tmp_path, nursery, random.Random(start))
    try:
        for number in range(start, min(start + ROUNDS_PER_ARCHIVE, ROUNDS)):
            done = chaos.round()
            print(f"round {number}: {done}")  # noqa: T201  shown where it fails
        chaos.end()
    finally:
        chaos.close()
