"""Sealing again and again: which streams are due, and the loop that seals those.

For a sidecar and for the sealer's process. The rule is pure; the loop is told when to stop, so it needs no clock of its
own. How a stream is sealed is `backstory.ledger.seal`'s business.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from backstory.errors import BackstoryError
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_stream
from backstory.storage.spool import ReadTo, StreamInfo

ROWS = 65_536
AGE_NS = 10 * 10**9
EVERY_SECONDS = 1.0
RETRY_NS = 30 * 10**9
"""How long a stream that could not be sealed is left alone."""
STUCK_NS = 60 * 10**9
"""A stream that is due for so long and held by somebody else is worth a line in the log, and so often."""
DUTY = "sealer"
"""Name of the lease that whoever is on duty holds."""
DUTY_NS = 30 * 10**9
"""So long after it died or stopped, another takes over."""
_log = logging.getLogger("backstory")

Stop = Callable[[float], bool]
"""Waits for so many seconds, or less; says whether to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When the records of a living writer are sealed.

    Attributes:
        rows: As soon as so many are not.
        age_ns: As soon as the oldest has waited so long.
    """

    rows: int = ROWS
    age_ns: int = AGE_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What a stream has that is not in the log.

    Attributes:
        records: How many records; 0 where its writer only said what it has counted.
        since_ns: When the first of it was seen, by a clock that nobody sets.
        has_ended: Whether its writer is gone.
        is_part: Whether it is a part of a job, which is sealed whole.
    """

    records: int
    since_ns: int
    has_ended: bool
    is_part: bool = False


def is_due(waiting: Waiting, rule: Rule, now_ns: int) -> bool:
    """Say whether a stream is to be sealed now."""
    if waiting.has_ended or waiting.is_part:
        return waiting.has_ended
    return waiting.records >= rule.rows or now_ns - waiting.since_ns >= rule.age_ns


@dataclass(slots=True)
class _Stream:
    """What a watch knows of a stream: its size when it was sealed last, how far it was read, since when it waits."""

    settled_size: int = -1
    read_to: ReadTo = field(default_factory=ReadTo)
    since_ns: int | None = None
    rest_until_ns: int = 0


class Looking(Protocol):
    """What a loop lets look for what is due."""

    def look(self, stop: Stop) -> int:
        """Seal what is due; return how many records were sealed."""


class Watch:
    """The streams of one spool, looked at again and again."""

    def __init__(self, ledger: Ledger, rule: Rule, before_seal: Callable[[], None] = lambda: None) -> None:
        """Watch the spool of an archive.

        Args:
            ledger: The archive, open for writing.
            rule: What is due.
            before_seal: Called before a stream is sealed.
        """
        self._ledger = ledger
        self._rule = rule
        self._before_seal = before_seal
        self._streams: dict[str, _Stream] = {}

    def look(self, stop: Stop) -> int:
        """Seal what is due, one stream after the other; return how many records were sealed.

        What goes wrong with one stream is logged and does not keep the others waiting.
        """
        sealed = 0
        try:
            names = self._ledger.spool.stream_names()
            self._ledger.catch_up()
        except (BackstoryError, OSError) as error:
            _log.warning("sealing: %s; trying again", error)
            return 0
        self._streams = {name: self._streams.get(name, _Stream()) for name in names}
        for name, stream in self._streams.items():
            if stop(0):
                break
            now_ns = self._ledger.world.monotonic_ns()
            if now_ns < stream.rest_until_ns:
                continue
            try:
                sealed += self._visit(name, stream, now_ns)
            except Exception as error:  # noqa: BLE001  whatever it is, the other streams are sealed
                stream.rest_until_ns = now_ns + RETRY_NS
                if name in self._ledger.spool.stream_names():  # not one that was sealed and removed just now
                    what = error if isinstance(error, BackstoryError) else type(error).__name__
                    _log.warning("stream %s is not sealed, the others are: %s", name, what)
        return sealed

    def _visit(self, name: str, stream: _Stream, now_ns: int) -> int:
        spool = self._ledger.spool
        info = spool.info(name)
        has_ended = not spool.is_open(name)
        size = spool.stream_size(info)
        if size == stream.settled_size and not has_ended:
            return 0
        stream.since_ns = now_ns if stream.since_ns is None else stream.since_ns
        records = 0 if has_ended else self._count(info, stream)
        waiting = Waiting(records=records, since_ns=stream.since_ns, has_ended=has_ended, is_part=info.job is not None)
        if not is_due(waiting, self._rule, now_ns):
            return 0
        self._before_seal()
        sealed = seal_stream(self._ledger, info)
        if sealed:
            _log.info("stream %s: %d records sealed", name, sealed)
        elif records:  # another process holds it; it may be done with it soon
            self._say_if_stuck(name, stream, now_ns)
            return 0
        # What was appended while this sealed makes the size another than the one before.
        stream.settled_size, stream.since_ns = size, None
        return sealed

    def _count(self, info: StreamInfo, stream: _Stream) -> int:
        """Return how many records of a stream are not sealed."""
        stream.read_to = self._ledger.spool.read_on(info, stream.read_to)
        return max(stream.read_to.end_seq - self._ledger.lock.heads().get(info.stream, 0), 0)

    def _say_if_stuck(self, name: str, stream: _Stream, now_ns: int) -> None:
        waited_ns = 0 if stream.since_ns is None else now_ns - stream.since_ns
        if waited_ns >= STUCK_NS:
            holder = self._ledger.lock.lease_holder(name) or "nobody"
            _log.warning("stream %s waits to be sealed for %d s: held by %s", name, waited_ns // 10**9, holder)
            stream.rest_until_ns = now_ns + STUCK_NS


class OnDuty:
    """A watch that stands by while another process of the archive's services is on duty.

    Each has a sealer's process of its own; all of them reading the same spool would only cost.
    """

    def __init__(self, ledger: Ledger, inner: Looking) -> None:
        """Let a watch look while on duty."""
        self._ledger = ledger
        self._inner = inner
        self._holder = f"{platform.node()}:{os.getpid()}:{ledger.world.random_bytes(8).hex()}"
        self._held = False
        self._asked_ns: int | None = None

    def look(self, stop: Stop) -> int:
        """Seal what is due if on duty; return how many records were sealed."""
        now_ns = self._ledger.world.monotonic_ns()
        if self._asked_ns is None or now_ns - self._asked_ns >= DUTY_NS // 2:
            self._asked_ns = now_ns
            wall_ns = self._ledger.world.now_ns()
            try:
                self._held = self._ledger.lock.take_lease(DUTY, self._holder, wall_ns, wall_ns + DUTY_NS)
            except BackstoryError as error:
                _log.warning("sealing: %s; trying again", error)
                return 0
        return self._inner.look(stop) if self._held else 0

    def leave(self) -> None:
        """Go off duty."""
        self._ledger.lock.release_lease(DUTY, self._holder)


def watch(watches: Sequence[Looking], stop: Stop, every_seconds: float = EVERY_SECONDS) -> int:
    """Seal what is due until told to stop; the seal under way is finished.

    Args:
        watches: Spools.
        stop: Waits, and says whether to stop.
        every_seconds: How long to wait between two looks.

    Returns:
        How many records were sealed.
    """
    sealed = 0
    while True:
        sealed += sum(one.look(stop) for one in watches)
        if stop(every_seconds):
            return sealed
