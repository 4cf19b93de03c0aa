"""What was decided with predictions: the namespace `archive.decisions`."""

from __future__ import annotations

from backstory.archive.inside import Inside


class Decisions:
    """What was decided with predictions."""

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside
