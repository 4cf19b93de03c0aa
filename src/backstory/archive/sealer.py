"""The sealer's process: seals beside a service, so that hashing and Parquet never take the service's interpreter.

What it runs is `backstory.ledger.sealer_process`. Nothing depends on it: what it has not sealed, `flush`, `close` and
the next opener seal, and at any moment it may be killed.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

RESTART_NS = 30 * 10**9
"""One that died is not started again sooner."""
END_SECONDS = 30.0
"""How long one may take to finish the seal under way; then it is killed, and what it did not commit is done again."""
_log = logging.getLogger("backstory")


class SealerProcess:
    """A process that seals an archive's streams; started when first needed, gone when this process is."""

    def __init__(self, path: Path, vkey: str | None, monotonic_ns: Callable[[], int]) -> None:
        """Start nothing yet.

        Args:
            path: The archive.
            vkey: The public key it is opened with.
            monotonic_ns: A clock that nobody sets.
        """
        self._command = [sys.executable, "-m", "backstory.ledger.sealer_process", str(path.resolve())]
        self._command += [] if vkey is None else [vkey]
        self._monotonic_ns = monotonic_ns
        self._process: subprocess.Popen[bytes] | None = None
        self._started_ns: int | None = None
        self._closed = False
        self._lock = threading.RLock()

    @property
    def pid(self) -> int | None:
        """Id of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    def may_start(self) -> bool:
        """Say whether `start` would start one; one that died is forgotten, with a line in the log."""
        with self._lock:
            if self._process is not None and (code := self._process.poll()) is not None:
                pid = self._process.pid
                _log.warning("the sealer's process %d ended with %d; what it did not seal waits", pid, code)
                self._let_go()
            rested = self._started_ns is None or self._monotonic_ns() - self._started_ns >= RESTART_NS
            return rested and self._process is None and not self._closed and bool(sys.executable)

    def start(self) -> None:
        """Start the process, unless it runs, is closed, or was started a moment ago and died."""
        with self._lock:
            if not self.may_start():
                return
            self._started_ns = self._monotonic_ns()
            try:
                self._process = subprocess.Popen(  # noqa: S603  our own module
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0
                )
            except OSError as error:
                _log.warning("the sealer's process did not start: %s", error.strerror)

    def close(self) -> None:
        """Let it finish the seal under way and wait until it has ended; it is not started again."""
        with self._lock:
            self._closed = True
            if self._process is None:
                return
            if self._process.stdin is not None:
                self._process.stdin.close()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                _log.warning("the sealer's process %d does not end, and is killed", self._process.pid)
                self._process.kill()
                self._process.wait()
            self._let_go()

    def leave_parent(self) -> None:
        """In a forked child: the process is the parent's; this one may start its own."""
        self._lock = threading.RLock()
        self._started_ns = None
        if self._process is not None:
            self._process.poll()  # no child of this process, so `subprocess` takes it for ended and lets it be
            self._let_go()

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
