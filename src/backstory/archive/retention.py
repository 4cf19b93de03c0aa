"""How long records are kept: the namespace `archive.retention`."""

from __future__ import annotations

from backstory.archive.inside import Inside


class Retention:
    """How long records are kept."""

    def __init__(self, inside: Inside) -> None:
        """Work on an open archive."""
        self._inside = inside
