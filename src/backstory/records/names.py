"""What an error message says of a name that there is not."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN_MAX = 8
"""So many names are listed where none is close."""


def names_instead(asked: str, known: Iterable[str]) -> str:
    """Return the end of a message that says there is no such name: the nearest, or those there are.

    >>> names_instead("outptu", ["model", "output"]), names_instead("x", ["b", "a"]), names_instead("x", [])
    ("; did you mean 'output'?", '; known: a, b', '; there is none')
    """
    listed = sorted(set(known))
    close = nearest(asked, listed)
    if close:
        return close
    if not listed:
        return "; there is none"
    more = f", … {len(listed)} in all" if len(listed) > SHOWN_MAX else ""
    return f"; known: {', '.join(listed[:SHOWN_MAX])}{more}"


def nearest(asked: str, known: Iterable[str]) -> str:
    """Return the end of a message that names those of some names that are close; nothing where none is.

    >>> nearest("whyy", ["why", "impact"]), nearest("x", ["why"])
    ("; did you mean 'why'?", '')
    """
    import difflib  # slow to load, and only needed for an error

    close = difflib.get_close_matches(asked, list(known))
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
