"""Being ended while secrets lie in temporary files: what a command put there goes, as after Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Never

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt what is under way instead of ending the process. In the main thread only.

    Raises:
        KeyboardInterrupt: One of them came.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> Never:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # or the next would interrupt the clearing up
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
