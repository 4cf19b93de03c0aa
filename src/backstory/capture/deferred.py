"""Predictions that were given up, such as a generator nobody went on with: recorded soon, by whoever comes by.

Finalizers notice them, which run in the middle of anything: they can take no lock and set no context variable.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

_log = logging.getLogger("backstory")


class Deferred:
    """What is still to be recorded of predictions that were given up."""

    def __init__(self, ring: Callable[[], None]) -> None:
        """Begin with nothing; `ring` wakes a thread that comes by."""
        self._ring = ring
        self._ends: deque[Callable[[], object]] = deque()
        self.renew()

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self._ends)

    def renew(self) -> None:
        """Forget everything; in a forked child what there is is the parent's, and the lock may be held for ever."""
        self._ends.clear()
        self._ending = threading.RLock()
        self._of_thread = threading.local()

    def add(self, end: Callable[[], object]) -> None:
        """Let a prediction be recorded by whoever comes by next; for finalizers."""
        self._ends.append(end)
        self._ring()

    def end_all(self, *, wait: bool = False) -> None:
        """Record what was given up; what it cannot be recorded for is in the log, and nobody else's error.

        Args:
            wait: Come back only when what another thread is recording of it is recorded, too. A thread whom others
                wait for, as they need room that it makes, must not.
        """
        if not (self._ends or wait) or getattr(self._of_thread, "is_ending", False):  # recording one comes back here
            return
        while (self._ends or wait) and self._ending.acquire(blocking=wait):
            wait, self._of_thread.is_ending = False, True
            try:
                while self._ends:
                    self._end(self._ends.popleft())
            finally:
                self._of_thread.is_ending = False
                self._ending.release()

    def _end(self, end: Callable[[], object]) -> None:
        try:
            end()
        except Exception:  # noqa: BLE001  whatever it is, whose call this is has nothing to do with it
            _log.exception("recording: a prediction that was given up is not recorded")
        except BaseException:  # a signal handler's: the next who comes by tries again
            self._ends.appendleft(end)
            self._ring()
            raise
