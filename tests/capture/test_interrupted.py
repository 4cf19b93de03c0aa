"""A signal handler that raises, wherever in recording it does, loses nothing acknowledged and doubles nothing."""

from __future__ import annotations

import itertools
import linecache
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from tests.support.disks import WiredDisk
from tests.support.ledgers import OPEN, ORIGIN, make_batch, make_row, new_ledger

from backstory.capture import promise, recorder, stream
from backstory.capture.policy import BUFFER_SIZE
from backstory.capture.promise import Promiser, Promising
from backstory.capture.recorder import Batch
from backstory.capture.stream import Stream
from backstory.ledger.ledger import Ledger
from backstory.records.promise import key_name, parse_kept
from backstory.storage import disk as disk_module
from backstory.storage import spool_writer
from backstory.storage.promises import PromiseStore
from backstory.storage.spool import StreamInfo
from backstory.tlog.signer import Ed25519Signer

WATCHED = {module.__file__ for module in (stream, promise, spool_writer, disk_module)}


class Stopped(BaseException):
    """What the signal handler raises."""


class Interruption:
    """Raises once, before a line of the recorder's modules that none before it stopped at in such an act."""

    def __init__(self, earlier: set[tuple[str, str, int]]) -> None:
        """Stop at none of these lines, and add the one it stops at."""
        self.happened = False
        self._earlier = earlier
        self._act = ""

    def run(self, act: Callable[[], list[int]]) -> list[int]:
        """Return what a function returns; nothing where it is interrupted."""
        if self.happened:
            return act()
        self._act = act.__name__
        sys.settrace(self._trace)
        try:
            return act()
        except Stopped:
            return []
        finally:
            sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        file, line = frame.f_code.co_filename, frame.f_lineno
        if file not in WATCHED:
            return None
        place = self._act, file, line
        # A signal is handled between calls, never between the end of a `with` and the release of its lock.
        is_with = linecache.getline(file, line).lstrip().startswith("with")
        if event == "line" and place not in self._earlier and not is_with:
            self._earlier.add(place)
            self.happened = True
            raise Stopped
        return self._trace


class Sealer:
    """Takes what a stream has, in order, as a sealer does while the stream is written."""

    def __init__(self, ledger: Ledger, info: StreamInfo) -> None:
        """Take from the stream's beginning."""
        self.ids: list[int] = []
        self._spool = ledger.spool
        self._info = info

    def take(self) -> None:
        """Take the ids of the records that were not taken yet; their numbers are dense, or reading refuses."""
        for frame in self._spool.frames(self._info, len(self.ids)):
            ids = self._spool.table(self._info, OPEN, frame)["id"].to_pylist()
            assert frame.first_seq <= len(self.ids)
            self.ids += [int.from_bytes(one, "big") for one in ids[len(self.ids) - frame.first_seq :]]

    def remove(self) -> None:
        """Remove from the spool what was taken."""
        self._spool.truncate(self._info, len(self.ids))


def test_an_interrupted_call_is_recorded_once_or_not_at_all(tmp_path, monkeypatch):
    """Whichever line of adding, writing, syncing and rotating is interrupted, all records are there, once.

    And what was promised of them is so.
    """
    monkeypatch.setattr(spool_writer, "ROTATE_SIZE", 1)
    monkeypatch.setattr(spool_writer, "INLINE_SIZE_MAX", 1)  # rows go into the frames file, batches into their own
    monkeypatch.setattr(os, "fdatasync", os.fstat)  # takes no time, and fails on a closed file all the same
    disk = WiredDisk()
    ledger = new_ledger(tmp_path / "archive", disk=disk)
    batch, row = make_batch(ledger, OPEN, 0, 2), make_row(ledger, 0)
    earlier: set[tuple[str, str, int]] = set()
    for number in itertools.count():
        written = _stream(ledger, number)
        sealer, interruption, acknowledged = Sealer(ledger, written.info), Interruption(earlier), []
        strangers = []
        for act in _acts(written, disk, batch, row):
            was_interrupted = interruption.happened
            acknowledged += interruption.run(act)
            if interruption.happened and not was_interrupted:
                sealer.take()
                sealer.remove()
                strangers.append((tmp_path / "stranger").open("wb"))
        written.retire()
        sealer.take()
        assert sealer.ids == sorted(set(sealer.ids))
        assert set(acknowledged) <= set(sealer.ids)
        assert len(sealer.ids) - len(acknowledged) in {0, 1, 2}
        written._promiser.make()
        for seq, identity in _promised(ledger, written.info.stream):
            assert sealer.ids[seq] == identity
        if not strangers:
            break
        strangers.pop().close()
        assert (tmp_path / "stranger").stat().st_size == 0
    assert number > 100


def test_a_stream_whose_retirement_is_interrupted_goes_on(tmp_path, monkeypatch):
    """It keeps what it holds, takes records as before, and can be retired again."""

    def stop(_descriptor: int) -> None:
        raise Stopped

    ledger = new_ledger(tmp_path / "archive", disk=WiredDisk())
    written, row = _stream(ledger, 0), make_row(ledger, 0)
    ids = [written.append_row(list(row))]
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", stop)
        with pytest.raises(Stopped):
            written.retire()
    ids.append(written.append_row(list(row)))
    written.retire()
    sealer = Sealer(ledger, written.info)
    sealer.take()
    assert sealer.ids == ids


def _stream(ledger: Ledger, number: int) -> Stream:
    name, opened = f"{number:032x}", "2026-01-01T00:00:00Z"
    info = StreamInfo(stream=name, schema=OPEN.digest, encrypted=False, opened=opened, policy={})
    promiser = Promiser(ledger.world, lambda: None)
    signer = Ed25519Signer.from_seed(key_name(ORIGIN), bytes(32))
    promiser.promising = Promising(layout=ledger.layout, signer=signer, delay=60, store=_store(ledger))
    return Stream(info, ledger.spool.create(info), ledger.world, promiser, buffer_size=BUFFER_SIZE)


def _store(ledger: Ledger) -> PromiseStore:
    return PromiseStore(ledger.layout.root, ledger.world.disk)


def _promised(ledger: Ledger, name: str) -> list[tuple[int, int]]:
    """Return sequence number and id of every record that was promised of a stream; there are some."""
    runs = [run for line in _store(ledger).lines(name) for run in parse_kept(line).runs]
    assert runs
    return [(seq, run.id_at(seq)) for run in runs for seq in range(run.first_seq, run.end_seq)]


def _acts(written: Stream, disk: WiredDisk, batch: Batch, row: list[object]) -> list[Callable[[], list[int]]]:
    """Return what is done to a stream; each function returns the ids it was given."""

    def add_row() -> list[int]:
        return [written.append_row(list(row))]

    def add_batch() -> list[int]:
        _, first = written.append_table(2, lambda *place: recorder._with_envelope(batch, written.info.stream, *place))
        return [first, first + 1]

    def sync() -> list[int]:
        written.sync()
        return []

    def sync_elsewhere() -> list[int]:
        disk.failing_syncs = 1
        return sync()

    return [add_batch, add_row, sync, add_row, add_batch, sync_elsewhere, add_batch, add_row, sync]
