"""Differentially private figures: the namespace `archive.sharing`."""

from __future__ import annotations

from backstory.archive.inside import Inside


class Sharing:
    """Differentially private figures."""

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside
