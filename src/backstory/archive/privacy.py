"""Classes of columns and the rights of people: the namespace `archive.privacy`."""

from __future__ import annotations

from backstory.archive.inside import Inside


class Privacy:
    """Classes of columns and the rights of people."""

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside
