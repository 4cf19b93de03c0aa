"""Reports as signed bundles: the namespace `archive.reports`."""

from __future__ import annotations

from backstory.archive.inside import Inside


class Reports:
    """Reports as signed bundles."""

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside
