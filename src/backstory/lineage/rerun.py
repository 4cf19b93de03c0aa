"""While a preparation is run again, its sources are the recorded rows: fixing one of them gives these back.

So a preparation that fixes its sources itself can be run again as it is, and nothing new is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from backstory.frames.reading import AsFrame
from backstory.frames.table import as_given, column_names, kind_of
from backstory.frames.token import ROW_PREFIX
from backstory.lineage.step import is_frame

Feeds: TypeAlias = "Mapping[str, Callable[[str | None], Any]]"
"""By name of a source what gives its rows, as a frame of a library or of the one it is expected in."""

_FED: ContextVar[Feeds | None] = ContextVar("backstory_fed", default=None)


@contextmanager
def feeding(feeds: Feeds) -> Iterator[None]:
    """While this lasts, in this thread, give recorded rows to whoever fixes one of these sources.

    Args:
        feeds: By name of a source what gives its rows.
    """
    token = _FED.set(feeds)
    try:
        yield
    finally:
        _FED.reset(token)


def fed_instead(given: Any, name: str, as_frame: AsFrame | None) -> Any | None:
    """Return the recorded rows of a source that is about to be fixed; None where no preparation is run again.

    Args:
        given: What is about to be fixed: recorded rows already, where the preparation was handed them.
        name: The source's name.
        as_frame: The library asked for, for what is no frame.
    """
    feeds = _FED.get()
    if feeds is None or name not in feeds:
        return None
    if not is_frame(given):
        return feeds[name](as_frame)
    if ROW_PREFIX + name in column_names(given):
        return given
    if kind_of(given) == "duckdb":
        return as_given(given, feeds[name]("arrow"))  # a relation of the same connection
    return feeds[name](kind_of(given))
