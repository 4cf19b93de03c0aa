"""Being told to stop, by a signal or by the end of a pipe, without being interrupted in what is under way."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator, Sequence
from types import FrameType


@contextlib.contextmanager
def stop_on(signals: Sequence[signal.Signals], pipe: int | None = None) -> Iterator[Callable[[float], bool]]:
    """Let signals and the end of a pipe say when to stop. In the main thread only.

    A second signal of a kind does what it did before: whoever cannot wait need not.

    Args:
        signals: The signals.
        pipe: Descriptor of the reading end of a pipe nothing is written into; None for signals alone.

    Yields:
        Waits up to so many seconds and says whether to stop; stays true.
    """
    told, tell = os.pipe()
    os.set_blocking(tell, False)

    def arrived(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        os.write(tell, b"s")

    before = {number: signal.signal(number, arrived) for number in signals}
    sources = [told] if pipe is None else [told, pipe]

    def stop(seconds: float) -> bool:
        return bool(select.select(sources, [], [], seconds)[0])

    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(told)
        os.close(tell)
