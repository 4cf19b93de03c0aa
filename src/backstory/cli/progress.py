"""Progress of what takes longer than a second: on stderr, and only if that is a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DELAY_SECONDS = 1.0
"""What is quicker shows nothing."""

Report = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@contextmanager
def progress(text: str, *, delay_seconds: float = DELAY_SECONDS) -> Iterator[Report]:
    """Show a bar while something runs.

    Args:
        text: What is running, such as `replaying`.
        delay_seconds: How long it may run before a bar appears.

    Yields:
        Moves the bar; not calling it leaves a bar that only shows that something is running.
    """
    if not sys.stderr.isatty():
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(text, total=None)

    def report(what: str, done: int, total: int) -> None:
        bar.update(task, description=f"{text}: {what}", completed=done, total=total)

    timer = threading.Timer(delay_seconds, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield report
    finally:
        timer.cancel()
        timer.join()  # it may be starting the bar at this moment
        bar.stop()
