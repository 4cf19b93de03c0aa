"""When what an archive records is sealed: by its sealer's process while it runs, by itself when it is asked to."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Mapping
from typing import Literal, get_args

from backstory.archive.promising import begin_promising
from backstory.archive.sealer import SealerProcess
from backstory.capture.policy import Policy
from backstory.capture.recorder import Recorder
from backstory.errors import BackstoryError, FormatError, InputError, StorageError, VerificationError
from backstory.ledger.ledger import Ledger
from backstory.ledger.seal import seal_stream, seal_up_to

Sealer = Literal["process", "none"]

START_ROWS = 65_536
START_SECONDS = 30.0
"""A session with fewer unsealed records and none that waits so long never starts a process."""
_log = logging.getLogger("backstory")
_SEALINGS: weakref.WeakSet[Sealing] = weakref.WeakSet()


def _leave_parents() -> None:
    for sealing in list(_SEALINGS):
        sealing.leave_parent()


os.register_at_fork(after_in_child=_leave_parents)


class Sealing:
    """A recorder, and what sees to it that its records get into the log.

    Attributes:
        recorder: Records into the archive's spool.
        process: The sealer's process; None where there is to be none.
    """

    def __init__(self, ledger: Ledger, policy: Policy | None, sealer: Sealer, vkey: str | None) -> None:
        """Record and seal into an archive.

        Raises:
            InputError: `sealer` is none.
        """
        if sealer not in get_args(Sealer):
            raise InputError(f"opening archive: expected sealer 'process' or 'none', got {sealer!r}")
        self._ledger = ledger
        self.recorder = Recorder(ledger.spool, ledger.blobs, ledger.world, policy, on_sync=self.after_sync)
        begin_promising(ledger, self.recorder)
        self.process: SealerProcess | None = None
        if sealer == "process" and ledger.writable:
            self.process = SealerProcess(ledger.layout.root, vkey, ledger.world.monotonic_ns)
        self._heads: Mapping[str, int] = {}
        self._timer: threading.Timer | None = None
        self._is_urgent = False
        self._lock = threading.RLock()
        _SEALINGS.add(self)

    def after_sync(self) -> None:
        """See to it that the process is started if there is enough to seal.

        Called many times a second by the thread that makes records durable, which must not wait for the lock store.
        """
        if self.process is None or not self.process.may_start():
            return
        waiting = self._waiting()
        is_urgent = waiting >= START_ROWS
        if not waiting or (self._timer is not None and self._is_urgent >= is_urgent):
            return
        if self._timer is not None:
            self._timer.cancel()
        timer = threading.Timer(0 if is_urgent else START_SECONDS, self._start_later, [START_ROWS if is_urgent else 1])
        timer.daemon = True
        self._timer, self._is_urgent = timer, is_urgent
        try:
            timer.start()
        except RuntimeError as error:  # the system gives no thread; asked again after the next sync
            self._timer = None
            _log.warning("the sealer's process is not started: %s", error)

    def flush(self) -> None:
        """Return when everything recorded here so far is sealed, by whomever; see `Archive.flush`."""
        if not self._ledger.writable:
            return
        self.recorder.sync()
        with self._lock:
            for info, end_seq in self.recorder.streams():
                seal_up_to(self._ledger, info, end_seq)

    def seal_abandoned(self) -> None:
        """Seal the streams of writers that are gone: the next opener does what a crash left undone."""
        for info in self._ledger.spool.streams():
            if not self._ledger.spool.is_open(info.stream):
                try:
                    seal_stream(self._ledger, info)
                except (FormatError, VerificationError, StorageError) as error:
                    _log.warning("stream %s stays in the spool: %s", info.stream, error)

    def close(self) -> None:
        """Seal what was recorded here and give up the streams; what cannot be sealed now, the next opener seals."""
        if self.process is not None:
            self.process.close()
        if self._timer is not None:
            self._timer.cancel()
        try:
            self.flush()
        finally:
            streams = self.recorder.streams()
            self.recorder.close()
            if self._ledger.writable:
                for info, _ in streams:
                    seal_stream(self._ledger, info)

    def leave_parent(self) -> None:
        """In a forked child: process and timer are the parent's, and locks may be held for ever."""
        self._lock = threading.RLock()
        self._timer = None
        if self.process is not None:
            self.process.leave_parent()

    def _waiting(self) -> int:
        """Return how many records are not sealed, as far as is known here."""
        return sum(max(end - self._heads.get(info.stream, 0), 0) for info, end in self.recorder.streams())

    def _start_if(self, least: int) -> None:
        """Start the process if, by the log, so many records are not sealed."""
        if self.process is None or not self.process.may_start():
            return
        try:
            self._heads = self._ledger.lock.heads()
        except BackstoryError as error:
            _log.warning("the sealer's process is not started: %s", error)
            return
        if self._waiting() >= least:
            self.process.start()

    def _start_later(self, least: int) -> None:
        self._timer = None
        self._start_if(least)
