"""Whether the system's clock is kept by a time service, where the system tells."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

_ERROR = 5
"""TIME_ERROR: the clock is not synchronised (adjtimex(2))."""
_TIMEX_SIZE = 512
"""Above the size of `struct timex` on every platform; all zero bits means: only ask."""


def clock_state() -> str:
    """Return `synchronised`, `unsynchronised` or `unknown`."""
    ask = _adjtimex()
    if ask is None:
        return "unknown"
    state = ask(ctypes.create_string_buffer(_TIMEX_SIZE))
    if state < 0:
        return "unknown"
    return "unsynchronised" if state == _ERROR else "synchronised"


@functools.cache
def _adjtimex() -> Callable[[object], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).adjtimex
    except (AttributeError, OSError):
        return None
