"""A signal handler that raises, wherever in recording it does, loses nothing acknowledged and doubles nothing."""

from __future__ import annotations

import itertools
import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.support.ledgers import OPEN, SEALED, make_batch, make_row, new_ledger

from backstory.capture import recorder, stream
from backstory.capture.policy import BUFFER_SIZE
from backstory.capture.stream import Stream
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_all
from backstory.records.schema import Schema
from backstory.storage import disk, spool_writer
from backstory.storage.spool import StreamInfo
from backstory.verify.archive import verify_archive

WATCHED = {module.__file__ for module in (stream, spool_writer, disk)}


class Stopped(BaseException):
    """What the signal handler raises."""


class Interruption:
    """Raises at one line of the recorder's modules, counted over all functions it runs."""

    def __init__(self, line: int) -> None:
        """Raise before the so-manyth line is run."""
        self.left = line
        self.happened = False

    def run(self, act: Callable[[], list[int]]) -> list[int]:
        """Return what a function returns; nothing where it is interrupted."""
        if self.happened:
            return act()
        sys.settrace(self._trace)
        try:
            return act()
        except Stopped:
            self.happened = True
            return []
        finally:
            sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        # A signal is handled between calls, never between the end of a `with` and the release of its lock.
        if event == "line" and not linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith(
            "with"
        ):
            self.left -= 1
            if self.left < 0:
                raise Stopped
        return self._trace


@pytest.mark.parametrize("schema", [OPEN, SEALED], ids=["open", "sealed"])
def test_an_interrupted_call_is_recorded_once_or_not_at_all(tmp_path: Path, schema: Schema):
    """Whichever line of adding rows, writing batches and syncing is interrupted, all records are there, once."""
    ledger = new_ledger(tmp_path / "archive")
    total = 0
    for line in itertools.count(0, 9):  # every line takes nine times as long, and found no more
        interruption = Interruption(line)
        written, acts = _stream(ledger, schema, line)
        acknowledged = [number for act in acts for number in interruption.run(act)]
        written.retire()
        stored = list(_stored(ledger, written.info, schema))
        assert stored == sorted(set(stored))
        assert set(acknowledged) <= set(stored)
        assert len(stored) - len(acknowledged) in {0, 1, 2}
        total += len(stored)
        if not interruption.happened:
            break
    assert line > 100
    assert seal_all(ledger) == total
    assert not verify_archive(ledger.layout.root, workers=1).failed


def _stream(ledger: Ledger, schema: Schema, number: int) -> tuple[Stream, list[Callable[[], list[int]]]]:
    """Return a stream and what is done to it; each function returns the ids it was given."""
    name, digest = f"{number:032x}", ledger.blobs.put(schema.encoded)
    info = StreamInfo(
        stream=name, schema=digest, encrypted=bool(schema.groups), opened="2026-01-01T00:00:00Z", policy={}
    )
    written = Stream(info, ledger.spool.create(info), ledger.world, buffer_size=BUFFER_SIZE)
    batch, row = make_batch(ledger, schema, 0, 2), make_row(ledger, 0)

    def add_row() -> list[int]:
        return [written.append_row(list(row))]

    def add_batch() -> list[int]:
        _, first = written.append_table(2, lambda *place: recorder._with_envelope(batch, name, *place))
        return [first, first + 1]

    def sync() -> list[int]:
        written.sync()
        return []

    rows = [add_row] if schema is OPEN else []
    return written, [*rows, *rows, add_batch, *rows, sync, add_batch, *rows, sync]


def _stored(ledger: Ledger, info: StreamInfo, schema: Schema) -> Iterator[int]:
    """Yield the ids of a stream's records, in order; its sequence numbers are dense, or reading refuses."""
    at = 0
    for frame in ledger.spool.frames(info, 0):
        assert frame.first_seq == at
        at += frame.count
        yield from (int.from_bytes(one, "big") for one in ledger.spool.table(info, schema, frame)["id"].to_pylist())
