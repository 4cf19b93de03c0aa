"""Notices and requests: the namespace `archive.rights`."""

from __future__ import annotations

from backstory.archive.inside import Inside


class Rights:
    """Notices and requests."""

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside
