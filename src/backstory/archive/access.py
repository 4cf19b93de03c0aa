"""Who may see what: the namespace `archive.access`."""

from __future__ import annotations

from backstory.archive.inside import Inside


class Access:
    """Who may see what."""

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside
